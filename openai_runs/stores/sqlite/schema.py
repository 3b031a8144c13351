# ruff: noqa: S608  # only constants of this module are put into SQL
"""The file of an `SQLiteStore`: its tables, the SQL statements on them, and how it is opened."""

import asyncio
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import anyio

from openai_runs._extras import needs
from openai_runs._finishing import finish
from openai_runs.errors import StoreFileError
from openai_runs.models.run import Run
from openai_runs.stores.records import INTERNAL
from openai_runs.stores.sqlite.backup import StoreConnection
from openai_runs.stores.table_rows import KINDS, NAMES

with needs("server"):
    import aiosqlite


_logger = logging.getLogger("openai_runs.stores")

APPLICATION_ID: Final = 0x6F72756E  # "orun", in the file's header: identifies the file as ours

#: The SQL from each version of the schema to the next. Never change an entry: files of every version exist. What
#: ``list`` and ``run_id`` have today is said by `group_of` and `part_of`.
MIGRATIONS: Final = (
    """
    CREATE TABLE objects (
        place INTEGER PRIMARY KEY,  -- order of creation
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        owner TEXT NOT NULL,
        list TEXT,                  -- an assistant's owner, a message's or run's thread, a run step's run
        history TEXT,               -- the thread of a message, or of a run step with tool calls
        run_id TEXT,                -- the run that wrote a message
        body TEXT NOT NULL          -- JSON
    );
    CREATE UNIQUE INDEX objects_by_id ON objects (kind, id);
    CREATE INDEX lists ON objects (kind, list, place) WHERE list IS NOT NULL;
    CREATE INDEX histories ON objects (history, place) WHERE history IS NOT NULL;
    CREATE INDEX messages_of_runs ON objects (run_id, place) WHERE run_id IS NOT NULL;
    CREATE INDEX run_states ON objects (place) WHERE kind = 'run_state';

    CREATE TABLE deleted (          -- from lists, lately: may still be named as cursors
        number INTEGER PRIMARY KEY, -- order of deletion
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        list TEXT NOT NULL,
        place INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX deleted_by_id ON deleted (kind, id, list);
    """,
    "CREATE INDEX files ON objects (place) WHERE kind = 'file';",  # all are looked through at each start
    """
    UPDATE objects SET list = owner WHERE kind = 'thread';
    UPDATE objects SET run_id = 'runs of ' || owner WHERE kind = 'run';
    """,
)

_MAX_DELETED: Final = 10_000  # deletions: more than a client makes between two pages

_INTERNAL: Final = ", ".join(f"'{NAMES[kind]}'" for kind in INTERNAL)

#: Creates ``changes``, a view whose triggers apply each row that is inserted into it, one after the other. A row
#: without a body deletes. The view is temporary: it is not in the file.
_CHANGES: Final = f"""
    CREATE TEMP VIEW changes AS SELECT * FROM objects;

    CREATE TEMP TRIGGER put INSTEAD OF INSERT ON changes WHEN NEW.body IS NOT NULL BEGIN
        SELECT RAISE(ABORT, 'this idempotency key was used before') WHERE NEW.kind = 'used_key'
            AND EXISTS (SELECT 1 FROM objects WHERE kind = 'used_key' AND id = NEW.id);
        INSERT INTO objects (place, kind, id, owner, list, history, run_id, body)
        VALUES (NEW.place, NEW.kind, NEW.id, NEW.owner, NEW.list, NEW.history, NEW.run_id, NEW.body)
        ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, body = excluded.body;
    END;

    CREATE TEMP TRIGGER remove INSTEAD OF INSERT ON changes WHEN NEW.body IS NULL BEGIN
        INSERT OR REPLACE INTO deleted (kind, id, list, place)
            SELECT kind, id, list, place FROM objects
            WHERE kind = NEW.kind AND id = NEW.id AND list IS NOT NULL AND kind NOT IN ({_INTERNAL});
        DELETE FROM deleted WHERE number <= (SELECT max(number) FROM deleted) - {_MAX_DELETED};
        DELETE FROM objects WHERE kind = NEW.kind AND id = NEW.id;
    END;

    CREATE TEMP TRIGGER remove_thread INSTEAD OF INSERT ON changes WHEN NEW.body IS NULL AND NEW.kind = 'thread' BEGIN
        DELETE FROM objects WHERE kind = 'run_state'
            AND id IN (SELECT id FROM objects WHERE kind = 'run' AND list = NEW.id);
        DELETE FROM objects WHERE kind = 'run_step'
            AND list IN (SELECT id FROM objects WHERE kind = 'run' AND list = NEW.id);
        DELETE FROM objects WHERE kind IN ('run', 'message') AND list = NEW.id;
    END;

    CREATE TEMP TRIGGER remove_vector_store INSTEAD OF INSERT ON changes
    WHEN NEW.body IS NULL AND NEW.kind = 'vector_store' BEGIN
        DELETE FROM objects WHERE kind IN ('file_use', 'index_job')
            AND id IN (SELECT id FROM objects WHERE kind = 'vector_store_entry' AND list = NEW.id);
        DELETE FROM objects WHERE kind IN ('vector_store_entry', 'file_batch', 'batch_files') AND list = NEW.id;
    END;
"""

