"""What the operator's commands ask a running server for, and how they find it."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import anyio
import pytest

from openai_runs.backends import Call, ScriptedBackend
from openai_runs.errors import StoreFileError
from openai_runs.server import LocalServer
from openai_runs.server.audit_log import AuditLog
from openai_runs.server.operator_client import OperatorClient, reaching
from openai_runs.stores import MemoryStore
from openai_runs.stores.backup import StoreBackup
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.stores.objects import NOW, assistant, message, run, state, thread

pytestmark = pytest.mark.anyio

KEYS = {"sk-al": "al", "sk-bob": "bob"}


class Served:
    """A server, and its operator's connection."""

    def __init__(self, server: LocalServer, client: OperatorClient, store: Store) -> None:
        self.server, self.client, self.store = server, client, store

    async def lines(self, method: str, *path: str, **options: object) -> list[dict[str, object]]:
        async with self.client.asking(method, *path, **options) as answer:
            return [json.loads(line) async for line in answer]


@pytest.fixture
async def served(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Served]:
    store = SQLiteStore(tmp_path / "runs.db")
    server = LocalServer(
        store=store,
        keys=KEYS,
        backend=ScriptedBackend([Call("f")]),
        audit=AuditLog(tmp_path / "audit.jsonl"),
        operator_file=tmp_path / "operator",
    )
    async with server, reaching(tmp_path / "operator") as client:
        assert client is not None
        yield Served(server, client, store)


async def test_the_file(tmp_path: Path):
    """It is there while the server is, for its user only, and replaces what a killed one has left."""
    file = tmp_path / "operator"
    file.write_text("left behind")
    async with LocalServer(operator_file=file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert {*json.loads(file.read_text())} == {"url", "secret"}
        kept = file.read_text()
        async with reaching(file) as client:
            assert client is not None
    assert not file.exists()
    file.write_text(kept)  # as after kill -9
    async with reaching(file) as client:
        assert client is None
    for text in "", "{}", "[1]", json.dumps({"url": 1, "secret": "s"}):
        file.write_text(text)
        async with reaching(file) as client:
            assert client is None
    file.unlink()
    async with reaching(file) as client:
        assert client is None


async def test_a_file_of_another_server(tmp_path: Path):
    """Two servers on one database may name the same file: the first to end leaves that of the other one."""
    file = tmp_path / "operator"
    async with LocalServer(operator_file=file):
        async with LocalServer(operator_file=file):
            text = file.read_text()
            async with reaching(file) as client:
                assert client is not None
        assert not file.exists()
        file.write_text(text)
    assert file.read_text() == text


async def test_only_with_the_secret(served: Served, tmp_path: Path):
    """Keys of the API do not get in, whatever they are, nor does the operator's secret into the API."""
    said = json.loads((tmp_path / "operator").read_text())
    async with aiohttp.ClientSession() as http:
        for given in None, "Bearer sk-al", "Bearer ", said["secret"], "Bearer \udcff":
            headers = {} if given is None else {"Authorization": given}
            async with http.get(f"{said['url']}/threads", headers=headers) as response:
                assert response.status == 401
                assert said["secret"] not in await response.text()
        async with http.get(f"{served.server.url}/threads", headers={"Authorization": f"Bearer {said['secret']}"}) as r:
            assert r.status == 401


async def test_another_program_at_the_port(tmp_path: Path):
    """One that has got the port of a server that was killed is not taken for it."""
    async with LocalServer() as other:
        (tmp_path / "operator").write_text(json.dumps({"url": other.url.removesuffix("/v1"), "secret": "s"}))
        async with reaching(tmp_path / "operator") as client:
            assert client is None


async def test_threads(served: Served, tmp_path: Path):
    """Those of all owners are listed, with when they were used; each can be deleted, and that is audited."""
    async with served.server.session(api_key="sk-bob") as bob:
        assistant_id = (await bob.assistants.create(model="m", tools=[])).id
        active = await bob.threads.create_and_run(assistant_id=assistant_id)
    await served.store.commit([thread(f"t{n}", "al") for n in range(150)])
    found = await served.lines("GET", "threads")
    assert [line["id"] for line in found] == [*(f"t{n}" for n in range(150)), active.thread_id]
    assert found[0] == {
        "id": "t0",
        "owner": "al",
        "created_at": int(NOW.timestamp()),
        "last_used_at": int(NOW.timestamp()),
        "has_unfinished_run": False,
    }
    assert await served.client.answer("DELETE", "threads", "t0") == {"deleted": True}
    assert await served.client.answer("DELETE", "threads", "t0") == {"deleted": False}
    assert await served.client.answer("DELETE", "threads", active.thread_id) == {"deleted": True}
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["by"], line["id"], line["owner"]) for line in lines] == [
        ("operator", "t0", "al"),
        ("operator", active.thread_id, "bob"),
    ]
    assert len(await served.lines("GET", "threads")) == 149


