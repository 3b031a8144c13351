"""`EndpointConnection`: sends requests to a model's endpoint as they come, and its answers back.

Nothing is kept: neither a body nor an answer is in memory as a whole, apart from those that are asked for whole, and
from an error, in which the endpoint may quote its key. What of a request is passed on, `passing_rules` says.
"""

import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import aiohttp
import anyio
from aiohttp import web
from attrs import define, field, frozen
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http.addresses import Addresses
from openai_runs._http.byte_stream import BROKEN, describe
from openai_runs._http.connections import traces, without_auto_retry
from openai_runs._http.outward import without_addresses
from openai_runs._http.overrides import checked_header
from openai_runs._http.redaction import Secrets
from openai_runs._http.retries import OwnError
from openai_runs._http.sender import NOT_SENT
from openai_runs._http.tokens import Tokens, checked_key
from openai_runs._http.transport import ApiKey
from openai_runs.engine import ApiError
from openai_runs.server import passing_rules
from openai_runs.server.exchange import ENGINE, IS_PASSED, OWNER, REQUEST_ID
from openai_runs.server.form import FORM_BYTES, refuse_other_sites

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

_logger = logging.getLogger("openai_runs.server")

_CONNECT: Final = 10.0  # seconds
#: Seconds between two looks whether the caller is still there. aiohttp tells a handler only by cancelling it, if it is
#: told to do so for all handlers: those of the engine must not be cancelled.
_LOOK: Final = 0.5
_MAX_ERROR: Final = 1024 * 1024  # bytes of an error's body
_MAX_ANSWER: Final = 16 * 1024 * 1024  # bytes of an answer that is needed as a whole, such as a page of a list
_CLIENT_CLOSED: Final = 499  # for the access log, as nginx has it; nobody receives it


