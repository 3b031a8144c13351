"""Runs a batch of jobs with a fixed number of workers; yields one result per job, as each finishes, failed or not."""

import logging
import math
from asyncio import CancelledError
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn, Self, final

import anyio
import anyio.lowlevel
from anyio.streams.memory import MemoryObjectSendStream
from attrs import define, evolve, field, frozen

from openai_runs._arguments import check_count, check_seconds
from openai_runs._finishing import finish
from openai_runs._supervision import supervise
from openai_runs._wire.idempotency import new_key
from openai_runs.errors import OpenAIRunsError, RunDeadlineError, RunError, TransportError
from openai_runs.following.options import OnExit, check_on_exit
from openai_runs.following.polling import Polling
from openai_runs.models.run import Run, RunCreateParams, RunStatus
from openai_runs.models.thread import ThreadCreateParams
from openai_runs.models.tool import ToolResources, ToolResourcesParams
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.batch")

#: Seconds that a request that starts a run may still take once the batch is left.
_START_GRACE: Final = 5.0
#: Seconds between two looks for a run whose start was given up.
_LOOK_EVERY: Final = 0.25


class RunJob(RunCreateParams, total=False):
    """The parameters of one run.

    With ``thread_id``, those of `RunCreateParams`: the run is started on that thread. Without it, those of
    `ThreadRunCreateParams`: the run is started on a new thread.
    """

    #: A key of your own for the job: with it, a repetition of the job starts no second run, also in another batch or
    #: process, where the endpoint honours idempotency keys. See `RunsService.create`.
    idempotency_key: str
    thread_id: str
    thread: ThreadCreateParams
    tool_resources: ToolResources | ToolResourcesParams | None


@frozen
class BatchResult:
    """The result of one job."""

    index: int  #: the job's position in the source, from 0
    job: RunJob
    run: Run | None = None  #: the latest snapshot; ``None`` if the run could not be started
    error: Exception | None = None  #: why the job did not succeed

    @property
    def ok(self) -> bool:
        """Whether the run completed."""
        return self.error is None and self.run is not None and self.run.status is RunStatus.COMPLETED


