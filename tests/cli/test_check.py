"""`openai-runs check`."""

from pathlib import Path

import pytest

from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run, run_in_thread
from tests.stores.objects import message

pytestmark = pytest.mark.anyio


async def test_check(tmp_path: Path):
    """A sound file is said to be sound; damage is named, and the exit code is 1."""
    path = tmp_path / "runs.db"
    async with SQLiteStore(path) as store:
        await store.commit([message(str(number), "thread_1", text="x" * 1000) for number in range(100)])
    assert "no damage found" in await run_in_thread("check", "--store", path)
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 4096)
    output = await run_in_thread("check", "--store", path, exit_code=1)
    assert "is damaged: restore it from a backup" in output
    assert "malformed" in output


def test_a_database():
    """PostgreSQL has a program for that."""
    assert "pg_amcheck" in run("check", "--store", "postgresql://db.example/runs", exit_code=2)


def test_no_store_to_check(tmp_path: Path):
    """A missing file is an error, and is not created."""
    assert "there is no store" in run("check", "--store", tmp_path / "runs.db", exit_code=2)
