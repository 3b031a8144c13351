"""A new server for each test, and a client that checks its responses."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer
from tests.server.api import Api

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:
        yield server


@pytest.fixture
async def api(server: LocalServer) -> AsyncIterator[Api]:
    async with ClientSession() as http:
        yield Api(http, server.url)


@pytest.fixture
async def assistant(api: Api) -> dict:
    return await api("POST", "/assistants", {"model": "scripted", "name": "Weather", "tools": [TOOL]})


@pytest.fixture
async def thread(api: Api) -> dict:
    return await api("POST", "/threads", {"messages": [{"role": "user", "content": "How is the weather?"}]})


@pytest.fixture
async def waiting_run(api: Api, assistant: dict, thread: dict) -> dict:
    """A run that waits for tool outputs."""
    run = await api("POST", f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
    run = await api.ended(run)
    assert run["status"] == "requires_action"
    return run


@pytest.fixture
def outputs(waiting_run: dict) -> list[dict]:
    calls = waiting_run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
