"""`openai-runs threads delete`, at an endpoint and in a store."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest
from attrs import evolve
from typer.testing import CliRunner

from openai_runs.cli import app, threads_delete
from openai_runs.models.thread import Thread
from openai_runs.server import LocalServer
from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.records import Record
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run, run_in_thread
from tests.postgres import Postgres
from tests.stores.objects import message, state, thread
from tests.stores.objects import run as run_of

pytestmark = pytest.mark.anyio


def one_line(output: str) -> str:
    return " ".join(output.split())


def aged(id: str, owner: str, days: float) -> Record[Thread]:
    record = thread(id, owner)
    created = datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)
    return Record(owner, evolve(record.value, created_at=created))


async def left(store: SQLiteStore) -> list[str]:
    async with store:
        return sorted([record.value.id async for record in store.everything(Thread)])


async def test_at_an_endpoint():
    """By the API, with a key; one that is not there makes the exit code 1, and the others go nevertheless."""
    async with LocalServer() as server, server.session() as session:
        first, second = [(await session.threads.create()).id for _ in range(2)]
        output = await run_in_thread(
            "threads", "delete", first, "thread_none", second, "--base-url", server.url, exit_code=1
        )
        assert f"deleted {first}\n" in output
        assert f"deleted {second}\n" in output
        assert "there is no thread thread_none" in output
        assert "1 of the threads is not there" in output
        assert [found async for found in session.threads.list()] == []
        output = await run_in_thread(
            "threads", "delete", first, second, "--json", "--base-url", server.url, exit_code=1
        )
        assert [json.loads(line) for line in output.splitlines()[:2]] == [
            {"id": first, "deleted": False},
            {"id": second, "deleted": False},
        ]
        assert "2 of the threads are not there" in output


async def test_in_a_store(tmp_path: Path):
    """Whoever the owner is; each deletion is a line of the audit log."""
    path, audit = tmp_path / "runs.db", tmp_path / "audit.jsonl"
    async with SQLiteStore(path) as store:
        await store.commit([thread("t", "al"), message("m", "t", "al"), thread("u")])
    output = await run_in_thread("threads", "delete", "t", "none", "--store", path, "--audit-log", audit, exit_code=1)
    assert "deleted t\n" in output
    assert await left(SQLiteStore(path)) == ["u"]
    [line] = [json.loads(line) for line in audit.read_text().splitlines()]
    assert (line["by"], line["id"], line["owner"], line["counts"]) == ("operator", "t", "al", {"message": 1})
    output = await run_in_thread("threads", "delete", "u", "--store", path, "--json")
    assert json.loads(output) == {"id": "u", "deleted": True}


async def test_unused_ones(tmp_path: Path):
    """All that were not used for so many days, of one owner or of all; none with an unfinished run."""
    path = tmp_path / "runs.db"
    async with SQLiteStore(path) as store:
        await store.commit([aged("old", "al", 40), aged("old too", "bob", 40), aged("new", "al", 20)])
        await store.commit([aged("busy", "al", 40), state("r", "busy", "al")])
        record = run_of("r", "busy", "al")
        await store.commit([Record("al", evolve(record.value, created_at=datetime(2020, 1, 1, tzinfo=UTC)))])
    delete = "threads", "delete", "--unused-days", 30, "--store", path
    assert "deleted 1 thread\n" in await run_in_thread(*delete, "--owner", "al")
    assert await left(SQLiteStore(path)) == ["busy", "new", "old too"]
    assert "deleted 1 thread\n" in await run_in_thread(*delete)
    assert await run_in_thread(*delete, "--json") == ""
    assert await run_in_thread(*delete) == "deleted 0 threads\n"
    assert await left(SQLiteStore(path)) == ["busy", "new"]


async def test_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Zero days mean all, which somebody has to confirm: at a terminal, or by an option. Runs in progress stay."""
    path = tmp_path / "runs.db"
    async with SQLiteStore(path) as store:
        await store.commit(
            [aged("new", "al", 0), aged("old", "bob", 9), aged("busy", "al", 0), state("r", "busy", "al")]
        )
        await store.commit([run_of("r", "busy", "al")])
    delete = "threads", "delete", "--unused-days", 0, "--store", path
    output = await run_in_thread(*delete, exit_code=2)
    assert f"--unused-days 0 would delete 2 threads of all owners in {path}; nothing was deleted" in one_line(output)
    assert "pass --yes" in output
    monkeypatch.setattr(threads_delete, "_is_somebody_there", lambda: True)
    asked = partial(CliRunner().invoke, app, [*map(str, delete), "--owner", "bob"])
    refused = await anyio.to_thread.run_sync(partial(asked, input="n\n"))
    assert (refused.exit_code, "Delete 1 thread of 'bob' in " in one_line(refused.output)) == (1, True)
    assert await left(SQLiteStore(path)) == ["busy", "new", "old"]
    assert (await anyio.to_thread.run_sync(partial(asked, input="y\n"))).exit_code == 0
    assert await left(SQLiteStore(path)) == ["busy", "new"]
    assert "deleted 1 thread\n" in await run_in_thread(*delete, "--yes")
    assert await run_in_thread(*delete) == "deleted 0 threads\n"  # there is nothing to ask about
    assert await left(SQLiteStore(path)) == ["busy"]


