"""`session.run_steps`: each operation, each parameter."""

from typing import Any

import pytest

from openai_runs.errors import NotFoundError
from openai_runs.models.assistant import Assistant
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.proxy import Proxy
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

CONTENT = "step_details.tool_calls[*].file_search.results[*].content"


@pytest.fixture
async def run(session: Session, assistant: Assistant, thread: Thread, toolbox: Toolbox) -> Run:
    run = await session.runs.create(thread.id, assistant_id=assistant.id)
    return await session.runs.complete(run, toolbox=toolbox, polling=QUICK)


async def test_list_and_retrieve(session: Session, run: Run) -> None:
    """Steps are listed newest first or oldest first, and retrieved one by one."""
    steps = [
        step async for step in session.run_steps.list(thread_id=run.thread_id, run_id=run.id, order="asc", limit=1)
    ]
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    (call,) = steps[0].step_details.tool_calls
    assert (call.function.name, call.function.output) == ("get_weather", "sunny in city")
    message = await session.messages.retrieve(
        thread_id=run.thread_id, message_id=steps[1].step_details.message_creation.message_id
    )
    assert "sunny" in message.text
    page = await session.run_steps.list(thread_id=run.thread_id, run_id=run.id, after=steps[1].id).page()
    assert [step.id for step in page.data] == [steps[0].id]
    page = await session.run_steps.list(thread_id=run.thread_id, run_id=run.id, before=steps[0].id).page()
    assert [step.id for step in page.data] == [steps[1].id]
    for step in steps:
        assert await session.run_steps.retrieve(thread_id=run.thread_id, run_id=run.id, step_id=step.id) == step
    with pytest.raises(NotFoundError):
        await session.run_steps.retrieve(thread_id=run.thread_id, run_id=run.id, step_id="step_none")


@pytest.mark.parametrize("include", [[CONTENT], (CONTENT,)])
async def test_include(server: LocalServer, run: Run, include: Any) -> None:
    """`include` is sent with the request for each page."""
    async with Proxy(server.url) as proxy, proxy.session() as session:
        steps = [
            step
            async for step in session.run_steps.list(thread_id=run.thread_id, run_id=run.id, include=include, limit=1)
        ]
        await session.run_steps.retrieve(thread_id=run.thread_id, run_id=run.id, step_id=steps[0].id, include=include)
    assert len(steps) == 2
    assert len(proxy.requests) == 3
    query = "include%5B%5D=step_details.tool_calls%5B%2A%5D.file_search.results%5B%2A%5D.content"
    assert all(query in target for target in proxy.targets)
