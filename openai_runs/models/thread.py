"""Threads: conversations, to which runs add messages."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, TypedDict

from attrs import field, frozen

from openai_runs.models.limits import METADATA
from openai_runs.models.message import MessageCreateParams
from openai_runs.models.model import NEEDED, Model
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.tool import ToolResources, ToolResourcesParams


@frozen(kw_only=True, repr=False)
class Thread(Model):
    """A conversation. Source: Assistants v2 API, ``ThreadObject``."""

    id: str = field(metadata=NEEDED)
    object: str = "thread"
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    tool_resources: ToolResources | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)

    def _repr_html_(self) -> str:
        """A table of what matters, which notebooks show."""
        from openai_runs.models.notebook import thread_html

        return thread_html(self)


class ThreadUpdateParams(TypedDict, total=False):
    """Body of ``modifyThread``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    tool_resources: ToolResources | ToolResourcesParams | None
    metadata: Annotated[dict[str, str] | None, METADATA]


class ThreadUpdateRequest(ThreadUpdateParams, RequestOptions, total=False):
    """Keywords of `ThreadsService.update`."""


class ThreadCreateParams(ThreadUpdateParams, total=False):
    """Body of ``createThread``."""

    messages: Sequence[MessageCreateParams]


class ThreadCreateRequest(ThreadCreateParams, RequestOptions, total=False):
    """Keywords of `ThreadsService.create`."""
