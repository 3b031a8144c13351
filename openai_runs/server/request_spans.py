"""A span and a measurement for each request that the application answers, in the trace that the request names.

Polls of runs, which `Front` answers in front of the application, have none, nor have probes: there are hundreds of them
for each request that does something.
"""

from time import perf_counter
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from openai_runs.server.probes import is_probe
from openai_runs.telemetry import Telemetry, Value, current, end, error_type, present

#: A method that is none of HTTP's is not an attribute: its sender could make up any number of them.
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

_extract: Final = TraceContextTextMapPropagator().extract


def request_spans(telemetry: Telemetry) -> Middleware:
    """Make the middleware, which goes around all others."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_probe(request) or (not telemetry.records and "traceparent" not in request.headers):
            return await handler(request)
        method, resource = request.method, request.match_info.route.resource
        route = None if resource is None else resource.canonical
        known: dict[str, Value] = {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "http.route": route,
            "url.scheme": request.scheme,
        }
        name = f"{known['http.request.method']} {route}" if route is not None else str(known["http.request.method"])
        shown: dict[str, Value] = {**known, "url.path": request.rel_url.raw_path}
        span, began = telemetry.start(name, SpanKind.SERVER, shown, _extract(request.headers)), perf_counter()
        failure: str | None = None
        found: dict[str, Value] = {}
        try:
            with current(span):
                response = await handler(request)
            found["http.response.status_code"] = response.status
            failure = str(response.status) if response.status >= 500 else None
            return response
        except BaseException as error:
            failure = error_type(error)
            raise
        finally:
            end(span, failure, found)
            measured = present({**known, **found, "error.type": failure})
            telemetry.server_durations.record(perf_counter() - began, measured)

    return middleware
