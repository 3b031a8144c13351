"""What following and streaming a run yield. An event is a value: it holds no connection, and may be kept.

`RunEvent` is the story of a run, the same whether its endpoint is polled or streams. `StreamEvent` adds what the run
writes meanwhile: each snapshot of a message or step, and the deltas in between, which are models of their own.
"""

from typing import TYPE_CHECKING, Any, TypeAlias, Union

from attrs import field, frozen

from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FunctionToolCall, ToolOutput

if TYPE_CHECKING:  # deltas are two dozen classes, which programs that do not stream need not pay for
    from openai_runs.models.delta import MessageDelta, RunStepDelta


@frozen
class StatusChanged:
    """The run's status is another than before."""

    run: Run
    previous: RunStatus | None  #: ``None`` for the first snapshot

    @property
    def status(self) -> RunStatus:
        """The new status."""
        return self.run.status


@frozen
class ActionRequired(StatusChanged):
    """The run waits for tool outputs: the first time, or again with other calls."""

    @property
    def tool_calls(self) -> tuple[FunctionToolCall, ...]:
        """The calls to answer, all in one submission."""
        return self.run.pending_tool_calls


@frozen
class RunEnded(StatusChanged):
    """The run has ended, well or badly; always the last event."""


@frozen
class ToolOutputsSubmitted:
    """The toolbox has answered, and the server has taken the answers."""

    run: Run  #: as it was when last seen
    outputs: tuple[ToolOutput, ...]


@frozen
class PollingTookOver:
    """There is no stream to be had for what comes next, so the run is polled. Nothing is told twice, nothing left out.

    A stream that broke off cannot be taken up again, nor can one be opened to a run that is under way: the API has
    neither. What the run writes meanwhile comes in larger pieces, at the latest before the run waits for tool outputs
    or ends. The next tool outputs are answered with a stream again.
    """

    run: Run  #: as it was when last seen
    reason: str


@frozen
class ThreadCreated:
    """The thread that a run was started together with."""

    thread: Thread
    name: str = "thread.created"


@frozen
class MessageChanged:
    """A message as the server has it now: begun, completed, or ended early. Its text came before, as deltas."""

    message: Message
    name: str  #: on the wire: ``thread.message.completed``


@frozen
class StepChanged:
    """A run step as the server has it now: begun, completed, or ended in another way."""

    step: RunStep
    name: str  #: on the wire: ``thread.run.step.completed``


@frozen
class UnknownEvent:
    """An event of a kind that this library does not know; the API is free to add some."""

    name: str
    raw: Any = field(hash=False)  #: the payload, parsed; its text if it is not JSON


RunEvent: TypeAlias = StatusChanged | ToolOutputsSubmitted | PollingTookOver
StreamEvent: TypeAlias = Union[
    RunEvent, ThreadCreated, MessageChanged, "MessageDelta", StepChanged, "RunStepDelta", UnknownEvent
]
