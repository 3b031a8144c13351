"""`RunStream`: one iterator over a run's events, from server-sent events, or from polls while there is no stream."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import anyio

from openai_runs import _wire
from openai_runs._habits import STREAM_AWAITED, refusing
from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.retries import FAILURES
from openai_runs._http.sse import Frame
from openai_runs.errors import ProtocolError, RunDeadlineError, TransportError
from openai_runs.events import (
    ActionRequired,
    PollingTookOver,
    RunEnded,
    StatusChanged,
    StreamEvent,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.following.event_stream import EventStream
from openai_runs.following.follower import Follower, outcome
from openai_runs.following.outages import through_outages
from openai_runs.following.run_requests import Opened, RunRequests
from openai_runs.following.text_deltas import MESSAGE_DELTA, Pieces
from openai_runs.following.transcript import Transcript
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread

_logger: Final = logging.getLogger("openai_runs.following")


class _Redacted:
    """Hides secrets in the errors of deltas that do not merge, which quote them as they came.

    One object serves a whole stream: a context manager of a generator costs more than to decode a delta.
    """

    def __init__(self, requests: RunRequests) -> None:
        self._requests = requests

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ProtocolError):
            self._requests.redact(error)


class RunStream(anyio.AsyncContextManagerMixin):
    """The events of a run as they happen: open with ``async with``, then ``async for``; each is a `StreamEvent`.

    Returned by `RunsService.stream`, `RunsService.stream_tool_outputs` and `ThreadsService.stream_run`. It holds a
    connection, which leaving the ``async with`` closes at once; the run continues without it.

    The events are one sequence, however often the connection breaks. The status events are those that
    `RunsService.follow` yields, each once. The texts of a message's deltas, joined, are the message's text.

    Without a toolbox, the sequence ends when the run requires tool outputs; `RunsService.stream_tool_outputs`
    continues it.
    """

    def __init__(
        self,
        follower: Follower,
        start: Callable[[], Coroutine[Any, Any, Opened]],
        *,
        answered: Collection[str] = (),
        hint: str = "",
    ) -> None:
        """Called by the services only.

        Args:
            follower: Holds the run's state, and polls while there is no stream.
            start: Opens the first stream.
            answered: The IDs of the tool calls whose outputs ``start`` submits.
            hint: Is logged when the events end because the run requires tool outputs.
        """
        self._follower = follower
        self._start = start
        self._answered = answered
        self._hint = hint
        self._transcript = Transcript()
        self._redacted = _Redacted(follower.requests)
        self._stream: EventStream | None = None
        self._stream_just_ended = False
        self._poll_reason = ""  # why there is no stream, for `PollingTookOver`
        self._unreported: StatusChanged | None = None  # observed, and waits for the text that comes before it
        self._events: AsyncGenerator[StreamEvent, None] | None = None
        self._was_opened = False
        self._has_ended = False  # whether the iteration has, by itself

    if not TYPE_CHECKING:  # type checkers are to report it
        __await__ = refusing(STREAM_AWAITED)

    def __repr__(self) -> str:
        run = self._follower.run
        state = "open" if self._events is not None else "closed" if self._was_opened else "not open yet"
        return f"<RunStream, {state}: {self._follower.requests.name if run is None else f'{run.id} {run.status}'}>"

    @property
    def run(self) -> Run:
        """The latest snapshot; after an error, too, so that the run can be followed further.

        Raises:
            RuntimeError: None has arrived yet.
        """
        if self._follower.run is None:
            raise RuntimeError("no snapshot of the run has arrived yet: take the first event before you read .run")
        return self._follower.run

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that the run has written so far, deltas included."""
        with self._redacted:
            return self._transcript.messages

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """The steps that the run has taken so far, deltas included."""
        with self._redacted:
            return self._transcript.steps

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        if self._events is None:
            state = "closed" if self._was_opened else "not open: use it in `async with`"
            raise RuntimeError(f"this stream is {state}")
        return self._events

    async def text_deltas(self) -> AsyncGenerator[str, None]:
        """Yield only the text of the run's messages, piece by piece."""
        async for event in self:
            if isinstance(event, MessageDelta) and (text := event.text):
                yield text

    async def until_done(self) -> Run:
        """Read the remaining events; return the run if it completed, raise otherwise.

        Raises:
            RunFailedError: The run failed. Also `RunCancelledError`, `RunExpiredError`, `RunIncompleteError`.
            RunActionRequiredError: The run waits for tool outputs, and there is no toolbox.
        """
        async for _ in self:
            pass
        return outcome(self.run)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        if self._was_opened:
            raise RuntimeError("a RunStream can be opened only once: call stream() again for another one")
        self._was_opened = True
        follower = self._follower
        follower.start_clock()
        with follower.observed():
            is_continued = False
            try:
                follower.observe()  # the caller's own snapshot is not reported back,
                follower.rounds.pending_action = None  # and `start` submits the outputs that it waits for
                try:
                    self._set_source(await follower.start(self._start))
                except (RunDeadlineError, TransportError) as error:
                    self._set_source(await follower.look_after_deadline(error))
                self._events = self._all_events()
                async with aclosing(self._events):
                    yield self
                # Who has read it all and leaves without an error has not given the run up: it has ended, or waits for
                # outputs, which another stream submits.
                is_continued = self._has_ended
            finally:
                self._events = None
                try:
                    if is_continued:
                        follower.hand_over()
                    else:
                        await follower.leave(self._read_for_run)
                finally:
                    if self._stream is not None:
                        self._stream.close()

    def _set_source(self, opened: Opened) -> None:
        """Continue with the result of a request for a stream: read the stream, or poll the run."""
        if isinstance(opened, ByteStream):
            opened.limit_silence(self._follower.requests.timeout)  # aiohttp's own timer is set anew for each piece
            self._stream = EventStream(opened)
        else:
            self._follower.receive(opened, is_current=False)
            self._stream_just_ended, self._poll_reason = False, "the response was the run instead of a stream"

    async def _read_for_run(self, opened: Opened | None) -> bool:
        """For `Follower.leave`: take over what was opened, or read on for the run's ID."""
        if opened is not None:
            self._set_source(opened)
            return True
        if self._stream is None or (frames := await self._stream.next_frames(self._follower)) is None:
            return False
        for _ in self._decode_frames(self._stream, frames):
            pass
        return True

    async def _all_events(self) -> AsyncGenerator[StreamEvent, None]:
        late: Exception | None = None
        try:
            async with aclosing(self._sources()) as sources:
                async for source in sources:
                    if not isinstance(source, EventStream):
                        for event in source:
                            yield event
                        continue
                    while (frames := await source.next_frames(self._follower)) is not None:
                        for event in self._decode_frames(source, frames):
                            yield event
        except (RunDeadlineError, TransportError) as error:
            late = error
        if late is not None:
            for event in await self._end_after_deadline(late):
                yield event
        self._has_ended = True

    async def _end_after_deadline(self, error: Exception) -> list[StreamEvent]:
        """What is not reported yet of a run that has ended when the deadline passes; otherwise raises ``error``."""
        follower = self._follower
        run = await follower.look_after_deadline(error)
        change = follower.observe() or self._unreported
        fetch = partial(follower.requests.messages_and_steps, run)
        with anyio.move_on_at(follower.leaving.until):
            try:
                written = await follower.in_span(through_outages(fetch, follower.polling, follower.requests.name))
            except FAILURES as failure:
                error.add_note(f"The run has ended, but its text could not be fetched: {failure}")
                raise error from None
            return [*self._catch_up(*written), *([] if change is None else [change])]
        raise error

    async def _sources(self) -> AsyncGenerator[EventStream | Iterable[StreamEvent], None]:
        """The sources of events: streams, each to be read to its end before the next is asked for, and polled events.

        They end once the run's end has been *reported*, which is later than the arrival of a terminal snapshot; or when
        the run requires tool outputs and there is no toolbox.
        """
        follower = self._follower
        while not follower.has_reported_end:
            if self._stream is not None:
                stream = self._stream
                yield stream
                self._stream, self._stream_just_ended, self._poll_reason = None, True, stream.end_reason
            elif (action := follower.rounds.pending_action) is None:
                async with aclosing(self._poll()) as polled:
                    async for events in polled:
                        yield events
            elif follower.toolbox is None:
                if self._hint:
                    _logger.warning("%s: the stream ends, for the run requires outputs: %s", self.run.id, self._hint)
                return
            else:
                was_in_doubt = follower.rounds.is_in_doubt
                submit = partial(follower.requests.stream_outputs, asked=action.run)
                outputs, opened = await follower.answer_calls(follower.toolbox, action, submit)
                if opened is None:
                    self._stream_just_ended, self._poll_reason = (
                        False,
                        "the run has continued without these tool outputs",
                    )
                else:
                    self._set_source(opened)
                    submitted = ToolOutputsSubmitted(self.run, outputs)
                    yield (action, submitted) if was_in_doubt else (submitted,)

    def _decode_frames(self, stream: EventStream, frames: list[Frame | Pieces]) -> Iterator[StreamEvent]:
        """Decode frames lazily, so that `messages` and `steps` are never ahead of the events."""
        for frame in frames:
            if isinstance(frame, Pieces):
                place = frame.place
                add, delta = self._transcript.text(place.id, place.index), place.delta
                for value in frame.values:
                    add(value)
                    yield delta(value)
            elif frame[0] == MESSAGE_DELTA and (text := stream.texts.read(frame[1])) is not None:
                place, value = text
                self._transcript.text(place.id, place.index)(value)
                yield place.delta(value)
            else:
                with self._redacted:
                    yield from self._decode_frame(stream, frame)
                if stream.done:
                    return

    def _decode_frame(self, stream: EventStream, frame: Frame) -> Iterable[StreamEvent]:
        """Decode one frame, and update the run's state."""
        name = frame[0].decode(errors="replace")
        match stream.payload(frame):
            case Run() as run:
                return self._observe(run)
            case Message() as message:
                return self._transcript.change_message(message, name)
            case RunStep() as step:
                return (self._transcript.change_step(step, name),)
            case MessageDelta() as delta:
                self._transcript.add_message_delta(delta)
                return (delta,)
            case RunStepDelta() as delta:
                self._transcript.add_step_delta(delta)
                return (delta,)
            case Thread() as thread:
                self._follower.requests.find_on_thread(thread.id)
                return (ThreadCreated(thread),)
            case UnknownEvent() as event:
                # An unknown status makes an unknown event name, `thread.run.<status>`, but its data is a run.
                unknown_run = _as_run(event.raw, strict=stream.strict)
                return (unknown_run and self._observe(unknown_run)) or (event,)
        return ()

    def _observe(self, run: Run) -> tuple[StatusChanged, ...]:
        self._follower.rounds.trust(anyio.current_time())
        self._follower.receive(run)
        change = self._follower.observe()
        return () if change is None else (change,)

    async def _poll(self) -> AsyncGenerator[Iterable[StreamEvent], None]:
        """Yield the events of polling, until the run ends or requires tool outputs."""
        follower, requests = self._follower, self._follower.requests
        if not requests.can_be_found:
            raise TransportError(f"{self._poll_reason}; {requests.name} may have been started, but its ID is not known")
        is_known = follower.run is not None
        if not is_known:  # a stream was opened, so a run was started: it must not get lost with a failed look
            await follower.refresh(TransportError(f"{requests.name}: {self._poll_reason}"))
        if self._stream_just_ended or not (self.run.status.is_terminal or self.run.status is RunStatus.REQUIRES_ACTION):
            yield (PollingTookOver(self.run, self._poll_reason),)
        if self._stream_just_ended and is_known:
            await follower.refresh()
        is_paused = False
        while not is_paused:
            change = await follower.next_change()
            if is_paused := isinstance(change, ActionRequired | RunEnded):
                self._unreported = change
                yield self._catch_up(*await follower.through_outages(partial(requests.messages_and_steps, change.run)))
                self._unreported = None
            if not follower.rounds.is_in_doubt:
                yield (change,)

    def _catch_up(self, messages: list[Message], steps: list[RunStep]) -> Iterator[StreamEvent]:
        with self._redacted:
            yield from self._transcript.catch_up(*_from_answered_step(self._answered, messages, steps))


def _from_answered_step(
    answered: Collection[str], messages: list[Message], steps: list[RunStep]
) -> tuple[list[Message], list[RunStep]]:
    """Leave out what precedes the step with the answered calls: an earlier stream has reported it."""
    for index, step in enumerate(steps):
        if any(call.id in answered for call in step.function_calls):
            earlier = {step.message_id for step in steps[:index]}
            return [message for message in messages if message.id not in earlier], steps[index:]
    return messages, steps


def _as_run(raw: Any, *, strict: bool) -> Run | None:
    if not isinstance(raw, dict) or raw.get("object") != "thread.run":
        return None
    try:
        return _wire.load(raw, Run, strict=strict)
    except ProtocolError:  # not a run after all: the event stays unknown
        return None
