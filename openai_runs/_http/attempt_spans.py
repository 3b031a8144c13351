"""A span and a measurement for each HTTP request, by OpenTelemetry's conventions, through aiohttp's own hooks.

A request that is repeated has a span for each attempt. A span ends when the head of the response is there: what is
streamed after that belongs to the run.
"""

from time import perf_counter
from types import SimpleNamespace
from typing import Final

import aiohttp
from attrs import frozen
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from openai_runs._http.retries import resends
from openai_runs.telemetry import Telemetry, Value, end, error_type, present

# Baggage, which the global propagator would send, too, may hold what is not for an endpoint of other people.
_inject: Final = TraceContextTextMapPropagator().inject


def tracing(telemetry: Telemetry) -> aiohttp.TraceConfig:
    """The hooks for one `aiohttp.ClientSession`."""
    hooks, config = _Hooks(telemetry), aiohttp.TraceConfig()
    config.on_request_start.append(hooks.start)
    config.on_request_end.append(hooks.end)
    config.on_request_exception.append(hooks.fail)
    return config


@frozen
class _Hooks:
    """What aiohttp calls; ``context`` belongs to one request."""

    _telemetry: Telemetry

    async def start(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        url = params.url
        context.attributes = {
            "http.request.method": params.method,
            "server.address": url.host,
            "server.port": url.port,
        }
        shown: dict[str, Value] = {
            "url.full": str(url.with_user(None).with_query(None).with_fragment(None)),  # a query may have a key
            "http.request.resend_count": resends.get() or None,
        }
        context.span = self._telemetry.start(params.method, SpanKind.CLIENT, {**context.attributes, **shown})
        context.started = perf_counter()
        _inject(params.headers, trace.set_span_in_context(context.span))

    async def end(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestEndParams
    ) -> None:
        status = params.response.status
        self._finish(context, str(status) if status >= 400 else None, {"http.response.status_code": status})

    async def fail(
        self, _: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestExceptionParams
    ) -> None:
        self._finish(context, error_type(params.exception), {})

    def _finish(self, context: SimpleNamespace, failure: str | None, found: dict[str, Value]) -> None:
        end(context.span, failure, found)
        measured = present({**context.attributes, **found, "error.type": failure})
        self._telemetry.http_durations.record(perf_counter() - context.started, measured)
