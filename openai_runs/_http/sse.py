"""Server-sent events, read and written by the rules of WHATWG's HTML standard, section 9.2.6. No I/O, no JSON.

Client, server, backends and relay use it. Reading deviates from the standard twice. The end of the input ends an event,
as a blank line does: the API's documented streams end without the blank line, and the standard would drop their last
event. An event with empty data is left out, which the standard does only if it has no data at all: it is a proxy's sign
of life, and no JSON.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from openai_runs.errors import ProtocolError

#: An event's name, ``message`` if the stream gives none, and its data; several lines of it are joined by newlines.
Frame: TypeAlias = tuple[bytes, bytes]

#: Headers of a response with events; the second and third keep proxies from collecting them.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx, and what learnt from it
}
#: Ends a stream of the API's. Its data is no JSON.
DONE: Final = b"event: done\ndata: [DONE]\n\n"
#: A sign of life that is no event. No blank line follows: there are clients that take one for an event, and an event
#: without data for the end.
KEEP_ALIVE: Final = b": keep-alive\n"


def frame(name: str | None, data: bytes) -> bytes:
    """Put an event in its form on the wire.

    Args:
        name: What kind of event it is; ``None`` for the standard's ``message``.
        data: One line, as JSON is.
    """
    return b"data: %b\n\n" % data if name is None else b"event: %b\ndata: %b\n\n" % (name.encode(), data)


_BOM: Final = b"\xef\xbb\xbf"
_CR: Final = ord("\r")  # looking for a number is faster than for a string

#: Bytes that one event may have. The largest that the API sends holds a tool's outputs of 512 kB, several times over.
_MOST: Final = 16 * 1024 * 1024

#: The shape of nearly every event. From the first other one on, all the rest is one match, with nothing in its groups.
_USUAL: Final = re.compile(rb"event: (.+)\ndata: (.+)\n\n|(?s:.+)")


class Decoder:
    """Takes a stream in pieces of any size, cut anywhere.

    Args:
        most: Bytes that one event, and so one line, may have.

    Attributes:
        last_id: The latest event ID, which the API does not send; empty if there was none.
        retry: Milliseconds that the server wants a client to wait before it connects again, if it said so.
    """

    def __init__(self, most: int = _MOST) -> None:
        self.last_id = ""
        self.retry: int | None = None
        self._most = most
        self._is_between = False  # two events: nothing is kept that the next bytes could change
        self._begun = False
        self._after_cr = False
        self._rest = bytearray()  # what has come of an event that has not ended

    def feed(self, chunk: bytes) -> list[Frame]:
        """The events that end in these bytes.

        Raises:
            ProtocolError: An event is larger than the limit. Nothing more can be decoded.
        """
        if not self._is_between or _CR in chunk or not chunk.endswith(b"\n\n"):
            chunk = self._whole_events(chunk)
        if len(chunk) > self._most:
            for block in chunk.split(b"\n\n"):
                self._check(block)
        frames = _USUAL.findall(chunk)
        if frames and not frames[-1][1]:
            return self._read(chunk)
        return frames

    def end(self) -> list[Frame]:
        """The input has ended, and with it the event that has not."""
        rest = bytes(self._rest)
        self._rest.clear()
        return self._read(rest + b"\n\n")

    def _read(self, text: bytes) -> list[Frame]:
        """Events of any shape, line by line; blank lines end them."""
        frames: list[Frame] = []
        name, data = b"", list[bytes]()
        for line in text.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                if joined := b"\n".join(data):
                    frames.append((name or b"message", joined))
                name, data = b"", []
            elif field == b"data":
                data.append(value)
            elif field == b"event":
                name = value
            elif field == b"id" and b"\0" not in value:
                self.last_id = value.decode(errors="replace")
            elif field == b"retry" and value.isdigit():
                self.retry = int(value[:18])
            # Any other field is ignored; a comment is one without a name.
        return frames

    def _whole_events(self, chunk: bytes) -> bytes:
        """What has come, with plain newlines, to the end of the last event that is whole; the rest is kept."""
        if not self._begun:
            chunk = self._without_bom(chunk)
        if self._after_cr or _CR in chunk:
            chunk = self._with_plain_newlines(chunk)
        rest = self._rest
        searched = max(len(rest) - 1, 0)  # the first newline of a blank line may have been the last byte
        rest += chunk
        end = found + 2 if (found := rest.rfind(b"\n\n", searched)) >= 0 else 0
        whole = bytes(rest[:end])
        del rest[:end]
        self._check(rest)
        self._is_between = self._begun and not self._after_cr and not rest
        return whole

    def _without_bom(self, chunk: bytes) -> bytes:
        self._rest += chunk
        if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
            return b""  # it may still become one
        self._begun = True
        chunk = bytes(self._rest).removeprefix(_BOM)
        self._rest.clear()
        return chunk

    def _with_plain_newlines(self, chunk: bytes) -> bytes:
        """Make newlines of CR and CRLF, also of a CRLF that is cut in two."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check(self, block: bytes | bytearray) -> None:
        # Newlines at its ends may be of blank lines that are cut in two.
        if len(block) > self._most and len(block.strip(b"\n")) > self._most:
            raise ProtocolError(f"an event of the stream, or a line in it, has more than {self._most} bytes")