@define(repr=False)
class Batch:
    """An async iterator over results, in the order in which jobs finish. Returned by `run_batch`."""

    _session: Session
    _jobs: AsyncIterator[RunJob]
    _results: AsyncIterator[BatchResult]
    _toolbox: Toolbox | None
    _deadline: float | None
    _polling: Polling
    _on_exit: OnExit
    started: int = field(default=0, init=False)  #: jobs taken from the source
    finished: int = field(default=0, init=False)  #: results returned by the iteration
    _pending: dict[int, BatchResult] = field(factory=dict, init=False)  # started, result not returned yet
    _source_lock: anyio.Lock = field(factory=anyio.Lock, init=False)
    _exhausted: bool = field(default=False, init=False)
    _failure: Exception | None = field(default=None, init=False)
    _starting: set[anyio.CancelScope] = field(factory=set, init=False)

    @property
    def left(self) -> tuple[BatchResult, ...]:
        """Jobs that were started and whose results the iteration has not returned; after leaving early, the unfinished.

        Each ``run`` is the latest snapshot: its ID is enough to follow it again with `RunsService.follow`.
        """
        return tuple(self._pending.values())

    def __repr__(self) -> str:
        return f"<Batch at {self._session}: {self.finished} finished of {self.started} started>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult:
        try:
            result = await anext(self._results, None)
        except anyio.ClosedResourceError:
            raise RuntimeError("this batch is closed: iterate over its results inside `async with`") from None
        if result is not None:
            del self._pending[result.index]
            self.finished += 1
            return result
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def _run_workers(
        self, workers: int, results: MemoryObjectSendStream[BatchResult], scope: anyio.CancelScope
    ) -> None:
        """Run all jobs; cancelling ``scope`` stops the workers."""

        def failed(error: BaseException) -> None:
            # The source's own, or a bug of ours. Raised by the iteration, once the jobs in progress are finished.
            self._exhausted, self._failure = True, self._failure or _as_exception(error, "the source of the jobs")

        with scope:
            async with results, anyio.create_task_group() as tasks:
                for _ in range(workers):
                    tasks.start_soon(supervise, failed, partial(self._worker, results))

    async def _worker(self, results: MemoryObjectSendStream[BatchResult]) -> None:
        while (started := await self._take_job()) is not None:
            result = self._pending[started.index] = await self._run(started)
            await results.send(result)

    async def _take_job(self) -> BatchResult | None:
        async with self._source_lock:  # an async generator refuses concurrent calls
            if self._exhausted:
                return None
            try:
                job = await anext(self._jobs)
            except StopAsyncIteration:
                self._exhausted = True
                return None
            started = self._pending[self.started] = BatchResult(self.started, job)
            self.started += 1
            return started

    async def _run(self, started: BatchResult) -> BatchResult:
        """Run a job in a task of its own: whatever happens in it is its result, and nobody else's."""
        result = started

        async def work() -> None:
            nonlocal result
            result = await self._run_job(started)

        def failed(error: BaseException) -> None:
            nonlocal result
            latest = self._pending[started.index]
            run = error.run if isinstance(error, RunError) else latest.run
            result = evolve(latest, run=run, error=_as_exception(error, "the job"))

        async with anyio.create_task_group() as group:
            group.start_soon(supervise, failed, work)
        return result

    async def _run_job(self, started: BatchResult) -> BatchResult:
        ends_at = math.inf if self._deadline is None else anyio.current_time() + self._deadline
        run: Run | None = None
        # Shielded, and not stopped at the deadline itself: cancelling the request could leave a run on the server whose
        # ID is lost.
        with anyio.CancelScope(shield=True, deadline=ends_at + _START_GRACE) as scope:
            self._starting.add(scope)
            try:
                run = await self._start(started.job)
            finally:
                self._starting.remove(scope)
        if run is None:
            await anyio.lowlevel.checkpoint()  # raises if the batch was left, and the start took too long for that
            raise TransportError(
                f"the run did not start within the deadline of {self._deadline} s: the endpoint sent no response",
                maybe_done=True,
            )
        self._pending[started.index] = evolve(started, run=run)
        try:
            run = await self._session.runs.complete(
                run,
                toolbox=self._toolbox,
                deadline=None if self._deadline is None else max(ends_at - anyio.current_time(), 0.0),
                polling=self._polling,
                on_exit=self._on_exit,
            )
        except RunDeadlineError as error:  # its text has the seconds that the start has left
            raise RunDeadlineError(
                f"run {run.id} did not end within the deadline of {self._deadline} s, its start included; its latest "
                f"status was {error.run.status}",
                run=error.run,
                maybe_done=error.maybe_done,
            ) from error
        return evolve(started, run=run)

    def _limit_starts(self) -> None:
        """Give the requests that are starting runs a last `_START_GRACE` seconds, to learn the runs' IDs."""
        for scope in self._starting:
            scope.deadline = min(scope.deadline, anyio.current_time() + _START_GRACE)

    async def _start(self, job: RunJob) -> Run:
        params: dict[str, Any] = dict(job)
        if "thread_id" not in params:
            return await self._session.threads.create_and_run(**params)
        thread_id = params.pop("thread_id")
        marker = _mark(params)
        try:
            return await self._session.runs.create(thread_id, **params)
        except CancelledError:
            if marker is not None and self._on_exit == "cancel":
                await finish(self._cancel_late(thread_id, marker))
            raise

    async def _cancel_late(self, thread_id: str, marker: str) -> None:
        """Cancel a run whose start was given up: the request may arrive late, so the run is looked for repeatedly."""
        with anyio.move_on_after(_START_GRACE) as scope:
            try:
                while (run := await self._find(thread_id, marker)) is None:  # noqa: ASYNC110  # it is on the server
                    await anyio.sleep(_LOOK_EVERY)
                if not run.status.is_terminal:
                    await self._session.runs.cancel(run)
            except OpenAIRunsError as error:
                _logger.warning("the run that was being started on %s could not be cancelled: %s", thread_id, error)
        if scope.cancelled_caught:
            _logger.warning("the run that was being started on %s was not found; it may be active", thread_id)

    async def _find(self, thread_id: str, marker: str) -> Run | None:
        page = await self._session.runs.list(thread_id).page()
        return next((run for run in page.data if (run.metadata or {}).get(MARKER) == marker), None)


def _mark(params: dict[str, Any]) -> str | None:
    """Set the key by which a run is found whose start was given up; ``None`` if there is no room for it as a marker."""
    if params.get("idempotency_key") is None:
        params["idempotency_key"] = new_key()
    metadata = params.get("metadata") or {}
    if not isinstance(metadata, Mapping) or len(metadata.keys() - {MARKER}) >= 16:
        return None
    marker: str = params["idempotency_key"]
    return marker


