"""What is Chat Completions' alone."""

import pytest

from openai_runs.engine.backends.chat_completions import ChatCompletionsBackend
from tests.engine.backends.model_stub import ModelStub
from tests.engine.backends.requests import a_request

pytestmark = pytest.mark.anyio


async def test_older_servers_have_another_name_for_the_limit() -> None:
    stub = ModelStub()
    async with stub, ChatCompletionsBackend(stub.url, max_tokens_field="max_tokens") as backend:
        assert [event async for event in backend.respond(a_request(max_completion_tokens=100))]
    assert stub.bodies[0]["max_tokens"] == 100


async def test_there_is_nothing_to_abandon() -> None:
    """A call ends with its connection."""
    await ChatCompletionsBackend("http://127.0.0.1").abandon("any")
