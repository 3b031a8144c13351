"""The command `openai-runs copy`."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress

from openai_runs._postgres import is_postgres
from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.store_options import DEFAULT_FILES_FOLDER, FilesFolder, make_store
from openai_runs.cli.terminal import console, errors, run

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore


def copy(
    source: Annotated[
        str, typer.Argument(help="The store of a stopped server: its SQLite file, or postgresql://user@host/database.")
    ],
    target: Annotated[str, typer.Argument(help="The store to copy it to, likewise; it has to be new, or empty.")],
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
) -> None:
    """Copy all of a store: from an SQLite file to PostgreSQL, or back.

    Nothing is changed: the copy has the objects of all owners, idempotency keys, and unfinished runs, which go on when
    it is served. Serve one of the two only.
    """
    if is_postgres(source) and is_postgres(target):
        raise typer.BadParameter("from one PostgreSQL database to another, pg_dump copies all")
    old = make_store(source, files_folder, create=False)
    run(_copy(old, make_store(target, files_folder)))


async def _copy(source: "SQLiteStore | PostgresStore", target: "SQLiteStore | PostgresStore") -> None:
    from openai_runs.server.local_files import copy_files_index
    from openai_runs.stores.copying import StoreCopy

    async with source, target:
        copying = StoreCopy(source, target)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("copying", total=await source.count_objects())
            async with aclosing(copying.carry_out()) as steps:
                async for copied in steps:
                    progress.advance(task, copied)
        indexed = await copy_files_index(source, target)
    for id in copying.without_content:
        errors.print(f"[yellow]the content of {escape(id)} is not there[/]")
    console.print(
        f"copied {copying.objects} objects and the contents of {copying.contents} files"
        + (f", and what was read of {indexed} files in vector stores" if indexed else "")
        + f", from {escape(source.name)} to {escape(target.name)}"
    )
