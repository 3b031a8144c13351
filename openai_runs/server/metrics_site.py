"""``/metrics``: where Prometheus reads what a server counts; a port of its own, and not one of the API's paths.

Whoever may read it need not have a key, and whoever has a key need not read it: what all owners do together is nobody's
of them to know. So it is left to the address who can reach it.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Final

import anyio
from aiohttp import hdrs, web
from prometheus_client.exposition import choose_encoder

from openai_runs.server.access_log import protocol_logger
from openai_runs.server.front import is_poll
from openai_runs.server.listening import Port
from openai_runs.server.metrics import Metrics

_PREFIX: Final = re.compile(r"(?:/openai)?(?:/v1)?(?=/)")
_RUN: Final = "/threads/{thread_id}/runs/{run_id}"
_OTHER: Final = "other"


@asynccontextmanager
async def serving_metrics(metrics: Metrics, port: Port) -> AsyncGenerator[None]:
    """Serve the metrics at a port that is taken."""

    async def show(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=encode(metrics.registry), headers={hdrs.CONTENT_TYPE: content_type})

    app = web.Application()
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app, access_log=None, logger=protocol_logger, shutdown_timeout=0.1)
    try:
        await runner.setup()
        await port.listen(runner)
        yield
    finally:
        port.close()
        with anyio.CancelScope(shield=True):  # even a cancelled server must close its sockets
            await runner.cleanup()


def count_requests(runner: web.AppRunner, metrics: Metrics) -> None:
    """Count the requests of an application whose runner is set up, those that `Front` answers among them."""
    server = runner.server
    # aiohttp does not document the attribute; see `answer_in_front`. Without it, no request is counted.
    if (answer := getattr(server, "request_handler", None)) is None:
        return

    async def count(request: web.BaseRequest) -> web.StreamResponse:
        began, status = perf_counter(), "none"
        try:
            response: web.StreamResponse = await answer(request)
            status = str(response.status)
            return response
        except asyncio.CancelledError:  # whoever has asked is gone
            raise
        except Exception:  # aiohttp makes a response of it
            status = "500"
            raise
        finally:
            route = _route(request)
            method = request.method if request.method in hdrs.METH_ALL else _OTHER
            metrics.count_request(method, route, status, perf_counter() - began)

    server.request_handler = count  # type: ignore[union-attr]  # it has one


def _route(request: web.BaseRequest) -> str:
    """The template of a request's path, without the prefixes below which each path can be found."""
    if is_poll(request):
        return _RUN  # a poll, which the router may not have seen
    match = request.match_info if isinstance(request, web.Request) else None
    resource = None if match is None else match.route.resource
    return _OTHER if resource is None else _PREFIX.sub("", resource.canonical, count=1)