def _as_exception(error: BaseException, what: str) -> Exception:
    """An error that may be stored, and raised without being taken for the reader's own cancellation."""
    if isinstance(error, Exception):
        return error
    text = "was cancelled by code that it called" if isinstance(error, CancelledError) else "failed"
    wrapped = RuntimeError(f"{what} {text}: {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped


async def _iterate(jobs: Iterable[RunJob] | AsyncIterable[RunJob]) -> AsyncGenerator[RunJob, None]:
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job


def run_batch(
    session: Session,
    jobs: Iterable[RunJob] | AsyncIterable[RunJob],
    *,
    workers: int = 8,
    toolbox: Toolbox | None = None,
    deadline: float | None = None,
    polling: Polling = Polling(),
    on_exit: OnExit = "cancel",
) -> AbstractAsyncContextManager[Batch]:
    """Run many jobs, at most ``workers`` at a time, and yield one result per job as it finishes.

    Whatever happens to a job is its result: a failed run, a refused request, wrong parameters, or any other exception
    gives a result with an ``error``. Only cancellation stops the batch. Jobs are taken from the source only when a
    worker is free, and workers wait until results are read: memory use does not grow with the number of jobs. If the
    source itself raises, the jobs in progress are finished first, then the iteration raises that error.

    Args:
        session: Where to run; at most its ``max_connections`` requests are in progress at once.
        jobs: What to run. A synchronous iterable is advanced on the event loop, so it should not block.
        workers: How many runs may be in progress at once, at least 1.
        toolbox: Answers tool calls.
        deadline: Seconds for each job, from its start. The request that starts a run may take five seconds more, to
            learn the run's ID, without which the run cannot be cancelled.
        polling: How often each run is polled.
        on_exit: What to do with runs in progress when the batch is left early: ``"cancel"`` them, or ``"leave"`` them
            running. `Batch.left` lists them either way.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``workers`` is less than 1, or another argument is out of range.

    Example:
        ::

            async with run_batch(session, jobs, workers=32, toolbox=toolbox) as results:
                async for result in results:
                    print(result.index, result.run and result.run.status, result.error)
    """
    if isinstance(jobs, str | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
        raise TypeError(f"jobs must be an iterable or async iterable of RunJob: got {jobs!r}")
    check_count("workers", workers, least=1)
    check_seconds("deadline", deadline, zero=True, none=True)
    check_on_exit(on_exit)
    return _UnopenedBatch(_open(session, jobs, workers, toolbox, deadline, polling, on_exit))


@final
@frozen(eq=False)
class _UnopenedBatch(AbstractAsyncContextManager[Batch]):
    """What `run_batch` returns; used in another way than by ``async with``, it says how."""

    _manager: AbstractAsyncContextManager[Batch]

    async def __aenter__(self) -> Batch:
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)

    def __aiter__(self) -> NoReturn:
        raise TypeError(
            "a batch is used with `async with`: write `async with run_batch(session, jobs) as results:`, and in it "
            "`async for result in results:`"
        )

    __await__ = __iter__ = __aiter__


@asynccontextmanager
async def _open(
    session: Session,
    jobs: Iterable[RunJob] | AsyncIterable[RunJob],
    workers: int,
    toolbox: Toolbox | None,
    deadline: float | None,
    polling: Polling,
    on_exit: OnExit,
) -> AsyncGenerator[Batch, None]:
    send, receive = anyio.create_memory_object_stream[BatchResult](0)
    failure: BaseException | None = None
    async with aclosing(_iterate(jobs)) as source, receive:
        batch = Batch(session, source, receive, toolbox, deadline, polling, on_exit)
        try:
            async with anyio.create_task_group() as tasks:
                # Not the group's own scope: that also contains the caller's task, in which a failed asyncio.TaskGroup
                # (on Python 3.11 and 3.12) leaves a cancellation uncounted, so that ours would be taken for the
                # caller's.
                work = anyio.CancelScope()
                tasks.start_soon(batch._run_workers, workers, send, work)  # noqa: SLF001  # same module
                try:
                    yield batch
                except (CancelledError, GeneratorExit):
                    raise
                except BaseException as error:
                    failure = error  # raised outside the task group, which would wrap it in an exception group
                finally:
                    batch._limit_starts()  # noqa: SLF001  # same module
                    work.cancel()
        finally:
            if batch.left:
                _logger.warning("left early: %d of %d started jobs have no result", len(batch.left), batch.started)
    if failure is not None:
        raise failure
