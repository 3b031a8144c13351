"""One line a request, without anything that is nobody's business: no headers, no query, no bodies."""

import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

logger: Final = logging.getLogger("openai_runs.access")


class AccessLogger(AbstractAccessLogger):
    """Writes to ``openai_runs.access``: whence, what, how it went, how long it took, under which request ID."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; called by aiohttp when the answer is out. ``time`` is in seconds."""
        self.logger.info(
            "%s %s %s %d %.1f ms %s",
            request.remote,
            request.method,
            request.rel_url.raw_path,  # as it was sent: an escaped line break stays escaped
            response.status,
            time * 1000,
            response.headers.get("x-request-id", "-"),
        )

    @property
    def enabled(self) -> bool:
        """Whether anybody reads it; asked before each line."""
        return self.logger.isEnabledFor(logging.INFO)
