"""`Follower`: the state of following one run, shared by polling and streaming.

It owns the run's latest snapshot, its address, the deadline and the tolerance for outages; its `Rounds` tell what is
new, and its `Leaving` what becomes of the run when following stops. `observe` returns each change once, so its caller
must pass every change on: what the follower has *observed* counts as reported.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
from attrs import define, field

from openai_runs._arguments import check_seconds
from openai_runs._evolving import sharing
from openai_runs._http.response import Response
from openai_runs._http.retries import FAILURES, Failure, cast_doubt, may_be_done, poll_hint
from openai_runs._wire.paths import WAIT
from openai_runs.errors import (
    BadRequestError,
    RunActionRequiredError,
    RunDeadlineError,
    RunStuckError,
    TransportError,
    run_error,
)
from openai_runs.events import ActionRequired, RunEvent, StatusChanged, ToolOutputsSubmitted
from openai_runs.following.leaving import Leaving, ReadOn
from openai_runs.following.options import OnExit, check_on_exit
from openai_runs.following.outages import through_outages
from openai_runs.following.polling import Polling
from openai_runs.following.rounds import Rounds
from openai_runs.following.run_requests import RunRequests
from openai_runs.lifecycle import CHANGING
from openai_runs.models.completion_window import WINDOW_SECONDS
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import ToolOutput
from openai_runs.toolbox import Toolbox

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.following.run_feed import News, RunFeed
    from openai_runs.following.run_span import RunSpan

T = TypeVar("T")

_UNOBSERVED: Final = nullcontext()
#: Seconds that the endpoint is asked to wait for a change: less than proxies do.
_LONGEST_WAIT: Final = 20


@define
class Follower:
    """The state of following one run: its latest snapshot, how to fetch the next one, and when to stop."""

    requests: RunRequests
    run: Run | None  #: the latest snapshot
    toolbox: Toolbox | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    polling: Polling = field(default=Polling(), kw_only=True)
    on_exit: OnExit = field(default="leave", kw_only=True)
    feed: "RunFeed | None" = field(default=None, kw_only=True)  #: tells what becomes of the run, if it covers it
    #: How many polls may be on their way at once. Who waits here for a place needs less memory than who waits for a
    #: connection with all that a request has.
    room: asyncio.Semaphore | None = field(default=None, kw_only=True)
    only_outcome: bool = field(default=False, kw_only=True)  #: whether changes before the end need not be told
    rounds: Rounds = field(init=False)
    leaving: Leaving = field(init=False)
    span: "RunSpan | None" = field(default=None, init=False)  #: whose children the requests are
    #: When the wait for a stream's next bytes ends: at the deadline, or once the run is stuck. Read for each of them.
    reads_until: float = field(default=math.inf, init=False)
    _is_unobserved: bool = field(init=False)  # whether `observe` has yet to see the latest snapshot
    _is_current: bool = field(default=True, init=False)  # whether the latest snapshot is of a poll or a stream
    _unchanged: int = field(default=0, init=False)  # how many snapshots in a row were unchanged
    _hint: float | None = field(default=None, init=False)
    _hint_round: int = field(default=0, init=False)  # how many submissions had been accepted when the hint came
    _began: bool = field(default=False, init=False)
    _ends_at: float = field(default=math.inf, init=False)  # the deadline
    _stuck_at: float = field(default=math.inf, init=False)  # when a run that stays queued counts as stuck
    _passed: Exception | None = field(default=None, init=False)  # the deadline's error, once it has passed
    _news: "News | None" = field(default=None, init=False)  # from the feed
    _was_hasty: bool = field(default=False, init=False)  # whether a poll that was to wait was answered soon

    def __attrs_post_init__(self) -> None:
        check_seconds("deadline", self.deadline, zero=True, none=True)
        check_on_exit(self.on_exit)
        if not isinstance(self.polling, Polling):
            raise TypeError(f"polling must be a Polling: got {self.polling!r}")
        if self.toolbox is not None and not isinstance(self.toolbox, Toolbox):
            raise TypeError(f"toolbox must be a Toolbox: got {self.toolbox!r}")
        self._is_unobserved = self.run is not None
        self.rounds = Rounds(self.requests.submissions, self.toolbox is not None)
        self.leaving = Leaving(self.requests, self.on_exit)

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """Poll the run, and yield its events; see `RunsService.follow`."""
        self.start_clock()
        with self.observed():
            try:
                while not self.has_reported_end:
                    try:
                        # Few layers here, and below: thousands may wait in one process.
                        if self.toolbox is None or self.rounds.pending_action is None:
                            change = await self.next_change()
                            events: tuple[RunEvent, ...] = () if self.rounds.is_in_doubt else (change,)
                        else:
                            events = await self._submit_outputs(self.toolbox, self.rounds.pending_action)
                    except (RunDeadlineError, TransportError) as error:
                        events = (await self.end_after_deadline(error),)
                    for event in events:
                        yield event
            finally:
                await self.leave()

    def observed(self) -> AbstractContextManager[object]:
        """A context for all of the following, which has a span if the session has telemetry."""
        if (telemetry := self.requests.telemetry) is None:
            return _UNOBSERVED
        from openai_runs.following.run_span import RunSpan  # only here: it loads OpenTelemetry

        self.span = RunSpan(telemetry, self.requests.base_url, lambda: self.run)
        return self.span

    def in_span(self, work: Awaitable[T]) -> Awaitable[T]:
        """The same work, whose own spans are children of the span, if there is one."""
        return work if self.span is None else self.span.within(work)

    async def _submit_outputs(self, toolbox: Toolbox, action: ActionRequired) -> tuple[RunEvent, ...]:
        """Submit the outputs that are required; the events of that."""
        was_in_doubt = self.rounds.is_in_doubt
        submit = partial(self.requests.submit, asked=action.run, on_response=self._store_hint)
        outputs, run = await self.answer_calls(toolbox, action, submit)
        if run is None:
            return ()
        self._hint_round = self.requests.submissions.accepted  # the hint came with the submission
        self.receive(run, is_current=False)
        submitted = ToolOutputsSubmitted(run=run, outputs=outputs)
        return (action, submitted) if was_in_doubt else (submitted,)

    @property
    def has_reported_end(self) -> bool:
        """Whether the run's end has been reported; a terminal snapshot may have arrived before that."""
        return self.rounds.has_ended

    def start_clock(self) -> None:
        """Start counting towards the deadline; later calls change nothing."""
        if self._began:
            return
        self._began = True
        if self.on_exit == "cancel":  # the session may be closed before this is left, or while it is
            self.requests.before_closing.add(self.leave)
        now = anyio.current_time()
        if self.deadline is not None:
            self._ends_at = now + self.deadline
        if self.polling.queued_timeout is not None:
            self._stuck_at = now + self.polling.queued_timeout
        self.reads_until = min(self._ends_at, self._stuck_at)

    async def start(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Send the request that starts or continues the run."""
        try:
            return await self.before_deadline(self.leaving.start(request), maybe_done=True)
        except Exception as error:
            self.leaving.note_failed_start(error)
            raise

    async def next_change(self) -> StatusChanged:
        """Poll until there is a change to report."""
        while True:
            if self.run is None:
                if (turn := self.requests.turn_of_poll(is_idle=True)) is not None:
                    await self.before_deadline(turn)
                self.receive(await self.before_deadline(self.requests.retrieve(self._store_hint)))
            elif not self._is_unobserved:
                prefer, asked_at = self._preference_for_next(self.run), anyio.current_time()
                news = await self._wait_for_news(self.run) if prefer is None else None
                if news is None:
                    is_idle = prefer is None and self._unchanged > 0 and self._hint is None
                    if (turn := self.requests.turn_of_poll(is_idle=is_idle)) is not None:
                        await self.before_deadline(turn)
                        turn = None
                    if (room := self.room) is None:
                        await self.refresh(prefer=prefer)
                    else:
                        await self.before_deadline(room.acquire())
                        try:
                            await self.refresh(prefer=prefer)
                        finally:
                            room.release()
                    # An endpoint that does not wait, whatever it has said, must not be asked again at once, and again.
                    self._was_hasty = prefer is not None and anyio.current_time() - asked_at < 1
                else:
                    self.receive(news)
            if (change := self.observe()) is not None:
                return change

    def _preference_for_next(self, run: Run) -> str | None:
        """Prepare for the next snapshot; how to ask for it, see `_preference`."""
        if self._hint_round != self.requests.submissions.accepted:  # the hint was for a run that waited
            self._hint = None
        if self.feed is not None and self._news is None and self.feed.is_offered:
            self._news = self.feed.join(run.id, only_outcome=self.only_outcome)
        return self._preference(run)

    def _preference(self, run: Run) -> str | None:
        """What asks the endpoint to answer a poll only after a change; ``None`` if that is of no use."""
        feed, is_refused = self.feed, self._was_hasty and self._unchanged > 0
        if feed is None or not feed.is_for_few or is_refused or run.completion_window is not None:
            return None
        left = min(self._ends_at, self._stuck_at) - anyio.current_time()
        if run.status not in CHANGING or (seconds := int(min(_LONGEST_WAIT, self.requests.timeout / 2, left))) < 1:
            return None
        statuses = " ".join(CHANGING) if self.only_outcome else run.status
        return f'{WAIT}={seconds}; while="{statuses}"'

    async def _wait_for_news(self, run: Run) -> Run | None:
        """Wait for a snapshot from the feed; ``None`` if it is time for a poll."""
        window = WINDOW_SECONDS.get(run.completion_window or "", 0.0)
        poll_after = self.polling.delay(self._unchanged, self._hint, window=window)
        feed = self.feed
        if feed is None or self._news is None or not feed.is_open:
            await self._sleep(poll_after)
            return None
        snapshot = await self._news.take(poll_after=poll_after, until=min(self._ends_at, self._stuck_at))
        if snapshot is None:
            if anyio.current_time() >= self._ends_at:
                raise self._deadline_error()
            return None
        news = feed.read(snapshot)
        # The feed may be behind another connection. An end is an end, but calls may have been answered meanwhile.
        return None if news is None or news.status is RunStatus.REQUIRES_ACTION else news

    async def refresh(self, doubt: Failure | None = None, *, prefer: str | None = None) -> None:
        """Fetch the current state of the run; for ``doubt`` see `through_outages`, for ``prefer`` `retrieve`."""
        retrieve = partial(self.requests.retrieve, self._store_hint, prefer=prefer)
        self.receive(await self.through_outages(retrieve, doubt=doubt))

    def receive(self, run: Run, *, is_current: bool = True) -> None:
        """Store a new snapshot; `observe` compares it with the previous one.

        Args:
            run: The snapshot.
            is_current: Whether a poll or a stream sent it, rather than the response to a submission.
        """
        # Most of a snapshot, or all of it, is what it was before.
        self.run = run if self.run is None else sharing(run, self.run)
        self._is_unobserved = True
        self._is_current = is_current
        self.requests.note(run)

    def observe(self) -> StatusChanged | None:
        """Compare the latest snapshot with the one observed before it.

        Returns:
            The change, for the caller to report, unless `Rounds.is_in_doubt`; ``None`` if there is none.

        Raises:
            RunStuckError: Nothing has changed, and the run has been ``queued`` for too long.
        """
        run = self.run
        if run is None:
            return None
        self._is_unobserved = False
        change = self.rounds.observe(run, is_current=self._is_current, now=anyio.current_time())
        if change is None:
            self._unchanged += 1
            self.check_queued()
            return None
        self._unchanged = 0
        is_watched = run.status is RunStatus.QUEUED and run.completion_window is None
        timeout = self.polling.queued_timeout if is_watched else None
        if timeout is None:
            self._stuck_at = math.inf
        elif change.previous is not None:  # the first snapshot counts from the start of the clock
            self._stuck_at = anyio.current_time() + timeout
        self.reads_until = min(self._ends_at, self._stuck_at)
        return change

    def check_time(self) -> None:
        """Check the deadline, and how long the run has been ``queued``.

        Raises:
            RunDeadlineError: The deadline has passed.
            TransportError: The same, and nothing is known of the run, which has been started.
            RunStuckError: See `check_queued`.
        """
        if anyio.current_time() >= self._ends_at:
            raise self._deadline_error(maybe_done=self.run is None)
        self.check_queued()

    def check_queued(self) -> None:
        """Check how long the run has been ``queued``.

        Raises:
            RunStuckError: For `Polling.queued_timeout` seconds or more.
        """
        run = self.run
        if run is None or run.status is not RunStatus.QUEUED or anyio.current_time() < self._stuck_at:
            return
        raise RunStuckError(
            f"{self.requests.name} has been queued for {self.polling.queued_timeout} s: the endpoint is overloaded, or "
            "lost the run. Cancel it and start a new one, or raise Polling.queued_timeout",
            run=run,
        )

    async def answer_calls(
        self, toolbox: Toolbox, action: ActionRequired, submit: Callable[[tuple[ToolOutput, ...]], Awaitable[T]]
    ) -> tuple[tuple[ToolOutput, ...], T | None]:
        """Call the tools, and submit their outputs.

        Returns:
            The outputs, and what ``submit`` returned; ``None`` if the run has continued without them.

        Raises:
            RunActionRequiredError: There is no function call that a toolbox could answer.
        """
        if not action.tool_calls:
            raise _action_error(action.run)
        outputs = self.rounds.outputs_to_repeat(action.run)
        if outputs is None:
            outputs = await self.before_deadline(self._answers(toolbox, action))
        submission = self.rounds.begin_submission(action.run, outputs)
        try:
            return outputs, await self.through_outages(partial(submit, outputs), maybe_done=True)
        except BadRequestError as error:
            # Fine if the run ended while the tools ran, or another client submitted outputs: keep following it.
            await self.refresh(error if error.maybe_done else None)
            if not self.rounds.end_refused(submission, self.run, anyio.current_time()):
                if error.maybe_done:
                    error.maybe_done = False
                    error.add_note("It has not: the run still waits for these outputs.")
                raise
            return outputs, None

    def _answers(self, toolbox: Toolbox, action: ActionRequired) -> Awaitable[tuple[ToolOutput, ...]]:
        calls, run_id = action.tool_calls, action.run.id
        if (telemetry := self.requests.telemetry) is None:  # not passed on: a caller's own class need not take it
            return toolbox.answer(calls, run_id=run_id)
        return toolbox.answer(calls, run_id=run_id, telemetry=telemetry)

    async def through_outages(
        self, request: Callable[[], Awaitable[T]], *, maybe_done: bool = False, doubt: Failure | None = None
    ) -> T:
        """Send a request; while the endpoint is unreachable, repeat it for up to `Polling.outage` seconds.

        Args:
            request: Sends it.
            maybe_done: See `before_deadline`.
            doubt: What failed before, and may have taken effect.
        """

        async def send() -> T:
            nonlocal doubt
            try:
                return await self.before_deadline(request(), maybe_done=maybe_done or doubt is not None)
            except FAILURES as error:
                if doubt is not None:
                    cast_doubt(error, doubt)
                elif maybe_done and may_be_done(error):
                    doubt = error
                raise

        async def sleep(seconds: float) -> None:
            await self._sleep(seconds, maybe_done=doubt is not None)

        return await through_outages(
            send,
            self.polling,
            self.requests.name,
            takes_turns=self.requests.take_turns,
            sleep=sleep,
            is_over=lambda error: error is self._passed,
        )

    def before_deadline(self, work: Awaitable[T], *, maybe_done: bool = False) -> Awaitable[T]:
        """What awaits ``work``, but raises at the deadline.

        Args:
            work: What to wait for.
            maybe_done: Whether the deadline's error must say that ``work`` may have taken effect.
        """
        if self.span is not None:  # not `in_span`: each poll comes by
            work = self.span.within(work)
        return work if self._ends_at == math.inf else self._until_deadline(work, maybe_done=maybe_done)

    async def _until_deadline(self, work: Awaitable[T], *, maybe_done: bool) -> T:
        with anyio.move_on_at(self._ends_at):
            return await work
        raise self._deadline_error(maybe_done=maybe_done)  # only reached when the scope swallowed the timeout

    async def look_after_deadline(self, error: Exception) -> Run:
        """Look at the run once more when the deadline has passed.

        Args:
            error: What was raised.

        Returns:
            The run, which has ended.

        Raises:
            RunDeadlineError: It has not.
            TransportError: Nothing is known of it.
            Exception: ``error``, if it is not the deadline's.
        """
        if error is not self._passed:
            raise error
        # Of a run that was only being started, the look leaves no doubt; nor of outputs that it no longer waits for.
        is_in_doubt = self.run is not None and may_be_done(error)
        if (run := await self.in_span(self.leaving.last_look(error))) is not None:
            self.receive(run)
        if self.run is None:
            raise error
        if not self.run.status.is_terminal:
            is_waiting = self.run.status is RunStatus.REQUIRES_ACTION
            raise self._deadline_error(maybe_done=is_in_doubt and is_waiting) from None
        return self.run

    async def end_after_deadline(self, error: Exception) -> StatusChanged:
        """The run's end, if a last look after the deadline finds it; raises what `look_after_deadline` raises."""
        await self.look_after_deadline(error)
        if (change := self.observe()) is None:  # reported before
            raise error
        return change

    async def leave(self, read_on: ReadOn | None = None) -> None:
        """Stop following: cancel the run if ``on_exit`` says so, unless it has ended."""
        if self._news is not None and self.feed is not None and self.run is not None:
            self.feed.leave(self.run.id, self._news)
            self._news = None
        self._ends_at = self._stuck_at = self.reads_until = math.inf
        try:
            await self.in_span(self.leaving.leave(self.run, self.receive, read_on))
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        """From now on, what becomes of the run is the business of others."""
        self.requests.before_closing.discard(self.leave)

    async def _sleep(self, seconds: float, *, maybe_done: bool = False) -> None:
        remaining = self._ends_at - anyio.current_time()
        await anyio.sleep(min(seconds, max(remaining, 0.0)))
        if remaining <= seconds:
            raise self._deadline_error(maybe_done=maybe_done)

    def _deadline_error(self, *, maybe_done: bool = False) -> Exception:
        self.leaving.note_deadline()
        text = f"{self.requests.name} did not end within the deadline of {self.deadline} s"
        if self.run is None:
            self._passed = TransportError(f"{text}: the endpoint sent no response at all", maybe_done=maybe_done)
        else:
            text = f"{text}; its latest status was {self.run.status}"
            if self.toolbox is None and self.run.pending_tool_calls:
                text += ", and nobody has answered its tool calls: there is no toolbox"
            self._passed = RunDeadlineError(text, run=self.run, maybe_done=maybe_done)
        return self._passed

    def _store_hint(self, response: Response) -> None:
        """Store the server's hint when to poll next."""
        self._hint, self._hint_round = poll_hint(response.headers), self.requests.submissions.accepted


def outcome(run: Run) -> Run:
    """Return the run if it has completed, or raise the error for its status."""
    if run.status is RunStatus.COMPLETED:
        return run
    raise _action_error(run) if run.status is RunStatus.REQUIRES_ACTION else run_error(run)


def _action_error(run: Run) -> RunActionRequiredError:
    """The error for a run whose required action is not taken."""
    if names := ", ".join(call.function.name for call in run.pending_tool_calls):
        text = f"outputs of {names}: pass a toolbox, or use follow() and submit_tool_outputs()"
        return RunActionRequiredError(f"run {run.id} requires {text}", run=run)
    action = run.required_action
    if action is None:
        wanted = "an action, and the endpoint does not say which"
    elif action.submit_tool_outputs is None:
        wanted = f"the action {action.type!r}"
    else:
        kinds = sorted({repr(call.type) for call in action.submit_tool_outputs.tool_calls})
        wanted = f"outputs of an unknown tool, {', '.join(kinds)}" if kinds else "outputs of tools, and names no call"
    text = f"{wanted}: no toolbox can answer that; it is in run.required_action"
    return RunActionRequiredError(f"run {run.id} requires {text}", run=run)
