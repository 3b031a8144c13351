"""`openai-runs runs end`."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from openai_runs.cli.store_options import StoreFile, check_exists
from openai_runs.cli.terminal import console, errors, refuse, run


class EndAs(StrEnum):
    """How a run may be ended by hand."""

    FAILED = "failed"
    CANCELLED = "cancelled"


def end(
    run_id: Annotated[str, typer.Argument(help="The run's ID.")],
    store: StoreFile = Path("runs.db"),
    status: Annotated[EndAs, typer.Option(help="What the run becomes.")] = EndAs.FAILED,
    reason: Annotated[str, typer.Option(help="The message of a failed run's last_error.")] = (
        "The run was ended by the server's operator."
    ),
) -> None:
    """End an unfinished run by hand, with its steps and messages, so that no start takes it up again.

    It works with what can be read of the run: what is damaged is named, and left as it is.
    """
    check_exists(store)
    logging.getLogger("openai_runs").addHandler(logging.NullHandler())  # what is damaged is told below, in a line each
    run(_end(store, run_id, status, reason))


async def _end(path: Path, run_id: str, status: EndAs, reason: str) -> None:
    from openai_runs.engine.endings import end_by_hand
    from openai_runs.models.run import RunStatus
    from openai_runs.stores.sqlite import SQLiteStore

    async with SQLiteStore(path) as store:
        try:
            ending = await end_by_hand(store, run_id, RunStatus(status.value), reason)
        except LookupError:
            refuse(
                f"there is no run {run_id} in {path}; `openai-runs export --store {path}` lists those that there are"
            )
    ended = ending.run
    if ending.had_ended:
        refuse(f"run {run_id} has ended already, and stays as it is: {ended.status}")
    console.print(
        f"run {run_id} of thread {escape(ended.thread_id)} is {ended.status} now; its thread can have other runs"
    )
    for what in ending.skipped:
        errors.print(f"[yellow]left as it is: {escape(what)}[/]")
    if ending.handle is not None:
        console.print(f"its model call may go on at the endpoint, as {escape(ending.handle)}")
