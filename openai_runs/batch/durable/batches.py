"""`DurableBatches`: batches that outlive the process, kept in an SQLite file or a PostgreSQL database."""

import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeAlias, Unpack

import anyio
from attrs import define, field

from openai_runs import _wire
from openai_runs.batch.durable.database import Database, in_thread, open_database
from openai_runs.batch.durable.execution import Queue, executing, new_executor_id
from openai_runs.batch.durable.file_lock import only_one
from openai_runs.batch.durable.job_runner import JobRunner
from openai_runs.batch.durable.job_table import JobTable, Progress
from openai_runs.batch.durable.opening import Opening
from openai_runs.batch.durable.options import WorkOptions, WorkSettings
from openai_runs.batch.durable.outcomes import load_outcome
from openai_runs.batch.durable.shared_limits import BucketTable, SharedLimits, SharedPace
from openai_runs.batch.durable.workers import executing_among_others
from openai_runs.batch.jobs import BatchResult, RunJob, iterate, join_texts
from openai_runs.errors import OpenAIRunsError
from openai_runs.session import Session

_Texts: TypeAlias = list[str]  # in the classes below, `list` is a method
_Threads: TypeAlias = list[str | None]

#: Jobs that are stored at a time.
_ADDED: Final = 500
#: Results that are read at a time.
_READ: Final = 100
#: Seconds between two looks for results while there are none, at most.
_LONGEST_LOOK: Final = 1.0
#: Seconds by which results may become visible later than others that ended after them.
_OVERLAP: Final = 2.0


@define(repr=False, eq=False)
class DurableBatch:
    """A batch of jobs in a database. Returned by `DurableBatches.submit` and `DurableBatches.find`."""

    id: str  #: unique; with it, or with its name, another process finds the batch
    name: str | None  #: the caller's
    _table: JobTable
    _queue: Queue
    _recorded: list[anyio.Event]

    def __repr__(self) -> str:
        return f"<DurableBatch {self.id}>" if self.name is None else f"<DurableBatch {self.name!r}, {self.id}>"

    async def progress(self) -> Progress:
        """How far the batch has got."""
        return await in_thread(self._table.progress, self.id)

    async def results(self, *, until: anyio.Event | None = None) -> AsyncGenerator[BatchResult, None]:
        """The result of each job once, as jobs end, until all have.

        Each call begins anew, with the jobs that have ended before. It waits for jobs that are still being added, and
        for workers: without any, for ever.

        Args:
            until: Once it is set, the results of the jobs that have ended are the last ones.
        """
        seen, latest, failures = bytearray(), 0.0, 0
        while True:
            is_over = (until is not None and until.is_set()) or await in_thread(self._table.is_over, self.id)
            # Whatever was committed late is found at the end, when all of it is looked through once more.
            ended = await in_thread(self._table.ended_since, self.id, 0.0 if is_over else latest - _OVERLAP)
            new = [position for position, _ in ended if not _is_marked(seen, position)]
            for start in range(0, len(new), _READ):
                positions = new[start : start + _READ]
                rows = await in_thread(self._table.rows, self.id, positions)
                for position in positions:
                    _mark(seen, position)
                    yield _result(rows[position])
            if is_over:
                return
            latest = max(latest, ended[-1][1]) if ended else latest
            failures = 0 if new else failures + 1
            await self._wait(min(0.05 * 1.5 ** min(failures, 20), _LONGEST_LOOK))

    async def cancel(self) -> None:
        """End all jobs that have not ended: those that wait never start; the runs of the others are cancelled."""
        workflows = await in_thread(self._table.cancel, self.id)
        await in_thread(self._queue.cancel, workflows)

    async def delete(self) -> None:
        """Delete the batch, with its results, from the database; threads and runs stay on their endpoint.

        Raises:
            RuntimeError: Not all of its jobs have ended: cancel it first.
        """
        if not await in_thread(self._table.is_over, self.id):
            raise RuntimeError(f"{self!r} cannot be deleted: not all of its jobs have ended. Cancel it first")
        await in_thread(self._queue.delete, await in_thread(self._table.workflows, self.id))
        await in_thread(self._table.delete, self.id)

    async def _wait(self, seconds: float) -> None:
        """Wait for a time, or until a job has ended in this process."""
        with anyio.move_on_after(seconds):
            await self._recorded[0].wait()


