"""The tables of a `PostgresIndex`: the SQL statements on them, and how they are made.

A word is in the index of words as the key of its vector store, a slash and its stem. So a search reads nothing of other
stores, however many chunks of theirs have the same word. The key of a file, times 2**24, begins the IDs of its chunks.
"""

from typing import Any, Final

from openai_runs._extras import needs
from openai_runs.errors import StoreFileError

with needs("postgres"):
    import psycopg

#: The SQL from each version of the schema to the next. Never change an entry: databases of every version exist.
MIGRATIONS: Final = (
    """
    CREATE TABLE openai_runs_index (
        is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
        version integer NOT NULL
    );
    INSERT INTO openai_runs_index (version) VALUES (0);
    -- Stems of English words, and no stop words: those are left out of queries, see `terms_of`.
    CREATE TEXT SEARCH DICTIONARY openai_runs_stem (TEMPLATE = pg_catalog.snowball, LANGUAGE = porter);

    CREATE TABLE openai_runs_index_stores (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL UNIQUE,
        chunks bigint NOT NULL DEFAULT 0,           -- how many there are
        words bigint NOT NULL DEFAULT 0             -- of all of them
    );
    CREATE TABLE openai_runs_index_files (
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        store bigint NOT NULL REFERENCES openai_runs_index_stores,
        id text COLLATE "C" NOT NULL,
        filename bytea NOT NULL,                    -- UTF-8: text has no NUL
        chunks integer NOT NULL DEFAULT 0,
        words bigint NOT NULL DEFAULT 0,
        UNIQUE (store, id)
    );
    CREATE TABLE openai_runs_index_chunks (
        id bigint PRIMARY KEY,                      -- its file times 2**24, and its number there
        length integer NOT NULL,                    -- words, with those of the file's name
        text bytea NOT NULL,                        -- UTF-8
        words tsvector NOT NULL
    ) WITH (toast_tuple_target = 8160);
    ALTER TABLE openai_runs_index_chunks ALTER COLUMN words SET STORAGE MAIN;  -- in the row: ranking reads it
    CREATE INDEX openai_runs_index_words ON openai_runs_index_chunks USING gin (words);
    CREATE TABLE openai_runs_index_vectors (        -- of some chunks of a file, as little-endian float32
        file bigint NOT NULL,
        first integer NOT NULL,                     -- the number of the first of these chunks
        chunks integer NOT NULL,
        label text NOT NULL,                        -- of the model
        numbers integer NOT NULL,                   -- in each vector
        matrix bytea NOT NULL,
        PRIMARY KEY (file, first)
    );
    ALTER TABLE openai_runs_index_vectors ALTER COLUMN matrix SET STORAGE EXTERNAL;  -- it would not get smaller
    """,
)

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('openai_runs index in ' || current_schema(), 0))"
_HAS_TABLES: Final = "SELECT to_regclass('openai_runs_index') IS NOT NULL"
_VERSION: Final = "SELECT version FROM openai_runs_index"
_SET_VERSION: Final = "UPDATE openai_runs_index SET version = %s"

#: Settings of each session. Every statement has an index, which a planner with old statistics must not pass over. A
#: server that stops in the middle of a change has it undone, before others take over what it did.
SET_UP: Final = """
    SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false),
        set_config('idle_session_timeout', '0', false), set_config('idle_in_transaction_session_timeout', '5s', false)
"""
#: What the API calls completed survives a power cut.
SET_UP_DURABLE: Final = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""

#: The key of a store, which is made if there is none, and locked: one file of a store changes at a time.
LOCK_STORE: Final = """
    INSERT INTO openai_runs_index_stores AS s (id) VALUES (%(store)s)
    ON CONFLICT (id) DO UPDATE SET chunks = s.chunks RETURNING key
"""
#: Likewise, if there is one.
LOCK_OLD_STORE: Final = "SELECT key FROM openai_runs_index_stores WHERE id = %(store)s FOR UPDATE"
#: Unless a file was added meanwhile.
FORGET_STORE: Final = """
    DELETE FROM openai_runs_index_stores s WHERE key = %(key)s
        AND NOT EXISTS (SELECT FROM openai_runs_index_files f WHERE f.store = s.key)
"""
COUNT: Final = """
    UPDATE openai_runs_index_stores SET chunks = chunks + %(chunks)s, words = words + %(words)s WHERE key = %(key)s
"""