@frozen
class Answer:
    """A whole answer."""

    status: int
    headers: CIMultiDict[str]  #: those that are passed on
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the request was carried out."""
        return 200 <= self.status < 300

    @property
    def may_be_done(self) -> bool:
        """Whether the request may have taken effect; see `ResponseError`."""
        return self.is_success or self.status == 408 or self.status >= 500

    def response(self) -> web.Response:
        """The same as a response."""
        return web.Response(status=self.status, body=self.body, headers=self.headers)


class NoAnswerError(ApiError):
    """The endpoint has given no answer.

    Attributes:
        may_be_done: Whether the request may have taken effect.
    """

    def __init__(self, message: str, *, may_be_done: bool) -> None:
        super().__init__(502, message, type="server_error")
        self.may_be_done = may_be_done


class EndpointConnection:
    """A model's endpoint, and the connections to it."""

    is_foreign: ClassVar[bool] = True  #: whether what is passed on is another API than that of the server

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        timeout: float = 600.0,
    ) -> None:
        """Configure it; the server opens it.

        Args:
            base_url: What comes before the path of the API, such as ``https://api.openai.com/v1``.
            api_key: The bearer token, or an async callable that returns a fresh one. ``None``: none is sent. The
                caller's key never is.
            headers: Sent with each request; these win over the caller's.
            query: Likewise, parameters of the query.
            timeout: Seconds without a piece of the answer, or without one being taken by the caller, after which a
                request is given up.

        Raises:
            ValueError: ``base_url`` is not a URL, or a header is invalid.
        """
        self._query = dict(query or {})
        self._addresses = Addresses(base_url, self._query)
        self._headers: dict[str, str] = {}
        new_token: Callable[[], Awaitable[str]] | None = None
        if callable(api_key):
            new_token = api_key
        elif api_key is not None:
            self._headers["Authorization"] = f"Bearer {checked_key('api_key', api_key)}"
        for name, value in (headers or {}).items():
            if name.lower() == "authorization":
                new_token = None
                self._headers.pop("Authorization", None)
            self._headers[name] = checked_header("headers", name, value)
        self._secrets = Secrets(self._headers, self._query)
        self._tokens = None if new_token is None else Tokens(new_token, self._secrets)
        self._timeout = timeout
        self._proxy: str | None = None
        self._http: aiohttp.ClientSession | None = None
        self._telemetry: Telemetry | None = None

    def observe(self, telemetry: "Telemetry") -> None:
        """Record the requests to the endpoint; to be called before it is opened, as `LocalServer` does."""
        self._telemetry = telemetry

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._addresses.base}>"

    @asynccontextmanager
    async def opened(self, _: object = None) -> AsyncGenerator[None]:
        """Open the connections, and close them at the end."""
        self._proxy = self._addresses.proxy()
        if self._proxy is not None:
            self._secrets.add({"proxy-authorization": URL(self._proxy).password or ""})
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # how many requests there are, is for the callers to say
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=self._timeout),
            skip_auto_headers=("Content-Type", "User-Agent"),
            trace_configs=traces(self._telemetry),
        ) as self._http:
            yield
        self._http = None

    async def pass_on(
        self, path: str, request: web.Request, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> web.StreamResponse:
        """Pass a request on, and its answer back; given up as soon as the caller is gone.

        Args:
            path: With names of IDs, which are in the request's route.
            request: The request.
            body: Sent in place of the request's own.
            headers: Those of the response that win over the endpoint's.

        Raises:
            ApiError: 400, 403 or 413 for what is wrong with the request; 502, if there is no answer.
        """
        if body is None and request.method == "POST" and request.content_type != "application/json":
            refuse_other_sites(request)  # see `exchange.read_body`
        outcome: web.StreamResponse | ApiError = web.Response(status=_CLIENT_CLOSED)

        async def exchange() -> None:
            nonlocal outcome
            try:
                outcome = await self._exchange(request, path, body, headers or {})
            except ApiError as error:  # kept out of the task group, which would wrap it
                outcome = error
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange)
            await _left(request)
            tasks.cancel_scope.cancel()
        if isinstance(outcome, ApiError):
            raise outcome
        return outcome

    async def _exchange(
        self, request: web.Request, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        own = Body(request, body_limit(request)) if body is None and request.body_exists else None
        response = await self._opened(
            request[REQUEST_ID],
            request.method,
            self._addresses.url(path, passing_rules.query(request.query, self._query), **request.match_info),
            self.headers(request, has_length=body is None),
            own or body,
        )
        try:
            if response.status >= 400:
                answer = await self._whole(request[REQUEST_ID], response)
                self._mark(request)
                return answer.response()
            return await self._stream(request, response, headers)
        finally:
            response.close()

    def headers(self, request: web.Request, *, has_length: bool = True) -> CIMultiDict[str]:
        """The headers of a request, as far as they are passed on.

        Args:
            request: The request.
            has_length: Whether it is sent with its own body, and so with its length.
        """
        headers = passing_rules.request_headers(request.headers, self._headers)
        if not has_length:
            headers.pop("Content-Length", None)
        if (key := headers.get("Idempotency-Key")) is not None and request[OWNER]:
            # To the endpoint all owners are one, and one must not get what another has asked for.
            headers["Idempotency-Key"] = hashlib.sha256(f"{request[OWNER]} {key}".encode()).hexdigest()
        return headers

    async def ask(
        self,
        name: str,
        method: str,
        path: str,
        *,
        headers: CIMultiDict[str] | None = None,
        query: Mapping[str, str | int | Sequence[str]] | None = None,
        body: "Body | bytes | None" = None,
        ids: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request, and receive the whole answer, whatever its status.

        Args:
            name: What the log calls it.
            method: Such as ``POST``.
            path: With names of IDs.
            headers: As `headers` makes them. Unset: those of every request to the endpoint.
            query: Beside that of every request to the endpoint.
            body: What is sent.
            ids: Those in the path.

        Raises:
            NoAnswerError: There is none, or it is too large.
            ApiError: What is wrong with ``body``, which has not arrived completely.
        """
        url = self._addresses.url(path, query, **(ids or {}))
        if headers is None:
            headers = passing_rules.request_headers(CIMultiDict(), self._headers)
        response = await self._opened(name, method, url, headers, body)
        try:
            return await self._whole(name, response)
        finally:
            response.close()

    async def _opened(
        self, name: str, method: str, url: URL, headers: CIMultiDict[str], body: "Body | bytes | None"
    ) -> aiohttp.ClientResponse:
        """Send a request; returns once the head of the answer is there."""
        try:
            response = await self._send(method, url, headers, body)
        except (*BROKEN, OwnError) as error:
            problem = error
        else:
            if not 300 <= response.status < 400:
                return response
            response.close()  # followed by the caller, it would lead past this server
            problem_text = f"it answers with a redirect, status {response.status}"
            raise self._no_answer(name, problem_text, may_be_done=True)
        # Outside the `except` block: aiohttp's error has the request and its key.
        if isinstance(body, Body) and body.failure is not None:
            raise body.failure
        raise self._no_answer(
            name, self._described(problem), may_be_done=not isinstance(problem, (*NOT_SENT, OwnError))
        )

    async def _send(
        self, method: str, url: URL, headers: CIMultiDict[str], body: "Body | bytes | None"
    ) -> aiohttp.ClientResponse:
        if self._http is None:
            raise RuntimeError(f"{self!r} is not open: use it in `async with connection.opened()`")
        if self._tokens is not None:
            headers["Authorization"] = f"Bearer {await self._tokens.current()}"
        return await self._http.request(
            method,
            url,
            data=body.pieces() if isinstance(body, Body) else body,
            headers=headers,
            allow_redirects=False,  # an answer must not decide where the key is sent
            proxy=self._proxy,
            middlewares=(without_auto_retry,),
        )

    async def _stream(
        self, request: web.Request, response: aiohttp.ClientResponse, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        """Pass on an answer piece by piece, as it comes."""
        passed = web.StreamResponse(status=response.status, headers=self._passed_headers(response))
        passed.headers.update(headers)
        if response.content_type == "text/event-stream":
            passed.headers["X-Accel-Buffering"] = "no"  # read by nginx and others
        self._mark(request)
        try:
            await passed.prepare(request)
            problem = await self._copy(response, passed)
        except ConnectionError:  # the caller is gone
            return passed
        if problem is not None:
            _logger.warning("request %s: its answer breaks off: %s", request[REQUEST_ID], problem)
            if request.transport is not None:
                request.transport.abort()  # without an orderly end, so that nobody takes the answer for complete
        return passed

    def _mark(self, request: web.Request) -> None:
        if self.is_foreign:
            request[IS_PASSED] = True

    async def _copy(self, response: aiohttp.ClientResponse, passed: web.StreamResponse) -> str | None:
        """Copy the body; returns why it is incomplete, if it is."""
        while True:
            try:
                piece = await response.content.readany()
            except BROKEN as error:
                return self._described(error)
            if not piece:
                return None
            with anyio.move_on_after(self._timeout) as waiting:
                await passed.write(piece)
            if waiting.cancelled_caught:
                return f"the caller has taken nothing for {self._timeout} s"

    async def _whole(self, name: str, response: aiohttp.ClientResponse) -> Answer:
        """Receive a whole answer: a success as it is, an error but for secrets and addresses in it."""
        is_error = response.status >= 400
        limit = _MAX_ERROR if is_error else _MAX_ANSWER
        received = bytearray()
        try:
            while len(received) <= limit and (piece := await response.content.readany()):
                received += piece
        except BROKEN as error:
            problem = self._described(error)
        else:
            text = bytes(received)
            if len(text) <= limit:
                headers = self._passed_headers(response)
                headers.pop("Content-Length", None)
                if is_error:
                    hidden = self._secrets.hide(text.decode("utf-8", "surrogateescape"))
                    hidden = without_addresses(hidden, self._addresses.base)
                    text = hidden.encode("utf-8", "surrogateescape")
                return Answer(response.status, headers, text)
            problem = f"its {'error' if is_error else 'answer'}, status {response.status}, has more than {limit} bytes"
        raise self._no_answer(name, problem, may_be_done=True)

    def _passed_headers(self, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        passed = passing_rules.response_headers(response.headers)
        return CIMultiDict((name, self._secrets.hide(value)) for name, value in passed.items())

    def _described(self, error: Exception) -> str:
        if isinstance(error, OwnError):
            return f"{error.what} failed: {type(error.error).__name__}"
        return self._secrets.hide(describe(error, self._timeout, URL(self._addresses.base)))

    def _no_answer(self, name: str, problem: str, *, may_be_done: bool) -> NoAnswerError:
        """The error for the caller, who need not know where the endpoint is; the log has the details."""
        _logger.warning("request %s: the model's endpoint gives no answer: %s", name, problem)
        text = "The model's endpoint, to which this server passes such requests on, has given no answer."
        return NoAnswerError(f"{text} The server's log has the reason under {name}.", may_be_done=may_be_done)


@define(eq=False)
class Body:
    """The body of a request, which is sent on while it comes."""

    _request: web.Request
    _limit: int  # bytes
    _look: Callable[[bytes], object] = field(default=lambda _: None, kw_only=True)  # gets each piece
    failure: ApiError | None = field(default=None, init=False)  #: why it did not come completely

    def __attrs_post_init__(self) -> None:
        if (self._request.content_length or 0) > self._limit:  # not worth sending on
            raise self._too_large()

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Each piece, as it comes; ends with `failure`, if there is one."""
        size = 0
        try:
            async for piece in self._request.content.iter_any():
                size += len(piece)
                if size > self._limit:
                    self.failure = self._too_large()
                    raise self.failure
                self._look(piece)
                yield piece
        except (web.RequestPayloadError, ConnectionError) as error:  # malformed, or the caller is gone
            self.failure = ApiError(400, f"We could not read the body of your request: {error}")
            raise self.failure from None

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The request body is too large: at most {self._limit} bytes are accepted.")


async def _left(request: web.Request) -> None:
    """Wait until the caller is gone."""
    while request.transport is not None:  # noqa: ASYNC110  # see `_LOOK`
        await anyio.sleep(_LOOK)


def body_limit(request: web.Request) -> int:
    """Bytes that a body may have: a form as many as the upload of a file."""
    if request.content_type == "multipart/form-data":
        return request.app[ENGINE].files.max_bytes + FORM_BYTES
    return request.client_max_size
