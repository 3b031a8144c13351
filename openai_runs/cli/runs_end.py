"""The command `openai-runs runs end`."""

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from openai_runs.cli.config_option import ServerConfig
from openai_runs.cli.store_options import (
    DEFAULT_FILES_FOLDER,
    FilesFolder,
    StoppedStore,
    make_store,
)
from openai_runs.cli.terminal import console, errors, refuse, run

if TYPE_CHECKING:
    from openai_runs.stores.postgres import PostgresStore
    from openai_runs.stores.sqlite import SQLiteStore


class EndAs(StrEnum):
    """The statuses that a run can be given by hand."""

    FAILED = "failed"
    CANCELLED = "cancelled"


def end(
    run_id: Annotated[str, typer.Argument(help="The run's ID.")],
    config: ServerConfig = None,  # noqa: ARG001  # its callback has read the file
    store: StoppedStore = "runs.db",
    files_folder: FilesFolder = DEFAULT_FILES_FOLDER,
    status: Annotated[EndAs, typer.Option(help="The run's new status.")] = EndAs.FAILED,
    reason: Annotated[str, typer.Option(help="The message in last_error of a failed run.")] = (
        "The run was ended by the server's operator."
    ),
) -> None:
    """End an unfinished run by hand, with its steps and messages, so that the server does not resume it.

    Damaged records of the run are listed, and not changed.
    """
    kept = make_store(store, files_folder, create=False)
    # No warnings: `_end` prints one line per damaged record.
    logging.getLogger("openai_runs").addHandler(logging.NullHandler())
    run(_end(kept, run_id, status, reason))


async def _end(kept: "SQLiteStore | PostgresStore", run_id: str, status: EndAs, reason: str) -> None:
    from openai_runs.engine.endings import end_by_hand
    from openai_runs.models.run import RunStatus

    async with kept as store:
        try:
            ending = await end_by_hand(store, run_id, RunStatus(status.value), reason)
        except LookupError:
            refuse(f"there is no run {run_id} in {kept.name}; `openai-runs export --store …` lists the runs in it")
    ended = ending.run
    if ending.had_ended:
        refuse(f"run {run_id} has ended already, and was not changed: its status is {ended.status}")
    console.print(
        f"run {run_id} of thread {escape(ended.thread_id)} is {ended.status} now; its thread can have new runs"
    )
    for record in ending.skipped:
        errors.print(f"[yellow]not changed: {escape(record)}[/]")
    if ending.handle is not None:
        console.print(f"its model call may still run at the endpoint, as {escape(ending.handle)}; cancel it there")
