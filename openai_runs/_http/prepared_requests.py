"""`PreparedRequests`: writes requests from a head that is the same for all of a session. No I/O.

aiohttp builds, checks and writes all headers of each request, and sends a body in a task of its own. Here the head is
made once, from aiohttp's own, and a request with a small body is one piece of bytes. What is not usual is left to
aiohttp, such as uploads, headers of the caller's own, and what would not be a single line.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from attrs import define, field
from multidict import CIMultiDict
from yarl import URL

from openai_runs._wire.idempotency import HEADER
from openai_runs._wire.paths import PREFER

#: What a stream of events is asked for by.
STREAM: Final = "text/event-stream"

_METHODS: Final = frozenset({"GET", "POST", "DELETE"})
#: Bytes of a body that is sent in one piece; a connection takes more without a pause.
_SMALL: Final = 32 * 1024
#: Headers that a request may have beside those of its session.
_OWN: Final = CIMultiDict({"Authorization": "", HEADER: "", PREFER: ""})
#: Headers of a session that say where a message ends, or where it goes: how they are treated is for aiohttp to say.
_NOT_FOR_ALL: Final = frozenset(
    {"connection", "content-encoding", "content-length", "cookie", "expect", "host", "transfer-encoding", "upgrade"}
)


@define(repr=False)
class PreparedRequests:
    """Writes the requests of a session."""

    origin: URL  #: where they go
    session_headers: CIMultiDict[str]  #: sent with all of them
    headers: CIMultiDict[str] = field(init=False)  #: the same, with what aiohttp adds
    _lines: str = field(init=False)  # the same, as they are written
    _stream_lines: str = field(init=False)  # those of a request for a stream
    _place: tuple[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._place = self.origin.scheme, self.origin.raw_authority
        self.headers, self._lines = self._head({})
        _, self._stream_lines = self._head({"Accept": STREAM})

    def _head(self, more: Mapping[str, str]) -> tuple[CIMultiDict[str], str]:
        headers = aiohttp.ClientRequest("GET", self.origin, headers=merged(self.session_headers, more)).headers
        return headers, "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    @property
    def are_usual(self) -> bool:
        """Whether all that the headers of the session say is for the server alone."""
        return not any(name.lower() in _NOT_FOR_ALL for name in self.session_headers)

    def write(self, method: str, url: URL, headers: Mapping[str, str] | None, data: Any) -> bytes | None:
        """All bytes of a request; ``None`` if something about it is not usual.

        Args:
            method: The HTTP method.
            url: Where it goes.
            headers: What it has beside the headers of the session, or in their place.
            data: Its body.
        """
        target, common, own = url.raw_path_qs, self._lines, ""
        if method not in _METHODS or (url.scheme, url.raw_authority) != self._place:
            return None
        # Nothing that could end a line gets into one.
        if not (target.isascii() and target.isprintable()) or " " in target:
            return None
        if headers:
            for name, value in headers.items():
                if name == "Accept" and value == STREAM:
                    common = self._stream_lines
                elif name in _OWN and name not in self.headers and value.isascii() and value.isprintable():
                    own += f"{name}: {value}\r\n"
                else:
                    return None
        if data is None:
            length = "" if method == "GET" else "Content-Length: 0\r\n"
            return f"{method} {target} HTTP/1.1\r\n{common}{own}{length}\r\n".encode()
        if data.__class__ is not bytes or method != "POST" or len(data) > _SMALL:
            return None
        return f"POST {target} HTTP/1.1\r\n{common}{own}Content-Length: {len(data)}\r\n\r\n".encode() + data

    def headers_with(self, headers: Mapping[str, str]) -> CIMultiDict[str]:
        """All headers of a request that has others beside those of the session."""
        return merged(self.headers, headers)


def merged(common: CIMultiDict[str], headers: Mapping[str, str] | None) -> CIMultiDict[str]:
    """The headers of all requests, unless one has others."""
    together = common.copy()
    together.update(headers or {})
    return together
