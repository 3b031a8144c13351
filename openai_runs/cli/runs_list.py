"""The commands `openai-runs runs list` and `openai-runs runs watch`."""

from datetime import datetime
from typing import Annotated, TypeAlias

import typer

from openai_runs import dump
from openai_runs.cli.endpoint_option import BaseUrl
from openai_runs.cli.json_option import AsJson, print_json
from openai_runs.cli.showing import now, run_header, run_line
from openai_runs.cli.terminal import console, note_none, run, show_header
from openai_runs.models.run import Run, RunStatus
from openai_runs.session import Session

_WIDE = 120  # columns from which on threads are shown, too

Statuses: TypeAlias = Annotated[
    list[RunStatus] | None,
    typer.Option("--status", help="Only runs of this status; can be repeated.", metavar="STATUS"),
]


def list_runs(
    status: Statuses = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    as_json: AsJson = False,
    base_url: BaseUrl = None,
) -> None:
    """List the runs of all threads, newest first, at a server of this library's: the API itself cannot."""
    run(_list(set(status or RunStatus), limit, as_json, base_url))


async def _list(statuses: set[RunStatus], limit: int, as_json: bool, base_url: str | None) -> None:
    shown = 0
    async with Session(base_url) as session:
        async for found in session.runs.list_all(limit=100):
            if found.status in statuses:
                if not shown and not as_json:
                    show_header(run_header(with_thread=_shows_threads()))
                _show(found, as_json)
                shown += 1
                if shown == limit:
                    return
    if not shown and not as_json:
        note_none("runs" if len(statuses) == len(RunStatus) else "runs of this status")


def watch_runs(status: Statuses = None, as_json: AsJson = False, base_url: BaseUrl = None) -> None:
    """Show runs as they change, until Ctrl-C: first those that have not ended; at a server of this library's.

    The time in each line is that at which the change came.
    """
    run(_watch(set(status or RunStatus), as_json, base_url), interrupted=0)


async def _watch(statuses: set[RunStatus], as_json: bool, base_url: str | None) -> None:
    async with Session(base_url) as session, session.runs.changes() as changes:
        if not as_json:
            show_header(run_header(with_thread=_shows_threads(), at="changed"))
        async for changed in changes:
            if changed.status in statuses:
                _show(changed, as_json, now())


def _show(value: Run, as_json: bool, at: datetime | None = None) -> None:
    if as_json:
        print_json(dump(value))
    else:
        console.print(run_line(value, with_thread=_shows_threads(), at=at))


def _shows_threads() -> bool:
    return not console.is_terminal or console.width >= _WIDE
