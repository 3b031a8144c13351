"""`openai-runs demo`, and the walkthrough that it prints."""

from functools import partial

import anyio.to_thread
import pytest

from openai_runs.server import LocalServer
from tests.cli.commands import run, run_without_reader


def test_demo_shows_the_whole_run():
    """Each event, the steps and the message are printed, without a key and an endpoint."""
    output = run("demo")
    for word in ("assistant created", "ActionRequired", "outputs submitted", "RunEnded", "completed", "answer"):
        assert word in output
    assert output.count("step ") >= 2


@pytest.mark.anyio
async def test_demo_cleans_up_when_nobody_reads_on():
    """A closed output ends it without an error, and what it had created at the endpoint is deleted."""
    async with LocalServer() as server, server.session() as session:
        ended = await anyio.to_thread.run_sync(partial(run_without_reader, "demo", "--base-url", server.url))
        assert ended == (0, "")
        assert [assistant async for assistant in session.assistants.list()] == []