@define(repr=False, eq=False)
class DurableBatches:
    """The durable batches in one database: an SQLite file on one machine, or PostgreSQL for many.

    Opened by `open`; with a session, this process also runs their jobs.
    """

    _database: Database
    _table: JobTable
    _queue: Queue
    _recorded: list[anyio.Event] = field(factory=lambda: [anyio.Event()], init=False)
    _runner: JobRunner | None = field(default=None, init=False)

    def __repr__(self) -> str:
        return f"<DurableBatches in {self._database.engine.url!r}>"  # SQLAlchemy hides the password

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: str | os.PathLike[str],
        session: Session | None = None,
        *,
        create: bool = True,
        **options: Unpack[WorkOptions],
    ) -> AsyncGenerator[Self, None]:
        """Open the batches of a database, and run their jobs if there is a session: ``async with``.

        Jobs of all batches run, also of those that other processes have submitted, and of those that were begun by a
        process that is gone. Leaving leaves the jobs where they are: opened again, they go on.

        Args:
            store: The path of an SQLite file, or a URL that begins with ``postgresql://``.
            session: Where to run. Without one, this process adds jobs and reads results, and others run them.
            create: Whether tables that are missing are created, and an SQLite file. A PostgreSQL database has to exist.
            **options: How this process runs jobs; see `WorkOptions`.

        Raises:
            MissingExtraError: The extra ``durable`` is not installed.
            TypeError: There is no such option, or one has the wrong type.
            ValueError: An argument is out of range; or ``store`` is something else, or cannot be used: a password is
                wrong, say, its tables are those of another version, or are missing without ``create``.
            StoreUnavailableError: The database has not answered for half a minute.
            RuntimeError: Another process runs the jobs of this SQLite file; or this process runs DBOS already.
            WorkerLostError: With PostgreSQL: this process could not show for several seconds that it is alive. What is
                inside ``async with`` is cancelled, and others take its jobs over.
        """
        settings = WorkSettings(**options)
        database = open_database(store)
        async with AsyncExitStack() as stack:
            stack.callback(database.close)
            await in_thread(Opening(database).prepare, create=create)
            if session is not None and database.is_sqlite:
                stack.enter_context(only_one(f"{database.engine.url.database}-worker"))
            table, queue = JobTable(database), Queue(database)
            batches = cls(database, table, queue)
            if session is not None:
                await in_thread(queue.limit, settings.workers, settings.at_once)
                buckets = BucketTable(database)
                await in_thread(buckets.limit, settings.limits or SharedLimits())
                pace = SharedPace(buckets, await in_thread(buckets.rates))
                runner = JobRunner(session, table, settings, pace, on_recorded=batches._note_recorded)
                batches._runner = runner
                if database.is_sqlite:
                    await in_thread(queue.hand_over, None)  # nobody else runs them, as the lock says
                    await stack.enter_async_context(executing(database, runner, new_executor_id()))
                else:
                    await stack.enter_async_context(executing_among_others(database, queue, runner))
            yield batches

    async def submit(self, jobs: Iterable[RunJob] | AsyncIterable[RunJob], *, name: str | None = None) -> DurableBatch:
        """Add jobs as a batch, and return when all are stored; they are begun meanwhile.

        Submitting the same jobs again under the same name adds those that are missing and changes nothing about the
        others: a program that is started again simply goes on.

        Args:
            jobs: What to run; each has to be JSON, apart from models of this library. Memory use does not grow with
                their number. Jobs that name the same ``thread_id`` run one after another, in this order.
            name: A name of your own. Without one, each call makes a new batch.

        Raises:
            TypeError: ``jobs`` is not an iterable of `RunJob`, or one of them is not JSON.
            ValueError: There is a batch of this name with other jobs.
        """
        if isinstance(jobs, str | Mapping) or not isinstance(jobs, Iterable | AsyncIterable):
            raise TypeError(f"jobs must be an iterable or async iterable of RunJob: got {jobs!r}")
        batch_id = await in_thread(self._table.begin_batch, name)
        added, chunk, threads = 0, _Texts(), _Threads()

        async def add() -> None:
            nonlocal added
            await in_thread(self._table.add, batch_id, added, chunk, threads, self._queue.enqueue)
            added += len(chunk)
            chunk.clear()
            threads.clear()

        async for job in iterate(jobs):
            chunk.append(_wire.encode(dict(job)).decode())
            threads.append(job.get("thread_id"))
            if len(chunk) == _ADDED:
                await add()
        await add()
        await in_thread(self._table.end_adding, batch_id, added)
        return self._batch(batch_id, name)

    async def drain(self) -> None:
        """Begin no more jobs in this process, and return when those that it runs have ended.

        The others go on when the database is opened again, or with another process once this one has left. A job that
        waits to be tried again is one that runs.
        """
        if self._runner is not None:
            await self._runner.drain()

    async def list(self) -> "list[DurableBatch]":
        """All batches, the latest first."""
        return [self._batch(*row) for row in await in_thread(self._table.batches)]

    async def find(self, name_or_id: str) -> DurableBatch:
        """The batch with a name or ID.

        Raises:
            LookupError: There is none.
        """
        if (row := await in_thread(self._table.find_batch, name_or_id)) is None:
            raise LookupError(f"there is no batch {name_or_id!r} in {self!r}")
        return self._batch(*row)

    def _batch(self, batch_id: str, name: str | None) -> DurableBatch:
        return DurableBatch(batch_id, name, self._table, self._queue, self._recorded)

    def _note_recorded(self) -> None:
        self._recorded[0].set()
        self._recorded[0] = anyio.Event()


def _is_marked(marks: bytearray, position: int) -> bool:
    byte, bit = divmod(position, 8)
    return byte < len(marks) and bool(marks[byte] >> bit & 1)


def _mark(marks: bytearray, position: int) -> None:
    byte, bit = divmod(position, 8)
    marks.extend(bytes(max(0, byte + 1 - len(marks))))
    marks[byte] |= 1 << bit


def _result(row: Any) -> BatchResult:
    outcome = load_outcome(row)
    job: Any = _wire.decode(row.job)
    return BatchResult(
        row.position,
        job,
        outcome.run,
        OpenAIRunsError("the job was cancelled with its batch") if row.state == "cancelled" else outcome.error,
        key=job.get("key"),
        text=None if outcome.messages is None else join_texts(outcome.messages),
        messages=outcome.messages or (),
        usage=outcome.usage,
        attempts=outcome.tries or int(row.attempts > 0),
        started_at=_time(row.started_at),
        ended_at=_time(row.ended_at),
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
