"""An HTTP server whose answers are bytes that the test says: whole, cut off, or never to come."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, Self

from anyio import AsyncContextManagerMixin
from attrs import evolve, field, frozen

from openai_runs.session import Session


@frozen
class Request:
    """What came, as it came."""

    method: str
    target: str
    headers: Mapping[str, str]  #: by lower-case names
    body: bytes
    raw: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@frozen
class Reply:
    """What to do about a request: these bytes, and then."""

    data: bytes
    then: Literal["keep", "close", "reset", "hang"] = "keep"

    def cut(self, missing: int) -> "Reply":
        """The same without its last bytes, and the connection closed."""
        return evolve(self, data=self.data[:-missing], then="close")


def reply(body: Any = b"", status: int = 200, /, **headers: str) -> Reply:
    """An answer; a body that is not bytes is sent as JSON. Names of headers have underscores for dashes."""
    if not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"content_type": "application/json", **headers}
    headers = {"content_length": str(len(body)), **headers}
    lines = [f"HTTP/1.1 {status} x", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return Reply("\r\n".join([*lines, "", ""]).encode() + body)


def error(status: int, message: str = "no", /, **headers: str) -> Reply:
    """The API's error body."""
    body = {"error": {"message": message, "type": "invalid_request_error", "param": "p", "code": "c"}}
    return reply(body, status, **headers)


CUT = Reply(b"", "close")  #: the request came; no answer
RESET = Reply(b"", "reset")
NEVER = Reply(b"", "hang")  #: silence


async def read_message(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes, bytes] | None:
    """The next request or answer: first line, headers, body, and all of it as it came."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        if headers.get("transfer-encoding") == "chunked":
            body, raw = await _read_chunks(reader)
            return first, headers, body, head + raw
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return first, headers, body, head + body


async def _read_chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A body whose length is not told beforehand: what it says, and as it came."""
    body = raw = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        chunk = await reader.readexactly(int(line, 16) + 2)
        body, raw = body + chunk[:-2], raw + line + chunk
        if chunk == b"\r\n":
            return body, raw


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset: without lingering, the kernel sends one instead of an orderly end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Stub(AsyncContextManagerMixin):
    """Answers each request with the next of its replies, or with what a function says.

    Attributes:
        requests: All that came.
        open_connections: How many there are now.
    """

    def __init__(self, *replies: Reply | Callable[[Request], Reply]) -> None:
        self._replies = list(replies)
        self.requests: list[Request] = []
        self.open_connections = 0
        self.connections = 0  #: how many there have been
        self._changed = asyncio.Condition()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def session(self, **options: Any) -> Session:
        return Session(**{"base_url": self.url, "api_key": "sk-of-the-tests", "timeout": 20.0, **options})

    async def requested(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def disconnected(self) -> None:
        """Wait until no connection is open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open_connections == 0)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        tasks: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            left = list(tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._count(1)
        try:
            while (message := await read_message(reader)) is not None:
                first, headers, body, raw = message
                method, target, _ = first.split(" ")
                request = Request(method, target, headers, body, raw)
                async with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                answer = self._reply(request)
                writer.write(answer.data)
                if answer.then == "hang":
                    with suppress(ConnectionError):  # a client that was killed
                        await reader.read()  # until the client has enough
                if answer.then == "reset":
                    reset(writer)
                if answer.then != "keep":
                    break
        finally:
            writer.close()
            await self._count(-1)

    def _reply(self, request: Request) -> Reply:
        if not self._replies:
            return error(418, f"unexpected: {request.method} {request.target}")
        answer = self._replies[0]
        if isinstance(answer, Reply):
            return self._replies.pop(0)  # type: ignore[return-value]  # mypy narrows the name, not the list's item
        return answer(request)

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open_connections += change
            self._changed.notify_all()
