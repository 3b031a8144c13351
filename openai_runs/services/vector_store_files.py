"""Files in vector stores: they are added, and then read by the endpoint, which takes a while."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Never, Unpack

from openai_runs import _habits
from openai_runs._http.creation import Creation
from openai_runs._http.deletion import delete
from openai_runs._http.overrides import overrides_of, take_overrides
from openai_runs._http.pages import Listing
from openai_runs._http.transport import Transport
from openai_runs._wire.parameters import check_params
from openai_runs._wire.paths import VECTOR_STORE_FILE, VECTOR_STORE_FILE_CONTENT, VECTOR_STORE_FILES, ids_of
from openai_runs._wire.signatures import spelled_out
from openai_runs.following.file_processing import until_processed
from openai_runs.following.polling import Polling
from openai_runs.models.assistant import Deleted
from openai_runs.models.file import FileSource
from openai_runs.models.page import Page
from openai_runs.models.request_options import RequestOptions
from openai_runs.models.tool import AutoChunking, StaticChunking
from openai_runs.models.vector_store import (
    AttributeValue,
    VectorStoreFile,
    VectorStoreFileContent,
    VectorStoreFileCreateParams,
    VectorStoreFileCreateRequest,
    VectorStoreFileListRequest,
    VectorStoreFileUpdateRequest,
)
from openai_runs.services.files import FilesService

_POLLING = Polling()


@spelled_out
class VectorStoreFilesService:
    """``session.vector_stores.files``.

    A file in a vector store is given as a `VectorStoreFile`, or by both IDs.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.VECTOR_STORE_FILES)

    async def create(
        self,
        vector_store_id: str,
        *_positional: Never,
        idempotency_key: str | None = None,
        **params: Unpack[VectorStoreFileCreateRequest],
    ) -> VectorStoreFile:
        """Add a file to a vector store. It is read later: `poll` waits for that.

        Args:
            vector_store_id: The vector store.
            idempotency_key: A key of your own, 1 to 255 characters: with it, repeating the call adds nothing.
            **params: See `VectorStoreFileCreateParams`, of which ``file_id`` is required, and `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or file.
            TransportError: No usable response. If ``maybe_done``, the file may be in it.

        Source: API, operation ``createVectorStoreFile``.
        """
        _habits.refuse_positional(_positional, "create(vector_store_id, file_id=…)")
        check_params(params, VectorStoreFileCreateRequest)
        overrides = take_overrides(params)
        url = self._transport.url(VECTOR_STORE_FILES, vector_store_id=vector_store_id)
        return await Creation(self._transport, url, VectorStoreFile, params, idempotency_key, overrides).send()

    async def create_and_poll(
        self,
        vector_store_id: str,
        *_positional: Never,
        polling: Polling = _POLLING,
        deadline: float | None = None,
        **params: Unpack[VectorStoreFileCreateRequest],
    ) -> VectorStoreFile:
        """Add a file to a vector store, and wait until it has been read: `create`, and then `poll`.

        Args:
            vector_store_id: The vector store.
            polling: See `poll`.
            deadline: See `poll`.
            **params: See `create`.
        """
        _habits.refuse_positional(_positional, "create_and_poll(vector_store_id, file_id=…)")
        return await self.poll(await self.create(vector_store_id, **params), polling=polling, deadline=deadline)

    @_habits.explained(_habits.FILE_POLLING)
    async def upload_and_poll(
        self,
        vector_store_id: str,
        file: FileSource,
        *,
        filename: str | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
        chunking_strategy: AutoChunking | StaticChunking | None = None,
        polling: Polling = _POLLING,
        deadline: float | None = None,
    ) -> VectorStoreFile:
        """Upload a file, add it to a vector store, and wait until it has been read.

        Args:
            vector_store_id: The vector store.
            file: What `FilesService.create` takes.
            filename: The name that the file gets.
            attributes: What to keep about it in the vector store.
            chunking_strategy: How to cut it.
            polling: See `poll`.
            deadline: See `poll`; it holds for the reading.

        Raises:
            OpenAIRunsError: What `FilesService.create`, `create` and `poll` raise. A file that was uploaded before an
                error stays.
        """
        uploaded = await FilesService(self._transport).create(file, filename=filename, purpose="assistants")
        params: VectorStoreFileCreateParams = {"file_id": uploaded.id}
        if attributes is not None:
            params["attributes"] = attributes
        if chunking_strategy is not None:
            params["chunking_strategy"] = chunking_strategy
        return await self.create_and_poll(vector_store_id, polling=polling, deadline=deadline, **params)

    @_habits.explained(_habits.FILE_POLLING)
    async def poll(
        self,
        file: VectorStoreFile | None = None,
        *,
        vector_store_id: str | None = None,
        file_id: str | None = None,
        polling: Polling = _POLLING,
        deadline: float | None = None,
    ) -> VectorStoreFile:
        """Wait until a file has been read, or is not going to be.

        Args:
            file: The file, in any version. Instead of it, give both IDs:
            vector_store_id: The vector store's ID.
            file_id: The file's ID.
            polling: How often to look.
            deadline: Seconds to wait at most.

        Returns:
            The file; its ``status`` says whether it can be searched, and ``last_error`` why it cannot.

        Raises:
            TimeoutError: The deadline has passed; the file is read nevertheless.
            NotFoundError: There is no such vector store or file.
        """
        ids = ids_of(VectorStoreFile, file, vector_store_id=vector_store_id, file_id=file_id)
        retrieve = partial(self.retrieve, vector_store_id=ids["vector_store_id"], file_id=ids["file_id"])
        return await until_processed(retrieve, file, polling, deadline)

    async def retrieve(
        self,
        file: VectorStoreFile | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        file_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> VectorStoreFile:
        """Fetch a file in a vector store.

        Args:
            file: The file, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``file``.
            file_id: The file's ID, if there is no ``file``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or file.

        Source: API, operation ``getVectorStoreFile``.
        """
        _habits.refuse_positional(_positional, "retrieve(file), or retrieve(vector_store_id=…, file_id=…)")
        ids = ids_of(VectorStoreFile, file, vector_store_id=vector_store_id, file_id=file_id)
        url = self._transport.url(VECTOR_STORE_FILE, **ids)
        return await self._transport.request("GET", url, VectorStoreFile, overrides=overrides_of(options))

    async def update(
        self,
        file: VectorStoreFile | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        file_id: str | None = None,
        **params: Unpack[VectorStoreFileUpdateRequest],
    ) -> VectorStoreFile:
        """Change the attributes of a file in a vector store.

        Args:
            file: The file, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``file``.
            file_id: The file's ID, if there is no ``file``.
            **params: See `VectorStoreFileUpdateParams` and `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or file.

        Source: API, operation ``updateVectorStoreFileAttributes``.
        """
        _habits.refuse_positional(_positional, "update(file), or update(vector_store_id=…, file_id=…)")
        check_params(params, VectorStoreFileUpdateRequest)
        overrides = take_overrides(params)
        ids = ids_of(VectorStoreFile, file, vector_store_id=vector_store_id, file_id=file_id)
        url = self._transport.url(VECTOR_STORE_FILE, **ids)
        return await self._transport.request("POST", url, VectorStoreFile, body=params, overrides=overrides)

    def list(self, vector_store_id: str, **query: Unpack[VectorStoreFileListRequest]) -> Listing[VectorStoreFile]:
        """List the files in a vector store, newest first: ``async for``, or ``await ….page()`` for one page.

        Args:
            vector_store_id: The vector store.
            **query: See `VectorStoreFileListParams`, of which ``filter`` is a status, and `RequestOptions`.

        Source: API, operation ``listVectorStoreFiles``.
        """
        check_params(query, VectorStoreFileListRequest)
        overrides, ids = take_overrides(query), {"vector_store_id": vector_store_id}
        page = Page[VectorStoreFile]
        return Listing(self._transport, page, VECTOR_STORE_FILES, ids, query, overrides=overrides)

    async def delete(
        self,
        file: VectorStoreFile | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        file_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> Deleted:
        """Take a file out of a vector store; the file itself stays.

        Args:
            file: The file, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``file``.
            file_id: The file's ID, if there is no ``file``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or file.

        Source: API, operation ``deleteVectorStoreFile``.
        """
        _habits.refuse_positional(_positional, "delete(file), or delete(vector_store_id=…, file_id=…)")
        ids = ids_of(VectorStoreFile, file, vector_store_id=vector_store_id, file_id=file_id)
        deleted = Deleted(id=ids["file_id"], object="vector_store.file.deleted")
        url, overrides = self._transport.url(VECTOR_STORE_FILE, **ids), overrides_of(options)
        return await delete(self._transport, url, VectorStoreFile, deleted, overrides)

    async def content(
        self,
        file: VectorStoreFile | None = None,
        *_positional: Never,
        vector_store_id: str | None = None,
        file_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> VectorStoreFileContent:
        """Fetch what was read of a file.

        Args:
            file: The file, as for `poll`.
            vector_store_id: The vector store's ID, if there is no ``file``.
            file_id: The file's ID, if there is no ``file``.
            **options: See `RequestOptions`.

        Raises:
            NotFoundError: There is no such vector store or file.

        Source: API, operation ``retrieveVectorStoreFileContent``.
        """
        _habits.refuse_positional(_positional, "content(file), or content(vector_store_id=…, file_id=…)")
        ids = ids_of(VectorStoreFile, file, vector_store_id=vector_store_id, file_id=file_id)
        url = self._transport.url(VECTOR_STORE_FILE_CONTENT, **ids)
        return await self._transport.request("GET", url, VectorStoreFileContent, overrides=overrides_of(options))
