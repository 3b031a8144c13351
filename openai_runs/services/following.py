"""The loop behind `RunsService.follow`: ask, tell what changed, answer tool calls, wait."""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Final, Literal, TypeVar

import anyio
from attrs import define, field

from openai_runs._arguments import check_seconds
from openai_runs._retries import is_transient, poll_hint
from openai_runs._transport import Answer
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
from openai_runs.events import ActionRequired, RunEnded, RunEvent, StatusChanged, ToolOutputsSubmitted
from openai_runs.lifecycle import Polling, RunLifecycle
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import ToolOutput
from openai_runs.services.one_run import OneRun
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.runs")
T = TypeVar("T")

#: Seconds that cancelling a run on the way out may take.
_LAST_WISH: Final = 10.0


OnExit = Literal["leave", "cancel"]


def cancels(on_exit: OnExit) -> bool:
    """Whether to cancel an unfinished run on the way out.

    Raises:
        ValueError: It is not one of the words.
    """
    if on_exit not in ("leave", "cancel"):
        raise ValueError(f"on_exit must be 'leave' or 'cancel': got {on_exit!r}")
    return on_exit == "cancel"


@define
class Follower:
    """One run's story in the making."""

    one: OneRun
    toolbox: Toolbox | None
    deadline: float | None
    polling: Polling
    run: Run | None  #: the latest snapshot
    _lifecycle: RunLifecycle = field(factory=RunLifecycle, init=False)
    _changed_at: float = field(default=0.0, init=False)
    _hint: float | None = field(default=None, init=False)
    _ends_at: float = field(default=math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        check_seconds("deadline", self.deadline, zero=True, none=True)
        if not isinstance(self.polling, Polling):
            raise TypeError(f"polling must be a Polling: got {self.polling!r}")
        if self.toolbox is not None and not isinstance(self.toolbox, Toolbox):
            raise TypeError(f"toolbox must be a Toolbox: got {self.toolbox!r}")

    async def events(self, *, cancel_on_exit: bool = False) -> AsyncGenerator[RunEvent, None]:
        """See `RunsService.follow`."""
        self.start_clock()
        unchanged = 0
        try:
            if self.run is None:
                self.run = await self.in_time(self.one.retrieve(self.listen))
            while True:
                event = self.observe(self.run)
                if event is None:
                    unchanged += 1
                else:
                    yield event
                    if isinstance(event, RunEnded):
                        return
                    unchanged = 0
                if isinstance(event, ActionRequired) and self.toolbox is not None:
                    outputs, run = await self.answer(
                        self.toolbox, event, lambda made: self.one.submit(made, self.listen)
                    )
                    if run is not None:
                        self.run = run
                        yield ToolOutputsSubmitted(run=run, outputs=outputs)
                    continue
                await self._sleep(self.polling.delay(unchanged, self._hint))
                await self.refresh()
        finally:
            if cancel_on_exit:
                await self.cancel_unfinished()

    @property
    def has_told_the_end(self) -> bool:
        """Whether the run's end has been told, which is more than that a snapshot of it has come."""
        return self._lifecycle.has_ended

    def start_clock(self) -> None:
        """The deadline counts from the first call."""
        if self.deadline is not None and self._ends_at == math.inf:
            self._ends_at = anyio.current_time() + self.deadline

    def observe(self, run: Run) -> StatusChanged | None:
        """Take a snapshot, and say what has changed."""
        self.run = run
        self.one.know(run)
        event = self._lifecycle.observe(run)
        if event is not None:
            self._changed_at = anyio.current_time()
        else:
            self.check_queued()
        return event

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
                f"{self.one.name} has been queued for {most} s: the endpoint is overloaded, or lost the run. "
                "Cancel it and start anew, or raise Polling.queued_timeout",
                run=run,
            )

    async def refresh(self) -> Run:
        """Fetch the run as it is now."""
        self.run = run = await self.patiently(partial(self.one.retrieve, self.listen))
        return run

    async def answer(
        self, toolbox: Toolbox, wanted: ActionRequired, submit: Callable[[tuple[ToolOutput, ...]], Awaitable[T]]
    ) -> tuple[tuple[ToolOutput, ...], T | None]:
        """Call the tools, and submit their outputs; what came back is ``None`` if the run has gone on without them."""
        outputs = await self.in_time(toolbox.answer(wanted.tool_calls, run_id=wanted.run.id))
        try:
            return outputs, await self.patiently(partial(submit, outputs))
        except BadRequestError:
            # The run has ended while the tools were at work, or somebody else has answered: then it goes on from there.
            waiting = {call.id for call in (await self.refresh()).pending_tool_calls}
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
                    "%s: the endpoint has been out of reach for %.1f s: %s", self.one.name, now - out_since, error
                )
            await self._sleep(self.polling.delay(failures))
            failures += 1

    async def _sleep(self, seconds: float) -> None:
        remaining = self._ends_at - anyio.current_time()
        await anyio.sleep(min(seconds, max(remaining, 0.0)))
        if remaining <= seconds:
            raise self._too_late()

    async def in_time(self, work: Awaitable[T], *, maybe_done: bool = False) -> T:
        """Wait for something, and no longer than to the deadline; it may have had its effect then, if it has one."""
        if self._ends_at == math.inf:
            return await work
        with anyio.move_on_at(self._ends_at):
            return await work
        raise self._too_late(maybe_done=maybe_done)  # nothing but the scope's end leads here

    def _too_late(self, *, maybe_done: bool = False) -> Exception:
        text = f"{self.one.name} did not end within the deadline of {self.deadline} s"
        if self.run is None:
            return TransportError(f"{text}: the endpoint did not even answer", maybe_done=maybe_done)
        return RunDeadlineError(f"{text}; it was {self.run.status} when last seen", run=self.run)

    def listen(self, answer: Answer) -> None:
        """Note when the server wants to be asked again."""
        self._hint = poll_hint(answer.headers)

    async def cancel_unfinished(self) -> None:
        """Cancel the run on the way out, unless it has ended."""
        if self.run is not None and self.run.status.is_terminal:
            return
        # Shielded: that somebody cancels us is the main reason to come here.
        with anyio.move_on_after(_LAST_WISH, shield=True) as scope:
            try:
                self.run = await self.one.stop()
            except OpenAIRunsError as error:  # the reason for leaving must not be hidden by this one
                _logger.warning("%s could not be cancelled: %s", self.one.name, error)
        if scope.cancelled_caught:
            _logger.warning("%s could not be cancelled within %s s", self.one.name, _LAST_WISH)


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
