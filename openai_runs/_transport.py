"""The client's only user of aiohttp: sends a request, repeats it where that is safe, maps every failure.

Nothing here knows what an assistant is; a service says what to send and what it makes of the answer.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from openai_runs import _wire
from openai_runs.errors import (
    OpenAIRunsError,
    ProtocolError,
    ResponseError,
    TransportError,
    UnsupportedEndpointError,
    response_error_class,
    snippet,
)

T = TypeVar("T")
ApiKey = str | Callable[[], Awaitable[str]]

_logger = logging.getLogger("openai_runs.transport")

#: A server that asks for more patience than this, in seconds, is told to the caller instead.
_LONGEST_SERVER_DELAY: Final = 120.0
_RETRIED: Final = frozenset({408, 409, 429})
# After these the server itself says that it did not do what was asked; after other failures it may have.
_NOT_DONE: Final = frozenset({409, 429, 503})
_SHUTDOWN: Final = (
    "OpenAI switched its hosted Assistants API off on 2026-08-26. Use an endpoint that speaks it: "
    "Session(base_url=…) or OPENAI_BASE_URL, a server of your own (openai-runs serve), "
    "or one inside this process (openai_runs.server.LocalServer)."
)


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
        self._api_key = api_key
        self._headers = {"OpenAI-Beta": "assistants=v2", "Accept": "application/json", **headers}
        self._query = urlencode(query)
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_connections = max_connections
        self._http: aiohttp.ClientSession | None = None
        self._was_open = False
        self._proxy: str | None = None

    def __repr__(self) -> str:
        return f"<Transport to {self._base}>"

    @property
    def base_url(self) -> str:
        """Where requests go, without a trailing slash."""
        return self._base

    async def open(self) -> None:
        if self._http is not None:
            raise RuntimeError("this Session is open already; make one Session and share it")
        host = URL(self._base).host or ""
        # Looked up once: with trust_env, aiohttp would read the environment (and ~/.netrc) for every request.
        self._proxy = None if proxy_bypass(host) else getproxies().get(URL(self._base).scheme)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            # No total: a wait for a free connection is the caller's own load, not the server's silence.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(self._timeout, 10.0), sock_read=self._timeout),
        )
        self._was_open = True

    async def aclose(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def url(self, path: str, query: Mapping[str, str | int | Sequence[str]] | None = None, /, **ids: str) -> URL:
        """The address of ``path``, such as ``/threads/{thread_id}``.

        An ID stays one segment whatever is in it.

        Raises:
            ValueError: An ID is empty, or would change the path; the message names it.
        """
        for name, value in ids.items():
            if not isinstance(value, str):
                raise TypeError(f"{name} must be a string: got {value!r}; nothing was sent")
            if value in ("", ".", ".."):  # dots would be taken for steps in the path, even percent-encoded
                raise ValueError(f"{name} must be an ID: got {value!r}; nothing was sent")
            ids[name] = quote(value, safe="")
        parts = [self._query] if self._query else []
        if query:
            parts.append(urlencode(query, doseq=True))
        return URL(f"{self._base}{path.format_map(ids)}{'?' if parts else ''}{'&'.join(parts)}", encoded=True)

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
        listen: Callable[[Answer], None] | None = None,
    ) -> T:
        """Send a request and make a model of the answer.

        Args:
            method: The HTTP method.
            url: From `url`.
            into: The model to make.
            body: What to send as JSON; models are dumped.
            repeatable: Whether sending it twice does no more than sending it once. If not, it is repeated only
                after it surely had no effect.
            look: Asks the server whether a request that is not repeatable had its effect: the model if it had.
            listen: Is shown the answer, for what is in its headers.

        Raises:
            TransportError: No usable answer, also after the retries.
            ResponseError: The server said no.
            ProtocolError: The answer does not fit the model.
        """
        data = None if body is None else _wire.encode(body)
        try:
            answer = await self.send(method, url, data)
        except (TransportError, ResponseError) as error:  # the rare path: retry machinery starts here, not before
            return await self._again(error, method, url, into, data, repeatable=repeatable, look=look)
        if listen is not None:
            listen(answer)
        try:
            return self.model(answer, into)
        except ProtocolError as error:
            if look is not None and (found := await look()) is not None:  # done, and the answer was mangled
                _logger.warning("%s %s: the answer was unreadable, found the result: %s", method, url.path, error)
                return found
            raise

    def model(self, answer: Answer, into: type[T]) -> T:
        """Make a model of an answer.

        Raises:
            ProtocolError: It does not fit.
        """
        try:
            return _wire.load(answer.body, into)
        except ProtocolError as error:
            kind = answer.headers.get("Content-Type", "no content type")
            what = "an empty body" if not answer.body else f"{kind}: {snippet(answer.body)}"
            text = f"{self._base} answered {answer.status} with what the API does not have: {error}. It sent {what}"
            raise ProtocolError(
                self._redact(text), paths=error.paths, status=answer.status, body=self._redact(snippet(answer.body))
            ) from error

    async def send(self, method: str, url: URL, data: bytes | None = None) -> Answer:
        """Send once.

        Raises:
            TransportError: No usable answer.
            ResponseError: An answer with a status other than 2xx.
        """
        http = self._http
        if http is None:
            raise RuntimeError(
                "this Session is closed" if self._was_open else "this Session is not open: use it in `async with`"
            )
        headers = self._headers
        if self._api_key is not None:
            key = self._api_key if isinstance(self._api_key, str) else await self._api_key()
            headers = {**headers, "Authorization": f"Bearer {key}"}
        if data is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            # Redirects are not followed: the key must not go where only an answer says.
            response = await http.request(
                method, url, data=data, headers=headers, allow_redirects=False, proxy=self._proxy
            )
            answer = Answer(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise self._no_answer(error, method, url) from error
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer, method, url)

    async def _again(
        self,
        first: TransportError | ResponseError,
        method: str,
        url: URL,
        into: type[T],
        data: bytes | None,
        *,
        repeatable: bool,
        look: Callable[[], Awaitable[T | None]] | None,
    ) -> T:
        import stamina  # imported on the first failure: it is not needed before

        def should_retry(error: Exception) -> bool | float:
            if not isinstance(error, OpenAIRunsError) or not _is_transient(error):
                return False
            delay = _server_delay(error)
            if delay is not None and delay > _LONGEST_SERVER_DELAY:
                return False
            if repeatable or look is not None or not _maybe_done(error):
                return True if delay is None else delay
            return False

        attempts = stamina.retry_context(
            on=should_retry,
            attempts=self._max_retries + 1,
            timeout=None,
            wait_initial=0.5,
            wait_max=8.0,
            wait_jitter=0.5,
        )
        in_doubt = _maybe_done(first)  # whether any attempt so far may have had its effect
        try:
            async for attempt in attempts:
                with attempt:
                    if attempt.num == 1:  # that one is over: hand its failure to the machinery
                        raise first
                    if in_doubt and look is not None and (found := await look()) is not None:
                        return found
                    try:
                        return self.model(await self.send(method, url, data), into)
                    except (TransportError, ResponseError) as error:
                        in_doubt = in_doubt or _maybe_done(error)
                        raise
        except (TransportError, ResponseError) as error:
            # Out of attempts, or refused, perhaps because an earlier attempt got through later than we looked.
            if in_doubt and look is not None and (found := await look()) is not None:
                return found
            raise error
        raise AssertionError("unreachable: the last attempt returns or raises")  # pragma: no cover

    def _no_answer(self, error: Exception, method: str, url: URL) -> TransportError:
        sent = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        what = str(error) or type(error).__name__
        if isinstance(error, aiohttp.SocketTimeoutError):
            what = f"nothing came for {self._timeout} s"
        advice = (
            "the request may have had its effect all the same" if sent and method != "GET" else "nothing was changed"
        )
        return TransportError(
            self._redact(f"{method} {url.path} at {self._base}: {what}; {advice}"), maybe_done=sent
        )

    def _refusal(self, answer: Answer, method: str, url: URL) -> ResponseError:
        fields = _error_fields(answer.body)
        cls = response_error_class(answer.status)
        text = f"{method} {url.path} at {self._base}: {answer.status}"
        if 300 <= answer.status < 400:
            text += f", a redirect to {answer.headers.get('Location')}, which is not followed; correct base_url"
        elif answer.status == 404 and _is_whole_path(fields):
            cls = UnsupportedEndpointError
            hosted = URL(self._base).host == "api.openai.com"
            text += ". " + (_SHUTDOWN if hosted else "This endpoint does not speak the Assistants API, or base_url is")
            text += "" if hosted else f" wrong (it often ends in /v1). It said: {snippet(answer.body) or 'nothing'}"
        else:
            text += f": {fields.get('message') or snippet(answer.body) or 'no body'}"
        request_id = answer.headers.get("x-request-id")
        return cls(
            self._redact(text + (f" (request {request_id})" if request_id else "")),
            status=answer.status,
            message=self._redact(fields.get("message") or ""),
            type=fields.get("type"),
            code=fields.get("code"),
            param=fields.get("param"),
            request_id=request_id,
            headers={name.lower(): value for name, value in answer.headers.items()},
            body=self._redact(snippet(answer.body, 2000)),
        )

    def _redact(self, text: str) -> str:
        """Servers and proxies like to echo what they got."""
        secrets = [self._api_key] if isinstance(self._api_key, str) else []
        secrets += [v for k, v in self._headers.items() if "key" in k.lower() or "auth" in k.lower()]
        for secret in secrets:
            if len(secret) >= 8:  # shorter ones are placeholders, and would be found in ordinary words
                text = text.replace(secret, "***")
        return text


def _checked_base(base_url: str) -> str:
    try:
        url = URL(base_url)
    except (TypeError, ValueError) as error:
        raise ValueError(f"base_url must be a URL: got {base_url!r}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must begin with http:// or https:// and a host: got {base_url!r}")
    if url.user or url.password or url.query_string or url.fragment:
        raise ValueError("base_url must have no user, password, query or fragment: use api_key and default_query")
    return str(url).rstrip("/")


def _error_fields(body: bytes) -> dict[str, str | None]:
    """The API's error object, wrapped as documented or bare; empty if it is something else, such as a proxy's HTML."""
    try:
        parsed = _wire.decode(body)
    except ProtocolError:  # not JSON: the caller shows the raw text
        return {}
    if isinstance(parsed, dict):
        parsed = parsed.get("error", parsed)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("message"), str):
        return {}
    return {
        name: None if (value := parsed.get(name)) is None else str(value)
        for name in ("message", "type", "code", "param")
    }


def _is_whole_path(fields: Mapping[str, str | None]) -> bool:
    """Whether a 404 is for the path as such; one for an object says so in the API's own words."""
    message = fields.get("message") or ""
    return not message or message.startswith(("Invalid URL", "Unknown request URL", "Resource not found"))


