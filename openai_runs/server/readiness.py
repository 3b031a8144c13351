"""`Readiness`: whether the server should be sent requests, as load balancers ask at ``/readyz``.

``/healthz`` says that the process works, and a restart would not help; this says that new work can be taken now.
"""

import asyncio
import logging
import math
from typing import Final

import anyio
from aiohttp import web
from attrs import define, field

from openai_runs.engine import Engine
from openai_runs.errors import StoreError

_logger = logging.getLogger("openai_runs.server")

#: Seconds for which a store that has taken a commit is not tried again.
_GOOD_FOR: Final = 1.0
#: Seconds in which the store has to take it: a commit may wait until a database is back.
_PATIENCE: Final = 5.0


@define(eq=False)
class Readiness:
    """Answers ``/readyz``: with 200, or with 503 and one word why not. It tells nothing else, since it needs no key.

    Attributes:
        is_draining: Whether the server is about to stop; set by whoever stops it.
    """

    _engine: Engine
    is_draining: bool = field(default=False, init=False)
    # Strangers can ask as often as they like, and must not keep the disk busy: they share one attempt, and a good
    # answer holds for a while.
    _good_until: float = field(default=-math.inf, init=False)
    _attempt: asyncio.Task[str] | None = field(default=None, init=False)

    async def answer(self) -> web.Response:
        """Make the response."""
        status = await self._status()
        text = f'{{"status":"{status}"}}'.encode()
        return web.Response(status=200 if status == "ready" else 503, body=text, content_type="application/json")

    async def _status(self) -> str:
        if self.is_draining:
            return "draining"
        if anyio.current_time() < self._good_until:
            return "ready"
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._try_store())
        await asyncio.wait([self._attempt], timeout=_PATIENCE)
        return self._attempt.result() if self._attempt.done() else "store unavailable"

    async def _try_store(self) -> str:
        try:
            await self._engine.check_store()
        except StoreError:  # the store logs it itself, once
            return "store unavailable"
        except Exception:  # a bug of ours, or of a store of other people: a load balancer would only see 500s
            _logger.exception("the store cannot be tried")
            return "store unavailable"
        self._good_until = anyio.current_time() + _GOOD_FOR
        return "ready"


READINESS: Final = web.AppKey("readiness", Readiness)
