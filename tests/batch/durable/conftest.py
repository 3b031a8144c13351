"""A database in a file, with its tables."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_runs.batch.durable.database import Database, open_database
from openai_runs.batch.durable.job_table import JobTable
from openai_runs.batch.durable.opening import Opening
from tests.postgres import Postgres


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied: DBOS's are made in more than a hundred steps."""
    path = tmp_path_factory.mktemp("durable") / "empty.db"
    database = open_database(path)
    Opening(database).prepare()
    database.close()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "batches.db"))


@pytest.fixture
def sqlite_database(store: Path) -> Iterator[Database]:
    database = open_database(store)
    yield database
    database.close()


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    return sqlite_database


@pytest.fixture
def table(database: Database) -> JobTable:
    return JobTable(database)


@pytest.fixture(scope="session")
def server_of_databases(postgres_server: Postgres) -> Postgres:
    """PostgreSQL with a database ``empty`` that has all tables, to be copied."""
    postgres_server.execute("DROP DATABASE IF EXISTS empty")  # two rooms of tests have this fixture
    postgres_server.execute("CREATE DATABASE empty")
    database = open_database(postgres_server.url("empty"))
    Opening(database).prepare()
    database.close()
    return postgres_server


_numbers = itertools.count()


@pytest.fixture
def postgres_url(server_of_databases: Postgres) -> str:
    """A database of its own."""
    name = f"test_{next(_numbers)}"
    server_of_databases.execute(f"CREATE DATABASE {name} TEMPLATE empty")
    return server_of_databases.url(name)


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[Database]:
    database = open_database(postgres_url)
    yield database
    database.close()
