"""What following a run yields. An event is a value: it holds no connection, and may be kept."""

from attrs import frozen

from openai_runs.models.run import Run, RunStatus
from openai_runs.models.tool import FunctionToolCall, ToolOutput


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

    run: Run
    outputs: tuple[ToolOutput, ...]


RunEvent = StatusChanged | ToolOutputsSubmitted
