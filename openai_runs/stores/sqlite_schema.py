# ruff: noqa: S608  # all that is put into SQL here is ours
"""What is in the file of an `SQLiteStore`: its tables, the statements on them, and how it is opened."""

import os
import sqlite3
from pathlib import Path
from typing import Any, Final

import anyio

from openai_runs._extras import needs
from openai_runs.errors import StoreFileError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores.records import RunState

with needs("server"):
    import aiosqlite


KINDS: Final[dict[str, type[Any]]] = {
    "assistant": Assistant,
    "thread": Thread,
    "message": Message,
    "run": Run,
    "run_step": RunStep,
    "run_state": RunState,
}
NAMES: Final = {kind: name for name, kind in KINDS.items()}

APPLICATION_ID: Final = 0x6F72756E  # "orun", in the file's header: says whose file it is

#: From each version of the schema to the next. What is here stays: files of every version are about.
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
)

_REMEMBERED: Final = 10_000  # deletions: more than anybody makes between two pages

#: Makes ``changes``, a view into which changes are inserted and which carries them out, one after the other. A change
#: without a body deletes. Nothing of this is in the file.
_CHANGES: Final = f"""
    CREATE TEMP VIEW changes AS SELECT * FROM objects;

    CREATE TEMP TRIGGER put INSTEAD OF INSERT ON changes WHEN NEW.body IS NOT NULL BEGIN
        INSERT INTO objects (place, kind, id, owner, list, history, run_id, body)
        VALUES (NEW.place, NEW.kind, NEW.id, NEW.owner, NEW.list, NEW.history, NEW.run_id, NEW.body)
        ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, body = excluded.body;
    END;

    CREATE TEMP TRIGGER remove INSTEAD OF INSERT ON changes WHEN NEW.body IS NULL BEGIN
        INSERT OR REPLACE INTO deleted (kind, id, list, place)
            SELECT kind, id, list, place FROM objects WHERE kind = NEW.kind AND id = NEW.id AND list IS NOT NULL;
        DELETE FROM deleted WHERE number <= (SELECT max(number) FROM deleted) - {_REMEMBERED};
        DELETE FROM objects WHERE kind = NEW.kind AND id = NEW.id;
    END;

    CREATE TEMP TRIGGER remove_thread INSTEAD OF INSERT ON changes WHEN NEW.body IS NULL AND NEW.kind = 'thread' BEGIN
        DELETE FROM objects WHERE kind = 'run_state'
            AND id IN (SELECT id FROM objects WHERE kind = 'run' AND list = NEW.id);
        DELETE FROM objects WHERE kind = 'run_step'
            AND list IN (SELECT id FROM objects WHERE kind = 'run' AND list = NEW.id);
        DELETE FROM objects WHERE kind IN ('run', 'message') AND list = NEW.id;
    END;
"""

#: A group of changes in one step. ``:index`` is a JSON array of rows, each with the place and the length of its body
#: in ``:bodies``; so no body has to be quoted and unquoted.
WRITE: Final = f"""
    INSERT INTO changes SELECT
        {", ".join(f"json_extract(value, '$[{column}]')" for column in range(7))},
        CAST(substr(:bodies, json_extract(value, '$[7]'), json_extract(value, '$[8]')) AS TEXT)
    FROM json_each(:index)
"""

READ: Final = "SELECT owner, CAST(body AS BLOB) FROM objects WHERE kind = ? AND id = ?"

#: Many objects as one JSON array of kinds, owners and bodies.
_AS_ONE_ROW: Final = (
    """CAST('[' || group_concat('["' || kind || '",' || json_quote(owner) || ',' || body || ']') || ']' AS BLOB)"""
)


#: Of text, `length` would count the characters.
_BYTES: Final = "length(CAST({}body AS BLOB))"


