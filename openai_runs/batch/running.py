"""Many runs at once: bounded, results as they finish, one a job whatever happens to it."""

import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Self

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define, evolve, field, frozen

from openai_runs._arguments import check_count, check_seconds
from openai_runs.errors import OpenAIRunsError, RunError
from openai_runs.following.options import OnExit, check_on_exit
from openai_runs.following.polling import Polling
from openai_runs.models.run import Run, RunCreateParams, RunStatus
from openai_runs.models.thread import ThreadCreateParams
from openai_runs.models.tool import ToolResources, ToolResourcesParams
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.batch")

#: Seconds that starting a run may still take when the batch is left.
_START_GRACE: Final = 5.0


class RunJob(RunCreateParams, total=False):
    """A run to make.

    With ``thread_id``, on that thread, with the parameters of `RunCreateParams`. Without, on a new thread, with those
    of `ThreadRunCreateParams`.
    """

    thread_id: str
    thread: ThreadCreateParams
    tool_resources: ToolResources | ToolResourcesParams | None


@frozen
class BatchResult:
    """What became of one job."""

    index: int  #: the job's place in the source, from 0
    job: RunJob
    run: Run | None = None  #: as last seen; ``None`` if it could not be started
    error: Exception | None = None  #: why the job did not succeed

    @property
    def ok(self) -> bool:
        """Whether the run completed."""
        return self.error is None and self.run is not None and self.run.status is RunStatus.COMPLETED


@define(repr=False)
class Batch:
    """Results as they finish, in any order: ``async for result in batch``. Made by `run_batch`."""

    _session: Session
    _jobs: AsyncIterator[RunJob]
    _results: AsyncIterator[BatchResult]
    _toolbox: Toolbox | None
    _deadline: float | None
    _polling: Polling
    _on_exit: OnExit
    started: int = field(default=0, init=False)  #: jobs taken from the source
    finished: int = field(default=0, init=False)  #: results handed over
    _in_hand: dict[int, BatchResult] = field(factory=dict, init=False)
    _next_job: anyio.Lock = field(factory=anyio.Lock, init=False)
    _exhausted: bool = field(default=False, init=False)
    _failure: Exception | None = field(default=None, init=False)
    _starting: set[anyio.CancelScope] = field(factory=set, init=False)

    @property
    def left(self) -> tuple[BatchResult, ...]:
        """Jobs that were begun and whose results were not handed over; after leaving early, those given up.

        The run is as it was when last seen: its ID is enough to take it up again with `RunsService.follow`.
        """
        return tuple(self._in_hand.values())

    def __repr__(self) -> str:
        return f"<Batch at {self._session}: {self.finished} finished of {self.started} started>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult:
        try:
            result = await anext(self._results)
        except StopAsyncIteration:
            if self._failure is not None:
                raise self._failure from None
            raise
        except anyio.ClosedResourceError:
            raise RuntimeError("this batch is closed: take its results inside `async with`") from None
        del self._in_hand[result.index]
        self.finished += 1
        return result

    async def _work(self, workers: int, results: MemoryObjectSendStream[BatchResult], scope: anyio.CancelScope) -> None:
        """Carry out all jobs; ``scope`` is for calling it off."""
        with scope:
            async with results, anyio.create_task_group() as tasks:
                for _ in range(workers):
                    tasks.start_soon(self._work_alone, results)

    async def _work_alone(self, results: MemoryObjectSendStream[BatchResult]) -> None:
        try:
            while (begun := await self._begin()) is not None:
                result = self._in_hand[begun.index] = await self._run(begun)
                await results.send(result)
        except Exception as error:  # not a job's: the source's, or a bug. Told when what has begun is through
            self._exhausted, self._failure = True, self._failure or error

    async def _begin(self) -> BatchResult | None:
        async with self._next_job:  # an async generator bears one caller at a time
            if self._exhausted:
                return None
            try:
                job = await anext(self._jobs)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            begun = self._in_hand[self.started] = BatchResult(self.started, job)
            self.started += 1
            return begun

    async def _run(self, begun: BatchResult) -> BatchResult:
        run: Run | None = None
        # Shielded: a run that is started while we are being cancelled would be one that nobody knows of.
        with anyio.CancelScope(shield=True) as scope:
            self._starting.add(scope)
            try:
                run = await self._start(begun.job)
            except (OpenAIRunsError, TypeError, ValueError) as error:  # elsewhere a bad job is a bug, here a result
                return evolve(begun, error=error)
            finally:
                self._starting.remove(scope)
        if run is None:  # given up, with the whole batch
            return begun
        begun = self._in_hand[begun.index] = evolve(begun, run=run)
        try:
            run = await self._session.runs.complete(
                run, toolbox=self._toolbox, deadline=self._deadline, polling=self._polling, on_exit=self._on_exit
            )
        except RunError as error:
            return evolve(begun, run=error.run, error=error)
        except OpenAIRunsError as error:
            return evolve(begun, error=error)
        return evolve(begun, run=run)

    def _hurry(self) -> None:
        """Give runs that are being started a last moment in which their IDs may come to be known."""
        for scope in self._starting:
            scope.deadline = anyio.current_time() + _START_GRACE

    async def _start(self, job: RunJob) -> Run:
        params: dict[str, Any] = dict(job)
        if "thread_id" in params:
            return await self._session.runs.create(params.pop("thread_id"), **params)
        return await self._session.threads.create_and_run(**params)


