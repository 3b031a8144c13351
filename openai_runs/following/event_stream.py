"""`EventStream`: reads one stream of a run from open to close; bytes become frames, and each frame a model."""

import math
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import anyio

from openai_runs import _wire
from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.sse import Decoder, Frame
from openai_runs.errors import ProtocolError
from openai_runs.events import UnknownEvent
from openai_runs.following.follower import Follower
from openai_runs.following.text_deltas import MESSAGE_DELTA, Pieces, TextDeltas
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message, MessageStatus
from openai_runs.models.model import Model
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.models.thread import Thread

ModelT = TypeVar("ModelT", bound=Model)

#: The model of each event's data; ``error`` and ``done`` have none.
_MODELS: Final[dict[bytes, type[Model]]] = {
    b"thread.created": Thread,
    **{f"thread.run.{suffix}".encode(): Run for suffix in ("created", *RunStatus)},
    **{f"thread.run.step.{suffix}".encode(): RunStep for suffix in ("created", *RunStepStatus)},
    b"thread.run.step.delta": RunStepDelta,
    **{f"thread.message.{suffix}".encode(): Message for suffix in ("created", *MessageStatus)},
    MESSAGE_DELTA: MessageDelta,
}

#: How much of a stream is read before what comes next, so that the form of its text deltas is known by then.
_FIRST_BYTES: Final = 4096
#: Seconds to wait for the end of the response after its last event; a fully read response frees its connection.
_DRAIN_TIMEOUT: Final = 0.1
#: Seconds to wait for ``done`` once the run requires action or has ended: some endpoints leave it out, or never close.
_DONE_TIMEOUT: Final = 1.0


class EventStream:
    """One stream of a run, read from open to close."""

    def __init__(self, stream: ByteStream) -> None:
        self.done: bool = False  #: whether the ``done`` event has come
        self.strict: Final = stream.strict  #: how to read models; see `_wire.load`
        self._stream = stream
        self._read = stream.read
        self._decoder = Decoder()
        self.texts: Final = TextDeltas()  #: reads the most frequent events
        self._has_ended = False
        self._closes_at = math.inf
        self._text = b""  # of events that have come and are not frames yet
        self._frames: list[Frame | Pieces] = []
        self._frames_before = 0  # how many came in earlier chunks

    @property
    def end_reason(self) -> str:
        """Why the stream ended, if the run has not."""
        return self._stream.lost or "the stream ended before the run did"

    async def next_frames(self, follower: Follower) -> list[Frame | Pieces] | None:
        """The frames that the next chunk of bytes completes, perhaps none; ``None`` at the end of the stream.

        `Pieces` stand for those that add to one text.
        """
        if self.done or self._has_ended:
            await self._drain_and_close()
            return None
        self._frames_before += _count(self._frames)
        if not self._text:
            # Few layers: this is done for each piece of text that a model writes.
            rounds = follower.rounds
            is_over = rounds.pending_action is not None or rounds.has_ended
            until = self._done_by() if is_over else follower.reads_until
            read = self._read() if until == math.inf else self._read_until(until, None if is_over else follower)
            if not (chunk := await read):
                self._has_ended = True
                # A truncated last frame means that the connection broke, not that the server sent invalid JSON.
                self._frames = [_named(frame) for frame in self._decoder.end() if _is_complete(frame)]
                return self._frames
            self._text = self._decoder.completed(chunk)
        self._frames = self._take_frames()
        if not self._frames:  # only a keep-alive: the run may still be queued
            follower.check_queued()
        return self._frames

    def _take_frames(self) -> list[Frame | Pieces]:
        """The frames of the text, or of its beginning, if what comes later can be learned from that."""
        text, self._text = self._text, b""
        if self.texts.is_learning and (end := text.find(b"\n\n", _FIRST_BYTES)) >= 0:
            text, self._text = text[: end + 2], text[end + 2 :]
        frames: list[Frame | Pieces] = []
        for part in self.texts.parts(text):
            if isinstance(part, Pieces):
                frames.append(part)
            else:
                frames += [_named(frame) if frame[0] == b"message" else frame for frame in self._decoder.frames(part)]
        return frames

    def _done_by(self) -> float:
        """Until when to wait for ``done``, from the first wait on."""
        if self._closes_at == math.inf:
            self._closes_at = anyio.current_time() + _DONE_TIMEOUT
        return self._closes_at

    async def _read_until(self, until: float, follower: Follower | None) -> bytes:
        """The next bytes; none at the end of the stream, or when the time is over.

        Args:
            until: When it is.
            follower: Checks what that means for the run, if the run is not over.
        """
        with anyio.move_on_at(until):
            return await self._read()
        if follower is not None:
            follower.check_time()
        # Nothing more is to come, or nothing at all came: then polling finds out about the run.
        self._stream.lost = self._stream.lost or "no event came for too long"
        return b""

    async def _drain_and_close(self) -> None:
        with anyio.move_on_after(_DRAIN_TIMEOUT):
            while not self._has_ended:
                self._has_ended = not await self._read()
        self.close()

    def close(self) -> None:
        """Close the connection, unless the response is complete."""
        self._stream.close()

    def load(self, frame: Frame, model: type[ModelT]) -> ModelT:
        """The data of a frame, as the given model."""
        payload: ModelT | None
        try:
            payload = _wire.load(frame[1], model, strict=self.strict)
        except ProtocolError:
            payload = None
        if payload is None:  # outside the `except` block, whose error has the unredacted data
            self._raise_if_error(frame, _json_or_text(frame[1]))
            before = self._frames[: self._frames.index(frame)]
            number, reader = self._frames_before + _count(before) + 1, self._stream.reader
            what = f"event {number} of the stream, {reader.secrets.snippet(frame[0])}"
            raise reader.misfit(frame[1], model, what)
        if payload.extra:
            self._raise_if_error(frame, payload.extra)
        return payload

    def payload(self, frame: Frame) -> Model | UnknownEvent | None:
        """The data of a frame of any kind; ``None`` for ``done``."""
        name, data = frame
        if name == b"done" or data.startswith(b"[DONE]"):
            self.done = True
            return None
        if model := _MODELS.get(name):
            return self.load(frame, model)
        raw = _json_or_text(data)
        self._raise_if_error(frame, raw)
        return UnknownEvent(name.decode(errors="replace"), raw)

    def _raise_if_error(self, frame: Frame, raw: Any) -> None:
        """Raise a `ResponseError` if the event is named ``error`` or has an ``error`` key."""
        if frame[0] == b"error" or (isinstance(raw, Mapping) and raw.get("error")):
            raise self._stream.refusal(frame[1])


def _count(frames: list[Frame | Pieces]) -> int:
    """How many events these are."""
    return sum(len(each.values) if isinstance(each, Pieces) else 1 for each in frames)


def _json_or_text(data: bytes) -> Any:
    try:
        return _wire.decode(data)
    except ProtocolError:  # the data of an unknown event need not be JSON
        return data.decode(errors="replace")


def _named(frame: Frame) -> Frame:
    """The event in the data of an event without a name, as Astra Assistants sends them; other events as they are."""
    if frame[0] != b"message":
        return frame
    match _json_or_text(frame[1]):
        case {"event": str(name), "data": data}:
            return name.encode(errors="replace"), _wire.encode_plain(data)
    return frame


def _is_complete(frame: Frame) -> bool:
    name, data = frame
    try:
        _wire.decode(data)
    except ProtocolError:
        return name == b"done" or data.startswith(b"[DONE]")
    return True
