"""Sends requests. `response` reads responses, `byte_stream` streamed ones, and `retries` decides what is repeated.

With `byte_stream`, this is the client's only user of aiohttp.

Services say what to send, and which model to make of the response; nothing else here depends on the API's objects.
"""

import asyncio
import contextvars
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import aiohttp
import anyio
from multidict import CIMultiDict
from yarl import URL

from openai_runs import _wire
from openai_runs._finishing import finish
from openai_runs._http.addresses import Addresses, below
from openai_runs._http.byte_stream import BROKEN, ByteStream, advice, describe, outline, read_whole
from openai_runs._http.connections import client_timeout, new_connections, record_requests, without_auto_retry
from openai_runs._http.key_support import KeySupport
from openai_runs._http.overrides import Overrides, checked_header
from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader, Response
from openai_runs._http.retries import FAILURES, Failure, OwnError, Retry, asked_delay, is_final
from openai_runs._http.tokens import RequestToken, Tokens, checked_key
from openai_runs._http.upload import Upload
from openai_runs._wire.paths import ASSISTANTS, RUN_CHANGES_SUPPORTED
from openai_runs.errors import ResponseError, TransportError
from openai_runs.models.assistant import Assistant
from openai_runs.models.page import Page
from openai_runs.pacing.pace import Taken
from openai_runs.pacing.rate_headers import is_limited
from openai_runs.pacing.rate_limits import RateLimits
from openai_runs.pacing.sending import told
from openai_runs.pacing.turns import Turns, turn_of

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

T = TypeVar("T")
ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]
OnResponse: TypeAlias = Callable[[Response], None]

#: aiohttp's errors that mean that the request certainly did not reach the server.
NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


