"""The body of a streamed response: how long it may be silent, and what is said when it breaks."""

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from openai_runs._http.byte_stream import ByteStream
from tests.stub import Reply, Stub

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
SILENT = Reply(HEAD + b"\r\n: one\n", "hang")


@asynccontextmanager
async def opened(answer: Reply, timeout: float) -> AsyncGenerator[ByteStream, None]:
    """A response, of a request with a timeout."""
    async with Stub(answer) as stub, stub.session(timeout=timeout) as session:
        transport = session._transport
        stream = await transport.stream(transport.url("/x"), dict[str, Any])
        assert isinstance(stream, ByteStream)
        yield stream
        stream.close()


@pytest.mark.parametrize(("timeout", "limit"), [(1000.0, 0.05), (math.inf, 0.05)])
async def test_a_limit_on_silence_replaces_the_requests(timeout: float, limit: float) -> None:
    """From then on the connection breaks after so many seconds, and the message says how many."""
    async with opened(SILENT, timeout) as stream:
        assert await stream.read() == b": one\n"
        stream.limit_silence(limit)
        assert await stream.read() == b""
        assert stream.timed_out
        assert stream.lost is not None
        assert stream.lost.endswith(f"nothing came for {limit} s")


async def test_whoever_does_not_read_hears_no_silence() -> None:
    """Only a wait that is too long counts, and what comes before its end is read."""
    async with opened(SILENT, 1000.0) as stream, anyio.create_task_group() as tasks:
        stream.limit_silence(500.0)
        stream._look()
        assert await stream.read() == b": one\n"
        tasks.start_soon(stream.read)
        await anyio.wait_all_tasks_blocked()
        stream._look()
        await anyio.wait_all_tasks_blocked()
        assert stream.lost is None
        tasks.cancel_scope.cancel()


async def test_no_limit() -> None:
    """Without a limit only the end of the connection ends the wait."""
    async with opened(Reply(HEAD + b"\r\n: one\n", "close"), 1000.0) as stream:
        stream.limit_silence(math.inf)
        assert await stream.read() == b": one\n"
        assert await stream.read() == b""
        assert not stream.timed_out


async def test_a_limit_after_the_end() -> None:
    """A response that is complete has given its connection back: its next user keeps a limit of its own."""
    async with opened(Reply(HEAD + b"Content-Length: 6\r\n\r\n: one\n"), 1000.0) as stream:
        assert await stream.read() == b": one\n"
        stream.limit_silence(0.01)
        assert await stream.read() == b""
        stream._look()
        assert stream.lost is None
