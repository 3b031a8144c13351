"""The access log: one line for each request, without headers, query and bodies, which may hold secrets."""

import logging
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError

from openai_runs.server.exchange import OWNER
from openai_runs.server.probes import is_probe

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


#: The attribute of a record that has the fields of a request, or of another event, for logs that programs read.
FIELDS: Final = "request_fields"


class AccessLogger(AbstractAccessLogger):
    """Writes to ``openai_runs.access``: client address, method, path, status, duration, request ID.

    A record's fields, for programs, have the owner besides: the label of its key, or ``None``.

    A poll of a run that has not ended is at DEBUG, and so is a probe that succeeds: there are hundreds of them for each
    request that does something.
    """

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; aiohttp calls this once the response is sent. ``time`` is in seconds."""
        level = logging.DEBUG if _is_routine(request, response) else logging.INFO
        if not self.logger.isEnabledFor(level):
            return
        fields = {
            "client": request.remote,
            "method": request.method,
            "path": request.rel_url.raw_path,  # as sent: an escaped line break stays escaped, and cannot forge a line
            "status": response.status,
            "duration_ms": round(time * 1000, 1),
            "request_id": response.headers.get("x-request-id", "-"),
        }
        owned = {**fields, "owner": request.get(OWNER) or None}
        self.logger.log(level, "%s %s %s %d %.1f ms %s", *fields.values(), extra={FIELDS: owned})

    @property
    def enabled(self) -> bool:
        """Whether the logger's level lets any line through; aiohttp asks before it makes one."""
        return self.logger.isEnabledFor(logging.INFO)


def _is_routine(request: web.BaseRequest, response: web.StreamResponse) -> bool:
    if request.method not in ("GET", "HEAD") or response.status != 200:
        return False
    return "openai-poll-after-ms" in response.headers or is_probe(request)
