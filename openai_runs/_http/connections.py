"""How aiohttp is set up: connections, timeouts, and what it must not do by itself."""

import math
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http.exchanges import exchanges
from openai_runs._http.prepared_requests import STREAM, merged
from openai_runs._http.watchdog import Watchdog

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry


class _Protocol(ResponseHandler):
    """Reads what comes over a connection.

    aiohttp's own asks its parser and its transport to go on after each piece that was read, whether they were stopped
    or not. That takes several times as long as the reading itself.
    """

    _is_paused = False

    def pause_reading(self) -> None:
        self._is_paused = True
        super().pause_reading()

    def resume_reading(self, *how: Any, **more: Any) -> None:
        if self._is_paused:
            self._is_paused = False  # before what follows, which may pause it again
            super().resume_reading(*how, **more)


class _Connector(aiohttp.TCPConnector):
    """Makes connections with a protocol of ours, or with aiohttp's if a later aiohttp sets its own elsewhere."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        protocol: type[ResponseHandler] = _Protocol
        self._factory = partial(protocol, loop=self._loop)


class Connections:
    """The connections of a transport."""

    def __init__(
        self, base: URL, headers: CIMultiDict[str], timeout: float, max_connections: int, proxy: str | None = None
    ) -> None:
        """Open them.

        Args:
            base: Where all requests go.
            headers: Sent with each request.
            timeout: Seconds without a byte after which a request fails, unless it has another limit.
            max_connections: How many requests may be in progress at once; 0 for no limit.
            proxy: What they go through.
        """
        self._headers = headers
        self._proxy = proxy
        self._watchdog = Watchdog(timeout)
        # Without the headers: what aiohttp's session has for all requests, it also tells a proxy that makes a tunnel.
        self.http: Final = aiohttp.ClientSession(
            connector=_Connector(max_connections), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._exchanges = None if proxy else exchanges(self.http, base.origin(), headers, self._watchdog)

    def request(
        self, method: str, url: URL, headers: Mapping[str, str] | None, data: Any, timeout: aiohttp.ClientTimeout
    ) -> Awaitable[aiohttp.ClientResponse]:
        """Send a request.

        Args:
            method: The HTTP method.
            url: Where it goes.
            headers: What it has beside the headers of all, or in their place.
            data: Its body.
            timeout: Its limits.

        Returns:
            The response, once its head is there.
        """
        exchanges = self._exchanges
        is_traced = self.http.trace_configs
        if exchanges is not None and not is_traced and aiohttp.ClientSession._request is exchanges.replaced:  # noqa: SLF001
            written = exchanges.write(method, url, headers, data)
            if written is not None:  # nearly always
                is_stream = headers is not None and headers.get("Accept") == STREAM
                return exchanges.send(method, url, headers, written, timeout, is_stream=is_stream)
        return self.http.request(
            method,
            url,
            data=data,
            headers=merged(self._headers, headers),
            allow_redirects=False,  # a response must not decide where the key is sent
            proxy=self._proxy,
            timeout=timeout,
            middlewares=(without_auto_retry,) if method == "DELETE" else None,
        )

    async def close(self) -> None:
        """Close them; requests that are in progress fail."""
        self._watchdog.end()
        await self.http.close()


def record_requests(http: aiohttp.ClientSession, telemetry: "Telemetry") -> None:
    """Have connections record their requests from now on, if there is a reason to; aiohttp's hooks are not cheap."""
    if not http.trace_configs and telemetry.is_needed():
        for config in traces(telemetry):
            config.freeze()  # as aiohttp does with those that it is given at first
            http.trace_configs.append(config)


def traces(telemetry: "Telemetry | None") -> list[aiohttp.TraceConfig]:
    """Aiohttp's hooks that record requests, if they are to be recorded."""
    if telemetry is None:
        return []
    from openai_runs._http.attempt_spans import tracing  # only here: it loads OpenTelemetry

    return [tracing(telemetry)]


async def without_auto_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a request by itself: a second DELETE would be answered with 404."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:  # aiohttp does not repeat after this one
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def client_timeout(seconds: float) -> aiohttp.ClientTimeout:
    """The timeout that ends a request after so many seconds without a byte."""
    # No total: it would count the wait for a free connection, which is not the server's delay.
    silence = None if seconds == math.inf else seconds
    return aiohttp.ClientTimeout(total=None, sock_connect=min(seconds, 10.0), sock_read=silence)
