"""`Images`: puts uploaded images into what a model is sent, so that a backend need not know where files are.

They are read again for each model call, and sent as data URLs, which endpoints take in place of a URL.
"""

import base64
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import anyio.to_thread
from attrs import define

from openai_runs._evolving import evolve
from openai_runs.backends.conversation import note_on_part
from openai_runs.engine.endpoint_objects import FILE, EndpointObjects
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ledger import Ledger
from openai_runs.models.file import File, FilePurpose
from openai_runs.models.message import Content, ImageFileContent, ImageUrl, ImageUrlContent, Message, MessageRole
from openai_runs.models.run_step import RunStep
from openai_runs.stores.file_contents import whole

#: Bytes of all uploaded images that one model call gets; the newest count first.
MOST_BYTES: Final = 20 * 2**20

_PURPOSES: Final = (FilePurpose.VISION, FilePurpose.ASSISTANTS)


class _UnusableError(Exception):
    """Why an image cannot be sent."""


class _MissingError(_UnusableError):
    """There is no such file here."""


@define
class Images:
    """Reads the images of messages, each from the files of the run's owner only."""

    _ledger: Ledger
    _find_file: Callable[[str, str], Awaitable[File]]  # of an owner; raises a 404
    _at_endpoint: EndpointObjects | None = None  # unset: nobody knows whose files the endpoint has

    async def shown(
        self, owner: str, items: Sequence[Message | RunStep], *, endpoint_has_files: bool
    ) -> Sequence[Message | RunStep]:
        """A conversation with the images themselves in place of the IDs of files.

        One that cannot be sent becomes a note if the model has answered since: it may have expired, and the
        conversation has to go on.

        Args:
            owner: Whose files they are.
            items: The conversation, oldest first.
            endpoint_has_files: Whether an ID that is unknown here may be of a file at the endpoint. It is left as it
                is then, unless that is somebody else's.

        Raises:
            ApiError: 400: one of the images that the model has not answered yet cannot be sent; it says why.
        """
        if self._at_endpoint is not None:
            items = await self._at_endpoint.usable(owner, items)
        if not any(_has_images(item) for item in items):
            return items
        shown: list[Message | RunStep] = []
        left, is_answered = MOST_BYTES, False
        for item in reversed(items):
            if isinstance(item, Message) and _has_images(item):
                content: list[Content] = []
                for part in item.content:
                    try:
                        changed, size = await self._shown(owner, part, left)
                    except _MissingError as reason:
                        is_at_endpoint = endpoint_has_files and await self._may_be_at_endpoint(owner, part)
                        if not (is_at_endpoint or is_answered):
                            raise _refusal(item, part, reason) from None
                        changed, size = part if is_at_endpoint else note_on_part(part), 0
                    except _UnusableError as reason:
                        if not is_answered:
                            raise _refusal(item, part, reason) from None
                        changed, size = note_on_part(part), 0
                    content.append(changed)
                    left -= size
                shown.append(evolve(item, content=tuple(content)))
            else:
                is_answered = is_answered or (isinstance(item, Message) and item.role == MessageRole.ASSISTANT)
                shown.append(item)
        return shown[::-1]

    async def _may_be_at_endpoint(self, owner: str, part: Content) -> bool:
        if self._at_endpoint is None or not isinstance(part, ImageFileContent):
            return True
        return await self._at_endpoint.is_usable(owner, FILE, part.image_file.file_id)

    async def _shown(self, owner: str, part: Content, left: int) -> tuple[Content, int]:
        """A part with its image in place, and how many bytes that has."""
        if not isinstance(part, ImageFileContent):
            return part, 0
        id = part.image_file.file_id
        try:
            file = await self._find_file(owner, id)
            source = await self._ledger.store.contents.source(id)
        except (ApiError, LookupError):
            raise _MissingError("there is no such file") from None
        if file.purpose not in _PURPOSES:
            raise _UnusableError(f"the purpose of the file is '{file.purpose}', and has to be 'vision'")
        if file.bytes > left:
            raise _UnusableError(
                f"it has {file.bytes} bytes, and all images together may have {MOST_BYTES}, of which {left} are left"
            )
        try:
            data = await whole(source)
        except (LookupError, FileNotFoundError):  # it was deleted a moment ago
            raise _MissingError("there is no such file") from None
        url = await anyio.to_thread.run_sync(_data_url, data)
        return ImageUrlContent(image_url=ImageUrl(url=url, detail=part.image_file.detail)), file.bytes


def _has_images(item: Message | RunStep) -> bool:
    """Whether an item has uploaded images that may be sent: APIs take those of users only."""
    if not isinstance(item, Message) or item.role != MessageRole.USER:
        return False
    return any(isinstance(part, ImageFileContent) for part in item.content)


def _refusal(message: Message, part: Content, reason: _UnusableError) -> ApiError:
    id = part.image_file.file_id if isinstance(part, ImageFileContent) else ""
    text = f"The image {id} in the message {message.id} cannot be shown to the model: {reason}."
    return ApiError(400, f"{text} Delete the message to go on without it.", code="invalid_image")


def _data_url(data: bytes) -> str:
    if (type := image_type(data)) is None:
        raise _UnusableError("it is no PNG, JPEG, GIF or WebP image")
    return f"data:{type};base64,{base64.b64encode(data).decode()}"


def image_type(data: bytes) -> str | None:
    """The media type of an image by how it begins, whatever its name is; ``None`` if models take no such image."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None
