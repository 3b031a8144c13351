"""`Exchanges`: sends prepared requests over aiohttp's connections, and has aiohttp read the responses.

`aiohttp.ClientSession` does for each request what no request here needs: cookies, redirects, middlewares, a timer for
all of it. That is left out. Of its care for lost connections, what concerns these requests is here. What is not usual
goes through the session, over the same connections: whatever is traced or mocked, goes through a proxy, or is not
prepared.

That way is not documented in all parts. So `exchanges` tries both on a connection that leads nowhere, when a session is
opened; unless they do the same there, all requests go through aiohttp's session.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, cast

import aiohttp
from aiohttp import client
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from openai_runs._http.prepared_requests import PreparedRequests, merged
from openai_runs._http.rehearsal import Nowhere, do_at_once
from openai_runs._http.watchdog import Watchdog
from openai_runs._wire.idempotency import HEADER

if TYPE_CHECKING:
    from aiohttp.connector import Connection

#: How a kept connection breaks that the server had closed already, perhaps: then aiohttp sends again what may be sent
#: twice. That no connection can be made is something else.
_LOST: Final = (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)


class _Origin(aiohttp.ClientRequest):
    """Tells connectors where to connect."""

    @cached_property  # not anew for each request
    def connection_key(self) -> Any:
        return super().connection_key


class Exchanges:
    """Requests and responses of a session."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        requests: PreparedRequests,
        watchdog: Watchdog,
        reading: Mapping[str, Any],
        response: Mapping[str, Any],
    ) -> None:
        """Send requests.

        Args:
            http: The session, whose connections are used.
            requests: Writes them.
            watchdog: Watches over them.
            reading: What aiohttp's parser is told, except for the timeout.
            response: What aiohttp's responses are told, except for their requests.
        """
        assert http.connector is not None  # noqa: S101  # for the type checker: it is open
        #: What `send` stands in for. Mocks, recorders and tracers put something else in its place, also later.
        self.replaced: Final = _request()
        self._connector = http.connector
        self._origin = _Origin("GET", requests.origin)
        self._requests = requests
        self.write: Final = requests.write  #: all bytes of a request; ``None`` if aiohttp's session has to send it
        self._watchdog = watchdog
        self._reading = reading
        self._response = {**response, "session": http}
        self._sent = CIMultiDictProxy(requests.headers)

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str] | None,
        written: bytes,
        timeout: aiohttp.ClientTimeout,
        *,
        is_stream: bool = False,
    ) -> aiohttp.ClientResponse:
        """Send a request; the response, once its head is there.

        Args:
            method: The HTTP method.
            url: Where it goes.
            headers: What it has beside the headers of the session.
            written: The request, as `PreparedRequests` has written it.
            timeout: Its limits; not that of the whole.
            is_stream: Whether a response is to be watched by aiohttp itself, since its limit may change.
        """
        may_repeat = method == "GET"
        while True:
            try:
                connection = await self._connector.connect(self._origin, [], timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {url}") from error
            try:
                response = self._begin(connection, method, url, headers, written, timeout, is_stream=is_stream)
            except BaseException:
                connection.close()
                raise
            try:
                return await response.start(connection)
            except BaseException as error:  # cancellation, too
                response.close()
                if not (may_repeat and isinstance(error, _LOST)) or self._connector.closed:
                    raise
            may_repeat = False

    def _begin(
        self,
        connection: "Connection",
        method: str,
        url: URL,
        headers: Mapping[str, str] | None,
        written: bytes,
        timeout: aiohttp.ClientTimeout,
        *,
        is_stream: bool,
    ) -> aiohttp.ClientResponse:
        """Write a request; the response, which has yet to come."""
        protocol = connection.protocol
        if protocol is None or (transport := protocol.transport) is None or transport.is_closing():
            raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
        protocol.set_response_params(read_timeout=timeout.sock_read, **self._reading)
        transport.write(written)
        if is_stream:
            protocol.start_timeout()
        else:
            self._watchdog.watch(connection, protocol)
        sent = CIMultiDictProxy(self._requests.headers_with(headers)) if headers else self._sent
        info = aiohttp.RequestInfo(url, method, sent, url)
        return aiohttp.ClientResponse(method, url, request_info=info, **self._response)


def exchanges(
    http: aiohttp.ClientSession, origin: URL, headers: CIMultiDict[str], watchdog: Watchdog
) -> Exchanges | None:
    """Send the requests of a session, unless aiohttp's session has to send all of them.

    Args:
        http: aiohttp's session.
        origin: Where they go.
        headers: Sent with each of them.
        watchdog: Watches over them.
    """
    if http.trace_configs or not _is_own(_request()):  # somebody wants to see the requests of all sessions
        return None
    try:
        requests = PreparedRequests(origin, headers)
        learned = _learn(requests)
    except Exception:  # whatever a later aiohttp has changed: without this it works as well, but slower
        return None
    return None if learned is None else Exchanges(http, requests, watchdog, *learned)


def _request() -> object:
    """How aiohttp's sessions send requests."""
    return getattr(aiohttp.ClientSession, "_request", None)


def _is_own(function: object) -> bool:
    """Whether it is aiohttp's own, and nothing that is put around it, which may claim that it were."""
    return type(function) is FunctionType and function.__globals__ is vars(client)


def _learn(requests: PreparedRequests) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What aiohttp's session tells parsers and responses; ``None`` if it does anything else with a request."""
    if not requests.are_usual or not _writes_like_others(requests):
        return None
    nowhere, told = Nowhere(), dict[str, Any]()

    def respond(method: str, url: URL, **given: Any) -> aiohttp.ClientResponse:
        told.update(given)
        return aiohttp.ClientResponse(method, url, **given)

    http = aiohttp.ClientSession(
        connector=nowhere, cookie_jar=aiohttp.DummyCookieJar(), response_class=cast("Any", respond)
    )
    try:
        url, limits = requests.origin / "a", aiohttp.ClientTimeout(total=None, sock_read=1.0)
        theirs = do_at_once(http.request("GET", url, headers=requests.session_headers, timeout=limits))
        rehearsal = nowhere.rehearsal
        reading = {name: value for name, value in rehearsal.reading.items() if name != "read_timeout"}
        response = {name: value for name, value in told.items() if name != "request_info"}
        mine = Exchanges(http, requests, Watchdog(math.inf), reading, response)
        ours = do_at_once(mine.send("GET", url, None, requests.write("GET", url, None, None) or b"", limits))
    finally:
        http.detach()
    are_same = nowhere.rehearsal.is_like(rehearsal) and _shown(ours) == _shown(theirs)
    return (reading, response) if are_same else None


def _shown(response: aiohttp.ClientResponse) -> list[Any]:
    """What is looked at."""
    return [type(response), response.status, response.closed, response.method, response.url, response.request_info]


def _writes_like_others(requests: PreparedRequests) -> bool:
    """Whether aiohttp itself would write the same, and send it to the same place."""
    url = (requests.origin / "a").with_query("b=c")
    for method, data in ("GET", None), ("DELETE", None), ("POST", None), ("POST", b"{}"):
        own = {HEADER: "key"} if method == "POST" else {}
        others = aiohttp.ClientRequest(method, url, headers=merged(requests.session_headers, own), data=data)
        lines = [f"{method} /a?b=c HTTP/1.1", *(f"{name}: {value}" for name, value in others.headers.items())]
        head, _, body = (requests.write(method, url, own, data) or b"").partition(b"\r\n\r\n")
        if sorted(head.decode().split("\r\n")) != sorted(lines) or body != (data or b""):
            return False
    return True
