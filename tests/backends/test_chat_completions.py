"""`ChatCompletionsBackend`: what is specific to this API."""

from typing import Any

import pytest

from openai_runs.backends.chat_completions import ChatCompletionsBackend
from tests.backends.model_stub import ModelStub, stream
from tests.backends.reading import Answer, together
from tests.backends.requests import a_request
from tests.backends.streams import chat_answer

pytestmark = pytest.mark.anyio


async def test_older_servers_have_another_name_for_the_limit() -> None:
    stub = ModelStub()
    async with stub, ChatCompletionsBackend(stub.url, max_tokens_field="max_tokens") as backend:
        assert [event async for event in backend.respond(a_request(max_completion_tokens=100))]
    assert stub.bodies[0]["max_tokens"] == 100


async def test_a_parameter_can_be_taken_out() -> None:
    """A parameter can be removed, for servers that refuse unknown ones."""
    stub = ModelStub()
    async with stub, ChatCompletionsBackend(stub.url, body={"stream_options": None}) as backend:
        assert [event async for event in backend.respond(a_request())]
    assert "stream_options" not in stub.bodies[0]


@pytest.mark.parametrize("end", ["cut", "hang"])
async def test_an_answer_without_its_last_words_is_whole(end: Any) -> None:
    """A stream cut after the finish reason is complete; only its usage is missing."""
    stub = ModelStub(stream(chat_answer("Hello there")[:-2], end=end))
    async with stub, ChatCompletionsBackend(stub.url, timeout=0.1 if end == "hang" else 20) as backend:
        answer = together([event async for event in backend.respond(a_request())])
    assert answer == Answer("Hello there", reason="stop")


async def test_there_is_nothing_to_abandon() -> None:
    """`abandon` sends nothing: a call ends with its connection."""
    await ChatCompletionsBackend("http://127.0.0.1").abandon("any")
