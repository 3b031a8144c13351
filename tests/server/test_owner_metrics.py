"""What Prometheus reads of owners with limits."""

import pytest
from aiohttp import ClientSession

from openai_runs.server import Limits, LocalServer
from tests.server.api import Api
from tests.server.test_metrics_site import read

pytestmark = pytest.mark.anyio


async def test_owners_with_limits():
    """Their use, their limits and their refusals, by label; no key, and no owner without limits."""
    keys, limits = {"sk-alice": "alice", "sk-bob": "bob"}, {"alice": Limits(requests_per_minute=2, active_runs=3)}
    headers = {"Authorization": "Bearer sk-alice"}
    async with (
        LocalServer(keys=keys, owner_limits=limits, metrics_port=0) as server,
        ClientSession(headers=headers) as http,
    ):
        for _ in range(3):
            await Api(http, server.url).send("GET", "/assistants")
        samples = await read(http, server)
    owners = {key: value for key, value in samples.items() if key[0].startswith("openai_runs_owner")}
    assert owners == {
        ("openai_runs_owner_used", "requests_per_minute", "alice"): 2,
        ("openai_runs_owner_used", "active_runs", "alice"): 0,
        ("openai_runs_owner_limit", "requests_per_minute", "alice"): 2,
        ("openai_runs_owner_limit", "active_runs", "alice"): 3,
        ("openai_runs_owner_refusals_total", "requests_per_minute_exceeded", "alice"): 1,
    }


async def test_a_server_without_keys():
    """Its one owner has no label."""
    async with LocalServer(limits=Limits(active_runs=3), metrics_port=0) as server, ClientSession() as http:
        samples = await read(http, server)
    assert samples["openai_runs_owner_limit", "active_runs", ""] == 3
