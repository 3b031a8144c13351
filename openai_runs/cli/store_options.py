"""The options that name a store, and the store that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from openai_runs._postgres import DEFAULT_FOLDER, is_postgres
from openai_runs.cli.config_option import is_by_hand, variable_of

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore

_VARIABLE: Final = variable_of("store")
StoppedStore: TypeAlias = Annotated[
    str,
    typer.Option(
        envvar=_VARIABLE,
        help="The store of a stopped server: its SQLite file, or its postgresql://user@host/database.",
    ),
]
UsedStore: TypeAlias = Annotated[
    str,
    typer.Option(envvar=_VARIABLE, help="The server's store: its SQLite file, or its postgresql://user@host/database."),
]
StoreOrNone: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar=_VARIABLE,
        help="In place of an endpoint, the server's store, with what all owners have: a file, or a URL.",
    ),
]
FilesFolder: TypeAlias = Annotated[
    Path,
    typer.Option(
        envvar=variable_of("files_folder"),
        help="The folder in which earlier versions kept the contents of files, if the store is in PostgreSQL; what is "
        "there is moved into the database.",
        file_okay=False,
    ),
]
Owner: TypeAlias = Annotated[
    str, typer.Option(help="The owner of the objects: the label of its key; empty if the server has no keys.")
]
DEFAULT_FILES_FOLDER: Final = Path(DEFAULT_FOLDER)


def make_store(
    store: str, files_folder: Path, *, create: bool = True, is_shared: bool = False
) -> "SQLiteStore | PostgresStore":
    """Make the store that the options name; it is not opened yet.

    Args:
        store: A path or a URL.
        files_folder: For a store in PostgreSQL.
        create: Whether it may be one that is not there yet. A PostgreSQL database has to be there in any case.
        is_shared: Whether other servers may use it at the same time, if it is one in PostgreSQL.

    Raises:
        typer.BadParameter: There is no such file, or no folder for it; or it is no URL.
    """
    if is_postgres(store):
        from openai_runs.stores.postgres import PostgresStore, SharedPostgresStore

        kind = SharedPostgresStore if is_shared else PostgresStore
        try:
            return kind(store, folder=files_folder, create=create)
        except ValueError as error:
            raise typer.BadParameter(f"--store: {error}") from None
    from openai_runs.stores.sqlite import SQLiteStore

    path = Path(store)
    if create:
        check_folder(path)
    else:
        check_exists(path)
    return SQLiteStore(path)


def store_or_endpoint(context: typer.Context, store: str | None, base_url: str | None) -> str | None:
    """Which of the two a command is for: the store, or ``None`` for the endpoint.

    What stands on the command line comes before what variables and the file of settings say.

    Raises:
        typer.BadParameter: It cannot be told.
    """
    by_hand = [name for name in ("store", "base_url") if is_by_hand(context, name)]
    if len(by_hand) == 1:
        return store if by_hand == ["store"] else None
    if store is not None and base_url is not None:
        raise typer.BadParameter(
            "--store and --base-url are both set, here or by variables: pass the one that is meant"
        )
    return store


def operator_file(store: Path) -> Path:
    """Where a server says how the operator's commands reach it, beside its store."""
    return store.with_name(f"{store.name}-operator")


def operator_file_of(store: "SQLiteStore | PostgresStore") -> Path | None:
    """The same; ``None`` for a database, which the commands can have beside servers that share it."""
    from openai_runs.stores.sqlite import SQLiteStore

    return operator_file(store.path) if isinstance(store, SQLiteStore) else None


def check_folder(store: Path) -> None:
    """Refuse a file whose folder does not exist: it may be a typing error, so the folder is not created."""
    if not store.parent.is_dir():
        raise typer.BadParameter(f"--store: there is no folder {store.parent}; create it first, or name another file")


def check_exists(store: Path) -> None:
    """Refuse a file that does not exist, since opening the store would create it."""
    if not store.exists():
        raise typer.BadParameter(f"there is no store {store}; pass the server's file as --store")