#: Writes a group of changes in one step. ``:index`` is a JSON array of rows, each with the offset and length of its
#: body in ``:bodies``: see `index_and_bodies`. The rows are materialized because `json_each` makes the text of a row
#: anew for each column that is taken from it. The first one gets the place ``:first``.
WRITE: Final = f"""
    WITH rows (number, value) AS MATERIALIZED (SELECT key, value FROM json_each(:index))
    INSERT INTO changes SELECT
        :first + number,
        {", ".join(f"json_extract(value, '$[{column}]')" for column in range(6))},
        CAST(substr(:bodies, json_extract(value, '$[6]'), json_extract(value, '$[7]')) AS TEXT)
    FROM rows
"""

READ: Final = "SELECT owner, CAST(body AS BLOB) FROM objects WHERE kind = ? AND id = ?"

#: Many objects as one JSON array of kinds, owners and bodies.
_AS_ONE_ROW: Final = (
    """CAST('[' || group_concat('["' || kind || '",' || json_quote(owner) || ',' || body || ']') || ']' AS BLOB)"""
)


#: Without the cast, `length` would count characters.
_BYTES: Final = "length(CAST({}body AS BLOB))"


def walk(members: str, low: str, high: str, *, from_the_end: bool = False, index: str = "") -> str:
    """Select the next objects as ``walk``: at most ``:limit``, and none after the one that reaches ``:bytes``.

    It is recursive, one object after the other, since only then can the size so far stop the search. It selects at
    least two objects if there are two, so that the caller knows whether there are more.
    """
    order = "DESC" if from_the_end else "ASC"
    rest = (
        "place < walk.place AND place > (SELECT low FROM bounds)"
        if from_the_end
        else ("place > walk.place AND place < (SELECT high FROM bounds)")
    )
    return f"""
        WITH RECURSIVE bounds (low, high) AS MATERIALIZED (SELECT {low}, {high}),
        walk (place, kind, owner, body, number, bytes) AS (
            SELECT * FROM (
                SELECT place, kind, owner, body, 1, {_BYTES.format("")} FROM objects {index} WHERE {members}
                    AND place > (SELECT low FROM bounds) AND place < (SELECT high FROM bounds)
                ORDER BY place {order} LIMIT 1
            )
            UNION ALL
            SELECT next.place, next.kind, next.owner, next.body, walk.number + 1, walk.bytes + {_BYTES.format("next.")}
            FROM walk, objects AS next
            WHERE walk.number < :limit AND (walk.number < 2 OR walk.bytes < :bytes) AND next.place = (
                SELECT place FROM objects {index} WHERE {members} AND {rest} ORDER BY place {order} LIMIT 1
            )
        )
    """


#: Whether a walk was stopped before its end: by the number of objects, or by their size.
_WAS_STOPPED: Final = "max(number) = :limit OR (max(number) > 1 AND max(bytes) >= :bytes)"


