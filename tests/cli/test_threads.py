"""`openai-runs threads list` and `threads show`."""

import json
import re
from pathlib import Path

import pytest
from rich.text import Text

from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run_in_thread
from tests.stores.objects import message, thread
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


async def test_nothing_to_list(monkeypatch: pytest.MonkeyPatch):
    """People are told so; a program that reads the lines gets none."""
    async with LocalServer() as server:
        assert await run_in_thread("threads", "list", "--base-url", server.url) == ""
        monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it, a terminal
        assert "no threads" in await run_in_thread("threads", "list", "--base-url", server.url)
        assert await run_in_thread("threads", "list", "--json", "--base-url", server.url) == ""


async def test_header(monkeypatch: pytest.MonkeyPatch):
    """A terminal shows once what the columns are."""
    async with LocalServer() as server, server.session() as session:
        thread = await session.threads.create(metadata={"n": "1"})
        monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it, a terminal
        output = await run_in_thread("threads", "list", "--base-url", server.url)
        header, line = Text.from_ansi(output).plain.splitlines()
        assert header.split() == ["created", "thread", "metadata"]
        assert [line.index(thread.id), line.index("n=1")] == [header.index("thread"), header.index("metadata")]


async def test_threads():
    """They are listed with their metadata; one is shown with what was said, and its runs, in order."""
    async with LocalServer() as server, server.session() as session:
        ids = [(await session.threads.create(metadata={"n": str(number)})).id for number in range(3)]
        output = await run_in_thread("threads", "list", "--base-url", server.url)
        assert re.findall(r"thread_\w+", output) == ids[::-1]
        assert "n=2" in output.splitlines()[0]
        output = await run_in_thread("threads", "list", "--json", "--limit", 2, "--base-url", server.url)
        assert [json.loads(line)["id"] for line in output.splitlines()] == ids[:0:-1]

        assistant = await session.assistants.create(model="scripted")
        await session.messages.create(ids[0], role="user", content="I need [bold]this[/].")
        run = await session.runs.create(ids[0], assistant_id=assistant.id)
        await session.runs.complete(run, polling=QUICK)
        output = await run_in_thread("threads", "show", ids[0], "--base-url", server.url)
        first, second, third = output.splitlines()
        assert first == "user  I need [bold]this[/]."
        assert run.id in second
        assert third.startswith("assistant  ")
        output = await run_in_thread("threads", "show", ids[0], "--json", "--base-url", server.url)
        kinds = [json.loads(line)["object"] for line in output.splitlines()]
        assert kinds == ["thread.message", "thread.run", "thread.message"]


async def test_threads_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those of all owners, the newest first, with when they were used, whether a server has the store or not."""
    path = tmp_path / "runs.db"
    assert "there is no store" in await run_in_thread("threads", "list", "--store", path, exit_code=2)
    store = SQLiteStore(path)
    async with LocalServer(store=store, operator_file=tmp_path / "runs.db-operator"):
        assert await run_in_thread("threads", "list", "--store", path) == ""
        await store.commit([thread("thread_1", "al"), thread("thread_2", "bob"), message("m", "thread_1", "al")])
        output = await run_in_thread("threads", "list", "--store", path)
        assert sorted(line.split()[-2:] for line in output.splitlines()) == [["thread_1", "al"], ["thread_2", "bob"]]
    assert await run_in_thread("threads", "list", "--store", path) == output
    [note, line] = (await run_in_thread("threads", "list", "--store", path, "--json", "--limit", 1)).splitlines()
    assert note == "the newest 1 of 2 threads; --limit shows more"
    assert {*json.loads(line)} == {"id", "owner", "created_at", "last_used_at", "has_unfinished_run"}
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it, a terminal
    output = await run_in_thread("threads", "list", "--store", path)
    assert "last used" in Text.from_ansi(output).plain.splitlines()[0]