async def _each(jobs: Iterable[RunJob] | AsyncIterable[RunJob]) -> AsyncGenerator[RunJob, None]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


@asynccontextmanager
async def run_batch(
    session: Session,
    jobs: Iterable[RunJob] | AsyncIterable[RunJob],
    *,
    workers: int = 8,
    toolbox: Toolbox | None = None,
    deadline: float | None = None,
    polling: Polling = Polling(),
    on_exit: OnExit = "cancel",
) -> AsyncGenerator[Batch, None]:
    """Run many jobs, at most ``workers`` at a time, and hand over each result as it finishes.

    A run that ends badly, a refused request or a bad job is a result among the others. Jobs are taken from the
    source only when a worker is free, and workers wait for results to be taken: memory does not grow with the
    number of jobs. Should the source itself raise, what has begun is finished, and then its error comes out of the
    iteration.

    Args:
        session: Where to run; at most its ``max_connections`` requests are under way at once.
        jobs: What to run. An iterable is advanced on the event loop, so it should not block.
        workers: How many runs are under way at once.
        toolbox: Answers tool calls.
        deadline: Seconds for each run.
        polling: How often each run is asked for.
        on_exit: What becomes of the runs under way when the batch is left early: ``"cancel"`` them, or
            ``"leave"`` them. `Batch.left` names them either way.

    Raises:
        TypeError: An argument is not what it should be.
        ValueError: There is nobody to work, or another argument is out of range.

    Example:
        ::

            async with run_batch(session, jobs, workers=32, toolbox=toolbox) as results:
                async for result in results:
                    print(result.index, result.run and result.run.status, result.error)
    """
    if isinstance(jobs, str | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
        raise TypeError(f"jobs must be an iterable of them, or an async one: got {jobs!r}")
    check_count("workers", workers, least=1)
    check_seconds("deadline", deadline, zero=True, none=True)
    check_on_exit(on_exit)
    send, receive = anyio.create_memory_object_stream[BatchResult](0)
    failure: BaseException | None = None
    async with aclosing(_each(jobs)) as source, receive:
        batch = Batch(session, source, receive, toolbox, deadline, polling, on_exit)
        try:
            async with anyio.create_task_group() as tasks:
                # Not the group's own scope: in that is the caller's task too, where a failed asyncio.TaskGroup leaves
                # (on Python 3.11 and 3.12) a cancellation that nobody counts, so that ours would pass for the caller's.
                work = anyio.CancelScope()
                tasks.start_soon(batch._work, workers, send, work)  # noqa: SLF001  # the rest of the same subject
                try:
                    yield batch
                except (Exception, KeyboardInterrupt, SystemExit) as error:
                    failure = error  # kept out of the task group, which would wrap the caller's error in a group
                finally:
                    batch._hurry()  # noqa: SLF001
                    work.cancel()
        finally:
            if batch.left:
                _logger.warning("left early: %d of %d jobs begun have no result", len(batch.left), batch.started)
    if failure is not None:
        raise failure