def _page(kind: str, *, from_the_end: bool, of_part: bool) -> str:
    """Find the places of two cursors, and the objects between them. A unary plus keeps SQLite from using an index.

    The kind is no parameter: SQLite would plan the statement again for each value, because of the partial index.
    """
    crosses_lists = of_part and KINDS[kind] is Run

    def place(cursor: str) -> str:
        if crosses_lists:
            return f"(SELECT place FROM objects WHERE kind = '{kind}' AND id = :{cursor} AND run_id = :part)"
        return f"""coalesce(
            (SELECT place FROM objects WHERE kind = '{kind}' AND id = :{cursor} AND list = :list),
            (SELECT place FROM deleted WHERE kind = '{kind}' AND id = :{cursor} AND list = :list)
        )"""

    members = f"kind = '{kind}' AND list = :list"
    if of_part:
        members = f"run_id = :part AND +kind = '{kind}'" + " AND +list = :list" * (not crosses_lists)
    low = f"CASE WHEN :low IS NULL THEN 0 ELSE {place('low')} END"
    high = f"CASE WHEN :high IS NULL THEN {2**63 - 1} ELSE {place('high')} END"
    return f"""
        {walk(members, low, high, from_the_end=from_the_end)}
        SELECT (SELECT low FROM bounds), (SELECT high FROM bounds), {_WAS_STOPPED}, {_AS_ONE_ROW} FROM walk
    """


#: By kind, whether to start at the end, and whether to list only a part.
PAGES: Final = {
    (kind, from_the_end, of_part): _page(kind, from_the_end=from_the_end, of_part=of_part)
    for kind in KINDS
    for from_the_end in (False, True)
    for of_part in (False, True)
}


def _rows(members: str, index: str = "") -> str:
    """Read the next objects in order, and the place to continue from, if there may be more."""
    return f"""
        {walk(members, ":start - 1", ":end + 1", index=index)}
        SELECT CASE WHEN {_WAS_STOPPED} THEN max(place) + 1 END, max(bytes), {_AS_ONE_ROW} FROM walk
    """


#: What is read in pieces.
WALKS: Final = {
    "history": _rows("history = :thread_id"),
    "unfinished": _rows("kind = 'run_state'", "INDEXED BY run_states"),
    "kinds": _rows("instr(:kinds, '\"' || kind || '\"')"),  # in a JSON array
}
ROWS_OF_FILES: Final = _rows("kind = 'file'", "INDEXED BY files")

#: Reads only the index, so that a damaged object does not prevent reading the others.
PLACES_UNFINISHED: Final = """
    SELECT json_group_array(place) FROM (
        SELECT place FROM objects INDEXED BY run_states WHERE kind = 'run_state' ORDER BY place
    )
"""
OWNER_AND_ID: Final = "SELECT owner, id FROM objects WHERE place = ?"

COUNT: Final = "SELECT count(*) FROM objects"
COUNT_OF_MESSAGES: Final = "SELECT count(*) FROM objects WHERE kind = 'message' AND list = :thread_id"

START_OF_HISTORY: Final = """
    SELECT place FROM objects WHERE history = :thread_id AND kind = 'message' AND run_id IS NOT :besides_run
    ORDER BY place DESC LIMIT 1 OFFSET :last_messages - 1
"""

#: Seconds at the start for checking a file that was not closed properly.
_CHECK_TIMEOUT: Final = 5.0
CHECK: Final = "PRAGMA integrity_check(20)"  # of everything; it also compares the indexes with their tables

_LOCK_TIMEOUT: Final = 0.5  # seconds to wait for another user of the file, such as a backup in progress

_SETTINGS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",  # commits survive a power cut too; a group shares the cost, one fsync
    "wal_autocheckpoint = 4000",  # pages, 16 MB: fewer copies into the file of pages that change often
    f"journal_size_limit = {64 * 2**20}",  # bytes: the journal is truncated to this after a huge commit
    "cache_size = -32768",  # KiB
    "temp_store = MEMORY",
    "secure_delete = ON",  # deleted data is overwritten
)