def _is_transient(error: OpenAIRunsError) -> bool:
    if isinstance(error, TransportError):
        return not isinstance(error.__cause__, aiohttp.ClientSSLError)
    if not isinstance(error, ResponseError) or error.status is None:
        return False
    wish = error.headers.get("x-should-retry")
    if wish in ("true", "false"):
        return wish == "true"
    return error.status in _RETRIED or error.status >= 500


def _maybe_done(error: OpenAIRunsError) -> bool:
    """Whether the request may have had its effect."""
    if isinstance(error, ResponseError):
        # 4xx are refusals; of the others, only a server that asks for a repetition says that it did nothing.
        asked = error.headers.get("x-should-retry") == "true"
        return not asked and error.status not in _NOT_DONE and (error.status == 408 or (error.status or 0) >= 500)
    return isinstance(error, TransportError) and error.maybe_done


def _server_delay(error: OpenAIRunsError) -> float | None:
    """Seconds the server asks to wait, from ``retry-after-ms`` or ``retry-after`` (seconds or an HTTP date)."""
    if not isinstance(error, ResponseError):
        return None
    milliseconds = _number(error.headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = error.headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):  # neither a number nor a date: as if it were not there
        return None


def poll_hint(headers: Mapping[str, str]) -> float | None:
    """Seconds until the next question that the server wishes for, from ``openai-poll-after-ms``."""
    milliseconds = _number(headers.get("openai-poll-after-ms"))
    return None if milliseconds is None else milliseconds / 1000


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:  # a header we cannot read is a header that is not there
        return None
    return number if number is not None and 0 <= number < 1e9 else None
