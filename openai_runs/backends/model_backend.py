"""`ModelBackend`: whom the engine asks for the next words of a conversation.

A backend is handed a request with all that the model may know, and yields small events. It keeps nothing between
two calls that the engine would need after a crash: an interrupted call is simply made again, or taken up by its handle.
"""

import math
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

from attrs import frozen

from openai_runs.models.message import Annotation, Message
from openai_runs.models.run_step import CodeInterpreterCall, FileSearchCall, RunStep
from openai_runs.models.tool import ResponseFormat, Tool, ToolChoice, ToolResources


@frozen(kw_only=True)
class ModelRequest:
    """One call of a model, on behalf of a run."""

    run_id: str
    thread_id: str
    model: str
    instructions: str  #: additional instructions included; may be empty
    #: The conversation, oldest first. A step stands for one round of tool calls with their outputs; an output is
    #: ``None`` if the run that made the call ended before it came. Steps of this very run have its ``run_id``.
    items: tuple[Message | RunStep, ...]
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    parallel_tool_calls: bool
    response_format: ResponseFormat
    tool_resources: ToolResources | None  #: the run's, else the thread's, else the assistant's, tool by tool
    temperature: float | None  #: ``None`` if nobody asked for one, though the run then shows the API's default
    top_p: float | None  #: likewise
    reasoning_effort: str | None
    max_prompt_tokens: int | None  #: what is left for this call
    max_completion_tokens: int | None  #: what is left for this call
    metadata: Mapping[str, str]  #: the run's
    #: Whether the oldest items may be left out where all of them are too many: the truncation strategy ``auto``.
    may_shorten: bool = True
    seconds_left: float = math.inf  #: until the run expires, as the call begins
    #: Of the `Detached` that this very call yielded before a crash: take it up, and yield all of it from the beginning.
    handle: str | None = None

    @property
    def rounds(self) -> tuple[RunStep, ...]:
        """The rounds of tool calls that this run has made so far."""
        return tuple(item for item in self.items if isinstance(item, RunStep) and item.run_id == self.run_id)


@frozen
class TextChunk:
    """More of the text of an answer."""

    text: str


@frozen
class RefusalChunk:
    """More of the text of a refusal."""

    text: str


@frozen
class ToolCallChunk:
    """The beginning of a call of a function, or more of its arguments."""

    index: int  #: tells the calls of one round apart
    id: str | None = None  #: the model's ID of the call, with the first delta; the engine makes one if there is none
    name: str | None = None  #: with the first delta
    arguments: str = ""


@frozen
class AnnotationAdded:
    """A note about a place in the answer's text; its indexes count characters of the last text part so far."""

    annotation: Annotation


@frozen
class HostedToolCall:
    """A use of one of the endpoint's own tools, with all that came of it: a completed step.

    It ends the message that is being written; text after it begins another one.
    """

    call: CodeInterpreterCall | FileSearchCall


@frozen
class Detached:
    """From now on the endpoint goes on with this call without us. Stored before anything else of it is looked at.

    After a crash the call is made with this handle, instead of anew; see also `ModelBackend.abandon`.
    """

    handle: str


@frozen
class UsageReport:
    """Tokens of this call so far; the last report counts."""

    prompt_tokens: int
    completion_tokens: int


FinishReason: TypeAlias = Literal["stop", "tool_calls", "max_tokens", "max_prompt_tokens", "content_filter"]


@frozen
class Finished:
    """The model has ended. Calls are made whether it says ``tool_calls`` or ``stop``."""

    reason: FinishReason = "stop"


BackendEvent: TypeAlias = (
    TextChunk | RefusalChunk | AnnotationAdded | ToolCallChunk | HostedToolCall | Detached | UsageReport | Finished
)


@frozen
class Unsupported:
    """What a backend cannot do; the run is refused with it (400)."""

    param: str  #: the parameter at fault, as in ``tools[0]`` or ``response_format``
    message: str  #: names the parameter and the backend


class ModelBackend(Protocol):
    """A model, or something that plays one. A class that derives from this has to write `respond` only.

    The engine enters a backend before it uses it, and leaves it when it ends.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close what was opened."""
        del kind, error, traceback  # nothing was

    def refuse(self, request: ModelRequest) -> Unsupported | None:  # noqa: ARG002  # for those who override it
        """Say what of a run cannot be done, before it is created. No I/O.

        Args:
            request: What the first call would be, without its ``items``.
        """
        return None

    async def abandon(self, handle: str) -> None:
        """Stop a call that goes on at the endpoint: its run was cancelled, has expired, or failed.

        Never called for an engine that merely stops. Does not raise: it is a courtesy to the endpoint.
        """
        del handle  # a call that never was `Detached` has stopped already

    def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model once; an asynchronous generator function.

        The engine closes the generator, or cancels it, as soon as the run is cancelled or expires; what it yields
        after that is dropped.

        Raises:
            BackendError: While iterating, if there is no (complete) answer.
        """
        ...
