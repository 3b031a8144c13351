"""`SQLiteStore`: a store in a file; what was committed survives ``kill -9`` and power cuts.

Its statements have an unusual form because of the GIL: Python's ``sqlite3`` has to acquire it around each step of a
statement, which takes milliseconds while the event loop is busy; within a step, SQLite runs in parallel to the loop.
So all pending commits are written by one statement in one step, and a list is read as one row.
"""

import asyncio
import logging
import os
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec
from attrs import define

from openai_runs import _wire
from openai_runs._finishing import finish
from openai_runs._slices import Work, in_slices, in_slices_if_long
from openai_runs.errors import (
    HistoryTooLargeError,
    KeyUsedError,
    ProtocolError,
    StoreDataError,
    StoreUnavailableError,
    UnknownCursorError,
)
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run_step import RunStep
from openai_runs.stores import sqlite_schema as schema
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.file_contents import FileContents
from openai_runs.stores.record_cache import RecordCache
from openai_runs.stores.records import (
    MAX_HISTORY,
    PAGE_BYTES,
    Change,
    Delete,
    PageQuery,
    Record,
    RunState,
    Stored,
    Unreadable,
)
from openai_runs.stores.store import group_of, part_of

if TYPE_CHECKING:
    import aiosqlite

T = TypeVar("T", bound=Stored)

_logger = logging.getLogger("openai_runs.stores")

_CHUNK: Final = 200  # objects at once: decoding them takes a few milliseconds
_CHUNK_BYTES: Final = 2**20  # bytes per read, likewise

_encode_rows = msgspec.json.Encoder().encode

_MAX_COUNTED_THREADS: Final = 10_000  # threads whose number of messages is kept in memory

#: After so many failed commits in a row, the disk is at fault, and the other commits are not tried.
_MAX_REFUSALS: Final = 3

#: SQLite's errors about the disk or the file, which may pass.
_UNAVAILABLE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)
#: SQLite's errors about the objects in question, which do not pass. Its other errors would be bugs of ours.
_DATA_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG})


@define(eq=False)
class _Write:
    """A commit that is to be written: each change with its columns and its body."""

    changes: Sequence[tuple[Change, tuple[Any, ...], bytes | None]]
    done: asyncio.Future[None]

    def settle(self, failure: Exception | None) -> None:
        if self.done.done():  # the waiting task was cancelled
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


