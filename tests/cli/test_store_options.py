"""Options of commands on the store of a stopped server."""

import pytest
import typer

from openai_runs.cli.store_options import check_exists


def test_a_store_that_is_not_there(tmp_path):
    """A mistyped name is an error, and not a new, empty store."""
    (tmp_path / "runs.db").touch()
    check_exists(tmp_path / "runs.db")
    with pytest.raises(typer.BadParameter, match="there is no store"):
        check_exists(tmp_path / "run.db")
    assert [file.name for file in tmp_path.iterdir()] == ["runs.db"]
