"""`AuditLog`: a JSON line for each deletion, and for each time that keys are read again, to account for later.

A line has no content and no key: what was done, when, on whose behalf, to which object of which owner.
"""

import logging
import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from openai_runs import _wire
from openai_runs.engine.audit import Audited
from openai_runs.server.exchange import REQUEST_ID

_logger = logging.getLogger("openai_runs.server")

_request: Final[ContextVar[str | None]] = ContextVar("request", default=None)


@web.middleware
async def audited_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have entries name the request that they come from: only deletions have any."""
    if request.method != "DELETE":
        return await handler(request)
    token = _request.set(request[REQUEST_ID])
    try:
        return await handler(request)
    finally:
        _request.reset(token)  # the connection's next request has the same context


class AuditLog:
    """Writes each entry as a line, at once."""

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        """Begin to write.

        Args:
            path: The file, to which lines are added. If it does not exist, it is created, readable by its user only. It
                is opened anew for each line, so it may be moved away at any time. ``None``: standard output.

        Raises:
            OSError: It cannot be written.
        """
        self._path = None if path is None else Path(path)
        self._is_failing = False
        if self._path is not None:
            self._append(b"")

    def __repr__(self) -> str:
        return f"<AuditLog {'on standard output' if self._path is None else repr(str(self._path))}>"

    def note(self, entry: Audited) -> None:
        """Write an entry; an error is logged once, until a line can be written again."""
        line = _wire.encode_plain(_line(entry)) + b"\n"
        try:
            if self._path is None:
                sys.stdout.write(line.decode())
                sys.stdout.flush()
            else:
                self._append(line)
        except OSError as error:
            if not self._is_failing:
                self._is_failing = True
                # Without the traceback, which adds nothing. With the entry, which would be lost.
                _logger.error("%r cannot be written: %s: %s", self, error, line.decode().strip())  # noqa: TRY400
            return
        self._is_failing = False

    def _append(self, line: bytes) -> None:
        assert self._path is not None  # noqa: S101  # for the type checker
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)  # one call: lines of several processes are not mixed
        finally:
            os.close(descriptor)


def _line(entry: Audited) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "action": entry.action,
        "by": entry.by.value,
        "object": entry.object,
        "id": entry.id or None,
        "owner": entry.owner or None,
        "counts": dict(entry.counts),
        "request_id": _request.get(),
    }
