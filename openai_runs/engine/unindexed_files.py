"""`UnindexedFiles`: files that the store calls completed and the index does not have, as after a restore without it."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from attrs import define

from openai_runs._evolving import evolve
from openai_runs.engine.errors import ApiError
from openai_runs.engine.file_index import FileIndex
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_vector_stores import has_expired
from openai_runs.engine.vector_store_changes import VectorStoreChanges
from openai_runs.models.vector_store import VectorStore, VectorStoreFileStatus
from openai_runs.stores.records import PageQuery, Record, VectorStoreEntry, entry_id

_logger = logging.getLogger("openai_runs.engine")

_STEP: Final = 100  # entries that are read, or changed, at a time


@define(eq=False)
class UnindexedFiles:
    """Has them read again, since a search would find nothing of them and say nothing about it."""

    _ledger: Ledger
    _index: FileIndex
    _changing: Callable[[str, str], AbstractAsyncContextManager[VectorStoreChanges]]  # see `Ingestion.changing`

    async def read_again(self) -> None:
        """Find them in all vector stores, and store the jobs for the index.

        Raises:
            StoreUnavailableError: The vector stores cannot be listed now.
            StoreDataError: One of them is damaged.
        """
        now, files, stores = self._ledger.clock.now(), 0, 0
        everything = self._ledger.store.everything(VectorStore)
        for record in [record async for record in everything if _should_have_files(record, now)]:
            try:
                count = await self._ledger.retry_until_stored(partial(self._read_again, record.owner, record.value.id))
            except ApiError:  # deleted meanwhile
                continue
            except Exception:  # whatever an index raises: the files of other vector stores are read
                _logger.exception("it is not known which files of %s the search index has", record.value.id)
                continue
            files, stores = files + count, stores + bool(count)
        if files:
            text = "the search index lacks files that are completed: they are read again; files: %d, vector stores: %d"
            _logger.warning(text, files, stores)

    async def _read_again(self, owner: str, store_id: str) -> int:
        # In this order: a file is in the index before it is completed.
        completed = await self._completed(store_id)
        indexed = frozenset(await self._index.file_ids(store_id))
        missing = [file_id for file_id in completed if file_id not in indexed]
        for first in range(0, len(missing), _STEP):
            async with self._changing(owner, store_id) as changes:
                if has_expired(changes.store, changes.now):
                    return 0
                for file_id in missing[first : first + _STEP]:
                    entry = await self._ledger.store.get(VectorStoreEntry, entry_id(store_id, file_id))
                    if entry is not None and entry.value.file.status is VectorStoreFileStatus.COMPLETED:
                        changes.read_again(entry.value)
        return len(missing)

    async def _completed(self, store_id: str) -> Sequence[str]:
        found: list[str] = []
        query, more = PageQuery(limit=_STEP, order="asc"), True
        while more:
            records, more = await self._ledger.store.page(VectorStoreEntry, store_id, query)
            for record in records:
                if record.value.file.status is VectorStoreFileStatus.COMPLETED:
                    found.append(record.value.file.id)
                query = evolve(query, after=record.value.id)
        return found


def _should_have_files(record: Record[VectorStore], now: float) -> bool:
    return bool(record.value.file_counts.completed) and not has_expired(record.value, now)
