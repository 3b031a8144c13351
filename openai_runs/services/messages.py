"""Messages: what users and assistants say in a thread."""

from typing import Unpack

from openai_runs._http.deletion import delete
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import MESSAGE, MESSAGES, ids_of
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.assistant import Deleted
from openai_runs.models.message import Message, MessageCreateParams, MessageUpdateParams
from openai_runs.models.page import MessageListParams, Page


@spelled_out
class MessagesService:
    """``session.messages``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, thread_id: str, **params: Unpack[MessageCreateParams]) -> Message:
        """Add a message to a thread.

        Args:
            thread_id: The thread.
            **params: See `MessageCreateParams`; ``role`` and ``content`` are required.

        Raises:
            NotFoundError: There is no such thread.
            BadRequestError: The thread has an active run; nothing was added.
            TransportError: No usable response. If ``maybe_done``, the message may exist; the request is not repeated.

        Source: Assistants v2 API, operation ``createMessage``.
        """
        check_params(params, MessageCreateParams)
        url = self._transport.url(MESSAGES, thread_id=thread_id)
        return await self._transport.request("POST", url, Message, body=params, repeatable=False)

    async def retrieve(
        self, message: Message | None = None, *, thread_id: str | None = None, message_id: str | None = None
    ) -> Message:
        """Fetch a message.

        Args:
            message: The message, in any version. Instead of it, give both IDs:
            thread_id: The thread's ID.
            message_id: The message's ID.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``getMessage``.
        """
        url = self._transport.url(MESSAGE, **ids_of(Message, message, thread_id=thread_id, message_id=message_id))
        return await self._transport.request("GET", url, Message)

    async def update(
        self,
        message: Message | None = None,
        *,
        thread_id: str | None = None,
        message_id: str | None = None,
        **params: Unpack[MessageUpdateParams],
    ) -> Message:
        """Change the metadata of a message.

        Args:
            message: The message, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``message``.
            message_id: The message's ID, if there is no ``message``.
            **params: See `MessageUpdateParams`.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``modifyMessage``.
        """
        check_params(params, MessageUpdateParams)
        url = self._transport.url(MESSAGE, **ids_of(Message, message, thread_id=thread_id, message_id=message_id))
        return await self._transport.request("POST", url, Message, body=params)

    def list(self, thread_id: str, **query: Unpack[MessageListParams]) -> Listing[Message]:
        """List a thread's messages, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            thread_id: The thread.
            **query: See `MessageListParams`; ``run_id`` leaves out other runs' messages.

        Source: Assistants v2 API, operation ``listMessages``.
        """
        return Listing(self._transport, Page[Message], MESSAGES, {"thread_id": thread_id}, query, MessageListParams)

    async def delete(
        self, message: Message | None = None, *, thread_id: str | None = None, message_id: str | None = None
    ) -> Deleted:
        """Delete a message.

        Args:
            message: The message, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``message``.
            message_id: The message's ID, if there is no ``message``.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``deleteMessage``.
        """
        ids = ids_of(Message, message, thread_id=thread_id, message_id=message_id)
        deleted = Deleted(id=ids["message_id"], object="thread.message.deleted")
        return await delete(self._transport, self._transport.url(MESSAGE, **ids), Message, deleted)
