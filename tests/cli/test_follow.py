"""`openai-runs follow`."""

import pytest

from openai_runs.server import LocalServer

pytestmark = pytest.mark.anyio


async def test_follow_prints_each_event(capsys):
    """Given its IDs, a run that another program created is followed to its end."""
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="m")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        await session.runs.complete(run)
        from openai_runs.cli.follow import _follow

        await _follow(run.thread_id, run.id, server.url)
    assert capsys.readouterr().out.startswith("completed after ")
