"""Imports vector stores with the files in them: the index reads these again, since their passages are not exported."""

import secrets
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.models.file import File
from openai_runs.models.vector_store import (
    FileCounts,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileStatus,
    VectorStoreStatus,
)
from openai_runs.stores.records import FileUse, IndexJob, Record, VectorStoreEntry, entry_id
from openai_runs.stores.store import Store


@define
class VectorStoreImport:
    """The vector stores of an import. Each is committed with all that is in it, or is there already."""

    _store: Store
    _owner: str
    problems: list[str]  #: is added to
    added_stores: int = field(default=0, init=False)
    added_files: int = field(default=0, init=False)
    already_present: int = field(default=0, init=False)  #: vector stores, and files in them
    _stores: dict[str, VectorStore] = field(factory=dict, init=False)
    _files: dict[str, dict[str, VectorStoreFile]] = field(factory=dict, init=False)  # by vector store and file

    def take(self, item: VectorStore | VectorStoreFile) -> None:
        """Take what is to be imported. Of several with one ID, the last one counts."""
        if isinstance(item, VectorStore):
            self._stores[item.id] = item
        else:
            self._files.setdefault(item.vector_store_id, {})[item.id] = item

    async def carry_out(self, may_add: Callable[[VectorStore], Awaitable[bool]]) -> AsyncGenerator[int]:
        """Import what was taken, once all other files are there.

        Args:
            may_add: Whether a vector store is new.

        Yields:
            How many objects were processed since the last yield.
        """
        for store in sorted(self._stores.values(), key=lambda store: store.created_at):
            files = self._files.pop(store.id, {}).values()
            if await may_add(store):
                await self._add(store, sorted(files, key=lambda file: file.created_at))
            else:
                self.already_present += 1
                await self._compare(store.id, files)
            yield 1 + len(files)
        for store_id, others in self._files.items():
            await self._compare(store_id, others.values())
            yield len(others)

    async def _add(self, store: VectorStore, files: Sequence[VectorStoreFile]) -> None:
        is_expired = store.status is VectorStoreStatus.EXPIRED
        found = [file for file in files if await self._is_there(file)]
        kept = [_unread(file, is_expired=is_expired) for file in found]
        counts = Counter(file.status for file in kept)
        store = evolve(
            store,
            status=VectorStoreStatus.EXPIRED if is_expired else VectorStoreStatus.COMPLETED,
            file_counts=FileCounts(
                in_progress=counts[VectorStoreFileStatus.IN_PROGRESS],
                completed=counts[VectorStoreFileStatus.COMPLETED],
                failed=counts[VectorStoreFileStatus.FAILED],
                cancelled=counts[VectorStoreFileStatus.CANCELLED],
                total=len(kept),
            ),
            usage_bytes=sum(file.usage_bytes for file in kept),
        )
        values = [store, *(value for file in kept for value in _records(file))]
        await self._store.commit([Record(self._owner, value) for value in values])
        self.added_stores += 1
        self.added_files += len(kept)

    async def _is_there(self, file: VectorStoreFile) -> bool:
        record = await self._store.get(File, file.id)
        if record is not None and record.owner == self._owner:
            return True
        self._report(file, "there is no such file")
        return False

    async def _compare(self, store_id: str, files: Iterable[VectorStoreFile]) -> None:
        """Say which files are not in a vector store that is not imported."""
        for file in files:
            record = await self._store.get(VectorStoreEntry, entry_id(store_id, file.id))
            if record is not None and record.owner == self._owner:
                self.already_present += 1
            else:
                self._report(file, "the vector store is missing, or was there already, and is not changed")

    def _report(self, file: VectorStoreFile, reason: str) -> None:
        self.problems.append(f"file {file.id} of the vector store {file.vector_store_id} not imported: {reason}")


def _unread(file: VectorStoreFile, *, is_expired: bool) -> VectorStoreFile:
    """The file as the index does not have it yet."""
    if file.status is VectorStoreFileStatus.IN_PROGRESS and is_expired:
        return evolve(file, status=VectorStoreFileStatus.CANCELLED)
    if file.status in (VectorStoreFileStatus.IN_PROGRESS, VectorStoreFileStatus.COMPLETED) and not is_expired:
        return evolve(file, status=VectorStoreFileStatus.IN_PROGRESS, usage_bytes=0)
    return file


def _records(file: VectorStoreFile) -> Iterable[Any]:
    """What is stored of a file in a vector store."""
    id, store_id = entry_id(file.vector_store_id, file.id), file.vector_store_id
    yield VectorStoreEntry(id=id, vector_store_id=store_id, file=file)
    yield FileUse(id=id, file_id=file.id, vector_store_id=store_id)
    if file.status is VectorStoreFileStatus.IN_PROGRESS:
        number = secrets.token_hex(12)
        yield IndexJob(id=id, vector_store_id=store_id, file_id=file.id, is_ingestion=True, number=number)
