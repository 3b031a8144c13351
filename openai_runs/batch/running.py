"""`run_batch`: runs any number of jobs, some at a time; yields one result per job, failed or not.

The `Schedule` decides which job is next, `JobRetries` which is tried again, `Attempts` tries it; here are the tasks.
"""

import asyncio
import logging
import math
import random
import time
from asyncio import CancelledError
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sized
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Self, TypeAlias, final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from openai_runs._arguments import check_count, check_seconds
from openai_runs._habits import BATCH, BATCH_ITERATED, explained, refusing
from openai_runs._supervision import supervise
from openai_runs.batch.attempt import Attempts, OpenJob, as_exception
from openai_runs.batch.jobs import BatchResult, RunJob, iterate
from openai_runs.batch.progress import BatchProgress, RecentRate, seconds_left
from openai_runs.batch.repeating import JobRetries
from openai_runs.batch.schedule import Schedule
from openai_runs.following.options import OnExit
from openai_runs.following.polling import Polling
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.batch")

BatchOnExit: TypeAlias = Literal["cancel", "leave", "drain"]

#: How many jobs are open at most, for each worker, unless the caller says so.
_WINDOW_PER_WORKER: Final = 10


@define(repr=False, eq=False)
class Batch:
    """An async iterator over results, in the order in which jobs end, or in that of their source.

    Returned by `run_batch`.
    """

    _session: Session
    _jobs: AsyncIterator[RunJob]
    _schedule: Schedule
    _attempts: Attempts
    _retries: JobRetries | None
    _budget: int | None
    _total: int | None
    finished: int = field(default=0, init=False)  #: results returned by the iteration
    #: Why no more jobs are taken from the source, which may have some: ``"budget"`` if the tokens of ``budget_tokens``
    #: are used up, ``"drain"`` after `drain`. ``None`` otherwise.
    stopped_by: Literal["budget", "drain"] | None = field(default=None, init=False)
    _open: dict[int, OpenJob] = field(factory=dict, init=False)  # taken, result not returned yet
    _failure: Exception | None = field(default=None, init=False)  # of the source
    _is_closed: bool = field(default=False, init=False)
    _done: int = field(default=0, init=False)
    _failed: int = field(default=0, init=False)
    _tokens: int = field(default=0, init=False)
    _rate: RecentRate = field(factory=lambda: RecentRate(time.monotonic()), init=False)
    _waiters: list["_Waiter"] = field(factory=list, init=False)
    _tasks: TaskGroup = field(init=False)

    if not TYPE_CHECKING:  # type checkers are to report it
        __iter__ = refusing(BATCH_ITERATED)

    @property
    def started(self) -> int:
        """How many jobs were taken from the source."""
        return self._schedule.taken

    @property
    def left(self) -> tuple[BatchResult, ...]:
        """Jobs that were taken and whose results the iteration has not returned; after leaving early, the unfinished.

        Each ``run`` is the latest snapshot: its ID is enough to follow it again with `RunsService.follow`. A job that
        was never started has no run, and 0 ``attempts``.
        """
        return tuple(job.result for job in self._open.values())

    @property
    def progress(self) -> BatchProgress:
        """How far the batch has come; cheap, and may be read from another thread."""
        rate = self._rate.per_second(time.monotonic())
        return BatchProgress(
            total=self._total,
            taken=self._schedule.taken,
            done=self._done,
            failed=self._failed,
            in_flight=self._schedule.running,
            waiting=self._schedule.waiting,
            tokens=self._tokens,
            rate=rate,
            seconds_left=seconds_left(self._total, self._done, rate),
        )

    def __repr__(self) -> str:
        return f"<Batch at {self._session}: {self.finished} finished of {self.started} started>"

    def drain(self) -> None:
        """Take no more jobs from the source, and start no more runs; the iteration yields the rest, and ends.

        The rest are the jobs whose runs are in progress, and those that have ended or wait to be tried again; for the
        latter, the latest attempt is the result. Jobs that were taken and not started are in `left`. Call it in the
        event loop's thread, such as from a signal handler of the loop's.
        """
        self._stop("drain")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult:
        await anyio.lowlevel.checkpoint()
        while True:
            if self._is_closed:
                raise RuntimeError("this batch is closed: iterate over its results inside `async with`")
            if (index := self._schedule.hand_out()) is not None:
                self.finished += 1
                self._notify()
                return self._open.pop(index).result
            if self._schedule.is_over:
                break
            await self._wait(lambda: self._is_closed or self._schedule.has_result or self._schedule.is_over)
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def _wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait until a change has made this true, which it may no longer be when the wait ends."""
        waiter = _Waiter(is_ready, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter.woken
        finally:
            self._waiters.remove(waiter)

    def _notify(self) -> None:
        """Wake those who have waited for what has changed: each job makes three changes, and each concerns one task."""
        for waiter in self._waiters:
            if not waiter.woken.done() and waiter.is_ready():
                waiter.woken.set_result(None)

    async def _run_jobs(self, scope: anyio.CancelScope) -> None:
        """Run all jobs; cancelling ``scope`` stops them."""

        def failed(error: BaseException) -> None:
            # Raised by the iteration, once the jobs that were taken have ended.
            self._failure = as_exception(error, "the source of the jobs")
            self._schedule.is_exhausted = True
            self._notify()

        with scope:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(supervise, failed, self._read_source)
                while not self._schedule.is_idle:
                    # Whoever was woken together with the cancellation goes on until its next wait.
                    while not scope.cancel_called and (index := self._schedule.start(anyio.current_time())) is not None:
                        tasks.start_soon(self._run, self._open[index])
                    is_ready = partial(self._is_ready, due := self._schedule.next_due)
                    if due == math.inf:  # a scope costs more than the rest
                        await self._wait(is_ready)
                        continue
                    with anyio.move_on_at(due):
                        await self._wait(is_ready)

    def _is_ready(self, due: float) -> bool:
        """Whether there is something to do for who waits until ``due``."""
        return self._schedule.can_start or self._schedule.is_idle or self._schedule.next_due < due

    async def _read_source(self) -> None:
        while not self._schedule.is_stopped:
            if not self._schedule.can_take:
                await self._wait(lambda: self._schedule.can_take or self._schedule.is_stopped)
                continue
            try:
                job = await anext(self._jobs)
            except StopAsyncIteration:
                self._schedule.is_exhausted = True
                break
            given: Any = job
            facts = given if isinstance(given, Mapping) else {}  # another one is refused when it is started
            thread_id, key = facts.get("thread_id"), facts.get("key")
            index = self._schedule.add(thread_id if isinstance(thread_id, str) else None)
            self._open[index] = OpenJob(index, job, key if isinstance(key, str) else None)
            self._notify()
        self._notify()

    async def _run(self, job: OpenJob) -> None:
        """Try a job. It is a task of its own, in which nothing awaits after the attempt."""
        await self._attempts.make(job)
        self._tokens += job.end()
        if job.is_unreached and (delay := self._sit_out(job)) is not None:
            job.put_back()
            self._schedule.repeat(job.index, anyio.current_time() + delay, has_result=job.error is not None)
        elif (delay := self._delay(job)) is not None:
            self._schedule.repeat(job.index, anyio.current_time() + delay)
        else:
            self._schedule.finish(job.index)
            self._count(job)
        if self._budget is not None and self._tokens >= self._budget:
            self._stop("budget")
        self._notify()

    def _sit_out(self, job: OpenJob) -> float | None:
        """After an attempt that did not reach the endpoint, start nothing until it is back, or patience is over.

        Returns:
            Seconds until the job is tried again; ``None`` if the attempt counts.
        """
        outage, now = self._attempts.outage, anyio.current_time()
        outage.begin(now)
        if self._schedule.is_stopped or not outage.is_borne(now):
            return None
        if not self._schedule.is_paused:
            self._schedule.is_paused = True
            self._tasks.start_soon(self._await_endpoint)
        return self._attempts.delay_of_outage(job)

    async def _await_endpoint(self) -> None:
        """Go on when the endpoint is back. It is a task of its own, in which nothing awaits after the look."""
        # Whatever it raises, the starts that follow raise it as well, where it becomes their jobs' results.
        await supervise(lambda _: None, self._attempts.await_endpoint)
        self._schedule.is_paused = False
        self._notify()

    def _delay(self, job: OpenJob) -> float | None:
        """Seconds until a job is tried again by its `JobRetries`; ``None`` if it has ended."""
        if self._retries is None or self._schedule.is_stopped or job.error is None:
            return None
        result = job.result
        if not self._retries.should_repeat(result, keys_honoured=self._session.honours_keys):
            return None
        return self._retries.delay(result, random.random())  # noqa: S311  # spreads repetitions

    def _count(self, job: OpenJob) -> None:
        job.ended_at = datetime.now(UTC)
        self._done += 1
        self._failed += not job.ok
        self._rate.add(time.monotonic())

    def _stop(self, reason: Literal["budget", "drain"]) -> None:
        if self._schedule.is_stopped or self._schedule.is_idle:
            return
        self.stopped_by = reason
        for index in self._schedule.stop():
            self._count(self._open[index])
        self._notify()

    async def _run_out(self) -> None:
        """Wait until the runs in progress have ended; no others are started."""
        self.drain()
        while not self._schedule.is_idle:
            await self._wait(lambda: self._schedule.is_idle)

    def _close(self) -> None:
        self._is_closed = True
        self._notify()
        unfinished = sum(job.ended_at is None for job in self._open.values())
        if unfinished:
            _logger.warning("left early: %d of %d started jobs have no result", unfinished, self.started)
        elif self._open:
            _logger.warning("left early: %d of %d results were not read", len(self._open), self.started)


@frozen(eq=False)
class _Waiter:
    is_ready: Callable[[], bool]
    woken: "asyncio.Future[None]"


@explained(BATCH)
def run_batch(
    session: Session,
    jobs: Iterable[RunJob] | AsyncIterable[RunJob],
    *,
    workers: int = 8,
    toolbox: Toolbox | None = None,
    deadline: float | None = None,
    polling: Polling = Polling(),
    on_exit: BatchOnExit = "cancel",
    ordered: bool = False,
    window: int | None = None,
    retries: JobRetries | None = JobRetries(),
    budget_tokens: int | None = None,
    fetch_messages: bool = True,
    total: int | None = None,
) -> AbstractAsyncContextManager[Batch]:
    """Run many jobs, at most ``workers`` at a time, and yield one result per job as it ends.

    Whatever happens to a job is its result: a failed run, a refused request, wrong parameters, or any other exception
    gives a result with an ``error``. Only cancellation stops the batch. Jobs are taken from the source only when a
    worker is free, and workers wait until results are read: memory use does not grow with the number of jobs. If the
    source itself raises, the jobs that were taken are run first, then the iteration raises that error.

    Jobs that name the same ``thread_id`` run one after another, in the order of the source, since a thread has at most
    one active run.

    Args:
        session: Where to run; at most its ``max_connections`` requests are in progress at once.
        jobs: What to run. A synchronous iterable is advanced on the event loop, so it should not block. A
            generator is not closed when the batch is left, so that the rest can be taken from it.
        workers: How many runs may be in progress at once, at least 1.
        toolbox: Answers tool calls.
        deadline: Seconds for each attempt of a job, from when the request that starts its run is sent. What it waits
            for before that does not count: its turn (see `RateLimits`), or a 429 response that asks to wait. The
            request may take five seconds more than the deadline, to learn the run's ID, without which the run cannot
            be cancelled.
        polling: How often each run is polled, and for how long an unreachable endpoint is borne. While no connection to
            it can be made, or a gateway answers 502, 503 or 504, the batch starts no runs and asks now and then whether
            it is back. What was tried meanwhile does not count among the attempts of `JobRetries`, until the outage is
            longer than `Polling.outage` seconds. 0 for no patience.
        on_exit: What to do with runs in progress when the batch is left early: ``"cancel"`` them, ``"leave"`` them
            running, or ``"drain"``: follow them to their ends, and start no others. If draining is cancelled, so are
            the runs. `Batch.left` lists them in any case.
        ordered: Whether results come in the order of the source.
        window: How many jobs may be open at once, at least ``workers`` and by default ten times as many: those in
            progress, those that wait for their thread or to be tried again, and those that have ended before their
            turn. If the window is full, no job is taken from the source.
        retries: Which jobs are tried again, and when; ``None`` for none.
        budget_tokens: Once the runs that have ended have used so many tokens, no more runs are started, as after
            `Batch.drain`. Runs in progress then exceed the budget.
        fetch_messages: Whether to fetch the answer of each completed run, one request per job.
        total: How many jobs there are, for `Batch.progress`. By default the length of ``jobs``, if it has one.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``workers`` is less than 1, or another argument is out of range.

    Example:
        ::

            async with run_batch(session, jobs, workers=32, toolbox=toolbox) as results:
                async for result in results:
                    print(result.key, result.text, result.error)
    """
    if isinstance(jobs, str | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
        raise TypeError(f"jobs must be an iterable or async iterable of RunJob: got {jobs!r}")
    check_count("workers", workers, least=1)
    check_seconds("deadline", deadline, zero=True, none=True)
    if on_exit not in ("cancel", "leave", "drain"):
        raise ValueError(f"on_exit must be 'cancel', 'leave' or 'drain': got {on_exit!r}")
    if window is None:
        window = workers * _WINDOW_PER_WORKER
    check_count("window", window, least=workers)
    if retries is not None and not isinstance(retries, JobRetries):
        raise TypeError(f"retries must be a JobRetries or None: got {retries!r}")
    if budget_tokens is not None:
        check_count("budget_tokens", budget_tokens, least=1)
    if total is None and isinstance(jobs, Sized):
        total = len(jobs)
    elif total is not None:
        check_count("total", total, least=0)

    def batch(source: AsyncIterator[RunJob]) -> Batch:
        at_exit: OnExit = "leave" if on_exit == "leave" else "cancel"
        attempts = Attempts(session, toolbox, deadline, polling, at_exit, fetch_messages)
        schedule = Schedule(workers, window, ordered)
        return Batch(session, source, schedule, attempts, retries, budget_tokens, total)

    return _UnopenedBatch(_open(jobs, batch, drains=on_exit == "drain"))


@final
@frozen(eq=False)
class _UnopenedBatch(AbstractAsyncContextManager[Batch]):
    """What `run_batch` returns; used in another way than by ``async with``, it says how."""

    _manager: AbstractAsyncContextManager[Batch]

    def __repr__(self) -> str:
        return "<batch, not open: use it in `async with run_batch(…) as batch`>"

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
    jobs: Iterable[RunJob] | AsyncIterable[RunJob], make: Callable[[AsyncIterator[RunJob]], Batch], *, drains: bool
) -> AsyncGenerator[Batch, None]:
    failure: BaseException | None = None
    async with aclosing(iterate(jobs)) as source:
        batch = make(source)
        try:
            async with anyio.create_task_group() as tasks:
                # Not the group's own scope: that also contains the caller's task, in which a failed asyncio.TaskGroup
                # (on Python 3.11 and 3.12) leaves a cancellation uncounted, so that ours would be taken for the
                # caller's.
                work = anyio.CancelScope()
                tasks.start_soon(batch._run_jobs, work)  # noqa: SLF001  # same module
                try:
                    try:
                        yield batch
                    except (CancelledError, GeneratorExit):
                        raise
                    except BaseException as error:
                        failure = error  # raised outside the task group, which would wrap it in an exception group
                    if drains and isinstance(failure, Exception | None):
                        await batch._run_out()  # noqa: SLF001  # same module
                finally:
                    batch._attempts.limit_starts()  # noqa: SLF001  # same module
                    work.cancel()
        finally:
            batch._close()  # noqa: SLF001  # same module
    if failure is not None:
        raise failure
