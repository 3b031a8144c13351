"""The client's only user of aiohttp: sends a request, and maps every failure; `_retries` says what is repeated.

Nothing here knows what an assistant is; a service says what to send and what it makes of the answer.
"""

import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio
from attrs import define, field
from multidict import CIMultiDict
from yarl import URL

from openai_runs import _wire
from openai_runs._retries import FAILURES, Repetition
from openai_runs.errors import (
    ProtocolError,
    ResponseError,
    TransportError,
    UnsupportedEndpointError,
    response_error_class,
    snippet,
)

T = TypeVar("T")
ApiKey = str | Callable[[], Awaitable[str]]
Listen = Callable[["Answer"], None]

SHUTDOWN: Final = (
    "OpenAI switched its hosted Assistants API off on 2026-08-26. Use an endpoint that speaks it: "
    "Session(base_url=…) or OPENAI_BASE_URL, a server of your own (openai-runs serve), "
    "or one inside this process (openai_runs.server.LocalServer)."
)
_NOT_SPOKEN: Final = "This endpoint does not speak the Assistants API, or base_url is wrong (it often ends in /v1)."

#: aiohttp's errors after which the request has surely not reached the server.
_NOT_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
_BROKEN: Final = (aiohttp.ClientError, OSError)  # TimeoutError is an OSError
#: Characters of a server's words that are kept.
_MOST_TEXT: Final = 2000
_is_plain: Final = re.compile("[A-Za-z0-9_-]+").fullmatch
_is_header_name: Final = re.compile("[A-Za-z0-9!#$%&'*+.^_`|~-]+").fullmatch
#: Headers with these in their names have secrets for values, but none so short that it may be a word.
_SECRET_HEADERS: Final = ("auth", "cookie", "key", "secret", "token")
_SHORTEST_SECRET: Final = 8


