"""`Opening`: what cannot be used is said at once, in words, and nothing is created that nobody asked for."""

import logging
import sqlite3
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from openai_runs.batch.durable.database import Database, open_database
from openai_runs.batch.durable.opening import Opening, is_refusal
from openai_runs.batch.durable.tables import JOBS, SCHEMA
from openai_runs.errors import StoreUnavailableError
from tests.postgres import Postgres


def refused(store: object, *, create: bool = True) -> str:
    """The words in which a store is refused."""
    database = open_database(str(store))
    try:
        with pytest.raises(ValueError, match="cannot be used as a store: ") as caught:
            Opening(database).prepare(create=create)
    finally:
        database.close()
    return str(caught.value)


def with_host(url: str, user: str, database: str) -> str:
    """A URL of the same server."""
    return f"postgresql://{user}@/{database}?{url.partition('?')[2]}"


@pytest.mark.parametrize("kind", ["sqlite_database", "postgres_database"])
def test_tables_that_are_there(kind: str, request: pytest.FixtureRequest):
    """They stay as they are, and whoever does not want to create any is content."""
    database = request.getfixturevalue(kind)
    Opening(database).prepare()
    Opening(database).prepare(create=False)
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(SCHEMA)).scalar() == 1


def test_a_new_file(tmp_path: Path):
    """It is its user's alone, as texts in it may be; one that is there stays as it is."""
    database = open_database(str(tmp_path / "batches.db"))
    try:
        Opening(database).prepare()
        assert (tmp_path / "batches.db").stat().st_mode & 0o777 == 0o600
        (tmp_path / "batches.db").chmod(0o640)
        Opening(database).prepare()
        assert (tmp_path / "batches.db").stat().st_mode & 0o777 == 0o640
    finally:
        database.close()


class TestPostgres:
    def test_a_misspelt_database(self, server_of_databases: Postgres):
        """It is not created, though the user may create databases."""
        text = refused(server_of_databases.url("batchse"))
        assert 'database "batchse" does not exist. Check the URL; the database in it has to exist' in text
        with psycopg.connect(server_of_databases.url()) as connection:
            row = connection.execute("SELECT count(*) FROM pg_database WHERE datname = 'batchse'").fetchone()
        assert row == (0,)

    def test_a_wrong_password(self, server_of_databases: Postgres):
        """It is refused at once, as is one that is missing, and it is not in the text."""
        with server_of_databases.asking_for_passwords("guarded"):
            text = refused(with_host(server_of_databases.url(), "guarded:wrong", "empty"))
            assert 'password authentication failed for user "guarded"' in text
            assert "wrong" not in text
            missing = refused(with_host(server_of_databases.url(), "guarded", "empty"))
            assert "no password supplied" in missing

    def test_an_unknown_user(self, server_of_databases: Postgres):
        """It is refused at once."""
        assert 'role "nobody" does not exist' in refused(with_host(server_of_databases.url(), "nobody", "empty"))

    def test_somebody_elses_database(self, server_of_databases: Postgres):
        """Whoever only looks or works makes no tables in it."""
        server_of_databases.execute("CREATE DATABASE other")
        assert "it has no tables of batches" in refused(server_of_databases.url("other"), create=False)
        with psycopg.connect(server_of_databases.url("other")) as connection:
            row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert row == (0,)

    def test_no_server(self, caplog: pytest.LogCaptureFixture):
        """It is waited for, which is said once, and given up with what came back."""
        database = open_database("postgresql://me:secret@127.0.0.1:9/batches")
        with pytest.raises(StoreUnavailableError, match=r"has not answered for 30 seconds: .*refused") as caught:
            Opening(database).prepare()
        assert "secret" not in str(caught.value)
        (record,) = [record for record in caplog.records if record.name == "openai_runs.batch"]
        assert record.levelno == logging.WARNING
        assert "waiting for postgresql+psycopg://me:***@127.0.0.1:9/batches: " in record.getMessage()

    def test_nobody_waits(self):
        """Once it is closed, it is given up."""
        database = open_database("postgresql://me@127.0.0.1:9/batches")
        database.close()
        with pytest.raises(StoreUnavailableError):
            Opening(database).prepare()


class TestSQLite:
    def test_no_folder(self, tmp_path: Path):
        """A file that cannot be created is refused at once."""
        assert "unable to open database file. Check the path" in refused(tmp_path / "none" / "batches.db")

    def test_no_file(self, tmp_path: Path):
        """A misspelt file is not created by whoever only looks or works."""
        assert "there is no such file" in refused(tmp_path / "batches.db", create=False)
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_is_no_database(self, tmp_path: Path):
        """The error names it, and it is left alone."""
        (path := tmp_path / "notes.txt").write_text("This is a text." * 9)
        assert "notes.txt cannot be used as a store: file is not a database" in refused(path)
        assert path.read_text() == "This is a text." * 9


@pytest.mark.parametrize(("version", "text"), [(0, "from an earlier openai_runs"), (99, "from a later openai_runs")])
@pytest.mark.parametrize("kind", ["sqlite_database", "postgres_database"])
def test_tables_of_another_version(kind: str, version: int, text: str, request: pytest.FixtureRequest):
    """They are refused before anything is changed, and the error says by whom they are understood."""
    database: Database = request.getfixturevalue(kind)
    with database.engine.begin() as connection:
        connection.execute(SCHEMA.update().values(version=version))
        JOBS.drop(connection)
    with pytest.raises(ValueError, match=f"its tables are of version {version}, {text}"):
        Opening(database).prepare()
    with database.engine.connect() as connection:
        assert not sa.inspect(connection).has_table(JOBS.name)


def test_a_busy_file():
    """Somebody else is writing, and will end."""
    assert not is_refusal(OperationalError("", {}, sqlite3.OperationalError("database is locked")))
