"""`/readyz`: 200 while new work can be taken, else 503."""

import anyio
import pytest
from aiohttp import ClientSession

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import Engine
from openai_runs.server import LocalServer, readiness
from openai_runs.server.readiness import Readiness
from openai_runs.stores import MemoryStore
from openai_runs.stores.sqlite import SQLiteStore
from tests.server.api import get_status
from tests.stores.faulty import FaultyStore

pytestmark = pytest.mark.anyio


async def ask(server: LocalServer, path: str = "/readyz") -> tuple[int, dict]:
    async with ClientSession() as http, http.get(server.url.removesuffix("/v1") + path) as response:
        return response.status, await response.json()


async def test_a_server_with_a_store_is_ready(tmp_path):
    """It needs no key, as a load balancer has none, and leaves nothing in the store."""
    async with LocalServer(store=SQLiteStore(tmp_path / "runs.db"), keys={"sk-a": "alice"}) as server:
        assert [await ask(server) for _ in range(3)] == [(200, {"status": "ready"})] * 3
        assert await get_status(f"{server.url}/readyz") == 401  # below /v1 are the API's paths only
        (objects,) = await server.engine._ledger.store._execute("SELECT count(*) FROM objects", ())
        assert objects == (0,)


async def test_a_store_that_takes_no_commits():
    """A full disk makes it unready but not unhealthy: a restart would not help. It is ready again by itself."""
    store = FaultyStore()
    async with LocalServer(store=store) as server:
        store.full = True
        assert await ask(server) == (503, {"status": "store unavailable"})
        assert await ask(server, "/healthz") == (200, {"status": "ok"})
        store.full = False
        assert await ask(server) == (200, {"status": "ready"})


class Broken(MemoryStore):
    async def commit(self, changes):
        raise ZeroDivisionError("a bug")


async def test_a_store_with_a_bug(caplog):
    """It is not ready either, and the log has the details."""
    async with LocalServer(store=Broken()) as server:
        assert await ask(server) == (503, {"status": "store unavailable"})
    assert "ZeroDivisionError: a bug" in caplog.text


async def test_a_store_that_waits(monkeypatch):
    """It is not ready before its commit has ended."""
    store = Slow()
    async with LocalServer(store=store) as server:
        with monkeypatch.context() as patch:
            patch.setattr(readiness, "_PATIENCE", 0)
            assert await ask(server) == (503, {"status": "store unavailable"})
        store.go_on.set()
        assert await ask(server) == (200, {"status": "ready"})
        assert store.commits == 1


async def test_draining():
    """A server that is told to drain says so, and serves all else as before."""
    server = LocalServer()
    with pytest.raises(RuntimeError, match="not running"):
        server.drain()
    async with server:
        server.drain()
        assert await ask(server) == (503, {"status": "draining"})
        assert await ask(server, "/healthz") == (200, {"status": "ok"})
        assert await get_status(f"{server.url}/assistants") == 200
    async with server:  # a new start is a new life
        assert await ask(server) == (200, {"status": "ready"})


class Slow(MemoryStore):
    def __init__(self):
        super().__init__()
        self.commits = 0
        self.go_on = anyio.Event()

    async def commit(self, changes):
        self.commits += 1
        await self.go_on.wait()
        await super().commit(changes)


@pytest.mark.parametrize(("good_for", "commits"), [(60.0, 1), (0.0, 2)])
async def test_many_who_ask(monkeypatch, good_for, commits):
    """They share one attempt to write, and soon afterwards its answer, so that strangers cannot keep the disk busy."""
    monkeypatch.setattr("openai_runs.server.readiness._GOOD_FOR", good_for)
    store, statuses = Slow(), []
    async with Engine(store=store, backend=ScriptedBackend()) as engine:
        readiness = Readiness(engine)

        async def ask_too():
            statuses.append((await readiness.answer()).status)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask_too)
            await anyio.wait_all_tasks_blocked()
            store.go_on.set()
        assert (statuses, store.commits) == ([200] * 10, 1)
        await ask_too()
        assert (statuses.pop(), store.commits) == (200, commits)
