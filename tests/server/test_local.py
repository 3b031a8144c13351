"""`LocalServer`: starts and stops at once, and leaves nothing behind."""

import asyncio

import anyio
import pytest
from aiohttp import ClientConnectionError, ClientSession

from openai_runs.backends import Call, ScriptedBackend, Wait
from openai_runs.engine.clock import ManualClock
from openai_runs.errors import NotFoundError, StoreFileError
from openai_runs.server import LocalServer, PassThrough
from openai_runs.server.keys import hashed
from openai_runs.stores import MemoryStore
from openai_runs.stores.sqlite import SQLiteStore
from tests.server.api import Api, get_status
from tests.server.conftest import TOOL
from tests.server.console.browser import browsing

pytestmark = pytest.mark.anyio


async def test_up_and_down():
    """It listens on a free loopback port until the block ends."""
    server = LocalServer()
    assert repr(server) == "<LocalServer, closed>"
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.url
    async with server, LocalServer() as other:
        url = server.url
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        assert repr(server) == f"<LocalServer at {url}>"
        assert other.url != url
        assert await get_status(f"{url}/assistants") == 200
    with pytest.raises(RuntimeError, match="not running"):
        server.session()
    with pytest.raises(OSError, match="Connect call failed"):
        await get_status(url)


async def test_again_with_what_was_kept():
    """A server can be started again, and another server can use its store afterwards."""
    store = MemoryStore()
    server = LocalServer(store=store)
    async with server, server.session() as session:
        thread = await session.threads.create()
    async with server, server.session() as session:
        assert await session.threads.retrieve(thread.id) == thread
    async with LocalServer(store=store) as other, other.session() as session:
        assert await session.threads.retrieve(thread.id) == thread


async def test_open_connections_do_not_hold_it(monkeypatch):
    """Idle connections are closed at once, however long the grace for requests is."""
    async with ClientSession() as http:
        with anyio.fail_after(20):
            async with LocalServer(grace=600) as server:
                for _ in range(3):
                    async with http.get(f"{server.url}/assistants") as response:
                        await response.read()
                reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()


async def test_a_request_under_way_is_finished(monkeypatch):
    """A request under way when the server stops still gets its response."""
    begun, go_on = anyio.Event(), anyio.Event()
    statuses = []
    server = LocalServer(grace=30)

    async def ask(url):
        statuses.append(await get_status(url))

    async with anyio.create_task_group() as tasks, server:
        whole = type(server.engine.assistants).list

        async def slow(*arguments):
            begun.set()
            await go_on.wait()
            return await whole(*arguments)

        monkeypatch.setattr(type(server.engine.assistants), "list", slow)
        tasks.start_soon(ask, f"{server.url}/assistants")
        await begun.wait()
        asyncio.get_running_loop().call_later(0, go_on.set)
    assert statuses == [200]


async def test_a_request_that_does_not_end_is_dropped(monkeypatch):
    """After the grace, the server stops even if requests are unfinished."""
    begun = anyio.Event()
    async with ClientSession() as http, anyio.create_task_group() as tasks:

        async def ask(url):
            with pytest.raises(ClientConnectionError):
                await http.get(url)

        async with LocalServer(grace=0) as server:

            async def stuck(*_):
                begun.set()
                await anyio.sleep_forever()

            monkeypatch.setattr(type(server.engine.assistants), "list", stuck)
            tasks.start_soon(ask, f"{server.url}/assistants")
            await begun.wait()


async def test_a_clock_that_is_moved_by_hand():
    """A manual clock drives both the runs and the poll hints."""
    clock = ManualClock()
    async with LocalServer(clock=clock, expires_after=600) as server, ClientSession() as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "m", "tools": [TOOL]})
        run = await api.ended(await api("POST", "/threads/runs", {"assistant_id": assistant["id"]}))
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        for age, hint in ((0, "50"), (20, "2000"), (599, "5000")):
            clock.advance(age - (clock.now() - run["created_at"]))
            assert (await api.send("GET", path)).headers["openai-poll-after-ms"] == hint
        clock.advance(1)
        while run["status"] == "requires_action":
            run = await api("GET", path)
        assert (run["status"], run["expires_at"]) == ("expired", None)


async def test_polling_begins_anew_with_the_work():
    """However long a run has waited for outputs, or for its turn, it is polled like a new one from then on."""
    clock = ManualClock()

    async def hint(path, method="GET", body=None):
        return (await api.send(method, path, body)).headers["openai-poll-after-ms"]

    go_on = anyio.Event()
    scripts = iter([Call("add"), [Wait(go_on)], [Wait()]])
    server = LocalServer(backend=ScriptedBackend(lambda _: next(scripts)), clock=clock, max_active_runs=1)
    async with server, ClientSession() as http:
        api = Api(http, server.url)
        assistant = await api("POST", "/assistants", {"model": "m", "tools": [TOOL]})
        run = await api.ended(await api("POST", "/threads/runs", {"assistant_id": assistant["id"]}))
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        clock.advance(60)
        assert await hint(path) == "5000"
        outputs = [{"tool_call_id": call["id"], "output": "4"} for call in calls]
        assert await hint(f"{path}/submit_tool_outputs", "POST", {"tool_outputs": outputs}) == "50"
        queued = await api("POST", "/threads/runs", {"assistant_id": assistant["id"]})
        behind = f"/threads/{queued['thread_id']}/runs/{queued['id']}"
        clock.advance(30)
        assert (await hint(path), await hint(behind)) == ("3000", "3000")
        go_on.set()
        while (await api("GET", behind))["status"] != "in_progress":
            pass
        assert await hint(behind) == "50"
        clock.advance(30)
        assert await hint(f"{behind}/cancel", "POST") == "50"


