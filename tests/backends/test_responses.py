"""`ResponsesBackend`: calls in the background, and what else is specific to this API."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from openai_runs.backends.model_backend import Detached, Finished, ModelRequest
from openai_runs.backends.responses import ResponsesBackend
from openai_runs.errors import BackendError
from openai_runs.models.tool import JsonObjectFormat
from tests.backends.model_stub import ModelStub, limited, refused, stream, texts
from tests.backends.reading import Answer, together
from tests.backends.requests import a_request, assistant, user
from tests.backends.streams import (
    Event,
    event,
    message_item,
    output_text,
    response,
    responses_stream,
    usage,
    without,
)
from tests.stub import CUT, RESET, Reply, reply

pytestmark = pytest.mark.anyio

ITEM = message_item(output_text("Hello there"))
WHOLE = responses_stream([ITEM])
DONE = reply(response("completed", [ITEM], usage=usage()))
RUNNING = reply(response("in_progress"))
GONE = refused("Response with id 'resp_1' not found.", 404)
ANSWER = Answer("Hello there", usage=(10, 5), reason="stop")


@asynccontextmanager
async def background_at(stub: ModelStub, **options: Any) -> AsyncIterator[ResponsesBackend]:
    options = {"background": True, "poll_every": 0.0, "timeout": 20.0, **options}
    async with stub, ResponsesBackend(stub.url, **options) as backend:
        yield backend


async def answer(stub: ModelStub, request: ModelRequest | None = None, **options: Any) -> tuple[Answer, list[str]]:
    """The answer, and the handles of `Detached` events."""
    async with background_at(stub, **options) as backend:
        events = [event async for event in backend.respond(request or a_request())]
    return together(events), [event.handle for event in events if isinstance(event, Detached)]


def targets(stub: ModelStub) -> list[str]:
    return [f"{each.method} {each.target.removeprefix('/v1')}" for each in stub.requests]


def after(events: list[Event]) -> int:
    return int(json.loads(events[-1][1])["sequence_number"])


async def test_the_handle_comes_first() -> None:
    """The handle comes first, so that a crash at any later point can resume the call."""
    stub = ModelStub(stream(WHOLE))
    async with background_at(stub) as backend:
        events = [event async for event in backend.respond(a_request())]
    assert events[0] == Detached("resp_1")
    assert together(events) == ANSWER
    assert (stub.bodies[0]["background"], stub.bodies[0]["store"]) == (True, True)


@pytest.mark.parametrize("end", ["cut", "whole"])
@pytest.mark.parametrize("so_far", range(1, len(WHOLE)))
async def test_a_stream_that_is_cut_is_taken_up_where_it_was(so_far: int, end: Any) -> None:
    stub = ModelStub(stream(WHOLE[:so_far], end=end), stream(WHOLE[so_far:]))
    assert await answer(stub) == (ANSWER, ["resp_1"])
    assert targets(stub)[1] == f"GET /responses/resp_1?stream=true&starting_after={after(WHOLE[:so_far])}"


async def test_as_often_as_need_be() -> None:
    replies = [stream([each], end="cut") for each in WHOLE]
    assert await answer(ModelStub(*replies)) == (ANSWER, ["resp_1"])


@pytest.mark.parametrize("no_stream", [stream([]), stream([], end="cut"), refused("No."), RUNNING])
async def test_what_cannot_be_streamed_again_is_looked_at(no_stream: Reply) -> None:
    stub = ModelStub(stream(WHOLE[:5], end="cut"), no_stream, RUNNING, limited(), CUT, DONE)
    assert await answer(stub) == (ANSWER, ["resp_1"])
    assert targets(stub)[2:] == ["GET /responses/resp_1"] * 4


async def test_a_stream_without_numbers_is_not_taken_up() -> None:
    """Without sequence numbers a stream is not resumed, since it could only start from the beginning."""
    stub = ModelStub(stream(without(WHOLE[:5], "sequence_number"), end="cut"), DONE)
    assert await answer(stub) == (ANSWER, ["resp_1"])
    assert targets(stub)[1] == "GET /responses/resp_1"


async def test_an_endpoint_that_does_not_stream_is_looked_at() -> None:
    stub = ModelStub(RUNNING, RUNNING, DONE)
    assert await answer(stub) == (ANSWER, ["resp_1"])


async def test_a_call_that_nobody_knows_of_is_made_again() -> None:
    stub = ModelStub(RESET, stream([], end="cut"), stream(WHOLE))
    assert await answer(stub) == (ANSWER, ["resp_1"])
    assert targets(stub) == ["POST /responses"] * 3


@pytest.mark.parametrize("lost", [CUT, reply(b"", 500), limited()])
async def test_looking_in_vain_fails_the_run_in_the_end(lost: Reply) -> None:
    stub = ModelStub(stream(WHOLE[:5], end="cut"), stream([]), lost, lost, RUNNING, lost, lost, lost)
    with pytest.raises(BackendError):
        await answer(stub, max_retries=2)
    assert not stub.replies


async def test_what_is_gone_fails_the_run() -> None:
    with pytest.raises(BackendError, match="404"):
        await answer(ModelStub(stream(WHOLE[:5], end="cut"), GONE))
    with pytest.raises(BackendError, match="404"):
        await answer(ModelStub(stream(WHOLE[:5], end="cut"), stream([]), GONE))


async def test_a_failure_is_not_a_cut() -> None:
    failed = event({"type": "response.failed", "response": response("failed")}, "response.failed")
    stub = ModelStub(stream([*WHOLE[:5], failed]))
    with pytest.raises(BackendError, match="failed"):
        await answer(stub)
    assert len(stub.requests) == 1


QUEUED = WHOLE[:1]  # the handle comes with the first event, before the model has begun


def told_as_error(code: str, message: str) -> Event:
    failed = response("failed", error={"code": code, "message": message})
    return event({"type": "response.failed", "response": failed}, "response.failed")


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded"])
async def test_a_failure_before_the_first_word_is_retried(code: str) -> None:
    """As without ``background``, although the handle has come already; each attempt has its own."""
    failed = stream([*QUEUED, told_as_error(code, "Oops.")])
    stub = ModelStub(failed, failed, stream(WHOLE))
    found, handles = await answer(stub, max_retries=2)
    assert (found, handles) == (ANSWER, ["resp_1"] * 3)
    assert targets(stub) == ["POST /responses"] * 3


async def test_a_conversation_that_is_too_long_is_shortened_in_the_background_too() -> None:
    too_long = told_as_error("context_length_exceeded", "Your input exceeds the context window of this model.")
    stub = ModelStub(stream([*QUEUED, too_long]), stream(WHOLE))
    found, _ = await answer(stub, a_request(user("1"), assistant("2"), user("3")))
    assert found == ANSWER
    assert [texts(body) for body in stub.bodies] == [["1", "2", "3"], ["3"]]


async def test_a_failure_after_a_word_is_not_retried_in_the_background_either() -> None:
    stub = ModelStub(stream([*WHOLE[:5], told_as_error("server_error", "Oops.")]))
    with pytest.raises(BackendError, match="Oops"):
        await answer(stub)
    assert len(stub.requests) == 1


async def test_a_response_that_is_gone_is_not_a_wrong_address() -> None:
    with pytest.raises(BackendError, match="resp_1") as caught:
        await answer(ModelStub(stream(WHOLE[:5], end="cut"), GONE))
    assert "base URL" not in caught.value.message


# --- After a crash


async def test_a_call_is_taken_up_by_its_handle() -> None:
    """After a restart, all events of the call are yielded again, since the engine starts from none."""
    stub = ModelStub(stream(WHOLE))
    assert await answer(stub, a_request(handle="resp_1")) == (ANSWER, ["resp_1"])
    assert targets(stub) == ["GET /responses/resp_1?stream=true"]


async def test_also_one_that_has_ended_meanwhile() -> None:
    stub = ModelStub(refused("It has ended.", 400), DONE)
    assert await answer(stub, a_request(handle="resp_1")) == (ANSWER, [])


@pytest.mark.parametrize("background", [True, False])
async def test_one_that_is_gone_is_made_again(background: bool) -> None:
    stub = ModelStub(GONE, stream(WHOLE))
    handles = ["resp_1"] if background else []
    assert await answer(stub, a_request(handle="resp_1"), background=background) == (ANSWER, handles)
    assert targets(stub)[1] == "POST /responses"


async def test_one_that_has_failed_meanwhile_is_made_again() -> None:
    """Before its first word; to resume it again would show the same failure."""
    stub = ModelStub(stream([*QUEUED, told_as_error("server_error", "Oops.")]), stream(WHOLE))
    found, handles = await answer(stub, a_request(handle="resp_1"))
    assert (found, handles) == (ANSWER, ["resp_1"] * 2)
    assert targets(stub) == ["GET /responses/resp_1?stream=true", "POST /responses"]


async def test_one_that_vanishes_meanwhile_fails_the_run() -> None:
    """After the first events, a response that the endpoint has lost is an error, and not repeated."""
    with pytest.raises(BackendError, match="404"):
        await answer(ModelStub(stream(WHOLE[:5], end="cut"), stream([]), GONE), a_request(handle="resp_1"))


async def test_an_endpoint_that_is_away_is_waited_for() -> None:
    stub = ModelStub(CUT, RUNNING, DONE)
    assert await answer(stub, a_request(handle="resp_1")) == (ANSWER, ["resp_1"])


# --- Abandoned


async def test_a_call_that_nobody_waits_for_is_cancelled() -> None:
    stub = ModelStub(reply(response("cancelled")))
    async with background_at(stub) as backend:
        await backend.abandon("resp_1")
    assert targets(stub) == ["POST /responses/resp_1/cancel"]


@pytest.mark.parametrize("vain", [GONE, CUT, reply(b"nonsense")])
async def test_one_that_cannot_be_is_left_to_itself(vain: Reply) -> None:
    async with background_at(ModelStub(vain)) as backend:
        await backend.abandon("resp_1")


async def test_others_have_nothing_to_abandon() -> None:
    stub = ModelStub()
    async with stub, ResponsesBackend(stub.url) as backend:
        events = [event async for event in backend.respond(a_request())]
    assert not any(isinstance(event, Detached) for event in events)


# --- Limits and forms


@pytest.mark.parametrize("left", [1, 15])
async def test_too_few_tokens_to_ask_for_are_none(left: int) -> None:
    stub = ModelStub()
    async with stub, ResponsesBackend(stub.url) as backend:
        events = [event async for event in backend.respond(a_request(max_completion_tokens=left))]
    assert events == [Finished("max_tokens")]
    assert not stub.requests


@pytest.mark.parametrize(("form", "text"), [("auto", "{}【0:0†a.pdf】"), (JsonObjectFormat(), "{}")])
async def test_citations_do_not_spoil_json(form: Any, text: str) -> None:
    note = {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 2}
    stub = ModelStub(stream(responses_stream([message_item(output_text("{}", note))])))
    async with stub, ResponsesBackend(stub.url) as backend:
        events = [event async for event in backend.respond(a_request(response_format=form))]
    assert together(events).text == text
