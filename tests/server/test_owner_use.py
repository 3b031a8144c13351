"""What an owner uses of its limits, as it is shown."""

import pytest
from aiohttp import ClientSession

from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.server import Limits, LocalServer
from openai_runs.server.gate import GATE
from openai_runs.server.owner_use import read_use, use_of
from tests.server.api import Api

pytestmark = pytest.mark.anyio

ALL = Limits(requests_per_minute=100, active_runs=5, tokens_per_day=1000, stored_bytes=10**6, messages_per_thread=10)


async def test_what_is_used():
    """Each limit that has a use, and nothing of an owner without limits."""
    async with LocalServer(backend=ScriptedBackend([Wait()]), limits=ALL) as server, ClientSession() as http:
        api, gate = Api(http, server.url), server._app[GATE]
        before = use_of(server.engine, gate, "")
        assert [each.name for each in before] == ["requests_per_minute", "active_runs"]  # the rest is in the store
        before = await read_use(server.engine, gate, "")
        assert [(each.name, each.used, each.most) for each in before] == [
            ("requests_per_minute", 0, 100),
            ("active_runs", 0, 5),
            ("tokens_per_day", 0, 1000),
            ("stored_bytes", 0, 10**6),
        ]
        assistant = await api("POST", "/assistants", {"model": "m"})
        thread = {"messages": [{"role": "user", "content": "Hi"}]}
        await api("POST", "/threads/runs", {"assistant_id": assistant["id"], "thread": thread})
        used = {each.name: each.used for each in use_of(server.engine, gate, "")}
        assert (used["requests_per_minute"], used["active_runs"]) == (2, 1)
        assert 200 < used["stored_bytes"] < 2000
        server.engine.limits.replace({"": Limits()})
        assert use_of(server.engine, gate, "") == await read_use(server.engine, gate, "") == []
