"""Batches: files that are added to a vector store together, in one request."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Never, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.overrides import overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import VECTOR_STORE_BATCH, VECTOR_STORE_BATCH_FILES, VECTOR_STORE_BATCHES, ids_of
from openai_runs._wire.signatures import spelled_out
from openai_runs.following.file_processing import until_processed
from openai_runs.following.polling import Polling
from openai_runs.models.file import FileSource
from openai_runs.models.page import Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.vector_store import (
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileBatchCreateRequest,
    VectorStoreFileListRequest,
    VectorStoreFileStatus,
)
from openai_runs.services.files import FilesService

_POLLING = Polling()


@spelled_out
class VectorStoreFileBatchesService:
    """``session.vector_stores.file_batches``.

    A batch is given as a `VectorStoreFileBatch`, or by both IDs.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.VECTOR_STORE_FILE_BATCHES)

    async def create(
        self,
        vector_store_id: str,
        *_positional: Never,
        idempotency_key: str | None = None,
        **params: Unpack[VectorStoreFileBatchCreateRequest],
    ) -> VectorStoreFileBatch:
        """Add files to a vector store. They are read later: `poll` waits for that.

        Args:
            vector_store_id: The vector store.
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call is no second batch.
            **params: See `VectorStoreFileBatchCreateParams`, of which ``file_ids`` or ``files`` is required, and
                `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or file.
            TransportError: No usable response. If ``maybe_done``, the batch may exist.

        Source: API, operation ``createVectorStoreFileBatch``.
        """
        _habits.refuse_positional(_positional, "create(vector_store_id, file_ids=…)")
        check_params(params, VectorStoreFileBatchCreateRequest)
        overrides = take_overrides(params)
        url = self._transport.url(VECTOR_STORE_BATCHES, vector_store_id=vector_store_id)
        return await Creation(self._transport, url, VectorStoreFileBatch, params, idempotency_key, overrides).send()

    async def create_and_poll(
        self,
        vector_store_id: str,
        *_positional: Never,
        polling: Polling = _POLLING,
        deadline: float | None = None,
        **params: Unpack[VectorStoreFileBatchCreateRequest],
    ) -> VectorStoreFileBatch:
        """Add files to a vector store, and wait until they have been read: `create`, and then `poll`.

        Args:
            vector_store_id: The vector store.
            polling: See `poll`.
            deadline: See `poll`.
            **params: See `create`.
        """
        _habits.refuse_positional(_positional, "create_and_poll(vector_store_id, file_ids=…)")
        return await self.poll(await self.create(vector_store_id, **params), polling=polling, deadline=deadline)

    @_habits.explained(_habits.FILE_POLLING)
    async def upload_and_poll(
        self,
        vector_store_id: str,
        files: Iterable[FileSource],
        *,
        file_ids: Sequence[str] = (),
        polling: Polling = _POLLING,
        deadline: float | None = None,
    ) -> VectorStoreFileBatch:
        """Upload files, one after another, add them to a vector store, and wait until they have been read.

        Args:
            vector_store_id: The vector store.
            files: What `FilesService.create` takes.
            file_ids: Files that have been uploaded before, to be added as well.
            polling: See `poll`.
            deadline: See `poll`; it holds for the reading.

        Raises:
            OpenAIRunsError: What `FilesService.create`, `create` and `poll` raise. Files that were uploaded before an
                error stay.
        """
        service, ids = FilesService(self._transport), list(file_ids)
        for file in files:
            ids.append((await service.create(file, purpose="assistants")).id)  # noqa: PERF401  # one at a time
        return await self.create_and_poll(vector_store_id, file_ids=ids, polling=polling, deadline=deadline)

    @_habits.explained(_habits.FILE_POLLING)
    async def poll(
        self,
        batch: VectorStoreFileBatch | None = None,
        *,
        vector_store_id: str | None = None,
        batch_id: str | None = None,
        polling: Polling = _POLLING,
        deadline: float | None = None,
    ) -> VectorStoreFileBatch:
        """Wait until all files of a batch have been read, or are not going to be.

        Args:
            batch: The batch, in any version. Instead of it, give both IDs:
            vector_store_id: The vector store's ID.
            batch_id: The batch's ID.
            polling: How often to look.
            deadline: Seconds to wait at most.

        Returns:
            The batch; its ``file_counts`` say how many files can be searched.

        Raises:
            TimeoutError: The deadline has passed; the files are read nevertheless.
            NotFoundError: There is no such vector store or batch.
        """
        ids = ids_of(VectorStoreFileBatch, batch, vector_store_id=vector_store_id, batch_id=batch_id)
        retrieve = partial(self.retrieve, vector_store_id=ids["vector_store_id"], batch_id=ids["batch_id"])
        return await until_processed(retrieve, batch, polling, deadline)

    async def retrieve(
        self,
        batch: VectorStoreFileBatch | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        batch_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> VectorStoreFileBatch:
        """Fetch a batch.

        Args:
            batch: The batch, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``batch``.
            batch_id: The batch's ID, if there is no ``batch``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or batch.

        Source: API, operation ``getVectorStoreFileBatch``.
        """
        _habits.refuse_positional(_positional, "retrieve(batch), or retrieve(vector_store_id=…, batch_id=…)")
        ids = ids_of(VectorStoreFileBatch, batch, vector_store_id=vector_store_id, batch_id=batch_id)
        url = self._transport.url(VECTOR_STORE_BATCH, **ids)
        return await self._transport.request("GET", url, VectorStoreFileBatch, overrides=overrides_of(options))

    async def cancel(
        self,
        batch: VectorStoreFileBatch | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        batch_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> VectorStoreFileBatch:
        """Stop reading the files of a batch; those that have been read stay.

        Args:
            batch: The batch, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``batch``.
            batch_id: The batch's ID, if there is no ``batch``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or batch.
            BadRequestError: The batch has ended.

        Source: API, operation ``cancelVectorStoreFileBatch``.
        """
        _habits.refuse_positional(_positional, "cancel(batch), or cancel(vector_store_id=…, batch_id=…)")
        overrides = overrides_of(options)
        ids = ids_of(VectorStoreFileBatch, batch, vector_store_id=vector_store_id, batch_id=batch_id)

        async def find_cancelled() -> VectorStoreFileBatch | None:
            found = await self._transport.send("GET", url, VectorStoreFileBatch, overrides=overrides)
            return found if found.status is VectorStoreFileStatus.CANCELLED else None

        url = self._transport.url(VECTOR_STORE_BATCH, **ids)
        return await self._transport.request(
            "POST",
            self._transport.below(url, "cancel"),
            VectorStoreFileBatch,
            repeatable=False,
            find=find_cancelled,
            overrides=overrides,
        )

    def list_files(
        self,
        batch: VectorStoreFileBatch | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        batch_id: str | None = None,
        **query: Unpack[VectorStoreFileListRequest],
    ) -> Listing[VectorStoreFile]:
        """List the files of a batch, newest first: ``async for``, or ``await ….page()`` for one page.

        Args:
            batch: The batch, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``batch``.
            batch_id: The batch's ID, if there is no ``batch``.
            **query: See `VectorStoreFileListParams`, of which ``filter`` is a status, and `RequestOptions`.

        Source: API, operation ``listFilesInVectorStoreBatch``.
        """
        _habits.refuse_positional(_positional, "list_files(batch), or list_files(vector_store_id=…, batch_id=…)")
        check_params(query, VectorStoreFileListRequest)
        overrides = take_overrides(query)
        ids = ids_of(VectorStoreFileBatch, batch, vector_store_id=vector_store_id, batch_id=batch_id)
        page = Page[VectorStoreFile]
        return Listing(self._transport, page, VECTOR_STORE_BATCH_FILES, ids, query, overrides=overrides)
