"""`TableStore`: what stores have in common that keep objects in a table, as JSON text with a few columns beside it.

It writes commits in groups, caches objects and makes records of rows. What is said in SQL, and to what, is the business
of `SQLiteStore` and `PostgresStore`.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeGuard, TypeVar

from openai_runs._finishing import finish
from openai_runs._slices import Work, in_slices, in_slices_if_long
from openai_runs.errors import (
    ChangedElsewhereError,
    HistoryTooLargeError,
    StoreDataError,
    StoreUnavailableError,
    UnknownCursorError,
)
from openai_runs.models.message import Message
from openai_runs.models.run_step import RunStep
from openai_runs.stores import thread_sizes
from openai_runs.stores.commit_groups import Write, next_group
from openai_runs.stores.emptying import counted
from openai_runs.stores.file_contents import FileContents
from openai_runs.stores.record_cache import RecordCache
from openai_runs.stores.records import MAX_HISTORY, Change, Delete, PageQuery, Record, RunState, Stored, Unreadable
from openai_runs.stores.sharing import Sharing
from openai_runs.stores.table_rows import (
    KINDS,
    NAMES,
    ChangedRow,
    FoundPage,
    Piece,
    Row,
    Walk,
    index_and_bodies,
    load_body,
    row_of,
)
from openai_runs.stores.worked_for import worked_for

T = TypeVar("T", bound=Stored)

_logger = logging.getLogger("openai_runs.stores")

_MAX_COUNTED_THREADS: Final = 10_000  # threads whose number of messages is kept in memory
_MAX_INTEGER: Final = 2**63 - 1  # the largest of a database
_LAST_PLACE: Final = _MAX_INTEGER - 1

#: After so many failed commits in a row, the disk is at fault, and the other commits are not tried.
_MAX_REFUSALS: Final = 3


class OutcomeUnknownError(StoreUnavailableError):
    """Nobody knows whether a group of commits was written, so its commits are not tried again one by one."""


class TableStore(ABC):
    """Keeps objects in a table.

    `_open` and `_shut` are called once for each time the store is entered. The other methods without a body execute a
    statement, and raise `StoreUnavailableError`, `StoreDataError` and `KeyUsedError` as `Store` says.
    """

    def __init__(self, cache_size: int) -> None:
        self._cache = RecordCache(cache_size)
        self._is_open = False
        self._encoding = 0  # how many commits are still being encoded
        self._waiting: list[Write] = []
        self._writer: asyncio.Task[None] | None = None
        self._is_unavailable = False
        self._cached = 0  # how often a commit has changed the cache
        self._era = 0  # of commits: those of an earlier one are refused, see `PostgresStore`
        # Upper bounds of the number of messages in threads that were counted recently: that count, plus all messages
        # put since then, changed ones included.
        self._message_counts: OrderedDict[str, int] = OrderedDict()

    contents: FileContents

    @property
    def sharing(self) -> Sharing | None:
        """``None``: one engine has the store."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is called in messages: without a password."""

    @abstractmethod
    async def _open(self) -> None: ...

    @abstractmethod
    async def _shut(self) -> None: ...

    @abstractmethod
    async def _write_rows(self, index: str, bodies: bytes, commits: Sequence[Sequence[ChangedRow]], era: int) -> None:
        """Apply changes one after the other, all or none.

        Args:
            index: See `index_and_bodies`.
            bodies: Likewise.
            commits: What they were made of.
            era: When the first of the commits was made; see `_era`.
        """

    @abstractmethod
    async def _read_object(self, kind: str, id: str) -> tuple[str, bytes] | None:
        """The owner and the body of an object."""

    @abstractmethod
    async def _read_page(
        self,
        kind: str,
        group: str,
        part: str | None,
        *,
        low: str | None,
        high: str | None,
        from_the_end: bool,
        limit: int,
    ) -> FoundPage:
        """At most ``limit`` objects, and none after the one that reaches `PAGE_BYTES`, but two if there are two."""

    @abstractmethod
    async def _read_piece(self, walk: Walk, start: int, end: int, **parameters: Any) -> Piece:
        """At most `CHUNK` objects between two places, and none after the one that reaches `CHUNK_BYTES`."""

    @abstractmethod
    async def _highest_place(self) -> int: ...

    @abstractmethod
    async def _start_of_history(self, thread_id: str, besides_run: str, last_messages: int) -> int | None: ...

    @abstractmethod
    async def _count_messages(self, thread_id: str) -> int: ...

    @abstractmethod
    async def _read_thread_sizes(self, owner: str, start: thread_sizes.From) -> Sequence[thread_sizes.Row]: ...

    @abstractmethod
    async def owners_of_threads(self) -> Sequence[str]:
        """The labels of all owners who have threads.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """

    @abstractmethod
    async def _empty_some(self, thread_id: str) -> Sequence[tuple[str, str]] | None:
        """Kinds and IDs of what was deleted; see `Store.empty_some`."""

    @abstractmethod
    async def count_objects(self) -> int:
        """Count all objects, of all kinds."""

    @abstractmethod
    async def _places_unfinished(self) -> Sequence[int]:
        """The places of the run states; damaged ones must not prevent that."""

    @abstractmethod
    async def _owner_and_id(self, place: int) -> tuple[str, str] | None:
        """Those of the object in a place, without reading its body."""

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            StoreFileError: It is in use, damaged, of another program, or of a later version.
            StoreUnavailableError: It could not be reached.
            OSError: It cannot be created.
        """
        if self._is_open:
            raise RuntimeError(f"{self!r} is entered already: enter a store once, or create another one")
        await self._open()
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Write the pending commits, and close the store."""
        await finish(self._close())  # what writes must end, even if we are cancelled

    async def _close(self) -> None:
        while self._encoding:  # noqa: ASYNC110  # rare; an event would cost time on every commit
            await asyncio.sleep(0)
        if self._writer is not None:
            await self._writer
        self._is_open = False
        self._cache.clear()
        await self._shut()

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply all changes or none, and return when they are durable.

        Raises:
            KeyUsedError: A `UsedKey` among the changes is in the store already; nothing was stored.
            StoreUnavailableError: Nothing was stored; trying again later may help.
            StoreDataError: Nothing was stored, and trying again does not help.
        """
        self._encoding += 1
        era = self._era
        try:
            rows = await in_slices_if_long(self._rows_of(changes), len(changes))
        finally:
            self._encoding -= 1
        write = Write(rows, asyncio.get_running_loop().create_future(), era, worked_for())
        self._waiting.append(write)
        if self._writer is None or self._writer.done():
            # Not in a task group: that would wrap errors raised in the ``async with`` body into an ExceptionGroup.
            self._writer = asyncio.create_task(self._write_waiting())
        await write.done

    def _rows_of(self, changes: Sequence[Change]) -> Work[list[ChangedRow]]:
        found = []
        for change in changes:
            if (
                isinstance(change, Record)
                and isinstance(change.value, Message)
                and change.value.thread_id in self._message_counts
            ):
                self._message_counts[change.value.thread_id] += 1
            found.append(row_of(change))
            yield
        return found

    async def _write_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = next_group(self._waiting)
            failure = await self._write(group)
            if failure is None or len(group) == 1 or isinstance(failure, OutcomeUnknownError):
                for write in group:
                    write.settle(failure)
            else:
                await self._write_each(group)

    def _refuse_waiting(self, failure: StoreUnavailableError) -> None:
        """Refuse the commits that wait for their turn: nothing of them was written."""
        self._note_refusal(failure)
        group, self._waiting = self._waiting, []
        for write in group:
            write.settle(StoreUnavailableError(failure.message))

    async def _write_each(self, group: Sequence[Write]) -> None:
        """Write commits one by one, so that a bad one does not fail the others; stop when the disk is at fault."""
        refused: list[StoreUnavailableError] = []  # of the last commits, in a row
        for write in group:
            if len(refused) == _MAX_REFUSALS:
                write.settle(StoreUnavailableError(refused[0].message))
                continue
            failure = await self._write([write])
            write.settle(failure)
            refused = [*refused, failure] if _is_outage(failure) else []

    async def _write(self, group: Sequence[Write]) -> Exception | None:
        commits = [write.rows for write in group]
        number = sum(map(len, commits))
        try:
            index, bodies = await in_slices_if_long(index_and_bodies(commits), number)
            await self._write_rows(index, bodies, commits, group[0].era)
        except Exception as error:  # whatever it is, the tasks that wait for these commits must get it
            if _is_outage(error):
                self._note_refusal(error)
            return error
        if self._is_unavailable:
            self._is_unavailable = False
            _logger.warning("%r takes commits again", self)
        await in_slices_if_long(self._caching(commits), number)
        return None

    def _note_refusal(self, error: StoreUnavailableError) -> None:
        if not self._is_unavailable:
            self._is_unavailable = True
            _logger.error("%r takes no commits: %s", self, str(error.__cause__ or error).partition("\n")[0])

    def _caching(self, commits: Iterable[Sequence[ChangedRow]]) -> Work[None]:
        for commit in commits:
            for change, _, body in commit:
                self._cached += 1
                if isinstance(change, Record):
                    self._cache.put(change, len(body or b""), body)
                elif isinstance(change, Delete):
                    self._cache.drop(change.kind, change.id)
                yield

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object; ``None`` if it does not exist.

        Raises:
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        return self._cache.get(kind, id) or await self._fetch(kind, id)

    async def _fetch(self, kind: type[T], id: str) -> Record[T] | None:
        cached = self._cached
        found = await self._read_object(NAMES[kind], id)
        if found is None:
            return None
        owner, body = found
        record = Record(owner, load_body(body, kind))
        if self._cached == cached:  # else it may have been changed after it was read
            self._cache.put(record, len(body), body)
        return record

    async def known(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object as this server knows it; no other one changes it."""
        return await self.get(kind, id)

    def text_of(self, value: Stored) -> bytes | None:
        """The JSON text of an object that was read or put lately, if it has not changed since."""
        return self._cache.text_of(value)

    async def page(
        self, kind: type[T], group: str, query: PageQuery, *, part: str | None = None
    ) -> tuple[Sequence[Record[T]], bool]:
        """Read a page of a list.

        Raises:
            UnknownCursorError: ``after`` or ``before`` is not in the list.
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        newest_first = query.order == "desc"
        from_the_end = newest_first != (query.before is not None and query.after is None)
        low, high = (query.before, query.after) if newest_first else (query.after, query.before)
        found = await self._read_page(
            NAMES[kind], group, part, low=low, high=high, from_the_end=from_the_end, limit=query.limit + 1
        )
        after, before = (found.high, found.low) if newest_first else (found.low, found.high)
        if query.after is not None and after is None:
            raise UnknownCursorError("after")
        if query.before is not None and before is None:
            raise UnknownCursorError("before")
        records = await in_slices(self._decoding(found.rows))
        if found.more:
            del records[-1]
        return records[::-1] if from_the_end != newest_first else records, found.more

    async def count_messages(self, thread_id: str, enough: int) -> int:
        """Count the messages of a thread, but only if the upper bound in memory is too high: counting is slow.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """
        at_most = self._message_counts.pop(thread_id, enough)
        if at_most >= enough:
            at_most = await self._count_messages(thread_id)
        self._message_counts[thread_id] = at_most
        if len(self._message_counts) > _MAX_COUNTED_THREADS:
            self._message_counts.popitem(last=False)
        return at_most

    async def count_bytes(self, owner: str) -> int:
        """Count the bytes of an owner's threads and messages, in pieces.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """
        return await thread_sizes.count_bytes(partial(self._read_thread_sizes, owner))

    async def history(
        self, thread_id: str, *, last_messages: int | None = None, besides_run: str = ""
    ) -> Sequence[Record[Message] | Record[RunStep]]:
        """Read a thread's messages and the steps with tool calls between them.

        Raises:
            HistoryTooLargeError: They are larger than `MAX_HISTORY`.
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        start = None
        if last_messages is not None:
            start = await self._start_of_history(thread_id, besides_run, min(last_messages, _MAX_INTEGER))
        found: list[Record[Any]] = []
        total = 0
        async for records, size in self._walk("history", start or 0, thread_id=thread_id):
            found += records
            total += size
            if total > MAX_HISTORY:
                raise HistoryTooLargeError(MAX_HISTORY)
        return found

    async def empty_some(self, thread_id: str) -> Counter[str] | None:
        """Delete some of what is in a thread, the oldest first, and return when that is durable.

        Returns:
            How many objects of each kind were deleted: none if the thread is empty. ``None``, and nothing is deleted,
            if there is no such thread, it has an unfinished run, or another process is writing it.

        Raises:
            StoreUnavailableError: Trying again later may help.
        """
        try:
            deleted = await self._empty_some(thread_id)
        except BaseException:  # it may have been done: what is cached could be gone
            self._cached += 1
            self._cache.clear()
            raise
        if deleted is None:
            return None
        self._cached += 1
        for kind, id in deleted:
            self._cache.drop(KINDS[kind], id)
        return counted(deleted)

    async def unfinished(self) -> Sequence[Record[RunState] | Unreadable]:
        """List the run states; a damaged one does not hide the others.

        Raises:
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Not even the list of run states can be read.
        """
        try:
            return [record async for records, _ in self._walk("unfinished") for record in records]
        except StoreDataError:
            pass  # at least one of them is damaged: read each by itself
        return [found for place in await self._places_unfinished() for found in await self._unfinished_at(place)]

    async def _unfinished_at(self, place: int) -> Sequence[Record[RunState] | Unreadable]:
        try:
            return [record async for records, _ in self._walk("unfinished", place, place) for record in records]
        except StoreDataError as error:  # this one is damaged: only its owner and ID are read
            reason = error.message
        try:
            found = await self._owner_and_id(place)
        except StoreDataError:  # not even those can be read; the other runs must be resumed nevertheless
            # Without the traceback, which has no run ID either.
            _logger.error("%r has a run state whose run ID cannot be read", self)  # noqa: TRY400  # see above
            return []
        return [] if found is None else [Unreadable(*found, reason)]

    async def everything(self, *kinds: type[T]) -> AsyncGenerator[Record[T]]:
        """Iterate over all objects of some kinds. Changes made meanwhile may or may not be seen.

        Raises:
            StoreUnavailableError: The store cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        async for records, _ in self._walk("kinds", kinds=tuple(NAMES[kind] for kind in kinds)):
            for record in records:
                yield record

    async def _walk(
        self, walk: Walk, start: int | None = 0, end: int | None = None, **parameters: Any
    ) -> AsyncGenerator[tuple[Sequence[Record[Any]], int]]:
        """Read many objects, a few at a time, so that other tasks can run; without those added meanwhile.

        Yields:
            The next objects, and their size in bytes.
        """
        while start is not None:
            start, size, rows = await self._read_piece(walk, start, _LAST_PLACE if end is None else end, **parameters)
            if end is None and start is not None:  # as a rule the first piece is all
                end = await self._highest_place()
            yield await in_slices(self._decoding(rows)), size

    def _decoding(self, rows: Iterable[Row]) -> Work[list[Record[Any]]]:
        """Make the records of rows; those that are cached, which may be newer, are made already."""
        records = []
        for name, id, owner, body in rows:
            yield
            kind = KINDS[name]
            records.append(self._cached_record(kind, id) or Record(owner, load_body(body, kind)))
        return records

    def _cached_record(self, kind: type[T], id: str) -> Record[T] | None:
        return self._cache.get(kind, id)


def _is_outage(error: Exception | None) -> TypeGuard[StoreUnavailableError]:
    return isinstance(error, StoreUnavailableError) and not isinstance(error, ChangedElsewhereError)
