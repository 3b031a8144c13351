"""What comes over HTTP: event streams, responses, and the delays that they ask for."""

import json
import math
from collections.abc import Iterator
from random import Random
from typing import Final
from zlib import crc32

from multidict import CIMultiDict
from yarl import URL

from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader, Response
from openai_runs._http.retries import is_outage, is_transient, may_be_done, poll_hint, server_delay
from openai_runs._http.sse import Decoder, frame
from openai_runs.errors import ProtocolError, ResponseError, TransportError, response_error_class
from openai_runs.following.polling import Polling
from tests._http.sse_by_the_book import by_the_book, cut, frames_of
from tests.fuzz.seeds import event_streams, line, objects
from tests.fuzz.target import Target, chosen
from tests.samples import EXAMPLES, MODELS

_LIMIT: Final = 64  # bytes of an event; so small that inputs reach it


def sse(data: bytes) -> None:
    """Any bytes are decoded as the standard says, however they are cut.

    What was decoded, written again, is decoded alike. With a limit, all cuts are refused or none is, and what comes out
    is a beginning of what comes out without it.
    """
    random = Random(crc32(data))
    cuts = [[data], cut(data, [random.randrange(len(data) + 1) for _ in range(5)])]
    cuts.append([*(data[at : at + 1] for at in range(min(len(data), 100))), data[100:]])
    frames = by_the_book(data)
    for chunks in cuts:
        assert frames_of(*chunks) == frames
    lines = [(name, text) for name, text in frames if b"\n" not in text and _is_text(name)]
    assert frames_of(b"".join(frame(name.decode(), text) for name, text in lines)) == lines
    outcomes = [_limited(chunks) for chunks in cuts]
    assert len({is_refused for _, is_refused in outcomes}) == 1
    for decoded, is_refused in outcomes:
        assert decoded == (frames[: len(decoded)] if is_refused else frames)


def _is_text(name: bytes) -> bool:
    return name == name.decode(errors="ignore").encode()


def _limited(chunks: list[bytes]) -> tuple[list[tuple[bytes, bytes]], bool]:
    decoder, decoded = Decoder(_LIMIT), []
    try:
        for chunk in chunks:
            decoded += decoder.feed(chunk)
        return decoded + decoder.end(), False
    except ProtocolError:
        return decoded, True


_KEY: Final = "sk-fuzz-0123/456789+ab"
_BASE: Final = "https://example.org/v1"
_URL: Final = URL(f"{_BASE}/threads/thread_1/runs")


def answers(data: bytes) -> None:
    """A response is a model, or an error of its status; the error is short, says what it knows, and hides the key.

    A success is a model, a `ProtocolError`, or, cut off, a `TransportError`; anything else a `ResponseError` of the
    status's class. Whether to repeat the request, and when, is known for each of them. The same for an error event.
    """
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode(errors="surrogateescape").split("\n")  # as aiohttp reads headers
    words = [*first.split(" "), "", "", ""]
    status = int(words[0]) % 500 + 100 if words[0].isascii() and words[0].isdigit() and len(words[0]) < 9 else 200
    method = "GET" if words[1] == "GET" else "POST"
    _, into = chosen(words[2].encode(errors="replace"), MODELS)
    headers = CIMultiDict((name, value.strip()) for name, colon, value in (x.partition(":") for x in lines) if colon)
    for strict in (True, False):
        reader = Reader(_BASE, Secrets({"Authorization": f"Bearer {_KEY}"}), strict=strict)
        try:
            reader.model(Response(status, headers, body, {"X-Api-Key": _KEY}), into, method, _URL)
            assert 200 <= status < 300
            continue
        except ResponseError as error:
            assert not 200 <= status < 300
            assert (error.status, error.body is not None) == (status, True)
            assert isinstance(error, response_error_class(status))
            _check_error(error)
        except (ProtocolError, TransportError) as error:
            assert 200 <= status < 300
            _check_error(error)
        _check_error(reader.refusal_in_stream(_URL, headers, body))


def _check_error(error: ResponseError | ProtocolError | TransportError) -> None:
    assert not Secrets({"Authorization": _KEY}).is_in(error), "an error shows the key"
    assert 0 < len(str(error)) < 10_000
    is_transient(error)
    is_outage(error)
    may_be_done(error)
    delay = server_delay(error)
    assert delay is None or 0 <= delay < math.inf


def delays(data: bytes) -> None:
    """Whatever a server asks for, the delay is a finite number of seconds or none, and the next poll has its bounds."""
    lines = data.decode(errors="surrogateescape").split("\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    error = ResponseError("no", status=429, headers=headers, body="")
    delay = server_delay(error)
    assert delay is None or 0 <= delay < math.inf
    assert is_transient(error) in (True, False)
    hint = poll_hint(headers)
    assert hint is None or 0 < hint < math.inf
    polling = Polling()
    assert polling.first * 0.01 <= polling.delay(3, hint) <= 3600


def _stream_seeds() -> Iterator[bytes]:
    yield from event_streams()
    for end in (b"\r\n", b"\r"):
        yield b"\xef\xbb\xbfevent: a\ndata: 1\n\ndata: 2\ndata\n\n: hm\n\n".replace(b"\n", end)


def _answer_seeds() -> Iterator[bytes]:
    for schema, body in objects():
        yield f"200 POST {schema}\nContent-Type: application/json\n\n{line(body)}".encode()
    for error in json.loads((EXAMPLES / "errors-observed.json").read_text())["errors"]:
        status = error["status"] if isinstance(error["status"], int) else 500
        yield f"{status} POST\nX-Request-ID: req_1\nRetry-After: 1\n\n{line(error['body'])}".encode()
    for status in (204, 301, 401, 404, 404, 429, 500, 503):
        yield f"{status} POST ThreadObject\nLocation: {_KEY}\nX-Should-Retry: true\n\n<html>{_KEY}</html>".encode()
    yield f'200 POST\nContent-Type: {_KEY}\nContent-Length: 999\n\n{{"id": "{_KEY}"'.encode()
    yield b'404 GET\n\n{"error": "not found"}'
    yield b'404 GET\n\n{"title": "Not Found", "detail": "x"}'


def _delay_seeds() -> Iterator[bytes]:
    for text in ("1", "0.5", "-1", "nan", "1e400", "Wed, 21 Oct 2026 07:28:00 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"):
        yield f"retry-after: {text}".encode()
        yield f"retry-after-ms: {text}\nretry-after: {text}\nx-should-retry: true".encode()
        yield f"openai-poll-after-ms: {text}".encode()


TARGETS = (
    Target("sse", sse, _stream_seeds),
    Target("answers", answers, _answer_seeds),
    Target("delays", delays, _delay_seeds),
)
