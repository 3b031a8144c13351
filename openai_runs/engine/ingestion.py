"""`Ingestion`: has the index read files and forget them, one after another, and again after a crash.

A job is committed with the change that it follows from, and deleted with its result. Until then it is stored, so that
the next engine takes it up again; or another one, where several share the store: see `SharedJobs`.
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from openai_runs._evolving import evolve
from openai_runs._supervision import supervise
from openai_runs.engine.errors import ApiError, not_found
from openai_runs.engine.fair_queue import FairQueue
from openai_runs.engine.file_index import FileIndex
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_vector_stores import chunking_again, has_expired, used
from openai_runs.engine.shared_jobs import SharedJobs
from openai_runs.engine.unindexed_files import UnindexedFiles
from openai_runs.engine.vector_store_changes import VectorStoreChanges
from openai_runs.engine.vector_store_expiry import VectorStoreExpiry
from openai_runs.errors import FileError, StoreDataError, StoreUnavailableError
from openai_runs.models.file import File
from openai_runs.models.tool import FileSearchTool, Tool, ToolResources
from openai_runs.models.vector_store import VectorStore, VectorStoreFileError, VectorStoreFileStatus
from openai_runs.stores.file_contents import at_hand
from openai_runs.stores.records import Delete, FileUse, IndexJob, PageQuery, VectorStoreEntry, entry_id

_logger = logging.getLogger("openai_runs.engine")

#: Vector stores for which the index works at once. What concerns one of them is done in order.
_WORKERS: Final = 2

_UNREADABLE: Final = "not all jobs of the index and vector stores can be read: the others wait for the next start"

#: Seconds until a file is read again for an index that has no room: each time takes a process.
_LONGEST_WAIT: Final = 60.0

_STEP: Final = 500  # jobs that are read at a time

#: Seconds that a run waits for files to be read; the hosted API waited as long.
PATIENCE: Final = 60.0

_FAILED: Final = VectorStoreFileError(code="server_error", message="The server had an error while it read the file.")


@frozen
class _Outcome:
    """How the reading of a file has ended."""

    usage_bytes: int = 0
    error: VectorStoreFileError | None = None

    @property
    def status(self) -> VectorStoreFileStatus:
        return VectorStoreFileStatus.COMPLETED if self.error is None else VectorStoreFileStatus.FAILED


@define(eq=False)
class Ingestion:
    """The jobs of the index."""

    _ledger: Ledger
    index: FileIndex | None
    _why_no_index: str = ""  # see `Engine`
    _jobs: dict[str, OrderedDict[str, tuple[str, IndexJob]]] = field(factory=dict, init=False)  # by vector store
    _queue: FairQueue = field(factory=FairQueue, init=False)  # of vector stores that have jobs and no worker
    _news: anyio.Event = field(factory=anyio.Event, init=False)
    _progress: anyio.Event = field(factory=anyio.Event, init=False)  # set when a vector store has no more jobs
    expiry: VectorStoreExpiry = field(init=False)
    _shared: SharedJobs | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.expiry = VectorStoreExpiry(self._ledger, self.push)
        if self._ledger.sharing is not None:
            self._shared = SharedJobs(self._ledger, self._ledger.sharing, self._do)

    def without_index(self, consequence: str) -> str:
        """Say what this server does not do, since it has no index, and what helps."""
        return f"This server has no index, and {consequence}. {self._why_no_index}".rstrip()

    async def start(self, tasks: TaskGroup) -> None:
        """Take up the jobs that are stored, begin to work, and look for files that the index has lost."""
        self.expiry.start(tasks)
        reads = [self.expiry.watch_all] if self._shared is not None else [self._read_jobs, self.expiry.watch_all]
        for read in reads:
            try:
                await read()
            except StoreUnavailableError:  # runs do not need the index: they need not wait
                tasks.start_soon(self._take_up, read)
            except StoreDataError:  # a damaged object must not keep the engine from starting
                _logger.exception(_UNREADABLE)
        if self._shared is not None:
            self._shared.start(tasks, _WORKERS)
        else:
            for _ in range(_WORKERS):
                tasks.start_soon(self._work)
        if self.index is not None:
            unindexed = UnindexedFiles(self._ledger, self.index, self.changing)
            tasks.start_soon(self._take_up, unindexed.read_again)

    async def _take_up(self, read: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._ledger.retry_until_stored(read)
        except StoreDataError:
            _logger.exception(_UNREADABLE)

    async def _read_jobs(self) -> None:
        query, more = PageQuery(limit=_STEP, order="asc"), True
        while more:
            records, more = await self._ledger.store.page(IndexJob, "", query)
            for record in records:
                if record.value.id not in self._jobs.get(record.value.vector_store_id, ()):  # a later one wins
                    self.push(record.owner, [record.value])
                query = evolve(query, after=record.value.id)

    def push(self, owner: str, jobs: Iterable[IndexJob]) -> None:
        """Add jobs that are stored. A later job with the same ID replaces an earlier one."""
        if self._shared is not None:
            if ids := list({job.vector_store_id: None for job in jobs}):
                self._shared.announce(ids)
            return
        for job in jobs:
            id = job.vector_store_id
            if (of_store := self._jobs.get(id)) is None:
                of_store = self._jobs[id] = OrderedDict()
                self._queue.push(owner, id)
            of_store[job.id] = owner, job
        self._news.set()
        self._news = anyio.Event()

    @asynccontextmanager
    async def changing(self, owner: str, vector_store_id: str) -> AsyncGenerator[VectorStoreChanges]:
        """Change a vector store of an owner, under its lock; the changes are committed at the end.

        Raises:
            ApiError: 404: there is no such vector store.
        """
        async with self._ledger.lock(vector_store_id):
            store = await self.find(owner, vector_store_id)
            changes = VectorStoreChanges(self._ledger, owner, store, self._ledger.clock.now())
            yield changes
            await self.commit(changes)

    @asynccontextmanager
    async def using(self, owner: str, vector_store_id: str) -> AsyncGenerator[VectorStoreChanges]:
        """The same of one that has to be alive.

        Raises:
            ApiError: 404: there is no such vector store. 400: it has expired.
        """
        async with self.changing(owner, vector_store_id) as changes:
            _check_alive(changes.store, changes.now)
            yield changes

    async def commit(self, changes: VectorStoreChanges) -> None:
        """Commit changes, and have the index do what follows from them."""
        await self._ledger.commit(changes.changes, then=partial(self.follow, changes))

    def follow(self, changes: VectorStoreChanges) -> None:
        """Do what follows from changes that are stored."""
        self.push(changes.owner, changes.jobs)
        self.expiry.watch(changes.store)

    async def find(self, owner: str, vector_store_id: str) -> VectorStore:
        """Find a vector store of an owner.

        Raises:
            ApiError: 404: there is none.
        """
        return (await self._ledger.find(VectorStore, owner, vector_store_id)).value

    async def use(self, owner: str, vector_store_id: str) -> None:
        """Note that a vector store is used.

        Raises:
            ApiError: 404: there is none. 400: it has expired.
        """
        now = self._ledger.clock.now()
        store = await self.find(owner, vector_store_id)
        _check_alive(store, now)
        if used(store, now) is None:
            return
        async with self.using(owner, vector_store_id) as changes:
            changes.store = used(changes.store, now) or changes.store

    async def use_in_run(self, owner: str, tools: Iterable[Tool], resources: ToolResources | None) -> None:
        """Note that a run searches vector stores: only those of its owner, whatever IDs it was given.

        Returns when their files have been read, or after `PATIENCE`: programs attach files and start a run at once.
        Nothing is known of vector stores that are at the model's endpoint, and so not of this server's index.

        Raises:
            ApiError: See `use`.
        """
        search = None if resources is None else resources.file_search
        if self.index is None or search is None or not any(isinstance(tool, FileSearchTool) for tool in tools):
            return
        for id in search.vector_store_ids:
            await self.use(owner, id)
        if await self._have_jobs(search.vector_store_ids):
            await self._wait_for(search.vector_store_ids)

    async def _have_jobs(self, vector_store_ids: Iterable[str]) -> bool:
        if self._shared is not None:
            return await self._ledger.retry_until_stored(partial(self._shared.are_left, vector_store_ids))
        return any(id in self._jobs for id in vector_store_ids)

    async def _wait_for(self, vector_store_ids: Iterable[str]) -> None:
        """Wait until the index has no more to do for some vector stores, or until `PATIENCE` has ended."""
        clock = self._ledger.clock
        async with anyio.create_task_group() as tasks:

            async def give_up(when: float) -> None:
                await clock.sleep_until(when)
                tasks.cancel_scope.cancel()

            tasks.start_soon(give_up, clock.now() + PATIENCE)
            while await self._have_jobs(vector_store_ids):
                await (self._progress.wait() if self._shared is None else self._shared.wait())
            tasks.cancel_scope.cancel()

    async def find_entry(self, owner: str, vector_store_id: str, file_id: str) -> VectorStoreEntry:
        """Find a file in a vector store.

        Raises:
            ApiError: 404: there is no such vector store, or no such file in it.
        """
        await self.find(owner, vector_store_id)
        record = await self._ledger.store.get(VectorStoreEntry, entry_id(vector_store_id, file_id))
        if record is None:
            raise not_found("file", file_id)
        return record.value

    async def detach_everywhere(self, file_id: str) -> None:
        """Take a file out of all vector stores, before it is deleted."""
        while True:
            records, _ = await self._ledger.store.page(FileUse, file_id, PageQuery(limit=100))
            if not records:
                return
            for record in records:
                try:
                    async with self.changing(record.owner, record.value.vector_store_id) as changes:
                        entry = await self._ledger.store.get(VectorStoreEntry, record.value.id)
                        if entry is not None:
                            await changes.detach(entry.value)
                except ApiError:  # the vector store was deleted a moment ago, and its entries with it
                    continue

    async def _work(self) -> None:
        while True:
            if (vector_store_id := self._queue.pop()) is None:
                await self._news.wait()
                continue
            jobs = self._jobs[vector_store_id]
            id, (owner, job) = next(iter(jobs.items()))
            await self._do(job)
            if jobs.get(id) == (owner, job):  # otherwise there is a later one
                del jobs[id]
            if jobs:
                self._queue.push(next(iter(jobs.values()))[0], vector_store_id)
                self._news.set()
                self._news = anyio.Event()
            else:
                del self._jobs[vector_store_id]
                self._progress.set()
                self._progress = anyio.Event()

    async def _do(self, job: IndexJob) -> bool:
        """Do a job; returns whether it could be done. It raises nothing."""
        failure = await _failure_of(partial(self._carry_out, job))
        if failure is not None and job.is_ingestion:  # whatever an index raises: the others are read
            _logger.error("the file %s cannot be read into %s", job.file_id, job.vector_store_id, exc_info=failure)
            end = partial(self._finish, job, _Outcome(error=_FAILED))
            failure = await _failure_of(partial(self._ledger.retry_until_stored, end))
        if failure is not None:  # it must not stop the engine; the job is stored still
            text = "the index job %s cannot be carried out before the next start"
            _logger.error(text, job.id, exc_info=failure)
        return failure is None

    async def _carry_out(self, job: IndexJob) -> None:
        if not await self._ledger.retry_until_stored(partial(self._is_current, job)):
            return
        outcome: _Outcome | None = None
        if job.is_ingestion:
            outcome = await self._ledger.retry_until_stored(partial(self._read, job), longest=_LONGEST_WAIT)
        elif self.index is not None:
            await self._ledger.retry_until_stored(partial(self._forget, self.index, job))
        await self._ledger.retry_until_stored(partial(self._finish, job, outcome))

    async def _forget(self, index: FileIndex, job: IndexJob) -> None:
        if job.file_id is None:
            await index.forget_store(job.vector_store_id)
        else:
            await index.forget(job.vector_store_id, job.file_id)

    async def _is_current(self, job: IndexJob) -> bool:
        """Whether a job is stored still, and no later one in its place."""
        stored = await self._ledger.store.get(IndexJob, job.id)
        return stored is not None and stored.value.number == job.number

    async def _read(self, job: IndexJob) -> _Outcome | None:
        """Have the index read a file; ``None`` if it is not to be read any more."""
        record = await self._ledger.store.get(VectorStoreEntry, job.id)
        if record is None:
            return None
        if self.index is None:
            return _Outcome(
                error=VectorStoreFileError(code="server_error", message=self.without_index("reads no files"))
            )
        file_id, entry = record.value.file.id, record.value.file
        chunking = chunking_again(entry.chunking_strategy)
        async with AsyncExitStack() as stack:
            try:
                file = await self._ledger.get(File, file_id)
                source = await self._ledger.store.contents.source(file_id)
                content = await stack.enter_async_context(at_hand(source))
            except LookupError:
                message = "The file was deleted before it could be read."
                return _Outcome(error=VectorStoreFileError(code="invalid_file", message=message))
            try:
                read = await self.index.ingest(job.vector_store_id, file_id, file.filename, content, chunking)
            except FileError as error:
                return _Outcome(error=VectorStoreFileError(code=error.code, message=error.message))
            return _Outcome(read.usage_bytes)

    async def _finish(self, job: IndexJob, outcome: _Outcome | None) -> None:
        """Commit the result of a job, unless a later one has replaced it."""
        async with self._ledger.lock(job.vector_store_id):
            stored = await self._ledger.store.get(IndexJob, job.id)
            if stored is None or stored.value.number != job.number:
                return
            done: list[Any] = [Delete(IndexJob, job.id)]
            if outcome is not None:
                entry = await self._ledger.get(VectorStoreEntry, job.id)
                store = await self._ledger.get(VectorStore, job.vector_store_id)
                changes = VectorStoreChanges(self._ledger, stored.owner, store, self._ledger.clock.now())
                await changes.end(entry, outcome.status, usage_bytes=outcome.usage_bytes, error=outcome.error)
                done += changes.changes
            elif self._shared is not None:
                # With the vector store, the commit is refused if another server has put a later job in place of this.
                record = await self._ledger.store.get(VectorStore, job.vector_store_id)
                done += [] if record is None else [record]
            await self._ledger.commit(done)


async def _failure_of(work: Callable[[], Awaitable[object]]) -> BaseException | None:
    """What work of an index has raised, a cancellation of its own included."""
    failures: list[BaseException] = []
    async with anyio.create_task_group() as own:  # for `supervise`, which needs a task of its own
        own.start_soon(supervise, failures.append, work)
    return failures[0] if failures else None


def _check_alive(store: VectorStore, now: float) -> None:
    if has_expired(store, now):
        raise ApiError(400, f"The vector store {store.id} has expired.", code="expired_vector_store")
