"""The engine as an aiohttp application: routes, and the middleware that turns exceptions into error responses."""

import logging
import math
import re
from collections.abc import Collection, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from openai_runs import _wire
from openai_runs._wire.idempotency import REPLAYED
from openai_runs.engine import ApiError, Engine
from openai_runs.errors import StoreError, StoreUnavailableError
from openai_runs.server import passing_rules
from openai_runs.server.audit_log import audited_request
from openai_runs.server.console.entrance import add_console
from openai_runs.server.cors import CORS, Cors, check_origins
from openai_runs.server.endpoint_files import EndpointFiles
from openai_runs.server.exchange import (
    ALLOWANCE,
    ENGINE,
    IS_PASSED,
    IS_REPLAYED,
    OWNER,
    POLL_HINT,
    REQUEST_ID,
    STARTED,
)
from openai_runs.server.gate import GATE, Gate
from openai_runs.server.handlers import (
    assistants,
    files,
    messages,
    run_steps,
    runs,
    threads,
    vector_store_file_batches,
    vector_store_files,
    vector_stores,
)
from openai_runs.server.keys import Keys
from openai_runs.server.pass_through import PassThrough, routes
from openai_runs.server.plain_response import NAME, OWN_HEADERS, new_request_id, processing_ms
from openai_runs.server.poll_hint import PollHint
from openai_runs.server.probes import add_probes, is_probe
from openai_runs.server.readiness import READINESS, Readiness
from openai_runs.server.sse_response import STREAMS, abort_streams
from openai_runs.server.version_1 import handlers as version_1_handlers
from openai_runs.server.version_1.middleware import version_1
from openai_runs.server.waiting import WAITING_POLLS, WaitingPolls, stop_waiting

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry

_logger = logging.getLogger("openai_runs.server")

#: Bytes of a request body. The API does not limit the length of a message; the 256,000 characters that it allows for
#: instructions take up to 1.5 MB if each is escaped.
MAX_BODY: Final = 16 * 1024 * 1024

#: Each route exists with and without ``/v1``, because some clients' base URLs include it and others' do not, and below
#: ``/openai``, which Azure's clients put before every path.
_PREFIXES: Final = ("", "/v1", "/openai", "/openai/v1")
#: Those below which requests are passed on: Azure's clients name the deployment in the path, and in the body as well.
_PASSED_PREFIXES: Final = (*_PREFIXES, "/openai/deployments/{deployment}")
#: For a path that could be passed on; if that is switched on, such a path is routed.
_PASSING_HINT: Final = (
    ": this server has the Assistants API, /files and /vector_stores. (HINT: openai-runs serve --pass-through, or "
    "LocalServer(pass_through=...), passes requests of this path on to the model's endpoint.)"
)
# aiohttp tries routes in this order: runs come first, as polling makes them the most frequent requests.
_ROUTES: Final = (
    *runs.ROUTES,
    *run_steps.ROUTES,
    *messages.ROUTES,
    *threads.ROUTES,
    *assistants.ROUTES,
    *version_1_handlers.ROUTES,
)
_FILE_ROUTES: Final = (
    *files.ROUTES,
    *vector_store_files.ROUTES,
    *vector_store_file_batches.ROUTES,
    *vector_stores.ROUTES,
)


