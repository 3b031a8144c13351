"""What load balancers ask, and whoever restarts the server: ``/healthz`` and ``/readyz``, which need no key."""

from typing import Final

from aiohttp import web

from openai_runs.server.readiness import READINESS

_HEALTHY: Final = b'{"status":"ok"}'


async def _health(_: web.Request) -> web.Response:
    """Say that the server is up, and nothing else."""
    return web.Response(body=_HEALTHY, content_type="application/json")


async def _ready(request: web.Request) -> web.Response:
    """Say whether new work can be taken."""
    return await request.app[READINESS].answer()


_HANDLERS: Final = {"/healthz": _health, "/healthz/": _health, "/readyz": _ready, "/readyz/": _ready}


def add_probes(app: web.Application) -> None:
    """Add the routes. HEAD is answered as GET, without the body."""
    for path, handler in _HANDLERS.items():
        app.router.add_get(path, handler, allow_head=True)


def is_probe(request: web.BaseRequest) -> bool:
    """Whether a request is for one of these paths, whatever its method."""
    return request.path in _HANDLERS
