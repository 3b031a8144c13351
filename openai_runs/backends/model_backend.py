"""`ModelBackend`: the protocol through which the engine calls a model.

A backend gets a request with everything that the model may know, and yields small events. It keeps no state between two
calls that a crash could lose: an interrupted call is repeated, or resumed by its handle.
"""

import math
from collections.abc import AsyncGenerator, Collection, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

import msgspec
from attrs import frozen

from openai_runs.models.message import Annotation, Message
from openai_runs.models.run_step import CodeInterpreterCall, FileSearchCall, RunStep
from openai_runs.models.tool import ResponseFormat, Tool, ToolChoice, ToolResources

if TYPE_CHECKING:  # loaded only by who uses it
    from openai_runs.telemetry import Telemetry


@frozen(kw_only=True)
class ModelRequest:
    """One model call of a run."""

    run_id: str
    thread_id: str
    model: str
    instructions: str  #: with the additional instructions; may be empty
    #: The conversation, oldest first. A step is one round of tool calls with their outputs; an output is ``None`` if
    #: the run that made the call ended without it. Steps of this run have its ``run_id``.
    items: tuple[Message | RunStep, ...]
    tools: tuple[Tool, ...]
    tool_choice: ToolChoice
    parallel_tool_calls: bool
    response_format: ResponseFormat
    tool_resources: ToolResources | None  #: those of the run, the thread and the assistant
    #: ``None`` if neither run nor assistant sets it, though the run then shows the API's default.
    temperature: float | None
    top_p: float | None  #: likewise
    reasoning_effort: str | None
    max_prompt_tokens: int | None  #: the rest of the run's limit
    max_completion_tokens: int | None  #: the rest of the run's limit
    metadata: Mapping[str, str]  #: the run's
    #: Whether the oldest items may be left out if all are too long: the truncation strategy ``auto``.
    may_shorten: bool = True
    seconds_left: float = math.inf  #: at the start of the call, until the run expires
    #: Set if this call yielded `Detached` before a crash: resume it, and yield all its events from the beginning.
    handle: str | None = None
    #: How long the endpoint may take: one of `ModelBackend.completion_windows`. ``None``: it is to answer at once.
    completion_window: str | None = None
    #: The handle of the run's call before this one, if that yielded `Detached`.
    previous: str | None = None

    @property
    def rounds(self) -> tuple[RunStep, ...]:
        """This run's rounds of tool calls so far."""
        return tuple(item for item in self.items if isinstance(item, RunStep) and item.run_id == self.run_id)


class TextChunk(msgspec.Struct, frozen=True):
    """A piece of the message's text."""

    # One is made for each token, and a frozen class of attrs takes five times as long to fill.

    text: str


@frozen
class RefusalChunk:
    """A piece of a refusal's text."""

    text: str


@frozen
class ToolCallChunk:
    """The start of a function call, or a piece of its arguments."""

    index: int  #: identifies the call within its round
    id: str | None = None  #: the model's ID of the call, with the first chunk; the engine makes one if there is none
    name: str | None = None  #: with the first chunk
    arguments: str = ""


@frozen
class AnnotationAdded:
    """An annotation of the message's text; its indexes count characters of the last text part so far."""

    annotation: Annotation


@frozen
class HostedToolCall:
    """A completed call of a tool that the endpoint runs itself, with its results; it becomes a run step.

    It ends the current message; text after it starts another one.
    """

    call: CodeInterpreterCall | FileSearchCall


@frozen
class Replay:
    """What the endpoint wants back with this round's tool calls, such as the model's thoughts.

    It comes before the `HostedToolCall` that it belongs to, or before `Finished` if it belongs to function calls. The
    engine keeps it in the round's step, and does not show it to clients. See ``replay.py``.
    """

    source: str  #: who gets it back: an endpoint and a model
    items: tuple[Mapping[str, Any], ...]  #: JSON objects


@frozen
class Detached:
    """From here on, the endpoint finishes this call even if the connection is lost.

    The engine stores the handle before it reads the next event, and after a crash repeats the request with it. See also
    `ModelBackend.abandon`.
    """

    handle: str


@frozen
class UsageReport:
    """The tokens of this call so far; the last report counts."""

    prompt_tokens: int
    completion_tokens: int


FinishReason: TypeAlias = Literal["stop", "tool_calls", "max_tokens", "max_prompt_tokens", "content_filter"]


@frozen
class Finished:
    """The model call has ended. Tool calls are made with both ``tool_calls`` and ``stop``."""

    reason: FinishReason = "stop"


BackendEvent: TypeAlias = (
    TextChunk
    | RefusalChunk
    | AnnotationAdded
    | ToolCallChunk
    | HostedToolCall
    | Replay
    | Detached
    | UsageReport
    | Finished
)


@frozen
class Unsupported:
    """Something that a backend does not support; the run is refused with this as a 400."""

    param: str  #: the unsupported parameter, such as ``tools[0]`` or ``response_format``
    message: str  #: names the parameter and the backend


class ModelBackend(Protocol):
    """A model, real or simulated. A subclass only has to implement `respond`.

    The engine enters a backend before the first call, and exits it when the engine stops.
    """

    #: The completion windows that a run may ask for; the engine refuses a run with any other one.
    completion_windows: Collection[str] = ()
    #: Whether its endpoint has files of its own, whose IDs messages may have in an ``image_file``. Images that are in
    #: the engine's files are sent as an ``image_url`` with a data URL in any case.
    has_files: bool = False

    #: Whose API it calls, for telemetry: a value of ``gen_ai.provider.name``.
    provider: str = "openai_runs"

    def observe(self, telemetry: "Telemetry") -> None:
        """Record the requests to its endpoint. The engine calls it before it enters the backend, if at all."""
        del telemetry  # only who has an endpoint sends requests

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close what `__aenter__` opened."""
        del kind, error, traceback  # nothing to close

    def refuse(self, request: ModelRequest) -> Unsupported | None:  # noqa: ARG002  # for subclasses
        """Name what the backend does not support of a run, before the run is created. No I/O.

        Args:
            request: The run's first model call, without its ``items``.
        """
        return None

    async def abandon(self, handle: str) -> None:
        """Stop a call that goes on at the endpoint, because its run was cancelled, has expired, or failed.

        Not called when the engine merely stops. Must not raise: it only saves the endpoint useless work.
        """
        del handle  # only calls that yielded `Detached` go on

    def respond(self, request: ModelRequest) -> AsyncGenerator[BackendEvent]:
        """Call the model once; implemented as an async generator.

        The engine closes or cancels the generator as soon as the run is cancelled or expires, and drops what it yields
        after that.

        Raises:
            BackendError: While iterating, if there is no complete response.
        """
        ...
