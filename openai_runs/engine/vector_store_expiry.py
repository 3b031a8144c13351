"""`VectorStoreExpiry`: has the index forget what it has of vector stores that have expired."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.engine.deadlines import Deadlines
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_vector_stores import has_expired
from openai_runs.engine.vector_store_changes import forget_all
from openai_runs.errors import StoreDataError
from openai_runs.models.vector_store import VectorStore, VectorStoreStatus
from openai_runs.stores.records import IndexJob, Record

#: Seconds until a server looks again at what others, on the same store, have to have expire.
LOOK_AGAIN: Final = 300.0

_logger = logging.getLogger("openai_runs.engine")


@define(eq=False)
class VectorStoreExpiry:
    """Watches all vector stores that may expire.

    One that has expired is stored as ``expired`` together with the job for the index, so that there is one job,
    whatever happens. Its files stay in it: they say what a new vector store needs.
    """

    _ledger: Ledger
    _push: Callable[[str, Iterable[IndexJob]], None]  # adds jobs of an owner that are stored
    _deadlines: Deadlines = field(init=False)
    _tasks: TaskGroup = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = Deadlines(self._ledger.clock, self._on_due)

    def start(self, tasks: TaskGroup) -> None:
        """Begin to watch."""
        self._tasks = tasks
        tasks.start_soon(self._deadlines.run)
        if self._ledger.sharing is not None:
            tasks.start_soon(self._watch_again)

    async def _watch_again(self) -> None:
        """Watch what other servers have made or used, which they may not live to see expire."""
        while True:
            await self._ledger.clock.sleep_until(self._ledger.clock.now() + LOOK_AGAIN)
            try:
                await self._ledger.retry_until_stored(self.watch_all)
            except StoreDataError:
                _logger.exception("not all vector stores can be read: those that expire are left to the next look")

    async def watch_all(self) -> None:
        """Watch the vector stores that are stored.

        Raises:
            StoreUnavailableError: They cannot be read now.
            StoreDataError: One of them is damaged; those before it are watched.
        """
        async for record in self._ledger.store.everything(VectorStore):
            self.watch(record.value)

    def watch(self, store: VectorStore) -> None:
        """Watch a vector store, which is new or has been used or changed."""
        if store.expires_at is None or store.status is VectorStoreStatus.EXPIRED:
            self._deadlines.discard(store.id)
        else:
            self._deadlines.set(store.id, store.expires_at.timestamp())

    def forget(self, vector_store_id: str) -> None:
        """Watch a vector store no longer, which was deleted."""
        self._deadlines.discard(vector_store_id)

    def _on_due(self, vector_store_id: str) -> None:
        self._tasks.start_soon(self._expire, vector_store_id)

    async def _expire(self, vector_store_id: str) -> None:
        try:
            await self._ledger.retry_until_stored(partial(self._end, vector_store_id))
        except Exception:  # it must not stop the engine, and nobody can search in an expired store
            _logger.exception("the passages of the expired vector store %s cannot be deleted", vector_store_id)

    async def _end(self, vector_store_id: str) -> None:
        async with self._ledger.lock(vector_store_id):
            record = await self._ledger.store.get(VectorStore, vector_store_id)
            if record is None or not has_expired(record.value, self._ledger.clock.now()):
                return  # deleted, or used a moment ago, and so watched again
            if record.value.status is VectorStoreStatus.EXPIRED:  # by another server
                return
            job = forget_all(vector_store_id)
            expired = evolve(record.value, status=VectorStoreStatus.EXPIRED)
            await self._ledger.commit(
                [Record(record.owner, expired), Record(record.owner, job)],
                then=partial(self._push, record.owner, [job]),
            )
