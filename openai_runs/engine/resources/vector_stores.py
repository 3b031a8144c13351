"""The API's operations on vector stores, on the server's side of `openai_runs.services.vector_stores`."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from attrs import define

from openai_runs._evolving import evolve
from openai_runs.engine.audit import By
from openai_runs.engine.deciding import decided
from openai_runs.engine.errors import ApiError
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ingestion import Ingestion
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import ALL_SHOWN, Body
from openai_runs.engine.new_vector_stores import (
    changed_vector_store,
    chunking_of,
    matches,
    new_vector_store,
    shown_vector_store,
)
from openai_runs.engine.thread_stores import in_turn
from openai_runs.engine.vector_store_changes import VectorStoreChanges, forget_all
from openai_runs.file_search.search_index import Hit
from openai_runs.models.assistant import Deleted
from openai_runs.models.file import File
from openai_runs.models.page import Page
from openai_runs.models.vector_store import (
    VectorStore,
    VectorStoreFileStatus,
    VectorStoreSearchPage,
    VectorStoreSearchResult,
    VectorStoreStatus,
    VectorStoreText,
)
from openai_runs.stores.records import Delete, IndexJob, PageQuery, Record, VectorStoreEntry

_MOST_ENTRIES: Final = 10_000  # of a page that is read to filter them


@define
class VectorStores:
    """The vector stores of each owner."""

    _ledger: Ledger
    _ingestion: Ingestion
    _find_file: Callable[[str, str], Awaitable[File]]  # of an owner; raises a 404

    @decided
    async def create(self, owner: str, body: Body, *, key: IdempotencyKey | None = None) -> VectorStore:
        """Operation ``createVectorStore``."""
        changes = await self.new(owner, body)
        changes.add(*used_by(key, owner, changes.store, changes.now))
        await self._ingestion.commit(changes)
        return shown_vector_store(changes.store, changes.now)

    async def new(self, owner: str, body: Body) -> VectorStoreChanges:
        """Make a vector store with files, which is yet to be committed.

        Raises:
            ApiError: 404: there is no such file. 400: the chunking strategy is wrong.
        """
        now = self._ledger.clock.now()
        chunking = chunking_of(body.get("chunking_strategy"))
        changes = VectorStoreChanges(self._ledger, owner, new_vector_store(body, now), now)
        for file_id in dict.fromkeys(body.get("file_ids", ())):
            await self._find_file(owner, file_id)
            await changes.attach(file_id, chunking, None)
        return changes

    async def retrieve(self, owner: str, vector_store_id: str) -> VectorStore:
        """Operation ``getVectorStore``."""
        return shown_vector_store(await self._ingestion.find(owner, vector_store_id), self._ledger.clock.now())

    @decided
    async def update(self, owner: str, vector_store_id: str, body: Body) -> VectorStore:
        """Operation ``modifyVectorStore``."""
        async with self._ingestion.changing(owner, vector_store_id) as changes:
            was_forgotten = changes.store.status is VectorStoreStatus.EXPIRED
            changes.store = changed_vector_store(changes.store, body, changes.now)
            if was_forgotten:
                await self._revive(changes)
        return shown_vector_store(changes.store, changes.now)

    async def _revive(self, changes: VectorStoreChanges) -> None:
        """Have the files of a vector store read again, which the index has forgotten, or is going to forget."""
        changes.add(Delete(IndexJob, changes.store.id))
        async for entry in self._entries(changes.store.id):
            if entry.file.status is VectorStoreFileStatus.COMPLETED:
                changes.read_again(entry)

    async def list(self, owner: str, query: PageQuery) -> Page[VectorStore]:
        """Operation ``listVectorStores``."""
        page = await self._ledger.page(VectorStore, owner, query)
        now = self._ledger.clock.now()
        return evolve(page, data=tuple(shown_vector_store(store, now) for store in page.data))

    @decided
    async def delete(self, owner: str, vector_store_id: str, by: By = By.REQUEST) -> Deleted:
        """Operation ``deleteVectorStore``: its batches go with it, and its files stay files."""
        async with self._ledger.lock(vector_store_id):
            found = await self._ingestion.find(owner, vector_store_id)
            job = forget_all(vector_store_id)
            forget = partial(self._ingestion.expiry.forget, vector_store_id)
            counts = {"vector_store_file": found.file_counts.total}
            note = partial(self._ledger.note_deletion, owner, "vector_store", vector_store_id, by, counts)
            await self._ledger.commit(
                [Delete(VectorStore, vector_store_id), Record(owner, job)],
                then=partial(in_turn, partial(self._ingestion.push, owner, [job]), forget, note),
            )
        return Deleted(id=vector_store_id, object="vector_store.deleted")

    async def search(self, owner: str, vector_store_id: str, body: Body) -> VectorStoreSearchPage:
        """Operation ``searchVectorStore``. Queries are not rewritten."""
        await self._ingestion.use(owner, vector_store_id)
        queries = [body["query"]] if isinstance(body["query"], str) else body["query"]
        if self._ingestion.index is None:
            raise ApiError(400, self._ingestion.without_index("cannot search"), code="unsupported_value")
        matching: Sequence[str] | None = None
        hits: Sequence[Hit] = ()
        if "filters" in body:
            matching = await self._matching(vector_store_id, body["filters"])
        if queries and (matching is None or matching):
            hits = await self._ingestion.index.search(
                [vector_store_id],
                queries,
                limit=int(body.get("max_num_results", 10)),
                file_ids=None if matching is None else {vector_store_id: matching},
                ranking_options=body.get("ranking_options"),
            )
        data = [await self._result(owner, hit) for hit in hits]
        return VectorStoreSearchPage(
            search_query=tuple(queries), data=tuple(each for each in data if each is not None), absent=ALL_SHOWN
        )

    async def _matching(self, vector_store_id: str, condition: Body) -> Sequence[str]:
        """The IDs of the files in a vector store that meet a filter."""
        files = [entry.file async for entry in self._entries(vector_store_id)]
        return [file.id for file in files if matches(file.attributes or {}, condition)]

    async def _entries(self, vector_store_id: str) -> AsyncGenerator[VectorStoreEntry]:
        query, more = PageQuery(limit=_MOST_ENTRIES, order="asc"), True
        while more:
            records, more = await self._ledger.store.page(VectorStoreEntry, vector_store_id, query)
            for record in records:
                yield record.value
                query = evolve(query, after=record.value.id)

    async def _result(self, owner: str, hit: Hit) -> VectorStoreSearchResult | None:
        """A chunk for the response; ``None`` if its file was taken out of the vector store a moment ago."""
        try:
            entry = await self._ingestion.find_entry(owner, hit.store_id, hit.file_id)
            file = await self._find_file(owner, hit.file_id)
        except ApiError:
            return None
        return VectorStoreSearchResult(
            file_id=hit.file_id,
            filename=file.filename,
            score=min(max(hit.score, 0.0), 1.0),
            attributes=entry.file.attributes or {},
            content=(VectorStoreText(text=hit.text),),
            absent=ALL_SHOWN,
        )