class Transport:
    """One endpoint, and the connections to it."""

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        timeout: float,
        max_retries: int,
        max_connections: int,
        strict: bool = True,
        rate_limits: RateLimits | None = None,
        telemetry: "Telemetry | None" = None,
    ) -> None:
        self._addresses = Addresses(base_url, query)
        # The content type is sent with every request, as in the API's documentation: aiohttp would send
        # application/octet-stream with an empty body.
        self._headers = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json"})
        new_token: Callable[[], Awaitable[str]] | None = None
        if isinstance(api_key, str):
            self._headers["Authorization"] = f"Bearer {checked_key('api_key', api_key)}"
        elif callable(api_key):
            new_token = api_key if "authorization" not in map(str.lower, headers) else None
        elif api_key is not None:
            raise TypeError(f"api_key must be a string or an async function: got {type(api_key).__name__}")
        for name, value in headers.items():  # these win, whatever the case of their names
            self._headers[name] = checked_header("default_headers", name, value)
        self._secrets = Secrets(self._headers, query)
        self._tokens = None if new_token is None else Tokens(new_token, self._secrets)
        self._reader = Reader(self._addresses.base, self._secrets, strict)
        self._timeout = timeout
        self._client_timeout = client_timeout(timeout)
        self._max_retries = max_retries
        self.max_connections: Final[int] = max_connections  #: how many requests may be in progress at once
        self.telemetry = telemetry  #: records requests; it may be set until the connections are opened
        self._http: aiohttp.ClientSession | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.before_closing: Final[set[Callable[[], Awaitable[None]]]] = set()  #: what is still to be done, once
        self._proxy: str | None = None
        self._not_open = "this Session is not open: use it in `async with`"
        self.keys: Final = KeySupport(self._ask_for_keys)  #: whether the endpoint honours idempotency keys
        self.tells_changes: bool = False  #: whether the endpoint has said that it tells changes to who waits
        self.turns: Final = Turns(rate_limits or RateLimits())  #: who may send next, while the endpoint has limits

    def __repr__(self) -> str:
        return f"<Transport to {self.base_url}>"

    @property
    def base_url(self) -> str:
        """Where requests go, without a trailing slash."""
        return self._addresses.base

    @property
    def timeout(self) -> float:
        """Seconds without a byte after which a request fails."""
        return self._timeout

    @property
    def strict(self) -> bool:
        """How responses are read; see `_wire.load`."""
        return self._reader.strict

    def redact(self, error: Exception, overrides: Overrides | None = None) -> None:
        """Hide secrets in an error about what the endpoint has sent; see `Secrets.redact`."""
        secrets = self._secrets
        if overrides is not None:
            secrets = secrets.of_request(overrides.headers, overrides.url(URL(self.base_url)).query)
        secrets.redact(error)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Open the connections; requests that are in progress at the end fail."""
        # Read once: with trust_env, aiohttp would read the environment (and ~/.netrc) for every request.
        self._proxy = self._addresses.proxy()
        if self._proxy is not None:
            self._secrets.add({"proxy-authorization": URL(self._proxy).password or ""})
        self.turns.open()
        self._http = http = new_connections(self._headers, self.max_connections)
        try:
            try:
                yield
            finally:
                if self.before_closing:
                    await finish(self._prepare_closing())
        finally:
            self._http, self._not_open = None, "this Session is closed"
            self.turns.close()
            for task in self._background:
                task.cancel()
            # Shielded: closing takes no time, and a cancellation here would leave sockets open.
            with anyio.CancelScope(shield=True):
                if self._background:
                    await asyncio.wait(self._background)
                await http.close()

    async def _prepare_closing(self) -> None:
        await asyncio.gather(*(prepare() for prepare in self.before_closing))

    def in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something for as long as the connections are open, at most; then it is cancelled."""
        # Not in the caller's context: its spans and deadlines have nothing to do with it.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def url(self, path: str, query: Mapping[str, str | int | Sequence[str]] | None = None, /, **ids: str) -> URL:
        """The URL of ``path``; see `Addresses.url`."""
        return self._addresses.url(path, query, **ids)

    def below(self, url: URL, action: str) -> URL:
        """The URL of an action on the object at ``url``."""
        return below(url, action)

    async def request(
        self,
        method: str,
        url: URL,
        into: type[T],
        *,
        body: Any = None,
        upload: Upload | None = None,
        repeatable: bool = True,
        keys: KeySupport | None = None,
        find: Callable[[], Awaitable[T | None]] | None = None,
        on_response: OnResponse | None = None,
        overrides: Overrides | None = None,
    ) -> T:
        """Send a request, with retries, and make a model of the response.

        Args:
            method: The HTTP method.
            url: From `url`.
            into: The model to make.
            body: Sent as JSON; may contain models.
            upload: Sent in place of a body. If it can be sent only once, it is not repeated.
            repeatable: Whether the request is idempotent. If not, it is repeated only if it certainly took no effect.
            keys: Given if the request has an idempotency key: where it is honoured, the request may be repeated, too.
            find: Looks, with `send`, whether a request took effect: the model if it did. Called after a response was
                lost, before the request is repeated or given up.
            on_response: Called with a 2xx response, for its headers.
            overrides: What this request has in place of what all have.

        Raises:
            TransportError: No usable response, even after all retries.
            ResponseError: The status is not 2xx.
            ProtocolError: The response does not fit the model.
        """
        if overrides is not None:
            url, body = overrides.url(url), overrides.merged(body)
        data = upload if body is None else _wire.encode(body)
        try:
            return await self._send(method, url, into, data, on_response, overrides)
        except (*FAILURES, OwnError) as error:  # the rare path: only here the retry machinery is set up
            failure = error
        again = partial(self._send, method, url, into, data, on_response, overrides)
        retry = partial(
            Retry[T], again, find=find, repeatable=repeatable, keys=keys, overrides=overrides, upload=upload
        )
        return await self._again(retry, failure, changes_nothing=method == "GET")

    async def repeat(self, get: Callable[[], Awaitable[T]], overrides: Overrides | None) -> T:
        """Do something that changes nothing, with retries."""
        try:
            return await get()
        except FAILURES as error:
            failure = error
        retry = partial(Retry[T], get, find=None, repeatable=True, overrides=overrides)
        return await self._again(retry, failure, changes_nothing=True)

    async def send(
        self,
        method: str,
        url: URL,
        into: type[T],
        *,
        on_response: OnResponse | None = None,
        overrides: Overrides | None = None,
    ) -> T:
        """Send a request without a body once. See `request`."""
        if overrides is not None:
            url = overrides.url(url)
        try:
            return await self._send(method, url, into, None, on_response, overrides)
        except OwnError as error:
            own = error.error
        raise own  # outside the `except` block: as the caller raised it

    async def _again(
        self,
        make_retry: Callable[..., Retry[T]],
        failure: Failure | OwnError,
        *,
        changes_nothing: bool,
    ) -> T:
        """Go on after a failure."""
        try:
            if isinstance(failure, OwnError):
                raise failure
            retry = make_retry(failure=failure, changes_nothing=changes_nothing)
            return await retry.run(self._max_retries)
        except OwnError as error:
            own = error.error
        raise own

    async def _send(
        self,
        method: str,
        url: URL,
        into: type[T],
        data: bytes | Upload | None,
        on_response: OnResponse | None,
        overrides: Overrides | None,
    ) -> T:
        http_response = turn = None
        try:
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
        url: URL,
        into: type[T],
        *,
        body: Any = None,
        method: str = "POST",
        keys: KeySupport | None = None,
        find: Callable[[], Awaitable[T | None]] | None = None,
        overrides: Overrides | None = None,
    ) -> ByteStream | T:
        """Send a request for a stream, with retries. See `request`.

        Returns:
            The stream; or the model, if the response was lost and ``find`` found the result, or if the endpoint does
            not stream.
        """
        if overrides is not None:
            url, body = overrides.url(url), overrides.merged(body)
        data = None if body is None else _wire.encode(body)
        try:
            return await self._open(method, url, into, data, overrides)
        except (*FAILURES, OwnError) as error:
            failure = error
        again = partial(self._open, method, url, into, data, overrides)
        retry = partial(Retry[ByteStream | T], again, find=find, repeatable=False, keys=keys, overrides=overrides)
        return await self._again(retry, failure, changes_nothing=method == "GET")

    async def open(
        self, url: URL, into: type[T], *, body: Any = None, overrides: Overrides | None = None
    ) -> ByteStream | T:
        """Send a request for a stream once. See `stream`."""
        if overrides is not None:
            url, body = overrides.url(url), overrides.merged(body)
        try:
            return await self._open("POST", url, into, None if body is None else _wire.encode(body), overrides)
        except OwnError as error:
            own = error.error
        raise own

    async def open_content(self, url: URL, into: type[T], *, overrides: Overrides | None = None) -> ByteStream:
        """Send a request once for content of whatever type. See `stream`; ``into`` is the model of what has it."""
        data = None
        if overrides is not None:
            url, data = overrides.url(url), _wire.encode(overrides.body) if overrides.body else None
        try:
            opened = await self._open("GET", url, into, data, overrides, accept="*/*")
        except OwnError as error:
            own = error.error
        else:
            assert isinstance(opened, ByteStream)  # noqa: S101  # for the type checker: any type is accepted
            return opened
        raise own

    async def _open(
        self,
        method: str,
        url: URL,
        into: type[T],
        data: bytes | None,
        overrides: Overrides | None,
        *,
        accept: str = "text/event-stream",
    ) -> ByteStream | T:
        http_response = turn = None
        try:
            http_response, turn = await self._begin(method, url, data, overrides, {"Accept": accept})
            content_type = http_response.headers.get("Content-Type", accept).lower()
            if http_response.status == 200 and (accept == "*/*" or content_type.startswith(accept)):
                self._learn(http_response.headers, is_certain=True)
                return ByteStream(http_response, self._reader, url, self._seconds(overrides))
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
        refusal = self._reader.refusal(await read_whole(response), method, url)
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
        http = self._http
        if http is None:
            raise RuntimeError(self._not_open)
        # Here, and not around retries: what is repeated takes a turn like any other request.
        turn = await self.turns.take(turn_of(method, url.path)) if self.turns.is_active else None
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
        if self._http is not http:  # closed meanwhile
            raise RuntimeError(self._not_open)
        if self.telemetry is not None:
            record_requests(http, self.telemetry)
        try:
            response = await http.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,  # a response must not decide where the key is sent
                proxy=self._proxy,
                timeout=timeout,
                middlewares=(without_auto_retry,) if method == "DELETE" else None,
            )
        except NOT_SENT:
            self._give_back(turn)
            raise
        self._learn(response.headers, is_certain=False)
        if response.status != 429 and (turn is not None or is_limited(response.headers)):
            self.turns.note_response(turn, response.headers)
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
            self.turns.give_back(turn)

    def _note_refusal(self, turn: Taken | None, response: Response, method: str, url: URL) -> ResponseError:
        """Slow the session down after a 429 response, unless that says that waiting is of no use; its error."""
        refusal = self._reader.refusal(response, method, url)
        headers = response.headers
        self.turns.note_refusal(turn, headers, asked_delay(headers), is_final=is_final(refusal))
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
        model = self._reader.model(response, into, method, url)
        self._learn(response.headers, is_certain=True)
        return model

    def _learn(self, headers: Mapping[str, str], *, is_certain: bool) -> None:
        """Read what a response says of its endpoint; see `KeySupport.learn`."""
        if self.keys.honoured:  # it is ours, and has said the rest in the same response
            return
        self.keys.learn(headers, is_certain=is_certain)
        self.tells_changes = headers.get(RUN_CHANGES_SUPPORTED) == "true"

    async def _ask_for_keys(self, overrides: Overrides | None) -> None:
        # Any list would do: this one needs no ID.
        await self.send("GET", self.url(ASSISTANTS, {"limit": 1}), Page[Assistant], overrides=overrides)

    def _seconds(self, overrides: Overrides | None) -> float:
        """The timeout of a request."""
        return self._timeout if overrides is None or overrides.timeout is None else overrides.timeout

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
        reader = self._reader.of_request(sent.request_info.headers if sent is not None else {}, url)
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
