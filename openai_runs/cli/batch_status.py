"""The command `openai-runs batch status`."""

from typing import Annotated

import typer
from rich.markup import escape

from openai_runs.cli.batch_output import FAILED, REFUSED, STOPPED
from openai_runs.cli.durable_options import Store, find_batch, open_batches
from openai_runs.cli.terminal import console, run


def status(
    store: Store, name: Annotated[str | None, typer.Argument(help="A batch's name or ID. Unset: all batches.")] = None
) -> None:
    """Show how far the durable batches in a store have got, the latest first, or one of them.

    For one batch the exit code is 0 if all of its jobs have completed, 1 if all have ended and some have failed or were
    cancelled, and 3 if some have not ended; 2 if there is no such batch or store.
    """
    run(_status(store, name), refused=REFUSED)


async def _status(store: str, name: str | None) -> None:
    async with open_batches(store) as batches:
        for batch in await batches.list() if name is None else [await find_batch(batches, name)]:
            progress = await batch.progress()
            added = f"{progress.added:,}" if progress.total is None else f"{progress.total:,}"
            counts = {
                "completed": progress.completed,
                "failed": progress.failed,
                "cancelled": progress.cancelled,
                "running": progress.running,
                "waiting": progress.waiting,
                "tokens": progress.tokens,
            }
            facts = [f"{progress.done:,}/{added}", *(f"{count:,} {what}" for what, count in counts.items() if count)]
            if progress.total is None:
                facts.append("not all jobs are added yet")
            console.print(f"[bold]{escape(batch.name or batch.id)}[/]: {', '.join(facts)}")
            if name is not None and not progress.is_over:
                raise typer.Exit(STOPPED)
            if name is not None and progress.completed < progress.added:
                raise typer.Exit(FAILED)
