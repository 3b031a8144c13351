"""`PassThrough`: requests of the rest of the API, passed on to a model's endpoint as they come, and its answers back.

Nothing is kept: neither a body nor an answer is in memory as a whole, apart from an error, in which the endpoint may
quote its key. What is passed on, `passing_rules` says.
"""

import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, NoReturn

import aiohttp
import anyio
from aiohttp import web
from aiohttp.typedefs import Handler
from attrs import define, field
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http.addresses import Addresses
from openai_runs._http.byte_stream import BROKEN, describe
from openai_runs._http.overrides import checked_header
from openai_runs._http.redaction import Secrets
from openai_runs._http.retries import OwnError
from openai_runs._http.tokens import Tokens, checked_key
from openai_runs._http.transport import ApiKey, without_auto_retry
from openai_runs.engine import ApiError
from openai_runs.server import passing_rules
from openai_runs.server.exchange import ENGINE, IS_PASSED, OWNER, REQUEST_ID
from openai_runs.server.form import FORM_BYTES, refuse_other_sites

_logger = logging.getLogger("openai_runs.server")

_CONNECT: Final = 10.0  # seconds
#: Seconds between two looks whether the caller is still there. aiohttp tells a handler only by cancelling it, if it is
#: told to do so for all handlers: those of the engine must not be cancelled.
_LOOK: Final = 0.5
_MAX_ERROR: Final = 1024 * 1024  # bytes of an error's body
_CLIENT_CLOSED: Final = 499  # for the access log, as nginx has it; nobody receives it


