"""How commands find the store and the batch that they are told."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.commands import run


@pytest.fixture(autouse=True)
def _some_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")  # nobody gets so far


def test_no_such_store(tmp_path: Path) -> None:
    """A misspelt file is not created, and what is no store is refused."""
    for command in (["status"], ["results"], ["cancel"], ["work"]):
        names = [] if command[0] in ("status", "work") else ["mine"]
        output = run("batch", *command, tmp_path / "none.db", *names, exit_code=2)
        assert "there is no such file. Check its path" in output
    assert list(tmp_path.iterdir()) == []
    assert "got 'mysql://db'" in run("batch", "status", "mysql://db", exit_code=2)
    (text := tmp_path / "notes.txt").write_text("This is a text." * 9)
    assert "cannot be used as a store: file is not a database" in run("batch", "status", text, exit_code=2)


def test_no_such_batch(batches: Path) -> None:
    """The exit code is 2."""
    assert "there is no batch [mine]; " in run("batch", "status", batches, "[mine]", exit_code=2)


def test_a_database_that_does_not_answer() -> None:
    """Somebody waits, so it is given up, and the exit code is 2."""
    output = run("batch", "status", "postgresql://me:secret@127.0.0.1:9/batches", exit_code=2)
    assert "postgresql+psycopg://me:***@127.0.0.1:9/batches has not answered for 30 seconds: " in output
    assert "Is it running, and is this its URL?" in output


def test_a_database_without_tables(tmp_path: Path) -> None:
    """It is somebody else's, perhaps: only whoever adds jobs, or says so, makes tables in it."""
    (empty := tmp_path / "empty.db").touch()
    for command in (["status"], ["results", "mine"], ["cancel", "mine"], ["work"]):
        output = run("batch", command[0], empty, *command[1:], exit_code=2)
        assert "it has no tables of batches. Check its name" in output
    with closing(sqlite3.connect(empty)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