async def test_unfinished_runs_are_told(served: Served):
    """Whoever deletes what nobody uses must leave them alone."""
    await served.store.commit([thread("t", "al"), run("r", "t", "al"), state("r", "t", "al")])
    [found] = await served.lines("GET", "threads")
    assert found["has_unfinished_run"] is True


async def test_export(served: Served):
    """An owner's objects, those of 1.5 MB too; an unknown owner is an error that names the others."""
    await served.store.commit([assistant("a", "al", instructions="x" * 1_500_000), thread("t", "bob")])
    await served.store.commit([assistant("b", "al")])
    async with served.client.asking("GET", "export", params={"owner": "al"}) as answer:
        text = await answer.read()
    assert [json.loads(line)["id"] for line in text.splitlines()] == ["a", "b"]
    with pytest.raises(StoreFileError, match="the owners in it are 'al', 'bob'"):
        async with served.client.asking("GET", "export", params={"owner": "carl"}):
            pass


async def test_an_answer_that_cannot_be_completed(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Nobody takes a part of it for all: its end is missing, and the server's log has the reason."""

    async def export(*_: object, **__: object) -> AsyncIterator[bytes]:
        yield b"{}\n"
        raise StoreFileError("a damaged object")

    monkeypatch.setattr("openai_runs.server.operator_site.export_objects", export)
    with pytest.raises(StoreFileError, match="has gone away"):
        async with served.client.asking("GET", "export") as answer:
            await answer.read()
    assert "the operator's /export could not be completed: a damaged object" in caplog.text


async def test_backup(served: Served, tmp_path: Path):
    """It tells how far it is, and at last what it has copied; an error is told, too."""
    await served.store.commit([thread("t", "al"), message("m", "t", "al")])
    lines = await served.lines("POST", "backup", json={"target": str(tmp_path / "copy.db")})
    assert {*lines[-1]} == {"bytes", "contents", "has_index"}
    assert all({*line} == {"done", "total"} for line in lines[:-1])
    async with SQLiteStore(tmp_path / "copy.db") as copy:
        assert await copy.count_objects() == 2
    lines = await served.lines("POST", "backup", json={"target": str(tmp_path / "copy.db")})
    assert "is there already" in str(lines[-1]["error"])


async def test_a_backup_of_another_store(tmp_path: Path):
    """Only SQLite files are backed up so; the error says what to do."""
    file = tmp_path / "operator"
    async with LocalServer(store=MemoryStore(), operator_file=file), reaching(file) as client:
        assert client is not None
        with pytest.raises(StoreFileError, match="use pg_dump"):
            await client.answer("POST", "backup", json={"target": "copy.db"})


async def test_a_backup_that_nobody_waits_for(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is given up when its connection is closed, and leaves nothing behind."""
    ended, begun = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr("openai_runs.server.operator_site._REPORT", 0)

    async def carry_out(_: StoreBackup) -> None:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    monkeypatch.setattr(StoreBackup, "carry_out", carry_out)
    with anyio.fail_after(20):
        async with served.client.asking("POST", "backup", json={"target": str(tmp_path / "copy.db")}):
            await begun.wait()
        await ended.wait()


async def test_a_server_that_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A backup that is under way is given up, and who waits for it is told."""
    server = LocalServer(store=SQLiteStore(tmp_path / "runs.db"), operator_file=tmp_path / "operator")
    begun = asyncio.Event()

    async def carry_out(_: StoreBackup) -> None:
        begun.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(StoreBackup, "carry_out", carry_out)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                async with reaching(tmp_path / "operator") as client:
                    assert client is not None
                    with pytest.raises(StoreFileError, match="has gone away"):
                        async with client.asking("POST", "backup", json={"target": str(tmp_path / "c.db")}) as answer:
                            await answer.read()

            async with server:
                tasks.start_soon(ask)
                await begun.wait()
