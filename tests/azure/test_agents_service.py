"""A session at Azure AI Foundry's Agents service (classic), as `docs/how-to/coming-from-azure.md` says."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from openai_runs import ActionRequired, RunStatus, Toolbox
from openai_runs.errors import AuthenticationError, BadRequestError, RunActionRequiredError
from openai_runs.models.assistant import Assistant
from openai_runs.models.model import Unknown
from openai_runs.models.thread import Thread
from openai_runs.session import Session
from tests.azure.service import API, TOOLS, AgentsService, approval_round, function_round
from tests.stub import Stub
from tests.weather import QUICK

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "coming-from-azure.md").read_text("utf-8")
APPROVALS = [{"tool_call_id": "call_mcp", "approve": True}]
toolbox = Toolbox()


@toolbox.tool
async def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


class Credential:
    """As azure-identity has it; its first token is refused."""

    def __init__(self) -> None:
        self.asked = 0

    async def token(self) -> str:
        self.asked += 1
        return "expired" if self.asked == 1 else "fresh"


@asynccontextmanager
async def project(service: AgentsService) -> AsyncGenerator[tuple[Stub, Session, Credential]]:
    """The service, and a session at it."""
    credential = Credential()
    async with Stub(service) as stub:
        endpoint = f"http://127.0.0.1:{stub.port}{API}"
        async with Session(endpoint, credential.token, default_query={"api-version": "v1"}, strict=True) as session:
            yield stub, session, credential


async def created(session: Session) -> tuple[Assistant, Thread]:
    assistant = await session.assistants.create(model="gpt-4o", tools=[*toolbox.tools, *TOOLS])
    return assistant, await session.threads.create()


async def test_polled() -> None:
    """A run with a function goes to its end; the version is on each request, and a refused token is replaced."""
    service = AgentsService([function_round("Lisbon", "Porto"), function_round("Faro")])
    async with project(service) as (stub, session, credential):
        assistant, thread = await created(session)
        assert service.created["assistants"]["tools"][1:] == TOOLS
        assert isinstance(assistant.tools[1], Unknown)
        run = await session.runs.create(thread.id, assistant_id=assistant.id)
        run = await session.runs.complete(run, toolbox=toolbox, polling=QUICK)
        assert (run.status, run.usage.total_tokens) == (RunStatus.COMPLETED, 5)
        assert [message.text async for message in session.messages.list(thread.id, run_id=run.id)] == ["It is sunny."]
        [step] = [step async for step in session.run_steps.list(run)]
        [call] = step.tool_calls
        assert isinstance(call, Unknown)
        assert (call.type, call.raw["bing_grounding"]) == ("bing_grounding", {"requesturl": "https://example.org"})
    outputs = [[output["output"] for output in body["tool_outputs"]] for body in service.submitted]
    assert outputs == [["sunny in Lisbon", "sunny in Porto"], ["sunny in Faro"]]
    assert all("api-version=v1" in request.query for request in stub.requests)
    sent = [request.headers["authorization"] for request in stub.requests]
    assert sent == ["Bearer expired"] + ["Bearer fresh"] * (len(sent) - 1)
    assert credential.asked == len(sent)


async def test_streamed() -> None:
    """The same, streamed through the tool calls."""
    service = AgentsService([function_round("Lisbon")])
    async with project(service) as (stub, session, _):
        assistant, thread = await created(session)
        async with session.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox) as events:
            assert [text async for text in events.text_deltas()] == ["It is sunny."]
            assert events.run.status is RunStatus.COMPLETED
    assert service.submitted[0]["tool_outputs"] == [{"tool_call_id": "call_Lisbon", "output": "sunny in Lisbon"}]
    assert all("api-version=v1" in request.query for request in stub.requests)


async def test_an_approval_is_shown() -> None:
    """An action that no toolbox can take is told with what was sent, polled and streamed; nothing is submitted."""
    service = AgentsService([approval_round()])
    async with project(service) as (_, session, _):
        assistant, thread = await created(session)
        run = await session.runs.create(thread.id, assistant_id=assistant.id)
        for options in ({}, {"toolbox": toolbox}):
            with pytest.raises(RunActionRequiredError, match="the action 'submit_tool_approval'") as caught:
                await session.runs.complete(run, polling=QUICK, **options)
            action = caught.value.run.required_action
            assert action.type == "submit_tool_approval"
            assert action.extra["submit_tool_approval"]["tool_calls"][0]["server_label"] == "menu"
        async with session.runs.stream(thread.id, assistant_id=assistant.id) as events:
            *_, last = [event async for event in events]
        assert isinstance(last, ActionRequired)
        assert last.tool_calls == ()
        async with session.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox) as events:
            with pytest.raises(RunActionRequiredError):
                await events.until_done()
    assert service.submitted == []


async def test_an_approval_is_given() -> None:
    """As the page has it: ``extra_body`` takes the approvals, and the run is followed through functions, too."""
    [block] = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "tool_approvals" in block]
    names: dict[str, Any] = {}
    exec(block, names)
    asked = []
    service = AgentsService([approval_round(), function_round("Lisbon"), approval_round()])
    async with project(service) as (_, session, _):
        assistant, thread = await created(session)
        run = await session.runs.create(thread.id, assistant_id=assistant.id)
        run = await names["follow_with_approvals"](session, run, toolbox, lambda call: not asked.append(call["name"]))
    assert run.status is RunStatus.COMPLETED
    assert asked == ["search", "search"]
    assert [body.get("tool_approvals") for body in service.submitted] == [APPROVALS, None, APPROVALS]
    assert [len(body["tool_outputs"]) for body in service.submitted] == [0, 1, 0]


async def test_an_approval_is_given_to_a_stream() -> None:
    """The stream that follows the approvals ends with the run."""
    service = AgentsService([approval_round()])
    async with project(service) as (_, session, _):
        assistant, thread = await created(session)
        async with session.runs.stream(thread.id, assistant_id=assistant.id) as events:
            async for _ in events:
                pass
        body = {"tool_approvals": APPROVALS}
        async with session.runs.stream_tool_outputs(events.run, [], extra_body=body) as events:
            run = await events.until_done()
    assert run.status is RunStatus.COMPLETED
    assert service.submitted == [{"tool_outputs": [], "stream": True, "tool_approvals": APPROVALS}]


async def test_resources_of_azures_tools() -> None:
    """``extra_body`` takes what the API's document does not have; without it, an unknown parameter is a mistake."""
    service = AgentsService([])
    resources = {"azure_ai_search": {"indexes": [{"index_name": "menu"}]}}
    async with project(service) as (_, session, _):
        with pytest.raises(TypeError, match=r"tool_resources\.azure_ai_search"):
            await session.assistants.create(model="gpt-4o", tool_resources=resources)
        await session.assistants.create(model="gpt-4o", extra_body={"tool_resources": resources})
    assert service.created["assistants"] == {"model": "gpt-4o", "tool_resources": resources}


async def test_refusals() -> None:
    """A token that stays refused, and a missing version, are errors with Azure's own words."""
    service = AgentsService([], token="of another tenant")
    async with project(service) as (stub, session, _):
        with pytest.raises(AuthenticationError, match="audience is incorrect") as caught:
            await session.threads.create()
        assert caught.value.code == "Unauthorized"
        assert len(stub.requests) == 2
        async with Session(f"http://127.0.0.1:{stub.port}{API}", "fresh") as without:
            with pytest.raises(BadRequestError, match="api-version query parameter is required"):
                await without.threads.create()
