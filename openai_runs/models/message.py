"""Messages: what users and assistants say in a thread."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Required, TypeAlias, TypedDict

from attrs import field, frozen

from openai_runs.models.limits import METADATA, Items
from openai_runs.models.model import ALONE, NEEDED, Model, Unknown
from openai_runs.models.open_enum import OpenEnum
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.tool import CodeInterpreterTool, FileSearchTool


class MessageStatus(OpenEnum, StrEnum):
    """How far a message has come. Open: an unknown value stays readable."""

    IN_PROGRESS = "in_progress"
    INCOMPLETE = "incomplete"
    COMPLETED = "completed"


class MessageRole(OpenEnum, StrEnum):
    """Who wrote a message. Open: an unknown value stays readable."""

    USER = "user"
    ASSISTANT = "assistant"


@frozen(kw_only=True, repr=False)
class CitedFile(Model):
    """The file behind an annotation."""

    file_id: str
    quote: str | None = None  #: sent by endpoints older than June 2024


@frozen(kw_only=True, repr=False)
class FileCitation(Model):
    """A passage of a text that cites a file. Source: ``MessageContentTextAnnotationsFileCitationObject``.

    The API does not document the unit of the indexes (code points or UTF-16), so do not rely on them for slicing.
    """

    type: Literal["file_citation"] = "file_citation"
    text: str
    file_citation: CitedFile
    start_index: int
    end_index: int


@frozen(kw_only=True, repr=False)
class FilePath(Model):
    """A passage of a text that is the path of a file made by the code interpreter."""

    type: Literal["file_path"] = "file_path"
    text: str
    file_path: CitedFile
    start_index: int
    end_index: int


Annotation: TypeAlias = FileCitation | FilePath | Unknown


@frozen(kw_only=True, repr=False)
class Text(Model):
    """A text, and annotations of passages in it."""

    value: str = field(metadata=ALONE)
    annotations: tuple[Annotation, ...] = ()


@frozen(kw_only=True, repr=False)
class TextContent(Model):
    """A text part of a message as the server sends it. Requests take `TextContentParam`."""

    type: Literal["text"] = "text"
    text: Text


@frozen(kw_only=True, repr=False)
class ImageFile(Model):
    """An uploaded image."""

    file_id: str
    detail: str | None = None  #: ``auto``, ``low`` or ``high``


@frozen(kw_only=True, repr=False)
class ImageFileContent(Model):
    """An uploaded image as a part of a message."""

    type: Literal["image_file"] = "image_file"
    image_file: ImageFile


@frozen(kw_only=True, repr=False)
class ImageUrl(Model):
    """An image at an external URL."""

    url: str
    detail: str | None = None  #: ``auto``, ``low`` or ``high``


@frozen(kw_only=True, repr=False)
class ImageUrlContent(Model):
    """An image at an external URL, as a part of a message."""

    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl


@frozen(kw_only=True, repr=False)
class RefusalContent(Model):
    """The model's refusal to answer."""

    type: Literal["refusal"] = "refusal"
    refusal: str


Content: TypeAlias = TextContent | ImageFileContent | ImageUrlContent | RefusalContent | Unknown


@frozen(kw_only=True, repr=False)
class Attachment(Model):
    """A file attached to a message, and the tools that may use it."""

    file_id: str | None = None
    tools: tuple[CodeInterpreterTool | FileSearchTool | Unknown, ...] = ()


@frozen(kw_only=True, repr=False)
class MessageIncompleteDetails(Model):
    """Why a message is incomplete."""

    #: ``content_filter``, ``max_tokens``, ``run_cancelled``, ``run_expired`` or ``run_failed``
    reason: str | None = None


@frozen(kw_only=True, repr=False)
class Message(Model):
    """What a user or an assistant wrote. Source: Assistants v2 API, ``MessageObject``."""

    id: str = field(metadata=NEEDED)
    object: str = "thread.message"
    created_at: datetime  #: aware, UTC; Unix seconds on the wire
    thread_id: str
    status: MessageStatus | None = None
    incomplete_details: MessageIncompleteDetails | None = None
    completed_at: datetime | None = None
    incomplete_at: datetime | None = None
    role: MessageRole
    content: tuple[Content, ...] = ()
    assistant_id: str | None = None
    run_id: str | None = None
    attachments: tuple[Attachment, ...] | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)

    def _repr_html_(self) -> str:
        """A table of what matters and what it says, which notebooks show."""
        from openai_runs.models.notebook import message_html

        return message_html(self)

    @property
    def text(self) -> str:
        """All text parts, joined."""
        return "".join(part.text.value for part in self.content if isinstance(part, TextContent))


class TextContentParam(TypedDict):
    """A text part as a request takes it, which differs from `TextContent`, as the server sends it."""

    type: Literal["text"]
    text: str


ContentParam: TypeAlias = TextContentParam | ImageFileContent | ImageUrlContent | Mapping[str, Any]


class AttachmentParam(TypedDict, total=False):
    """`Attachment` as JSON."""

    file_id: str
    tools: Sequence[CodeInterpreterTool | FileSearchTool | Mapping[str, Any]]


class MessageUpdateParams(TypedDict, total=False):
    """Body of ``modifyMessage``. A key left out is not sent; ``None`` is sent as JSON ``null``."""

    metadata: Annotated[dict[str, str] | None, METADATA]


class MessageUpdateRequest(MessageUpdateParams, RequestOptions, total=False):
    """Keywords of `MessagesService.update`."""


class MessageCreateParams(MessageUpdateParams, total=False):
    """Body of ``createMessage``, and a message of ``createThread`` or of a run's ``additional_messages``."""

    role: Required[Literal["user", "assistant"]]
    content: Required[str | Annotated[Sequence[ContentParam], Items(least=1)]]
    attachments: Sequence[Attachment | AttachmentParam] | None


class MessageCreateRequest(MessageCreateParams, RequestOptions, total=False):
    """Keywords of `MessagesService.create`."""
