"""The worker on taskiq and Redis, with a real Redis server from a wheel."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from anyio import Event, create_task_group, fail_after, to_thread

from openai_runs import Session
from openai_runs.backends import Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.server import LocalServer
from tests.examples.programs import PATIENCE, Program, program, run
from tests.proxy import Instead, Proxy
from tests.stub import error

REDIS_SERVER = Path(sys.executable).with_name("redis-server")
WORKER = "taskiq worker --app-dir docs/examples worker:broker"
CLIENT = 'python docs/examples/worker.py "What is a run?" --assistant'

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not REDIS_SERVER.exists(), reason="no wheel has a Redis server for this Python"),
]


@contextmanager
def serving_redis() -> Iterator[str]:
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
def redis() -> Iterator[str]:
    with serving_redis() as url:
        yield url


@pytest.fixture(scope="module")
def worker(redis: str, endpoint: str) -> Iterator[Program]:
    with program(WORKER, "--workers=1", OPENAI_BASE_URL=endpoint, REDIS_URL=redis) as running:
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


async def test_an_endpoint_that_is_away_fails_no_job(anyio_backend: str):
    """A start that is refused more often than a session repeats it by default is an answer in the end, of one run."""
    async with LocalServer() as server, server.session() as session, Proxy(server.url) as proxy:
        assistant = await session.assistants.create(model="scripted")
        proxy.plan("POST", "/threads/runs", Instead(error(503)), times=3)
        with ExitStack() as exit_stack:
            redis = exit_stack.enter_context(serving_redis())  # of its own, so that no other worker has the job
            start = partial(program, WORKER, "--workers=1", OPENAI_BASE_URL=proxy.url, REDIS_URL=redis)
            await to_thread.run_sync(lambda: exit_stack.enter_context(start()))
            asked = await to_thread.run_sync(partial(run, CLIENT, assistant.id, REDIS_URL=redis))
            await to_thread.run_sync(exit_stack.close)
        assert asked.stdout.endswith("You said: What is a run?\n"), asked.stdout + asked.stderr
        assert len([found async for found in session.runs.list_all()]) == 1


async def test_a_killed_workers_job_is_finished_by_another(anyio_backend: str):
    """The other one goes on with the same run, since the job's ID is the run's idempotency key."""
    asked, gate, runs = Event(), Event(), set[str]()
    answers: list[str] = []

    def hold(request: ModelRequest) -> list[Wait | Say]:
        runs.add(request.run_id)
        asked.set()
        return [Wait(gate), Say("Done.")]

    async with LocalServer(backend=ScriptedBackend(hold)) as server, server.session() as session:
        assistant = await session.assistants.create(model="x")
        with ExitStack() as exit_stack:
            redis = exit_stack.enter_context(serving_redis())

            def start() -> Program:
                variables = {"OPENAI_BASE_URL": server.url, "REDIS_URL": redis, "TAKEOVER": "1"}
                return exit_stack.enter_context(program(WORKER, "--workers=1", **variables))

            async def ask() -> str:
                done = await to_thread.run_sync(partial(run, CLIENT, assistant.id, REDIS_URL=redis))
                return done.stdout + done.stderr

            async def ask_first() -> None:
                answers.append(await ask())

            killed = await to_thread.run_sync(start)
            async with create_task_group() as tasks:
                tasks.start_soon(ask_first)
                with fail_after(PATIENCE):
                    await asked.wait()
                killed.kill()
                gate.set()
                await to_thread.run_sync(start)
                others = 0
                while not answers:  # a worker looks for jobs of killed ones whenever it gets one
                    assert (await ask()).endswith("Done.\n")
                    others += 1
            await to_thread.run_sync(exit_stack.close)
    assert answers[0].endswith("Done.\n")
    assert len(runs) == 1 + others
