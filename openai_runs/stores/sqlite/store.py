"""`SQLiteStore`: a store in a file; what was committed survives ``kill -9`` and power cuts.

Its statements have an unusual form because of the GIL: Python's ``sqlite3`` has to acquire it around each step of a
statement, which takes milliseconds while the event loop is busy; within a step, SQLite runs in parallel to the loop.
So all pending commits are written by one statement in one step, and a list is read as one row.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import msgspec

from openai_runs import _wire
from openai_runs._finishing import finish
from openai_runs.errors import KeyUsedError, ProtocolError, StoreDataError, StoreFileError, StoreUnavailableError
from openai_runs.stores import thread_sizes
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.emptying import stepping
from openai_runs.stores.file_contents import FileContents
from openai_runs.stores.records import PAGE_BYTES
from openai_runs.stores.sqlite import emptying, schema
from openai_runs.stores.sqlite.backup import PAGES, BackupStoppedError, OnlineBackup, Statement, new_copy, synced
from openai_runs.stores.table_rows import ChangedRow, FoundPage, Piece, Row, Walk, undecodable
from openai_runs.stores.table_store import TableStore
from openai_runs.stores.worked_for import Lanes

if TYPE_CHECKING:
    import aiosqlite

_logger = logging.getLogger("openai_runs.stores")

_CHUNK: Final = 200  # objects at once: decoding them takes a few milliseconds
_CHUNK_BYTES: Final = 2**20  # bytes per read, likewise

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


class SQLiteStore(TableStore):
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
        super().__init__(cache_size)
        self._path = Path(path)
        self.contents: FileContents = ContentFolder(self._path.with_name(f"{self._path.name}-files"))
        self._db: aiosqlite.Connection | None = None
        self._backup: OnlineBackup | None = None  # that is under way
        self._last_place = 0
        self._lanes = Lanes()

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._path)!r}, {'closed' if self._db is None else 'open'}>"

    @property
    def name(self) -> str:
        """The file, as logs name it."""
        return str(self._path)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    async def _open(self) -> None:
        # An existing file is not opened here: closing it would release the locks that another store of this process
        # has on it (POSIX locks belong to the process).
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._db, self._last_place = await schema.prepare(self._path)

    def stop_waiting(self) -> None:
        """No commit waits for anything but the disk."""

    async def _shut(self) -> None:
        if (backup := self._backup) is not None:
            backup.stop()
            await backup.ended.wait()
        db, self._db = self._db, None
        if db is not None:
            await db.close()

    async def _write_rows(
        self,
        index: str,
        bodies: bytes,
        commits: Sequence[Sequence[ChangedRow]],
        era: int,  # noqa: ARG002  # it is always the same
    ) -> None:
        first = self._last_place + 1  # also of changes that fail, and of objects that keep their place
        self._last_place += sum(map(len, commits))
        await self._execute(schema.WRITE, {"index": index, "bodies": bodies, "first": first})

    async def _read_object(self, kind: str, id: str) -> tuple[str, bytes] | None:
        found = await self._read(schema.READ, (kind, _bindable(id)))
        return found[0] if found else None

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
        [(low_place, high_place, more, rows)] = await self._read(
            schema.PAGES[kind, from_the_end, part is not None],
            {
                "list": _bindable(group),
                "part": _bindable(part),
                "low": _bindable(low),
                "high": _bindable(high),
                "limit": limit,
                "bytes": PAGE_BYTES,
            },
        )
        return FoundPage(low_place, high_place, bool(more), _rows_in(rows))

    async def _read_piece(self, walk: Walk, start: int, end: int, **parameters: Any) -> Piece:
        sql = schema.WALKS[walk]
        if walk == "kinds":
            kinds = parameters["kinds"]
            parameters["kinds"] = msgspec.json.encode(kinds).decode()
            # Files have an index: what else is in the store must not delay each start.
            sql = schema.ROWS_OF_FILES if kinds == ("file",) else sql
        bounds = {"start": start, "end": end, "limit": _CHUNK, "bytes": _CHUNK_BYTES}
        [(next_start, size, rows)] = await self._read(sql, {**parameters, **bounds})
        return Piece(next_start, size or 0, _rows_in(rows))

    async def _highest_place(self) -> int:
        return self._last_place

    async def _start_of_history(self, thread_id: str, besides_run: str, last_messages: int) -> int | None:
        parameters = {"thread_id": thread_id, "besides_run": besides_run, "last_messages": last_messages}
        found = await self._read(schema.START_OF_HISTORY, parameters)
        return found[0][0] if found else None

    async def _count_messages(self, thread_id: str) -> int:
        [(number,)] = await self._read(schema.COUNT_OF_MESSAGES, {"thread_id": thread_id})
        return int(number)

    async def _read_thread_sizes(self, owner: str, start: thread_sizes.From) -> Sequence[thread_sizes.Row]:
        parameters = {"owner": _bindable(owner), "thread": start.thread, "after": start.after}
        return await self._read(thread_sizes.SQLITE, parameters)

    async def count_objects(self) -> int:
        """Count all objects, of all kinds.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        [(number,)] = await self._execute(schema.COUNT, ())
        return int(number)

    async def owners_of_threads(self) -> Sequence[str]:
        """The labels of all owners who have threads.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        return [label for (label,) in await self._execute(emptying.OWNERS, ())]

    async def _empty_some(self, thread_id: str) -> Sequence[tuple[str, str]] | None:
        parameters = stepping(_bindable(thread_id))
        [(is_idle,)] = await self._execute(emptying.IS_IDLE, parameters)
        return await self._execute(emptying.EMPTY, parameters) if is_idle else None

    async def _places_unfinished(self) -> Sequence[int]:
        [(places,)] = await self._execute(schema.PLACES_UNFINISHED, ())
        return msgspec.json.decode(places, type=list[int])

    async def _owner_and_id(self, place: int) -> tuple[str, str] | None:
        found = await self._execute(schema.OWNER_AND_ID, (place,))
        return found[0] if found else None

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

    async def back_up(self, target: Path, note: Callable[[int, int], object] = lambda _, __: None) -> None:
        """Copy the file while it is used; what is committed meanwhile is in the copy, too.

        The contents of files, and the index, are files of their own: see `openai_runs.stores.backup`.

        Args:
            target: The copy, which must not exist.
            note: Called again and again with the number of pages that were copied, and of all; in another thread.

        Raises:
            StoreFileError: It cannot be written or read, or another backup is under way. There is no copy then.
        """
        db = self._opened()
        copy = await finish(anyio.to_thread.run_sync(new_copy, target))
        is_done = False
        try:
            await self._make_steps(db, copy, note)
            await finish(anyio.to_thread.run_sync(synced, target))
            is_done = True
        except (sqlite3.Error, OSError, BackupStoppedError) as error:
            reason = "the store is being closed" if isinstance(error, BackupStoppedError) else error
            raise StoreFileError(f"cannot back up to {target}: {reason}") from error
        finally:
            copy.close()
            if not is_done:
                await finish(anyio.Path(target).unlink(missing_ok=True))

    async def _make_steps(
        self, db: "aiosqlite.Connection", copy: sqlite3.Connection, note: Callable[[int, int], object]
    ) -> None:
        """Make all steps; if the caller is cancelled, to the end of the one that is under way."""
        if self._backup is not None:
            raise StoreFileError("another backup of this store is under way: wait until that has ended")
        self._backup = backup = OnlineBackup(note)
        steps = asyncio.create_task(db.backup(copy, pages=PAGES, progress=backup))
        try:
            await asyncio.wait([steps])
        finally:
            backup.stop()
            await finish(self._end_steps(db, backup, steps))
        steps.result()

    async def _end_steps(self, db: "aiosqlite.Connection", backup: OnlineBackup, steps: "asyncio.Task[None]") -> None:
        await asyncio.wait([steps])
        steps.exception()  # asked for here, since nobody else does if the caller was cancelled
        self._backup = None
        # What has come after the last step. Nothing depends on its order: a store writes one group after the other.
        while (statement := backup.left()) is not None:
            await self._execute_left(db, statement)
        backup.ended.set()

    async def _execute_left(self, db: "aiosqlite.Connection", statement: Statement) -> None:
        try:
            result: Any = list(await db.execute_fetchall(statement.sql, statement.parameters))
        except Exception as error:  # whatever it is, the task that waits must get it
            result = error
        statement.settle(result)

    def _opened(self) -> "aiosqlite.Connection":
        if self._db is None:
            raise RuntimeError("the store is not open: use it as `async with SQLiteStore(…) as store`")
        return self._db

    async def _read(self, sql: str, parameters: Any) -> list[Any]:
        """Execute a statement that somebody waits for who may have many of them."""
        if (lane := self._lanes.of_caller()) is None:
            return await self._execute(sql, parameters)
        async with lane:
            return await self._execute(sql, parameters)

    async def _execute(self, sql: str, parameters: Any) -> list[Any]:
        db = self._opened()
        try:
            if self._backup is not None:
                return await self._backup.execute(sql, parameters)
            return list(await db.execute_fetchall(sql, parameters))
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


def _rows_in(rows: bytes | None) -> list[Row]:
    """The rows that were read as one."""
    try:
        found = [] if rows is None else _wire.decode(rows)
    except ProtocolError as error:
        raise undecodable("an object") from error
    return [Row(kind, _id_in(body), owner, body) for kind, owner, body in found]


def _id_in(body: Any) -> str:
    """The ID of an object, which may be damaged."""
    id = body.get("id") if isinstance(body, dict) else None
    return id if isinstance(id, str) else ""


def _bindable(text: str | None) -> str | bytes | None:
    """Text that SQLite accepts. Text with a lone surrogate becomes a blob, which is equal to no text."""
    try:
        if text is not None:
            text.encode()
    except UnicodeEncodeError:
        return b""
    return text
