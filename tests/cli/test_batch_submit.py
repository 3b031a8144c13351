"""`openai-runs batch submit`."""

import os
from pathlib import Path

from tests.cli.batches import Files
from tests.cli.commands import run


def submit(files: Files, store: Path, *options: object, exit_code: int = 0) -> str:
    return run("batch", "submit", files.jobs, store, *options, exit_code=exit_code)


def test_adding(files: Files, batches: Path) -> None:
    """Jobs wait for a worker; the same ones again add what is missing, and others need another name."""
    files.write("one", "two")
    assert submit(files, batches, "--assistant", "asst_1") == f"{files.jobs} asst_1: 2 jobs\n"
    files.write("one", "two", "three")
    assert submit(files, batches, "--assistant", "asst_1") == f"{files.jobs} asst_1: 3 jobs\n"
    assert submit(files, batches, "--assistant", "asst_2") == f"{files.jobs} asst_2: 3 jobs\n"
    files.write("three")
    assert "was begun with other jobs" in submit(files, batches, "--assistant", "asst_1", exit_code=2)
    assert run("batch", "status", batches).splitlines() == [
        f"{files.jobs} asst_2: 0/3, 3 waiting",
        f"{files.jobs} asst_1: 0/3, 3 waiting",
    ]


def test_a_completion_window(files: Files, batches: Path) -> None:
    """It is a part of each job, so other windows are other jobs."""
    files.write("one")
    options = ["--assistant", "asst_1", "--name", "mine"]
    for _ in range(2):
        assert submit(files, batches, *options, "--completion-window", "8h") == "mine: 1 jobs\n"
    assert "was begun with other jobs" in submit(files, batches, *options, exit_code=2)


def test_bad_lines(files: Files, batches: Path) -> None:
    """They are named, and the others are added; the exit code is 1."""
    files.write("one")
    with files.jobs.open("a") as file:
        file.write("\n[red]\n")
    output = submit(files, batches, "--assistant", "asst_1", "--name", "mine", exit_code=1)
    assert "line 2: not JSON: " in output
    assert "mine: 1 jobs" in output


def test_a_pipe(files: Files, batches: Path) -> None:
    """It needs a name, since its path is another one each time."""
    os.mkfifo(files.jobs)
    assert "needs a --name for jobs from a pipe" in submit(files, batches, exit_code=2)
