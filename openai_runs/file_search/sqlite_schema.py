"""The file of an `SQLiteIndex`: its tables, the SQL statements on them, and how it is opened."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from openai_runs._extras import needs
from openai_runs._finishing import finish
from openai_runs.errors import StoreFileError

with needs("files"):
    import aiosqlite

APPLICATION_ID: Final = 0x6F727366  # "orsf", in the file's header: identifies the file as ours

#: The SQL from each version of the schema to the next. Never change an entry: files of every version exist.
MIGRATIONS: Final = (
    """
    CREATE TABLE stores (
        key INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again, since the chunks' IDs begin with it
        id TEXT NOT NULL UNIQUE,
        chunks INTEGER NOT NULL DEFAULT 0,      -- how many there are
        next INTEGER NOT NULL DEFAULT 0         -- chunk's place
    );
    CREATE TABLE files (
        key INTEGER PRIMARY KEY,
        store INTEGER NOT NULL,
        id TEXT NOT NULL,
        filename TEXT NOT NULL,
        first INTEGER NOT NULL,                 -- its first chunk; the others follow
        chunks INTEGER NOT NULL,
        UNIQUE (store, id)
    );
    CREATE TABLE chunks (
        id INTEGER PRIMARY KEY,                 -- its store times 2**32, and its place there
        file INTEGER NOT NULL,
        text TEXT NOT NULL
    );
    CREATE TABLE vectors (                      -- of all chunks of a file, as little-endian float32
        file INTEGER PRIMARY KEY,
        label TEXT NOT NULL,                    -- of the model
        numbers INTEGER NOT NULL,               -- in each vector
        matrix BLOB NOT NULL
    );
    CREATE VIEW texts AS
        SELECT chunks.id, files.filename, chunks.text FROM chunks JOIN files ON files.key = chunks.file;
    CREATE VIRTUAL TABLE words USING fts5 (
        filename, text, content = 'texts', content_rowid = 'id', tokenize = 'porter unicode61'
    );
    """,
)

#: By ``json_each``, each list is one parameter, and each result one row: between two rows, Python needs the GIL.
STORE: Final = "SELECT key, next FROM stores WHERE id = :store"
STORES: Final = "SELECT json_group_array(key) FROM stores WHERE id IN (SELECT value FROM json_each(:stores))"
NEW_STORE: Final = "INSERT INTO stores (id) VALUES (:store) ON CONFLICT DO NOTHING"
FILE: Final = """
    SELECT files.key, files.store, files.first, files.chunks FROM files JOIN stores ON stores.key = files.store
    WHERE stores.id = :store AND files.id = :file
"""
FILES_OF_STORE: Final = """
    SELECT json_group_array(id) FROM files WHERE store = (SELECT key FROM stores WHERE id = :store)
"""

NEW_FILE: Final = """
    INSERT INTO files (store, id, filename, first, chunks)
    VALUES (:store, :id, :filename, :first, :chunks) RETURNING key
"""
NEW_CHUNKS: Final = """
    INSERT INTO chunks (id, file, text) SELECT :first + key, :file, value FROM json_each(CAST(:texts AS TEXT))
"""
BYTES: Final = "SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM chunks WHERE id BETWEEN :first AND :last"
NEW_WORDS: Final = """
    INSERT INTO words (rowid, filename, text) SELECT id, filename, text FROM texts WHERE id BETWEEN :first AND :last
"""
NEW_VECTORS: Final = "INSERT INTO vectors (file, label, numbers, matrix) VALUES (:file, :label, :numbers, :matrix)"
COUNT: Final = "UPDATE stores SET chunks = chunks + :change, next = next + max(:change, 0) WHERE key = :store"

#: An FTS5 table over the chunks has to be told what it forgets.
FORGET: Final = (
    """
        INSERT INTO words (words, rowid, filename, text)
        SELECT 'delete', id, filename, text FROM texts WHERE id BETWEEN :first AND :last
    """,
    "DELETE FROM chunks WHERE id BETWEEN :first AND :last",
    "DELETE FROM vectors WHERE file = :file",
    "DELETE FROM files WHERE key = :file",
)
#: Unless a file was added meanwhile.
FORGET_STORE: Final = """
    DELETE FROM stores WHERE id = :store AND NOT EXISTS (SELECT 1 FROM files WHERE files.store = stores.key)
"""

EVERYTHING: Final = """
    SELECT stores.id, files.id, files.filename, files.key FROM files JOIN stores ON stores.key = files.store
    ORDER BY files.key
"""
VECTORS: Final = "SELECT label, numbers, matrix FROM vectors WHERE file = :file"
CHUNKS: Final = """
    SELECT json_group_array(text) FROM (SELECT text FROM chunks WHERE id BETWEEN :first AND :last ORDER BY id)
"""
#: The keys of files that are given as pairs of a store's ID and their own.
CHOSEN: Final = """
    SELECT json_group_array(files.key) FROM json_each(:files) AS chosen
    JOIN stores ON stores.id = json_extract(chosen.value, '$[0]')
    JOIN files ON files.store = stores.key AND files.id = json_extract(chosen.value, '$[1]')
