"""``python -m openai_runs.batch.durable``: a worker as a process of its own."""

import os
import signal
import sys

import anyio
import pytest

from openai_runs import Session, Toolbox
from openai_runs.batch.durable import DurableBatches
from openai_runs.batch.durable.__main__ import load_toolbox, main
from openai_runs.models.assistant import Assistant
from openai_runs.server import LocalServer

pytestmark = pytest.mark.anyio

TOOLS = Toolbox()


def test_which_tools():
    """A toolbox is named by its place; anything else there is refused."""
    assert isinstance(load_toolbox("tests.batch.durable.test_main:TOOLS"), Toolbox)
    with pytest.raises(TypeError, match="is no Toolbox"):
        load_toolbox("sys:path")
    with pytest.raises(AttributeError):
        load_toolbox("sys:nothing")


def test_the_command_line(capsys: pytest.CaptureFixture[str]):
    """It says what it takes."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--at-once" in capsys.readouterr().out


async def test_a_worker(postgres_url: str, server: LocalServer, session: Session, assistant: Assistant):
    """It runs what others submit, until a signal stops it."""
    command = [sys.executable, "-m", "openai_runs.batch.durable", postgres_url, "--workers", "2", "--at-once", "4"]
    command += ["--tools", "tests.batch.durable.test_main:TOOLS"]
    environment = {**os.environ, "OPENAI_BASE_URL": server.url}
    async with await anyio.open_process(command, env=environment, stderr=None) as worker:
        async with DurableBatches.open(postgres_url) as batches:
            batch = await batches.submit([{"assistant_id": assistant.id, "tool_choice": "none"}] * 3)
            results = [result async for result in batch.results()]
        worker.send_signal(signal.SIGTERM)
        await worker.wait()
    assert [result.error for result in results] == [None] * 3
    assert worker.returncode == 0
