"""Runs: one execution of an assistant on a thread."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Required, TypedDict

from attrs import field, fields_dict, frozen

from openai_runs._origins import note_origin
from openai_runs.models.assistant import ReasoningEffort
from openai_runs.models.completion_window import CompletionWindow
from openai_runs.models.limits import ID, METADATA, Items, Range
from openai_runs.models.message import MessageCreateParams
from openai_runs.models.model import NEEDED, REPEATED, Model
from openai_runs.models.open_enum import OpenEnum
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.thread import ThreadCreateParams
from openai_runs.models.tool import (
    FunctionToolCall,
    ResponseFormat,
    ResponseFormatParam,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceParam,
    ToolOutput,
    ToolOutputParam,
    ToolParam,
    ToolResources,
    ToolResourcesParams,
    ToolSource,
)


class RunStatus(OpenEnum, StrEnum):
    """The status of a run. Open: an unknown value stays readable and counts as unfinished."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    REQUIRES_ACTION = "requires_action"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, well or badly."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.INCOMPLETE, RunStatus.EXPIRED}
)


@frozen(kw_only=True, repr=False)
class Usage(Model):
    """Tokens used, over all model calls of a run or of a step."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


@frozen(kw_only=True, repr=False)
class LastError(Model):
    """Why a run or a step failed."""

    code: str  #: ``server_error``, ``rate_limit_exceeded`` or ``invalid_prompt``
    message: str


@frozen(kw_only=True, repr=False)
class RunIncompleteDetails(Model):
    """Why a run ended ``incomplete``."""

    reason: str | None = None  #: ``max_completion_tokens`` or ``max_prompt_tokens``


@frozen(kw_only=True, repr=False)
class TruncationStrategy(Model):
    """How much of the thread a model call sees. Source: ``TruncationObject``."""

    type: str  #: ``auto``, or ``last_messages``
    last_messages: Annotated[int | None, Range(1)] = None  #: how many, with ``last_messages``


class TruncationStrategyParam(TypedDict, total=False):
    """`TruncationStrategy` as JSON."""

    type: Required[Literal["auto", "last_messages"]]
    last_messages: Annotated[int | None, Range(1)]


@frozen(kw_only=True, repr=False)
class SubmitToolOutputs(Model):
    """The calls to answer."""

    tool_calls: tuple[ToolCall, ...]


@frozen(kw_only=True, repr=False)
class RequiredAction(Model):
    """What a run in ``requires_action`` waits for."""

    type: str = "submit_tool_outputs"
    submit_tool_outputs: SubmitToolOutputs | None = None


class RunRow(TypedDict):
    """A run as a row of a table: plain values, in the same columns for each run. What is not known is ``None``."""

    run_id: str
    thread_id: str
    assistant_id: str
    model: str | None
    status: str
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    error: str | None  #: the code of the run's ``last_error``
    error_message: str | None
    incomplete: str | None  #: the reason
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float | None  #: from creation to end, the time in the queue included; most endpoints tell whole seconds


@frozen(kw_only=True, repr=False)
class Run(Model):
    """One execution of an assistant on a thread. Source: Assistants v2 API, ``RunObject``."""

    # As the hosted API sends them: msgspec looks for each field first where the last one ended.
    id: str = field(metadata=NEEDED)
    object: str = "thread.run"
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    assistant_id: str
    thread_id: str = field(metadata=NEEDED)
    status: RunStatus = field(metadata=NEEDED)
    started_at: datetime | None = None
    expires_at: datetime | None = None  #: an unfinished run becomes ``expired`` at this time
    cancelled_at: datetime | None = None
    failed_at: datetime | None = None
    completed_at: datetime | None = None
    required_action: RequiredAction | None = None  #: set while ``requires_action``
    last_error: LastError | None = None
    model: str | None = None
    instructions: str | None = None
    tools: tuple[Tool, ...] = field(default=(), metadata=REPEATED)
    tool_resources: ToolResources | None = None  #: not in the API's schema, sent by some endpoints
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    temperature: float | None = None
    top_p: float | None = None
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    truncation_strategy: TruncationStrategy | None = field(default=None, metadata=REPEATED)
    incomplete_details: RunIncompleteDetails | None = None
    usage: Usage | None = None  #: usually null until the run has ended
    response_format: ResponseFormat | None = field(default=None, metadata=REPEATED)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None  #: not in the API's schema, sent by some endpoints
    completion_window: str | None = None  #: not in the API's schema, sent by this library's server

    def __attrs_post_init__(self) -> None:
        """Note where the calls stand, and since when; also called by whoever makes a run without ``__init__``."""
        if self.required_action is not None:
            for call in self.pending_tool_calls:
                note_origin(call, self.id)

    def __reduce__(self) -> Any:
        # For pickle and copy: their way around `__init__` would leave copied calls without a note.
        return _remade, (type(self), {name: getattr(self, name) for name in fields_dict(type(self))})

    def __str__(self) -> str:
        """One line of at most 80 characters: status, duration, tokens, and why it failed or what it waits for."""
        from openai_runs.models.lines import run_line

        return run_line(self)

    def _repr_html_(self) -> str:
        """A table of what matters, which notebooks show."""
        from openai_runs.models.notebook import run_html

        return run_html(self)

    def row(self) -> RunRow:
        """The run as a row of a table: ``pandas.DataFrame([run.row() for run in runs])``."""
        from openai_runs.models.lines import end_of, seconds_of

        usage, error, incomplete = self.usage, self.last_error, self.incomplete_details
        return {
            "run_id": self.id,
            "thread_id": self.thread_id,
            "assistant_id": self.assistant_id,
            "model": self.model,
            "status": str(self.status),
            "prompt_tokens": None if usage is None else usage.prompt_tokens,
            "completion_tokens": None if usage is None else usage.completion_tokens,
            "total_tokens": None if usage is None else usage.total_tokens,
            "error": None if error is None else error.code,
            "error_message": None if error is None else error.message,
            "incomplete": None if incomplete is None else incomplete.reason,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "ended_at": end_of(self),
            "seconds": seconds_of(self),
        }

    @property
    def pending_tool_calls(self) -> tuple[FunctionToolCall, ...]:
        """The function calls that wait for outputs; empty unless ``requires_action``."""
        if self.required_action is None or self.required_action.submit_tool_outputs is None:
            return ()
        calls = self.required_action.submit_tool_outputs.tool_calls
        return tuple(call for call in calls if isinstance(call, FunctionToolCall))


def _remade(cls: type[Run], fields: Mapping[str, Any]) -> Run:
    return cls(**fields)


class RunUpdateParams(TypedDict, total=False):
    """Body of ``modifyRun``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    metadata: Annotated[dict[str, str] | None, METADATA]


