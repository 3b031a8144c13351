"""The decoder follows the standard, however the bytes are cut, and accepts any bytes."""

import json
import random
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openai_runs._http.sse import Decoder
from openai_runs.errors import ProtocolError
from tests._http.sse_by_the_book import by_the_book, cut, frames_of
from tests.samples import EXAMPLES


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b"event: a\ndata: 1\n\n", [(b"a", b"1")]),
        (b"data: 1\n\n", [(b"message", b"1")]),
        (b"event:a\ndata:1\n\n", [(b"a", b"1")]),
        (b"event:  a\ndata:  1\n\n", [(b" a", b" 1")]),
        (b"data: 1\nevent: a\n\n", [(b"a", b"1")]),
        (b"event: a\nevent: b\ndata: 1\n\n", [(b"b", b"1")]),
        (b"event: a\nevent\ndata: 1\n\n", [(b"message", b"1")]),
        (b"event: a\ndata: 1\ndata: 2\ndata\ndata: 3\n\n", [(b"a", b"1\n2\n\n3")]),
        (b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [(b"a", b"1"), (b"message", b"2")]),
        (b"event: a\rdata: 1\r\rdata: 2\r\r", [(b"a", b"1"), (b"message", b"2")]),
        (b"event: a\ndata: 1\n\r\ndata: 2\r\n\n", [(b"a", b"1"), (b"message", b"2")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [(b"message", b"1")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\n", []),
        (b": a comment\ndata: 1\n:\n\n: heartbeat\n\n", [(b"message", b"1")]),
        (b"something: else\n data: 0\ndata: 1\n\n", [(b"message", b"1")]),
        (b"event: a\n\ndata: 1\n\n", [(b"message", b"1")]),
        (b"retry: 3000\n\ndata\n\ndata:\n\ndata: 1\n\n", [(b"message", b"1")]),
        (b"event: a\ndata: 1\n\n\n\n\nevent: b\ndata: 2\n\n", [(b"a", b"1"), (b"b", b"2")]),
        (b"data: 1\n\ndata: 2\n\n", [(b"message", b"1"), (b"message", b"2")]),
        (b"data: 1\n\nevent: b\ndata: 2\n\n", [(b"message", b"1"), (b"b", b"2")]),
        (b"data: 1\nevent: a\n\ndata: 2\n\n", [(b"a", b"1"), (b"message", b"2")]),
        (b"event: a\ndata: 1", [(b"a", b"1")]),
        (b"event: a\ndata: 1\n", [(b"a", b"1")]),
        (b"event: done\ndata: [DONE]\n", [(b"done", b"[DONE]")]),
        (b"\xef\xbb", []),
    ],
)
def test_rules(stream, frames):
    """Line ends, byte order mark, comments, fields with and without spaces, several data lines, a missing end."""
    assert frames_of(stream) == frames == by_the_book(stream)
    assert frames_of(*(bytes([byte]) for byte in stream)) == frames


def test_id_and_retry():
    """Event IDs and retry times, which the API does not use, are ignored, whether or not they are valid."""
    decoder = Decoder()
    assert decoder.feed(b"id: 7\nretry: 250\nevent: a\ndata: 1\n\nid: x\0y\nretry: soon\ndata: 2\n\n") == [
        (b"a", b"1"),
        (b"message", b"2"),
    ]
    assert decoder.feed(b"id\nretry: " + b"9" * 10_000 + b"\n\n") == []


_lines = st.sampled_from(
    [b"event: a", b"event: thread.message.delta", b"event:", b'data: {"a": 1}', b"data: x", b"data", b"data:", b": hm"]
) | st.binary(max_size=6)
_ends = st.sampled_from([b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\r\r"])
_usual = st.sampled_from([b"event: a\ndata: 1\n\n", b'event: thread.run.queued\ndata: {"id": "run_1"}\n\n'])
_streams = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"]),
    st.lists(_usual | st.tuples(_lines, _ends).map(b"".join), max_size=20).map(b"".join),
).map(b"".join)


@given(_streams, st.lists(st.integers(0, 1000), max_size=12))
@example(b"data: 1\r\n\r\ndata: 2", [8])
@example(b"data: 1\r\r\n\ndata: 2", [8, 9])
def test_any_cut(stream, places):
    """Any stream, cut anywhere, is decoded as by the slow implementation; so the fast path agrees with it."""
    assert frames_of(*cut(stream, places)) == frames_of(stream) == by_the_book(stream)


@given(st.lists(st.binary(max_size=300)))
def test_any_bytes(chunks):
    """Any bytes are decoded as by the slow implementation."""
    assert frames_of(*chunks) == by_the_book(b"".join(chunks))


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("sse*/*.sse")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
@given(data=st.data())
def test_documented_streams(path, data):
    """The five documented streams are decoded, verbatim and repaired; all data of the repaired ones is JSON."""
    stream = path.read_bytes()
    frames = frames_of(*cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=8))))
    assert frames == by_the_book(stream)
    assert frames[-1] == (b"done", b"[DONE]")
    if path.parent.name == "sse":
        assert all(json.loads(data)["id"] for name, data in frames[:-1])


@pytest.mark.unmeasured
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_ten_megabytes_of_noise(size):
    """Random bytes give events or an error, and the buffer stays within the limit."""
    noise = random.Random(size).randbytes(min(10 << 20, size << 15))  # of the small pieces, as many as are quick
    decoder = Decoder(64 << 10)
    tracemalloc.start()
    try:
        for start in range(0, len(noise), size):
            decoder.feed(noise[start : start + size])
        decoder.end()
        assert tracemalloc.get_traced_memory()[1] < 8 * max(size, 1 << 20)
    except ProtocolError:
        pass
    finally:
        tracemalloc.stop()


@pytest.mark.unmeasured
@pytest.mark.parametrize("endless", [b"x" * 1000, b": still here\n", b"data: x\n"])
def test_an_endless_event(endless):
    """A line or event above the size limit is an error, found in linear time."""
    decoder = Decoder(1 << 20)
    for _ in range((1 << 20) // len(endless)):
        assert decoder.feed(endless) == []
    with pytest.raises(ProtocolError, match="more than 1048576 bytes"):
        decoder.feed(endless + b"x")


@given(st.integers(90, 110), st.lists(st.integers(0, 400), max_size=6), st.sampled_from([b"", b"\n", b"\n\n\n"]))
def test_the_limit_and_cuts(size, places, before):
    """Whether an event is too large does not depend on how the bytes are cut."""
    event = b"event: a\ndata: " + b"x" * (size - 15)
    stream = b"data: 1\n\n" + before + event + b"\n\n" + b"data: 2\n\n"

    def outcome(chunks):
        try:
            return frames_of(*chunks, most=100)
        except ProtocolError:
            return "too large"

    assert outcome(cut(stream, places)) == outcome([stream])
    assert (outcome([stream]) == "too large") == (size > 100)
