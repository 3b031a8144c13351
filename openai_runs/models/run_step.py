"""Run steps: what a run did, one message or one round of tool calls at a time."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias, TypedDict

from attrs import field, frozen

from openai_runs.models.model import NEEDED, Model, Unknown
from openai_runs.models.open_enum import OpenEnum
from openai_runs.models.run import LastError, Usage
from openai_runs.models.tool import RankingOptions


class RunStepStatus(OpenEnum, StrEnum):
    """The status of a step. While its run waits for tool outputs, a step is ``in_progress``. Open."""

    IN_PROGRESS = "in_progress"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"


@frozen(kw_only=True, repr=False)
class CreatedMessage(Model):
    """The message that a step wrote."""

    message_id: str


@frozen(kw_only=True, repr=False)
class MessageCreation(Model):
    """Details of a step that wrote a message."""

    type: Literal["message_creation"] = "message_creation"
    message_creation: CreatedMessage


@frozen(kw_only=True, repr=False)
class CalledFunction(Model):
    """A function call, and its output once submitted."""

    name: str = field(metadata=NEEDED)
    arguments: str = field(metadata=NEEDED)  #: JSON text written by a model: it may be invalid
    output: str | None = None


@frozen(kw_only=True, repr=False)
class FunctionStepCall(Model):
    """A call of the caller's function."""

    id: str = field(metadata=NEEDED)
    type: Literal["function"] = "function"
    function: CalledFunction


@frozen(kw_only=True, repr=False)
class LogsOutput(Model):
    """Text that code printed."""

    type: Literal["logs"] = "logs"
    logs: str


@frozen(kw_only=True, repr=False)
class OutputImage(Model):
    """The file of an image that code made."""

    file_id: str


@frozen(kw_only=True, repr=False)
class ImageOutput(Model):
    """An image that code made."""

    type: Literal["image"] = "image"
    image: OutputImage


CodeOutput: TypeAlias = LogsOutput | ImageOutput | Unknown


@frozen(kw_only=True, repr=False)
class InterpretedCode(Model):
    """Code, and its outputs."""

    input: str
    outputs: tuple[CodeOutput, ...] = ()


@frozen(kw_only=True, repr=False)
class CodeInterpreterCall(Model):
    """A use of the code interpreter."""

    id: str
    type: Literal["code_interpreter"] = "code_interpreter"
    code_interpreter: InterpretedCode


@frozen(kw_only=True, repr=False)
class FoundText(Model):
    """A passage that file search found. Only with ``include[]``."""

    type: str | None = None
    text: str | None = None


@frozen(kw_only=True, repr=False)
class FileSearchResult(Model):
    """A file that file search found."""

    file_id: str
    file_name: str
    score: float  #: 0 to 1
    content: tuple[FoundText, ...] = ()


@frozen(kw_only=True, repr=False)
class FileSearch(Model):
    """The ranking options of a file search, and its results."""

    ranking_options: RankingOptions | None = None
    results: tuple[FileSearchResult, ...] | None = None


@frozen(kw_only=True, repr=False)
class FileSearchCall(Model):
    """A use of file search."""

    id: str
    type: Literal["file_search"] = "file_search"
    file_search: FileSearch


StepToolCall: TypeAlias = FunctionStepCall | CodeInterpreterCall | FileSearchCall | Unknown


@frozen(kw_only=True, repr=False)
class ToolCalls(Model):
    """Details of a step that used tools."""

    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: tuple[StepToolCall, ...]


StepDetails: TypeAlias = MessageCreation | ToolCalls | Unknown


class StepRow(TypedDict):
    """A step as a row of a table: plain values, in the same columns for each step. What is not known is ``None``."""

    step_id: str
    run_id: str
    thread_id: str
    type: str  #: ``message_creation`` or ``tool_calls``
    status: str
    message_id: str | None  #: of the message that the step wrote
    tools: str | None  #: the names of its tools in the order of the calls, with commas between
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    error: str | None  #: the code of the step's ``last_error``
    error_message: str | None
    created_at: datetime
    ended_at: datetime | None
    seconds: float | None  #: from creation to end; most endpoints tell whole seconds


