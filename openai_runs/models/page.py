"""Pages of lists."""

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, TypedDict, TypeVar

from attrs import field, frozen

from openai_runs.models.limits import ID, OneOf, Range
from openai_runs.models.model import NEEDED, Model
from openai_runs.models.request_options import RequestOptions

ItemT = TypeVar("ItemT")


@frozen(kw_only=True, repr=False)
class Page(Model, Generic[ItemT]):
    """One page of a list, in the requested order."""

    object: str = "list"
    data: tuple[ItemT, ...] = field(metadata=NEEDED)
    first_id: str | None = None
    last_id: str | None = None  #: unreliable: the next page starts after ``data[-1].id``
    has_more: bool = True  #: some endpoints leave it out; then the list ends with an empty page

    def _repr_html_(self) -> str | None:
        """The timeline of a page of steps, or a conversation; notebooks show that, and the ``repr`` of other pages."""
        from openai_runs.models.message import Message
        from openai_runs.models.run_step import RunStep

        if not self.data:
            return None
        steps: list[RunStep] = [item for item in self.data if isinstance(item, RunStep)]
        if len(steps) == len(self.data):
            from openai_runs.models.notebook import Timeline

            return Timeline(steps)._repr_html_()
        messages: list[Message] = [item for item in self.data if isinstance(item, Message)]
        if len(messages) == len(self.data):
            from openai_runs.models.notebook import conversation_html

            return conversation_html(messages)
        return None


class ListParams(TypedDict, total=False):
    """Query of every list. A key left out is not sent."""

    limit: Annotated[int, Range(1, 100)]  #: items per page, 20 by default
    order: Annotated[Literal["asc", "desc"], OneOf(("asc", "desc"))]  #: by ``created_at``, newest first by default
    after: Annotated[str, ID]  #: an object ID: start after it
    before: Annotated[str, ID]  #: an object ID: stop before it


class ListRequest(ListParams, RequestOptions, total=False):
    """Keywords of every ``list``; the options hold for each page."""


class IncludeParams(TypedDict):
    """Additional fields that the server should send. The API has one value; other endpoints may have more."""

    include: Sequence[str]


class MessageListParams(ListParams, total=False):
    """Query of ``listMessages``."""

    run_id: Annotated[str, ID]  #: only messages of this run


class MessageListRequest(MessageListParams, RequestOptions, total=False):
    """Keywords of `MessagesService.list`; the options hold for each page."""
