"""Vector stores: files that ``file_search`` searches."""

from typing import TYPE_CHECKING, Final, Never, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.deletion import delete
from openai_runs._http.overrides import overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import VECTOR_STORE, VECTOR_STORES
from openai_runs._wire.signatures import spelled_out
from openai_runs.models.assistant import Deleted
from openai_runs.models.page import ListRequest, Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.vector_store import (
    VectorStore,
    VectorStoreCreateRequest,
    VectorStoreSearchPage,
    VectorStoreSearchRequest,
    VectorStoreUpdateRequest,
)
from openai_runs.services.vector_store_file_batches import VectorStoreFileBatchesService
from openai_runs.services.vector_store_files import VectorStoreFilesService


@spelled_out
class VectorStoresService:
    """``session.vector_stores``.

    Attributes:
        files: `VectorStoreFilesService`: the files in vector stores.
        file_batches: `VectorStoreFileBatchesService`: files that are added together.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.files: Final = VectorStoreFilesService(transport)
        self.file_batches: Final = VectorStoreFileBatchesService(transport)

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.VECTOR_STORES)

    async def create(
        self, *_positional: Never, idempotency_key: str | None = None, **params: Unpack[VectorStoreCreateRequest]
    ) -> VectorStore:
        """Create a vector store, empty or with files; never more than one, where keys are honoured.

        Its files are read later: `VectorStoreFilesService.poll` waits for one of them.

        Args:
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call is no second creation.
            **params: See `VectorStoreCreateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such file.
            TransportError: No usable response. If ``maybe_done``, the vector store may exist.

        Source: API, operation ``createVectorStore``.
        """
        _habits.refuse_positional(_positional, "create(name=…, file_ids=…)")
        check_params(params, VectorStoreCreateRequest)
        overrides, url = take_overrides(params), self._transport.url(VECTOR_STORES)
        return await Creation(self._transport, url, VectorStore, params, idempotency_key, overrides).send()

    async def retrieve(self, vector_store_id: str, **options: Unpack[RequestOptions]) -> VectorStore:
        """Fetch a vector store.

        Args:
            vector_store_id: The vector store's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store.

        Source: API, operation ``getVectorStore``.
        """
        url = self._transport.url(VECTOR_STORE, vector_store_id=vector_store_id)
        return await self._transport.request("GET", url, VectorStore, overrides=overrides_of(options))

    async def update(self, vector_store_id: str, **params: Unpack[VectorStoreUpdateRequest]) -> VectorStore:
        """Change the parameters that are given; the others stay as they are.

        Args:
            vector_store_id: The vector store's ID.
            **params: See `VectorStoreUpdateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store.

        Source: API, operation ``modifyVectorStore``.
        """
        check_params(params, VectorStoreUpdateRequest)
        overrides, url = take_overrides(params), self._transport.url(VECTOR_STORE, vector_store_id=vector_store_id)
        return await self._transport.request("POST", url, VectorStore, body=params, overrides=overrides)

    def list(self, **query: Unpack[ListRequest]) -> Listing[VectorStore]:
        """List vector stores, newest first: iterate with ``async for``, or ``await ….page()`` for one page.

        Args:
            **query: See `ListParams` and `RequestOptions`.

        Source: API, operation ``listVectorStores``.
        """
        check_params(query, ListRequest)
        overrides = take_overrides(query)
        return Listing(self._transport, Page[VectorStore], VECTOR_STORES, {}, query, overrides=overrides)

    async def delete(self, vector_store_id: str, **options: Unpack[RequestOptions]) -> Deleted:
        """Delete a vector store; the files in it stay files.

        Args:
            vector_store_id: The vector store's ID.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store.

        Source: API, operation ``deleteVectorStore``.
        """
        url = self._transport.url(VECTOR_STORE, vector_store_id=vector_store_id)
        deleted = Deleted(id=vector_store_id, object="vector_store.deleted")
        return await delete(self._transport, url, VectorStore, deleted, overrides_of(options))

    async def search(
        self, vector_store_id: str, *_positional: Never, **params: Unpack[VectorStoreSearchRequest]
    ) -> VectorStoreSearchPage:
        """Find the passages that fit a query.

        Args:
            vector_store_id: The vector store's ID.
            **params: See `VectorStoreSearchParams`, of which ``query`` is required, and `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store.

        Source: API, operation ``searchVectorStore``.
        """
        _habits.refuse_positional(_positional, "search(vector_store_id, query=…)")
        check_params(params, VectorStoreSearchRequest)
        overrides = take_overrides(params)
        url = self._transport.below(self._transport.url(VECTOR_STORE, vector_store_id=vector_store_id), "search")
        return await self._transport.request("POST", url, VectorStoreSearchPage, body=params, overrides=overrides)