async def test_cancelled():
    """A cancelled program still closes its server."""
    async with anyio.create_task_group() as tasks, LocalServer() as server:
        url = server.url
        tasks.cancel_scope.cancel()
        await anyio.sleep_forever()
    with pytest.raises(OSError, match="Connect call failed"):
        await get_status(url)


async def test_a_fixture():
    """One task may start it and another stop it, as in fixtures of pytest-asyncio."""
    server = LocalServer()
    await asyncio.create_task(server.__aenter__())
    async with server.session() as session:
        await session.threads.create()
    await asyncio.create_task(server.__aexit__(None, None, None))
    assert repr(server) == "<LocalServer, closed>"


@pytest.mark.parametrize("name", ["port", "metrics_port"])
async def test_a_port_that_is_taken(tmp_path, name):
    """A port in use raises the system's error, and no store or index is left behind, nor a port."""
    async with LocalServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        refused = LocalServer(store=SQLiteStore(tmp_path / "runs.db"), files="local", **{name: port})
        with pytest.raises(OSError, match="address already in use"):
            async with refused:
                pass  # pragma: no cover
    assert [path.name for path in tmp_path.iterdir()] == []


async def test_a_port_of_a_server_that_cannot_start(tmp_path):
    """It is free again at once."""
    (tmp_path / "runs.db").write_text("no store")
    async with LocalServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
    with pytest.raises(StoreFileError):
        async with LocalServer(port=port, store=SQLiteStore(tmp_path / "runs.db")):
            pass  # pragma: no cover
    async with LocalServer(port=port) as server, server.session() as session:
        await session.threads.create()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_beyond_loopback_there_must_be_keys(host):
    """Without keys, an address that other machines can reach is refused."""
    with pytest.raises(ValueError, match="pass keys"):
        LocalServer(host=host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
async def test_hosts(host):
    """The URL can be requested, whatever address the server listens on."""
    async with LocalServer(host=host, keys={"sk-a": "a"}) as server:
        assert await get_status(f"{server.url}/assistants", Authorization="Bearer sk-a") == 200


@pytest.mark.parametrize("host", ["::1", "::"])
async def test_hosts_of_ip_6(host):
    """The URL of an IPv6 address has brackets."""
    try:
        async with LocalServer(host=host, keys={"sk-a": "a"}) as server:
            assert server.url.startswith("http://[::1]:")
            assert await get_status(f"{server.url}/assistants", Authorization="Bearer sk-a") == 200
    except OSError:  # pragma: no cover
        pytest.skip("no IPv6 here")


async def test_sessions(monkeypatch):
    """`session()` uses the server's key and the given options, and not the environment's key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.com/v1")
    async with (
        LocalServer(keys={"sk-a": "a", "sk-b": "b"}) as server,
        server.session() as a,
        server.session(api_key="sk-b", timeout=5) as b,
    ):
        thread = await a.threads.create()
        assert await a.threads.retrieve(thread.id) == thread
        with pytest.raises(NotFoundError):
            await b.threads.retrieve(thread.id)


async def test_keys_that_are_replaced():
    """They hold at once, for polls too, and sessions of the console end; the hash of a key stands for it."""
    async with LocalServer(keys={"sk-a": "alice"}) as server, browsing(server) as browser:
        async with server.session() as session:
            run = await session.threads.create_and_run(assistant_id=(await session.assistants.create(model="m")).id)
        await browser.open("/")
        await browser.send("/console/login", {"key": "sk-a"})
        await browser.open("/")
        assert browser.status == 200
        server.replace_keys({hashed("sk-b"): "alice"})
        path = f"{server.url}/threads/{run.thread_id}/runs/{run.id}"
        assert await get_status(path, Authorization="Bearer sk-a") == 401
        assert await get_status(path, Authorization="Bearer sk-b") == 200
        await browser.open("/")
        assert browser.status == 401
        with pytest.raises(ValueError, match="knows its keys by their hashes only"):
            server.session()
        async with server.session(api_key="sk-b") as session:
            await session.threads.create()
        server.replace_keys({hashed("sk-b"): "alice", "sk-c": "bob"})
        async with server.session() as session:
            assert [thread async for thread in session.threads.list()] == []
    server.replace_keys({"sk-d": "dora"})  # while it is closed
    async with server, server.session() as session:
        await session.threads.create()


async def test_keys_that_cannot_be_replaced():
    """A server without keys stays open, and one that depends on having one owner keeps having one."""
    with pytest.raises(RuntimeError, match="started without keys"):
        LocalServer().replace_keys({"sk-a": "alice"})
    server = LocalServer(keys={"sk-a": "alice"}, pass_through=PassThrough("http://127.0.0.1:9"), console=False)
    async with server:
        with pytest.raises(ValueError, match="one owner or several"):
            server.replace_keys({"sk-a": "alice", "sk-b": "bob"})
        server.replace_keys({"sk-b": "bob"})
        assert await get_status(f"{server.url}/assistants", Authorization="Bearer sk-b") == 200
