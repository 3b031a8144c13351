"""Each HTTP attempt has a span and is measured, and sends its place in the trace along."""

import asyncio

import pytest
from opentelemetry import baggage, context
from opentelemetry.trace import SpanKind, StatusCode

from openai_runs.errors import NotFoundError, TransportError
from tests._http.test_transport import RUN
from tests.recorded import Recorded
from tests.stub import NEVER, Stub, error, reply

pytestmark = pytest.mark.anyio


async def retrieve(stub: Stub, recorded: Recorded, **options: object) -> None:
    async with stub.session(telemetry=recorded.telemetry(), **options) as session:
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1")


async def test_one_request() -> None:
    """The attributes of OpenTelemetry's conventions; a query, which may have a key, is left out."""
    recorded = Recorded()
    async with Stub(reply(RUN)) as stub:
        await retrieve(stub, recorded, default_query={"key": "secret"})
        place = {"http.request.method": "GET", "server.address": "127.0.0.1", "server.port": stub.port}
    span = recorded.one("GET")
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        **place,
        "url.full": f"{stub.url}/threads/thread_1/runs/run_1",
        "http.response.status_code": 200,
    }
    ((attributes, point),) = recorded.measured("http.client.request.duration")
    assert (attributes, point.count) == ({**place, "http.response.status_code": 200}, 1)
    place_in_trace = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert stub.requests[0].headers["traceparent"].startswith(place_in_trace)


async def test_baggage() -> None:
    """It stays here: it may hold anything, and an endpoint may be somebody else's."""
    recorded = Recorded()
    token = context.attach(baggage.set_baggage("user", "secret"))
    async with Stub(reply(RUN)) as stub:
        await retrieve(stub, recorded)
    context.detach(token)
    assert "baggage" not in stub.requests[0].headers


async def test_retries() -> None:
    """Each attempt is a span, which says how often the request was sent before."""
    recorded = Recorded()
    async with Stub(error(503), error(429), reply(RUN)) as stub:
        await retrieve(stub, recorded)
    attempts = recorded.attributes("GET")
    assert [attempt.get("http.request.resend_count") for attempt in attempts] == [None, 1, 2]
    assert [attempt.get("error.type") for attempt in attempts] == [
        "503",
        "429",
        None,
    ]
    assert [span.status.status_code for span in recorded.spans] == [
        StatusCode.ERROR,
        StatusCode.ERROR,
        StatusCode.UNSET,
    ]


async def test_a_refusal() -> None:
    """What the endpoint says is not recorded: it may quote what was sent."""
    recorded = Recorded()
    async with Stub(error(404)) as stub:
        with pytest.raises(NotFoundError):
            await retrieve(stub, recorded)
    assert recorded.status("GET").description is None
    assert recorded.one("GET").events == ()


async def test_no_server() -> None:
    """A connection that is refused is an attempt, too."""
    recorded = Recorded()
    async with Stub() as stub:
        pass
    with pytest.raises(TransportError):
        await retrieve(stub, recorded, max_retries=0)
    assert recorded.attributes("GET")[0]["error.type"] == "aiohttp.client_exceptions.ClientConnectorError"


async def test_cancellation() -> None:
    """The span ends, and not with an error."""
    recorded = Recorded()
    async with Stub(NEVER) as stub:
        task = asyncio.create_task(retrieve(stub, recorded))
        await stub.requested(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert recorded.status("GET").status_code is StatusCode.UNSET
