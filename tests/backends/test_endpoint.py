"""`Endpoint`: when a response is complete, and when its connection is closed."""

import anyio
import pytest

from openai_runs.backends.model_backend import Detached
from tests.backends.live_calls import answer, ask, backend_at, whole
from tests.backends.model_stub import ModelStub, stream
from tests.backends.requests import a_request
from tests.backends.streams import wire
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
