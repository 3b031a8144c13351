"""Messages: what users and assistants say in a thread."""

from typing import Final, Unpack

from openai_runs import _params
from openai_runs._transport import Transport
from openai_runs.models.assistant import Deleted
from openai_runs.models.message import Message, MessageCreateParams, MessageUpdateParams
from openai_runs.models.page import MessageListParams, Page
from openai_runs.services.deleting import delete
from openai_runs.services.listing import Listing

_ALL: Final = "/threads/{thread_id}/messages"
_ONE: Final = "/threads/{thread_id}/messages/{message_id}"


class MessagesService:
    """``session.messages``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, thread_id: str, /, **params: Unpack[MessageCreateParams]) -> Message:
        """Add a message to a thread.

        Args:
            thread_id: The thread.
            **params: See `MessageCreateParams`; ``role`` and ``content`` are required.

        Raises:
            NotFoundError: There is no such thread.
            BadRequestError: The thread has an active run; nothing was added.
            TransportError: No usable answer. If ``maybe_done``, the message may be there: it is not added twice.

        Source: Assistants v2 API, operation ``createMessage``.
        """
        _params.check(params, MessageCreateParams)
        url = self._transport.url(_ALL, thread_id=thread_id)
        return await self._transport.request("POST", url, Message, body=params, repeatable=False)

    async def retrieve(self, thread_id: str, message_id: str, /) -> Message:
        """Fetch a message.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``getMessage``.
        """
        url = self._transport.url(_ONE, thread_id=thread_id, message_id=message_id)
        return await self._transport.request("GET", url, Message)

    async def update(self, thread_id: str, message_id: str, /, **params: Unpack[MessageUpdateParams]) -> Message:
        """Change the metadata.

        Args:
            thread_id: The thread.
            message_id: The message.
            **params: See `MessageUpdateParams`.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``modifyMessage``.
        """
        _params.check(params, MessageUpdateParams)
        url = self._transport.url(_ONE, thread_id=thread_id, message_id=message_id)
        return await self._transport.request("POST", url, Message, body=params)

    def list(self, thread_id: str, /, **query: Unpack[MessageListParams]) -> Listing[Message]:
        """All messages of a thread, newest first: ``async for``, or ``await ….page()``.

        Args:
            thread_id: The thread.
            **query: See `MessageListParams`; ``run_id`` keeps to one run's.

        Source: Assistants v2 API, operation ``listMessages``.
        """
        return Listing(self._transport, Page[Message], _ALL, {"thread_id": thread_id}, query, MessageListParams)

    async def delete(self, thread_id: str, message_id: str, /) -> Deleted:
        """Delete a message.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``deleteMessage``.
        """
        url = self._transport.url(_ONE, thread_id=thread_id, message_id=message_id)
        word = Deleted(id=message_id, object="thread.message.deleted")
        return await delete(self._transport, url, Message, word)
