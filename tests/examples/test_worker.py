"""The worker on taskiq and Redis, with a real Redis server from a wheel."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from openai_runs import Session
from tests.examples.programs import Program, program, run

REDIS_SERVER = Path(sys.executable).with_name("redis-server")
CLIENT = 'python docs/examples/worker.py "What is a run?" --assistant'

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not REDIS_SERVER.exists(), reason="no wheel has a Redis server for this Python"),
]


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """The URL of a Redis server, which listens on a socket in a folder of its own and saves nothing."""
    with TemporaryDirectory() as folder:
        command = [REDIS_SERVER, "--port", "0", "--unixsocket", f"{folder}/redis", "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert any("ready to accept connections" in line for line in process.stdout)
                yield f"unix://{folder}/redis"
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def worker(redis: str, endpoint: str) -> Iterator[Program]:
    command = "taskiq worker --app-dir docs/examples worker:broker"
    with program(command, "--workers=1", OPENAI_BASE_URL=endpoint, REDIS_URL=redis) as running:
        yield running


async def test_a_job_is_answered(worker: Program, redis: str, endpoint: str):
    """Whoever gives a job sees each status of its run, and then the answer; only the worker knows the endpoint."""
    async with Session(endpoint) as session:
        assistant = await session.assistants.create(model="scripted")
    asked = run(CLIENT, assistant.id, REDIS_URL=redis)
    assert asked.returncode == 0, asked.stderr
    *statuses, answer = asked.stdout.splitlines()
    assert statuses[0] == "queued"
    assert statuses[-1] == "completed"
    assert answer == "You said: What is a run?"


async def test_a_job_that_cannot_be_run_says_so(worker: Program, redis: str):
    """The failure is the job's result, and the worker goes on."""
    asked = run(CLIENT, "asst_unknown", REDIS_URL=redis)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("failed: ")
    assert "asst_unknown" in asked.stdout
