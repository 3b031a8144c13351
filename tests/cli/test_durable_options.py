"""How commands find the store and the batch that they are told."""

from pathlib import Path

import pytest

from openai_runs.cli import durable_options
from tests.cli.commands import run


def test_no_such_store(tmp_path: Path) -> None:
    """A misspelt file is not created, and what is no store is refused."""
    for command in (["status"], ["results"], ["cancel"], ["work"]):
        names = [] if command[0] in ("status", "work") else ["mine"]
        output = run("batch", *command, tmp_path / "none.db", *names, exit_code=2)
        assert "there is no store" in output
    assert list(tmp_path.iterdir()) == []
    assert "got 'mysql://db'" in run("batch", "status", "mysql://db", exit_code=2)
    (text := tmp_path / "notes.txt").write_text("This is a text." * 9)
    assert "cannot be used as a store: file is not a database" in run("batch", "status", text, exit_code=2)


def test_no_such_batch(batches: Path) -> None:
    """The exit code is 2."""
    assert "there is no batch [mine]; " in run("batch", "status", batches, "[mine]", exit_code=2)


def test_a_database_that_does_not_answer(batches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody waits, so it is given up."""
    monkeypatch.setattr(durable_options, "_REACHED_WITHIN", 0.0)
    assert "the database has not answered" in run("batch", "status", batches, exit_code=2)
