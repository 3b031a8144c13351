"""One line a request, without anything that is nobody's business: no headers, no query, no bodies."""

import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

logger: Final = logging.getLogger("openai_runs.access")

#: For what aiohttp itself has to say.
protocol_logger: Final = logging.getLogger("openai_runs.server.protocol")


class _WithoutContent(logging.Filter):
    """Drops what aiohttp shows of bytes that it could not read as a request: a key may be in them."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            record.msg = f"{record.msg}: {type(error).__name__}"
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)  # no fault of ours
        return True


protocol_logger.addFilter(_WithoutContent())


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
