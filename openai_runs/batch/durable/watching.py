"""What whoever watches a durable batch needs: its progress for a progress bar, and its results in a file."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast

import anyio
from attrs import define, evolve, field

from openai_runs.batch.durable.batches import DurableBatch
from openai_runs.batch.durable.job_table import Progress
from openai_runs.batch.jobs import BatchResult, RunJob
from openai_runs.batch.progress import BatchProgress, RecentRate, seconds_left
from openai_runs.batch.result_files import ResultFile
from openai_runs.batch.saving import Saved

#: Seconds between two looks at the progress.
_LOOK: Final = 1.0


@define
class WatchedProgress:
    """The progress of a durable batch as that of a `Batch`, for `progress_bar`."""

    progress: BatchProgress  #: the latest
    _batch: DurableBatch
    _rate: RecentRate = field(factory=lambda: RecentRate(anyio.current_time()), init=False)

    @classmethod
    async def of(cls, batch: DurableBatch) -> "WatchedProgress":
        """The progress so far; the rate is counted from now."""
        return cls(as_batch_progress(await batch.progress(), 0.0), batch)

    async def watch(self, *, budget_tokens: int | None = None) -> None:
        """Look at the progress every second, until cancelled or until the batch has used so many tokens."""
        while budget_tokens is None or self.progress.tokens < budget_tokens:
            await anyio.sleep(_LOOK)
            await self.look()

    async def look(self) -> None:
        """Look at the progress once."""
        latest, now = await self._batch.progress(), anyio.current_time()
        for _ in range(latest.done - self.progress.done):
            self._rate.add(now)
        self.progress = as_batch_progress(latest, self._rate.per_second(now))


def as_batch_progress(progress: Progress, rate: float) -> BatchProgress:
    """The progress of a durable batch, whose jobs end at ``rate`` a second, as that of a `Batch`."""
    return BatchProgress(
        total=progress.total,
        taken=progress.added,
        done=progress.done,
        failed=progress.failed + progress.cancelled,
        in_flight=progress.running,
        waiting=progress.waiting,
        tokens=progress.tokens,
        rate=rate,
        seconds_left=seconds_left(progress.total, progress.done, rate),
    )


async def keyed_results(
    batch: DurableBatch, *, until: anyio.Event | None = None
) -> AsyncGenerator[tuple[str, BatchResult], None]:
    """`DurableBatch.results`, each with its key: the job's, or its position in the batch if it has none."""
    async with aclosing(batch.results(until=until)) as results:
        async for result in results:
            key = str(result.index) if result.key is None else result.key
            yield key, evolve(result, key=key)


async def write_results(
    batch: DurableBatch, file: ResultFile, saved: Saved, *, until: anyio.Event | None = None
) -> None:
    """Write the results that a file does not have yet, as jobs end, until all have.

    Args:
        batch: What to read.
        file: Where to write.
        saved: Is updated.
        until: Once it is set, the results of the jobs that have ended are the last ones.

    Raises:
        OSError: A line cannot be written.
        ValueError: The file has the result of a job that asked for something else; see `ResultFile.lacks`.
    """
    async with aclosing(keyed_results(batch, until=until)) as results:
        async for key, result in results:
            saved.add_tokens(result)  # as the batch's tokens are those of all starts
            if file.lacks(cast(RunJob, {**result.job, "key": key})):
                file.write(result)
                saved.add(result)
