"""`PostgresStore`: a store in a PostgreSQL database.

One connection writes, and has the lock (`WritingSession`); a pool of others reads. Groups of commits are one statement
each, as in an SQLite file, and for the same reason: each costs one wait for the disk.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio

from openai_runs._extras import needs
from openai_runs._finishing import cancelled_once, finish
from openai_runs._postgres import CONNECT_ARGS, DEFAULT_FOLDER, is_postgres
from openai_runs.errors import StoreFileError
from openai_runs.stores import thread_sizes
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.emptying import stepping
from openai_runs.stores.file_contents import FileContents
from openai_runs.stores.postgres import emptying, schema
from openai_runs.stores.postgres.contents import PostgresContents
from openai_runs.stores.postgres.grouped_reads import GroupedReads
from openai_runs.stores.postgres.session import WritingSession, translated
from openai_runs.stores.records import PAGE_BYTES
from openai_runs.stores.table_rows import ChangedRow, FoundPage, Piece, Row, Walk
from openai_runs.stores.table_store import TableStore

with needs("postgres"):
    import psycopg
    import psycopg_pool
    from psycopg.conninfo import conninfo_to_dict

_logger = logging.getLogger("openai_runs.stores")

_CHUNK: Final = 200  # objects at once: decoding them takes a few milliseconds
_CHUNK_BYTES: Final = 2**20  # bytes per read, likewise

_READERS: Final = 4  # connections: most objects that are read are cached
_READ_TIMEOUT: Final = 6.0  # seconds to wait for one of them; connecting takes up to five


class PostgresStore(TableStore):
    """Keeps objects in a PostgreSQL database, and the contents of files.

    One process at a time can open it. What was committed is on the database's disk, or where its ``synchronous_commit``
    says if that is stricter. While the database is away, new work is refused with `StoreUnavailableError`; a commit
    whose answer was lost waits until it is known whether it was made.

    Attributes:
        contents: The contents of the files.
    """

    _is_shared = False

    def __init__(
        self,
        url: str,
        *,
        folder: str | os.PathLike[str] = DEFAULT_FOLDER,
        create: bool = True,
        cache_size: int = 8 * 2**20,
    ) -> None:
        """Create the store; nothing is connected yet.

        Args:
            url: ``postgresql://user:password@host/database``, or what else libpq takes as such. The database has to
                exist; the tables, whose names begin with ``openai_runs_``, are created in it.
            folder: Where earlier versions kept the contents of this database's files. If it is there, they are moved
                into the database when the store is opened.
            create: Whether tables that are missing are created. Without, a database that has none is refused.
            cache_size: How many bytes of objects, as JSON, are cached in memory: the most recently used ones.

        Raises:
            ValueError: It is not such a URL.
        """
        super().__init__(cache_size)
        self._url = url
        self._name = _name_of(url)
        self._may_create = create
        self._folder = Path(folder)
        self._contents = PostgresContents(self._read)
        self.contents: FileContents = self._contents
        self._objects = GroupedReads(self._read_objects)
        self._session: WritingSession | None = None
        self._pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None

    def __repr__(self) -> str:
        return f"<PostgresStore {self._name!r}, {'closed' if self._pool is None else 'open'}>"

    @property
    def name(self) -> str:
        """The database, as logs name it: without a password."""
        return self._name

    @property
    def url(self) -> str:
        """The database's URL, with the password if it has one."""
        return self._url

    async def _open(self) -> None:
        session = WritingSession(self._url, self._name, self._refuse_waiting, is_shared=self._is_shared)
        id = await session.open(create=self._may_create)
        options = {**CONNECT_ARGS, "autocommit": True, "application_name": "openai-runs", "client_encoding": "utf8"}
        pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] = psycopg_pool.AsyncConnectionPool(
            self._url,
            kwargs=options,
            min_size=1,
            max_size=_READERS,
            timeout=_READ_TIMEOUT,
            configure=_set_up,
            open=False,
            name="openai-runs",
        )
        try:
            await pool.open()
            self._session, self._pool = session, pool
            await self._contents.delete_forgotten()
            await self._move_folder(id)
        except BaseException:
            self._session = self._pool = None
            await finish(pool.close())
            await session.close()
            raise

    async def _move_folder(self, id: str) -> None:
        """Move the contents of files here that an earlier version has kept in the folder, unless it is another's."""
        folder = anyio.Path(self._folder)
        if not await (folder / "runs-files").exists():
            return
        note = folder / "store-id"
        if await note.exists() and (await note.read_text()).strip() not in ("", id):
            raise StoreFileError(
                f"cannot open the store {self._name!r}: the folder {self._folder} has the files of another database; "
                "name another folder"
            )
        moved = await self._contents.move_from(ContentFolder(self._folder / "runs-files"))
        if moved:
            text = "the contents of %d files were moved from the folder %s into the database"
            _logger.warning(text, moved, self._folder)

    def stop_waiting(self) -> None:
        """Do not wait for the database any longer to know what became of a commit."""
        if self._session is not None:
            self._session.stop_waiting()

    async def _close(self) -> None:
        self.stop_waiting()
        await super()._close()

    async def _shut(self) -> None:
        session, self._session = self._session, None
        pool, self._pool = self._pool, None
        if session is not None and pool is not None:
            await self._objects.close()
            await pool.close()
            await session.close()

    async def _write_rows(
        self,
        index: str,
        bodies: bytes,
        commits: Sequence[Sequence[ChangedRow]],  # noqa: ARG002  # a sequence counts the changes
        era: int,  # noqa: ARG002  # it is always the same
    ) -> None:
        session = self._opened()
        try:
            await session.write(index, bodies, "[]", session.epoch)
        finally:
            if session.is_lost:  # what is cached may have been changed by the other process
                self._cache.clear()

    def _opened(self) -> WritingSession:
        if self._session is None:
            raise RuntimeError("the store is not open: use it as `async with PostgresStore(…) as store`")
        return self._session

    async def _read(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        if self._opened().is_lost:
            raise self._opened().is_over()
        # psycopg has the database give up a statement that is cancelled, and loses the connection if that is disturbed.
        return await cancelled_once(self._tried(sql, parameters))

    async def _tried(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        assert self._pool is not None  # noqa: S101  # for the type checker: it is open
        try:
            try:
                return await self._read_once(sql, parameters)
            except psycopg.OperationalError as error:
                if not _is_lost_connection(error):
                    raise
                # It was lost while it was idle. So may the others be, which are replaced now.
                await self._pool.check()
                return await self._read_once(sql, parameters)
        except psycopg.Error as error:
            raise translated(error) from error

    async def _read_once(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        assert self._pool is not None  # noqa: S101  # likewise
        async with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(sql, parameters)
            return await cursor.fetchall()

    async def _read_object(self, kind: str, id: str) -> tuple[str, bytes] | None:
        return await self._objects.read((kind, id)) if as_text(id) is not None else None

    async def _read_objects(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[str, bytes]]:
        kinds, ids = zip(*keys, strict=True)
        rows = await self._read(schema.READ, {"kinds": list(kinds), "ids": list(ids)})
        return {(kind, id): (owner, body) for kind, id, owner, body in rows}

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
        sql = schema.page(
            from_the_end=from_the_end, of_part=part is not None, crosses_lists=part is not None and kind == "run"
        )
        parameters = {
            "kind": kind,
            "list": as_text(group),
            "part": as_text(part),
            "low": as_text(low),
            "high": as_text(high),
        }
        found = await self._read(sql, {**parameters, "limit": limit, "bytes": PAGE_BYTES})
        [low_place, high_place, total, *_] = found[0]
        rows = [Row(*row[3:]) for row in found if row[2] is not None]
        if rows:
            total = found[-1][2]
        return FoundPage(
            None if parameters["low"] != low else low_place,
            None if parameters["high"] != high else high_place,
            len(rows) == limit or (len(rows) > 1 and total >= PAGE_BYTES),
            rows,
        )

    async def _read_piece(self, walk: Walk, start: int, end: int, **parameters: Any) -> Piece:
        if walk == "kinds":
            sql = schema.piece_of_kinds(parameters.pop("kinds"))
        else:
            sql = schema.PIECE_OF_HISTORY if walk == "history" else schema.PIECE_UNFINISHED
        bounds = {"start": start, "end": end, "limit": _CHUNK, "bytes": _CHUNK_BYTES}
        found = await self._read(sql, {**parameters, **bounds})
        if not found:
            return Piece(None, 0, [])
        [place, size, *_] = found[-1]
        was_stopped = len(found) == _CHUNK or size >= _CHUNK_BYTES
        return Piece(place + 1 if was_stopped else None, size, [Row(*row[2:]) for row in found])

    async def _highest_place(self) -> int:
        [(place,)] = await self._read(schema.HIGHEST_PLACE, {})
        return int(place)

    async def _start_of_history(self, thread_id: str, besides_run: str, last_messages: int) -> int | None:
        parameters = {"thread_id": thread_id, "besides_run": besides_run, "last_messages": last_messages}
        found = await self._read(schema.START_OF_HISTORY, parameters)
        return found[0][0] if found else None

    async def _count_messages(self, thread_id: str) -> int:
        [(number,)] = await self._read(schema.COUNT_OF_MESSAGES, {"thread_id": thread_id})
        return int(number)

    async def _read_thread_sizes(self, owner: str, start: thread_sizes.From) -> Sequence[thread_sizes.Row]:
        found = await self._read(
            thread_sizes.POSTGRES, {"owner": as_text(owner), "thread": start.thread, "after": start.after}
        )
        return [(place, size, number, int(total), last) for place, size, number, total, last in found]

    async def count_objects(self) -> int:
        """Count all objects, of all kinds.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        [(number,)] = await self._read(schema.COUNT, {})
        return int(number)

    async def owners_of_threads(self) -> Sequence[str]:
        """The labels of all owners who have threads.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        return [label for (label,) in await self._read(emptying.OWNERS, {})]

    async def _empty_some(self, thread_id: str) -> Sequence[tuple[str, str]] | None:
        found = await self._read(
            emptying.EMPTY, {**stepping(as_text(thread_id)), "version": self._version_of(thread_id)}
        )
        return [(kind, id) for kind, id in found if kind is not None] if found else None

    def _version_of(self, thread_id: str) -> int | None:  # noqa: ARG002  # nobody else changes it
        return None

    async def _places_unfinished(self) -> Sequence[int]:
        return [place for (place,) in await self._read(schema.PLACES_UNFINISHED, {})]

    async def _owner_and_id(self, place: int) -> tuple[str, str] | None:
        found = await self._read(schema.OWNER_AND_ID, {"place": place})
        return found[0] if found else None


def _is_lost_connection(error: psycopg.OperationalError) -> bool:
    state = error.sqlstate or "57P"  # libpq has no code for it, and the server's are of its shutdown
    return state.startswith("57P") and not isinstance(error, psycopg_pool.PoolTimeout)


async def _set_up(connection: "psycopg.AsyncConnection[Any]") -> None:
    await connection.execute(schema.SET_UP)
    await connection.execute(schema.SET_UP_WRITER)  # it keeps contents of files


def _name_of(url: str) -> str:
    """A database, as errors and logs name it: without a password."""
    try:
        parts = conninfo_to_dict(url) if is_postgres(url) else None
    except psycopg.Error:
        parts = None
    if parts is None:  # neither the URL nor the error is shown: a password may be in them
        raise ValueError("a PostgresStore needs a URL such as postgresql://user:password@host/database")
    host = parts.get("host")
    return f"{parts.get('dbname', '')}" + (f" at {host}" if host else "")


def as_text(text: str | None) -> str | None:
    """Text that PostgreSQL has; ``None`` for any other, which is equal to no text in it."""
    if text is None or "\0" in text:
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return None
    return text
