"""`PlainResponse`: the usual response, an object of the API as JSON, whose head and body are bytes from the start.

aiohttp's own makes a mapping of the headers, completes it, passes it to all who may change it, and writes it letter by
letter: that took longer than all that the engine does for a poll.
"""

from collections.abc import Mapping
from email.utils import formatdate
from time import perf_counter, time
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

from openai_runs._wire.idempotency import SUPPORTED
from openai_runs._wire.paths import RUN_CHANGES_SUPPORTED
from openai_runs.engine.ids import random_bytes

NAME: Final = "openai_runs"
#: The headers that are the same in all responses but those of the model's endpoint.
OWN_HEADERS: Final[Mapping[str, str]] = {
    "Server": NAME,
    "openai-version": "2020-10-01",
    SUPPORTED: "true",
    RUN_CHANGES_SUPPORTED: "true",
}
_JSON: Final = {"Content-Type": "application/json"}
_START: Final = "HTTP/1.1 200 OK\r\n" + "".join(
    f"{name}: {value}\r\n" for name, value in {**OWN_HEADERS, **_JSON}.items()
)


class PlainResponse(web.StreamResponse):
    """A response with status 200 to a request of HTTP/1.1, on a connection that stays open."""

    keep_alive = True

    def __init__(self, text: bytes, request_id: str, started: float, more: Mapping[str, str]) -> None:
        """Make a response.

        Args:
            text: JSON.
            request_id: From `new_request_id`.
            started: When the request came, on the clock of `time.perf_counter`.
            more: Headers that not all responses have; their values are the server's own, and need not be checked.
        """
        super().__init__()
        self._more = {
            **more,
            "x-request-id": request_id,
            "openai-processing-ms": processing_ms(started),
            "Content-Length": str(len(text)),
            "Date": _date(),
        }
        self._bytes = (
            _START + "".join([f"{name}: {value}\r\n" for name, value in self._more.items()]) + "\r\n"
        ).encode()
        self._bytes += text

    @property
    def headers(self) -> Any:
        """What was told; nobody can change it any more."""
        return CIMultiDictProxy(CIMultiDict({**OWN_HEADERS, **_JSON, **self._more}))

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Nothing is sent before the end."""
        self._writer = request.writer
        return self._writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Send it."""
        await self._writer.write_eof(self._bytes + data)


def new_request_id() -> str:
    """The ID of a request, by which the log has its details."""
    return f"req_{random_bytes()[:16].hex()}"


def processing_ms(started: float) -> str:
    """How long a request has taken so far: the value of ``openai-processing-ms``."""
    return str(round((perf_counter() - started) * 1000))


_second, _shown = 0, ""


def _date() -> str:
    """The value of ``Date``, made once a second."""
    global _second, _shown  # the time is everybody's
    if (now := int(time())) != _second:
        _second, _shown = now, formatdate(now, usegmt=True)
    return _shown
