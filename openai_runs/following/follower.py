"""`Follower`: the state of following one run, shared by polling and streaming.

It owns the run's latest snapshot, its address, the deadline, the tolerance for outages, and whether the run is
cancelled when following stops. `observe` returns each change once, so its caller must pass every change on: what the
follower has *observed* counts as reported.
"""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import anyio
from attrs import define, field

from openai_runs._arguments import check_seconds
from openai_runs._http.response import Response
from openai_runs._http.retries import is_transient, may_be_done, poll_hint
from openai_runs.errors import (
    BadRequestError,
    OpenAIRunsError,
    ResponseError,
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
from openai_runs.lifecycle import RunLifecycle
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import ToolOutput
from openai_runs.toolbox import Toolbox
from openai_runs.toolbox.memory import settle

_logger = logging.getLogger("openai_runs.runs")
T = TypeVar("T")

#: Seconds that cancelling the run may take when following stops early.
_CANCEL_TIMEOUT: Final = 10.0


@define
class Follower:
    """The state of following one run: its latest snapshot, how to fetch the next one, and when to stop."""

    requests: RunRequests
    run: Run | None  #: the latest snapshot
    toolbox: Toolbox | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    polling: Polling = field(default=Polling(), kw_only=True)
    on_exit: OnExit = field(default="leave", kw_only=True)
    pending_action: ActionRequired | None = field(default=None, init=False)  #: reported, and not answered yet
    _lifecycle: RunLifecycle = field(factory=RunLifecycle, init=False)
    _is_unobserved: bool = field(init=False)  # whether `observe` has yet to see the latest snapshot
    _unchanged: int = field(default=0, init=False)  # how many snapshots in a row were unchanged
    _changed_at: float = field(default=0.0, init=False)
    _hint: float | None = field(default=None, init=False)
    _ends_at: float = field(default=math.inf, init=False)
    _was_refused: bool = field(default=False, init=False)  # the run was not started: there is nothing to cancel

    def __attrs_post_init__(self) -> None:
        check_seconds("deadline", self.deadline, zero=True, none=True)
        check_on_exit(self.on_exit)
        if not isinstance(self.polling, Polling):
            raise TypeError(f"polling must be a Polling: got {self.polling!r}")
        if self.toolbox is not None and not isinstance(self.toolbox, Toolbox):
            raise TypeError(f"toolbox must be a Toolbox: got {self.toolbox!r}")
        self._is_unobserved = self.run is not None

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """Poll the run, and yield its events; see `RunsService.follow`."""
        self.start_clock()
        try:
            while not self.has_reported_end:
                change = await self.next_change()
                yield change
                if self.pending_action is not None and self.toolbox is not None:
                    outputs, run = await self.answer_calls(
                        self.toolbox, self.pending_action, partial(self.requests.submit, on_response=self._store_hint)
                    )
                    if run is not None:
                        self.receive(run)
                        yield ToolOutputsSubmitted(run=run, outputs=outputs)
        finally:
            await self.leave()

    @property
    def has_reported_end(self) -> bool:
        """Whether the run's end has been reported; a terminal snapshot may have arrived before that."""
        return self._lifecycle.has_ended

    def start_clock(self) -> None:
        """Start counting towards the deadline; later calls change nothing."""
        if self.deadline is not None and self._ends_at == math.inf:
            self._ends_at = anyio.current_time() + self.deadline

    async def start(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send the request that starts or continues the run."""
        try:
            return await self.before_deadline(request(), maybe_done=True)
        except Exception as error:
            self._was_refused = not may_be_done(error)
            raise

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

    def receive(self, run: Run) -> None:
        """Store a new snapshot; `observe` compares it with the previous one."""
        self.run = run
        self._is_unobserved = True
        self.requests.learn_address(run)

    def observe(self) -> StatusChanged | None:
        """Compare the latest snapshot with the one observed before it.

        Returns:
            The change, for the caller to report; ``None`` if there is none.

        Raises:
            RunStuckError: Nothing has changed, and the run has been ``queued`` for too long.
        """
        if self.run is None:
            return None
        self._is_unobserved = False
        change = self._lifecycle.observe(self.run)
        if change is None:
            self._unchanged += 1
            self.check_queued()
            return None
        self._unchanged = 0
        self._changed_at = anyio.current_time()
        self.pending_action = change if isinstance(change, ActionRequired) else None
        return change

    def check_queued(self) -> None:
        """Check how long the run has been ``queued``.

        Raises:
            RunStuckError: For `Polling.queued_timeout` seconds or more.
        """
        run, timeout = self.run, self.polling.queued_timeout
        if run is None or run.status is not RunStatus.QUEUED or timeout is None:
            return
        if anyio.current_time() - self._changed_at >= timeout:
            raise RunStuckError(
                f"{self.requests.name} has been queued for {timeout} s: the endpoint is overloaded, or lost the run. "
                "Cancel it and start a new one, or raise Polling.queued_timeout",
                run=run,
            )

    async def answer_calls(
        self, toolbox: Toolbox, action: ActionRequired, submit: Callable[[tuple[ToolOutput, ...]], Awaitable[T]]
    ) -> tuple[tuple[ToolOutput, ...], T | None]:
        """Call the tools, and submit their outputs.

        Returns:
            The outputs, and what ``submit`` returned; ``None`` if the run has continued without them.
        """
        run, calls = action.run, action.tool_calls
        if toolbox.has_settled(calls, run_id=run.id):  # an old snapshot, or an endpoint that uses call IDs again
            await self.refresh()
            calls = self.run.pending_tool_calls if self.run is not None else ()
            if {call.id for call in calls}.isdisjoint(call.id for call in action.tool_calls):
                self.pending_action = None
                return (), None
        outputs = await self.before_deadline(toolbox.answer(calls, run_id=run.id))
        self.pending_action = None
        try:
            return outputs, await self.through_outages(partial(submit, outputs))
        except BadRequestError:
            # Fine if the run ended while the tools ran, or another client submitted outputs: keep following it.
            await self.refresh()
            waiting = {call.id for call in self.run.pending_tool_calls} if self.run is not None else set()
            if not waiting.isdisjoint(output.tool_call_id for output in outputs):
                raise
            settle(outputs)
            return outputs, None

    async def through_outages(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send a request; while the endpoint is unreachable, repeat it for up to `Polling.outage` seconds."""
        failures, outage_start = 0, math.inf
        while True:
            try:
                return await self.before_deadline(request())
            except (TransportError, ResponseError) as error:
                now = anyio.current_time()
                outage_start = min(outage_start, now)
                if not is_transient(error) or now - outage_start >= self.polling.outage:
                    raise
                _logger.warning(
                    "%s: the endpoint has been unreachable for %.1f s: %s",
                    self.requests.name,
                    now - outage_start,
                    error,
                )
            await self._sleep(self.polling.delay(failures))
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

    async def leave(self) -> None:
        """Stop following: cancel the run if ``on_exit`` says so, unless it has ended."""
        if self.on_exit == "leave" or self._was_refused or (self.run is not None and self.run.status.is_terminal):
            return
        # Shielded: this usually runs because the caller's task is being cancelled.
        with anyio.move_on_after(_CANCEL_TIMEOUT, shield=True) as scope:
            try:
                self.run = await self.requests.cancel_unless_ended()
            except OpenAIRunsError as error:  # logged only, so that it does not hide the error that ended following
                _logger.warning("%s could not be cancelled: %s", self.requests.name, error)
        if scope.cancelled_caught:
            _logger.warning("%s could not be cancelled within %s s", self.requests.name, _CANCEL_TIMEOUT)

    async def _sleep(self, seconds: float) -> None:
        remaining = self._ends_at - anyio.current_time()
        await anyio.sleep(min(seconds, max(remaining, 0.0)))
        if remaining <= seconds:
            raise self._deadline_error()

    def _deadline_error(self, *, maybe_done: bool = False) -> Exception:
        text = f"{self.requests.name} did not end within the deadline of {self.deadline} s"
        if self.run is None:
            return TransportError(f"{text}: the endpoint sent no response at all", maybe_done=maybe_done)
        return RunDeadlineError(f"{text}; its latest status was {self.run.status}", run=self.run)

    def _store_hint(self, response: Response) -> None:
        """Store the server's hint when to poll next."""
        self._hint = poll_hint(response.headers)


def outcome(run: Run) -> Run:
    """Return the run if it has completed, or raise the error for its status."""
    if run.status is RunStatus.COMPLETED:
        return run
    if run.status is not RunStatus.REQUIRES_ACTION:
        raise run_error(run)
    names = ", ".join(call.function.name for call in run.pending_tool_calls)
    raise RunActionRequiredError(
        f"run {run.id} requires outputs of {names or 'an unknown tool'}: pass a toolbox, or use follow() and "
        "submit_tool_outputs()",
        run=run,
    )