class Answer(NamedTuple):
    """What came back, fully read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
    ) -> None:
        self._base = _checked_base(base_url)
        # The content type goes with every request, as the API's documents have it: aiohttp would call an empty body
        # a stream of octets.
        self._headers = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json"})
        self._new_token: Callable[[], Awaitable[str]] | None = None
        if isinstance(api_key, str):
            self._headers["Authorization"] = f"Bearer {_checked_key('api_key', api_key)}"
        elif callable(api_key):
            self._new_token = api_key if "authorization" not in map(str.lower, headers) else None
        elif api_key is not None:
            raise TypeError(f"api_key must be a string or an async function: got {type(api_key).__name__}")
        for name, value in headers.items():  # these win, however they are written
            self._headers[name] = _checked_header(name, value)
        # What must not be shown, longest first: one may be a part of another.
        secrets = [value for name, value in self._headers.items() if any(w in name.lower() for w in _SECRET_HEADERS)]
        secrets += [secret.removeprefix("Bearer ") for secret in secrets]
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._tokens: deque[str] = deque(maxlen=8)  # secrets of a while: an old one may still be on its way
        self._query = urlencode(query)
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_connections = max_connections
        self._http: aiohttp.ClientSession | None = None
        self._proxy: str | None = None
        self._not_open = "this Session is not open: use it in `async with`"

    def __repr__(self) -> str:
        return f"<Transport to {self._base}>"

    @property
    def base_url(self) -> str:
        """Where requests go, without a trailing slash."""
        return self._base

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Requests can be sent in here; those that are under way at the end fail."""
        # Looked up once: with trust_env, aiohttp would read the environment (and ~/.netrc) for every request.
        self._proxy = _proxy_for(URL(self._base))
        self._http = http = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No total: a wait for a free connection is the caller's own load, not the server's silence.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(self._timeout, 10.0), sock_read=self._timeout),
        )
        try:
            yield
        finally:
            self._http, self._not_open = None, "this Session is closed"
            # Shielded: closing sockets takes no time, and leaving them open would outlive the cancellation.
            with anyio.CancelScope(shield=True):
                await http.close()

    def url(self, path: str, query: Mapping[str, str | int | Sequence[str]] | None = None, /, **ids: str) -> URL:
        """The address of ``path``, such as ``/threads/{thread_id}``.

        An ID stays one segment whatever is in it.

        Raises:
            TypeError: An ID is not a string; the message names it.
            ValueError: An ID is empty, or would change the path; the message names it.
        """
        for name, value in ids.items():
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string: got {value!r}; nothing was sent")
            if not _is_plain(value):
                ids[name] = _segment(name, value)
        text = self._query
        if query and (more := urlencode(query, doseq=True)):
            text = f"{text}&{more}" if text else more
        return URL(f"{self._base}{path.format_map(ids)}{'?' if text else ''}{text}", encoded=True)

    def below(self, url: URL, action: str) -> URL:
        """The address of an action on what ``url`` names."""
        path, mark, query = str(url).partition("?")
        return URL(f"{path}/{action}{mark}{query}", encoded=True)

    async def request(
        self,
        method: str,
        url: URL,
        into: type[T],
        *,
        body: Any = None,
        repeatable: bool = True,
        look: Callable[[], Awaitable[T | None]] | None = None,
        listen: Listen | None = None,
    ) -> T:
        """Send a request, again if need be, and make a model of the answer.

        Args:
            method: The HTTP method.
            url: From `url`.
            into: The model to make.
            body: What to send as JSON; models are dumped.
            repeatable: Whether sending it twice does no more than sending it once. If not, it is repeated only
                after it surely had no effect.
            look: Asks the server, `once`, whether a request had its effect: the model if it had. Called when an
                answer was lost, before the request is repeated or given up.
            listen: Is shown the answer, for what is in its headers.

        Raises:
            TransportError: No usable answer, also after the retries.
            ResponseError: The server said no.
            ProtocolError: The answer does not fit the model.
        """
        data = None if body is None else _wire.encode(body)
        try:
            return await self.once(method, url, into, data=data, listen=listen)
        except FAILURES as error:  # the rare path: what repetition takes starts here, not before
            failure = error
        again = partial(self.once, method, url, into, data=data, listen=listen)
        return await Repetition(again, failure, look, repeatable=repeatable).run(self._max_retries)

    async def once(
        self, method: str, url: URL, into: type[T], *, data: bytes | None = None, listen: Listen | None = None
    ) -> T:
        """Send a request once. See `request`."""
        try:
            response = await self._begin(method, url, data)
            answer = Answer(response.status, response.headers, await response.read())
        except _BROKEN as error:
            lost = error
        else:
            return self._result(answer, into, method, url, listen)
        raise self._no_answer(lost, method, url) from _cause(lost)

    async def stream(
        self,
        url: URL,
        into: type[T],
        *,
        body: Any = None,
        method: str = "POST",
        look: Callable[[], Awaitable[T | None]] | None = None,
    ) -> "ByteStream | T":
        """Send a request whose answer comes bit by bit, again if need be. See `request`.

        Returns:
            The stream; or the model, if an answer was lost and ``look`` found what became of the request, or if the
            endpoint does not stream.
        """
        data = None if body is None else _wire.encode(body)
        try:
            return await self._open(method, url, into, data)
        except FAILURES as error:
            failure = error
        again = partial(self._open, method, url, into, data)
        return await Repetition["ByteStream | T"](again, failure, look, repeatable=False).run(self._max_retries)

    async def _open(self, method: str, url: URL, into: type[T], data: bytes | None) -> "ByteStream | T":
        try:
            response = await self._begin(method, url, data, {"Accept": "text/event-stream"})
            kind = response.headers.get("Content-Type", "text/event-stream").lower()
            if response.status == 200 and kind.startswith("text/event-stream"):
                return ByteStream(
                    response, partial(self._broken, url), partial(self._refusal_in_stream, url, response.headers)
                )
            answer = Answer(response.status, response.headers, await response.read())
        except _BROKEN as error:
            lost = error
        else:
            return self._result(answer, into, method, url, None)
        raise self._no_answer(lost, method, url) from _cause(lost)

    async def _begin(
        self, method: str, url: URL, data: bytes | None, headers: dict[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        """Send a request, and wait for the head of the answer."""
        http = self._http
        if http is None:
            raise RuntimeError(self._not_open)
        if self._new_token is not None:  # all other headers are the same for each request, and made once
            headers = {**(headers or {}), "Authorization": f"Bearer {await self._token(self._new_token)}"}
        return await http.request(
            method,
            url,
            data=data,
            headers=headers,
            allow_redirects=False,  # the key must not go where only an answer says
            proxy=self._proxy,
            middlewares=(_once,) if method == "DELETE" else None,
        )

    def _result(self, answer: Answer, into: type[T], method: str, url: URL, listen: Listen | None) -> T:
        if not 200 <= answer.status < 300:
            raise self._refusal(answer, method, url)
        if listen is not None:
            listen(answer)
        try:
            return _wire.load(answer.body, into)
        except ProtocolError as error:
            unreadable = error
        raise self._nonsense(answer, unreadable)

    async def _token(self, new_token: Callable[[], Awaitable[str]]) -> str:
        coming = new_token()
        if not isawaitable(coming):
            raise TypeError(f"api_key must be a string or an async function: it returned {type(coming).__name__}")
        token = _checked_key("the token that api_key() returned", await coming)
        if len(token) >= _SHORTEST_SECRET and token not in self._tokens:
            self._tokens.append(token)
        return token

    def _what(self, error: Exception) -> str:
        if isinstance(error, aiohttp.SocketTimeoutError):
            return f"nothing came for {self._timeout} s"
        text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
        return " ".join(text.split()) or type(error).__name__

    def _no_answer(self, error: Exception, method: str, url: URL) -> TransportError:
        sent = not isinstance(error, _NOT_SENT)
        advice = (
            "the request may have had its effect all the same" if sent and method != "GET" else "nothing was changed"
        )
        text = f"{method} {url.path} at {self._base}: {self._what(error)}; {advice}"
        return TransportError(self._redact(text), maybe_done=sent)

    def _nonsense(self, answer: Answer, error: ProtocolError) -> ProtocolError:
        body = self._redact(answer.body.decode(errors="replace"))
        kind = answer.headers.get("Content-Type", "no content type")
        what = f"{kind}: {snippet(body)}" if body else "an empty body"
        text = f"{self._base} answered {answer.status} with what the API does not have: {error}. It sent {what}"
        paths = tuple(map(self._redact, error.paths))
        return ProtocolError(self._redact(text), paths=paths, status=answer.status, body=snippet(body, _MOST_TEXT))

    def _refusal(self, answer: Answer, method: str, url: URL) -> ResponseError:
        headers = {name.lower(): self._redact(value) for name, value in answer.headers.items()}
        fields = {name: self._redact(value) for name, value in _error_fields(answer.body).items()}
        body = self._redact(answer.body.decode(errors="replace"))
        message = fields.get("message", "")
        cls = response_error_class(answer.status)
        if 300 <= answer.status < 400:
            text = f", a redirect to {headers.get('location', 'nowhere')}, which is not followed; correct base_url"
        elif answer.status == 404 and _is_whole_path(message):
            cls = UnsupportedEndpointError
            hosted = URL(self._base).host == "api.openai.com"
            text = f". {SHUTDOWN if hosted else _NOT_SPOKEN} It said: {snippet(body) or 'nothing'}"
        else:
            text = f": {snippet(message, _MOST_TEXT) or snippet(body) or 'no body'}"
        request_id = headers.get("x-request-id")
        return cls(
            f"{method} {url.path} at {self._base}: {answer.status}{text}"
            + (f" (request {request_id})" if request_id else ""),
            status=answer.status,
            message=message,
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=request_id,
            headers=headers,
            body=snippet(body, _MOST_TEXT),
        )

    def _broken(self, url: URL, error: Exception) -> str:
        return self._redact(f"POST {url.path} at {self._base} broke off: {self._what(error)}")

    def _refusal_in_stream(self, url: URL, headers: Mapping[str, str], data: bytes) -> ResponseError:
        fields = {name: self._redact(value) for name, value in _error_fields(data).items()}
        body = self._redact(data.decode(errors="replace"))
        message = fields.get("message", "")
        return ResponseError(
            f"POST {url.path} at {self._base} told of an error: {snippet(message, _MOST_TEXT) or snippet(body)}",
            status=None,
            message=message,
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=headers.get("x-request-id"),
            body=snippet(body, _MOST_TEXT),
        )

    def _redact(self, text: str) -> str:
        """Servers and proxies like to echo what they got."""
        for secret in (*self._secrets, *self._tokens):
            text = text.replace(secret, "***")
        return text


@define
class ByteStream:
    """An answer that is still coming. Whoever gets one closes it."""

    _response: aiohttp.ClientResponse
    _broken: Callable[[Exception], str]
    refusal: Callable[[bytes], ResponseError]  #: makes an error of an event that tells one
    lost: str | None = field(default=None, init=False)  #: how the connection broke off, if it did

    async def read(self) -> bytes:
        """The next bytes, as soon as there are any; none after the last, proper end or not: `lost` tells."""
        try:
            return await self._response.content.readany()
        except _BROKEN as error:
            self.lost = self._broken(error)
            return b""

    def close(self) -> None:
        """Close the connection, unless all of the answer has come."""
        self._response.close()


def _proxy_for(base: URL) -> str | None:
    """The proxy that the environment names; never for this machine itself, which a proxy could not reach."""
    host = base.host or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    proxy = getproxies().get(base.scheme)
    if not proxy:
        return None
    if "://" not in proxy:  # as curl takes it
        proxy = f"http://{proxy}"
    kind = proxy.partition("://")[0]
    if kind not in ("http", "https"):  # the rest of it may have a password
        raise ValueError(f"the environment names a proxy that begins with {kind}://, and can only be http://")
    return proxy


def _checked_key(name: str, key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{name} must be a string: got {type(key).__name__}")
    if not key or not key.isprintable() or key != key.strip():
        raise ValueError(f"{name} must be one line, with no blanks around it; if it was read from a file, strip() it")
    return key


def _checked_header(name: Any, value: Any) -> str:
    if not isinstance(name, str) or not _is_header_name(name):
        raise ValueError(f"default_headers must have names of HTTP headers: got {name!r}")
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"header {name} must be a string of one line")
    return value


def _checked_base(base_url: str) -> str:
    try:
        url = URL(base_url)
    except (TypeError, ValueError) as error:
        raise ValueError(f"base_url must be a URL: got {base_url!r}") from error
    if url.user or url.password or url.query_string or url.fragment:
        raise ValueError("base_url must have no user, password, query or fragment: use api_key and default_query")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must begin with http:// or https:// and a host: got {base_url!r}")
    return str(url).rstrip("/")


def _segment(name: str, value: str) -> str:
    """A segment of a path, with whatever is in the ID; most have nothing that would need it."""
    try:
        segment = quote(value, safe="")
    except UnicodeEncodeError:  # half a surrogate pair
        segment = ""
    if segment in ("", ".", ".."):  # dots would be taken for steps in the path, even percent-encoded
        raise ValueError(f"{name} must be an ID: got {value!r}; nothing was sent")
    return segment


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request by itself: to a second DELETE, what the first has deleted is not found."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:  # which it does not repeat
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def _cause(error: Exception) -> Exception | None:
    """What to raise from: aiohttp's errors that have a request in them have the key in them."""
    return None if isinstance(error, aiohttp.ClientResponseError) else error


def _error_fields(body: bytes) -> dict[str, str]:
    """The API's error object, wrapped as documented or bare; empty if it is something else, such as a proxy's HTML."""
    try:
        parsed = _wire.decode(body)
    except ProtocolError:  # not JSON: the caller shows the raw text
        return {}
    if isinstance(parsed, dict):
        parsed = parsed.get("error", parsed)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("message"), str):
        return {}
    return {name: str(parsed[name]) for name in ("message", "type", "code", "param") if parsed.get(name) is not None}


def _is_whole_path(message: str) -> bool:
    """Whether a 404 is for the path as such; one for an object says so in the API's own words."""
    words = message.lower().rstrip(".")
    return words in ("", "not found", "file not found") or words.startswith(
        ("invalid url", "unknown request url", "resource not found")
    )
