"""`openai-runs batch run --durable`: in this process, and as one that is interrupted and killed."""

import errno
import io
import json
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.console import Console

from openai_runs.backends.scripted import Say
from openai_runs.batch.durable import DurableBatches, watching
from openai_runs.batch.durable.file_lock import only_one
from openai_runs.batch.result_files import ResultFile
from openai_runs.cli import batch_run_durable as command
from openai_runs.errors import WorkerLostError
from tests.cli.batches import Endpoint, Files, read_until
from tests.cli.commands import run


def test_all_jobs_have_a_result(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """The store has them, too: results that got lost are written again, and no run is started for that."""
    files.write("one", "two")
    output = files.run("--durable", batches)
    assert "0/2, " in output
    assert "completed: 2, tokens: " in output
    assert files.results() == {"job 0": "Re: one", "job 1": "Re: two"}
    files.out.unlink()
    files.write("one", "two", "look up")
    files.run("--durable", batches, "--tools", "openai_runs.cli.walkthrough:toolbox")
    assert files.results() == {"job 0": "Re: one", "job 1": "Re: two", "job 2": "Re: look up"}
    assert endpoint.statuses() == {"completed": 3}
    name = f"{files.jobs} {os.environ['OPENAI_RUNS_ASSISTANT']}"
    assert f"{name}: 3/3, 3 completed, " in run("batch", "status", batches)


def test_failures_and_bad_lines(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """They are named and stop nothing, and the exit code is 1; failures stay, except in a batch of another name."""
    files.write("one", "fail")
    with files.jobs.open("a") as file:
        file.write("\n[red]\n")
    output = files.run("--durable", batches, exit_code=1)
    assert "line 3: not JSON: " in output
    assert "completed: 1, failed: 1, lines that are no jobs: 1, tokens: " in output
    assert files.results() == {"job 0": "Re: one", "job 1": None}
    endpoint.failure = Say("Better.")
    files.out.unlink()
    files.write("one", "fail")
    files.run("--durable", batches, "--name", "again", "--workers", 2, "--at-once", 4, "--rpm", 6e4, "--tpm", 6e6)
    assert files.results() == {"job 0": "Re: one", "job 1": "Better."}


def test_a_completion_window(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """It is kept with the jobs; the summary counts the tokens of all starts, as it does without windows."""
    files.write("one", "two")
    output = files.run("--durable", batches, "--completion-window", "2h", "--at-once", 20)
    assert endpoint.windows() == {"2h": 2}
    tokens = sum(json.loads(line)["usage"]["total_tokens"] for line in files.out.read_text().splitlines())
    assert f"completed: 2, tokens: {tokens}, of these at 2h: {tokens}" in output
    output = files.run("--durable", batches, "--completion-window", "2h")
    assert f"completed before: 2, tokens: {tokens}, of these at 2h: {tokens}" in output


def test_a_deadline(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """A run that is not over by then is cancelled, and its job fails."""
    files.write("one", "wait")
    output = files.run("--durable", batches, "--deadline", 0.3, exit_code=1)
    assert "1 RunDeadlineError" in output
    assert files.results() == {"job 0": "Re: one", "job 1": None}
    assert endpoint.statuses() == {"completed": 1, "cancelled": 1}


def test_other_jobs(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """A name stands for the same jobs; the exit code is 2, and the results are left alone."""
    files.write("one")
    run("batch", "submit", files.jobs, batches)
    files.write("two")
    assert "was begun with other jobs" in files.run("--durable", batches, exit_code=2)
    assert files.results() == {}


def test_what_does_not_go_together(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """What would have no effect is refused by its name."""
    files.write("one")
    assert "--retry-failed is not for --durable" in files.run("--durable", batches, "--retry-failed", exit_code=2)
    assert "--at-once must be at least" in files.run("--durable", batches, "--at-once", 7, exit_code=2)
    assert "are for --durable only" in files.run("--name", "x", exit_code=2)
    assert "are for --durable only" in files.run("--at-once", 9, exit_code=2)
    os.mkfifo(pipe := files.jobs.with_name("pipe"))
    output = run("batch", "run", pipe, "--out", files.out, "--durable", batches, exit_code=2)
    assert "needs a --name for jobs from a pipe" in output


def test_a_store_that_is_in_use(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """One process runs the jobs of a file; the exit code is 2."""
    files.write("one")
    with only_one(f"{batches}-worker"):
        assert "another process runs the jobs" in files.run("--durable", batches, exit_code=2)


def test_a_store_that_cannot_be_used(endpoint: Endpoint, files: Files) -> None:
    """No file of results is left behind."""
    files.write("one")
    store = files.jobs.parent / "nowhere" / "batches.db"
    assert "cannot be used as a store" in files.run("--durable", store, exit_code=2)
    assert list(files.jobs.parent.iterdir()) == [files.jobs]


def test_in_a_terminal(endpoint: Endpoint, files: Files, batches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the progress is a bar. (Here the line names its assistant, and the command none.)"""
    assistant = os.environ["OPENAI_RUNS_ASSISTANT"]
    monkeypatch.delenv("OPENAI_RUNS_ASSISTANT")
    terminal = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    monkeypatch.setattr(command, "errors", terminal)
    files.jobs.write_text(json.dumps({"key": "a", "assistant_id": assistant, "message": "one"}))
    files.run("--durable", batches)
    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    assert "jobs ━━" in drawn
    assert " 1/1, " in drawn
    assert files.results() == {"a": "Re: one"}


def test_a_full_disk(endpoint: Endpoint, files: Files, batches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result that cannot be written ends the process; the store has it."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write("one")
    with monkeypatch.context() as patched:
        patched.setattr(ResultFile, "write", fail)
        assert "No space left on device" in files.run("--durable", batches, exit_code=3)
    run("batch", "results", batches, f"{files.jobs} {os.environ['OPENAI_RUNS_ASSISTANT']}", "--out", files.out)
    assert files.results() == {"job 0": "Re: one"}


def test_ctrl_c_while_jobs_are_added(
    endpoint: Endpoint, files: Files, batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more are added, and the exit code is 3."""

    async def submit(*_: object, **__: object) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()

    files.write("one")
    with monkeypatch.context() as patched:
        patched.setattr(DurableBatches, "submit", submit)
        output = files.run("--durable", batches, exit_code=3)
    assert "not all jobs have results, because it was stopped; started again, it goes on" in output
    assert files.results() == {}


def test_a_budget(endpoint: Endpoint, files: Files, batches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the batch has used it up, runs in progress end, and no others are started; the exit code is 3."""
    monkeypatch.setattr(watching, "_LOOK", 0.01)
    files.write(*map(str, range(50)))
    output = files.run("--durable", batches, "--workers", 1, "--budget-tokens", 1, exit_code=3)
    assert "not all jobs have results, because the token budget is used up; started again, it goes on" in output
    assert 1 <= len(files.results()) < 50
    assert endpoint.statuses() == {"completed": len(files.results())}


def test_a_worker_that_is_lost(
    endpoint: Endpoint, files: Files, batches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 3, since the next start goes on."""

    @asynccontextmanager
    async def open_batches(*_: object, **__: object) -> Any:
        raise WorkerLostError("this worker stopped: it slept")
        yield

    files.write("one")
    monkeypatch.setattr(DurableBatches, "open", open_batches)
    output = files.run("--durable", batches, exit_code=3)
    assert "this worker stopped: it slept" in output
    assert "started again, it goes on" in output


def test_ctrl_c_once(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """Runs in progress end and have results, and no others are started; the exit code is 3."""
    files.write("wait 0", "wait 1", "wait 2", "wait 3")
    with files.start("--workers", "2", "--durable", str(batches)) as process:
        endpoint.wait_for_runs(2)
        process.send_signal(signal.SIGINT)
        read_until(process, "no more runs are started")
        endpoint.portal.call(endpoint.gate.set)
        _, output = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "not all jobs have results, because it was stopped; started again, it goes on" in output
    assert files.results() == {"job 0": "Late.", "job 1": "Late."}
    assert endpoint.statuses() == {"completed": 2}
    assert "2/4, 2 completed, 2 waiting" in run("batch", "status", batches)


def test_ctrl_c_twice(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """Runs in progress go on; the exit code is 3."""
    files.write("one", "wait", "two")
    with files.start("--workers", "1", "--durable", str(batches)) as process:
        endpoint.wait_for_runs(1)
        process.send_signal(signal.SIGINT)
        read_until(process, "no more runs are started")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 3
    assert files.results() == {"job 0": "Re: one"}
    assert endpoint.statuses() == {"completed": 1, "in_progress": 1}


def test_kill_minus_9(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """The next start has a result of each job, none twice, and each job has had one run."""
    files.write("one", "two", "wait 2", "wait 3", "three")
    with files.start("--workers", "3", "--durable", str(batches)) as process:
        endpoint.wait_for_runs(2)
        process.kill()
    endpoint.portal.call(endpoint.gate.set)
    files.run("--durable", batches)
    assert Counter(files.results().values()) == {"Re: one": 1, "Re: two": 1, "Late.": 2, "Re: three": 1}
    assert endpoint.statuses() == {"completed": 5}
    assert endpoint.asked == dict.fromkeys(["one", "two", "wait 2", "wait 3", "three"], 1)
