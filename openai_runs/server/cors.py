"""`Cors`: lets web pages of chosen origins use the API from a browser (cross-origin resource sharing).

Without it a browser asks before it sends JSON for a page of another origin, gets no answer, and sends nothing. Nothing
here allows cookies: a page has to have a key of its own, and the console's sessions stay out of its reach.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from yarl import URL

from openai_runs._wire.idempotency import REPLAYED, SUPPORTED

#: Any origin.
ANY: Final = "*"

#: What a page's script may read of a response, besides what any page may.
_EXPOSED: Final = (
    "openai-poll-after-ms, openai-processing-ms, openai-version, retry-after, retry-after-ms, x-request-id, "
    "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    "x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens, "
    f"{REPLAYED.lower()}, {SUPPORTED.lower()}"
)
_METHODS: Final = "GET, POST, DELETE"
_MAX_AGE: Final = "600"  # seconds for which a browser need not ask again; its own default is five
#: The names of headers, as a browser lists them. They are allowed as asked: none of them has a power of its own here.
_are_names: Final = re.compile(r"[\w!#$%&'*+.^`|~-]+(?:\s*,\s*[\w!#$%&'*+.^`|~-]+)*", re.ASCII).fullmatch


def check_origins(origins: Iterable[str]) -> frozenset[str]:
    """Check origins, and write them as browsers do.

    Raises:
        ValueError: One is no origin, such as ``https://app.example`` or ``*``.
    """
    return frozenset(_checked(origin) for origin in origins)


def _checked(origin: str) -> str:
    if origin == ANY:
        return origin
    problem = f"{origin!r} is no origin: expected https://HOST or https://HOST:PORT as in a browser, or *"
    try:
        url = URL(origin)
    except ValueError:
        raise ValueError(problem) from None
    if url.scheme not in ("http", "https") or not url.host or url.user or url.path_qs not in ("", "/") or url.fragment:
        raise ValueError(problem)
    return str(url.origin())


class Cors:
    """Which origins' pages may use the API, and the headers that tell their browsers so."""

    def __init__(self, origins: Collection[str]) -> None:
        """Allow origins, as `check_origins` returns them."""
        self._origins = origins

    def allows(self, origin: str | None) -> bool:
        """Whether pages of an origin may use the API."""
        return origin is not None and (ANY in self._origins or origin in self._origins)

    def middleware(self) -> Middleware:
        """Make the middleware that answers a browser's question; it goes before the one that asks for a key."""

        @web.middleware
        async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
            headers = request.headers
            if (
                request.method != hdrs.METH_OPTIONS
                or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in headers
                or not self.allows(headers.get(hdrs.ORIGIN))
                or is_of_console(request)
            ):
                return await handler(request)
            allowed = {
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: _METHODS,
                hdrs.ACCESS_CONTROL_MAX_AGE: _MAX_AGE,
                hdrs.VARY: hdrs.ACCESS_CONTROL_REQUEST_HEADERS,
            }
            asked = headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
            if _are_names(asked):
                allowed[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
            return web.Response(status=204, headers=allowed)

        return preflight

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let the page that sent the request read its response, errors too; for aiohttp's ``on_response_prepare``."""
        if is_of_console(request):
            return
        if ANY not in self._origins:
            response.headers.add(
                hdrs.VARY, hdrs.ORIGIN
            )  # also without an origin, or a cache would mix the responses up
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and self.allows(origin):
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY if ANY in self._origins else origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED


def is_of_console(request: web.Request) -> bool:
    """Whether a request is for a page of the console, which is for its own pages only."""
    return request.path == "/" or request.path.startswith("/console/")


CORS: Final = web.AppKey("cors", Cors)