NEW_FILE: Final = """
    INSERT INTO openai_runs_index_files (store, id, filename) VALUES (%(store)s, %(file)s, %(filename)b) RETURNING key
"""
COUNT_IN_FILE: Final = """
    UPDATE openai_runs_index_files SET chunks = %(chunks)s, words = %(words)s WHERE key = %(key)s
"""
#: Chunks of a file, in order.
NEW_CHUNKS: Final = """
    INSERT INTO openai_runs_index_chunks (id, length, text, words)
    SELECT %(first)s::bigint + c.number - 1, c.length, c.text, c.words::tsvector
    FROM unnest(%(texts)s::bytea[], %(words)s::text[], %(lengths)s::integer[])
        WITH ORDINALITY AS c (text, words, length, number)
"""
STEMS: Final = "SELECT word, (ts_lexize('openai_runs_stem', word))[1] FROM unnest(%(words)s::text[]) AS w (word)"
NEW_VECTORS: Final = """
    INSERT INTO openai_runs_index_vectors (file, first, chunks, label, numbers, matrix)
    VALUES (%(file)s, %(first)s, %(chunks)s, %(label)s, %(numbers)s, %(matrix)b)
"""
FORGET_FILE: Final = """
    DELETE FROM openai_runs_index_files WHERE store = %(store)s AND id = %(file)s RETURNING key, chunks, words
"""
FORGET_CHUNKS: Final = "DELETE FROM openai_runs_index_chunks WHERE id BETWEEN %(first)s AND %(last)s"
FORGET_VECTORS: Final = "DELETE FROM openai_runs_index_vectors WHERE file = %(file)s"

FILE: Final = """
    SELECT f.key, f.chunks FROM openai_runs_index_files f JOIN openai_runs_index_stores s ON s.key = f.store
    WHERE s.id = %(store)s AND f.id = %(file)s
"""
CHUNKS: Final = """
    SELECT text FROM openai_runs_index_chunks WHERE id BETWEEN %(first)s AND %(last)s ORDER BY id
"""
EVERYTHING: Final = """
    SELECT s.id, f.id, f.filename, f.key FROM openai_runs_index_files f
    JOIN openai_runs_index_stores s ON s.key = f.store ORDER BY f.key
"""
VECTORS: Final = """
    SELECT label, numbers, matrix FROM openai_runs_index_vectors WHERE file = %(file)s ORDER BY first
"""
FILES_OF_STORE: Final = """
    SELECT f.id FROM openai_runs_index_files f JOIN openai_runs_index_stores s ON s.key = f.store
    WHERE s.id = %(store)s ORDER BY f.key
"""
STORES: Final = """
    SELECT key, chunks, words FROM openai_runs_index_stores WHERE id = ANY(%(stores)s) AND chunks > 0
"""
#: The keys of files that are given as a store's ID and their own.
CHOSEN: Final = """
    SELECT f.key FROM unnest(%(stores)s::text[], %(files)s::text[]) AS chosen (store, file)
    JOIN openai_runs_index_stores s ON s.id = chosen.store
    JOIN openai_runs_index_files f ON f.store = s.key AND f.id = chosen.file
"""

#: For each term, by its number, how many chunks have it, of all stores in which it is searched for.
COUNTS: Final = """
    SELECT number, sum((SELECT count(*) FROM openai_runs_index_chunks c WHERE c.words @@ query::tsquery))::bigint
    FROM unnest(%(numbers)s::integer[], %(queries)s::text[]) AS q (number, query) GROUP BY number ORDER BY number
"""

