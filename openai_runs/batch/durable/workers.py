"""Workers that share a database: each shows that it is alive, and each looks for workers that do not any more.

A worker writes the database's time into its row every two seconds. One whose row is ten seconds old is lost: whoever
notices first marks it so, and puts its workflows back into the queue. A worker that cannot write any more stops before
that, by its own clock; and if it was stopped itself, such as by a debugger or a suspended machine, as soon as it wakes.
"""

import logging
import time
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
import sqlalchemy as sa
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs.batch.durable.database import Database, in_thread
from openai_runs.batch.durable.execution import Queue, executing, new_executor_id
from openai_runs.batch.durable.job_runner import JobRunner
from openai_runs.batch.durable.tables import WORKERS
from openai_runs.errors import WorkerLostError

_logger = logging.getLogger("openai_runs.batch")

#: Seconds between two signs of life.
BEAT: Final = 2.0
#: Seconds without one after which a worker is lost to the others, by the database's clock.
LOST: Final = 10.0
#: Seconds without one after which a worker stops itself, by its own clock: earlier, so that it never works for two.
_STOPS: Final = 7.0
#: Seconds for which lost workers are remembered: what one takes from the queue when it wakes is handed over, too.
_REMEMBERED: Final = 24 * 3600.0
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # elsewhere than on Linux, the next best
#: Seconds between two looks at the clock.
_LOOK: Final = 0.25


@define(eq=False)
class WorkerTable:
    """The rows of all workers in one database. Each method is one transaction."""

    _database: Database
    _queue: Queue

    def enter(self, executor_id: str) -> None:
        """Add a worker, which is alive."""
        row = {"executor_id": executor_id, "is_lost": False}

        def enter() -> None:
            with self._database.engine.begin() as connection:
                if connection.execute(sa.select(WORKERS).where(WORKERS.c.executor_id == executor_id)).first() is None:
                    connection.execute(WORKERS.insert().values(**row, beat_at=self._database.now))

        self._database.persist(enter)

    def beat(self, executor_id: str) -> bool:
        """Note that a worker is alive; ``False`` if it is lost to the others already."""

        def beat() -> bool:
            with self._database.engine.begin() as connection:
                is_alive = (WORKERS.c.executor_id == executor_id) & ~WORKERS.c.is_lost
                change = WORKERS.update().where(is_alive).values(beat_at=self._database.now)
                return connection.execute(change).rowcount == 1

        return self._database.persist(beat)

    def leave(self, executor_id: str) -> None:
        """Note that a worker has stopped, and hand its workflows over. If that fails, they are after ten seconds."""
        try:
            with self._database.engine.begin() as connection:
                change = WORKERS.update().where(WORKERS.c.executor_id == executor_id)
                connection.execute(change.values(is_lost=True))
            self.reap()
        except sa.exc.DBAPIError as error:
            _logger.warning("a worker's jobs wait until others find it lost: %s", error)

    def reap(self) -> int:
        """Hand over the workflows of lost workers; how many there were. One process at a time does so."""
        now = self._database.now
        with self._database.engine.begin() as connection:
            lock = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('openai_runs_reaper'))")
            if not connection.execute(lock).scalar():
                return 0
            # Marked, and not only counted as lost: a sign of life that is on its way comes before this, or is refused.
            connection.execute(WORKERS.update().where(WORKERS.c.beat_at < now - LOST).values(is_lost=True))
            connection.execute(WORKERS.delete().where(WORKERS.c.beat_at < now - _REMEMBERED))
            lost = list(connection.execute(sa.select(WORKERS.c.executor_id).where(WORKERS.c.is_lost)).scalars())
            if (found := self._queue.hand_over(lost) if lost else 0) > 0:
                _logger.info("%d workflows of workers that are gone are back in the queue", found)
            return found


@define(eq=False)
class Heart:
    """Beats for one worker, and stops it when it cannot."""

    _table: WorkerTable
    _executor_id: str
    _halt: Callable[[], None]  # stops the worker's jobs at once
    _scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    #: Threads of its own: the jobs' may all be waiting.
    _threads: anyio.CapacityLimiter = field(factory=lambda: anyio.CapacityLimiter(2), init=False)
    _beat_at: float = field(init=False)
    reason: str | None = field(default=None, init=False)  #: why the worker was stopped

    def __attrs_post_init__(self) -> None:
        self._beat_at = clock()

    async def beat(self) -> None:
        """Show every two seconds that the worker is alive."""
        while True:
            sent = clock()
            # Given up with the worker: a thread that waits for a dead network cannot be.
            beat = partial(self._table.beat, self._executor_id)
            if not await anyio.to_thread.run_sync(beat, abandon_on_cancel=True, limiter=self._threads):
                self._stop("the other workers have taken its jobs over")
                return
            self._beat_at = sent
            await anyio.sleep(BEAT)

    async def watch(self) -> None:
        """Look whether the last sign of life is too old."""
        while (age := clock() - self._beat_at) < _STOPS:  # noqa: ASYNC110  # time passes by itself
            await anyio.sleep(_LOOK)
        self._stop(f"the database has had no sign of life of it for {age:.0f} seconds")

    async def reap(self) -> None:
        """Look every two seconds for workers that are lost."""
        while True:
            try:
                await anyio.to_thread.run_sync(self._table.reap, abandon_on_cancel=True, limiter=self._threads)
            except sa.exc.DBAPIError as error:  # the database is away; the heart decides what that means
                _logger.debug("lost workers cannot be looked for: %s", error)
            await anyio.sleep(BEAT)

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._halt()
        self._scope.cancel()

    @asynccontextmanager
    async def beating(self) -> AsyncGenerator[None]:
        """Beat while the context lasts; what is in it is cancelled when the worker has to stop.

        Raises:
            WorkerLostError: The worker had to stop.
        """
        failure: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            for work in (self.beat, self.watch, self.reap):
                tasks.start_soon(work)
            try:
                with self._scope:
                    yield
            except (CancelledError, GeneratorExit):
                raise
            except BaseException as error:  # raised outside the task group, which would wrap it in an exception group
                failure = error
            finally:
                tasks.cancel_scope.cancel()
        if self.reason is not None:
            lost = WorkerLostError(f"this worker stopped: {self.reason}; open the batches again to go on")
            lost.__cause__, failure = failure, lost
        if failure is not None:
            raise failure


def clock() -> float:
    """Seconds that go on while the process, or the machine, is suspended."""
    return time.clock_gettime(_CLOCK)


@asynccontextmanager
async def executing_among_others(database: Database, queue: Queue, runner: JobRunner) -> AsyncGenerator[None]:
    """Run workflows in this process, as one of the workers of a database.

    Raises:
        RuntimeError: DBOS is running in this process already.
        WorkerLostError: The worker had to stop.
    """
    table, executor_id = WorkerTable(database, queue), new_executor_id()
    await in_thread(table.enter, executor_id)  # before it takes anything: whatever it has can be taken over
    try:
        async with (
            executing(database, runner, executor_id) as execution,
            Heart(table, executor_id, execution.halt).beating(),
        ):
            yield
    finally:
        with anyio.CancelScope(shield=True):
            await finish(in_thread(table.leave, executor_id))
