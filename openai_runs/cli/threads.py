"""The commands `openai-runs threads list` and `openai-runs threads show`."""

from typing import Annotated

import typer
from rich.markup import escape

from openai_runs import dump
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.json_option import AsJson, print_json
from openai_runs.cli.showing import message_line, run_line, when
from openai_runs.cli.terminal import console, note_none, run, show_header
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.session import Session


def list_threads(
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    as_json: AsJson = False,
    base_url: BaseUrl = None,
) -> None:
    """List the threads, newest first, at a server of this library's: the API itself cannot."""
    run(_list(limit, as_json, base_url))


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
