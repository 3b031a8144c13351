"""`Endpoint`: when a response is complete, when its connection is closed, and what its errors do not show."""

import anyio
import pytest

from openai_runs.backends.chat_stream import ChatStream
from openai_runs.backends.endpoint import _feed
from openai_runs.backends.model_backend import BackendEvent, Detached, Finished, RefusalChunk, TextChunk
from openai_runs.backends.stream_reading import StreamError
from tests.backends.live_calls import answer, ask, backend_at, failure, whole
from tests.backends.model_stub import ModelStub, stream
from tests.backends.requests import a_request
from tests.backends.streams import DONE, Event, chunk, event, wire
from tests.shown import shown
from tests.stub import NEVER, reply

pytestmark = pytest.mark.anyio


async def test_leaving_early_closes_the_connection(kind: str) -> None:
    stub = ModelStub(stream(whole(kind)[:-3], end="hang"))
    async with stub, backend_at(stub, kind) as backend:
        events = backend.respond(a_request())
        assert not isinstance(await anext(events), Detached)
        await events.aclose()
        await stub.http.disconnected()


async def test_cancelling_closes_the_connection(kind: str) -> None:
    stub = ModelStub(NEVER)
    async with stub, backend_at(stub, kind) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, backend)
        await stub.http.requested(1)
        tasks.cancel_scope.cancel()
    await stub.http.disconnected()


async def test_a_stream_that_never_ends_ends(kind: str) -> None:
    """After the last event, the response is complete, even if the connection stays open."""
    stub = ModelStub(stream(whole(kind), end="hang"))
    assert (await answer(stub, kind)).text == "Hello there"


async def test_a_stream_that_is_cut_after_the_last_word_is_complete(kind: str) -> None:
    assert (await answer(ModelStub(stream(whole(kind), end="cut")), kind)).text == "Hello there"


async def test_a_stream_without_its_last_line_break_is_complete(kind: str) -> None:
    body = b"".join(wire(whole(kind))).removesuffix(b"\n\n")
    assert (await answer(ModelStub(reply(body, content_type="text/event-stream")), kind)).text == "Hello there"


def frames(*events: Event) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), data) for name, data in events]


def test_texts_that_come_at_once_are_one() -> None:
    """A server that is behind its models sends fewer and longer deltas; nothing else changes its place."""
    reader = ChatStream()
    together = frames(*(chunk({"content": word}) for word in ("I ", "am ", "well")), chunk({"refusal": "no"}))
    assert [*_feed(reader, together)] == [TextChunk("I am well"), RefusalChunk("no")]
    assert [*_feed(reader, frames(chunk({"content": "and"})))] == [TextChunk("and")]
    assert [*_feed(reader, frames(chunk({"content": " so"}), chunk({"content": "."}, "stop"), DONE))] == [
        TextChunk(" so.")
    ]
    assert reader.end() == [Finished("stop")]


@pytest.mark.parametrize("before", [[], ["I ", "am "]])
def test_what_comes_before_an_error_is_told_first(before: list[str]) -> None:
    """An answer that breaks off within a chunk has begun, so its call is not repeated."""
    told: list[BackendEvent] = []
    events = [chunk({}), *(chunk({"content": word}) for word in before), event({"error": "overloaded"})]
    with pytest.raises(StreamError, match="overloaded"):
        told.extend(_feed(ChatStream(), frames(*events)))
    assert told == [TextChunk("I am ")][: len(before)]


@pytest.mark.parametrize("before", [0, 70, 80, 86, 90])
async def test_an_echoed_key(kind: str, before: int, caplog: pytest.LogCaptureFixture) -> None:
    """The key that an endpoint echoes is in no error and no log record, however the text around it is cut."""
    text = "x" * before + "sk-of-the-tests"
    wrong = {"choices": text, "type": "response.created", "response": text}
    answers = {
        "no JSON": stream([("message", text.encode())]),
        "error": stream([event({"type": "error", "error": {"message": text}, "message": text}, "error")]),
        "wrong type": stream([event(wrong)]),
        "whole": reply({"choices": text, "output": text}),
    }
    for name, one in answers.items():
        told = await failure(ModelStub(one), kind, max_retries=0)
        assert "sk-of-th" not in shown(told), name
    assert "sk-of-th" not in caplog.text
