"""The command `openai-runs batch cancel`."""

from rich.markup import escape

from openai_runs.cli.batch_output import REFUSED
from openai_runs.cli.durable_options import Name, Store, find_batch, open_batches
from openai_runs.cli.terminal import console, run


def cancel(store: Store, name: Name = None) -> None:
    """End all jobs of a durable batch that have not ended.

    Jobs that wait are never started, and the processes that work on the store cancel the runs in progress. The results
    that there are stay. The exit code is 2 if there is no such batch or store.
    """
    run(_cancel(store, name), refused=REFUSED)


async def _cancel(store: str, name: str | None) -> None:
    async with open_batches(store) as batches:
        batch = await find_batch(batches, name)
        before = await batch.progress()
        await batch.cancel()
        progress = await batch.progress()
    console.print(
        f"{escape(batch.name or batch.id)}: {progress.cancelled - before.cancelled:,} jobs are cancelled now, "
        f"{progress.completed:,} have completed"
    )
