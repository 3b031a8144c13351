"""One endpoint of a live model: its connections, and its answers bit by bit."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Final, Protocol

import anyio

from openai_runs._http.sse import Decoder, Frame
from openai_runs._http.transport import ApiKey, ByteStream, Transport
from openai_runs.backends.model_backend import BackendEvent
from openai_runs.backends.stream_reading import CutError

#: Seconds for the end of an answer to come after its last event: then its connection can be used again.
_LAST_BYTES: Final = 0.1


class Reader(Protocol):
    """Reads one answer."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether the answer has come, even if more was to be told about it."""
        ...

    def feed(self, event: bytes, data: bytes, /) -> list[BackendEvent]:
        """Take one event of a stream."""
        ...

    def take(self, answer: Mapping[str, Any], /) -> list[BackendEvent]:
        """Take a whole answer, from an endpoint that does not stream."""
        ...

    def end(self) -> list[BackendEvent]:
        """Take it that the stream has ended."""
        ...


class Endpoint:
    """One endpoint of a live model."""

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        timeout: float,
        max_connections: int,
    ) -> None:
        """Say where it is. See `LiveBackend`."""
        self._transport = Transport(
            base_url,
            api_key,
            headers=headers,
            query=query,
            timeout=timeout,
            max_retries=0,  # whether to repeat a call depends on what its answer has said, which is known elsewhere
            max_connections=max_connections,
        )

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Calls can be made in here."""
        return self._transport.opened()

    async def listen(
        self,
        reader: Reader,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        **ids: str,
    ) -> AsyncGenerator[BackendEvent]:
        """Ask, and tell what is answered as it comes: with a body a POST, else a GET.

        Raises:
            StreamError, TransportError, ResponseError, ProtocolError: There is no answer, or not all of it.
        """
        url = self._transport.url(path, query, **ids)
        method = "GET" if body is None else "POST"
        opened = await self._transport.stream(url, dict[str, Any], body=body, method=method)
        if not isinstance(opened, ByteStream):
            for event in reader.take(opened):
                yield event
            for event in reader.end():
                yield event
            return
        try:
            async with aclosing(_frames(opened, reader)) as chunks:
                async for frames in chunks:
                    for name, data in frames:
                        for event in reader.feed(name, data):
                            yield event
                    if reader.is_done:
                        break
            for event in reader.end():
                yield event
            with anyio.move_on_after(_LAST_BYTES):
                await opened.read()
        finally:
            opened.close()

    async def ask(self, method: str, path: str, **ids: str) -> dict[str, Any]:
        """Send a request without a body.

        Raises:
            TransportError, ResponseError, ProtocolError: There is no answer.
        """
        return await self._transport.request(method, self._transport.url(path, **ids), dict[str, Any])


async def _frames(opened: ByteStream, reader: Reader) -> AsyncGenerator[list[Frame]]:
    """What comes together, together."""
    decoder = Decoder()
    while chunk := await opened.read():
        yield decoder.feed(chunk)
    if opened.lost is None:
        yield decoder.end()
    elif not reader.is_whole:
        raise CutError(opened.lost)