async def test_an_owner_without_threads(tmp_path: Path):
    """Its label may be misspelt: those who have threads are named, and the exit code is 1."""
    path = tmp_path / "runs.db"
    delete = "threads", "delete", "--unused-days", 30, "--store", path, "--owner", "bop"
    async with SQLiteStore(path):
        pass
    output = one_line(await run_in_thread(*delete, exit_code=1))
    assert "there is no thread of the owner 'bop'; there are threads of nobody" in output
    async with SQLiteStore(path) as store:
        await store.commit([aged("a", "bob", 1), aged("b", "", 1)])
    output = one_line(await run_in_thread(*delete, exit_code=1))
    assert "there are threads of '' (created without a key), 'bob'" in output
    async with SQLiteStore(path) as store:
        await store.commit([aged(f"t{number}", f"o{number:02}", 1) for number in range(30)])
    output = one_line(await run_in_thread(*delete, exit_code=1))
    assert "'o17', …" in output
    assert "deleted 0 threads" in await run_in_thread(*delete[:-1], "bob")


async def test_at_a_running_server(tmp_path: Path):
    """The server that has the store deletes them."""
    path = tmp_path / "runs.db"
    store = SQLiteStore(path)
    async with LocalServer(store=store, keys={"sk-a": "al"}, operator_file=tmp_path / "runs.db-operator"):
        await store.commit([aged("old", "al", 40), aged("new", "al", 20), thread("t", "bob")])
        output = await run_in_thread("threads", "delete", "--unused-days", 30, "--store", path)
        assert "deleted old\n" in output
        assert "deleted t" in await run_in_thread("threads", "delete", "t", "--store", path)
        output = await run_in_thread("threads", "delete", "none", "--store", path, exit_code=1)
        assert "there is no thread none" in output
    assert await left(SQLiteStore(path)) == ["new"]


async def test_a_database(tmp_path: Path, postgres_server: Postgres):
    """The same in PostgreSQL, while a server shares it and while there is none."""
    url, folder = postgres_server.store_url(), tmp_path / "files"
    store = SharedPostgresStore(url, folder=folder)
    where = "--store", url, "--files-folder", folder
    async with LocalServer(store=store):
        await store.commit([thread("t", "al"), thread("u", "al")])
        assert "deleted t" in await run_in_thread("threads", "delete", "t", *where)
    assert "deleted u" in await run_in_thread("threads", "delete", "u", *where)


def test_what_does_not_fit(tmp_path: Path):
    """Neither IDs nor days, both, and options that mean nothing there."""
    assert "name the threads by their IDs" in run("threads", "delete", exit_code=2)
    assert "name the threads by their IDs" in run("threads", "delete", "t", "--unused-days", 3, exit_code=2)
    assert "are for threads in a --store" in run("threads", "delete", "--unused-days", 3, exit_code=2)
    assert "are for threads in a --store" in run("threads", "delete", "t", "--audit-log", "-", exit_code=2)
    assert "--yes is for --unused-days 0" in run("threads", "delete", "t", "--yes", exit_code=2)
    assert "--owner is for --unused-days" in run("threads", "delete", "t", "--owner", "al", exit_code=2)
    output = run("threads", "delete", "t", "--store", tmp_path / "none.db", exit_code=2)
    assert "there is no store" in output