"""

#: How many chunks there are in all and in these stores; and, for each term, how many of either have it.
COUNTS: Final = """
    SELECT
        (SELECT coalesce(sum(chunks), 0) FROM stores),
        (SELECT coalesce(sum(chunks), 0) FROM stores WHERE key IN (SELECT value FROM json_each(:stores))),
        (SELECT json_group_array(json_array(
            (SELECT count(*) FROM words WHERE words MATCH term.value),
            (SELECT count(*) FROM json_each(:stores) AS store CROSS JOIN words WHERE words MATCH term.value
                AND words.rowid BETWEEN store.value << 32 AND (store.value + 1 << 32) - 1)
        )) FROM json_each(:terms) AS term)
"""

#: The best chunks by their words. ``rank`` is BM25 for one term at a time: the whole file's idea of how rare the term
#: is, by which it is divided here, times how much of it the chunk has: from 0 to 2.2, where 1 is once in a chunk of
#: average length. A score is what share of the query's rarity the chunk's terms are, times how much it has of them on
#: average, from 0 to 1: a word that comes twenty times does not make up for one that is missing.
_RANKS: Final = """
    WITH terms (term, rarity, in_rank) AS MATERIALIZED (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
        FROM json_each(:terms)
    ),
    ranges (low, high) AS MATERIALIZED (
        SELECT value << 32, (value + 1 << 32) - 1 FROM json_each(:stores)
    ),
    found (id, share, amount) AS (
        SELECT words.rowid, sum(terms.rarity), sum(terms.rarity * -words.rank / terms.in_rank)
        FROM terms CROSS JOIN ranges CROSS JOIN words {join}
        WHERE words MATCH terms.term AND words.rowid BETWEEN ranges.low AND ranges.high
        GROUP BY words.rowid
    )
    SELECT json_group_array(json_array(id, score)) FROM (
        SELECT id, min(1.1 * amount / (amount + 0.2 * share), 1) * share / :total AS score
        FROM found ORDER BY score DESC, id LIMIT :limit
    )
"""
RANKS: Final = _RANKS.format(join="")
#: Of some files only.
RANKS_OF_FILES: Final = _RANKS.format(
    join="""JOIN chunks ON chunks.id = words.rowid AND chunks.file IN (SELECT value FROM json_each(:files))"""
)

#: Which files have vectors of a model, and how many.
WITH_VECTORS: Final = """
    SELECT json_group_array(json_array(files.key, files.chunks)) FROM files JOIN vectors ON vectors.file = files.key
    WHERE files.store IN (SELECT value FROM json_each(:stores))
        AND vectors.label = :label AND vectors.numbers = :numbers
"""
MATRICES: Final = """
    SELECT files.first, vectors.matrix FROM json_each(:files) AS wanted
    JOIN files ON files.key = wanted.value
    JOIN vectors ON vectors.file = files.key
"""

HITS: Final = """
    SELECT json_group_array(json_array(
        chunks.id, stores.id, files.id, files.filename, chunks.id - files.first, chunks.text
    )) FROM json_each(:chunks) AS found
    JOIN chunks ON chunks.id = found.value
    JOIN files ON files.key = chunks.file
    JOIN stores ON stores.key = files.store
"""

_SETTINGS: Final = (
    "journal_mode = WAL",  # searches go on while a file is added
    "synchronous = FULL",  # an indexed file survives a power cut, too: the API has said that it is completed
    f"journal_size_limit = {64 * 2**20}",  # bytes
    "cache_size = -32768",  # KiB
    "temp_store = MEMORY",
    "secure_delete = ON",  # what is deleted is overwritten
)
_LOCK_TIMEOUT: Final = 5.0  # seconds to wait for another user of the file, such as a backup


async def opened(path: Path) -> aiosqlite.Connection:
    """Open a file as an index, create it if it does not exist, and migrate it to this version's schema.

    Raises:
        StoreFileError: It is damaged, of another program, or of a later version.
        OSError: It cannot be created.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        db = await aiosqlite.connect(path, isolation_level=None, timeout=_LOCK_TIMEOUT)
        try:
            await _set_up(db, path)
            return db
        except BaseException:  # cancellation too: the connection's thread must end
            await finish(db.close())
            raise
    except sqlite3.Error as error:
        raise StoreFileError(f"cannot open the search index {path}: {error}") from error


async def _set_up(db: aiosqlite.Connection, path: Path) -> None:
    application, version = await _number(db, "PRAGMA application_id"), await _number(db, "PRAGMA user_version")
    tables = await _number(db, "SELECT count(*) FROM sqlite_master")
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreFileError(f"cannot open the search index {path}: it is another program's file")
    if version > len(MIGRATIONS):
        raise StoreFileError(
            f"cannot open the search index {path}: a later version of openai_runs has written it (schema {version}; "
            f"this one knows {len(MIGRATIONS)}): update openai_runs"
        )
    for setting in _SETTINGS:
        await db.execute_fetchall(f"PRAGMA {setting}")
    for step in range(version, len(MIGRATIONS)):
        await db.executescript(
            f"BEGIN; {MIGRATIONS[step]} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {step + 1}; COMMIT;"
        )


async def _number(db: aiosqlite.Connection, sql: str) -> int:
    [(number,)] = await db.execute_fetchall(sql)
    return int(number)