class SQLiteStore:
    """Keeps objects in an SQLite file.

    Every group of commits ends with an fsync, so what was committed is on the disk. While the store is open, no other
    process can open the file, and the newest changes are in a second file (``…-wal``). A closed store is one file, and,
    once it has files, a folder with their contents beside it (``…-files``).

    Attributes:
        contents: The contents of the files.
    """

    def __init__(self, path: str | os.PathLike[str], *, cache_size: int = 8 * 2**20) -> None:
        """Create the store; the file is not opened yet.

        Args:
            path: The file. If it does not exist, it is created, readable by its user only.
            cache_size: How many bytes of objects, as JSON, are cached in memory: the most recently used ones.
        """
        self._path = Path(path)
        self._cache = RecordCache(cache_size)
        self.contents: Final[FileContents] = ContentFolder(self._path.with_name(f"{self._path.name}-files"))
        self._db: aiosqlite.Connection | None = None
        self._last_place = 0
        self._encoding = 0  # how many commits are still being encoded
        self._waiting: list[_Write] = []
        self._writer: asyncio.Task[None] | None = None
        self._is_unavailable = False
        # Upper bounds of the number of messages in threads that were counted recently: that count, plus all messages
        # put since then, changed ones included.
        self._message_counts: OrderedDict[str, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._path)!r}, {'closed' if self._db is None else 'open'}>"

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            StoreFileError: It is in use, damaged, of another program, or of a later version.
            OSError: It cannot be created.
        """
        if self._db is not None:
            raise RuntimeError(f"{self!r} is entered already: enter a store once, or create another one")
        # An existing file is not opened here: closing it would release the locks that another store of this process
        # has on it (POSIX locks belong to the process).
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._db, self._last_place = await schema.prepare(self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Write the pending commits, and close the file."""
        await finish(self._close())  # SQLite's thread must end, even if we are cancelled

    async def _close(self) -> None:
        while self._encoding:  # noqa: ASYNC110  # rare; an event would cost time on every commit
            await asyncio.sleep(0)
        if self._writer is not None:
            await self._writer
        db, self._db = self._db, None
        self._cache.clear()
        if db is not None:
            await db.close()

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply all changes or none, and return when they are on the disk.

        Raises:
            KeyUsedError: A `UsedKey` among the changes is in the store already; nothing was stored.
            StoreUnavailableError: Nothing was stored; trying again later may help.
            StoreDataError: Nothing was stored, and trying again does not help.
        """
        loop = asyncio.get_running_loop()
        self._encoding += 1
        try:
            columns = await in_slices_if_long(self._columns(changes), len(changes))
        finally:
            self._encoding -= 1
        write = _Write(columns, loop.create_future())
        self._waiting.append(write)
        if self._writer is None or self._writer.done():
            # Not in a task group: that would wrap errors raised in the ``async with`` body into an ExceptionGroup.
            self._writer = asyncio.create_task(self._write_waiting())
        await write.done

    async def _write_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            failure = await self._write(group)
            if failure is None or len(group) == 1:
                for write in group:
                    write.settle(failure)
            else:
                await self._write_each(group)

    async def _write_each(self, group: Sequence[_Write]) -> None:
        """Write commits one by one, so that a bad one does not fail the others; stop when the disk is at fault."""
        refused: list[StoreUnavailableError] = []  # of the last commits, in a row
        for write in group:
            if len(refused) == _MAX_REFUSALS:
                write.settle(StoreUnavailableError(refused[0].message))
                continue
            failure = await self._write([write])
            write.settle(failure)
            refused = [*refused, failure] if isinstance(failure, StoreUnavailableError) else []

    async def _write(self, group: Sequence[_Write]) -> Exception | None:
        try:
            await self._execute(schema.WRITE, await in_slices_if_long(_parameters_of(group), _changes_in(group)))
        except Exception as error:  # whatever it is, the tasks that wait for these commits must get it
            if isinstance(error, StoreUnavailableError) and not self._is_unavailable:
                self._is_unavailable = True
                _logger.error("%r takes no commits: %s", self, error.__cause__)  # noqa: TRY400  # the traceback adds nothing
            return error
        if self._is_unavailable:
            self._is_unavailable = False
            _logger.warning("%r takes commits again", self)
        await in_slices_if_long(self._caching(group), _changes_in(group))
        return None

    def _caching(self, group: Sequence[_Write]) -> Work[None]:
        for write in group:
            for change, _, body in write.changes:
                if isinstance(change, Delete):
                    self._cache.drop(change.kind, change.id)
                else:
                    self._cache.put(change, len(body or b""), body)
                yield

    def _columns(self, changes: Sequence[Change]) -> Work[list[tuple[Change, tuple[Any, ...], bytes | None]]]:
        first = self._last_place + 1  # reserved even for objects that keep their place; other commits get later ones
        self._last_place += len(changes)
        found = []
        for place, change in enumerate(changes, first):
            found.append(self._columns_of(change, place))
            yield
        return found

    def _columns_of(self, change: Change, place: int) -> tuple[Change, tuple[Any, ...], bytes | None]:
        if isinstance(change, Delete):
            return change, (None, schema.NAMES[change.kind], change.id, None, None, None, None), None
        value, history = change.value, None
        if isinstance(value, Message):
            history = value.thread_id
            if history in self._message_counts:
                self._message_counts[history] += 1
        elif isinstance(value, RunStep) and value.type == "tool_calls":
            history = value.thread_id
        kind, list = schema.NAMES[value.__class__], group_of(change)
        columns = (place, kind, value.id, change.owner, list, history, part_of(change))
        return change, columns, _wire.encode(value)

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object; ``None`` if it does not exist.

        Raises:
            StoreUnavailableError: The file cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        record = self._cache.get(kind, id)
        if record is None:
            for owner, body in await self._execute(schema.READ, (schema.NAMES[kind], _bindable(id))):
                record = Record(owner, _load(body, kind))
                # This cannot overwrite a newer record: results come in the order in which SQLite's thread worked.
                self._cache.put(record, len(body), body)
        return record

    def text_of(self, value: Stored) -> bytes | None:
        """The JSON text of an object that was read or put lately, if it has not changed since."""
        return self._cache.text_of(value)

    async def page(
        self, kind: type[T], group: str, query: PageQuery, *, part: str | None = None
    ) -> tuple[Sequence[Record[T]], bool]:
        """Read a page of a list.

        Raises:
            UnknownCursorError: ``after`` or ``before`` is not in the list.
            StoreUnavailableError: The file cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        newest_first = query.order == "desc"
        from_the_end = newest_first != (query.before is not None and query.after is None)
        low, high = (query.before, query.after) if newest_first else (query.after, query.before)
        [(low_place, high_place, more, rows)] = await self._execute(
            schema.PAGES[schema.NAMES[kind], from_the_end, part is not None],
            {
                "list": _bindable(group),
                "part": _bindable(part),
                "low": _bindable(low),
                "high": _bindable(high),
                "limit": query.limit + 1,
                "bytes": PAGE_BYTES,
            },
        )
        after, before = (high_place, low_place) if newest_first else (low_place, high_place)
        if query.after is not None and after is None:
            raise UnknownCursorError("after")
        if query.before is not None and before is None:
            raise UnknownCursorError("before")
        records = await in_slices(self._decoding(rows))
        if more:
            del records[-1]  # it was read only to know that there are more
        return records[::-1] if from_the_end != newest_first else records, bool(more)

    async def count_messages(self, thread_id: str, enough: int) -> int:
        """Count the messages of a thread, but only if the upper bound in memory is too high: counting is slow.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        at_most = self._message_counts.pop(thread_id, enough)
        if at_most >= enough:
            [(at_most,)] = await self._execute(schema.COUNT_OF_MESSAGES, {"thread_id": thread_id})
        self._message_counts[thread_id] = at_most
        if len(self._message_counts) > _MAX_COUNTED_THREADS:
            self._message_counts.popitem(last=False)
        return at_most

    async def history(
        self, thread_id: str, *, last_messages: int | None = None, besides_run: str = ""
    ) -> Sequence[Record[Message] | Record[RunStep]]:
        """Read a thread's messages and the steps with tool calls between them.

        Raises:
            HistoryTooLargeError: They are larger than `MAX_HISTORY`.
            StoreUnavailableError: The file cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        start = 0
        if last_messages is not None:
            last_messages = min(last_messages, schema.MAX_INTEGER)
            parameters = {"thread_id": thread_id, "besides_run": besides_run, "last_messages": last_messages}
            for (place,) in await self._execute(schema.START_OF_HISTORY, parameters):
                start = place
        found: list[Record[Any]] = []
        total = 0
        async for records, size in self._walk(schema.ROWS_OF_HISTORY, start, thread_id=thread_id):
            found += records
            total += size
            if total > MAX_HISTORY:
                raise HistoryTooLargeError(MAX_HISTORY)
        return found

    async def unfinished(self) -> Sequence[Record[RunState] | Unreadable]:
        """List the run states; a damaged one does not hide the others.

        Raises:
            StoreUnavailableError: The file cannot be read now.
            StoreDataError: Not even the list of run states can be read.
        """
        try:
            return [record async for records, _ in self._walk(schema.ROWS_UNFINISHED) for record in records]
        except StoreDataError:
            pass  # at least one of them is damaged: read each by itself
        [(places,)] = await self._execute(schema.PLACES_UNFINISHED, ())
        return [found for place in msgspec.json.decode(places) for found in await self._unfinished_at(place)]

    async def _unfinished_at(self, place: int) -> Sequence[Record[RunState] | Unreadable]:
        try:
            return [
                record async for records, _ in self._walk(schema.ROWS_UNFINISHED, place, place) for record in records
            ]
        except StoreDataError as error:  # this one is damaged: only its owner and ID are read
            reason = error.message
        try:
            return [Unreadable(owner, id, reason) for owner, id in await self._execute(schema.OWNER_AND_ID, (place,))]
        except StoreDataError:  # not even those can be read; the other runs must be resumed nevertheless
            # Without the traceback, which has no run ID either.
            _logger.error("%r has a run state whose run ID cannot be read", self)  # noqa: TRY400  # see above
            return []

    async def everything(self, *kinds: type[T]) -> AsyncGenerator[Record[T]]:
        """Iterate over all objects of some kinds. Changes made meanwhile may or may not be seen.

        Raises:
            StoreUnavailableError: The file cannot be read now.
            StoreDataError: Part of it is damaged, or too large.
        """
        names = msgspec.json.encode([schema.NAMES[kind] for kind in kinds]).decode()
        # Files have an index: what else is in the store must not delay each start.
        sql = schema.ROWS_OF_FILES if kinds == (File,) else schema.ROWS_OF_KINDS
        async for records, _ in self._walk(sql, kinds=names):
            for record in records:
                yield record

    async def check(self) -> Sequence[str]:
        """Check the whole file for damage, which takes seconds or, on a slow disk, minutes per gigabyte.

        Returns:
            What is damaged, at most twenty findings.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        try:
            found = [text for (text,) in await self._execute(schema.CHECK, ())]
        except StoreDataError as error:  # so damaged that the check cannot go on
            return [str(error.__cause__)]
        return [] if found == ["ok"] else found

    async def _walk(
        self, sql: str, start: int | None = 0, end: int | None = None, **parameters: str
    ) -> AsyncGenerator[tuple[Sequence[Record[Any]], int]]:
        """Read many objects, a few at a time, so that other tasks can run. Objects added meanwhile are left out.

        Yields:
            The next objects, and their size in bytes.
        """
        end = self._last_place if end is None else end
        while start is not None:
            bounds = {"start": start, "end": end, "limit": _CHUNK, "bytes": _CHUNK_BYTES}
            [(start, size, rows)] = await self._execute(sql, {**parameters, **bounds})
            yield await in_slices(self._decoding(rows)), size or 0

    def _decoding(self, rows: bytes | None) -> Work[list[Record[Any]]]:
        """Make the records of rows; those that are cached, which may be newer, are made already."""
        records = []
        try:
            found = [] if rows is None else _wire.decode(rows)
        except ProtocolError as error:
            raise _undecodable("an object") from error
        for name, owner, body in found:
            yield
            kind = schema.KINDS[name]
            records.append(self._cache.get(kind, _id_in(body)) or Record(owner, _load(body, kind)))
        return records

    async def _execute(self, sql: str, parameters: Any) -> list[Any]:
        if self._db is None:
            raise RuntimeError("the store is not open: use it as `async with SQLiteStore(…) as store`")
        try:
            return list(await self._db.execute_fetchall(sql, parameters))
        except (sqlite3.DatabaseError, OverflowError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary result code; the rest is the extended one
            if code in _UNAVAILABLE_CODES:
                text = f"The server's store is not available: {error}. Nothing was changed."
                raise StoreUnavailableError(text) from error
            # OverflowError is Python's, for a parameter too large for SQLite.
            if code in _DATA_CODES or isinstance(error, OverflowError):
                # Without the traceback, which would only show this method's callers: it is in the error that is raised.
                _logger.error("%r cannot read or write an object: %s", self, error)  # noqa: TRY400  # see above
                text = (
                    f"The server's store cannot read or write an object of this request: {error}. Nothing was changed."
                )
                raise StoreDataError(text) from error
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # see `schema.WRITE`
                raise KeyUsedError from error
            raise


def _changes_in(group: Sequence[_Write]) -> int:
    return sum(len(write.changes) for write in group)


def _parameters_of(group: Sequence[_Write]) -> Work[Mapping[str, Any]]:
    parts: list[bytes] = []
    rows: list[tuple[Any, ...]] = []
    bodies: list[bytes] = []
    place = 1
    for write in group:
        for _, columns, body in write.changes:
            if body is None:
                rows.append(columns)
            else:
                rows.append((*columns, place, len(body)))
                bodies.append(body)
                place += len(body)
            if len(rows) == _CHUNK:
                parts.append(_encode_rows(rows)[1:-1])
                rows.clear()
                yield
    parts.append(_encode_rows(rows)[1:-1])
    text = b"[%b]" % b",".join(filter(None, parts))
    if b"\\u0000" in text:  # SQLite would cut an ID off there
        raise ValueError("an ID or an owner's label has a NUL character, which the store cannot keep: remove it")
    return {"index": text.decode(), "bodies": b"".join(bodies)}


def _id_in(body: Any) -> str:
    """The ID of an object, which may be damaged."""
    id = body.get("id") if isinstance(body, dict) else None
    return id if isinstance(id, str) else ""


def _load(body: Any, kind: type[T]) -> T:
    try:
        return _wire.load(body, kind)
    except ProtocolError as error:
        raise _undecodable(f"a {schema.NAMES[kind]}") from error


def _undecodable(what: str) -> StoreDataError:
    return StoreDataError(f"The server's store has {what} here that is damaged: its JSON cannot be read.")


def _bindable(text: str | None) -> str | bytes | None:
    """Text that SQLite accepts. Text with a lone surrogate becomes a blob, which is equal to no text."""
    try:
        if text is not None:
            text.encode()
    except UnicodeEncodeError:
        return b""
    return text