#: The best chunks by their words, by BM25 with the constants of SQLite's FTS5: how much of each term a chunk has is
#: from 0 to 2.2, where 1 is once in a chunk of average length. A score is what share of the query's rarity the chunk's
#: terms are, times how much it has of them on average, from 0 to 1: a word that comes twenty times does not make up for
#: one that is missing.
#:
#: `ts_rank` of a single word that comes n times is the sum of 1/i² for i from 1 to n, divided by π²/6, if all weights
#: are 1 (`calc_rank_or` in PostgreSQL's tsrank.c). That sum is π²/6 - 1/(n + 1/2) nearly, which gives n exactly when it
#: is rounded: no other function tells n without going through all words of a chunk.
RANKS: Final = """
    WITH terms AS MATERIALIZED (
        SELECT query::tsquery AS query, rarity
        FROM unnest(%(queries)s::text[], %(rarities)s::float8[]) AS t (query, rarity)
    ), found AS (
        SELECT c.id, sum(t.rarity) AS share,
            sum(t.rarity * n.times * 2.2 / (n.times + 1.2 * (0.25 + 0.75 * c.length / %(average)s))) AS amount
        FROM terms t JOIN openai_runs_index_chunks c ON c.words @@ t.query
        CROSS JOIN LATERAL (SELECT CASE
            WHEN numnode(t.query) > 1 THEN 1
            ELSE round(1 / (pi() ^ 2 / 6 * (1 - ts_rank('{1,1,1,1}', c.words, t.query))) - 0.5)
        END AS times) n
        WHERE %(files)s::bigint[] IS NULL OR c.id >> 24 = ANY(%(files)s::bigint[])
        GROUP BY c.id
    )
    SELECT id, (least(1.1 * amount / (amount + 0.2 * share), 1) * share / %(total)s)::float8 AS score
    FROM found ORDER BY score DESC, id LIMIT %(limit)s
"""

#: Which parts of files have vectors of a model, and how many.
WITH_VECTORS: Final = """
    SELECT v.file, v.first, v.chunks FROM openai_runs_index_files f JOIN openai_runs_index_vectors v ON v.file = f.key
    WHERE f.store = ANY(%(stores)s::bigint[]) AND v.label = %(label)s AND v.numbers = %(numbers)s
        AND (%(files)s::bigint[] IS NULL OR f.key = ANY(%(files)s::bigint[]))
    ORDER BY v.file, v.first
"""
MATRICES: Final = """
    SELECT (v.file << 24) + v.first, v.matrix FROM unnest(%(files)s::bigint[], %(firsts)s::integer[]) w (file, first)
    JOIN openai_runs_index_vectors v ON v.file = w.file AND v.first = w.first
"""
HITS: Final = """
    SELECT c.id, s.id, f.id, f.filename, c.text FROM unnest(%(chunks)s::bigint[]) w (id)
    JOIN openai_runs_index_chunks c ON c.id = w.id
    JOIN openai_runs_index_files f ON f.key = c.id >> 24
    JOIN openai_runs_index_stores s ON s.key = f.store
"""


async def migrate(connection: "psycopg.AsyncConnection[Any]") -> None:
    """Make the tables, or bring them up to date; of several servers that do so, one does it.

    Raises:
        StoreFileError: A later version has written them.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        [has_tables] = await _row(connection, _HAS_TABLES)
        [version] = await _row(connection, _VERSION) if has_tables else (0,)
        if version > len(MIGRATIONS):
            raise StoreFileError(
                f"cannot open the search index in the database: a later version of openai_runs has written it (schema "
                f"{version}; this one knows {len(MIGRATIONS)}): update openai_runs"
            )
        for migration in MIGRATIONS[version:]:
            await connection.execute(migration)
        if version < len(MIGRATIONS):
            await connection.execute(_SET_VERSION, (len(MIGRATIONS),))


async def _row(connection: "psycopg.AsyncConnection[Any]", sql: str) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = await (await connection.execute(sql)).fetchone()
    assert row is not None, sql  # noqa: S101  # each of these statements has one
    return row
