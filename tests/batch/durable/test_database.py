"""`Database`: which stores there are, and that work in one goes on when it comes back."""

import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from openai_runs.batch.durable.database import Database, is_passing, open_database


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


def test_tables_that_are_there(database: Database):
    """Creating the tables again leaves them as they are."""
    database.create_tables()


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
