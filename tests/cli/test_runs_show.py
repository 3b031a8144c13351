"""`openai-runs runs show`."""

import json

import pytest

from openai_runs.cli.walkthrough import toolbox
from openai_runs.server import LocalServer
from tests.cli.commands import run_in_thread
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


async def test_show():
    """Its facts, its calls with their outputs and its messages; found by its own ID, or with its thread's."""
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="scripted", tools=toolbox)
        thread = await session.threads.create(messages=[{"role": "user", "content": "Weather in Lisbon?"}])
        run = await session.runs.create(thread.id, assistant_id=assistant.id, metadata={"who": "ann"})
        await session.runs.complete(run, toolbox=toolbox, polling=QUICK)
        output = await run_in_thread("runs", "show", run.id, "--base-url", server.url)
        assert output.splitlines()[0] == f"{run.id}  completed"
        assert "metadata who ann" in output
        assert 'get_weather({"city": "Lisbon"' in output
        assert "message: get_weather answered" in output
        again = await run_in_thread("runs", "show", run.id, "--thread", thread.id, "--base-url", server.url)
        assert again == output
        output = await run_in_thread("runs", "show", run.id, "--json", "--base-url", server.url)
        kinds = [json.loads(line)["object"] for line in output.splitlines()]
        assert kinds == ["thread.run", "thread.run.step", "thread.run.step"]
        output = await run_in_thread("runs", "show", "run_none", "--base-url", server.url, exit_code=1)
        assert "No run found with id 'run_none'" in output
