"""`save_results`: writes the results of a batch to a file, and counts them."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

from attrs import define, field

from openai_runs.batch.jobs import BatchResult, RunJob
from openai_runs.batch.result_files import ResultFile
from openai_runs.batch.running import Batch


@define
class Saved:
    """What `save_results` has written."""

    completed: int = 0  #: jobs
    failed: Counter[str] = field(factory=Counter)  #: jobs, by the class of their error
    #: Jobs that failed for a while, and were not tried again because the batch was stopped. They have no line, so the
    #: next process runs them.
    postponed: int = 0
    tokens: Counter[str] = field(factory=Counter)  #: of runs with a completion window, by that window

    def add(self, result: BatchResult) -> None:
        """Count a result that was written."""
        if result.error is None:
            self.completed += 1
        else:
            self.failed[type(result.error).__name__] += 1

    def add_tokens(self, result: BatchResult) -> None:
        """Count the tokens of a result, if its run has a completion window: the endpoint may not know of any."""
        window = None if result.run is None else result.run.completion_window
        if window is not None and result.usage is not None:
            self.tokens[window] += result.usage.total_tokens

    @property
    def written(self) -> int:
        """Lines."""
        return self.completed + self.failed.total()


def without_results(jobs: Iterator[RunJob], file: ResultFile) -> Iterator[RunJob]:
    """Leave out the jobs that a file has results of.

    Raises:
        ValueError: It has the result of a job that asked for something else; see `ResultFile.lacks`.
    """
    return (job for job in jobs if file.lacks(job))


def resumable(jobs: Iterator[RunJob], file: ResultFile) -> Iterator[RunJob]:
    """Give jobs what a file of results has for them, so that no run is paid twice.

    That is an idempotency key, for jobs that have none, with which the next process gets their runs; and the run of a
    job that has failed before.
    """
    for job in jobs:
        key, run = file.idempotency_key(job), file.earlier_run(job)
        yield cast(RunJob, {"idempotency_key": key, **job} | ({} if run is None else {"earlier_run": run}))


async def save_results(
    batch: Batch, file: ResultFile, saved: Saved, *, would_repeat: Callable[[BatchResult], bool]
) -> None:
    """Write results as jobs end, until the batch is over.

    Args:
        batch: What to read.
        file: Where to write.
        saved: Is updated.
        would_repeat: Whether a failed job would have been tried again, had the batch not been stopped.

    Raises:
        OSError: A line cannot be written.
    """
    async for result in batch:
        saved.add_tokens(result)
        if batch.stopped_by is not None and would_repeat(result):
            saved.postponed += 1
            continue
        file.write(result)
        saved.add(result)
