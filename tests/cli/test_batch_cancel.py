"""`openai-runs batch cancel`."""

from pathlib import Path

from tests.cli.batches import Files
from tests.cli.commands import run


def test_jobs_that_wait(files: Files, batches: Path) -> None:
    """They end, and stay so; other batches are left alone."""
    files.write("one", "two")
    for name in ("mine", "other"):
        run("batch", "submit", files.jobs, batches, "--name", name, "--assistant", "asst_1")
    assert run("batch", "cancel", batches, "mine") == "mine: 2 jobs are cancelled now, 0 have completed\n"
    assert run("batch", "cancel", batches, "mine") == "mine: 0 jobs are cancelled now, 0 have completed\n"
    assert run("batch", "status", batches).splitlines() == ["other: 0/2, 2 waiting", "mine: 2/2, 2 cancelled"]
    # The only one is not meant, unless it is named: nobody can take that back.
    assert "no batch is named; the store has 'other', 'mine'" in run("batch", "cancel", batches, exit_code=2)
    assert "there is no batch none" in run("batch", "cancel", batches, "none", exit_code=2)
