"""The way into the console: its routes, who may enter, and what becomes of errors there.

Its pages are no part of the API: they have a session's cookie for a key, and HTML for errors. So a middleware in front
of the API's takes their requests over.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs.engine import ApiError
from openai_runs.errors import StoreError, StoreUnavailableError
from openai_runs.server.console import actions, pages
from openai_runs.server.console.feed import changes, run_changes
from openai_runs.server.console.forms import read_form
from openai_runs.server.console.rendering import (
    COOKIE,
    HAS_KEYS,
    HEADERS,
    SESSIONS,
    failure,
    page,
    see_other,
    session_token,
    static,
)
from openai_runs.server.console.sessions import LASTS, Sessions
from openai_runs.server.exchange import ENGINE, OWNER, REQUEST_ID
from openai_runs.server.keys import Keys
from openai_runs.server.plain_response import new_request_id

_logger = logging.getLogger("openai_runs.server")

_Page: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KEYS: Final = web.AppKey("console_keys", Keys)


def add_console(app: web.Application, keys: Keys | None) -> None:
    """Add the console's pages to the API's application, which must not have started."""
    app[SESSIONS] = Sessions(lambda: hmac.digest(app[ENGINE].secret, b"" if keys is None else keys.digest, "sha256"))
    app[HAS_KEYS] = keys is not None
    if keys is not None:
        app[_KEYS] = keys
    app.middlewares.insert(0, _console)
    app.router.add_route("*", "/", _front)
    for method, path, handler in _ROUTES:
        app.router.add_route(method, path, handler)


async def _front(_: web.Request) -> web.StreamResponse:
    """What the API has at ``/``: nothing. `_console` shows browsers the runs there."""
    raise web.HTTPNotFound


@web.middleware
async def _console(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer requests of the console's pages, and leave all others to the API."""
    found = request.match_info.handler
    if found is _front and request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        found = pages.runs
    if found not in _PAGES:
        return await handler(request)
    request[REQUEST_ID] = request_id = new_request_id()
    try:
        response = await _answer(request, found)
    except ApiError as error:
        response = failure(request, error.status, error.message)
    except StoreError as error:
        response = failure(request, 503 if isinstance(error, StoreUnavailableError) else 500, error.message)
    except web.HTTPRequestEntityTooLarge:
        response = failure(
            request, 413, f"The form is too large: at most {request.client_max_size} bytes are accepted."
        )
    except Exception:  # our own bug: the details go to the log
        _logger.exception("request %s failed: %s %s", request_id, request.method, request.rel_url.raw_path)
        text = f"The server had an error while making this page. Its log has the details under {request_id}."
        response = failure(request, 500, text)
    response.headers.update(HEADERS)  # too late for a feed, which is no page
    return response


async def _answer(request: web.Request, found: _Page) -> web.StreamResponse:
    if not request.app[HAS_KEYS]:
        _refuse_other_names(request)
        request[OWNER] = ""
    elif found not in _OPEN:
        owner = request.app[SESSIONS].owner(session_token(request))
        if owner is None:
            return _login_page(request, request.path_qs if request.method == "GET" else "/", status=401)
        request[OWNER] = owner
    return await found(request)


def _refuse_other_names(request: web.Request) -> None:
    """Refuse requests for a name that a stranger may have made resolve to this machine (DNS rebinding).

    A server without keys listens on loopback only. With keys, a stranger's name has no session's cookie.

    Raises:
        ApiError: 403.
    """
    try:
        name = request.url.host or ""
        is_own = name == "localhost" or ip_address(name).is_loopback
    except ValueError:  # no address, or no host at all
        is_own = False
    if not is_own:
        raise ApiError(403, "A server without keys shows its pages at localhost, 127.0.0.1 and [::1] only.")


def _login_page(request: web.Request, to: str, *, status: int = 200, problem: str = "") -> web.Response:
    return page(request, "login.html", status=status, to=to, problem=problem)


async def _login(request: web.Request) -> web.StreamResponse:
    """Take a key, and begin a session of its owner."""
    form = await read_form(request)
    to = form.get("to", "/")
    if not to.startswith("/console/") and not to.startswith("/?"):  # never another site
        to = "/"
    if not request.app[HAS_KEYS]:
        return see_other(to)
    try:
        owner = request.app[_KEYS].owner(None, form.get("key", ""))
    except ApiError:
        return _login_page(request, to, status=401, problem="This is no key of this server.")
    response = see_other(to)
    # The browser tells its own scheme; behind a proxy with TLS that is not trusted, the request's is another.
    is_secure = request.secure or request.headers["Origin"].startswith("https://")
    response.set_cookie(
        COOKIE,
        request.app[SESSIONS].begin(owner),
        max_age=int(LASTS),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=is_secure,
    )
    return response


async def _logout(request: web.Request) -> web.StreamResponse:
    """End the session."""
    await read_form(request)
    request.app[SESSIONS].end(session_token(request))
    response = see_other("/")
    response.del_cookie(COOKIE, path="/")
    return response


_ROUTES: Final = (
    ("GET", "/console/runs/{run_id:[^/]+}", pages.run),
    ("GET", "/console/runs/{run_id:[^/]+}/changes", run_changes),
    ("POST", "/console/runs/{run_id:[^/]+}/cancel", actions.cancel),
    ("POST", "/console/runs/{run_id:[^/]+}/outputs", actions.answer),
    ("GET", "/console/find", pages.find),
    ("GET", "/console/start", actions.start_page),
    ("POST", "/console/start", actions.start),
    ("GET", "/console/threads/{thread_id:[^/]+}", pages.thread),
    ("GET", "/console/changes", changes),
    ("GET", "/console/static/{name}", static),
    ("POST", "/console/login", _login),
    ("POST", "/console/logout", _logout),
)
#: Those that need no session.
_OPEN: Final = frozenset({static, _login})
_PAGES: Final = frozenset({pages.runs, *(handler for _, _, handler in _ROUTES)})
