"""`openai-runs batch work`: a worker as a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from openai_runs.batch.durable.file_lock import only_one
from tests.cli.batches import Endpoint, Files, read_until
from tests.cli.commands import run
from tests.postgres import Postgres


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


@pytest.mark.unmeasured
class TestSeveralWorkers:
    """Workers that share a PostgreSQL, each as a process of its own."""

    def owners(self, url: str) -> dict[str, int]:
        """How many workflows each of the workers has."""
        with psycopg.connect(url) as connection:
            query = "SELECT executor_id, count(*) FROM dbos.workflow_status WHERE status = 'PENDING' GROUP BY 1"
            return dict(connection.execute(query).fetchall())

    def test_one_drains(self, endpoint: Endpoint, files: Files, postgres_url: str) -> None:
        """They share a batch; after Ctrl-C one ends what it has begun, and the other does the rest."""
        files.write(*(f"wait {number}" for number in range(10)))
        assert "[mine]: 10 jobs" in run("batch", "submit", files.jobs, postgres_url, "--name", "[mine]")
        with start(postgres_url, "--workers", "3", "--at-once", "6") as one:
            endpoint.wait_for_runs(3)
            with start(postgres_url, "--workers", "3", "--at-once", "6") as other:
                endpoint.wait_for_runs(3)
                assert sorted(self.owners(postgres_url).values()) == [3, 3]
                one.send_signal(signal.SIGINT)
                read_until(one, "no more runs are started")
                endpoint.portal.call(endpoint.gate.set)
                one.communicate(timeout=30)
                run("batch", "results", postgres_url, "[mine]", "--out", files.out, "--wait")
                other.send_signal(signal.SIGINT)
                other.communicate(timeout=30)
        assert (one.returncode, other.returncode) == (0, 0)
        assert len(files.results()) == 10
        assert endpoint.statuses() == {"completed": 10}
        assert set(endpoint.asked.values()) == {1}

    def test_one_is_terminated(self, endpoint: Endpoint, files: Files, postgres_url: str) -> None:
        """After SIGTERM the other one goes on with its runs, without waiting until it is missed."""
        files.write("wait 0", "wait 1", "look up")
        run("batch", "submit", files.jobs, postgres_url, "--name", "all")
        tools = ("--tools", "openai_runs.cli.walkthrough:toolbox")
        with start(postgres_url, "--workers", "2", *tools) as one:
            endpoint.wait_for_runs(2)
            (owner,) = self.owners(postgres_url)
            one.send_signal(signal.SIGTERM)
            one.communicate(timeout=30)
        assert one.returncode == 0
        assert self.owners(postgres_url) == {}
        with start(postgres_url, "--workers", "2", *tools) as other:
            endpoint.portal.call(endpoint.gate.set)
            run("batch", "results", postgres_url, "all", "--out", files.out, "--wait")
            assert owner not in self.owners(postgres_url)
            other.send_signal(signal.SIGTERM)
            other.communicate(timeout=30)
        assert other.returncode == 0
        assert files.results() == {"job 0": "Late.", "job 1": "Late.", "job 2": "Re: look up"}
        assert endpoint.statuses() == {"completed": 3}

    def test_the_tables(self, endpoint: Endpoint, server_of_databases: Postgres) -> None:
        """A worker makes them only if it is told to; of a database that is missing it says so, and makes none."""
        assert 'database "batchse" does not exist' in run(
            "batch", "work", server_of_databases.url("batchse"), "--create", exit_code=2
        )
        server_of_databases.execute("CREATE DATABASE fresh")
        fresh = server_of_databases.url("fresh")
        assert "it has no tables of batches" in run("batch", "work", fresh, exit_code=2)
        with start(fresh, "--create") as worker:
            with psycopg.connect(fresh, autocommit=True) as connection:
                while connection.execute("SELECT to_regclass('openai_runs_schema')").fetchone() == (None,):
                    assert worker.poll() is None
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=30)
        assert worker.returncode == 0


def test_it_cannot_start(endpoint: Endpoint, batches: Path, tmp_path: Path) -> None:
    """A wrong store, option or toolbox, and a file that has a worker already; the exit code is 2."""
    assert "there is no such file" in run("batch", "work", tmp_path / "none.db", exit_code=2)
    assert "--at-once must be at least" in run("batch", "work", batches, "--at-once", 7, exit_code=2)
    assert "there is no json:toolbox" in run("batch", "work", batches, "--tools", "json:toolbox", exit_code=2)
    assert "got 'mysql://db'" in run("batch", "work", "mysql://db", exit_code=2)
    with only_one(f"{batches}-worker"):
        assert "another process runs the jobs" in run("batch", "work", batches, exit_code=2)