class PassThrough:
    """The endpoint to which a server passes requests that are not its own, such as ``/chat/completions``.

    ``LocalServer(backend=ChatCompletionsBackend(url, key), pass_through=PassThrough(url, key))``
    """

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

    def __repr__(self) -> str:
        return f"<PassThrough to {self._addresses.base}>"

    @asynccontextmanager
    async def opened(self, _: web.Application) -> AsyncGenerator[None]:
        """Open the connections, and close them at the end."""
        self._proxy = self._addresses.proxy()
        if self._proxy is not None:
            self._secrets.add({"proxy-authorization": URL(self._proxy).password or ""})
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # how many requests there are, is for the callers to say
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=self._timeout),
            skip_auto_headers=("Content-Type", "User-Agent"),
        ) as self._http:
            yield
        self._http = None

    async def pass_on(self, path: str, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and its answer back; given up as soon as the caller is gone.

        Args:
            path: One of `passing_rules`; its variables are in the request's route.
            request: The request.

        Raises:
            ApiError: 400, 403 or 413 for what is wrong with the request; 502, if there is no answer.
        """
        if request.method == "POST" and request.content_type != "application/json":  # see `exchange.read_body`
            refuse_other_sites(request)
        outcome: web.StreamResponse | ApiError = web.Response(status=_CLIENT_CLOSED)

        async def exchange() -> None:
            nonlocal outcome
            try:
                outcome = await self._exchange(request, path)
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

    async def _exchange(self, request: web.Request, path: str) -> web.StreamResponse:
        body = _Body(request, _limit(request)) if request.body_exists else None
        try:
            response = await self._send(request, path, body)
        except (*BROKEN, OwnError) as error:
            problem = error
        else:
            try:
                if 300 <= response.status < 400:  # followed by the caller, it would lead past this server
                    raise self._no_answer(request, f"it answers with a redirect, status {response.status}")
                if response.status >= 400:
                    return await self._error(request, response)
                return await self._stream(request, response)
            finally:
                response.close()
        # Outside the `except` block: aiohttp's error has the request and its key.
        if body is not None and body.failure is not None:
            raise body.failure
        raise self._no_answer(request, self._described(problem))

    async def _send(self, request: web.Request, path: str, body: "_Body | None") -> aiohttp.ClientResponse:
        assert self._http is not None  # noqa: S101  # for the type checker: the application has opened it
        headers = passing_rules.request_headers(request.headers, self._headers)
        if self._tokens is not None:
            headers["Authorization"] = f"Bearer {await self._tokens.current()}"
        if (key := headers.get("Idempotency-Key")) is not None and request[OWNER]:
            # To the endpoint all owners are one, and one must not get what another has asked for.
            headers["Idempotency-Key"] = hashlib.sha256(f"{request[OWNER]} {key}".encode()).hexdigest()
        return await self._http.request(
            request.method,
            self._addresses.url(path, passing_rules.query(request.query, self._query), **request.match_info),
            data=None if body is None else body.pieces(),
            headers=headers,
            allow_redirects=False,  # an answer must not decide where the key is sent
            proxy=self._proxy,
            middlewares=(without_auto_retry,),
        )

    async def _stream(self, request: web.Request, response: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass on an answer piece by piece, as it comes."""
        passed = web.StreamResponse(status=response.status, headers=self._passed_headers(response))
        if response.content_type == "text/event-stream":
            passed.headers["X-Accel-Buffering"] = "no"  # read by nginx and others
        request[IS_PASSED] = True
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

    async def _error(self, request: web.Request, response: aiohttp.ClientResponse) -> web.Response:
        """Pass on an error as it is, but for secrets in it."""
        text = b""
        try:
            while len(text) <= _MAX_ERROR and (piece := await response.content.readany()):
                text += piece
        except BROKEN as error:
            problem = self._described(error)
        else:
            if len(text) <= _MAX_ERROR:
                headers = self._passed_headers(response)
                headers.pop("Content-Length", None)
                request[IS_PASSED] = True
                hidden = self._secrets.hide(text.decode("utf-8", "surrogateescape"))
                body = hidden.encode("utf-8", "surrogateescape")
                return web.Response(status=response.status, body=body, headers=headers)
            problem = f"its error, status {response.status}, has more than {_MAX_ERROR} bytes"
        raise self._no_answer(request, problem)

    def _passed_headers(self, response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        passed = passing_rules.response_headers(response.headers)
        return CIMultiDict((name, self._secrets.hide(value)) for name, value in passed.items())

    def _described(self, error: Exception) -> str:
        if isinstance(error, OwnError):
            return f"{error.what} failed: {type(error.error).__name__}"
        return self._secrets.hide(describe(error, self._timeout))

    def _no_answer(self, request: web.Request, problem: str) -> ApiError:
        """The error for the caller, who need not know where the endpoint is; the log has the details."""
        _logger.warning("request %s: the model's endpoint gives no answer: %s", request[REQUEST_ID], problem)
        text = "The model's endpoint, to which this server passes such requests on, has given no answer."
        return ApiError(
            502, f"{text} The server's log has the reason under {request[REQUEST_ID]}.", type="server_error"
        )


@define(eq=False)
class _Body:
    """The body of a request, which is sent on while it comes."""

    _request: web.Request
    _limit: int  # bytes
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


def _limit(request: web.Request) -> int:
    """Bytes that a body may have: a form as many as the upload of a file."""
    if request.content_type == "multipart/form-data":
        return request.app[ENGINE].files.max_bytes + FORM_BYTES
    return request.client_max_size


def routes(passed: PassThrough, prefix: str, *, has_owners: bool) -> Iterator[tuple[str, str, Handler]]:
    """The routes of what is passed on: method, path, handler.

    Args:
        passed: The endpoint.
        prefix: What precedes each path.
        has_owners: Whether there are several owners, who must not see each other's objects.
    """
    for paths, are_objects in (passing_rules.CALLS, False), (passing_rules.OBJECTS, True):
        for method, path in paths:
            handler: Handler = _has_no_owners if are_objects and has_owners else partial(passed.pass_on, path)
            yield method, passing_rules.pattern(prefix + path), handler


async def _has_no_owners(request: web.Request) -> NoReturn:
    raise ApiError(
        403,
        f"{request.method} {request.path[:200]} is not passed on: the model's endpoint keeps such objects without an "
        "owner, and the keys of this server have several, who must not see each other's.",
    )
