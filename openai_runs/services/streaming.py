"""A run as it happens: server-sent events while there is a stream, polling while there is none, in one iterator."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Self

import anyio

from openai_runs import _text_delta, _wire
from openai_runs._sse import Frame
from openai_runs._transcript import Transcript
from openai_runs._transport import ByteStream
from openai_runs.errors import ProtocolError, TransportError
from openai_runs.events import (
    ActionRequired,
    PollingTookOver,
    RunEnded,
    RunEvent,
    StatusChanged,
    StreamEvent,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import FunctionStepCall, RunStep, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.services.following import Follower, outcome
from openai_runs.services.leg import MESSAGE_DELTA, Leg
from openai_runs.services.one_run import Opened, message_id_of
from openai_runs.toolbox import Toolbox


class RunStream(anyio.AsyncContextManagerMixin):
    """A run as it happens: open it with ``async with``, then ``async for`` over its events, each a `StreamEvent`.

    Made by `RunsService.stream`, `RunsService.stream_tool_outputs` and `ThreadsService.stream_run`. It holds a
    connection, which leaving the ``async with`` closes at once; the run goes on without it.

    The events are one sequence, however often the connection breaks. Those of the run's status are the ones that
    `RunsService.follow` tells, each once. The texts of a message's deltas, joined, are its text.

    Without a toolbox, the sequence ends when the run wants tool outputs; `RunsService.stream_tool_outputs` goes on.
    """

    def __init__(
        self,
        follower: Follower,
        start: Callable[[], Awaitable[Opened]] | None,
        toolbox: Toolbox | None,
        *,
        cancel_on_exit: bool,
        answered: Collection[str] = (),
    ) -> None:
        """For the services.

        Args:
            follower: Polls while there is no stream.
            start: Opens the first stream. ``None``: there is a run already, of which there can be no stream.
            toolbox: Answers tool calls, instead of the follower's.
            cancel_on_exit: Whether to cancel an unfinished run on the way out.
            answered: The IDs of the calls with whose outputs ``start`` begins.
        """
        self._follower = follower
        self._start = start
        self._toolbox = toolbox
        self._cancel_on_exit = cancel_on_exit
        self._answered = answered
        self._transcript = Transcript()
        self._stream: ByteStream | None = None
        self._lost = "the API has no stream of a run that is under way"  # why there is no stream, while there is none
        self._wanted: ActionRequired | None = None  # what the run waits for
        self._events: AsyncGenerator[StreamEvent, None] | None = None
        self._was_opened = False

    def __repr__(self) -> str:
        run = self._follower.run
        state = "open" if self._events is not None else "closed" if self._was_opened else "not open yet"
        return f"<RunStream, {state}: {self._follower.one.name if run is None else f'{run.id} {run.status}'}>"

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
        if self._start is not None:
            if follower.run is not None:
                follower.observe(follower.run)  # the caller has told it, so that it is not news
            self._take(await follower.in_time(self._start(), maybe_done=True))
        self._events = self._all_events()
        try:
            async with aclosing(self._events):
                yield self
        finally:
            self._events = None
            if self._stream is not None:
                self._stream.close()
            if self._cancel_on_exit:
                await follower.cancel_unfinished()

    def _take(self, opened: Opened | None) -> None:
        """Go on with what a request for a stream has brought."""
        if isinstance(opened, ByteStream):
            self._stream = opened
        elif opened is not None:
            self._follower.run = opened
            self._lost = "the request brought the run, and no stream"

    async def _all_events(self) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(self._story()) as parts:
            async for part in parts:
                if not isinstance(part, Leg):
                    for event in part:
                        yield event
                    continue
                while (frames := await part.frames(self._follower)) is not None:
                    for event in self._tell(part, frames):
                        yield event

    async def _story(self) -> AsyncGenerator[Leg | Iterable[StreamEvent], None]:
        """All there is to tell: legs, each to be told before the next is asked for; and events in between."""
        follower = self._follower
        while True:
            stream = self._stream
            if stream is not None:
                leg = Leg(stream)
                yield leg
                self._stream, self._lost = None, leg.lost
            if self._wanted is None and not follower.has_told_the_end:
                async with aclosing(self._poll(cut=stream is not None)) as batches:
                    async for batch in batches:
                        yield batch
            if self._wanted is None or self._toolbox is None:
                return
            outputs, opened = await follower.answer(self._toolbox, self._wanted, follower.one.stream_outputs)
            self._wanted = None
            self._take(opened)
            if opened is None:
                self._lost = "the run has gone on without these tool outputs"
            else:
                yield (ToolOutputsSubmitted(self.run, outputs),)

    def _tell(self, leg: Leg, frames: list[Frame]) -> Iterator[StreamEvent]:
        """Events of a stream, each decoded when its turn comes: `messages` is never ahead of them."""
        for frame in frames:
            if frame[0] == MESSAGE_DELTA and (text := _text_delta.read(frame[1])) is not None:
                delta, index, value = text
                self._transcript.add_text(delta.id, index, value)
                yield delta
            else:
                yield from self._told(leg, frame)
                if leg.done:
                    return

    def _told(self, leg: Leg, frame: Frame) -> Iterable[StreamEvent]:
        """What one event of a stream has to tell."""
        name = frame[0].decode(errors="replace")
        match leg.payload(frame):
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
                self._follower.one.expect_on(thread.id)
                return (ThreadCreated(thread),)
            case UnknownEvent() as event:
                # A status that this library does not know comes under a name that it does not know.
                with_status = _as_run(event.raw)
                return (with_status and self._observe(with_status)) or (event,)
        return ()

    def _observe(self, run: Run) -> tuple[StatusChanged, ...]:
        change = self._follower.observe(run)
        if isinstance(change, ActionRequired):
            self._wanted = change
        return () if change is None else (change,)

    async def _poll(self, *, cut: bool) -> AsyncGenerator[Iterable[StreamEvent], None]:
        """What is to be told while there is no stream: until the run ends, or waits for tool outputs."""
        follower = self._follower
        if not follower.one.can_be_found:
            raise TransportError(f"{self._lost}; {follower.one.name} may have been started, and nothing is known of it")
        is_stale = cut and follower.run is not None
        if follower.run is None:
            follower.run = await (
                follower.refresh() if cut else follower.in_time(follower.one.retrieve(follower.listen))
            )
        if cut or not (self.run.status.is_terminal or self.run.status is RunStatus.REQUIRES_ACTION):
            yield (PollingTookOver(self.run, self._lost),)
        if is_stale:
            await follower.refresh()
        async with aclosing(follower.events()) as changes:
            async for change in changes:  # pragma: no branch  # the last of them is an end
                pauses = isinstance(change, ActionRequired | RunEnded)
                if pauses and self._start is not None:
                    messages, steps = await follower.patiently(partial(follower.one.written, change.run))
                    yield self._transcript.catch_up(*_since(self._answered, messages, steps))
                if isinstance(change, ActionRequired):
                    self._wanted = change
                yield (change,)
                if pauses:
                    return


def _since(
    answered: Collection[str], messages: list[Message], steps: list[RunStep]
) -> tuple[list[Message], list[RunStep]]:
    """Leave out what came before the step of these calls: it was another stream's to tell."""
    for place, step in enumerate(steps):
        details = step.step_details
        if isinstance(details, ToolCalls) and any(
            isinstance(call, FunctionStepCall) and call.id in answered for call in details.tool_calls
        ):
            earlier = {message_id_of(one) for one in steps[:place]}
            return [message for message in messages if message.id not in earlier], steps[place:]
    return messages, steps


def _as_run(raw: Any) -> Run | None:
    if not isinstance(raw, dict) or raw.get("object") != "thread.run":
        return None
    try:
        return _wire.load(raw, Run)
    except ProtocolError:  # then it is something else
        return None


async def status_events(stream: RunStream) -> AsyncGenerator[RunEvent, None]:
    """What a stream tells of its run, and nothing of what that writes: see `RunsService.follow`."""
    async with stream:
        async for event in stream:
            if isinstance(event, RunEvent):
                yield event
