"""`LocalModelBackend`, on a stub of its model's server."""

import os
import signal
from pathlib import Path

import anyio
import pytest

from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.errors import BackendError
from openai_runs.models.tool import CodeInterpreterTool
from tests.backends.model_stub import ModelStub, stream
from tests.backends.reading import together
from tests.backends.requests import WEATHER, a_request, call, step, user
from tests.backends.streams import chat_answer
from tests.recorded import Recorded
from tests.stub import CUT, Reply, Request

pytestmark = pytest.mark.anyio


async def test_the_backend_speaks_chat_completions_with_it(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = ModelStub()
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        backend = LocalModelBackend()
        with pytest.raises(RuntimeError, match="not running"):
            await anext(backend.respond(a_request()))
        recorded = Recorded()
        backend.observe(recorded.telemetry())
        async with backend:
            answer = together([event async for event in backend.respond(a_request())])
            after_tools = a_request(user("The weather?"), step(call()), tools=(WEATHER,), tool_choice="required")
            again = together([event async for event in backend.respond(after_tools)])
        refusal = backend.refuse(a_request(tools=(CodeInterpreterTool(),)))
    assert answer.text == "You said: Hello"
    assert again.text == "get_weather answered: sunny"
    assert recorded.tree() == ["POST", "POST"]
    assert "tools" not in stub.bodies[1]  # it would call for ever
    assert stub.bodies[0]["model"] == "local"
    assert refusal is not None
    assert "LocalModelBackend" in refusal.message


async def test_a_server_that_cannot_be_reached_fails_the_run(packages: Path) -> None:
    async with LocalModelBackend() as backend:  # nobody listens there
        with pytest.raises(BackendError, match="the request to the model's endpoint failed"):
            await anext(backend.respond(a_request()))


def kill_model(packages: Path) -> None:
    os.kill(int((packages / "seen").read_text().split()[0]), signal.SIGKILL)


async def test_a_model_that_dies_is_started_again(
    packages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A call before whose first word it dies is repeated; during which it dies later fails; the next call works."""

    def dying(request: Request) -> Reply:
        kill_model(packages)
        return CUT

    def dying_later(request: Request) -> Reply:
        kill_model(packages)
        return stream(chat_answer("Hello there")[:3], end="cut")

    stub = ModelStub(dying)
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        async with LocalModelBackend() as backend:
            assert together([event async for event in backend.respond(a_request())]).text == "You said: Hello"
            assert caplog.text.count("the model server has died (exit code -9)") == 1
            stub.replies.append(dying_later)
            with pytest.raises(BackendError, match=r"broke off|cut off"):
                assert [event async for event in backend.respond(a_request())]
            assert together([event async for event in backend.respond(a_request())]).text == "You said: Hello"
            assert caplog.text.count("the model server has died") == 2
            stub.replies += [dying, dying]  # it is this call that kills it
            with pytest.raises(BackendError):
                await anext(backend.respond(a_request()))


async def test_a_model_that_cannot_be_started_again_fails_the_run(
    packages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Why it cannot, with its paths, only the log says. The next call tries again."""
    stub = ModelStub()
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        async with LocalModelBackend() as backend:
            good = (packages / "xllamacpp.py").read_text()
            (packages / "xllamacpp.py").write_text("raise RuntimeError('out of memory')")
            kill_model(packages)
            assert await backend._server.has_died(1)
            for _ in range(2):
                with pytest.raises(BackendError, match="the model does not start; the server's log says why"):
                    await anext(backend.respond(a_request()))
                assert "out of memory" in caplog.messages[-1]
            (packages / "xllamacpp.py").write_text(good)
            assert await anext(backend.respond(a_request()))


async def test_calls_of_one_death_start_it_once(
    packages: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stub = ModelStub()
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        async with LocalModelBackend() as backend, anyio.create_task_group() as tasks:
            kill_model(packages)
            assert await backend._server.has_died(1)
            for _ in range(5):
                tasks.start_soon(anext, backend.respond(a_request()))
    assert caplog.text.count("the model server has died") == 1
