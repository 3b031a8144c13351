"""A run as it happens: server-sent events while there is a stream, polling while there is none, in one iterator."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Self

import anyio

from openai_runs import _wire
from openai_runs._http.sse import Frame
from openai_runs._http.transport import ByteStream
from openai_runs.errors import ProtocolError, TransportError
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
from openai_runs.following.event_stream import MESSAGE_DELTA, EventStream
from openai_runs.following.follower import Follower, outcome
from openai_runs.following.run_requests import Opened
from openai_runs.following.text_deltas import read_text_delta
from openai_runs.following.transcript import Transcript
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread


class RunStream(anyio.AsyncContextManagerMixin):
    """A run as it happens: open it with ``async with``, then ``async for`` over its events, each a `StreamEvent`.

    Made by `RunsService.stream`, `RunsService.stream_tool_outputs` and `ThreadsService.stream_run`. It holds a
    connection, which leaving the ``async with`` closes at once; the run goes on without it.

    The events are one sequence, however often the connection breaks. Those of the run's status are the ones that
    `RunsService.follow` tells, each once. The texts of a message's deltas, joined, are its text.

    Without a toolbox, the sequence ends when the run wants tool outputs; `RunsService.stream_tool_outputs` goes on.
    """

    def __init__(
        self, follower: Follower, start: Callable[[], Awaitable[Opened]], *, answered: Collection[str] = ()
    ) -> None:
        """For the services.

        Args:
            follower: Knows the run, and polls while there is no stream.
            start: Opens the first stream.
            answered: The IDs of the calls with whose outputs ``start`` begins.
        """
        self._follower = follower
        self._start = start
        self._answered = answered
        self._transcript = Transcript()
        self._stream: ByteStream | None = None
        self._was_cut = False  # whether there was a stream just before
        self._lost = ""  # why there is no stream, while there is none
        self._events: AsyncGenerator[StreamEvent, None] | None = None
        self._was_opened = False

    def __repr__(self) -> str:
        run = self._follower.run
        state = "open" if self._events is not None else "closed" if self._was_opened else "not open yet"
        return f"<RunStream, {state}: {self._follower.requests.name if run is None else f'{run.id} {run.status}'}>"

    @property
    def run(self) -> Run:
        """The latest snapshot.

        Raises:
            RuntimeError: None has come yet.
        """
        if self._follower.run is None:
            raise RuntimeError("the run is not known yet: its first event brings it")
        return self._follower.run

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that the run has written so far, each with its deltas."""
        return self._transcript.messages

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """The steps that the run has taken so far, each with its deltas."""
        return self._transcript.steps

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        if self._events is None:
            state = "closed" if self._was_opened else "not open: use it in `async with`"
            raise RuntimeError(f"this stream is {state}")
        return self._events

    async def text_deltas(self) -> AsyncGenerator[str, None]:
        """The text of all messages as it is written, and nothing else."""
        async for event in self:
            if isinstance(event, MessageDelta) and (text := event.text):
                yield text

    async def until_done(self) -> Run:
        """Take all events that are left, and return the run completed, or raise.

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
            raise RuntimeError("a stream can be opened once; ask for another one")
        self._was_opened = True
        follower = self._follower
        follower.start_clock()
        try:
            follower.observe()  # a run that the caller has named by itself is no news,
            follower.wanted = None  # and what it waits for is on its way
            self._take(await follower.start(self._start))
            self._events = self._all_events()
            async with aclosing(self._events):
                yield self
        finally:
            self._events = None
            if self._stream is not None:
                self._stream.close()
            await follower.leave()

    def _take(self, opened: Opened) -> None:
        """Go on with what a request for a stream has brought."""
        if isinstance(opened, ByteStream):
            self._stream = opened
        else:
            self._follower.take(opened)
            self._was_cut, self._lost = False, "the request brought the run, and no stream"

    async def _all_events(self) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(self._story()) as parts:
            async for part in parts:
                if not isinstance(part, EventStream):
                    for event in part:
                        yield event
                    continue
                while (frames := await part.frames(self._follower)) is not None:
                    for event in self._tell(part, frames):
                        yield event

    async def _story(self) -> AsyncGenerator[EventStream | Iterable[StreamEvent], None]:
        """All there is to tell: streams, each to be read before the next is asked for; and events in between.

        It goes on until the end is *told*, which is more than that a terminal run was seen; or until the run wants what
        only the caller has.
        """
        follower = self._follower
        while not follower.has_told_end:
            if self._stream is not None:
                events = EventStream(self._stream)
                yield events
                self._stream, self._was_cut, self._lost = None, True, events.lost
            elif follower.wanted is None:
                async with aclosing(self._polled()) as parts:
                    async for part in parts:
                        yield part
            elif follower.toolbox is None:
                return
            else:
                outputs, opened = await follower.answer_calls(
                    follower.toolbox, follower.wanted, follower.requests.stream_outputs
                )
                if opened is None:
                    self._was_cut, self._lost = False, "the run has gone on without these tool outputs"
                else:
                    self._take(opened)
                    yield (ToolOutputsSubmitted(self.run, outputs),)

    def _tell(self, stream: EventStream, frames: list[Frame]) -> Iterator[StreamEvent]:
        """Events of a stream, each decoded when its turn comes: `messages` is never ahead of them."""
        for frame in frames:
            if frame[0] == MESSAGE_DELTA and (text := read_text_delta(frame[1])) is not None:
                delta, index, value = text
                self._transcript.add_text(delta.id, index, value)
                yield delta
            else:
                yield from self._told(stream, frame)
                if stream.done:
                    return

    def _told(self, stream: EventStream, frame: Frame) -> Iterable[StreamEvent]:
        """What one event of a stream has to tell."""
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
                self._follower.requests.expect_on(thread.id)
                return (ThreadCreated(thread),)
            case UnknownEvent() as event:
                # A status that this library does not know comes under a name that it does not know.
                with_status = _as_run(event.raw)
                return (with_status and self._observe(with_status)) or (event,)
        return ()

    def _observe(self, run: Run) -> tuple[StatusChanged, ...]:
        self._follower.take(run)
        change = self._follower.observe()
        return () if change is None else (change,)

    async def _polled(self) -> AsyncGenerator[Iterable[StreamEvent], None]:
        """What is to be told while there is no stream: until the run ends, or waits for tool outputs."""
        follower, requests = self._follower, self._follower.requests
        if not requests.can_be_found:
            raise TransportError(f"{self._lost}; {requests.name} may have been started, and nothing is known of it")
        is_known = follower.run is not None
        if not is_known:
            await follower.refresh()
        if self._was_cut or not (self.run.status.is_terminal or self.run.status is RunStatus.REQUIRES_ACTION):
            yield (PollingTookOver(self.run, self._lost),)
        if self._was_cut and is_known:
            await follower.refresh()
        pauses = False
        while not pauses:
            change = await follower.next_change()
            if pauses := isinstance(change, ActionRequired | RunEnded):
                messages, steps = await follower.patiently(partial(requests.written, change.run))
                yield self._transcript.catch_up(*_since(self._answered, messages, steps))
            yield (change,)


def _since(
    answered: Collection[str], messages: list[Message], steps: list[RunStep]
) -> tuple[list[Message], list[RunStep]]:
    """Leave out what came before the step of these calls: it was another stream's to tell."""
    for place, step in enumerate(steps):
        if any(call.id in answered for call in step.function_calls):
            earlier = {one.message_id for one in steps[:place]}
            return [message for message in messages if message.id not in earlier], steps[place:]
    return messages, steps


def _as_run(raw: Any) -> Run | None:
    if not isinstance(raw, dict) or raw.get("object") != "thread.run":
        return None
    try:
        return _wire.load(raw, Run)
    except ProtocolError:  # then it is something else
        return None
