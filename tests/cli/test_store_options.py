"""Options of commands on the store of a stopped server."""

import pytest
import typer

from openai_runs.cli.store_options import check_exists, make_store
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.sqlite import SQLiteStore


def test_a_store_that_is_not_there(tmp_path):
    """A mistyped name is an error, and not a new, empty store."""
    (tmp_path / "runs.db").touch()
    check_exists(tmp_path / "runs.db")
    with pytest.raises(typer.BadParameter, match="there is no store"):
        check_exists(tmp_path / "run.db")
    assert [file.name for file in tmp_path.iterdir()] == ["runs.db"]


def test_paths_and_urls(tmp_path):
    """A URL is a database, all else is a file; each with the place of its files."""
    file = make_store(str(tmp_path / "runs.db"), tmp_path / "files")
    database = make_store("postgresql://me:secret@db.example/runs", tmp_path / "files")
    assert (type(file), file.path) == (SQLiteStore, tmp_path / "runs.db")
    assert (type(database), database.url) == (PostgresStore, "postgresql://me:secret@db.example/runs")


def test_what_names_no_store(tmp_path):
    """A missing file, a missing folder and a bad URL are errors; the password of that is not shown."""
    with pytest.raises(typer.BadParameter, match="there is no store"):
        make_store(str(tmp_path / "runs.db"), tmp_path, create=False)
    with pytest.raises(typer.BadParameter, match="there is no folder"):
        make_store(str(tmp_path / "none" / "runs.db"), tmp_path)
    with pytest.raises(typer.BadParameter, match="needs a URL such as") as caught:
        make_store("postgresql://me:sec%ret@db.example/runs", tmp_path)
    assert "sec" not in str(caught.value)
