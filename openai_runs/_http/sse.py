"""Server-sent events, read and written by the rules of WHATWG's HTML standard, section 9.2.6. No I/O, no JSON.

Client, server, backends and relay use it. Reading deviates from the standard twice. The end of the input ends an event,
as a blank line does: the API's documented streams end without the blank line, and the standard would drop their last
event. An event whose data is empty is left out, while the standard leaves out only those without a data field: proxies
send such events as keep-alives, and empty data is not JSON.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from openai_runs.errors import ProtocolError

#: An event's name, ``message`` if the stream has none, and its data, of which several lines are joined by newlines.
Frame: TypeAlias = tuple[bytes, bytes]

#: Headers of an event-stream response; the second and third keep proxies from buffering it.
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # read by nginx and others
}
#: The last event of the API's streams. Its data is not JSON.
DONE: Final = b"event: done\ndata: [DONE]\n\n"
#: A comment that keeps the connection open. Without a blank line: some clients would take that for an event, and an
#: event without data for the end of the stream.
KEEP_ALIVE: Final = b": keep-alive\n"


def frame(name: str | None, data: bytes) -> bytes:
    """Encode an event.

    Args:
        name: The event's name; ``None`` for the standard's default, ``message``.
        data: A single line, such as JSON.
    """
    return b"data: %b\n\n" % data if name is None else b"event: %b\ndata: %b\n\n" % (name.encode(), data)


_BOM: Final = b"\xef\xbb\xbf"
_CR: Final = ord("\r")  # `in` is faster with a number than with bytes

#: Bytes that one event may have: several times the API's largest, which holds tool outputs of 512 kB.
_MAX_EVENT_BYTES: Final = 16 * 1024 * 1024

#: Matches events of the most common form, one by one. The first event of another form is matched together with all that
#: follows it, with empty groups.
_COMMON_EVENTS: Final = re.compile(rb"event: (.+)\ndata: (.+)\n\n|(?s:.+)")
#: The same for events without a name, as most model endpoints send them.
_UNNAMED_EVENTS: Final = re.compile(rb"data: (.+)\n\n|(?s:.+)")


class Decoder:
    """Decodes a stream from chunks of any size, cut anywhere.

    Args:
        most: Bytes that one event, and so one line, may have.
    """

    def __init__(self, most: int = _MAX_EVENT_BYTES) -> None:
        self._most = most
        self._is_between_events = False  # the buffer is empty, and the next byte begins an event
        self._bom_checked = False
        self._after_cr = False
        self._buffer = bytearray()  # an incomplete event

    def feed(self, chunk: bytes) -> list[Frame]:
        """Decode a chunk, and return the events that it completes. Raises what `completed` does."""
        return self.frames(self.completed(chunk))

    def completed(self, chunk: bytes) -> bytes:
        r"""The text of the events that a chunk completes, with \n as line ends.

        Raises:
            ProtocolError: An event is larger than the limit. Nothing more can be decoded.
        """
        if not self._is_between_events or _CR in chunk or not chunk.endswith(b"\n\n"):
            chunk = self._complete_events(chunk)
        if len(chunk) > self._most:
            for block in chunk.split(b"\n\n"):
                self._check_size(block)
        return chunk

    def frames(self, text: bytes) -> list[Frame]:
        """The events in a text of `completed`."""
        if text.startswith(b"data: "):
            if b"\n" not in (only := text[6:-2]) and only:  # one event, as a model's tokens come
                return [(b"message", only)]
            data = _UNNAMED_EVENTS.findall(text)
            return [(b"message", each) for each in data] if data[-1] else self._parse_lines(text)
        frames = _COMMON_EVENTS.findall(text)
        if frames and not frames[-1][1]:
            return self._parse_lines(text)
        return frames

    def end(self) -> list[Frame]:
        """Return the last event, which the end of the input completes."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return self._parse_lines(rest + b"\n\n")

    def _parse_lines(self, text: bytes) -> list[Frame]:
        """Parse complete events of any form, line by line."""
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
            # Any other field is ignored: the API uses neither IDs nor retry times. So are comments, which are fields
            # without a name.
        return frames

    def _complete_events(self, chunk: bytes) -> bytes:
        r"""Add a chunk to the buffer, take the complete events out of it, and return them with \n as line ends."""
        if not self._bom_checked:
            chunk = self._without_bom(chunk)
        if self._after_cr or _CR in chunk:
            chunk = self._normalize_newlines(chunk)
        buffer = self._buffer
        searched = max(len(buffer) - 1, 0)  # its last byte may be the first newline of a blank line
        buffer += chunk
        end = found + 2 if (found := buffer.rfind(b"\n\n", searched)) >= 0 else 0
        complete = bytes(buffer[:end])
        del buffer[:end]
        self._check_size(buffer)
        self._is_between_events = self._bom_checked and not self._after_cr and not buffer
        return complete

    def _without_bom(self, chunk: bytes) -> bytes:
        self._buffer += chunk
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return b""  # may be the beginning of a byte order mark
        self._bom_checked = True
        chunk = bytes(self._buffer).removeprefix(_BOM)
        self._buffer.clear()
        return chunk

    def _normalize_newlines(self, chunk: bytes) -> bytes:
        r"""Replace CR and CRLF by \n, also a CRLF that is cut in two."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = self._after_cr or chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check_size(self, block: bytes | bytearray) -> None:
        # Newlines at its ends do not count: they may belong to blank lines that are cut in two.
        if len(block) > self._most and len(block.strip(b"\n")) > self._most:
            raise ProtocolError(f"an event of the stream, or a line in it, has more than {self._most} bytes")
