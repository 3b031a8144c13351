"""A folder of questions, answered by the command of the page."""

import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from openai_runs.backends import Fail, Say, ScriptedBackend
from openai_runs.backends.model_backend import BackendEvent, ModelRequest
from openai_runs.server import LocalServer
from tests.examples.programs import run
from tests.proxy import Instead, Proxy
from tests.serving import free_port
from tests.stub import error

COMMAND = "python docs/examples/batch_folder.py"


class Hanging(ScriptedBackend):
    """Never answers."""

    def __init__(self, asked: anyio.Event) -> None:
        super().__init__()
        self._asked = asked

    async def respond(self, request: ModelRequest) -> AsyncIterator[BackendEvent]:
        self._asked.set()
        await anyio.sleep_forever()
        async for event in super().respond(request):
            yield event


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"What is {name}?")
    return tmp_path


def answers(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.answer")}


def test_each_question_is_answered_beside_it(folder: Path, endpoint: str):
    """The bar goes to standard error, so that the summary may be piped."""
    done = run(COMMAND, str(folder), OPENAI_BASE_URL=endpoint)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 answered, 0 failed\n"
    assert "3/3" in done.stderr
    assert answers(folder) == {f"{name}.answer": f"You said: What is {name}?" for name in "abc"}


def test_what_is_done_is_not_asked_again(folder: Path, endpoint: str):
    """Started again, it goes on."""
    for name in "ab":
        (folder / f"{name}.answer").write_text("my own answer")
    done = run(COMMAND, str(folder), "--workers=1", OPENAI_BASE_URL=endpoint)
    assert done.stdout == "1 answered, 0 failed\n"
    assert answers(folder) == {
        "a.answer": "my own answer",
        "b.answer": "my own answer",
        "c.answer": "You said: What is c?",
    }


@pytest.mark.anyio
async def test_a_question_that_fails_is_named(folder: Path):
    """The others are answered, the exit code tells, and the next start asks it again."""

    def refuse_b(request: ModelRequest) -> Say | Fail:
        return Fail("invalid_prompt", "Not that.") if "b?" in request.items[0].text else Say("Well.")

    async with LocalServer(backend=ScriptedBackend(refuse_b)) as server:
        done = await to_thread.run_sync(partial(run, COMMAND, str(folder), OPENAI_BASE_URL=server.url))
    assert done.returncode == 1
    assert done.stdout == "2 answered, 1 failed\n"
    assert re.search(r"b\.txt: .*Not that\.", done.stderr)
    assert answers(folder) == {"a.answer": "Well.", "c.answer": "Well."}


def test_a_folder_that_is_not_there(folder: Path, endpoint: str):
    """That is said, and the exit code is another one than that of questions that fail."""
    done = run(COMMAND, str(folder / "nosuch"), OPENAI_BASE_URL=endpoint)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no folder {folder}/nosuch" in done.stderr


@pytest.mark.anyio
async def test_an_assistant_of_ones_own(folder: Path):
    """It answers, and is there afterwards; another one is not made."""
    async with LocalServer() as server, server.session() as session:
        mine = await session.assistants.create(model="m")
        command = partial(run, COMMAND, str(folder), f"--assistant={mine.id}", OPENAI_BASE_URL=server.url)
        done = await to_thread.run_sync(command)
        assert done.stdout == "3 answered, 0 failed\n", done.stderr
        assert await session.assistants.list().to_list() == [mine]
        runs = await session.runs.list_all().to_list()
        assert [each.assistant_id for each in runs] == 3 * [mine.id]


def test_a_question_may_be_in_any_encoding(folder: Path, endpoint: str):
    """An odd byte stops nothing."""
    (folder / "b.txt").write_bytes(b"\xe4?")
    run(COMMAND, str(folder), OPENAI_BASE_URL=endpoint)
    assert answers(folder)["b.answer"] == "You said: \N{REPLACEMENT CHARACTER}?"


def test_an_endpoint_that_is_away(folder: Path):
    """One sentence says so, and nothing is written."""
    done = run(COMMAND, str(folder), OPENAI_BASE_URL=f"http://127.0.0.1:{free_port()}/v1")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"no question was asked: .*Is the server running.*\n", done.stderr)
    assert not answers(folder)


@pytest.mark.anyio
async def test_an_assistant_that_cannot_be_deleted(folder: Path):
    """The answers are counted all the same."""
    async with LocalServer() as server, Proxy(server.url) as proxy:
        proxy.plan("DELETE", "", Instead(error(400)))
        done = await to_thread.run_sync(partial(run, COMMAND, str(folder), OPENAI_BASE_URL=proxy.url))
    assert (done.returncode, done.stdout) == (0, "3 answered, 0 failed\n")
    assert re.search(r"the assistant asst_\w+ was not deleted: ", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.anyio
async def test_ctrl_c(folder: Path):
    """One line, and the assistant that was made is gone; what has no answer is asked at the next start."""
    asked = anyio.Event()
    async with LocalServer(backend=Hanging(asked)) as server, server.session() as session:
        command = [sys.executable, *COMMAND.split()[1:], str(folder)]
        environment = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k"}
        async with await anyio.open_process(command, env=environment) as program:
            with anyio.fail_after(30):
                await asked.wait()
            program.send_signal(signal.SIGINT)
            assert program.stderr is not None
            said = b"".join([part async for part in program.stderr]).decode()
            assert await program.wait() == 1
        assert "interrupted; start it again" in said
        assert "Traceback" not in said
        assert await session.assistants.list().to_list() == []
    assert answers(folder) == {}
