"""How aiohttp is set up; `test_transport.py` sees what comes of it."""

import asyncio
import math
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
from multidict import CIMultiDict
from opentelemetry import trace
from yarl import URL

from openai_runs._http.connections import Connections, client_timeout, record_requests, traces
from openai_runs.errors import TransportError
from openai_runs.server import LocalServer
from openai_runs.telemetry import Telemetry
from tests.recorded import Recorded
from tests.stub import RESET, Stub, reply

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("seconds", "connect", "read"), [(60.0, 10.0, 60.0), (3.0, 3.0, 3.0), (math.inf, 10.0, None)])
def test_timeouts(seconds: float, connect: float, read: float | None) -> None:
    """Without a limit for the whole, which would count the wait for a connection."""
    timeout = client_timeout(seconds)
    assert (timeout.total, timeout.sock_connect, timeout.sock_read) == (None, connect, read)


def test_no_hooks() -> None:
    """Nor are any made without telemetry."""
    assert traces(None) == []


async def test_hooks() -> None:
    """aiohttp gets hooks once, and only for telemetry that records something, or where there is a trace to pass on."""
    parent = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=True))
    for telemetry, span, count in (
        (Telemetry(), trace.INVALID_SPAN, 0),
        (Telemetry(), parent, 1),
        (Recorded().telemetry(), trace.INVALID_SPAN, 1),
    ):
        connections = Connections(URL("http://127.0.0.1"), CIMultiDict(), 60.0, 1)
        for _ in range(2):
            with trace.use_span(span) if span is parent else nullcontext():
                record_requests(connections.http, telemetry)
            assert len(connections.http.trace_configs) == count
        await connections.close()


async def test_reading_goes_on_where_it_was_stopped() -> None:
    """What comes faster than it is read stops the connection until it is read; nothing else is asked to go on."""
    connections = Connections(URL("http://127.0.0.1"), CIMultiDict(), 60.0, 1)
    assert connections.http.connector is not None
    protocol, transport = connections.http.connector._factory(), Mock(asyncio.Transport)
    transport.get_extra_info.return_value = None  # it has no socket
    protocol.connection_made(transport)
    protocol.set_response_params(read_bufsize=16)
    protocol.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n" + bytes(10))
    _, body = await protocol.read()
    assert await body.readany() == bytes(10)
    assert (transport.pause_reading.call_count, transport.resume_reading.call_count) == (0, 0)
    for count in 1, 2:
        protocol.data_received(bytes(100))
        assert (transport.pause_reading.call_count, transport.resume_reading.call_count) == (count, count - 1)
        read = b""
        while len(read) < 100:  # the parser may have stopped, too, and kept a part
            read += await body.readany()
        assert read == bytes(100)
        assert (transport.pause_reading.call_count, transport.resume_reading.call_count) == (count, count)
    await connections.close()


async def test_aiohttp_does_not_repeat_a_delete() -> None:
    """Neither after a lost connection, nor where none can be made; here with a header that it has to write."""
    options: Any = {"extra_headers": {"X-Mine": "1"}}
    async with Stub(RESET, reply(b"{}")) as stub, stub.session(max_retries=0) as session:
        with pytest.raises(TransportError) as lost:
            await session.threads.delete("thread_1", **options)
    assert [request.method for request in stub.requests] == ["DELETE", "GET"]  # it looks whether the thread is gone
    assert lost.value.maybe_done
    async with stub.session(max_retries=0) as session:
        with pytest.raises(TransportError) as refused:
            await session.threads.delete("thread_1", **options)
    assert not refused.value.maybe_done


async def test_a_trace_is_passed_on_without_a_provider() -> None:
    """The endpoint is told whose trace a request belongs to, and records its part of it."""
    recorded = Recorded()
    parent = trace.NonRecordingSpan(trace.SpanContext(0x5A, 0xA5, is_remote=True, trace_flags=trace.TraceFlags(1)))
    async with (
        LocalServer(telemetry=recorded.telemetry()) as recording,
        recording.session(telemetry=Telemetry()) as session,
    ):
        with trace.use_span(parent):
            await session.assistants.create(model="m")
    assert recorded.one("POST /v1/assistants").context.trace_id == 0x5A
