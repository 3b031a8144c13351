"""The walkthrough that ``openai-runs demo`` prints, as the example to start from that it also is."""

import pytest

from openai_runs.backends import Call, Say, ScriptedBackend
from openai_runs.cli.walkthrough import get_weather, toolbox, walkthrough
from openai_runs.server import LocalServer

pytestmark = pytest.mark.anyio


async def test_what_happens():
    """Everything once and in this order; nothing is left behind at the endpoint."""
    backend = ScriptedBackend([Call("get_weather", {"city": "Lisbon"}), Say("It is clear.")])
    async with LocalServer(backend=backend) as server, server.session() as session:
        told = [(what, str(details)) async for what, details in walkthrough(session, model="m")]
        assert [assistant async for assistant in session.assistants.list()] == []
    what = [name for name, _ in told]
    assert what[:5] == ["assistant created", "thread created", "message added", "message added", "run created"]
    order = [what.index(name) for name in ("event ActionRequired", "outputs submitted", "event RunEnded", "step")]
    assert order == sorted(order)
    assert ("answer", "It is clear.") in told
    assert what[-1] == "deleted"


async def test_the_tool():
    """Its schema comes from its signature and docstring."""
    assert (await get_weather("Lisbon", "fahrenheit"))["temperature"] == 70
    (tool,) = toolbox.tools
    assert tool.function.parameters["required"] == ["city"]
