"""`openai-runs import`."""

import json
from pathlib import Path

from tests.cli.commands import run
from tests.cli.saved import THREAD
from tests.samples import EXAMPLES


def test_import(tmp_path: Path):
    """An unreadable line makes the exit code 1, and the others are imported; importing again changes nothing."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    saved.write_text(json.dumps(THREAD) + "\n{\n")
    output = run("import", saved, "--store", store, exit_code=1)
    assert "saved.jsonl:2" in output
    assert "1 thread," in output
    saved.write_text(json.dumps(THREAD))
    output = run("import", saved, "--store", store)
    assert "there already: 1" in output
    assert "not in the files" not in output


def test_a_thread_that_is_not_in_the_files(tmp_path: Path):
    """It is made, so that its objects can be reached, and the output says so: it lacks its metadata."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    saved.write_text((EXAMPLES / "objects/MessageObject.json").read_text().replace("\n", ""))
    output = run("import", saved, "--store", store)
    assert "threads that were not in the files, made for the objects in them: 1" in " ".join(output.split())


def test_a_file_that_is_missing(tmp_path: Path):
    """It is named before the store is created."""
    output = run("import", tmp_path / "saved.jsonl", "--store", tmp_path / "runs.db", exit_code=2)
    assert "there is no file" in output
    assert not (tmp_path / "runs.db").exists()


def test_nothing_can_be_read(tmp_path: Path):
    """No store is made for it."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    saved.write_text("{\n")
    assert "saved.jsonl:1" in run("import", saved, "--store", store, exit_code=1)
    assert not store.exists()
    saved.write_text("")
    assert "added: " in run("import", saved, "--store", store)
