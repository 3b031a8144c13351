"""`SharedJobs`: the index jobs of an engine among others on a shared store: who does them, and who waits for them.

A vector store with jobs is claimed by one server at a time, which does some of them and lets go of it. The jobs are in
the store, and so is the claim: when a server dies, another one takes up what it has left, from the beginning of the
file that was being read. What is told is a hint, as in `Replicas`; whoever has missed it looks each second.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs.engine.ledger import Ledger
from openai_runs.errors import StoreUnavailableError
from openai_runs.stores.records import IndexJob, PageQuery, Record
from openai_runs.stores.sharing import Sharing

_logger = logging.getLogger("openai_runs.engine")

#: Seconds between two looks for jobs, or for the end of some, unless a message tells.
_INTERVAL: Final = 1.0

_SHARE: Final = 20  # jobs of a vector store before others have their turn


@define(eq=False)
class SharedJobs:
    """Claims vector stores that have jobs, and does these. It is a `Listener` of the store."""

    _ledger: Ledger
    _sharing: Sharing
    _do: Callable[[IndexJob], Awaitable[bool]]  # does a job; returns whether it could be done here
    _news: anyio.Event = field(factory=anyio.Event, init=False)
    _progress: anyio.Event = field(factory=anyio.Event, init=False)
    _claiming: anyio.Lock = field(factory=anyio.Lock, init=False)
    _claimed: set[str] = field(factory=set, init=False)  # vector stores that are worked for here
    _undoable: set[tuple[str, str]] = field(factory=set, init=False)  # IDs and numbers of jobs that failed here
    _passed_over: set[str] = field(factory=set, init=False)  # vector stores with no other jobs
    _working: set[anyio.CancelScope] = field(factory=set, init=False)

    def start(self, tasks: TaskGroup, workers: int) -> None:
        """Begin to do jobs, and to hear of others."""
        self._sharing.listen(self)
        for _ in range(workers):
            tasks.start_soon(self._work)

    def announce(self, vector_store_ids: Sequence[str]) -> None:
        """Tell all servers that there are new jobs for some vector stores."""
        self._wake(vector_store_ids)
        self._sharing.broadcast(["jobs", vector_store_ids])

    def _wake(self, vector_store_ids: Iterable[str] = ()) -> None:
        self._passed_over.difference_update(vector_store_ids)
        self._news.set()
        self._news = anyio.Event()

    def _note_progress(self) -> None:
        self._progress.set()
        self._progress = anyio.Event()

    async def are_left(self, vector_store_ids: Iterable[str]) -> bool:
        """Whether any server has jobs to do for some vector stores.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """
        for id in vector_store_ids:
            if await self._next_jobs(id, 1):
                return True
        return False

    async def wait(self) -> None:
        """Wait until a server has no more to do for a vector store, or a second."""
        progress = self._progress
        with anyio.move_on_after(_INTERVAL):
            await progress.wait()

    async def _next_jobs(self, vector_store_id: str, limit: int) -> Sequence[Record[IndexJob]]:
        query = PageQuery(limit=limit, order="asc")
        records, _ = await self._ledger.store.page(IndexJob, "", query, part=vector_store_id)
        return records

    # What other servers tell: this is a `Listener`

    def lost(self) -> None:
        """Stop, since the lease has run out: other servers do what is being done here."""
        for scope in self._working:
            scope.cancel()

    def heard(self, sender: int, message: Any) -> None:  # noqa: ARG002  # as `Listener` has it
        """Do what a message says, if it is about jobs."""
        match message:
            case ["jobs", list(vector_store_ids)]:
                self._wake(vector_store_ids)
            case ["done"]:
                self._note_progress()
            case _:  # of runs
                pass

    def missed(self, sender: int | None) -> None:  # noqa: ARG002  # whoever it was
        """Look for what may have been told."""
        self._wake(tuple(self._passed_over))
        self._note_progress()

    # Tasks

    async def _work(self) -> None:
        while True:
            news = self._news
            with anyio.CancelScope() as scope:  # see `lost`
                self._working.add(scope)
                try:
                    was_there = await self._work_once()
                finally:
                    self._working.discard(scope)
            if scope.cancelled_caught or not was_there:
                with anyio.move_on_after(_INTERVAL):
                    await news.wait()

    async def _work_once(self) -> bool:
        """Do some jobs of a vector store; returns whether there was one with jobs."""
        try:
            id = await self._claim()
        except StoreUnavailableError:  # which is logged where the lease is renewed
            return False
        except Exception:  # it must not stop the engine: the jobs are left to others
            _logger.exception("no jobs of the index can be claimed now")
            return False
        if id is None:
            return False
        try:
            await self._do_some(id)
            await self._release(id)
        except StoreUnavailableError:  # it can be claimed here again
            pass
        except Exception:  # one that is damaged must not keep those of other vector stores from being done
            _logger.exception("the jobs of the index for %s cannot be read", id)
            self._passed_over.add(id)
        finally:
            # Who is cancelled here lets go of nothing: the epoch of this server is over, or will be in a moment.
            self._claimed.discard(id)
        return True

    async def _claim(self) -> str | None:
        async with self._claiming:  # what this server has claimed, it may claim again, unless it is worked for
            id = await self._sharing.claim_jobs(self._claimed | self._passed_over)
            if id is not None:
                self._claimed.add(id)
            return id

    async def _do_some(self, id: str) -> None:
        records = await self._next_jobs(id, _SHARE + len(self._undoable))
        doable = [record for record in records if (record.value.id, record.value.number) not in self._undoable]
        if not doable and records:
            self._passed_over.add(id)
        for record in doable[:_SHARE]:
            if not await self._do(record.value):
                self._undoable.add((record.value.id, record.value.number))

    async def _release(self, id: str) -> None:
        await self._sharing.release_jobs(id)
        if not await self._next_jobs(id, 1):
            self._note_progress()
            self._sharing.broadcast(["done"])
