"""Assistants: a model, its instructions and its tools, under one ID."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, Required, TypeAlias, TypedDict

from attrs import field, frozen

from openai_runs.models.limits import ID, METADATA, Items, Length, Range
from openai_runs.models.model import NEEDED, REPEATED, Model
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.tool import (
    ResponseFormat,
    ResponseFormatParam,
    Tool,
    ToolParam,
    ToolResources,
    ToolResourcesParams,
    ToolSource,
)

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@frozen(kw_only=True, repr=False)
class Assistant(Model):
    """A model with instructions and tools, which runs use. Source: Assistants v2 API, ``AssistantObject``."""

    id: str = field(metadata=NEEDED)
    object: str = "assistant"
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    name: str | None = None
    description: str | None = None
    model: str
    instructions: str | None = None
    tools: tuple[Tool, ...] = field(default=(), metadata=REPEATED)
    tool_resources: ToolResources | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    temperature: float | None = None
    top_p: float | None = None
    response_format: ResponseFormat | None = field(default=None, metadata=REPEATED)
    reasoning_effort: str | None = None  #: accepted by the API, returned only by some endpoints

    def _repr_html_(self) -> str:
        """A table of what matters and the instructions, which notebooks show."""
        from openai_runs.models.notebook import assistant_html

        return assistant_html(self)


@frozen(kw_only=True, repr=False)
class Deleted(Model):
    """The server's confirmation that an object is deleted."""

    id: str
    object: str
    deleted: bool = True


class _AssistantParams(TypedDict, total=False):
    name: Annotated[str | None, Length(256)]
    description: Annotated[str | None, Length(512)]
    instructions: Annotated[str | None, Length(256_000)]
    reasoning_effort: ReasoningEffort | None
    tools: Annotated[Sequence[ToolParam] | ToolSource, Items(128)]
    tool_resources: ToolResources | ToolResourcesParams | None
    metadata: Annotated[dict[str, str] | None, METADATA]
    temperature: Annotated[float | None, Range(0, 2)]
    top_p: Annotated[float | None, Range(0, 1)]
    response_format: ResponseFormatParam | None


class AssistantCreateParams(_AssistantParams, total=False):
    """Body of ``createAssistant``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    model: Required[Annotated[str, ID]]


class AssistantCreateRequest(AssistantCreateParams, RequestOptions, total=False):
    """Keywords of `AssistantsService.create`."""


class AssistantUpdateParams(_AssistantParams, total=False):
    """Body of ``modifyAssistant``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    model: Annotated[str, ID]


class AssistantUpdateRequest(AssistantUpdateParams, RequestOptions, total=False):
    """Keywords of `AssistantsService.update`."""
