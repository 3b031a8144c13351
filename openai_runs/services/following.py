"""The loop behind `RunsService.follow`: ask, tell what changed, answer tool calls, wait."""

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import anyio
from attrs import define, field

from openai_runs._retries import is_transient, poll_hint
from openai_runs._transport import Answer, Listen
from openai_runs.errors import (
    BadRequestError,
    OpenAIRunsError,
    ResponseError,
    RunDeadlineError,
    RunStuckError,
    TransportError,
)
from openai_runs.events import ActionRequired, RunEnded, RunEvent, ToolOutputsSubmitted
from openai_runs.lifecycle import Polling, RunLifecycle
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import ToolOutput
from openai_runs.toolbox import Toolbox

_logger = logging.getLogger("openai_runs.runs")
T = TypeVar("T")

#: Seconds that cancelling a run on the way out may take.
_LAST_WISH: Final = 10.0


@define
class Follower:
    """One run's story in the making. The functions do the requests, and show each answer to their argument."""

    name: str  #: the run, for messages
    retrieve: Callable[[Listen], Awaitable[Run]]
    submit: Callable[[tuple[ToolOutput, ...], Listen], Awaitable[Run]]
    cancel: Callable[[], Awaitable[Run]]
    toolbox: Toolbox | None
    deadline: float | None
    polling: Polling
    _run: Run | None
    _hint: float | None = field(default=None, init=False)
    _ends_at: float = field(default=math.inf, init=False)

    async def events(self, *, cancel_on_exit: bool) -> AsyncGenerator[RunEvent, None]:
        """See `RunsService.follow`."""
        lifecycle, unchanged, changed_at = RunLifecycle(), 0, 0.0
        if self.deadline is not None:
            self._ends_at = anyio.current_time() + self.deadline
        try:
            if self._run is None:
                self._run = await self._in_time(self.retrieve(self._listen))
            run = self._run
            while True:
                event = lifecycle.observe(run)
                if event is None:
                    unchanged += 1
                else:
                    yield event
                    if isinstance(event, RunEnded):
                        return
                    unchanged, changed_at = 0, anyio.current_time()
                if isinstance(event, ActionRequired) and self.toolbox is not None:
                    outputs = await self._in_time(self.toolbox.answer(event.tool_calls, run_id=run.id))
                    run, taken = await self._submit(outputs)
                    if taken:
                        yield ToolOutputsSubmitted(run=run, outputs=outputs)
                    continue
                if run.status is RunStatus.QUEUED:
                    self._check_queued(run, changed_at)
                await self._sleep(self.polling.delay(unchanged, self._hint))
                run = await self._patiently(partial(self.retrieve, self._listen))
        finally:
            if cancel_on_exit and not (self._run and self._run.status.is_terminal):
                await self._cancel_on_exit()

    async def _submit(self, outputs: tuple[ToolOutput, ...]) -> tuple[Run, bool]:
        """Submit outputs; the run afterwards, and whether the endpoint took them."""
        try:
            return await self._patiently(partial(self.submit, outputs, self._listen)), True
        except BadRequestError:
            # The run has ended while the tools were at work, or somebody else has answered: then it goes on from there.
            run = await self._patiently(partial(self.retrieve, self._listen))
            waiting = {call.id for call in run.pending_tool_calls}
            if run.status is RunStatus.REQUIRES_ACTION and not waiting.isdisjoint(o.tool_call_id for o in outputs):
                raise
            return run, False

    async def _patiently(self, request: Callable[[], Awaitable[Run]]) -> Run:
        """Send a request, and bear an endpoint that is out of reach for a while."""
        failures, out_since = 0, math.inf
        while True:
            try:
                self._run = await self._in_time(request())
            except (TransportError, ResponseError) as error:
                now = anyio.current_time()
                out_since = min(out_since, now)
                if not is_transient(error) or now - out_since >= self.polling.outage:
                    raise
                _logger.warning(
                    "%s: the endpoint has been out of reach for %.1f s: %s", self.name, now - out_since, error
                )
            else:
                return self._run
            await self._sleep(self.polling.delay(failures))
            failures += 1

    async def _sleep(self, seconds: float) -> None:
        remaining = self._ends_at - anyio.current_time()
        await anyio.sleep(min(seconds, max(remaining, 0.0)))
        if remaining <= seconds:
            raise self._too_late()

    async def _in_time(self, work: Awaitable[T]) -> T:
        if self._ends_at == math.inf:
            return await work
        with anyio.move_on_at(self._ends_at):
            return await work
        raise self._too_late()  # nothing but the scope's end leads here

    def _too_late(self) -> Exception:
        text = f"{self.name} did not end within the deadline of {self.deadline} s"
        if self._run is None:
            return TransportError(f"{text}: the endpoint did not even answer", maybe_done=False)
        return RunDeadlineError(f"{text}; it was {self._run.status} when last seen", run=self._run)

    def _check_queued(self, run: Run, since: float) -> None:
        most = self.polling.queued_timeout
        if most is None or anyio.current_time() - since < most:
            return
        raise RunStuckError(
            f"{self.name} has been queued for {most} s: the endpoint is overloaded, or lost the run. "
            "Cancel it and start anew, or raise Polling.queued_timeout",
            run=run,
        )

    def _listen(self, answer: Answer) -> None:
        self._hint = poll_hint(answer.headers)

    async def _cancel_on_exit(self) -> None:
        # Shielded: that somebody cancels us is the main reason to come here.
        with anyio.move_on_after(_LAST_WISH, shield=True) as scope:
            try:
                self._run = await self.cancel()
            except OpenAIRunsError as error:  # the reason for leaving must not be hidden by this one
                _logger.warning("%s could not be cancelled: %s", self.name, error)
        if scope.cancelled_caught:
            _logger.warning("%s could not be cancelled within %s s", self.name, _LAST_WISH)
