"""`ByteStream`: the body of a streamed response, read as it comes, and how a broken connection is told."""

import asyncio
import math
from time import monotonic
from typing import Final

import aiohttp
from attrs import define, field
from yarl import URL

from openai_runs._http.response import MAX_BODY, Reader, Response
from openai_runs.errors import ResponseError

#: What aiohttp raises when a connection breaks; TimeoutError is an OSError.
BROKEN: Final = (aiohttp.ClientError, OSError)


@define
class ByteStream:
    """The body of a streamed response. The receiver has to close it."""

    _response: aiohttp.ClientResponse
    _reader: Reader
    _url: URL
    _timeout: float  # seconds of silence after which aiohttp gives up; for messages
    lost: str | None = field(default=None, init=False)  #: how the connection broke, if it did
    problem: str = field(default="", init=False)  #: the same, without the endpoint's address
    timed_out: bool = field(default=False, init=False)  #: whether it counts as broken because nothing came
    _waits_since: float | None = field(default=None, init=False)  # in monotonic seconds, while somebody reads
    _watch: asyncio.TimerHandle | None = field(default=None, init=False)  # of `limit_silence`

    async def read(self) -> bytes:
        """The next bytes, as soon as there are any; none at the end, or if the connection broke: then `lost` is set."""
        self._waits_since = monotonic()
        try:
            return await self._response.content.readany()
        except BROKEN as error:
            self.timed_out = isinstance(error, TimeoutError)
            self.problem = outline(error, self._timeout)
            self.lost = self.reader.broken(describe(error, self._timeout, self._url), self._response.method, self._url)
            return b""
        finally:
            self._waits_since = None

    def limit_silence(self, seconds: float) -> None:
        """Give up, from now on, when nothing comes for so long. The limit of the request is replaced."""
        self._timeout = seconds
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:  # otherwise all of it is here
            # aiohttp sets its timer anew for each chunk, which takes a tenth of what a model's token costs.
            connection.protocol.read_timeout = None
            connection.protocol.start_timeout()
            self._watch_from_now(seconds)

    def _watch_from_now(self, seconds: float) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if seconds != math.inf:
            self._watch = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Break the wait for more if it has taken too long, or look again when it will have."""
        if self._response.connection is None:  # all of it is here
            return
        since = self._waits_since
        left = self._timeout if since is None else since + self._timeout - monotonic()
        if left > 0:
            self._watch_from_now(left)
        else:
            self._response.content.set_exception(aiohttp.SocketTimeoutError("nothing came"))

    @property
    def strict(self) -> bool:
        """How to read models in it; see `_wire.load`."""
        return self._reader.strict

    @property
    def reader(self) -> Reader:
        """Makes the errors for what the stream says."""
        return self._reader.of_request(self._response.request_info.headers, self._url)

    def refusal(self, data: bytes) -> ResponseError:
        """The error for the data of an ``error`` event."""
        return self.reader.refusal_in_stream(self._url, self._response.headers, data)

    def close(self) -> None:
        """Close the connection, unless the response is complete."""
        self._watch_from_now(math.inf)
        self._response.close()


def describe(error: Exception, timeout: float, url: URL) -> str:
    """Say how a connection broke.

    Args:
        error: One of `BROKEN`.
        timeout: Seconds of silence that were allowed.
        url: Where the request went.
    """
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"nothing came for {timeout} s"
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    if url.scheme == "http":
        text = text.replace(" ssl:default", "")  # aiohttp says so of every connection
    return " ".join(text.split()) or type(error).__name__


def outline(error: Exception, timeout: float) -> str:
    """Say how a connection broke, without where it led.

    Args:
        error: One of `BROKEN`.
        timeout: Seconds of silence that were allowed.
    """
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"nothing came for {timeout} s"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no secure connection could be made"
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return "no connection could be made"
    return "the connection broke"


def advice(error: Exception) -> str:
    """What to ask oneself after an error, one of `BROKEN`: a question if nobody listens, or there is no such host."""
    is_elsewhere = isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientSSLError)
    is_nobody_there = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return "Is the server running, and is this its URL?" if is_nobody_there and not is_elsewhere else ""


async def read_whole(response: aiohttp.ClientResponse) -> Response:
    """Read the body, but not much more of it than `MAX_BODY` bytes: it may be compressed a thousandfold."""
    # Not `response.read()`, which decompresses without a limit. Pieces are at most a few hundred kB.
    content = response.content
    try:
        body = await content.readany()
        if not content.at_eof() or len(body) > MAX_BODY:
            pieces, size = [body], len(body)
            while size <= MAX_BODY and not content.at_eof():
                pieces.append(await content.readany())
                size += len(pieces[-1])
            if size > MAX_BODY:
                response.close()
            body = b"".join(pieces)
    except BaseException:  # cancellation, too: the connection cannot be used again
        response.close()
        raise
    return Response(response.status, response.headers, body, response.request_info.headers)
