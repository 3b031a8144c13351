"""`Sender`: sends requests, each of them once. `response` reads responses, and `byte_stream` streamed ones.

With `byte_stream`, this is the client's only user of aiohttp.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http.byte_stream import BROKEN, ByteStream, advice, describe, outline, read_whole
from openai_runs._http.connections import Connections, client_timeout, record_requests
from openai_runs._http.key_support import KeySupport
from openai_runs._http.overrides import Overrides
from openai_runs._http.prepared_requests import STREAM
from openai_runs._http.response import Reader, Response
from openai_runs._http.retries import OwnError, asked_delay, is_final
from openai_runs._http.tokens import RequestToken, Tokens
from openai_runs._http.upload import Upload
from openai_runs._wire.paths import RUN_CHANGES_SUPPORTED
from openai_runs.errors import ResponseError, TransportError
from openai_runs.pacing.pace import Taken
from openai_runs.pacing.rate_headers import is_limited
from openai_runs.pacing.sending import told
from openai_runs.pacing.turns import Turns, turn_of

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

T = TypeVar("T")
OnResponse: TypeAlias = Callable[[Response], None]

#: aiohttp's errors that mean that the request certainly did not reach the server.
NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


class Sender:
    """The connections to one endpoint, and what every request has."""

    def __init__(
        self,
        *,
        headers: CIMultiDict[str],
        tokens: Tokens | None,
        reader: Reader,
        timeout: float,
        keys: KeySupport,
        turns: Turns,
        telemetry: "Telemetry | None",
    ) -> None:
        self._headers = headers
        self._tokens = tokens
        self.reader: Final = reader  #: makes models and errors of responses
        self.timeout: Final = timeout  #: seconds without a byte after which a request fails
        self._client_timeout = client_timeout(timeout)
        self._keys = keys
        self._turns = turns
        self.telemetry = telemetry  #: records requests; it may be set until the connections are opened
        self.tells_changes: bool = False  #: whether the endpoint has said that it tells changes to who waits
        self._connections: Connections | None = None
        self._not_open = "this Session is not open: use it in `async with`"

    def connect(self, proxy: str | None, max_connections: int) -> Callable[[], Awaitable[None]]:
        """Open the connections.

        Args:
            proxy: The proxy that they go through.
            max_connections: How many requests may be in progress at once; 0 for no limit.

        Returns:
            What closes them.
        """
        self._connections = Connections(URL(self.reader.base), self._headers, self.timeout, max_connections, proxy)
        return self._connections.close

    def disconnect(self) -> None:
        """Send nothing any more."""
        self._connections, self._not_open = None, "this Session is closed"

    async def send(
        self,
        method: str,
        url: URL,
        into: type[T],
        data: bytes | Upload | None,
        on_response: OnResponse | None,
        overrides: Overrides | None,
    ) -> T:
        """Send a request, and make a model of the response. See `Transport.request`.

        Raises:
            OwnError: Something of the caller's own failed, so that it was not sent.
        """
        http_response = turn = None
        try:
            if overrides is None and self._tokens is None:  # nearly always
                http_response, turn = await self._head(method, url, data, self._client_timeout, None)
            else:
                http_response, turn = await self._begin(method, url, data, overrides)
            response = await read_whole(http_response)
        except BROKEN as error:
            lost = error
        else:
            return self._result(response, turn, into, method, url, on_response)
        # Outside the `except` block: `__context__` would keep aiohttp's error, which has the request and its key.
        if isinstance(data, Upload) and data.failure is not None:
            raise OwnError(data.failure, "reading the file")
        raise self._no_response(lost, http_response, turn, method, url, overrides)

    async def stream(
        self,
        method: str,
        url: URL,
        into: type[T],
        data: bytes | None,
        overrides: Overrides | None,
        *,
        accept: str = STREAM,
    ) -> ByteStream | T:
        """Send a request for a stream; the model, if the endpoint does not stream. See `Transport.stream`."""
        http_response = turn = None
        try:
            http_response, turn = await self._begin(method, url, data, overrides, {"Accept": accept})
            content_type = http_response.headers.get("Content-Type", accept).lower()
            if http_response.status == 200 and (accept == "*/*" or content_type.startswith(accept)):
                self._learn(http_response.headers, is_certain=True)
                return ByteStream(http_response, self.reader, url, self._seconds(overrides))
            response = await read_whole(http_response)
        except BROKEN as error:
            lost = error
        else:
            return self._result(response, turn, into, method, url, None)
        # Outside the `except` block, as in `_send`.
        raise self._no_response(lost, http_response, turn, method, url, overrides)

    async def _begin(
        self,
        method: str,
        url: URL,
        data: bytes | Upload | None,
        overrides: Overrides | None,
        headers: dict[str, str] | None = None,
    ) -> tuple[aiohttp.ClientResponse, Taken | None]:
        """Send a request, and wait for the head of the response.

        Returns:
            The response, and the turn that the request took, if it had to. A 429 is noted once its body was read.

        Raises:
            OwnError: The caller's ``api_key`` function failed.
            AuthenticationError: The token is refused, and so is a fresh one, or there is none.
        """
        tokens, timeout = self._tokens, self._client_timeout
        if overrides is not None:
            headers = {**(headers or {}), **overrides.headers}
            tokens = None if overrides.has_key else tokens
            timeout = timeout if overrides.timeout is None else client_timeout(overrides.timeout)
        if tokens is None:  # all headers are set once, on aiohttp's session
            return await self._head(method, url, data, timeout, headers)
        token = RequestToken(tokens)
        response, turn = await self._head(method, url, data, timeout, headers, token.first)
        if response.status != 401:
            return response, turn
        # It may have expired early. A request that is refused like this took no effect, so any is repeated once.
        refusal = self.reader.refusal(await read_whole(response), method, url)
        if isinstance(data, Upload) and data.is_spent:
            raise refusal
        if (sending := told.get()) is not None:
            sending.settle()
        return await self._head(method, url, data, timeout, headers, partial(token.second, refusal))

    async def _head(
        self,
        method: str,
        url: URL,
        data: bytes | Upload | None,
        timeout: aiohttp.ClientTimeout,
        headers: dict[str, str] | None,
        new_token: Callable[[], Awaitable[str]] | None = None,
    ) -> tuple[aiohttp.ClientResponse, Taken | None]:
        connections = self._connections
        if connections is None:
            raise RuntimeError(self._not_open)
        # Here, and not around retries: what is repeated takes a turn like any other request.
        turn = await self._turns.take(turn_of(method, url.path)) if self._turns.is_active else None
        body: Any = data
        try:
            if isinstance(data, Upload):
                body, headers = await self._form(data, timeout, headers)
            if new_token is not None:  # asked for only now: it must not grow old while it waits for the turn
                headers = {**(headers or {}), "Authorization": f"Bearer {await new_token()}"}
            if (sending := told.get()) is not None:
                await sending.begin()
        except BaseException:  # cancellation, too: nothing was sent
            self._give_back(turn)
            raise
        if self._connections is not connections:  # closed meanwhile
            raise RuntimeError(self._not_open)
        if self.telemetry is not None:
            record_requests(connections.http, self.telemetry)
        try:
            response = await connections.request(method, url, headers, body, timeout)
        except NOT_SENT:
            self._give_back(turn)
            raise
        self._learn(response.headers, is_certain=False)
        if response.status != 429 and (turn is not None or is_limited(response.headers)):
            self._turns.note_response(turn, response.headers)
        return response, turn

    async def _form(
        self, upload: Upload, timeout: aiohttp.ClientTimeout, headers: dict[str, str] | None
    ) -> tuple[aiohttp.MultipartWriter, dict[str, str]]:
        """The form of an upload, and the headers with its content type, which nobody may replace."""
        try:
            form = await upload.form(math.inf if timeout.sock_read is None else timeout.sock_read)
        except Exception as error:  # of the caller's file
            raise OwnError(error, "reading the file") from None
        kept = {name: value for name, value in (headers or {}).items() if name.lower() != "content-type"}
        return form, {**kept, "Content-Type": form.content_type}

    def _give_back(self, turn: Taken | None) -> None:
        if turn is not None:
            self._turns.give_back(turn)

    def _note_refusal(self, turn: Taken | None, response: Response, method: str, url: URL) -> ResponseError:
        """Slow the session down after a 429 response, unless that says that waiting is of no use; its error."""
        refusal = self.reader.refusal(response, method, url)
        headers = response.headers
        self._turns.note_refusal(turn, headers, asked_delay(headers), is_final=is_final(refusal))
        return refusal

    def _result(
        self,
        response: Response,
        turn: Taken | None,
        into: type[T],
        method: str,
        url: URL,
        on_response: OnResponse | None,
    ) -> T:
        if response.status == 429:
            refusal = self._note_refusal(turn, response, method, url)
            if (sending := told.get()) is not None:
                sending.settle()
            raise refusal
        if on_response is not None and 200 <= response.status < 300:
            on_response(response)
        model = self.reader.model(response, into, method, url)
        self._learn(response.headers, is_certain=True)
        return model

    def _learn(self, headers: Mapping[str, str], *, is_certain: bool) -> None:
        """Read what a response says of its endpoint; see `KeySupport.learn`."""
        if self._keys.honoured:  # it is ours, and has said the rest in the same response
            return
        self._keys.learn(headers, is_certain=is_certain)
        self.tells_changes = headers.get(RUN_CHANGES_SUPPORTED) == "true"

    def _seconds(self, overrides: Overrides | None) -> float:
        """The timeout of a request."""
        return self.timeout if overrides is None or overrides.timeout is None else overrides.timeout

    def _no_response(
        self,
        error: Exception,
        response: aiohttp.ClientResponse | None,
        turn: Taken | None,
        method: str,
        url: URL,
        overrides: Overrides | None,
    ) -> TransportError:
        if response is not None and response.status == 429:  # its head came, and is enough
            head = Response(429, response.headers, b"", response.request_info.headers)
            self._note_refusal(turn, head, method, url)
        sent = response or (error if isinstance(error, aiohttp.ClientResponseError) else None)
        reader = self.reader.of_request(sent.request_info.headers if sent is not None else {}, url)
        seconds = self._seconds(overrides)
        lost = reader.no_response(
            describe(error, seconds, url),
            method,
            url,
            maybe_done=not isinstance(error, NOT_SENT),
            outline=outline(error, seconds),
            advice=advice(error),
        )
        # No cause, if that has the key: such as aiohttp's errors that hold the request, or quote the server.
        if not isinstance(error, aiohttp.ClientResponseError) and not reader.secrets.is_in(error):
            lost.__cause__ = error
        return lost
