"""Assistants: a model, its instructions and its tools, under one ID."""

from typing import TYPE_CHECKING, Never, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.deletion import delete
from openai_runs._http.overrides import overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import ASSISTANT, ASSISTANTS
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.assistant import Assistant, AssistantCreateRequest, AssistantUpdateRequest, Deleted
from openai_runs.models.page import ListRequest, Page
from openai_runs.models.request_options import RequestOptions


@spelled_out
class AssistantsService:
    """``session.assistants``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.ASSISTANTS)

    async def create(
        self, *_positional: Never, idempotency_key: str | None = None, **params: Unpack[AssistantCreateRequest]
    ) -> Assistant:
        """Create an assistant; never more than one, where the endpoint honours idempotency keys.

        Args:
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call is no second creation.
            **params: See `AssistantCreateParams`, of which ``model`` is required, and `RequestOptions`.

        Raises:
            BadRequestError: The endpoint refuses a parameter.
            TransportError: No usable response. If ``maybe_done``, the assistant may exist.

        Source: Assistants v2 API, operation ``createAssistant``.
        """
        _habits.refuse_positional(_positional, "create(model=…)")
        check_params(params, AssistantCreateRequest)
        overrides, url = take_overrides(params), self._transport.url(ASSISTANTS)
        return self._noted(await Creation(self._transport, url, Assistant, params, idempotency_key, overrides).send())

    async def retrieve(self, assistant_id: str, **options: Unpack[RequestOptions]) -> Assistant:
        """Fetch an assistant.

        Args:
            assistant_id: The assistant's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such assistant.

        Source: Assistants v2 API, operation ``getAssistant``.
        """
        url = self._transport.url(ASSISTANT, assistant_id=assistant_id)
        return self._noted(await self._transport.request("GET", url, Assistant, overrides=overrides_of(options)))

    async def update(self, assistant_id: str, **params: Unpack[AssistantUpdateRequest]) -> Assistant:
        """Change the parameters that are given; the others stay as they are.

        Args:
            assistant_id: The assistant's ID.
            **params: See `AssistantUpdateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such assistant.

        Source: Assistants v2 API, operation ``modifyAssistant``.
        """
        check_params(params, AssistantUpdateRequest)
        overrides, url = take_overrides(params), self._transport.url(ASSISTANT, assistant_id=assistant_id)
        return self._noted(await self._transport.request("POST", url, Assistant, body=params, overrides=overrides))

    def list(self, **query: Unpack[ListRequest]) -> Listing[Assistant]:
        """List assistants, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            **query: See `ListParams` and `RequestOptions`.

        Source: Assistants v2 API, operation ``listAssistants``.
        """
        check_params(query, ListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[Assistant], ASSISTANTS, {}, query, overrides=overrides)

    async def delete(self, assistant_id: str, **options: Unpack[RequestOptions]) -> Deleted:
        """Delete an assistant. Threads and runs that used it stay.

        Args:
            assistant_id: The assistant's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such assistant.

        Source: Assistants v2 API, operation ``deleteAssistant``.
        """
        url = self._transport.url(ASSISTANT, assistant_id=assistant_id)
        deleted = Deleted(id=assistant_id, object="assistant.deleted")
        return await delete(self._transport, url, Assistant, deleted, overrides_of(options))

    def _noted(self, assistant: Assistant) -> Assistant:
        """An assistant, whose name the spans of its runs are to have."""
        if self._transport.telemetry is not None:
            self._transport.telemetry.note_agent(assistant)
        return assistant
