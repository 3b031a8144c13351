"""`Follower`: the state of following one run, shared by polling and streaming.

It owns the run's latest snapshot, its address, the deadline, the tolerance for outages, and whether the run is
cancelled when following stops. `observe` returns each change once, so its caller must pass every change on: what the
follower has *observed* counts as reported.
"""

import asyncio
import copy
import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from attrs import define, field

from openai_runs._arguments import check_seconds
from openai_runs._finishing import finish
from openai_runs._http.response import Response
from openai_runs._http.retries import FAILURES, is_outage, may_be_done, poll_hint, server_delay
from openai_runs.errors import (
    BadRequestError,
    OpenAIRunsError,
    RunActionRequiredError,
    RunDeadlineError,
    RunStuckError,
    TransportError,
    run_error,
)
from openai_runs.events import ActionRequired, RunEvent, StatusChanged, ToolOutputsSubmitted
from openai_runs.following.options import OnExit, check_on_exit
from openai_runs.following.polling import Polling
from openai_runs.following.run_requests import RunRequests
from openai_runs.lifecycle import RunLifecycle, required
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import ToolOutput
from openai_runs.toolbox import Toolbox
from openai_runs.toolbox.memory import settle

_logger = logging.getLogger("openai_runs.following")
T = TypeVar("T")

#: Seconds that cancelling the run may take when following stops early; after a deadline, with the last look at the run.
_CANCEL_TIMEOUT: Final = 5.0
#: Seconds between two looks for a run that is being started.
_LOOK_EVERY: Final = 0.25
#: Seconds after tool outputs were accepted, or refused as not required, in which the same calls are taken for a stale
#: snapshot: of a replica that lags behind.
_REPLICA_LAG: Final = 2.0


