"""A database in a file, with its tables."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_runs.batch.durable.database import Database, open_database
from openai_runs.batch.durable.job_table import JobTable


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied: DBOS's are made in more than a hundred steps."""
    path = tmp_path_factory.mktemp("durable") / "empty.db"
    database = open_database(path)
    database.create_tables()
    database.engine.dispose()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "batches.db"))


@pytest.fixture
def database(store: Path) -> Iterator[Database]:
    database = open_database(store)
    yield database
    database.engine.dispose()


@pytest.fixture
def table(database: Database) -> JobTable:
    return JobTable(database)
