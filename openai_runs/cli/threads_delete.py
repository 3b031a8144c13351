"""The command `openai-runs threads delete`."""

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from rich.progress import Progress

from openai_runs.cli.config_option import ServerConfig, is_by_hand, variable_of
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.json_option import print_json
from openai_runs.cli.store_options import DEFAULT_FILES_FOLDER, FilesFolder, StoreOrNone, make_store, store_or_endpoint
from openai_runs.cli.stored_threads import threads_of
from openai_runs.cli.terminal import console, errors, refuse, run
from openai_runs.errors import NotFoundError
from openai_runs.session import Session

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore

_DAY: Final = 24 * 3600


def delete_threads(
    context: typer.Context,
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    thread_ids: Annotated[list[str] | None, typer.Argument(help="The threads' IDs.")] = None,
    unused_days: Annotated[
        float | None,
        typer.Option(min=0, help="With --store, all threads in which nothing has happened for so many days."),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="With --unused-days, only those of this owner.")] = None,
    store: StoreOrNone = None,
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
    audit_log: Annotated[
        str | None,
        typer.Option(
            envvar=variable_of("audit_log"),
            help="A file for lines about it, unless a server has the file that is the store, and so a log of its own.",
            metavar="FILE",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each thread.")] = False,
    base_url: BaseUrl = None,
) -> None:
    """Delete threads with their messages, runs and steps, at an endpoint or in a store. An active run is cancelled.

    The exit code is 1 if one of them is not there.
    """
    if bool(thread_ids) is (unused_days is not None):
        raise typer.BadParameter("name the threads by their IDs, or pass --unused-days")
    store = store_or_endpoint(context, store, base_url)
    if store is None and (unused_days is not None or is_by_hand(context, "audit_log")):
        raise typer.BadParameter("--unused-days and --audit-log are for threads in a --store")
    if owner is not None and unused_days is None:
        raise typer.BadParameter("--owner is for --unused-days: an ID has one owner")
    if store is None:
        run(_delete_at_endpoint(thread_ids or [], as_json, base_url))
    else:
        kept = make_store(store, files_folder, create=False, is_shared=True)
        run(_delete_in_store(kept, thread_ids or [], unused_days, owner, audit_log, as_json))


async def _delete_at_endpoint(ids: list[str], as_json: bool, base_url: str | None) -> None:
    missing = 0
    async with Session(base_url) as session:
        for id in ids:
            try:
                await session.threads.delete(id)
            except NotFoundError:
                missing += 1
                _tell(id, False, as_json)
            else:
                _tell(id, True, as_json)
    _end(missing)


async def _delete_in_store(
    kept: "SQLiteStore | PostgresStore",
    ids: list[str],
    unused_days: float | None,
    owner: str | None,
    audit_log: str | None,
    as_json: bool,
) -> None:
    missing = 0
    async with threads_of(kept, audit_log) as threads:
        if unused_days is not None:
            before = time.time() - unused_days * _DAY
            async with threads.listed() as found:
                ids = [thread["id"] async for thread in found if _is_unused(thread, before, owner)]
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            for id in progress.track(ids, description="deleting"):
                was_there = await threads.delete(id)
                missing += not was_there
                _tell(id, was_there, as_json)
    if unused_days is not None and not as_json:
        console.print(f"deleted {len(ids) - missing} thread{'' if len(ids) - missing == 1 else 's'}")
    _end(0 if unused_days is not None else missing)


def _is_unused(thread: dict[str, Any], before: float, owner: str | None) -> bool:
    is_asked_for = owner is None or thread["owner"] == owner
    return is_asked_for and thread["last_used_at"] < before and not thread["has_unfinished_run"]


def _tell(id: str, was_there: bool, as_json: bool) -> None:
    if as_json:
        print_json({"id": id, "deleted": was_there})
    elif was_there:
        console.print(f"deleted {escape(id)}")
    else:
        errors.print(f"[yellow]there is no thread {escape(id)}[/]")


def _end(missing: int) -> None:
    if missing:
        refuse(f"{missing} of the threads {'is' if missing == 1 else 'are'} not there")
