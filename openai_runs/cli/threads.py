"""The commands `openai-runs threads list` and `openai-runs threads show`."""

from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from openai_runs import dump
from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.json_option import AsJson, print_json
from openai_runs.cli.showing import message_line, run_line, when
from openai_runs.cli.store_options import DEFAULT_FILES_FOLDER, FilesFolder, StoreOrNone, make_store, store_or_endpoint
from openai_runs.cli.stored_threads import threads_of
from openai_runs.cli.terminal import console, errors, note_none, run, show_header
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.session import Session

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore


def list_threads(
    context: typer.Context,
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    as_json: AsJson = False,
    base_url: BaseUrl = None,
    store: StoreOrNone = None,
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
) -> None:
    """List the threads, newest first, at a server of this library's: the API itself cannot. Or those in a store."""
    store = store_or_endpoint(context, store, base_url)
    if store is None:
        run(_list(limit, as_json, base_url))
    else:
        run(_list_stored(make_store(store, files_folder, create=False, is_shared=True), limit, as_json))


async def _list_stored(kept: "SQLiteStore | PostgresStore", limit: int, as_json: bool) -> None:
    async with threads_of(kept) as threads, threads.listed() as found:
        everything = [thread async for thread in found]
    newest = nlargest(limit, everything, key=itemgetter("created_at"))
    if len(everything) > limit:
        errors.print(f"[dim]the newest {limit} of {len(everything)} threads; --limit shows more[/]")
    if as_json:
        for thread in newest:
            print_json(thread)
        return
    if newest:
        show_header(f"[dim]{'created':<19}  {'last used':<19}  {'thread':<31}  owner[/]")
    else:
        note_none("threads")
    for thread in newest:
        created, used = [when(datetime.fromtimestamp(thread[name], UTC)) for name in ("created_at", "last_used_at")]
        console.print(f"{created}  {used}  {escape(thread['id'])}  {escape(thread['owner'])}")


async def _list(limit: int, as_json: bool, base_url: str | None) -> None:
    shown = 0
    async with Session(base_url) as session:
        async for thread in session.threads.list(limit=min(limit, 100)):
            if as_json:
                print_json(dump(thread))
            else:
                if not shown:
                    show_header(f"[dim]{'created':<19}  {'thread':<31}  metadata[/]")
                facts = ", ".join(f"{name}={value}" for name, value in (thread.metadata or {}).items())
                console.print(f"{when(thread.created_at)}  {escape(thread.id)}  [dim]{escape(facts)}[/]")
            shown += 1
            if shown == limit:
                return
    if not shown and not as_json:
        note_none("threads")


def show_thread(
    thread_id: Annotated[str, typer.Argument(help="The thread's ID.")],
    as_json: AsJson = False,
    base_url: BaseUrl = None,
) -> None:
    """Show what is said in a thread, and its runs, in order of time; at any endpoint."""
    run(_show(thread_id, as_json, base_url))


async def _show(thread_id: str, as_json: bool, base_url: str | None) -> None:
    async with Session(base_url) as session:
        said: list[Message | Run] = [found async for found in session.messages.list(thread_id, order="asc", limit=100)]
        said += [found async for found in session.runs.list(thread_id, order="asc", limit=100)]
        # In one second, a user's message comes before its run, and the run before what it writes.
        said.sort(key=lambda one: (one.created_at, isinstance(one, Message) and one.run_id is not None))
        for one in said:
            if as_json:
                print_json(dump(one))
            elif isinstance(one, Message):
                console.print(message_line(one))
            else:
                console.print(f"[dim]run[/]  {run_line(one, with_thread=False)}")
