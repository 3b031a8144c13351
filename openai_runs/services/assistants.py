"""Assistants: a model, its instructions and its tools, under one ID."""

from typing import Unpack

from openai_runs._http.deletion import delete
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import ASSISTANT, ASSISTANTS
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.assistant import Assistant, AssistantCreateParams, AssistantUpdateParams, Deleted
from openai_runs.models.page import ListParams, Page


@spelled_out
class AssistantsService:
    """``session.assistants``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, **params: Unpack[AssistantCreateParams]) -> Assistant:
        """Create an assistant.

        Args:
            **params: See `AssistantCreateParams`; ``model`` is required.

        Raises:
            BadRequestError: The endpoint refuses a parameter.
            TransportError: No usable response. If ``maybe_done``, the assistant may exist; the request is not repeated.

        Source: Assistants v2 API, operation ``createAssistant``.
        """
        check_params(params, AssistantCreateParams)
        url = self._transport.url(ASSISTANTS)
        return await self._transport.request("POST", url, Assistant, body=params, repeatable=False)

    async def retrieve(self, assistant_id: str) -> Assistant:
        """Fetch an assistant.

        Raises:
            NotFoundError: There is no such assistant.

        Source: Assistants v2 API, operation ``getAssistant``.
        """
        return await self._transport.request(
            "GET", self._transport.url(ASSISTANT, assistant_id=assistant_id), Assistant
        )

    async def update(self, assistant_id: str, **params: Unpack[AssistantUpdateParams]) -> Assistant:
        """Change the parameters that are given; the others stay as they are.

        Args:
            assistant_id: The assistant's ID.
            **params: See `AssistantUpdateParams`.

        Raises:
            NotFoundError: There is no such assistant.

        Source: Assistants v2 API, operation ``modifyAssistant``.
        """
        check_params(params, AssistantUpdateParams)
        url = self._transport.url(ASSISTANT, assistant_id=assistant_id)
        return await self._transport.request("POST", url, Assistant, body=params)

    def list(self, **query: Unpack[ListParams]) -> Listing[Assistant]:
        """List assistants, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            **query: See `ListParams`.

        Source: Assistants v2 API, operation ``listAssistants``.
        """
        return Listing(self._transport, Page[Assistant], ASSISTANTS, {}, query, ListParams)

    async def delete(self, assistant_id: str) -> Deleted:
        """Delete an assistant. Threads and runs that used it stay.

        Raises:
            NotFoundError: There is no such assistant.

        Source: Assistants v2 API, operation ``deleteAssistant``.
        """
        url = self._transport.url(ASSISTANT, assistant_id=assistant_id)
        deleted = Deleted(id=assistant_id, object="assistant.deleted")
        return await delete(self._transport, url, Assistant, deleted)