@define
class Follower:
    """The state of following one run: its latest snapshot, how to fetch the next one, and when to stop."""

    requests: RunRequests
    run: Run | None  #: the latest snapshot
    toolbox: Toolbox | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    polling: Polling = field(default=Polling(), kw_only=True)
    on_exit: OnExit = field(default="leave", kw_only=True)
    pending_action: ActionRequired | None = field(default=None, init=False)  #: observed, and not answered yet
    #: Whether `pending_action` may be stale: it has the calls that were answered last. Reported once they are accepted.
    is_in_doubt: bool = field(default=False, init=False)
    _lifecycle: RunLifecycle = field(factory=RunLifecycle, init=False)
    _is_unobserved: bool = field(init=False)  # whether `observe` has yet to see the latest snapshot
    _is_current: bool = field(default=True, init=False)  # whether the latest snapshot is of a poll or a stream
    _unchanged: int = field(default=0, init=False)  # how many snapshots in a row were unchanged
    _hint: float | None = field(default=None, init=False)
    _began: bool = field(default=False, init=False)
    _ends_at: float = field(default=math.inf, init=False)  # the deadline
    _stuck_at: float = field(default=math.inf, init=False)  # when a run that stays queued counts as stuck
    _passed: Exception | None = field(default=None, init=False)  # the deadline's error, once it has passed
    leave_by: float = field(default=math.inf, init=False)  #: after the deadline, when everything has to be finished
    _starting: asyncio.Task[Any] | None = field(default=None, init=False)  # the request that starts the run
    _was_refused: bool = field(default=False, init=False)  # the run was not started: there is nothing to cancel
    # Rounds of tool calls. What was answered last counts as stale while no snapshot has shown the run beyond it.
    _accepted: int = field(init=False)  # how many submissions have been taken into account
    _answered: object = field(default=None, init=False)
    _stale_until: float = field(default=0.0, init=False)  # until then, nothing is done about a stale snapshot
    _before_doubt: RunLifecycle = field(factory=RunLifecycle, init=False)
    _outputs: tuple[object, tuple[ToolOutput, ...]] = field(default=(None, ()), init=False)  # of the toolbox, last

    def __attrs_post_init__(self) -> None:
        check_seconds("deadline", self.deadline, zero=True, none=True)
        check_on_exit(self.on_exit)
        if not isinstance(self.polling, Polling):
            raise TypeError(f"polling must be a Polling: got {self.polling!r}")
        if self.toolbox is not None and not isinstance(self.toolbox, Toolbox):
            raise TypeError(f"toolbox must be a Toolbox: got {self.toolbox!r}")
        self._is_unobserved = self.run is not None
        self._accepted = self.requests.submissions.accepted

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """Poll the run, and yield its events; see `RunsService.follow`."""
        self.start_clock()
        try:
            while not self.has_reported_end:
                try:
                    events = await self._next_events()
                except (RunDeadlineError, TransportError) as error:
                    events = (await self.end_after_deadline(error),)
                for event in events:
                    yield event
        finally:
            await self.leave()

    async def _next_events(self) -> tuple[RunEvent, ...]:
        """Poll until there is a change; or, if it was that outputs are required, submit them."""
        action = self.pending_action
        if action is None or self.toolbox is None:
            change = await self.next_change()
            return () if self.is_in_doubt else (change,)
        was_in_doubt = self.is_in_doubt
        submit = partial(self.requests.submit, asked=action.run, on_response=self._store_hint)
        outputs, run = await self.answer_calls(self.toolbox, action, submit)
        if run is None:
            return ()
        self.receive(run, is_current=False)
        submitted = ToolOutputsSubmitted(run=run, outputs=outputs)
        return (action, submitted) if was_in_doubt else (submitted,)

    @property
    def has_reported_end(self) -> bool:
        """Whether the run's end has been reported; a terminal snapshot may have arrived before that."""
        return self._lifecycle.has_ended

    @property
    def reads_until(self) -> float:
        """When the wait for a stream's next bytes ends: at the deadline, or once the run is stuck."""
        return min(self._ends_at, self._stuck_at)

    def start_clock(self) -> None:
        """Start counting towards the deadline; later calls change nothing."""
        if self._began:
            return
        self._began = True
        now = anyio.current_time()
        if self.deadline is not None:
            self._ends_at = now + self.deadline
        if self.polling.queued_timeout is not None:
            self._stuck_at = now + self.polling.queued_timeout

    async def start(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Send the request that starts or continues the run."""
        try:
            return await self.before_deadline(self._send_start(request), maybe_done=True)
        except Exception as error:
            self._was_refused = not may_be_done(error)
            raise

    async def _send_start(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self.on_exit == "leave":
            return await request()
        # In a task of its own, which goes on if this one is cancelled: a request that is abandoned may still start the
        # run, and only its response has the run's ID.
        task: asyncio.Task[T] = asyncio.create_task(request())
        self._starting = task
        await asyncio.wait([task])
        self._starting = None
        return task.result()

    async def next_change(self) -> StatusChanged:
        """Poll until there is a change to report."""
        while True:
            if self.run is None:
                self.receive(await self.before_deadline(self.requests.retrieve(self._store_hint)))
            elif not self._is_unobserved:
                await self._sleep(self.polling.delay(self._unchanged, self._hint))
                await self.refresh()
            if (change := self.observe()) is not None:
                return change

    async def refresh(self) -> None:
        """Fetch the current state of the run."""
        self.receive(await self.through_outages(partial(self.requests.retrieve, self._store_hint)))

    def receive(self, run: Run, *, is_current: bool = True) -> None:
        """Store a new snapshot; `observe` compares it with the previous one.

        Args:
            run: The snapshot.
            is_current: Whether a poll or a stream sent it, rather than the response to a submission.
        """
        self.run = run
        self._is_unobserved = True
        self._is_current = is_current
        self.requests.learn_address(run)

    def trust(self) -> None:
        """The next snapshot comes from a stream, which began after the latest submission: it is not stale."""
        self._note_submissions()
        self._answered = None

    def observe(self) -> StatusChanged | None:
        """Compare the latest snapshot with the one observed before it.

        Returns:
            The change, for the caller to report, unless `is_in_doubt`; ``None`` if there is none.

        Raises:
            RunStuckError: Nothing has changed, and the run has been ``queued`` for too long.
        """
        run = self.run
        if run is None:
            return None
        self._is_unobserved = False
        self._note_submissions()
        change = None if self._is_stale(run) else self._lifecycle.observe(run)
        if change is None:
            self._unchanged += 1
            self.check_queued()
            return None
        self._unchanged = 0
        timeout = self.polling.queued_timeout if run.status is RunStatus.QUEUED else None
        if timeout is None:
            self._stuck_at = math.inf
        elif change.previous is not None:  # the first snapshot counts from the start of the clock
            self._stuck_at = anyio.current_time() + timeout
        self.pending_action = change if isinstance(change, ActionRequired) else None
        return change

    def _note_submissions(self) -> None:
        """Begin a new round if outputs were accepted, whoever in this session has submitted them."""
        accepted = self.requests.submissions.accepted
        if accepted == self._accepted:
            return
        self._accepted = accepted
        self._answered = self._lifecycle.pending
        self._lifecycle.begin_round()
        # With a toolbox, submitting the same outputs again tells whether a snapshot is stale; without, only time does.
        self._stale_until = anyio.current_time() + _REPLICA_LAG if self.toolbox is None else 0.0

    def _is_stale(self, run: Run) -> bool:
        """Whether a snapshot counts as older than the latest submission; sets `is_in_doubt` if it may be."""
        self.is_in_doubt = False
        if self._answered is None:
            return False
        if required(run) != self._answered:
            if self._is_current:  # the endpoint has taken the submission in
                self._answered = None
            return False
        if not self._is_current or anyio.current_time() < self._stale_until:
            return True
        self.is_in_doubt = self.toolbox is not None
        self._before_doubt = copy.copy(self._lifecycle)
        return False

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
        wanted, was_in_doubt = required(action.run), self.is_in_doubt
        if was_in_doubt and self._outputs[0] == wanted:
            outputs = self._outputs[1]  # no tool is called again for what may be the same round
        else:
            outputs = await self.before_deadline(toolbox.answer(action.tool_calls, run_id=action.run.id))
            self._outputs = wanted, outputs
        self.pending_action, self.is_in_doubt = None, False
        try:
            return outputs, await self.through_outages(partial(submit, outputs), maybe_done=True)
        except BadRequestError:
            # Fine if the run ended while the tools ran, or another client submitted outputs: keep following it.
            await self.refresh()
            if was_in_doubt:  # it was stale: as if it had not been observed
                self._lifecycle = self._before_doubt
                self._stale_until = anyio.current_time() + _REPLICA_LAG
            elif self.run is not None and required(self.run) == wanted:
                raise
            settle(outputs)
            return outputs, None

    async def through_outages(self, request: Callable[[], Awaitable[T]], *, maybe_done: bool = False) -> T:
        """Send a request; while the endpoint is unreachable, repeat it for up to `Polling.outage` seconds.

        For ``maybe_done`` see `before_deadline`.
        """
        failures, began = 0, math.inf
        while True:
            sent = anyio.current_time()
            try:
                return await self.before_deadline(request(), maybe_done=maybe_done)
            except FAILURES as error:
                now = anyio.current_time()
                began = min(began, sent)
                left = began + self.polling.outage - now
                if error is self._passed or not is_outage(error) or left <= 0:
                    raise
                asked = server_delay(error)
                _logger.warning(
                    "%s: the endpoint has been unreachable for %.1f s: %s", self.requests.name, now - began, error
                )
            delay = self.polling.delay(failures)
            if asked is not None:
                delay = max(delay, self.polling.delay(failures, asked))
            await self._sleep(min(delay, left))
            failures += 1

    async def before_deadline(self, work: Awaitable[T], *, maybe_done: bool = False) -> T:
        """Await ``work``, but raise at the deadline.

        Args:
            work: What to wait for.
            maybe_done: Whether the deadline's error must say that ``work`` may have taken effect.
        """
        if self._ends_at == math.inf:
            return await work
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
        # Of a run that was only being started, the look leaves no doubt; outputs may still arrive after it.
        is_in_doubt = self.run is not None and may_be_done(error)
        with anyio.move_on_after(_CANCEL_TIMEOUT / 2):  # the rest of the time is for cancelling the run
            try:
                if (run := await self.requests.look()) is not None:
                    self.receive(run)
            except Exception as failure:  # of any kind, api_key()'s own too: the deadline's doubt must not get lost
                error.add_note(f"A last look at the run failed: {_reason(failure)}")
                raise error from None
        if self.run is None:
            raise error
        if not self.run.status.is_terminal:
            raise self._deadline_error(maybe_done=is_in_doubt) from None
        return self.run

    async def end_after_deadline(self, error: Exception) -> StatusChanged:
        """The run's end, if a last look after the deadline finds it; raises what `look_after_deadline` raises."""
        await self.look_after_deadline(error)
        if (change := self.observe()) is None:  # reported before
            raise error
        return change

    async def leave(self, read: Callable[[Any], Awaitable[bool]] | None = None) -> None:
        """Stop following: cancel the run if ``on_exit`` says so, unless it has ended.

        Args:
            read: Takes over what the start returned after its caller had given up; or, with ``None``, reads on in the
                stream that there is, which has the ID of a run that is not known yet. Returns whether there is more.
        """
        if self.on_exit == "leave" or self._was_refused or (self.run is not None and self.run.status.is_terminal):
            return
        # As a rule the caller's task is being cancelled, and that may happen again meanwhile.
        await finish(self._cancel_run(read))

    async def _cancel_run(self, read: Callable[[Any], Awaitable[bool]] | None) -> None:
        self._ends_at = self._stuck_at = math.inf
        with anyio.move_on_at(min(self.leave_by, anyio.current_time() + _CANCEL_TIMEOUT)) as scope:
            try:
                await self._find_started(read)
                if not self._was_refused:
                    self.run = await self.requests.cancel_unless_ended()
            except Exception as error:  # of any kind, as above: logged only, or it would hide what ended following
                _logger.warning("%s could not be cancelled: %s", self.requests.name, _reason(error))
        if scope.cancelled_caught:
            _logger.warning("%s could not be cancelled within %s s", self.requests.name, _CANCEL_TIMEOUT)
        if (starting := self._starting) is not None:
            starting.cancel()
            await asyncio.wait([starting])
            if read is not None and not starting.cancelled() and starting.exception() is None:
                await read(starting.result())

    async def _find_started(self, read: Callable[[Any], Awaitable[bool]] | None) -> None:
        """Find the run that is being started: its request may arrive after the first look for it, so look again."""
        requests = self.requests
        while not requests.has_address:
            starting = self._starting
            if starting is not None and starting.done():
                self._starting = None
                if (error := starting.exception()) is None:
                    if read is not None:
                        await read(starting.result())
                elif isinstance(error, Exception) and not may_be_done(error):
                    self._was_refused = True
                    return
            elif requests.can_be_found:
                await self._look_for_start(starting)
            elif starting is not None:
                await asyncio.wait([starting])
            elif read is None or not await read(None):
                requests.url  # noqa: B018  # raises an error that says that it is not known

    async def _look_for_start(self, starting: asyncio.Task[Any] | None) -> None:
        """Look for the run once; wait a little if it is not there."""
        try:
            run = await self.requests.look()
        except OpenAIRunsError as error:
            if not is_outage(error):
                raise
            run = None
        if run is not None:
            self.receive(run)
        elif starting is not None:
            await asyncio.wait([starting], timeout=_LOOK_EVERY)
        else:
            await anyio.sleep(_LOOK_EVERY)

    async def _sleep(self, seconds: float) -> None:
        remaining = self._ends_at - anyio.current_time()
        await anyio.sleep(min(seconds, max(remaining, 0.0)))
        if remaining <= seconds:
            raise self._deadline_error()

    def _deadline_error(self, *, maybe_done: bool = False) -> Exception:
        if self._passed is None:
            self.leave_by = anyio.current_time() + _CANCEL_TIMEOUT
        text = f"{self.requests.name} did not end within the deadline of {self.deadline} s"
        if self.run is None:
            self._passed = TransportError(f"{text}: the endpoint sent no response at all", maybe_done=maybe_done)
        else:
            text = f"{text}; its latest status was {self.run.status}"
            self._passed = RunDeadlineError(text, run=self.run, maybe_done=maybe_done)
        return self._passed

    def _store_hint(self, response: Response) -> None:
        """Store the server's hint when to poll next."""
        self._hint = poll_hint(response.headers)


def _reason(error: Exception) -> object:
    """What to say of an error; of one that is not this library's only its type, since its text may be secret."""
    return error if isinstance(error, OpenAIRunsError) else type(error).__name__


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