async def prepare(path: Path) -> tuple[aiosqlite.Connection, int]:
    """Open a file as a store, and migrate it to this version's schema.

    Returns:
        The connection, and the highest place in use.

    Raises:
        StoreFileError: It is in use, damaged, of another program, or of a later version.
    """
    # Otherwise aiosqlite's thread would be left running after the failure to open it.
    if not await anyio.Path(path).is_file():
        raise StoreFileError(f"cannot open the store {path}: it is not a file")
    if not os.access(path, os.W_OK):
        raise StoreFileError(f"cannot open the store {path}: it cannot be written; to read it, open a copy")
    was_killed = await anyio.Path(f"{path}-wal").exists()
    try:
        db = await aiosqlite.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT, factory=StoreConnection)
        try:
            await _claim(db, path)
            if was_killed:
                await _check_integrity(db, path)
            return db, await _set_up(db)
        except BaseException:  # cancellation too: the connection's thread must end
            await finish(db.close())
            raise
    except sqlite3.Error as error:
        raise StoreFileError(f"cannot open the store {path}: {_reason(error)}") from error


async def _claim(db: aiosqlite.Connection, path: Path) -> None:
    """Lock the file for this process, and check that it is a store of a known version. It is not changed."""
    await db.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;")  # once locked, it stays locked
    application, version = await _number(db, "PRAGMA application_id"), await _number(db, "PRAGMA user_version")
    tables = await _number(db, "SELECT count(*) FROM sqlite_master")
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreFileError(f"cannot open the store {path}: it is an SQLite file, but another program's")
    if version > len(MIGRATIONS):
        raise StoreFileError(
            f"cannot open the store {path}: a later version of openai_runs has written it (schema {version}; "
            f"this one knows {len(MIGRATIONS)}): update openai_runs"
        )


async def _check_integrity(db: aiosqlite.Connection, path: Path) -> None:
    """Check for damage, as far as that is quick.

    It takes seconds per gigabyte. So it is done only after a crash, and not to its end for a large file: a server that
    starts again must not be away for minutes. What it has not seen is noticed when it is used (`StoreDataError`).
    """
    check = asyncio.ensure_future(db.execute_fetchall("PRAGMA quick_check(1)"))
    try:
        await asyncio.wait([check], timeout=_CHECK_TIMEOUT)
    finally:
        await finish(_stop(db, check))
    try:
        [(found,)] = check.result()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        _logger.warning(
            "the store %s was not closed properly and is too large to check at the start: no damage was found in the "
            "first %g seconds. To check all of it, stop the server and run: openai-runs check --store %s",
            path,
            _CHECK_TIMEOUT,
            path,
        )
        return
    if found != "ok":
        raise StoreFileError(f"cannot open the store {path}: it is damaged: {found}")


async def _stop(db: aiosqlite.Connection, check: "asyncio.Future[Any]") -> None:
    while not check.done():
        await db.interrupt()  # without effect before the statement has begun
        await asyncio.wait([check], timeout=0.1)
    if not check.cancelled():
        check.exception()  # asked for here, since nobody else does if the start is cancelled


async def _set_up(db: aiosqlite.Connection) -> int:
    for setting in _SETTINGS:
        await db.execute_fetchall(f"PRAGMA {setting}")
    for version in range(await _number(db, "PRAGMA user_version"), len(MIGRATIONS)):
        await db.executescript(
            f"BEGIN; {MIGRATIONS[version]} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {version + 1}; COMMIT;"
        )
    await db.executescript(_CHANGES)
    return await _number(
        db, "SELECT max((SELECT coalesce(max(place), 0) FROM objects), (SELECT coalesce(max(place), 0) FROM deleted))"
    )


async def _number(db: aiosqlite.Connection, sql: str) -> int:
    [(number,)] = await db.execute_fetchall(sql)
    return int(number)


def _reason(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the primary result code; the rest is the extended one
        case sqlite3.SQLITE_BUSY:
            return "it is in use, and one process at a time can have it: stop the other one first"
        case sqlite3.SQLITE_NOTADB:
            return "it is not an SQLite file"
        case sqlite3.SQLITE_CORRUPT:
            return f"it is damaged: {error}"
        case _:
            return str(error)
