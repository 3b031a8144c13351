"""The access log: one line per request, without headers, query and bodies, which may hold secrets."""

import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

logger: Final = logging.getLogger("openai_runs.access")

#: For aiohttp's own messages.
protocol_logger: Final = logging.getLogger("openai_runs.server.protocol")


class _MalformedRequestFilter(logging.Filter):
    """Removes the bytes that aiohttp quotes from a malformed request: a key may be in them."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            record.msg = f"{record.msg}: {type(error).__name__}"
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)  # the client's fault
        return True


protocol_logger.addFilter(_MalformedRequestFilter())


class AccessLogger(AbstractAccessLogger):
    """Writes to ``openai_runs.access``: client address, method, path, status, duration, request ID."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; aiohttp calls this once the response is sent. ``time`` is in seconds."""
        self.logger.info(
            "%s %s %s %d %.1f ms %s",
            request.remote,
            request.method,
            request.rel_url.raw_path,  # as sent: an escaped line break stays escaped, and cannot forge a line
            response.status,
            time * 1000,
            response.headers.get("x-request-id", "-"),
        )

    @property
    def enabled(self) -> bool:
        """Whether the logger's level lets the line through; aiohttp asks before it makes one."""
        return self.logger.isEnabledFor(logging.INFO)
