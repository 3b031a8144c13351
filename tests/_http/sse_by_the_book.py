"""Decoding of server-sent events, as slowly as the standard describes it, and streams that are cut anywhere."""

import re

from openai_runs._http.sse import Decoder


def frames_of(*chunks, most=None):
    decoder = Decoder() if most is None else Decoder(most)
    return [frame for chunk in chunks for frame in decoder.feed(chunk)] + decoder.end()


def by_the_book(stream):
    """A slow, literal implementation of the standard, with the two deviations that the module names."""
    frames, name, data = [], b"", []
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in [*lines, b""]:
        if line == b"":
            if b"\n".join(data):
                frames.append((name or b"message", b"\n".join(data)))
            name, data = b"", []
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if field == b"event":
                name = value
            if field == b"data":
                data.append(value)
    return frames


def cut(stream, places):
    places = sorted({place % (len(stream) + 1) for place in places})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
