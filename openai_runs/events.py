"""The events that following and streaming a run yield. An event is a value: it holds no connection, and may be kept.

`RunEvent` covers the run's status, and is the same whether the run is polled or streamed. `StreamEvent` adds what the
run writes: snapshots of messages and steps, and the deltas in between, which are in `openai_runs.models.delta`.

``str(event)`` is one line of at most 80 characters, for a terminal or a log; ``repr(event)`` has everything in it.
"""

from typing import TYPE_CHECKING, Any, TypeAlias, Union

from attrs import field, frozen

from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FunctionToolCall, ToolOutput

if TYPE_CHECKING:  # four dozen classes, which programs without streaming need not load
    from openai_runs.models.delta import MessageDelta, RunStepDelta
    from openai_runs.models.run_step import RunStep


@frozen
class StatusChanged:
    """The run's status has changed.

    The base of `ActionRequired` and `RunEnded`: in a ``match``, their cases come before its own.
    """

    run: Run
    previous: RunStatus | None  #: ``None`` for the first snapshot

    def __str__(self) -> str:
        from openai_runs.models.lines import run_line

        return run_line(self.run, self.previous)

    @property
    def status(self) -> RunStatus:
        """The new status."""
        return self.run.status


@frozen
class ActionRequired(StatusChanged):
    """The run waits for tool outputs, for the first time or again, perhaps with calls that have the same IDs.

    Some endpoints require other actions, such as approvals: ``run.required_action`` has them as they were sent.
    """

    @property
    def tool_calls(self) -> tuple[FunctionToolCall, ...]:
        """The pending function calls, whose outputs are submitted together; empty if another action is required."""
        return self.run.pending_tool_calls


@frozen
class RunEnded(StatusChanged):
    """The run has ended, well or badly; always the last event."""


@frozen
class ToolOutputsSubmitted:
    """The toolbox has answered the tool calls, and the server has accepted the outputs."""

    run: Run  #: the latest snapshot
    outputs: tuple[ToolOutput, ...]

    def __str__(self) -> str:
        return _one_line(f"{self.run.id} tool outputs submitted: {len(self.outputs)}")


@frozen
class PollingTookOver:
    """The stream has ended or there is none, so the run is polled. No event is repeated, and none is lost.

    The API can neither resume a broken stream nor open one to an active run. While polling, what the run writes comes
    in larger pieces, at the latest before the run requires tool outputs or ends. Submitting the next tool outputs opens
    a new stream.
    """

    run: Run  #: the latest snapshot
    reason: str  #: why there is no stream

    def __str__(self) -> str:
        return _one_line(f"{self.run.id} is polled: {self.reason}")


@frozen
class ThreadCreated:
    """The thread that was created together with the run."""

    thread: Thread
    name: str = "thread.created"

    def __str__(self) -> str:
        return _one_line(f"{self.thread.id} created")


@frozen
class MessageChanged:
    """A snapshot of a message that has begun, completed or ended early. Its text has come before, as deltas."""

    message: Message
    name: str  #: the event's name on the wire, such as ``thread.message.completed``

    def __str__(self) -> str:
        text = f" {self.message.text!r}" if self.message.text else ""
        return _one_line(f"{self.message.id} {_last_word(self.name)}{text}")


@frozen
class StepChanged:
    """A snapshot of a run step that has begun, completed or ended in another way."""

    step: "RunStep"
    name: str  #: the event's name on the wire, such as ``thread.run.step.completed``

    def __str__(self) -> str:
        from openai_runs.models.lines import step_line

        return step_line(self.step, _last_word(self.name))


@frozen
class UnknownEvent:
    """An event that this library does not know; the API may add some at any time."""

    name: str
    raw: Any = field(hash=False)  #: the event's data as parsed JSON, or as text if it is not JSON

    def __str__(self) -> str:
        return _one_line(f"{self.name} (unknown event)")


def _last_word(name: str) -> str:
    """What has happened, of an event's name on the wire."""
    return name.rpartition(".")[2]


def _one_line(text: str) -> str:
    from openai_runs.models.lines import one_line  # most programs show no events

    return one_line(text)


RunEvent: TypeAlias = StatusChanged | ToolOutputsSubmitted | PollingTookOver
StreamEvent: TypeAlias = Union[
    RunEvent, ThreadCreated, MessageChanged, "MessageDelta", StepChanged, "RunStepDelta", UnknownEvent
]
