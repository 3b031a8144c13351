"""The API's operations on batches of files in vector stores, on the server's side of its service."""

from collections.abc import Awaitable, Callable, Sequence

from attrs import define

from openai_runs._evolving import evolve
from openai_runs.engine.deciding import decided
from openai_runs.engine.errors import ApiError, not_found
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ingestion import Ingestion
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import Body
from openai_runs.engine.new_vector_stores import chunking_of, new_batch
from openai_runs.engine.resources.vector_store_files import file_page
from openai_runs.models.file import File
from openai_runs.models.page import Page
from openai_runs.models.vector_store import VectorStoreFile, VectorStoreFileBatch, VectorStoreFileStatus
from openai_runs.stores.records import BatchFiles, PageQuery, Record, VectorStoreEntry, entry_id


@define
class VectorStoreFileBatches:
    """The batches of each vector store."""

    _ledger: Ledger
    _ingestion: Ingestion
    _find_file: Callable[[str, str], Awaitable[File]]  # of an owner; raises a 404

    @decided
    async def create(
        self, owner: str, vector_store_id: str, body: Body, *, key: IdempotencyKey | None = None
    ) -> VectorStoreFileBatch:
        """Operation ``createVectorStoreFileBatch``. The index reads the files later."""
        wanted = {each["file_id"]: each for each in _files_of(body)}
        chunkings = {id: chunking_of(each.get("chunking_strategy")) for id, each in wanted.items()}
        for file_id in wanted:
            await self._find_file(owner, file_id)
        async with self._ingestion.using(owner, vector_store_id) as changes:
            batch = new_batch(vector_store_id, changes.now)
            changes.put_batch(batch)
            for file_id, each in wanted.items():
                await changes.attach(file_id, chunkings[file_id], each.get("attributes"), batch.id)
            batch = changes.batch(batch.id)
            files = BatchFiles(id=batch.id, vector_store_id=vector_store_id, file_ids=tuple(wanted))
            changes.add(Record(owner, files), *used_by(key, owner, batch, changes.now))
        return batch

    async def retrieve(self, owner: str, vector_store_id: str, batch_id: str) -> VectorStoreFileBatch:
        """Operation ``getVectorStoreFileBatch``."""
        await self._ingestion.find(owner, vector_store_id)
        record = await self._ledger.store.get(VectorStoreFileBatch, batch_id)
        if record is None or record.value.vector_store_id != vector_store_id:
            raise not_found("file batch", batch_id)
        return record.value

    @decided
    async def cancel(self, owner: str, vector_store_id: str, batch_id: str) -> VectorStoreFileBatch:
        """Operation ``cancelVectorStoreFileBatch``: files that have been read stay."""
        async with self._ingestion.changing(owner, vector_store_id) as changes:
            batch = await self.retrieve(owner, vector_store_id, batch_id)
            if batch.status is not VectorStoreFileStatus.IN_PROGRESS:
                raise ApiError(400, f"Cannot cancel file batch with status '{batch.status}'.")
            changes.put_batch(evolve(batch, status=VectorStoreFileStatus.CANCELLED))
            for file_id in (await self._ledger.get(BatchFiles, batch_id)).file_ids:
                entry = await self._ledger.store.get(VectorStoreEntry, entry_id(vector_store_id, file_id))
                if entry is not None and batch_id in entry.value.batch_ids:
                    await changes.cancel(entry.value)
        return changes.batch(batch_id)

    async def list_files(
        self,
        owner: str,
        vector_store_id: str,
        batch_id: str,
        query: PageQuery,
        status: VectorStoreFileStatus | None = None,
    ) -> Page[VectorStoreFile]:
        """Operation ``listFilesInVectorStoreBatch``, of all files or of those with one status.

        Files that were taken out of the vector store since are left out.
        """
        await self.retrieve(owner, vector_store_id, batch_id)
        ids = list((await self._ledger.get(BatchFiles, batch_id)).file_ids)
        if query.order == "desc":
            ids.reverse()
        start = 0 if query.after is None else _place(ids, query.after, "after") + 1
        stop = len(ids) if query.before is None else _place(ids, query.before, "before")
        goes_back = query.before is not None and query.after is None
        found: list[VectorStoreFile] = []
        for file_id in reversed(ids[start:stop]) if goes_back else ids[start:stop]:
            record = await self._ledger.store.get(VectorStoreEntry, entry_id(vector_store_id, file_id))
            if record is not None and status in (None, record.value.file.status):
                found.append(record.value.file)
            if len(found) > query.limit:
                break
        shown = found[: query.limit]
        return file_page(shown[::-1] if goes_back else shown, has_more=len(found) > query.limit)


def _files_of(body: Body) -> Sequence[Body]:
    """The files of a batch, each with its own parameters.

    Raises:
        ApiError: 400: they are given in both ways.
    """
    if "files" not in body:
        return [{**body, "file_id": file_id} for file_id in body["file_ids"]]
    if "file_ids" in body:
        text = "Give either 'file_ids' or 'files', and not both."
        raise ApiError(400, text, param="files", code="invalid_value")
    files: Sequence[Body] = body["files"]
    return files


def _place(ids: Sequence[str], id: str, param: str) -> int:
    try:
        return ids.index(id)
    except ValueError:
        text = f"No file found with id '{id}' to start '{param}'."
        raise ApiError(400, text, param=param, code="invalid_value") from None
