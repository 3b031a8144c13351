"""The engine as an aiohttp application: routes, and the middleware that turns errors into the API's error body."""

import logging
import re
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from openai_runs import _wire
from openai_runs.engine import ApiError, Engine
from openai_runs.errors import StoreError, StoreUnavailableError
from openai_runs.server.exchange import ENGINE, OWNER, POLL_HINT, REQUEST_ID, STARTED
from openai_runs.server.handlers import assistants, messages, run_steps, runs, threads
from openai_runs.server.keys import Keys
from openai_runs.server.poll_hint import PollHint
from openai_runs.server.sse_response import STREAMS, hang_up_all

_logger = logging.getLogger("openai_runs.server")

#: Bytes of a request body. A message may be of any length; 256,000 characters, which instructions may have, take up
#: to 1.5 MB when each is escaped.
MAX_BODY: Final = 16 * 1024 * 1024

#: The routes, under the root and under ``/v1``: base URLs end in either.
_PREFIXES: Final = ("", "/v1")
# Runs come first: they are asked for more often than all the rest, and routes are tried in this order.
_ROUTES: Final = (*runs.ROUTES, *run_steps.ROUTES, *messages.ROUTES, *threads.ROUTES, *assistants.ROUTES)


def create_app(
    engine: Engine,
    *,
    keys: Mapping[str, str] | None = None,
    poll_hint: PollHint | None = None,
    max_body: int = MAX_BODY,
) -> web.Application:
    """Make the application that answers for an engine.

    Args:
        engine: It has to be entered before the first request, and left after the last.
        keys: From each bearer key to the label of its owner, who sees only its own objects. ``None``: no key is
            asked for, and all objects are everybody's.
        poll_hint: How soon clients are told to ask for a run again.
        max_body: The largest request body, in bytes; a larger one is answered with 413.

    Raises:
        ValueError: ``keys`` is empty, or has an empty key.
    """
    app = web.Application(client_max_size=max_body, middlewares=[_answering(None if keys is None else Keys(keys))])
    app[ENGINE] = engine
    app[POLL_HINT] = poll_hint or PollHint()
    app[STREAMS] = set()
    app.on_response_prepare.append(_stamp)
    app.on_shutdown.append(hang_up_all)
    app.router.add_route("GET", "/healthz", _health)
    for prefix in _PREFIXES:
        for method, path, handler in _ROUTES:
            # An ID may have any character but a slash that is not escaped; aiohttp's own pattern excludes braces.
            app.router.add_route(method, prefix + re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", path), handler)
    return app


def _answering(keys: Keys | None) -> Middleware:
    """Make the middleware around every handler: it asks who is there, and has an answer to whatever happens."""

    @web.middleware
    async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[STARTED] = perf_counter()
        request[REQUEST_ID] = request_id = f"req_{secrets.token_hex(16)}"
        try:
            if keys is None:
                request[OWNER] = ""
            elif request.match_info.handler is not _health:
                request[OWNER] = keys.owner(request.headers.get("Authorization"))
            _check_version(request)
            return await handler(request)
        except ApiError as error:
            return _refusal(error)
        except StoreError as error:
            status = 503 if isinstance(error, StoreUnavailableError) else 500
            return _refusal(ApiError(status, error.message, type="server_error"))
        except web.HTTPException as error:  # aiohttp's own: no such route, a body too large
            return _refusal(_in_our_words(error, request), allow=error.headers.get("Allow"))
        except Exception:  # our own bug: the log has the details, the caller gets the ID to ask with
            _logger.exception("request %s failed: %s %s", request_id, request.method, request.rel_url.raw_path)
            text = "The server had an error while processing your request. Sorry about that!"
            return _refusal(ApiError(500, f"{text} Its log has more under {request_id}.", type="server_error"))

    return answering


def _check_version(request: web.Request) -> None:
    """Refuse clients of another version of the API.

    A request that names none is fine: the one endpoint that insisted on the header is gone, and those that are left
    do not ask for it.
    """
    beta = request.headers.get("OpenAI-Beta")
    if beta is not None and "assistants=" in beta and "assistants=v2" not in beta:
        text = "This server speaks version 2 of the Assistants API. Please set the header 'OpenAI-Beta: assistants=v2'."
        raise ApiError(400, text, code="invalid_beta")


def _in_our_words(error: web.HTTPException, request: web.Request) -> ApiError:
    path = request.path[:200]
    match error:
        case web.HTTPNotFound():
            return ApiError(404, f"Invalid URL ({request.method} {path})")
        case web.HTTPMethodNotAllowed():
            text = f"Not allowed to {request.method} on {path}. (HINT: Perhaps you meant {error.headers['Allow']}?)"
            return ApiError(405, text, code="method_not_supported")
        case web.HTTPRequestEntityTooLarge():
            return ApiError(413, f"The request body is too large: at most {request.client_max_size} bytes are taken.")
        case _:
            return ApiError(error.status, error.reason)


def _refusal(error: ApiError, *, allow: str | None = None) -> web.Response:
    """Make the API's error body."""
    body = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    response = web.Response(status=error.status, body=_wire.encode({"error": body}), content_type="application/json")
    if allow is not None:
        response.headers["Allow"] = allow
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Add what each answer carries; as a signal, so that streams have it as well."""
    headers = response.headers
    headers["Server"] = "openai_runs"
    headers["openai-version"] = "2020-10-01"
    if STARTED in request:  # not if aiohttp refused the request before our middleware saw it
        headers["x-request-id"] = request[REQUEST_ID]
        headers["openai-processing-ms"] = str(round((perf_counter() - request[STARTED]) * 1000))


async def _health(_: web.Request) -> web.Response:
    """Tell a load balancer that the server is up; asks for no key, and tells nothing else."""
    return web.Response(body=b'{"status":"ok"}', content_type="application/json")
