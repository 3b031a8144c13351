"""`LocalModelBackend`, on a stub of its model's server."""

from pathlib import Path

import pytest

from openai_runs.backends.local_model import LocalModelBackend
from openai_runs.errors import BackendError
from openai_runs.models.tool import CodeInterpreterTool
from tests.backends.model_stub import ModelStub
from tests.backends.reading import together
from tests.backends.requests import WEATHER, a_request, call, step, user

pytestmark = pytest.mark.anyio


async def test_the_backend_speaks_chat_completions_with_it(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = ModelStub()
    async with stub:
        monkeypatch.setenv("STUB", stub.url.removesuffix("/v1"))
        backend = LocalModelBackend()
        with pytest.raises(RuntimeError, match="not running"):
            await anext(backend.respond(a_request()))
        async with backend:
            answer = together([event async for event in backend.respond(a_request())])
            after_tools = a_request(user("The weather?"), step(call()), tools=(WEATHER,), tool_choice="required")
            again = together([event async for event in backend.respond(after_tools)])
        refusal = backend.refuse(a_request(tools=(CodeInterpreterTool(),)))
    assert answer.text == "You said: Hello"
    assert again.text == "get_weather answered: sunny"
    assert "tools" not in stub.bodies[1]  # it would call for ever
    assert stub.bodies[0]["model"] == "local"
    assert refusal is not None
    assert "LocalModelBackend" in refusal.message


async def test_a_server_that_dies_fails_the_run(packages: Path) -> None:
    async with LocalModelBackend() as backend:  # nobody listens there
        with pytest.raises(BackendError, match="the request to the model's endpoint failed"):
            await anext(backend.respond(a_request()))
