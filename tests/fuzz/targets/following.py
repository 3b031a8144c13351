"""Event streams of runs, as a client follows them, from a server that may be hostile."""

from collections.abc import Iterator
from random import Random
from typing import Any, Final
from zlib import crc32

import anyio
from yarl import URL

from openai_runs import _wire
from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader
from openai_runs.errors import OpenAIRunsError, ProtocolError, ResponseError
from openai_runs.events import UnknownEvent
from openai_runs.following.event_stream import EventStream
from openai_runs.following.follower import Follower
from openai_runs.following.run_requests import RunRequests
from openai_runs.following.text_deltas import MESSAGE_DELTA, Pieces
from openai_runs.following.transcript import Transcript
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message
from openai_runs.models.model import Model
from openai_runs.models.run_step import RunStep
from openai_runs.session import Session
from tests._http.sse_by_the_book import cut
from tests.fuzz.seeds import event_streams
from tests.fuzz.target import Target

_URL: Final = URL("http://localhost/v1")


class _Response:
    """What is looked at of a response, with its body in pieces."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.content = self.request_info = self
        self.headers: dict[str, str] = {}
        self._chunks: Iterator[bytes] = iter([*filter(None, chunks), b""])

    async def readany(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        pass


def events(data: bytes) -> None:
    """Any stream is events, and ends with an error of the library's or without one, however it is cut.

    An error is what the server sent, as an error event, or a `ProtocolError`. Messages and steps merge whatever the
    deltas are, or say that they do not fit; what has merged can be dumped and loaded.
    """
    anyio.run(_follow, data)


async def _follow(data: bytes) -> None:
    random = Random(crc32(data))
    told, problem = await _read([data])
    assert (told, problem) == await _read(cut(data, [random.randrange(len(data) + 1) for _ in range(4)]))
    strictly, _ = await _read([data], strict=True)
    assert strictly == told[: len(strictly)]
    _merge(told)


async def _read(chunks: list[bytes], *, strict: bool = False) -> tuple[list[Any], str]:
    """The events of a stream, and the error that ended it."""
    response: Any = _Response(chunks)
    stream = EventStream(ByteStream(response, Reader(str(_URL), Secrets(), strict=strict), _URL, 0.0))
    follower = Follower(RunRequests(Session(str(_URL))._transport, "the run"), None)
    told: list[Any] = []
    try:
        while (frames := await stream.next_frames(follower)) is not None:
            for frame in frames:
                if isinstance(frame, Pieces):
                    told += map(frame.place.delta, frame.values)
                    continue
                if frame[0] == MESSAGE_DELTA and (text := stream.texts.read(frame[1])) is not None:
                    told.append(text[0].delta(text[1]))
                    continue
                told.append(stream.payload(frame))
                if stream.done:
                    return told, ""
                assert isinstance(told[-1], Model | UnknownEvent)
    except (ProtocolError, ResponseError) as error:
        return told, str(error)
    return told, ""


def _merge(told: list[Any]) -> None:
    transcript = Transcript()
    for event in told:
        match event:
            case Message():
                transcript.change_message(event, "")
            case MessageDelta():
                transcript.add_message_delta(event)
            case RunStep():
                transcript.change_step(event, "")
            case RunStepDelta():
                transcript.add_step_delta(event)
    try:
        merged = (*transcript.messages, *transcript.steps)
    except OpenAIRunsError:
        return
    for model in merged:
        assert _wire.load(_wire.dump(model), type(model), strict=False) == model
        _wire.encode(model)


TARGETS = (Target("events", events, event_streams),)
