"""`JobTable`: batches and jobs as rows: adding them, taking the next one, recording how it ended, and counting.

Each method is one transaction, and may be repeated.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from attrs import frozen

from openai_runs.batch.durable.database import Database
from openai_runs.batch.durable.outcomes import Outcome
from openai_runs.batch.durable.tables import BATCHES, CHAINS, JOBS
from openai_runs.errors import snippet

T = TypeVar("T")
#: Enqueues workflows, given their IDs and priorities, inside a transaction.
Enqueue = Callable[[sa.Connection, Sequence[tuple[str, int]]], None]


@frozen
class Progress:
    """How far a batch has got."""

    added: int  #: jobs that are stored
    waiting: int  #: jobs that no worker has taken yet
    running: int  #: jobs that a worker has taken, if only one that is lost
    completed: int
    failed: int
    cancelled: int
    tokens: int  #: that the ended runs have used
    total: int | None  #: how many jobs there are; ``None`` while jobs are still being added

    @property
    def done(self) -> int:
        """Jobs that have ended, however."""
        return self.completed + self.failed + self.cancelled

    @property
    def is_over(self) -> bool:
        """Whether all jobs have been added and have ended."""
        return self.total is not None and self.done == self.total


@frozen
class TakenJob:
    """A job that a worker has taken."""

    seq: int
    id: str  #: unique, and the same however often the job is taken: its idempotency key
    params: dict[str, Any]  #: the `RunJob`
    attempts: int  #: how often it has been taken, this time included
    has_ended: bool


def job_id(batch_id: str, position: int) -> str:
    """The ID of a job, and of the workflow that runs it."""
    return f"{batch_id}-{position}"


@frozen
class JobTable:
    """The rows of all batches in one database."""

    database: Database

    def batches(self) -> list[tuple[str, str | None]]:
        """The IDs and names of all batches, the latest first."""
        query = sa.select(BATCHES.c.id, BATCHES.c.name).order_by(BATCHES.c.created_at.desc())
        return self._read(lambda connection: [(row.id, row.name) for row in connection.execute(query)])

    def find_batch(self, name_or_id: str) -> tuple[str, str | None] | None:
        """The ID and name of the batch with this name or ID; ``None`` if there is none."""
        is_this = sa.or_(BATCHES.c.name == name_or_id, BATCHES.c.id == name_or_id)
        query = sa.select(BATCHES.c.id, BATCHES.c.name).where(is_this)
        row = self._read(lambda connection: connection.execute(query).first())
        return None if row is None else (row.id, row.name)

    def begin_batch(self, name: str | None) -> str:
        """The ID of the batch with this name, which is added if there is none."""
        new = f"batch_{uuid4().hex}"

        def begin(connection: sa.Connection) -> str:
            connection.execute(
                self._insert(BATCHES).values(id=new, name=name, created_at=self.database.now).on_conflict_do_nothing()
            )
            by = BATCHES.c.id == new if name is None else BATCHES.c.name == name
            return str(connection.execute(sa.select(BATCHES.c.id).where(by)).scalar_one())

        return self._write(begin)

    def end_adding(self, batch_id: str, total: int) -> None:
        """Note that all jobs of a batch have been added.

        Raises:
            ValueError: The batch has more.
        """

        def end(connection: sa.Connection) -> None:
            added = connection.execute(
                sa.select(sa.func.count()).select_from(JOBS).where(JOBS.c.batch_id == batch_id)
            ).scalar_one()
            if added > total:
                raise ValueError(
                    f"batch {batch_id} was begun with other jobs: it has {added}, and now there are {total}"
                )
            connection.execute(BATCHES.update().where(BATCHES.c.id == batch_id).values(total=total))

        self._write(end)

    def add(
        self, batch_id: str, first: int, jobs: Sequence[str], threads: Sequence[str | None], enqueue: Enqueue
    ) -> None:
        """Add jobs that are not there yet, and enqueue the workflows that run them, both or neither.

        Args:
            batch_id: The batch.
            first: The position of the first of the jobs.
            jobs: The jobs, as JSON.
            threads: The thread that each one names.
            enqueue: Enqueues workflows.

        Raises:
            ValueError: There is another job at one of the positions.
        """

        def add(connection: sa.Connection) -> None:
            is_here = (JOBS.c.batch_id == batch_id) & JOBS.c.position.between(first, first + len(jobs) - 1)
            query = sa.select(JOBS.c.position, JOBS.c.job).where(is_here)
            known = {row.position: row.job for row in connection.execute(query)}
            rows: list[dict[str, Any]] = []
            for position, (job, thread) in enumerate(zip(jobs, threads, strict=True), first):
                if (before := known.get(position)) is None:
                    id = job_id(batch_id, position)
                    workflow_id = id if thread is None else self._chain(connection, batch_id, thread, id)
                    rows.append({"batch_id": batch_id, "position": position, "workflow_id": workflow_id, "job": job})
                elif json.loads(before) != json.loads(job):
                    raise ValueError(
                        f"batch {batch_id} was begun with other jobs: job {position} was {snippet(before)}, and is now "
                        f"{snippet(job)}"
                    )
            if not rows:
                return
            returned = JOBS.c.seq, JOBS.c.position, JOBS.c.workflow_id
            added = connection.execute(sa.insert(JOBS).returning(*returned, sort_by_parameter_order=True), rows)
            enqueue(connection, [(row.workflow_id, row.seq) for row in added if _is_first(batch_id, row)])

        self._write(add)

    def _chain(self, connection: sa.Connection, batch_id: str, thread_id: str, id: str) -> str:
        """The workflow that runs the jobs of a thread; ``id``, a new one, if there is none or it may be ending."""
        is_this = (CHAINS.c.batch_id == batch_id) & (CHAINS.c.thread_id == thread_id)
        chain = connection.execute(sa.select(CHAINS).where(is_this).with_for_update()).first()
        if chain is None:
            values = {"batch_id": batch_id, "thread_id": thread_id, "workflow_id": id, "is_open": True}
            connection.execute(sa.insert(CHAINS).values(values))
        elif chain.is_open:
            return str(chain.workflow_id)
        else:
            connection.execute(CHAINS.update().where(is_this).values(workflow_id=id, is_open=True))
        return id

    def close_chain(self, workflow_id: str, after: int) -> bool:
        """Let nobody add jobs to a workflow any more; ``False`` if one was added after the job ``after``."""

        def close(connection: sa.Connection) -> bool:
            is_this = CHAINS.c.workflow_id == workflow_id
            chain = connection.execute(sa.select(CHAINS.c.batch_id).where(is_this).with_for_update()).first()
            if chain is not None:
                # A statement of its own: it has to see what was added before the row could be locked.
                more = sa.select(JOBS.c.seq).where(JOBS.c.workflow_id == workflow_id, JOBS.c.seq > after).limit(1)
                if connection.execute(more).first() is not None:
                    return False
                connection.execute(CHAINS.update().where(is_this).values(is_open=False))
            return True

        return self._write(close)

    def take(self, workflow_id: str, after: int) -> TakenJob | None:
        """The next job of a workflow, ended or not; ``None`` if there is none after the job ``after``."""

        def take(connection: sa.Connection) -> TakenJob | None:
            of_workflow = (JOBS.c.workflow_id == workflow_id) & (JOBS.c.seq > after)
            next_one = sa.select(sa.func.min(JOBS.c.seq)).where(of_workflow).scalar_subquery()
            is_waiting = JOBS.c.ended_at.is_(None)
            row = connection.execute(
                JOBS.update()
                .where(JOBS.c.seq == next_one)
                .values(
                    attempts=JOBS.c.attempts + 1,
                    state=sa.case((is_waiting, "running"), else_=JOBS.c.state),
                    started_at=sa.func.coalesce(JOBS.c.started_at, self.database.now),
                )
                .returning(JOBS)
            ).first()
            if row is None:
                return None
            id = job_id(row.batch_id, row.position)
            return TakenJob(row.seq, id, json.loads(row.job), row.attempts, row.ended_at is not None)

        return self._write(take)

    def record(self, seq: int, outcome: Outcome) -> None:
        """Record how a job has ended; what was recorded first stays."""
        columns = outcome.columns()

        def record(connection: sa.Connection) -> None:
            is_open = (JOBS.c.seq == seq) & JOBS.c.ended_at.is_(None)
            connection.execute(JOBS.update().where(is_open).values(**columns, ended_at=self.database.now))

        self._write(record)

    def cancel(self, batch_id: str) -> list[str]:
        """End all jobs of a batch that have not ended, and add no more; the workflows that run them."""

        def cancel(connection: sa.Connection) -> list[str]:
            is_open = (JOBS.c.batch_id == batch_id) & JOBS.c.ended_at.is_(None)
            ended = connection.execute(
                JOBS.update()
                .where(is_open)
                .values(state="cancelled", ended_at=self.database.now)
                .returning(JOBS.c.workflow_id)
            )
            workflows = list(dict.fromkeys(ended.scalars()))
            added = sa.select(sa.func.count()).select_from(JOBS).where(JOBS.c.batch_id == batch_id).scalar_subquery()
            connection.execute(BATCHES.update().where(BATCHES.c.id == batch_id).values(total=added))
            return workflows

        return self._write(cancel)

    def workflows(self, batch_id: str) -> list[str]:
        """The workflows that run the jobs of a batch."""
        query = sa.select(JOBS.c.workflow_id).where(JOBS.c.batch_id == batch_id).distinct()
        return self._read(lambda connection: list(connection.execute(query).scalars()))

    def delete(self, batch_id: str) -> None:
        """Delete a batch with its jobs."""

        def delete(connection: sa.Connection) -> None:
            for table in (JOBS, CHAINS):
                connection.execute(table.delete().where(table.c.batch_id == batch_id))
            connection.execute(BATCHES.delete().where(BATCHES.c.id == batch_id))

        self._write(delete)

    def now(self) -> float:
        """The time by the database's clock, in seconds since 1970."""
        return float(self._read(lambda connection: connection.execute(sa.select(self.database.now)).scalar_one()))

    def is_cancelled(self, seq: int) -> bool:
        """Whether a job was cancelled."""
        query = sa.select(JOBS.c.state).where(JOBS.c.seq == seq)
        return self._read(lambda connection: connection.execute(query).scalar()) == "cancelled"

    def progress(self, batch_id: str) -> Progress:
        """How far a batch has got."""
        counts = (
            sa.select(JOBS.c.state, sa.func.count().label("jobs"), sa.func.sum(JOBS.c.tokens).label("tokens"))
            .where(JOBS.c.batch_id == batch_id)
            .group_by(JOBS.c.state)
        )
        total = sa.select(BATCHES.c.total).where(BATCHES.c.id == batch_id)

        def read(connection: sa.Connection) -> Progress:
            rows = connection.execute(counts).all()
            of = {row.state: row.jobs for row in rows}
            return Progress(
                added=sum(of.values()),
                waiting=of.get("waiting", 0),
                running=of.get("running", 0),
                completed=of.get("completed", 0),
                failed=of.get("failed", 0),
                cancelled=of.get("cancelled", 0),
                tokens=sum(int(row.tokens) for row in rows),
                total=connection.execute(total).scalar(),
            )

        return self._read(read)

    def is_over(self, batch_id: str) -> bool:
        """Whether all jobs of a batch have been added and have ended; cheaper than `progress`."""
        is_open = (JOBS.c.batch_id == batch_id) & JOBS.c.ended_at.is_(None)
        is_over = BATCHES.c.total.is_not(None) & ~sa.exists().where(is_open)
        query = sa.select(is_over).where(BATCHES.c.id == batch_id)
        return bool(self._read(lambda connection: connection.execute(query).scalar()))

    def ended_since(self, batch_id: str, since: float) -> list[tuple[int, float]]:
        """The positions of jobs that have ended, and when, in that order."""
        query = (
            sa.select(JOBS.c.position, JOBS.c.ended_at)
            .where(JOBS.c.batch_id == batch_id, JOBS.c.ended_at >= since)
            .order_by(JOBS.c.ended_at, JOBS.c.position)
        )
        return self._read(lambda connection: [(row.position, row.ended_at) for row in connection.execute(query)])

    def rows(self, batch_id: str, positions: Sequence[int]) -> dict[int, Any]:
        """The rows of jobs with their outcome, by position."""
        query = sa.select(JOBS).where(JOBS.c.batch_id == batch_id, JOBS.c.position.in_(positions))
        return self._read(lambda connection: {row.position: row for row in connection.execute(query)})

    def _insert(self, table: sa.Table) -> Any:
        """An INSERT that can ignore conflicts, which both databases write alike."""
        from sqlalchemy.dialects import postgresql, sqlite

        return (sqlite if self.database.is_sqlite else postgresql).insert(table)

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        def transaction() -> T:
            with self.database.engine.begin() as connection:
                return work(connection)

        return self.database.persist(transaction)

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        def reading() -> T:
            with self.database.engine.connect() as connection:
                return work(connection)

        return self.database.persist(reading)


def _is_first(batch_id: str, row: Any) -> bool:
    """Whether a job is the first of its workflow."""
    return bool(row.workflow_id == job_id(batch_id, row.position))
