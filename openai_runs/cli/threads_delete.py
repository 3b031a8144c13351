"""The command `openai-runs threads delete`."""

import math
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape
from rich.progress import Progress

from openai_runs.cli.config_option import ServerConfig, is_by_hand, variable_of
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.json_option import print_json
from openai_runs.cli.store_options import DEFAULT_FILES_FOLDER, FilesFolder, StoreOrNone, make_store, store_or_endpoint
from openai_runs.cli.stored_threads import StoredThreads, threads_of
from openai_runs.cli.terminal import console, errors, refuse, run
from openai_runs.errors import NotFoundError
from openai_runs.session import Session

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore

_DAY: Final = 24 * 3600
#: Labels that are listed where one has no threads.
_MOST_OWNERS: Final = 20


def delete_threads(
    context: typer.Context,
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    thread_ids: Annotated[list[str] | None, typer.Argument(help="The threads' IDs.")] = None,
    unused_days: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --store, all threads in which nothing has happened for so many days. 0: all that have no "
            "unfinished run; they are counted first, and you are asked.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --unused-days 0 deletes all.")] = False,
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

    The exit code is 1 if one of them is not there, or if --owner has none.
    """
    if bool(thread_ids) is (unused_days is not None):
        raise typer.BadParameter("name the threads by their IDs, or pass --unused-days")
    store = store_or_endpoint(context, store, base_url)
    if store is None and (unused_days is not None or is_by_hand(context, "audit_log")):
        raise typer.BadParameter("--unused-days and --audit-log are for threads in a --store")
    if yes and unused_days != 0:
        raise typer.BadParameter("--yes is for --unused-days 0: nothing else asks")
    if owner is not None and unused_days is None:
        raise typer.BadParameter("--owner is for --unused-days: an ID has one owner")
    if store is None:
        run(_delete_at_endpoint(thread_ids or [], as_json, base_url))
    else:
        kept = make_store(store, files_folder, create=False, is_shared=True)
        work = (
            _delete_named(kept, thread_ids or [], audit_log, as_json)
            if unused_days is None
            else _delete_unused(kept, unused_days, owner, yes, audit_log, as_json)
        )
        run(work)


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


async def _delete_named(
    kept: "SQLiteStore | PostgresStore", ids: list[str], audit_log: str | None, as_json: bool
) -> None:
    async with threads_of(kept, audit_log) as threads:
        deleted = await _delete(threads, ids, as_json)
    _end(len(ids) - deleted)


async def _delete_unused(
    kept: "SQLiteStore | PostgresStore",
    unused_days: float,
    owner: str | None,
    yes: bool,
    audit_log: str | None,
    as_json: bool,
) -> None:
    before = time.time() - unused_days * _DAY if unused_days else math.inf
    async with threads_of(kept, audit_log) as threads:
        ids, owners = [], set()
        async with threads.listed() as found:
            async for thread in found:
                owners.add(thread["owner"])
                if _is_unused(thread, before, owner):
                    ids.append(thread["id"])
        if owner is not None and owner not in owners:
            refuse(_no_thread_of(owner, owners))
        if not unused_days and ids and not yes:
            _ask(f"{_count(len(ids))} of {'all owners' if owner is None else repr(owner)} in {kept.name}")
        deleted = await _delete(threads, ids, as_json)
    if not as_json:
        console.print(f"deleted {_count(deleted)}")


async def _delete(threads: StoredThreads, ids: list[str], as_json: bool) -> int:
    """Delete some, and tell of each; how many were there."""
    deleted = 0
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        for id in progress.track(ids, description="deleting"):
            was_there = await threads.delete(id)
            deleted += was_there
            _tell(id, was_there, as_json)
    return deleted


def _is_unused(thread: dict[str, Any], before: float, owner: str | None) -> bool:
    is_asked_for = owner is None or thread["owner"] == owner
    return is_asked_for and thread["last_used_at"] < before and not thread["has_unfinished_run"]


def _no_thread_of(owner: str, owners: set[str]) -> str:
    """What is said of an owner who has none, with those who have some: the label may be misspelt."""
    names = [repr(label) if label else "'' (created without a key)" for label in sorted(owners)]
    there = ", ".join(names[:_MOST_OWNERS]) + (", …" if len(names) > _MOST_OWNERS else "")
    return f"there is no thread of the owner {owner!r}; there are threads of {there or 'nobody'}"


def _ask(what: str) -> None:
    """Have whoever sits at the terminal confirm; where nobody does, nothing is deleted."""
    if not _is_somebody_there():
        refuse(f"--unused-days 0 would delete {what}; nothing was deleted. If that is meant, pass --yes", 2)
    typer.confirm(f"Delete {what}?", abort=True, err=True)


def _is_somebody_there() -> bool:
    return sys.stdin.isatty()


def _count(number: int) -> str:
    return f"{number} thread{'' if number == 1 else 's'}"


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
