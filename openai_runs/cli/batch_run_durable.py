"""`openai-runs batch run --durable`: the jobs of a file as a durable batch, and its results into a file."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

import anyio
from attrs import define, field, frozen
from rich.markup import escape

from openai_runs.batch.job_files import JobFile
from openai_runs.batch.jobs import RunJob
from openai_runs.batch.progress_bar import progress_bar
from openai_runs.batch.result_files import ResultFile
from openai_runs.batch.saving import Saved
from openai_runs.cli.batch_output import FAILED, REFUSED, STOPPED, BadLines, report, say_incomplete, summarize
from openai_runs.cli.terminal import errors, refuse
from openai_runs.cli.work_options import Work
from openai_runs.errors import OpenAIRunsError, WorkerLostError
from openai_runs.session import Session

if TYPE_CHECKING:
    from openai_runs.batch.durable import DurableBatch, DurableBatches
    from openai_runs.batch.durable.watching import WatchedProgress


@frozen(kw_only=True)
class DurableStore:
    """Where a durable batch is kept, and what it may use."""

    url: str  #: or path
    name: str
    budget_tokens: int | None


@define
class DurableFileBatch:
    """A durable batch from a file into a file."""

    session: Session
    file: JobFile
    results: ResultFile
    store: DurableStore
    work: Work
    bad_lines: BadLines = field(factory=BadLines)
    tokens: int = 0
    saved: Saved = field(factory=Saved)
    is_over: bool = False
    why_stopped: str = "it was stopped"
    failure: Exception | None = None  # why nothing could be started
    _drained: anyio.Event = field(factory=anyio.Event, init=False)
    _adding: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)

    async def run(self) -> int:
        """Run the jobs until all have ended, or something stops them; returns the exit code."""
        from openai_runs.batch.durable import DurableBatches

        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            try:
                async with DurableBatches.open(self.store.url, self.session, **self.work.durable()) as batches:
                    await self._work(batches, signals)
            except WorkerLostError as error:
                errors.print(f"[red]{escape(str(error))}[/]")
            except RuntimeError as error:  # another process runs the jobs of this file
                refuse(str(error), REFUSED)
        if self.failure is not None:
            raise self.failure
        summarize(self.saved, self.results, bad_lines=self.bad_lines.count, tokens=self.tokens)
        if not self.is_over:
            say_incomplete(self.why_stopped)
            return STOPPED
        return FAILED if self.saved.failed or self.results.failed or self.bad_lines.count else 0

    async def _work(self, batches: "DurableBatches", signals: AsyncIterator[signal.Signals]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stop_on_signals, signals, batches, tasks.cancel_scope)
            batch: DurableBatch | None = None
            try:
                with self._adding:
                    batch = await batches.submit(self._jobs(), name=self.store.name)
            except (OpenAIRunsError, OSError, ValueError) as error:
                self.failure = error  # raised outside the task group, which would wrap it in an exception group
            else:
                await (self._drained.wait() if batch is None else self._save(batch, batches))
            tasks.cancel_scope.cancel()

    def _jobs(self) -> Iterator[RunJob]:
        for job in self.file.read(self.bad_lines.add):
            self.results.lacks(job)  # refuses one whose result is another job's
            yield job
        self.bad_lines.print_repeated()

    async def _save(self, batch: "DurableBatch", batches: "DurableBatches") -> None:
        from openai_runs.batch.durable.watching import WatchedProgress, write_results

        watched = await WatchedProgress.of(batch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, watched, batches)
            if not errors.is_terminal:
                tasks.start_soon(report, watched)
            try:
                with progress_bar(watched, "jobs", console=errors) if errors.is_terminal else nullcontext():
                    await write_results(batch, self.results, self.saved, until=self._drained)
                    await watched.look()
                self.is_over = (await batch.progress()).is_over
            except (OSError, ValueError) as error:  # a full disk, say, or the results of other jobs
                errors.print(f"[red]{escape(str(error))}[/]")
            tasks.cancel_scope.cancel()
        self.tokens = watched.progress.tokens

    async def _watch(self, watched: "WatchedProgress", batches: "DurableBatches") -> None:
        await watched.watch(budget_tokens=self.store.budget_tokens)
        self.why_stopped = "the token budget is used up"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._drain, batches)
            await watched.watch()

    async def _stop_on_signals(
        self, signals: AsyncIterator[signal.Signals], batches: "DurableBatches", scope: anyio.CancelScope
    ) -> None:
        async with anyio.create_task_group() as tasks:
            await anext(signals)
            self._adding.cancel()
            tasks.start_soon(self._drain, batches)
            errors.print("no more runs are started, and those in progress are waited for; Ctrl-C again leaves them")
            await anext(signals)
            errors.print("leaving the runs in progress")
            scope.cancel()

    async def _drain(self, batches: "DurableBatches") -> None:
        await batches.drain()
        self._drained.set()
