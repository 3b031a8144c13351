"""The services are tested against a `LocalServer`, so that the real wire is in every test."""

from collections.abc import AsyncIterator

import pytest

from openai_runs.engine.backends.scripted import ScriptedBackend
from openai_runs.lifecycle import Polling
from openai_runs.models.assistant import Assistant
from openai_runs.models.thread import Thread
from openai_runs.models.tool import Function, FunctionTool
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox

#: So short that nothing waits.
QUICK = Polling(first=0.001, longest=0.01)

WEATHER = FunctionTool(
    function=Function(
        name="get_weather",
        description="The weather of a city.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
)


@pytest.fixture
def backend() -> ScriptedBackend:
    """Tests with another model override this."""
    return ScriptedBackend()


@pytest.fixture
async def server(anyio_backend: str, backend: ScriptedBackend) -> AsyncIterator[LocalServer]:
    async with LocalServer(backend=backend) as server:
        yield server


@pytest.fixture
async def session(server: LocalServer) -> AsyncIterator[Session]:
    async with server.session() as session:
        yield session


@pytest.fixture
async def assistant(session: Session) -> Assistant:
    return await session.assistants.create(model="scripted", tools=[WEATHER])


@pytest.fixture
async def thread(session: Session) -> Thread:
    return await session.threads.create(messages=[{"role": "user", "content": "How is the weather?"}])


@pytest.fixture
def toolbox() -> Toolbox:
    """Knows the weather."""
    toolbox = Toolbox(on_error="raise")

    @toolbox.tool
    async def get_weather(city: str) -> str:
        return f"sunny in {city}"

    return toolbox
