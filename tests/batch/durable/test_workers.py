"""Workers that share PostgreSQL: who is alive keeps its jobs, who is not loses them, and nobody works for two."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from openai_runs import Polling, Session
from openai_runs.batch.durable import DurableBatches, workers
from openai_runs.batch.durable.database import Database
from openai_runs.batch.durable.execution import Queue
from openai_runs.batch.durable.job_table import JobTable
from openai_runs.batch.durable.tables import WORKERS
from openai_runs.batch.durable.workers import Heart, WorkerTable
from openai_runs.errors import WorkerLostError
from openai_runs.models.assistant import Assistant

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {"polling": Polling(first=0.001, longest=0.05)}


@pytest.fixture
def table(postgres_database: Database) -> WorkerTable:
    return WorkerTable(postgres_database, Queue(postgres_database))


def add_jobs(database: Database, count: int, **params: str) -> str:
    table = JobTable(database)
    batch = table.begin_batch("x")
    job = json.dumps({"assistant_id": "a", **params})
    table.add(batch, 0, [job] * count, [None] * count, Queue(database).enqueue)
    table.end_adding(batch, count)
    return batch


def begin(database: Database, executor_id: str) -> None:
    """Let a worker take all that is in the queue, as if it had died then."""
    with database.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE dbos.workflow_status SET status = 'PENDING', executor_id = :id"), {"id": executor_id}
        )


def age(database: Database, executor_id: str, seconds: float) -> None:
    """Let a worker have given no sign of life for some time."""
    with database.engine.begin() as connection:
        change = WORKERS.update().where(WORKERS.c.executor_id == executor_id)
        connection.execute(change.values(beat_at=WORKERS.c.beat_at - seconds))


def states(database: Database) -> set[tuple[str, str]]:
    with database.engine.connect() as connection:
        query = sa.text("SELECT status, queue_name FROM dbos.workflow_status")
        return {(row[0], row[1]) for row in connection.execute(query)}


class TestTable:
    def test_alive(self, table: WorkerTable, postgres_database: Database):
        """Who gives a sign of life in time keeps its workflows; entering twice is as entering once."""
        add_jobs(postgres_database, 2)
        begin(postgres_database, "w1")
        table.enter("w1")
        table.enter("w1")
        age(postgres_database, "w1", 9)
        assert table.reap() == 0
        assert table.beat("w1")
        age(postgres_database, "w1", 9)
        assert table.reap() == 0

    def test_lost(self, table: WorkerTable, postgres_database: Database):
        """Who gives none loses its workflows and is told so, and what it takes after that is handed over, too."""
        add_jobs(postgres_database, 2)
        begin(postgres_database, "w1")
        table.enter("w1")
        age(postgres_database, "w1", 11)
        assert table.reap() == 2
        assert states(postgres_database) == {("ENQUEUED", "openai_runs_jobs")}
        assert not table.beat("w1")
        assert table.reap() == 0
        begin(postgres_database, "w1")
        assert table.reap() == 2
        age(postgres_database, "w1", 24 * 3600)
        assert table.reap() == 0
        assert not table.beat("w1")

    def test_leaving(self, table: WorkerTable, postgres_database: Database):
        """The workflows of who leaves are handed over at once."""
        add_jobs(postgres_database, 1)
        begin(postgres_database, "w1")
        table.enter("w1")
        table.leave("w1")
        assert states(postgres_database) == {("ENQUEUED", "openai_runs_jobs")}

    def test_leaving_without_a_database(
        self, table: WorkerTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        """If the database is away, leaving does not fail: the others will notice by themselves."""

        def fail(table: WorkerTable) -> int:
            raise OperationalError("", {}, Exception("gone"))

        monkeypatch.setattr(WorkerTable, "reap", fail)
        table.leave("w1")
        assert "wait until others find it lost" in caplog.text

    def test_two_that_reap(self, table: WorkerTable, postgres_database: Database):
        """While one looks, another does not: the workflows are handed over once."""
        add_jobs(postgres_database, 1)
        begin(postgres_database, "w1")
        table.enter("w1")
        age(postgres_database, "w1", 11)
        with postgres_database.engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('openai_runs_reaper'))"))
            assert table.reap() == 0
        assert table.reap() == 1


class Beats:
    """A double of a `WorkerTable`."""

    def __init__(self, beat: Callable[[], bool]) -> None:
        self._beat = beat
        self.reaped = threading.Event()

    def beat(self, executor_id: str) -> bool:
        return self._beat()

    def reap(self) -> int:
        if self.reaped.is_set():
            return 0
        self.reaped.set()
        raise OperationalError("", {}, Exception("gone"))


class TestHeart:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "BEAT", 0.001)
        monkeypatch.setattr(workers, "_LOOK", 0.001)

    async def stop(self, heart: Heart, body: Callable[[], Any] = anyio.sleep_forever) -> str:
        with pytest.raises(WorkerLostError) as caught:
            async with heart.beating():
                await body()
        return str(caught.value)

    async def test_taken_over(self):
        """A worker that is lost to the others stops its jobs, and what is inside is cancelled."""
        halted: list[int] = []
        heart = Heart(Beats(lambda: False), "w", lambda: halted.append(1))  # type: ignore[arg-type]  # a double
        assert "the other workers have taken its jobs over" in await self.stop(heart)
        assert halted == [1]

    async def test_no_database(self, monkeypatch: pytest.MonkeyPatch):
        """A worker whose signs of life do not arrive stops itself, though the request still waits."""
        monkeypatch.setattr(workers, "_STOPS", 0.05)
        never = threading.Event()
        heart = Heart(Beats(never.wait), "w", lambda: None)  # type: ignore[arg-type]  # a double
        assert "has had no sign of life of it for" in await self.stop(heart)
        never.set()

    async def test_asleep(self, monkeypatch: pytest.MonkeyPatch):
        """A worker that was stopped for too long, with its machine even, stops when it wakes."""
        times: Iterator[float] = iter([0.0, 0.0, 100.0])
        monkeypatch.setattr(workers, "clock", lambda: next(times, 100.0))
        never = threading.Event()
        heart = Heart(Beats(never.wait), "w", lambda: None)  # type: ignore[arg-type]  # a double
        assert "for 100 seconds" in await self.stop(heart)
        never.set()

    @pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, asyncio.CancelledError])
    async def test_an_error_inside(self, error: type[BaseException]):
        """What is raised inside is raised as it is, and reaping goes on though the database was away once."""
        beats = Beats(lambda: True)

        async def fail() -> None:
            async with Heart(beats, "w", lambda: None).beating():  # type: ignore[arg-type]  # a double
                await asyncio.to_thread(beats.reaped.wait)
                raise error

        with pytest.raises(error):
            await fail()

    async def test_an_error_while_it_stops(self):
        """What is inside may fail because of that; the reason is told."""

        async def fail() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ZeroDivisionError

        heart = Heart(Beats(lambda: False), "w", lambda: None)  # type: ignore[arg-type]  # a double
        assert "taken its jobs over" in await self.stop(heart, fail)

    def test_the_clock(self):
        """It goes on."""
        assert workers.clock() <= workers.clock()


class TestSharing:
    async def test_taking_over(
        self, postgres_url: str, postgres_database: Database, session: Session, assistant: Assistant
    ):
        """Another worker finishes what one that is lost had begun, and submits jobs of its own."""
        batch_id = add_jobs(postgres_database, 3, assistant_id=assistant.id, tool_choice="none")
        lost = WorkerTable(postgres_database, Queue(postgres_database))
        lost.enter("lost")
        begin(postgres_database, "lost")
        age(postgres_database, "lost", 11)
        async with DurableBatches.open(postgres_url, session, at_once=10, **QUICK) as batches:
            results = [result async for result in (await batches.find(batch_id)).results()]
            more = await batches.submit([{"assistant_id": assistant.id, "tool_choice": "none"}] * 2)
            results += [result async for result in more.results()]
            progress = await more.progress()
        assert [result.error for result in results] == [None] * 5
        assert (progress.completed, progress.total) == (2, 2)
        assert states(postgres_database) <= {("SUCCESS", "openai_runs_jobs"), ("ENQUEUED", "openai_runs_jobs")}

    async def test_a_worker_that_is_lost(
        self, postgres_url: str, postgres_database: Database, session: Session, monkeypatch: pytest.MonkeyPatch
    ):
        """A worker that finds itself lost stops; what is inside `async with` is cancelled."""
        monkeypatch.setattr(workers, "BEAT", 0.01)

        async def lose() -> None:
            async with DurableBatches.open(postgres_url, session, **QUICK):
                with postgres_database.engine.begin() as connection:
                    connection.execute(WORKERS.update().values(is_lost=True))
                await anyio.sleep_forever()

        with pytest.raises(WorkerLostError, match="open the batches again"):
            await lose()