def _walk(members: str, low: str, high: str, *, from_the_end: bool = False, index: str = "") -> str:
    """The next objects of many, in ``walk``: at most ``:limit``, and none behind the one that fills ``:bytes``.

    One after the other, since only so can what is found stop the search. But there are two, if there are two: then
    whoever asked knows whether there are more.
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


def _page(kind: str, *, from_the_end: bool, of_run: bool) -> str:
    """What finds the places of two cursors, and the objects between them. A plus sign keeps an index out of use.

    The kind is not a parameter: SQLite would plan the statement anew for each call, lest it be that of a partial index.
    """

    def place(cursor: str) -> str:
        return f"""coalesce(
            (SELECT place FROM objects WHERE kind = '{kind}' AND id = :{cursor} AND list = :list),
            (SELECT place FROM deleted WHERE kind = '{kind}' AND id = :{cursor} AND list = :list)
        )"""

    members = f"kind = '{kind}' AND list = :list"
    if of_run:
        members = f"run_id = :run_id AND +kind = '{kind}' AND +list = :list"
    low = f"CASE WHEN :low IS NULL THEN 0 ELSE {place('low')} END"
    high = f"CASE WHEN :high IS NULL THEN {2**63 - 1} ELSE {place('high')} END"
    return f"""
        {_walk(members, low, high, from_the_end=from_the_end)}
        SELECT (SELECT low FROM bounds), (SELECT high FROM bounds), {_WAS_STOPPED}, {_AS_ONE_ROW} FROM walk
    """


#: By kind, whether to begin with the last, and whether only messages of a run are wanted.
PAGES: Final = {
    (kind, from_the_end, of_run): _page(kind, from_the_end=from_the_end, of_run=of_run)
    for kind in KINDS
    for from_the_end in (False, True)
    for of_run in (False, True)
}


def _rows(members: str, index: str = "") -> str:
    """What reads the next objects of many, in order, and says from which place on to go on, if there may be more."""
    return f"""
        {_walk(members, ":start - 1", ":end + 1", index=index)}
        SELECT CASE WHEN {_WAS_STOPPED} THEN max(place) + 1 END, max(bytes), {_AS_ONE_ROW} FROM walk
    """


ROWS_OF_HISTORY: Final = _rows("history = :thread_id")
ROWS_OF_KIND: Final = _rows("+kind = :kind")
ROWS_UNFINISHED: Final = _rows("kind = 'run_state'", "INDEXED BY run_states")

#: Reads nothing but the index, so that what is damaged is not in the way of what is not.
PLACES_UNFINISHED: Final = """
    SELECT json_group_array(place) FROM (
        SELECT place FROM objects INDEXED BY run_states WHERE kind = 'run_state' ORDER BY place
    )
"""
WHOSE: Final = "SELECT owner, id FROM objects WHERE place = ?"

MOST: Final = 2**63 - 1  #: the largest integer
COUNT_OF_MESSAGES: Final = "SELECT count(*) FROM objects WHERE kind = 'message' AND list = :thread_id"

START_OF_HISTORY: Final = """
    SELECT place FROM objects WHERE history = :thread_id AND kind = 'message' AND run_id IS NOT :besides_run
    ORDER BY place DESC LIMIT 1 OFFSET :last_messages - 1
"""

_PATIENCE: Final = 0.5  # seconds for a copy that is being made, say, to let go of the file

_SETTINGS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",  # what is committed survives a power cut too; a group shares the price, one fsync
    "wal_autocheckpoint = 4000",  # pages, 16 MB: what changes often is copied into the file once
    f"journal_size_limit = {64 * 2**20}",  # bytes: what a huge commit leaves of the journal
    "cache_size = -32768",  # KiB
    "temp_store = MEMORY",
    "secure_delete = ON",  # what is deleted is overwritten
)


async def prepare(path: Path) -> tuple[aiosqlite.Connection, int]:
    """Open a file as a store, and bring it to this version's schema.

    Returns:
        The connection, and the last place that is taken.

    Raises:
        StoreFileError: It is in use, damaged, another program's, or a later version's.
    """
    if not await anyio.Path(path).is_file():  # else aiosqlite's thread would outlive the failure to open it
        raise StoreFileError(f"cannot open the store {path}: it is not a file")
    if not os.access(path, os.W_OK):
        raise StoreFileError(f"cannot open the store {path}: it cannot be written; to read it, open a copy")
    was_killed = await anyio.Path(f"{path}-wal").exists()
    try:
        db = await aiosqlite.connect(path, isolation_level=None, timeout=_PATIENCE)
        try:
            await _claim(db, path)
            if was_killed:
                await _examine(db, path)
            return db, await _set_up(db)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await db.close()
            raise
    except sqlite3.Error as error:
        raise StoreFileError(f"cannot open the store {path}: {_explain(error)}") from error


async def _claim(db: aiosqlite.Connection, path: Path) -> None:
    """Take the file for this process, if it is a store that this version can read; else leave it as it is."""
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


async def _examine(db: aiosqlite.Connection, path: Path) -> None:
    """Look for damage. It takes seconds a gigabyte: too long to be done whenever nothing suggests it."""
    [(found,)] = await db.execute_fetchall("PRAGMA quick_check(1)")
    if found != "ok":
        raise StoreFileError(f"cannot open the store {path}: it is damaged: {found}")


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


def _explain(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the rest of the code goes into details
        case sqlite3.SQLITE_BUSY:
            return "it is in use, and one process at a time can have it: stop the other one first"
        case sqlite3.SQLITE_NOTADB:
            return "it is not an SQLite file"
        case sqlite3.SQLITE_CORRUPT:
            return f"it is damaged: {error}"
        case _:
            return str(error)
