"""`openai-runs runs list` and `runs watch`."""

import json
import re
import signal
import subprocess
import sys
from datetime import datetime

import anyio
import pytest
from rich.text import Text

from openai_runs import Session
from openai_runs.backends import Call, ScriptedBackend
from openai_runs.cli import runs_list
from openai_runs.cli.walkthrough import toolbox
from openai_runs.models.run import RunStatus
from openai_runs.server import LocalServer
from tests.cli.commands import run_in_thread
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


async def some_runs(session: Session) -> list[str]:
    """The IDs of two runs that have completed and of one that waits, the newest first."""
    assistant = await session.assistants.create(model="scripted", tools=toolbox)
    ids = []
    for _ in range(2):
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        await session.runs.complete(run, toolbox=toolbox, polling=QUICK)
        ids.append(run.id)
    run = await session.threads.create_and_run(assistant_id=assistant.id)
    while (await session.runs.retrieve(run)).status != "requires_action":
        pass
    return [run.id, *reversed(ids)]


async def test_list():
    """The newest first; by status, and no more than asked for; for people, and as JSON."""
    async with LocalServer() as server, server.session() as session:
        ids = await some_runs(session)
        output = await run_in_thread("runs", "list", "--base-url", server.url)
        assert re.findall(r"run_\w+", output) == ids
        assert "requires_action" in output.splitlines()[0]
        assert "thread_" in output  # all of it, where it is no terminal
        output = await run_in_thread("runs", "list", "--status", "completed", "--limit", 1, "--base-url", server.url)
        assert re.findall(r"run_\w+", output) == ids[1:2]
        output = await run_in_thread("runs", "list", "--json", "--base-url", server.url)
        assert [json.loads(line)["id"] for line in output.splitlines()] == ids


async def test_header(monkeypatch: pytest.MonkeyPatch):
    """A terminal shows once what the columns are, above them; a pipe and ``--json`` have none."""
    async with LocalServer() as server, server.session() as session:
        ids = await some_runs(session)
        at = ("--base-url", server.url)
        assert "status" not in await run_in_thread("runs", "list", *at)
        for width, names in ("100", "created status took tokens run"), ("200", "created status took tokens run thread"):
            monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it, a terminal
            monkeypatch.setattr(runs_list.console, "_width", int(width))
            header, *lines = Text.from_ansi(await run_in_thread("runs", "list", *at)).plain.splitlines()
            assert header.split() == names.split()
            assert len(lines) == len(ids)
            for name in "status", "run":
                assert lines[0][header.index(name) - 2 : header.index(name)] == "  "
                assert lines[0][header.index(name)] != " "
        output = await run_in_thread("runs", "list", "--json", *at)
        assert [json.loads(line)["id"] for line in output.splitlines()] == ids


async def test_wrong_arguments():
    """What is wrong is named."""
    output = await run_in_thread("runs", "list", "--status", "odd", exit_code=2)
    assert "'odd' is not one of 'queued'" in output


async def test_watch():
    """First those that have not ended, then each change, until Ctrl-C, which is no error."""
    async with LocalServer(backend=ScriptedBackend(lambda _: Call("f", {}))) as server, server.session() as session:
        assistant = await session.assistants.create(model="scripted", tools=toolbox)
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        while (await session.runs.retrieve(run)).status != "requires_action":
            pass
        command = [sys.executable, "-m", "openai_runs", "runs", "watch", "--json", "--base-url", server.url]
        command += ["--status", "requires_action", "--status", "cancelled"]
        async with await anyio.open_process(command, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            text = b""
            while b"\n" not in text:
                text += await process.stdout.receive()
            await session.runs.cancel(run)
            while text.count(b"\n") < 2:
                text += await process.stdout.receive()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
        shown = [json.loads(line) for line in text.splitlines()]
        assert [(one["id"], one["status"]) for one in shown] == [(run.id, "requires_action"), (run.id, "cancelled")]


async def test_watch_for_people(monkeypatch: pytest.MonkeyPatch):
    """Each line begins with the time at which the change came, so that two of one run differ, and a header says so."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it, a terminal
    times = iter(datetime(2030, 1, 1, 12, minute).astimezone() for minute in range(60))
    monkeypatch.setattr(runs_list, "now", lambda: next(times))
    sent, printed = anyio.create_memory_object_stream[str](10)
    monkeypatch.setattr(runs_list.console, "print", sent.send_nowait)
    async with (
        LocalServer(backend=ScriptedBackend(lambda _: Call("f", {}))) as server,
        server.session() as session,
        anyio.create_task_group() as tasks,
        sent,
        printed,
    ):
        assistant = await session.assistants.create(model="scripted", tools=toolbox)
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        while (await session.runs.retrieve(run)).status != "requires_action":
            pass
        tasks.start_soon(runs_list._watch, {*RunStatus}, False, server.url)
        header = await printed.receive()
        first = await printed.receive()
        await session.runs.cancel(run)
        second = await printed.receive()
        tasks.cancel_scope.cancel()
    assert "changed " in header
    assert first.startswith("2030-01-01 12:00:00")
    assert second.startswith("2030-01-01 12:01:00")
    assert run.id in second


async def test_nothing_to_list(monkeypatch: pytest.MonkeyPatch):
    """People are told so; a program that reads the lines gets none."""
    async with LocalServer() as server:
        at = ("--base-url", server.url)
        assert await run_in_thread("runs", "list", *at) == ""
        monkeypatch.setenv("FORCE_COLOR", "1")  # as rich takes it, a terminal
        said = await run_in_thread("runs", "list", *at)
        assert "no runs" in said
        assert "status" not in said
        assert "no runs of this status" in await run_in_thread("runs", "list", "--status", "failed", *at)
        assert await run_in_thread("runs", "list", "--json", *at) == ""


async def test_another_endpoint():
    """An endpoint that is not of this library says that it has nothing like it."""
    output = await run_in_thread("runs", "list", "--base-url", "http://127.0.0.1:1/v1", exit_code=1)
    assert "Is the server running" in output
