"""`VectorStoreChanges`: what changes in one vector store, collected under its lock, and committed at once."""

import os
from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_vector_stores import (
    chunking_again,
    counted_batch,
    ended_file,
    new_file_entry,
    recounted,
)
from openai_runs.file_search.chunking import Chunking
from openai_runs.models.vector_store import (
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileError,
    VectorStoreFileStatus,
)
from openai_runs.stores.records import Change, Delete, FileUse, IndexJob, Record, VectorStoreEntry, entry_id

#: Files of a vector store, as many as one of the hosted API could hold.
MAX_FILES: Final = 10_000

IN_PROGRESS: Final = VectorStoreFileStatus.IN_PROGRESS
CANCELLED: Final = VectorStoreFileStatus.CANCELLED


def _number() -> str:
    return os.urandom(12).hex()


@define
class VectorStoreChanges:
    """Changes of a vector store, its files and batches, and what follows from them for the index.

    Each file is to be changed once.
    """

    _ledger: Ledger
    owner: str
    store: VectorStore
    now: float
    jobs: list[IndexJob] = field(factory=list, init=False)  #: for the index
    _batches: dict[str, VectorStoreFileBatch] = field(factory=dict, init=False)
    _others: list[Change] = field(factory=list, init=False)

    def add(self, *changes: Change) -> None:
        """Commit something else with it."""
        self._others += changes

    def put_batch(self, batch: VectorStoreFileBatch) -> None:
        """Add a batch, or change it."""
        self._batches[batch.id] = batch

    def batch(self, batch_id: str) -> VectorStoreFileBatch:
        """A batch as it is after these changes."""
        return self._batches[batch_id]

    @property
    def changes(self) -> list[Change]:
        """All of it, to be committed."""
        values: list[Any] = [self.store, *self._batches.values(), *self.jobs]
        return [*(Record(self.owner, value) for value in values), *self._others]

    async def attach(
        self, file_id: str, chunking: Chunking, attributes: Mapping[str, Any] | None, batch_id: str | None = None
    ) -> VectorStoreEntry:
        """Add a file, which exists, to the vector store.

        A file that is in it already, and was not refused, is not processed again unless it is to be cut otherwise.

        Args:
            file_id: The file.
            chunking: How to cut it.
            attributes: What to keep about it. Unset: what there is.
            batch_id: The batch that it belongs to, which is among these changes.

        Raises:
            ApiError: 400: the vector store is full.
        """
        id = entry_id(self.store.id, file_id)
        record = await self._ledger.store.get(VectorStoreEntry, id)
        entry = None if record is None else record.value
        waiting = () if entry is None else entry.batch_ids
        if entry is not None and _is_good(entry.file, chunking):
            file = entry.file if attributes is None else evolve(entry.file, attributes=attributes)
        else:
            if entry is not None and attributes is None:
                attributes = entry.file.attributes
            file = new_file_entry(self.store.id, file_id, chunking, attributes, self.now)
            self._read(None if entry is None else entry.file, file)
            if entry is None:
                self._check_room()
                self.add(Record(self.owner, FileUse(id=id, file_id=file_id, vector_store_id=self.store.id)))
        if batch_id is not None:
            self.put_batch(counted_batch(self.batch(batch_id), None, file.status))
            if file.status is IN_PROGRESS:
                waiting = (*waiting, batch_id)
        entry = VectorStoreEntry(id=id, vector_store_id=self.store.id, file=file, batch_ids=waiting)
        self.add(Record(self.owner, entry))
        return entry

    def read_again(self, entry: VectorStoreEntry) -> None:
        """Have a file read again that has been read."""
        file = ended_file(entry.file, IN_PROGRESS)
        self._read(entry.file, file)
        self.add(Record(self.owner, evolve(entry, file=file)))

    def _read(self, before: VectorStoreFile | None, file: VectorStoreFile) -> None:
        self._count(before, file)
        id = entry_id(self.store.id, file.id)
        self.jobs.append(
            IndexJob(id=id, vector_store_id=self.store.id, file_id=file.id, is_ingestion=True, number=_number())
        )

    async def end(
        self,
        entry: VectorStoreEntry,
        status: VectorStoreFileStatus,
        *,
        usage_bytes: int = 0,
        error: VectorStoreFileError | None = None,
    ) -> None:
        """End the processing of a file that is in progress."""
        file = ended_file(entry.file, status, usage_bytes=usage_bytes, error=error)
        self._count(entry.file, file)
        await self._count_in_batches(entry, status)
        self.add(Record(self.owner, evolve(entry, file=file, batch_ids=())))

    async def cancel(self, entry: VectorStoreEntry) -> None:
        """End the processing of a file that is in progress, and have the index forget what it has of it."""
        await self.end(entry, CANCELLED)
        self._forget(entry)

    async def detach(self, entry: VectorStoreEntry) -> None:
        """Take a file out of the vector store."""
        self._count(entry.file, None)
        await self._count_in_batches(entry, CANCELLED)
        self.add(Delete(VectorStoreEntry, entry.id), Delete(FileUse, entry.id))
        self._forget(entry)

    def _forget(self, entry: VectorStoreEntry) -> None:
        self.jobs.append(IndexJob(id=entry.id, vector_store_id=self.store.id, file_id=entry.file.id, number=_number()))

    async def _count_in_batches(self, entry: VectorStoreEntry, status: VectorStoreFileStatus) -> None:
        for id in entry.batch_ids:
            batch = self._batches.get(id) or await self._ledger.get(VectorStoreFileBatch, id)
            self.put_batch(counted_batch(batch, IN_PROGRESS, status))

    def _count(self, before: VectorStoreFile | None, after: VectorStoreFile | None) -> None:
        counts = recounted(
            self.store.file_counts, None if before is None else before.status, None if after is None else after.status
        )
        size = (0 if after is None else after.usage_bytes) - (0 if before is None else before.usage_bytes)
        self.store = evolve(self.store, file_counts=counts, usage_bytes=self.store.usage_bytes + size)

    def _check_room(self) -> None:
        if self.store.file_counts.total > MAX_FILES:
            text = f"The vector store {self.store.id} would have more than {MAX_FILES} files, the limit."
            raise ApiError(400, text, param="file_id", code="array_above_max_length")


def _is_good(file: VectorStoreFile, chunking: Chunking) -> bool:
    """Whether a file has been processed, or is going to be, as it is asked for."""
    is_alive = file.status in (IN_PROGRESS, VectorStoreFileStatus.COMPLETED)
    return is_alive and chunking_again(file.chunking_strategy) == chunking


def forget_all(vector_store_id: str) -> IndexJob:
    """The job after a vector store was deleted."""
    return IndexJob(id=vector_store_id, vector_store_id=vector_store_id, number=_number())
