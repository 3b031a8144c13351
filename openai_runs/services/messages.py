"""Messages: what users and assistants say in a thread."""

from typing import TYPE_CHECKING, Never, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.deletion import delete
from openai_runs._http.overrides import overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import MESSAGE, MESSAGES, ids_of
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.assistant import Deleted
from openai_runs.models.message import Message, MessageCreateRequest, MessageUpdateRequest
from openai_runs.models.page import MessageListRequest, Page
from openai_runs.models.request_options import RequestOptions


@spelled_out
class MessagesService:
    """``session.messages``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.MESSAGES)

    async def create(
        self,
        thread_id: str,
        *_positional: Never,
        idempotency_key: str | None = None,
        **params: Unpack[MessageCreateRequest],
    ) -> Message:
        """Add a message to a thread; never more than one, where the endpoint honours idempotency keys.

        Args:
            thread_id: The thread.
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call adds no second message.
            **params: See `MessageCreateParams`, of which ``role`` and ``content`` are required, and `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread.
            BadRequestError: The thread has an active run; nothing was added.
            TransportError: No usable response. If ``maybe_done``, the message may exist.

        Source: Assistants v2 API, operation ``createMessage``.
        """
        _habits.refuse_positional(_positional, "create(thread_id, role=…, content=…)")
        check_params(params, MessageCreateRequest)
        overrides, url = take_overrides(params), self._transport.url(MESSAGES, thread_id=thread_id)
        return await Creation(self._transport, url, Message, params, idempotency_key, overrides).send()

    async def retrieve(
        self,
        message: Message | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        message_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Message:
        """Fetch a message.

        Args:
            message: The message, in any version. Instead of it, give both IDs:
            thread_id: The thread's ID.
            message_id: The message's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``getMessage``.
        """
        _habits.refuse_positional(_positional, "retrieve(message), or retrieve(thread_id=…, message_id=…)")
        url = self._transport.url(MESSAGE, **ids_of(Message, message, thread_id=thread_id, message_id=message_id))
        return await self._transport.request("GET", url, Message, overrides=overrides_of(options))

    async def update(
        self,
        message: Message | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        message_id: str | None = None,
        **params: Unpack[MessageUpdateRequest],
    ) -> Message:
        """Change the metadata of a message.

        Args:
            message: The message, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``message``.
            message_id: The message's ID, if there is no ``message``.
            **params: See `MessageUpdateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``modifyMessage``.
        """
        _habits.refuse_positional(_positional, "update(message), or update(thread_id=…, message_id=…)")
        check_params(params, MessageUpdateRequest)
        overrides = take_overrides(params)
        url = self._transport.url(MESSAGE, **ids_of(Message, message, thread_id=thread_id, message_id=message_id))
        return await self._transport.request("POST", url, Message, body=params, overrides=overrides)

    def list(self, thread_id: str, **query: Unpack[MessageListRequest]) -> Listing[Message]:
        """List a thread's messages, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            thread_id: The thread.
            **query: See `MessageListParams`, of which ``run_id`` leaves out other runs' messages, and `RequestOptions`.

        Source: Assistants v2 API, operation ``listMessages``.
        """
        check_params(query, MessageListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[Message], MESSAGES, {"thread_id": thread_id}, query, overrides=overrides)

    async def delete(
        self,
        message: Message | None = None,
        *_positional: Never,
        thread_id: str | None = None,
        message_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Deleted:
        """Delete a message.

        Args:
            message: The message, as for `retrieve`.
            thread_id: The thread's ID, if there is no ``message``.
            message_id: The message's ID, if there is no ``message``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such thread or message.

        Source: Assistants v2 API, operation ``deleteMessage``.
        """
        _habits.refuse_positional(_positional, "delete(message), or delete(thread_id=…, message_id=…)")
        ids = ids_of(Message, message, thread_id=thread_id, message_id=message_id)
        deleted = Deleted(id=ids["message_id"], object="thread.message.deleted")
        url, overrides = self._transport.url(MESSAGE, **ids), overrides_of(options)
        return await delete(self._transport, url, Message, deleted, overrides)