class CallRow(TypedDict):
    """A tool call of a step as a row of a table: texts, in the same columns for each kind of tool."""

    run_id: str
    thread_id: str
    step_id: str
    call_id: str
    type: str  #: ``function``, ``code_interpreter``, ``file_search``
    name: str  #: the function's, or the tool's type
    arguments: str  #: as the model wrote them: of a function JSON text, which may be invalid
    output: str | None  #: ``None`` until there is one


@frozen(kw_only=True, repr=False)
class RunStep(Model):
    """One step of a run: a message, or a round of tool calls. Source: Assistants v2 API, ``RunStepObject``."""

    id: str = field(metadata=NEEDED)
    object: str = "thread.run.step"
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    assistant_id: str | None = None
    thread_id: str
    run_id: str
    type: str  #: ``message_creation`` or ``tool_calls``
    status: RunStepStatus
    step_details: StepDetails
    last_error: LastError | None = None
    expired_at: datetime | None = None
    cancelled_at: datetime | None = None
    failed_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None  #: the run's; always sent, although not in the API's schema
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    usage: Usage | None = None  #: null while ``in_progress``

    def __str__(self) -> str:
        """One line of at most 80 characters: type, status, duration, tokens, and the tools that it used."""
        from openai_runs.models.lines import step_line

        return step_line(self)

    def _repr_html_(self) -> str:
        """The timeline of this step alone, which notebooks show."""
        from openai_runs.models.notebook import Timeline

        return Timeline([self])._repr_html_()

    def row(self) -> StepRow:
        """The step as a row of a table: ``pandas.DataFrame([step.row() for step in steps])``."""
        from openai_runs.models.lines import end_of, seconds_of, tool_names

        usage, error = self.usage, self.last_error
        return {
            "step_id": self.id,
            "run_id": self.run_id,
            "thread_id": self.thread_id,
            "type": self.type,
            "status": str(self.status),
            "message_id": self.message_id,
            "tools": ", ".join(tool_names(self)) or None,
            "prompt_tokens": None if usage is None else usage.prompt_tokens,
            "completion_tokens": None if usage is None else usage.completion_tokens,
            "total_tokens": None if usage is None else usage.total_tokens,
            "error": None if error is None else error.code,
            "error_message": None if error is None else error.message,
            "created_at": self.created_at,
            "ended_at": end_of(self),
            "seconds": seconds_of(self),
        }

    def call_rows(self) -> list[CallRow]:
        """A row for each of its tool calls; all of a run's: ``[row for step in steps for row in step.call_rows()]``."""
        from openai_runs.models.texts import call_texts

        return [
            {
                "run_id": self.run_id,
                "thread_id": self.thread_id,
                "step_id": self.id,
                "call_id": texts.id,
                "type": call.type,
                "name": texts.name,
                "arguments": texts.arguments,
                "output": texts.output,
            }
            for call, texts in ((call, call_texts(call)) for call in self.tool_calls)
        ]

    @property
    def message_id(self) -> str | None:
        """The ID of the message that the step wrote, or ``None`` if it did something else."""
        details = self.step_details
        return details.message_creation.message_id if isinstance(details, MessageCreation) else None

    @property
    def tool_calls(self) -> tuple[StepToolCall, ...]:
        """The tool calls of all types; empty if the step wrote a message."""
        return self.step_details.tool_calls if isinstance(self.step_details, ToolCalls) else ()

    @property
    def function_calls(self) -> tuple[FunctionStepCall, ...]:
        """The calls of the caller's own functions among `tool_calls`, with their outputs."""
        return tuple(call for call in self.tool_calls if isinstance(call, FunctionStepCall))
