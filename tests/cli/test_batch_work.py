"""`openai-runs batch work`: a worker as a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

from openai_runs.batch.durable.file_lock import only_one
from tests.cli.batches import Endpoint, Files, read_until
from tests.cli.commands import run


def start(store: object, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "openai_runs", "batch", "work", str(store), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_stopping(endpoint: Endpoint, files: Files, batches: Path) -> None:
    """Ctrl-C starts no more runs, and again leaves those in progress to the next worker; SIGTERM does so at once."""
    files.write("wait 0", "wait 1", "look up")
    run("batch", "submit", files.jobs, batches, "--name", "all")
    with start(batches, "--workers", "1", "--at-once", "2") as worker:
        endpoint.wait_for_runs(1)
        worker.send_signal(signal.SIGINT)
        read_until(worker, "no more runs are started")
        worker.send_signal(signal.SIGINT)
        worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert endpoint.statuses() == {"in_progress": 1}
    endpoint.portal.call(endpoint.gate.set)
    with start(
        batches, "--tools", "openai_runs.cli.walkthrough:toolbox", "--rpm", "6000", "--tpm", "1000000"
    ) as worker:
        run("batch", "results", batches, "all", "--out", files.out, "--wait")
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert files.results() == {"job 0": "Late.", "job 1": "Re: wait 1", "job 2": "Re: look up"}
    assert endpoint.asked == {"wait 0": 1, "wait 1": 1, "look up": 2}
    assert endpoint.statuses() == {"completed": 3}


def test_it_cannot_start(endpoint: Endpoint, batches: Path, tmp_path: Path) -> None:
    """A wrong store, option or toolbox, and a file that has a worker already; the exit code is 2."""
    assert "there is no such file" in run("batch", "work", tmp_path / "none.db", exit_code=2)
    assert "--at-once must be at least" in run("batch", "work", batches, "--at-once", 7, exit_code=2)
    assert "there is no json:toolbox" in run("batch", "work", batches, "--tools", "json:toolbox", exit_code=2)
    assert "got 'mysql://db'" in run("batch", "work", "mysql://db", exit_code=2)
    with only_one(f"{batches}-worker"):
        assert "another process runs the jobs" in run("batch", "work", batches, exit_code=2)
