"""The API's operations on files in vector stores, on the server's side of its service."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from attrs import define

from openai_runs._evolving import evolve
from openai_runs.engine.deciding import decided
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ingestion import Ingestion
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import ALL_SHOWN, Body
from openai_runs.engine.new_vector_stores import chunking_of
from openai_runs.models.assistant import Deleted
from openai_runs.models.file import File
from openai_runs.models.page import Page
from openai_runs.models.vector_store import (
    VectorStoreFile,
    VectorStoreFileContent,
    VectorStoreFileStatus,
    VectorStoreText,
)
from openai_runs.stores.records import PageQuery, Record, VectorStoreEntry, entry_id

_FilePage: TypeAlias = Page[VectorStoreFile]

_STEP: Final = 100  # files that are read at a time to find those with a status


@define
class VectorStoreFiles:
    """The files in each vector store."""

    _ledger: Ledger
    _ingestion: Ingestion
    _find_file: Callable[[str, str], Awaitable[File]]  # of an owner; raises a 404

    @decided
    async def create(
        self, owner: str, vector_store_id: str, body: Body, *, key: IdempotencyKey | None = None
    ) -> VectorStoreFile:
        """Operation ``createVectorStoreFile``. The index reads it later."""
        chunking = chunking_of(body.get("chunking_strategy"))
        await self._find_file(owner, body["file_id"])
        async with self._ingestion.using(owner, vector_store_id) as changes:
            entry = await changes.attach(body["file_id"], chunking, body.get("attributes"))
            changes.add(*used_by(key, owner, entry, changes.now))
        return entry.file

    async def retrieve(self, owner: str, vector_store_id: str, file_id: str) -> VectorStoreFile:
        """Operation ``getVectorStoreFile``."""
        return (await self._ingestion.find_entry(owner, vector_store_id, file_id)).file

    @decided
    async def update(self, owner: str, vector_store_id: str, file_id: str, body: Body) -> VectorStoreFile:
        """Operation ``updateVectorStoreFileAttributes``."""
        async with self._ledger.lock(vector_store_id):
            entry = await self._ingestion.find_entry(owner, vector_store_id, file_id)
            entry = evolve(entry, file=evolve(entry.file, attributes=body["attributes"] or {}))
            await self._ledger.commit([Record(owner, entry)])
        return entry.file

    async def list(
        self, owner: str, vector_store_id: str, query: PageQuery, status: VectorStoreFileStatus | None = None
    ) -> _FilePage:
        """Operation ``listVectorStoreFiles``, of all files or of those with one status."""
        await self._ingestion.find(owner, vector_store_id)
        if status is None:
            return await self._page(vector_store_id, query)
        found: list[VectorStoreFile] = []
        goes_back = query.before is not None and query.after is None
        step = evolve(query, limit=_STEP)
        while True:
            page = await self._page(vector_store_id, step)
            files = [file for file in page.data if file.status is status]
            found = files + found if goes_back else found + files
            if not page.has_more or len(found) > query.limit:
                break
            end = page.data[0 if goes_back else -1].id
            step = evolve(step, before=end) if goes_back else evolve(step, after=end)
        shown = found[-query.limit :] if goes_back else found[: query.limit]
        return file_page(shown, has_more=len(found) > query.limit)

    async def _page(self, vector_store_id: str, query: PageQuery) -> _FilePage:
        after, before = (id and entry_id(vector_store_id, id) for id in (query.after, query.before))
        page = await self._ledger.page(VectorStoreEntry, vector_store_id, evolve(query, after=after, before=before))
        return file_page([entry.file for entry in page.data], has_more=page.has_more)

    @decided
    async def delete(self, owner: str, vector_store_id: str, file_id: str) -> Deleted:
        """Operation ``deleteVectorStoreFile``: the file itself stays."""
        async with self._ingestion.changing(owner, vector_store_id) as changes:
            await changes.detach(await self._ingestion.find_entry(owner, vector_store_id, file_id))
        return Deleted(id=file_id, object="vector_store.file.deleted")

    async def content(self, owner: str, vector_store_id: str, file_id: str) -> VectorStoreFileContent:
        """Operation ``retrieveVectorStoreFileContent``: nothing before the file has been read."""
        entry = await self._ingestion.find_entry(owner, vector_store_id, file_id)
        index, chunks = self._ingestion.index, tuple[str, ...]()
        if index is not None and entry.file.status is VectorStoreFileStatus.COMPLETED:
            chunks = tuple(await index.chunks(vector_store_id, file_id))
        return VectorStoreFileContent(data=tuple(VectorStoreText(text=chunk) for chunk in chunks), absent=ALL_SHOWN)


def file_page(files: Sequence[VectorStoreFile], *, has_more: bool) -> _FilePage:
    """A page of files in a vector store."""
    return Page(
        data=tuple(files),
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
        has_more=has_more,
        absent=frozenset(),
    )
