"""`/healthz` and `/readyz`: whoever asks them has no key, and asks by GET or by HEAD."""

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer
from openai_runs.stores import MemoryStore
from tests.recorded import Recorded
from tests.stores.faulty import FaultyStore

pytestmark = pytest.mark.anyio

PATHS = "/healthz", "/healthz/", "/readyz", "/readyz/"


async def ask(server: LocalServer, method: str, path: str) -> tuple[int, str]:
    async with ClientSession() as http, http.request(method, server.url.removesuffix("/v1") + path) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("path", PATHS)
async def test_no_method_needs_a_key(path: str):
    """HEAD is GET without a body, and another method is told which there are."""
    status = "ok" if "healthz" in path else "ready"
    async with LocalServer(store=MemoryStore(), keys={"sk-a": "alice"}) as server:
        assert await ask(server, "GET", path) == (200, f'{{"status":"{status}"}}')
        assert await ask(server, "HEAD", path) == (200, "")
        for method in ("OPTIONS", "POST"):
            refused, text = await ask(server, method, path)
            assert refused == 405
            assert "Perhaps you meant GET,HEAD?" in text
        assert (await ask(server, "GET", f"{path}a"))[0] == 401


async def test_head_of_a_server_that_is_not_ready():
    """The status is that of GET."""
    store = FaultyStore()
    async with LocalServer(store=store) as server:
        store.full = True
        assert await ask(server, "HEAD", "/readyz") == (503, "")


async def test_without_a_span():
    """There are hundreds of probes for each request that does something."""
    recorded = Recorded()
    async with LocalServer(telemetry=recorded.telemetry()) as server:
        for path in PATHS:
            await ask(server, "GET", path)
        await ask(server, "GET", "/v1/assistants")
    assert recorded.tree() == ["GET /v1/assistants"]
