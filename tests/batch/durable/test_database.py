"""`Database`: which stores there are, and that work in one goes on when it comes back."""

import sqlite3
import threading
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from openai_runs.batch.durable.database import Database, in_thread, is_passing, open_database

pytestmark = pytest.mark.anyio


def test_which_stores_there_are(tmp_path: Path):
    """A path and a URL of SQLite mean the same; PostgreSQL is reached by the driver that comes with the extra."""
    path = tmp_path / "a.db"
    for store in (path, str(path), f"sqlite:///{path}"):
        database = open_database(store)
        assert database.is_sqlite
        assert database.url == f"sqlite:///{path}"
    database = open_database("postgresql://me:secret@db.example/batches")
    assert not database.is_sqlite
    assert database.url == "postgresql+psycopg://me:secret@db.example/batches"
    assert "secret" not in repr(database.engine.url)


@pytest.mark.parametrize("store", ["mysql://localhost/batches", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_store(store: str):
    """Other databases are refused, and one in memory, which would not outlive the process."""
    with pytest.raises(ValueError, match="a store is the path of a file, or a URL"):
        open_database(store)


def test_its_clock(database: Database):
    """The time is that of the database, with fractions."""
    with database.engine.connect() as connection:
        now = connection.execute(sa.select(database.now)).scalar_one()
    assert abs(now - time.time()) < 60
    assert now % 1


def test_work_goes_on(database: Database):
    """Work is repeated until the database can be used again; what will not pass is raised."""
    failures = [OperationalError("", {}, sqlite3.OperationalError("database is locked")) for _ in range(3)]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert database.persist(work) == "done"
    with pytest.raises(ZeroDivisionError):
        database.persist(lambda: 1 // 0)


def test_what_passes():
    """A lost connection and a busy database pass; a broken rule does not."""
    cause = sqlite3.Error()
    assert is_passing(OperationalError("", {}, cause))
    assert is_passing(DBAPIError("", {}, cause, connection_invalidated=True))
    assert not is_passing(IntegrityError("", {}, cause))
    assert not is_passing(ValueError())


async def test_cancellation_gets_out(database: Database):
    """Whoever waits for a database that is away can be cancelled; its thread gives up when the database is closed."""
    ended, tried = threading.Event(), threading.Event()

    def work() -> None:
        tried.set()
        raise OperationalError("", {}, sqlite3.OperationalError("away"))

    def persist() -> None:
        try:
            database.persist(work)
        finally:
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(in_thread, persist)
        await anyio.to_thread.run_sync(tried.wait)
        tasks.cancel_scope.cancel()
    assert not ended.is_set()
    database.close()
    await anyio.to_thread.run_sync(ended.wait)


@pytest.mark.parametrize("kind", ["sqlite_database", "postgres_database"])
def test_a_thread_that_nobody_waited_for(kind: str, request: pytest.FixtureRequest):
    """What it still had open when the database was closed is closed when it gives it back, and so is what it opens."""
    database: Database = request.getfixturevalue(kind)
    closed: list[object] = []
    sa.event.listen(database.engine, "close", lambda connection, _: closed.append(connection))
    late = database.engine.connect()
    (raw,) = [late.connection.dbapi_connection]
    database.close()
    assert raw not in closed
    late.close()
    assert raw in closed
    with database.engine.connect() as later:
        raw = later.connection.dbapi_connection
    assert raw in closed