class RunUpdateRequest(RunUpdateParams, RequestOptions, total=False):
    """Keywords of `RunsService.update`."""


class _RunParams(RunUpdateParams, total=False):
    assistant_id: Required[Annotated[str, ID]]
    model: str | None
    instructions: str | None
    tools: Annotated[Sequence[ToolParam] | ToolSource | None, Items(20)]
    temperature: Annotated[float | None, Range(0, 2)]
    top_p: Annotated[float | None, Range(0, 1)]
    max_prompt_tokens: Annotated[int | None, Range(256)]  #: over all model calls of the run
    max_completion_tokens: Annotated[int | None, Range(256)]  #: over all model calls of the run
    truncation_strategy: TruncationStrategy | TruncationStrategyParam | None
    tool_choice: ToolChoiceParam | None
    parallel_tool_calls: bool
    response_format: ResponseFormatParam | None
    #: How long each model call may take, to cost less. Not in the API's schema: this library's server takes it, and
    #: refuses it unless the model is behind OpenAI's Responses API.
    completion_window: CompletionWindow | None


class RunCreateParams(_RunParams, total=False):
    """Body of ``createRun``. A key left out is not sent; ``None`` is sent as JSON ``null``.

    A parameter that is left out or ``None`` is taken from the assistant.
    """

    reasoning_effort: ReasoningEffort | None
    additional_instructions: str | None  #: appended to the instructions
    additional_messages: Sequence[MessageCreateParams] | None  #: added to the thread before the run


class RunCreateRequest(RunCreateParams, RequestOptions, total=False):
    """Keywords of `RunsService.create`."""


class ThreadRunCreateParams(_RunParams, total=False):
    """Body of ``createThreadAndRun``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    thread: ThreadCreateParams
    tool_resources: ToolResources | ToolResourcesParams | None


class ThreadRunCreateRequest(ThreadRunCreateParams, RequestOptions, total=False):
    """Keywords of `ThreadsService.create_and_run`."""


class ToolOutputsSubmitParams(TypedDict):
    """Body of ``submitToolOuputsToRun``: the outputs of all pending calls, in one request."""

    tool_outputs: Sequence[ToolOutput | ToolOutputParam]
