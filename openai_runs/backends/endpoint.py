"""The HTTP side of a live model: connections, requests, and responses that are read while they arrive."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.overrides import Overrides
from openai_runs._http.sse import Decoder, Frame
from openai_runs._http.transport import ApiKey, Transport
from openai_runs.backends.model_backend import BackendEvent, Detached, TextChunk
from openai_runs.backends.stream_reading import CutError, StreamError

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

#: Seconds to wait for the end of the response after its last event; a fully read response frees its connection.
_DRAIN_TIMEOUT: Final = 0.1


class Reader(Protocol):
    """Turns one response, streamed or not, into backend events."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come, so that reading can stop."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the model's output is complete, even if later events, such as the usage, are missing."""
        ...

    def feed(self, event: bytes, data: bytes, /) -> list[BackendEvent]:
        """Read one event of a stream."""
        ...

    def feed_response(self, response: Mapping[str, Any], /) -> list[BackendEvent]:
        """Read a whole response, from an endpoint that does not stream."""
        ...

    def end(self) -> list[BackendEvent]:
        """Read the end of the stream; raises `StreamError` if the response is incomplete."""
        ...


class Endpoint:
    """One HTTP endpoint of a live model."""

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        timeout: float,
        max_connections: int | None,
    ) -> None:
        """Configure the endpoint; see `LiveBackend` for the arguments."""
        self._transport = Transport(
            base_url,
            api_key,
            headers=headers,
            query=query,
            timeout=timeout,
            max_retries=0,  # `LiveBackend` retries, as that depends on whether events have come
            max_connections=max_connections or 0,  # 0 means without a limit: the engine limits the calls
        )
        self._timeout = timeout

    @property
    def base_url(self) -> str:
        """What comes before the path of the API."""
        return self._transport.base_url

    @property
    def timeout(self) -> float:
        """Seconds between two chunks of a response."""
        return self._timeout

    def observe(self, telemetry: "Telemetry") -> None:
        """Record the requests; to be called before it is opened."""
        self._transport.telemetry = telemetry

    def opened(self) -> AbstractAsyncContextManager[None]:
        """A context in which requests can be sent."""
        return self._transport.opened()

    async def stream_events(
        self,
        reader: Reader,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
        patience: float,
        **ids: str,
    ) -> AsyncGenerator[BackendEvent]:
        """Send a request, and yield the events of its response as they come: a POST if there is a body, else a GET.

        Args:
            reader: Reads the response.
            path: From the base URL on.
            body: Sent as JSON.
            query: Added to the URL.
            patience: Seconds until the model's first word: it may think for long before that.
            **ids: IDs in the path.

        Raises:
            StreamError, TransportError, ResponseError, ProtocolError: There is no response, or not all of it.
        """
        url = self._transport.url(path, query, **ids)
        method = "GET" if body is None else "POST"
        opened = await self._transport.stream(
            url, dict[str, Any], body=body, method=method, overrides=Overrides(timeout=patience)
        )
        try:
            if not isinstance(opened, ByteStream):
                for event in _read_whole(opened, reader):
                    yield event
                return
            is_silent, decoder = True, Decoder()
            while not reader.is_done:
                chunk = await opened.read()
                for event in _feed(reader, decoder.feed(chunk) if chunk else _last_frames(opened, reader, decoder)):
                    if is_silent and not isinstance(event, Detached):
                        is_silent = False
                        opened.limit_silence(self._timeout)
                    yield event
                if not chunk:
                    break
            for event in reader.end():
                yield event
            with anyio.move_on_after(_DRAIN_TIMEOUT):
                await opened.read()
        except StreamError as error:  # it quotes the endpoint, which may echo its key
            self._transport.redact(error)
            raise
        finally:
            if isinstance(opened, ByteStream):
                opened.close()

    async def request(self, method: str, path: str, **ids: str) -> dict[str, Any]:
        """Send a request without a body.

        Raises:
            TransportError, ResponseError, ProtocolError: There is no response, or it reports an error.
        """
        return await self._transport.request(method, self._transport.url(path, **ids), dict[str, Any])


def _read_whole(response: Mapping[str, Any], reader: Reader) -> Iterator[BackendEvent]:
    yield from reader.feed_response(response)
    yield from reader.end()


def _feed(reader: Reader, frames: list[Frame]) -> Iterable[BackendEvent]:
    """The events of the frames of one chunk, with texts that follow each other joined: they have come at once."""
    return reader.feed(*frames[0]) if len(frames) == 1 else _feed_several(reader, frames)


def _feed_several(reader: Reader, frames: list[Frame]) -> Iterator[BackendEvent]:
    texts: list[str] = []
    try:
        for name, data in frames:
            for event in reader.feed(name, data):
                if isinstance(event, TextChunk):
                    texts.append(event.text)
                    continue
                if texts:
                    yield TextChunk("".join(texts))
                    texts.clear()
                yield event
    except StreamError:  # what came before it has come
        if texts:
            yield TextChunk("".join(texts))
        raise
    if texts:
        yield TextChunk("".join(texts))


def _last_frames(opened: ByteStream, reader: Reader, decoder: Decoder) -> list[Frame]:
    """The frames at the end; raises `CutError` if the connection is lost before the response is complete."""
    if opened.lost is None:
        return decoder.end()
    if not reader.is_complete:
        # After silence the model may still be at work, and a second call would be billed too.
        problem = f"the model's endpoint broke off: {opened.problem}"
        raise CutError(problem, retryable=not opened.timed_out, detail=opened.lost)
    return []
