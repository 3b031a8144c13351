"""`openai-runs chat`, as a process of its own: lines in, words and tool calls out."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc
import pytest

from openai_runs.backends import Fail, Say, ScriptedBackend, Wait
from openai_runs.server import LocalServer
from tests.cli.commands import run_in_thread

pytestmark = pytest.mark.anyio

TOOLS = ("--tools", "openai_runs.cli.walkthrough:toolbox")


def chat(*arguments: object, said: str, key: str = "") -> tuple[int, str]:
    """Its exit code, and what it prints to both outputs."""
    command = [sys.executable, "-m", "openai_runs", "chat", *map(str, arguments)]
    ended = subprocess.run(
        command,
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "OPENAI_API_KEY": key},
    )
    return ended.returncode, ended.stdout


def test_a_conversation(tmp_path: Path):
    """Tool calls and answers are shown; the steps of a run, too; the store keeps the threads."""
    store = tmp_path / "chat.db"
    code, shown = chat(
        *TOOLS, "--store", store, said="/steps\nWeather in Lisbon?\n\n/steps\n/odd\n/new\nHi\n/quit\nnot said"
    )
    assert code == 0, shown
    assert "No model is asked" in shown
    assert "there is no run yet" in shown
    assert 'requires_action: get_weather({"city": "Lisbon"' in shown
    assert "get_weather answered" in shown
    assert "▕" in shown
    assert "/quit leaves" in shown
    exported = subprocess.run(
        [sys.executable, "-m", "openai_runs", "export", "--store", str(store)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout
    assert exported.count('"object":"thread"') == 2
    assert "not said" not in exported
    assert '"object":"assistant"' not in exported  # that one is deleted


async def test_at_an_endpoint():
    """An assistant and a thread that exist; a run that needs tools says what to pass; a failure is shown."""
    async with LocalServer() as server, server.session() as session:
        from openai_runs.cli.walkthrough import toolbox

        assistant = await session.assistants.create(model="scripted", tools=toolbox)
        thread = await session.threads.create()
        options = ("--base-url", server.url, "--assistant", assistant.id, "--thread", thread.id)
        code, shown = await anyio.to_thread.run_sync(lambda: chat(*options, said="Weather in Oslo?"))
        assert code == 1, shown
        assert "pass --tools" in shown
        assert [message.text async for message in session.messages.list(thread.id)] == ["Weather in Oslo?"]
        [run] = [run async for run in session.runs.list(thread.id)]
        assert run.status in ("cancelling", "cancelled")  # it would hold the thread's lock
        assert await session.assistants.retrieve(assistant.id)


async def test_a_question_that_is_refused():
    """An error is one sentence, and the conversation goes on; a program that passes lines learns of it at the end."""
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="scripted")
        options = ("--base-url", server.url, "--assistant", assistant.id, "--thread", "thread_none")
        code, shown = await anyio.to_thread.run_sync(lambda: chat(*options, said="Hello\n/new\nHow are you?"))
        assert code == 1, shown
        assert "No thread found with id 'thread_none'" in shown
        assert "Traceback" not in shown
        assert len([thread async for thread in session.threads.list()]) == 1


async def test_an_answer_that_is_none():
    """A run that fails, and a key that is refused, end in the exit code 1, too."""
    async with LocalServer(backend=ScriptedBackend([Fail("server_error", "Down.")]), keys={"sk-1": "a"}) as server:
        async with server.session() as session:
            assistant = await session.assistants.create(model="scripted")
        options = ("--base-url", server.url, "--assistant", assistant.id)
        code, shown = await anyio.to_thread.run_sync(lambda: chat(*options, said="Hello", key="sk-1"))
        assert (code, "server_error: Down." in shown) == (1, True), shown
        code, shown = await anyio.to_thread.run_sync(lambda: chat(*options, said="Hello", key="sk-2"))
        assert (code, "OPENAI_API_KEY" in shown) == (1, True), shown


async def test_at_a_terminal():
    """Whoever sits there has read why there is no answer: the exit code is 0."""
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"Hello\n/quit\n")
    async with LocalServer() as server:
        command = [sys.executable, "-m", "openai_runs", "chat", "--base-url", server.url, "--assistant", "asst_none"]
        ended = await anyio.run_process(command, stdin=terminal, stderr=subprocess.STDOUT, check=False)
    os.close(keyboard)
    os.close(terminal)
    assert b"No assistant found" in ended.stdout
    assert ended.returncode == 0


async def test_options_that_do_not_fit():
    """They are refused."""
    output = await run_in_thread("chat", "--base-url", "http://x/v1", "--model-url", "http://y/v1", exit_code=2)
    assert "leave out --base-url" in output
    output = await run_in_thread("chat", "--store", "/nowhere/chat.db", exit_code=2)
    assert "there is no folder" in output


@asynccontextmanager
async def talking(url: str) -> AsyncIterator[tuple[anyio.abc.Process, list[bytes]]]:
    command = [sys.executable, "-m", "openai_runs", "chat", "--base-url", url]
    shown: list[bytes] = []
    async with await anyio.open_process(
        command, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        yield process, shown


async def until(process: anyio.abc.Process, shown: list[bytes], text: bytes) -> None:
    assert process.stdout is not None
    while text not in b"".join(shown):
        shown.append(await process.stdout.receive())


async def test_interrupted():
    """Ctrl-C cancels the run that is in progress; without one it leaves, and deletes the assistant that it made."""
    async with (
        LocalServer(backend=ScriptedBackend(lambda _: (Say("I think"), Wait()))) as server,
        server.session() as session,
        talking(server.url) as (process, shown),
    ):
        assert process.stdin is not None
        await process.stdin.send(b"Hello\n")
        await until(process, shown, b"I think")
        process.send_signal(signal.SIGINT)
        await until(process, shown, b"cancelled")
        [run] = [run async for run in session.runs.list_all()]
        assert run.status in ("cancelling", "cancelled")
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert [assistant async for assistant in session.assistants.list()] == []
