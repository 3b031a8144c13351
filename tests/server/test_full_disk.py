"""A full disk, as clients see it: new work is refused, nothing is lost, and runs go on when there is room again."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp import ClientSession

from openai_runs.backends import Call, Say, ScriptedBackend, Wait
from openai_runs.engine import ManualClock
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.server.api import Api

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

LONG = "word " * 4000  # more than what is left of any page of the file
SAYING = {"messages": [{"role": "user", "content": LONG}]}


async def limit(store: SQLiteStore, pages: str) -> None:
    """Limit SQLite's file to ``pages`` pages, as if the disk were full."""
    assert store._db is not None
    await store._db.execute_fetchall(f"PRAGMA max_page_count = {pages}")


async def fill(api: Api, store: SQLiteStore) -> list[str]:
    """Create threads until the disk is full; returns them."""
    await limit(store, "200")
    made = []
    while (response := await api.send("POST", "/threads", SAYING)).status == 200:
        made.append(response.body["id"])
    assert response.status == 503
    return made


async def ended(api: Api, clock: ManualClock, path: str) -> dict[str, Any]:
    """Poll a run that may be waiting for the store, which is retried each second."""
    while (run := await api("GET", path))["status"] in ("queued", "in_progress"):
        clock.advance(1)
    return run


async def test_a_full_disk(tmp_path: Path):
    """Every write is a 503 with the API's error body; reads still work, and runs go on as soon as they can."""
    go_on, clock = anyio.Event(), ManualClock()
    store = SQLiteStore(tmp_path / "runs.db", cache_size=0)
    backend = ScriptedBackend([[Wait(go_on), Call("f", LONG, id="call_1")], Say(LONG)])
    server = LocalServer(backend=backend, store=store, clock=clock, expires_after=1e6)
    async with server, ClientSession() as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "m"})
        create = {"assistant_id": assistant["id"], "instructions": LONG}
        run = await api("POST", "/threads/runs", {**create, "thread": SAYING})
        path = f"/threads/{run['thread_id']}"
        of_run = f"{path}/runs/{run['id']}"
        waiting = await api("POST", "/threads/runs", create)
        threads = await fill(api, store)

        refusals: list[tuple[str, Any]] = [
            ("/assistants", {"model": "m", "instructions": LONG}),
            ("/threads", SAYING),
            ("/threads/runs", create),
            ("/threads/runs", {**create, "stream": True}),
            (f"/threads/{threads[0]}/messages", SAYING["messages"][0]),
            (f"/threads/{threads[0]}/runs", create),
        ]
        for where, body in refusals:
            error = (await api("POST", where, body, status=503))["error"]
            assert (error["type"], error["param"], error["code"]) == ("server_error", None, None)
            assert "database or disk is full. Nothing was changed." in error["message"]
        async with http.get(server.url.removesuffix("/v1") + "/healthz") as response:
            assert response.status == 200  # a new start would make no room

        go_on.set()
        for id in threads:
            [message] = (await api("GET", f"/threads/{id}/messages"))["data"]
            assert message["content"][0]["text"]["value"] == LONG
            assert (await api("GET", f"/threads/{id}/runs"))["data"] == []
        assert (await api("GET", of_run))["status"] == "in_progress"  # its call cannot be written
        assert len((await api("GET", "/assistants"))["data"]) == 1

        await limit(store, "100000")
        assert (await ended(api, clock, of_run))["status"] == "requires_action"
        outputs = {"tool_outputs": [{"tool_call_id": "call_1", "output": "yes"}]}
        await api("POST", f"{of_run}/submit_tool_outputs", outputs)
        assert (await ended(api, clock, of_run))["status"] == "completed"
        waiting = await ended(api, clock, f"/threads/{waiting['thread_id']}/runs/{waiting['id']}")
        for where, body in refusals[:3]:
            await api("POST", where, body)
    await look_after_a_restart(tmp_path, waiting, threads, path)


async def look_after_a_restart(folder: Path, waiting: dict[str, Any], threads: list[str], path: str) -> None:
    store = SQLiteStore(folder / "runs.db")
    async with LocalServer(store=store, clock=ManualClock()) as server, ClientSession() as http:
        api = Api(http, server.url)
        for id in threads:
            assert len((await api("GET", f"/threads/{id}/messages"))["data"]) == 1
        texts = [message["content"][0]["text"]["value"] for message in (await api("GET", f"{path}/messages"))["data"]]
        assert texts == [LONG, LONG]
        assert await api("GET", f"/threads/{waiting['thread_id']}/runs/{waiting['id']}") == waiting
        assert waiting["status"] == "requires_action"


async def test_who_starts_on_a_full_disk(tmp_path: Path):
    """After a restart, objects can be read, and the interrupted run ends as soon as there is room."""
    clock = ManualClock()
    store = SQLiteStore(tmp_path / "runs.db")
    server = LocalServer(backend=ScriptedBackend([Wait()]), store=store, clock=clock, expires_after=1e6)
    async with server, ClientSession() as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "m"})
        run = await api("POST", "/threads/runs", {"assistant_id": assistant["id"], "thread": SAYING})
        await fill(api, store)
    of_run = f"/threads/{run['thread_id']}/runs/{run['id']}"
    store = SQLiteStore(tmp_path / "runs.db")
    go_on = anyio.Event()
    backend = ScriptedBackend([[Wait(go_on), Say(LONG)]])
    async with LocalServer(backend=backend, store=store, clock=clock, expires_after=1e6) as server:
        await limit(store, "1")  # as small as the file is
        go_on.set()
        async with ClientSession() as http:
            api = Api(http, server.url)
            await api("POST", "/threads", SAYING, status=503)
            assert (await api("GET", of_run))["status"] == "in_progress"
            await limit(store, "100000")
            assert (await ended(api, clock, of_run))["status"] == "completed"
