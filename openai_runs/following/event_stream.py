"""`EventStream`: one stream of a run, from its opening to its end. Bytes become events, one at a time."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import anyio

from openai_runs import _wire
from openai_runs._http.sse import Decoder, Frame
from openai_runs._http.transport import ByteStream
from openai_runs.errors import ProtocolError, snippet
from openai_runs.events import UnknownEvent
from openai_runs.following.follower import Follower
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message, MessageStatus
from openai_runs.models.model import Model
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.models.thread import Thread

ModelT = TypeVar("ModelT", bound=Model)

MESSAGE_DELTA: Final = b"thread.message.delta"

#: The payload of each event but ``error`` and ``done``.
_PAYLOADS: Final[dict[bytes, type[Model]]] = {
    b"thread.created": Thread,
    **{f"thread.run.{word}".encode(): Run for word in ("created", *RunStatus)},
    **{f"thread.run.step.{word}".encode(): RunStep for word in ("created", *RunStepStatus)},
    b"thread.run.step.delta": RunStepDelta,
    **{f"thread.message.{word}".encode(): Message for word in ("created", *MessageStatus)},
    MESSAGE_DELTA: MessageDelta,
}

#: Seconds for the end of an answer to come after its last event: then its connection can be used again.
_LAST_BYTES: Final = 0.1


class EventStream:
    """One stream, from its opening to its end."""

    def __init__(self, stream: ByteStream) -> None:
        self.done: bool = False  #: whether it has said that it is at its end
        self._stream = stream
        self._read = stream.read
        self._decoder = Decoder()
        self._has_ended = False
        self._frames: list[Frame] = []
        self._earlier = 0

    @property
    def lost(self) -> str:
        """Why there is no more of it, unless the run has ended."""
        return self._stream.lost or "the stream ended before the run did"

    async def frames(self, follower: Follower) -> list[Frame] | None:
        """Its next events, as many at a time as come at a time; ``None`` when there are no more."""
        if self.done or self._has_ended:
            await self._close()
            return None
        chunk = await (self._read() if follower.deadline is None else follower.in_time(self._read()))
        self._earlier += len(self._frames)
        if chunk:
            self._frames = self._decoder.feed(chunk)
        else:
            self._has_ended = True
            # An event that breaks off is a broken connection, and no nonsense of the server's.
            self._frames = [frame for frame in self._decoder.end() if _is_whole(frame)]
        if not self._frames:  # a sign of life, and no more
            follower.check_queued()
        return self._frames

    async def _close(self) -> None:
        with anyio.move_on_after(_LAST_BYTES):
            while not self._has_ended:
                self._has_ended = not await self._read()
        self._stream.close()

    def load(self, frame: Frame, kind: type[ModelT]) -> ModelT:
        """The payload of an event of a known kind."""
        try:
            payload = _wire.load(frame[1], kind)
        except ProtocolError as error:
            self._check_error(frame, _parsed(frame[1]))
            number = self._earlier + self._frames.index(frame) + 1
            text = f"event {number} of the stream, {frame[0].decode(errors='replace')}: {error}"
            raise ProtocolError(text, paths=error.paths, body=snippet(frame[1])) from error
        if payload.extra:
            self._check_error(frame, payload.extra)
        return payload

    def payload(self, frame: Frame) -> Model | UnknownEvent | None:
        """The payload of an event of any kind; nothing of the last one."""
        name, data = frame
        if name == b"done" or data.startswith(b"[DONE]"):
            self.done = True
            return None
        if kind := _PAYLOADS.get(name):
            return self.load(frame, kind)
        raw = _parsed(data)
        self._check_error(frame, raw)
        return UnknownEvent(name.decode(errors="replace"), raw)

    def _check_error(self, frame: Frame, raw: Any) -> None:
        """Raise what an event says that it is: by its name, or by an ``error`` in it."""
        if frame[0] == b"error" or (isinstance(raw, Mapping) and raw.get("error")):
            raise self._stream.refusal(frame[1])


def _parsed(data: bytes) -> Any:
    try:
        return _wire.decode(data)
    except ProtocolError:  # an event that we do not know may have any data
        return data.decode(errors="replace")


def _is_whole(frame: Frame) -> bool:
    name, data = frame
    try:
        _wire.decode(data)
    except ProtocolError:
        return name == b"done" or data.startswith(b"[DONE]")
    return True
