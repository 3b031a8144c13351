"""`Follower`: one run under observation. Polling and streaming both stand on it.

It owns the run's latest snapshot, its address, the deadline, the patience with an endpoint that is out of reach, and
what becomes of the run when it is left. What it has *observed* it has told: whoever asks it for changes passes each on.
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

_logger = logging.getLogger("openai_runs.runs")
T = TypeVar("T")

#: Seconds that cancelling a run on the way out may take.
_CANCEL_TIMEOUT: Final = 10.0


@define
class Follower:
    """One run under observation."""

    requests: RunRequests
    run: Run | None  #: the latest snapshot
    toolbox: Toolbox | None = field(default=None, kw_only=True)
    deadline: float | None = field(default=None, kw_only=True)
    polling: Polling = field(default=Polling(), kw_only=True)
    on_exit: OnExit = field(default="leave", kw_only=True)
    wanted: ActionRequired | None = field(default=None, init=False)  #: what the run waits for, once that is told
    _lifecycle: RunLifecycle = field(factory=RunLifecycle, init=False)
    _is_news: bool = field(init=False)  # whether the snapshot is yet to be observed
    _unchanged: int = field(default=0, init=False)  # how many snapshots in a row have brought nothing new
    _changed_at: float = field(default=0.0, init=False)
    _hint: float | None = field(default=None, init=False)
    _ends_at: float = field(default=math.inf, init=False)
    _was_refused: bool = field(default=False, init=False)  # there is no run, and nothing to cancel

    def __attrs_post_init__(self) -> None:
        check_seconds("deadline", self.deadline, zero=True, none=True)
        check_on_exit(self.on_exit)
        if not isinstance(self.polling, Polling):
            raise TypeError(f"polling must be a Polling: got {self.polling!r}")
        if self.toolbox is not None and not isinstance(self.toolbox, Toolbox):
            raise TypeError(f"toolbox must be a Toolbox: got {self.toolbox!r}")
        self._is_news = self.run is not None

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """The run's story by polling; see `RunsService.follow`."""
        self.start_clock()
        try:
            while not self.has_told_end:
                change = await self.next_change()
                yield change
                if self.wanted is not None and self.toolbox is not None:
                    outputs, run = await self.answer_calls(
                        self.toolbox, self.wanted, partial(self.requests.submit, on_response=self._note_hint)
                    )
                    if run is not None:
                        self.take(run)
                        yield ToolOutputsSubmitted(run=run, outputs=outputs)
        finally:
            await self.leave()

    @property
    def has_told_end(self) -> bool:
        """Whether the run's end has been told, which is more than that a snapshot of it has come."""
        return self._lifecycle.has_ended

    def start_clock(self) -> None:
        """The deadline counts from the first call."""
        if self.deadline is not None and self._ends_at == math.inf:
            self._ends_at = anyio.current_time() + self.deadline

    async def start(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send the request that starts the run, or that goes on with it."""
        try:
            return await self.in_time(request(), maybe_done=True)
        except Exception as error:
            self._was_refused = not may_be_done(error)
            raise

    async def next_change(self) -> StatusChanged:
        """Ask for the run until there is something new to tell of it."""
        while True:
            if self.run is None:
                self.take(await self.in_time(self.requests.retrieve(self._note_hint)))
            elif not self._is_news:
                await self._sleep(self.polling.delay(self._unchanged, self._hint))
                await self.refresh()
            if (change := self.observe()) is not None:
                return change

    async def refresh(self) -> None:
        """Fetch the run as it is now."""
        self.take(await self.patiently(partial(self.requests.retrieve, self._note_hint)))

    def take(self, run: Run) -> None:
        """Take a snapshot that is yet to be observed."""
        self.run = run
        self._is_news = True
        self.requests.know(run)

    def observe(self) -> StatusChanged | None:
        """Look at the snapshot that was taken; what has changed is the caller's to tell.

        Raises:
            RunStuckError: Nothing has, and the run is ``queued`` for too long.
        """
        if self.run is None:
            return None
        self._is_news = False
        change = self._lifecycle.observe(self.run)
        if change is None:
            self._unchanged += 1
            self.check_queued()
            return None
        self._unchanged = 0
        self._changed_at = anyio.current_time()
        self.wanted = change if isinstance(change, ActionRequired) else None
        return change

    def check_queued(self) -> None:
        """See to it that the run is not ``queued`` for too long.

        Raises:
            RunStuckError: It is.
        """
        run, most = self.run, self.polling.queued_timeout
        if run is None or run.status is not RunStatus.QUEUED or most is None:
            return
        if anyio.current_time() - self._changed_at >= most:
            raise RunStuckError(
                f"{self.requests.name} has been queued for {most} s: the endpoint is overloaded, or lost the run. "
                "Cancel it and start anew, or raise Polling.queued_timeout",
                run=run,
            )

    async def answer_calls(
        self, toolbox: Toolbox, wanted: ActionRequired, submit: Callable[[tuple[ToolOutput, ...]], Awaitable[T]]
    ) -> tuple[tuple[ToolOutput, ...], T | None]:
        """Call the tools, and submit their outputs.

        Returns:
            The outputs, and what the submission brought: ``None`` if the run has gone on without them.
        """
        outputs = await self.in_time(toolbox.answer(wanted.tool_calls, run_id=wanted.run.id))
        self.wanted = None
        try:
            return outputs, await self.patiently(partial(submit, outputs))
        except BadRequestError:
            # The run has ended while the tools were at work, or somebody else has answered: then it goes on from there.
            await self.refresh()
            waiting = {call.id for call in self.run.pending_tool_calls} if self.run is not None else set()
            if not waiting.isdisjoint(output.tool_call_id for output in outputs):
                raise
            return outputs, None

    async def patiently(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send a request, and bear an endpoint that is out of reach for a while."""
        failures, out_since = 0, math.inf
        while True:
            try:
                return await self.in_time(request())
            except (TransportError, ResponseError) as error:
                now = anyio.current_time()
                out_since = min(out_since, now)
                if not is_transient(error) or now - out_since >= self.polling.outage:
                    raise
                _logger.warning(
                    "%s: the endpoint has been out of reach for %.1f s: %s", self.requests.name, now - out_since, error
                )
            await self._sleep(self.polling.delay(failures))
            failures += 1

    async def in_time(self, work: Awaitable[T], *, maybe_done: bool = False) -> T:
        """Wait for something, and no longer than to the deadline; it may have had its effect then, if it has one."""
        if self._ends_at == math.inf:
            return await work
        with anyio.move_on_at(self._ends_at):
            return await work
        raise self._deadline_error(maybe_done=maybe_done)  # nothing but the scope's end leads here

    async def leave(self) -> None:
        """Do on the way out what the caller wants done: cancel the run, unless it has ended."""
        if self.on_exit == "leave" or self._was_refused or (self.run is not None and self.run.status.is_terminal):
            return
        # Shielded: that somebody cancels us is the main reason to come here.
        with anyio.move_on_after(_CANCEL_TIMEOUT, shield=True) as scope:
            try:
                self.run = await self.requests.stop()
            except OpenAIRunsError as error:  # the reason for leaving must not be hidden by this one
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
            return TransportError(f"{text}: the endpoint did not even answer", maybe_done=maybe_done)
        return RunDeadlineError(f"{text}; it was {self.run.status} when last seen", run=self.run)

    def _note_hint(self, response: Response) -> None:
        """Note when the server wants to be asked again."""
        self._hint = poll_hint(response.headers)


def outcome(run: Run) -> Run:
    """The run, if it has completed; else what keeps it from that is raised."""
    if run.status is RunStatus.COMPLETED:
        return run
    if run.status is not RunStatus.REQUIRES_ACTION:
        raise run_error(run)
    names = ", ".join(call.function.name for call in run.pending_tool_calls)
    raise RunActionRequiredError(
        f"run {run.id} wants outputs of {names or 'an unknown tool'}: pass a toolbox, or use follow() and "
        "submit_tool_outputs()",
        run=run,
    )