def create_app(
    engine: Engine,
    *,
    keys: Mapping[str, str] | Keys | None = None,
    poll_hint: PollHint | None = None,
    pass_through: PassThrough | None = None,
    endpoint_files: EndpointFiles | None = None,
    console: bool = False,
    cors_origins: Collection[str] = (),
    telemetry: "Telemetry | None" = None,
    max_body: int = MAX_BODY,
) -> web.Application:
    """Make the application that serves an engine over HTTP.

    Args:
        engine: Must be entered before the first request, and exited after the last.
        keys: Maps each bearer key, or its hash, to the label of its owner, who sees only its own objects. ``None``: no
            key is required, and every client sees every object.
        poll_hint: How soon clients are told to poll a run again.
        pass_through: Where requests of the rest of the API go. ``None``: nowhere; they are answered with 404.
        endpoint_files: Where requests on files and vector stores go: the engine's ``files_endpoint``, which must be
            open as long as the engine is. ``None``: to the engine.
        console: Whether browsers get pages that show the runs, at ``/``; behind the same keys.
        cors_origins: The origins, such as ``https://app.example``, whose web pages may use the API from a browser;
            ``*`` stands for all. They are never sent cookies.
        telemetry: Records each request by OpenTelemetry. Unset: none is recorded.
        max_body: The largest request body, in bytes; a larger one gets a 413 response.

    Raises:
        ValueError: ``keys`` is empty, or has an empty key; one of ``cors_origins`` is no origin; or ``endpoint_files``
            is not what the engine has.
    """
    if (endpoint_files is None) is not (engine.endpoint_objects is None):
        raise ValueError("pass the EndpointFiles both to Engine(files_endpoint=…) and to create_app(endpoint_files=…)")
    checked = keys if isinstance(keys, Keys | None) else Keys(keys)
    gate = Gate(engine)
    app = web.Application(client_max_size=max_body, middlewares=[answering_errors(checked, gate), version_1])
    app.middlewares.extend([audited_request] * engine.is_audited)
    if telemetry is not None:
        from openai_runs.server.request_spans import request_spans  # only here: it loads OpenTelemetry
        from openai_runs.telemetry import check_telemetry

        check_telemetry(telemetry)
        app.middlewares.insert(0, request_spans(telemetry))
    app[ENGINE] = engine
    app[GATE] = gate
    app[POLL_HINT] = poll_hint or PollHint()
    app[STREAMS] = set()
    app[version_1_handlers.LOCKS] = WeakValueDictionary()
    app[READINESS] = Readiness(engine)
    app.on_response_prepare.append(_add_headers)
    app[WAITING_POLLS] = WaitingPolls(engine)
    app.on_shutdown.append(abort_streams)
    app.on_shutdown.append(stop_waiting)
    add_probes(app)
    file_routes = _FILE_ROUTES if endpoint_files is None else endpoint_files.routes()
    for prefix in _PREFIXES:
        for method, path, handler in (*_ROUTES, *file_routes):
            # An ID may contain anything but an unescaped slash; aiohttp's default pattern excludes braces too.
            app.router.add_route(method, prefix + re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", path), handler)
    has_owners = gate.has_several_owners = checked is not None and len(checked.owners) > 1
    if pass_through is not None:  # hundreds of routes take a tenth of a second to make
        for prefix in _PASSED_PREFIXES:
            for method, path, passing in routes(pass_through, prefix, has_owners=has_owners):
                app.router.add_route(method, path, passing)
        app.cleanup_ctx.append(pass_through.opened)
    if cors_origins:
        app[CORS] = cors = Cors(check_origins(cors_origins))
        app.middlewares.insert(0, cors.middleware())
        app.on_response_prepare.append(cors.add_headers)
    if console:
        add_console(app, checked)
    return app


def answering_errors(keys: Keys | None, gate: Gate) -> Middleware:
    """Make the middleware around every handler.

    It checks the key and what its owner may send, and turns any exception into an error response.
    """

    @web.middleware
    async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[STARTED] = perf_counter()
        request[REQUEST_ID] = request_id = new_request_id()
        try:
            if keys is None:
                request[OWNER] = ""
            elif not is_probe(request):
                request[OWNER] = keys.owner(request.headers.get("Authorization"), request.headers.get("api-key"))
            if OWNER in request:
                await gate.admit(request, request[OWNER])
            return await handler(request)
        except ApiError as error:
            gate.note_refusal(request.get(OWNER, ""), error.code)
            return _error_response(error)
        except StoreError as error:
            status = 503 if isinstance(error, StoreUnavailableError) else 500
            return _error_response(ApiError(status, error.message, type="server_error"))
        except web.HTTPException as error:  # raised by aiohttp: no such route, a body too large
            return _error_response(_from_aiohttp(error, request), allow=error.headers.get("Allow"))
        except Exception:  # our own bug: the details go to the log, and the caller gets the ID to find them by
            _logger.exception("request %s failed: %s %s", request_id, request.method, request.rel_url.raw_path)
            text = "The server had an error while processing your request. Sorry about that!"
            return _error_response(
                ApiError(500, f"{text} Its log has the details under {request_id}.", type="server_error")
            )

    return error_middleware


def _from_aiohttp(error: web.HTTPException, request: web.Request) -> ApiError:
    """Make the API's error of aiohttp's; for a status without a text here, aiohttp's reason is the message."""
    path = request.path[:200]
    match error:
        case web.HTTPNotFound():
            hint = _PASSING_HINT if passing_rules.is_known(request.path) else ""
            return ApiError(404, f"Invalid URL ({request.method} {path}){hint}")
        case web.HTTPMethodNotAllowed():
            text = f"Not allowed to {request.method} on {path}. (HINT: Perhaps you meant {error.headers['Allow']}?)"
            return ApiError(405, text, code="method_not_supported")
        case web.HTTPRequestEntityTooLarge():
            return ApiError(
                413, f"The request body is too large: at most {request.client_max_size} bytes are accepted."
            )
        case _:
            return ApiError(error.status, error.reason)


def _error_response(error: ApiError, *, allow: str | None = None) -> web.Response:
    """Make a response with the API's error body."""
    body = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    response = web.Response(status=error.status, body=_wire.encode({"error": body}), content_type="application/json")
    if allow is not None:
        response.headers["Allow"] = allow
    if error.retry_after is not None:  # the exact one is what OpenAI's clients and ours look at first
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
        response.headers["retry-after-ms"] = str(math.ceil(error.retry_after * 1000))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every response; a signal and not the middleware, which sees streams too late."""
    headers = response.headers
    if IS_PASSED in request:  # the endpoint says itself what it is and does
        headers["Server"] = NAME
    else:
        headers.update(OWN_HEADERS)
    if ALLOWANCE in request:
        headers.update(request[ALLOWANCE])
    if IS_REPLAYED in request:
        headers[REPLAYED] = "true"
    if STARTED in request:  # unset if aiohttp refused the request before our middleware ran
        headers.setdefault("x-request-id", request[REQUEST_ID])
        headers.setdefault("openai-processing-ms", processing_ms(request[STARTED]))
