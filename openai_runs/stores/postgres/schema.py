# ruff: noqa: S608  # only constants of the package are put into SQL
"""The database of a `PostgresStore`: its tables, and the SQL statements on them.

Places come from a sequence of the database, and each process that has opened the store has a row of its own, whose
epoch is higher than all before. What belongs together has a version, in the row of its thread (or assistant, or vector
store): a commit that rests on an older one is refused.
"""

from functools import cache
from typing import Final

from openai_runs.stores.records import INTERNAL
from openai_runs.stores.table_rows import NAMES

#: The SQL from each version of the schema to the next. Never change an entry: databases of every version exist. What
#: ``list``, ``history`` and ``part`` have is said by `row_of`. See `ADDING`, too.
MIGRATIONS: Final = (
    """
    CREATE TABLE openai_runs_store (
        is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
        version integer NOT NULL,
        id uuid NOT NULL DEFAULT gen_random_uuid()   -- which store this is, wherever the database is moved
    );
    INSERT INTO openai_runs_store (version) VALUES (0);

    CREATE TABLE openai_runs_servers (               -- each process that has opened the store
        epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        opened_at timestamptz NOT NULL DEFAULT now(),
        is_over boolean NOT NULL DEFAULT false,      -- for good: another one has opened the store
        written bigint NOT NULL DEFAULT 0            -- the number of the latest group of commits
    );

    CREATE TABLE openai_runs_objects (
        place bigint GENERATED ALWAYS AS IDENTITY,   -- order of creation
        kind text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        owner text COLLATE "C" NOT NULL,
        list text COLLATE "C",
        history text COLLATE "C",
        part text COLLATE "C",
        body text NOT NULL,                          -- JSON, as it was written: jsonb would refuse some of it
        PRIMARY KEY (kind, id)
    ) WITH (fillfactor = 85);                        -- room for a row's next state, which then changes no index
    CREATE INDEX openai_runs_objects_places ON openai_runs_objects ((place + 0));  -- see `page`
    CREATE INDEX openai_runs_objects_lists ON openai_runs_objects (kind, list, place) WHERE list IS NOT NULL;
    CREATE INDEX openai_runs_objects_histories ON openai_runs_objects (history, place) WHERE history IS NOT NULL;
    CREATE INDEX openai_runs_objects_parts ON openai_runs_objects (part, place) WHERE part IS NOT NULL;
    -- See `FEW`.
    CREATE INDEX openai_runs_objects_few ON openai_runs_objects (kind, place)
        WHERE kind IN ('file', 'run_state', 'vector_store', 'index_job');

    CREATE TABLE openai_runs_deleted (               -- from lists, lately: may still be named as cursors
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- order of deletion
        kind text COLLATE "C" NOT NULL,
        id text COLLATE "C" NOT NULL,
        list text COLLATE "C" NOT NULL,
        place bigint NOT NULL,
        UNIQUE (kind, id, list)
    );
    """,
    """
    ALTER TABLE openai_runs_objects ADD COLUMN version bigint NOT NULL DEFAULT 1;  -- counts commits; see `SCOPES`
    ALTER TABLE openai_runs_servers ADD COLUMN renewed_at timestamptz NOT NULL DEFAULT now();  -- its lease

    CREATE TABLE openai_runs_active (                -- the runs that have a state: that have not ended
        run text COLLATE "C" PRIMARY KEY,
        thread text COLLATE "C" NOT NULL,            -- has one at a time, by its version
        owner text COLLATE "C" NOT NULL,
        deadline double precision NOT NULL,          -- Unix seconds
        place bigint GENERATED ALWAYS AS IDENTITY,   -- order of creation
        server bigint,                               -- the epoch of the one that executes it
        reader bigint,                               -- likewise, that sends its events to a client
        is_waiting boolean NOT NULL DEFAULT false    -- for tool outputs: nobody executes it
    ) WITH (fillfactor = 70);
    CREATE INDEX openai_runs_active_threads ON openai_runs_active (thread, place);
    CREATE INDEX openai_runs_active_free ON openai_runs_active (place) WHERE server IS NULL AND NOT is_waiting;
    CREATE INDEX openai_runs_active_taken ON openai_runs_active (server) WHERE server IS NOT NULL;
    CREATE INDEX openai_runs_active_due ON openai_runs_active (deadline) WHERE server IS NULL;
    CREATE INDEX openai_runs_active_owners ON openai_runs_active (owner, place);
    -- Whoever resumes one reads its state, which may be damaged, and is not read here.
    INSERT INTO openai_runs_active (thread, run, owner, deadline)
        SELECT r.list, s.id, s.owner, 0 FROM openai_runs_objects s
        JOIN openai_runs_objects r ON r.kind = 'run' AND r.id = s.id
        WHERE s.kind = 'run_state' ORDER BY s.place;
    """,
    """
    CREATE TABLE openai_runs_contents (              -- of files
        key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        file text COLLATE "C" UNIQUE,                -- its ID; NULL while the content is being received
        size bigint NOT NULL DEFAULT 0,              -- bytes
        written_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 70);
    CREATE INDEX openai_runs_contents_drafts ON openai_runs_contents (key) WHERE file IS NULL;
    CREATE TABLE openai_runs_pieces (
        content bigint NOT NULL REFERENCES openai_runs_contents ON DELETE CASCADE,
        number integer NOT NULL,                     -- from 0 on
        data bytea NOT NULL,
        PRIMARY KEY (content, number)
    );
    ALTER TABLE openai_runs_pieces ALTER COLUMN data SET STORAGE EXTERNAL;  -- many files are compressed already

    CREATE TABLE openai_runs_indexing (              -- vector stores for which a server does the jobs of the index
        vector_store text COLLATE "C" PRIMARY KEY,
        owner text COLLATE "C" NOT NULL,
        server bigint NOT NULL                       -- its epoch
    );
    UPDATE openai_runs_objects SET part = coalesce(substring(body FROM '"vector_store_id": *"([^"]*)"'), id)
        WHERE kind = 'index_job';
    """,
    """
    ALTER TABLE openai_runs_store ADD COLUMN oldest integer NOT NULL DEFAULT 3;  -- see `oldest`
    ALTER TABLE openai_runs_store ADD COLUMN secret text NOT NULL
        DEFAULT gen_random_uuid()::text || gen_random_uuid()::text;              -- of all servers, 244 random bits

    CREATE TABLE openai_runs_use (                   -- what owners use, as far as each server has counted it
        server bigint NOT NULL,                      -- the epoch under which it has opened the store
        what text COLLATE "C" NOT NULL,
        owner text COLLATE "C" NOT NULL,
        since double precision NOT NULL,             -- when the window began, in Unix seconds
        lasts double precision NOT NULL,             -- seconds
        number bigint NOT NULL,                      -- since then
        noted_at timestamptz NOT NULL DEFAULT statement_timestamp(),
        PRIMARY KEY (server, what, owner, since)
    ) WITH (fillfactor = 70);
    CREATE INDEX openai_runs_use_noted ON openai_runs_use (noted_at);
    """,
)

#: The versions whose SQL only adds to the one before: tables, indexes, and columns that have a default or may be NULL.
#: A server that knows the one before goes on with the tables, and can start on them, while others are updated. All else
#: breaks: a column or a table that goes, has another name or another meaning, or has to be written by all.
ADDING: Final = frozenset({4})


def oldest() -> int:
    """The oldest version that a process may know to use tables of the latest one."""
    return max(version for version in range(1, len(MIGRATIONS) + 1) if version not in ADDING)


#: Kinds whose rows have a version, which counts the commits that change such an object or something in it.
SCOPES: Final = ("thread", "assistant", "vector_store", "file")

#: Kinds that are looked through at each start, and have an index for that.
FEW: Final = ("file", "run_state", "vector_store", "index_job")

_MAX_DELETED: Final = 10_000  # deletions: more than a client makes between two pages
_MAX_SERVERS: Final = 1_000  # rows of processes that are over, for whoever looks into what happened

#: Of our own errors: in `WRITE`, this process's row is over, an idempotency key is there already, or the commit rests
#: on what another process has changed.
IS_OVER: Final = "OR001"
KEY_USED: Final = "OR002"
IS_STALE: Final = "OR003"

#: Settings of each session. Every statement has an index: a planner that has no statistics yet, or old ones, must not
#: read the whole table instead, nor compile what it believes to be expensive. The server notices within seconds that a
#: machine is gone, and lets go of its lock; an idle session stays, unless it has begun a transaction, for whose locks
#: others may wait.
SETTINGS: Final = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "5000",  # milliseconds
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",  # milliseconds
}
SET_UP: Final = "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SETTINGS.items())
#: Of the session that writes: commits survive a power cut, whatever the default is, unless that is even stricter.
SET_UP_WRITER: Final = """
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""

_KEY: Final = "hashtextextended('openai_runs store in ' || current_schema(), 0)"
#: Held while tables are updated, until the end of the transaction.
LOCK_UPDATE: Final = f"SELECT pg_advisory_xact_lock({_KEY} # 1)"
#: Held by the session that writes as long as it lives: by one alone, or by all those that share the store.
LOCK: Final = f"SELECT pg_advisory_lock({_KEY})"
UNLOCK: Final = f"SELECT pg_advisory_unlock({_KEY})"
LOCK_SHARED: Final = f"SELECT pg_advisory_lock_shared({_KEY})"
UNLOCK_SHARED: Final = f"SELECT pg_advisory_unlock_shared({_KEY})"
#: Likewise, by the one session that writes for an epoch.
LOCK_EPOCH: Final = "SELECT pg_advisory_lock(hashtext('openai_runs server in ' || current_schema()), %s::integer)"
#: Who has the lock: its address, if it may be seen, and since when it is connected.
HOLDER: Final = f"""
    SELECT host(client_addr), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ')
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = {_KEY}
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
#: Ends a session that this process has lost, and the server not yet: it would keep the lock.
END_LOST: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = current_setting('application_name') AND pid <> pg_backend_pid()
"""

ENCODING: Final = "SELECT current_setting('server_encoding')"
HAS_TABLES: Final = "SELECT to_regclass('openai_runs_store') IS NOT NULL"
#: The version of the tables, and the oldest one that a process may know to use them.
VERSION: Final = """
    SELECT version, coalesce((to_jsonb(s) ->> 'oldest')::integer, version) FROM openai_runs_store s
"""
SET_VERSION: Final = "UPDATE openai_runs_store SET version = %s, oldest = %s"
ID: Final = "SELECT id::text, secret FROM openai_runs_store"

#: One process is over, or all are.
END_SELF: Final = "UPDATE openai_runs_servers SET is_over = true WHERE epoch = %s"
END_OTHERS: Final = "UPDATE openai_runs_servers SET is_over = true WHERE NOT is_over"
FORGET_OLD: Final = f"""
    DELETE FROM openai_runs_servers
    WHERE is_over AND epoch <= (SELECT max(epoch) FROM openai_runs_servers) - {_MAX_SERVERS}
"""
#: Nobody executes the runs of processes that are over.
FREE: Final = """
    UPDATE openai_runs_active a SET server = NULL
    FROM openai_runs_servers s WHERE s.epoch = a.server AND s.is_over
"""
NEW_EPOCH: Final = "INSERT INTO openai_runs_servers DEFAULT VALUES RETURNING epoch"
STATE: Final = "SELECT is_over, written FROM openai_runs_servers WHERE epoch = %s"

_INTERNAL: Final = ", ".join(f"'{NAMES[kind]}'" for kind in INTERNAL)

#: Creates a function that applies changes, one after the other, and notes their number. It is temporary: it is not in
#: the database, and has no version.
FUNCTION: Final = f"""
CREATE FUNCTION pg_temp.openai_runs_write(
    this_server bigint, number bigint, index jsonb, bodies bytea, scopes jsonb
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    change jsonb;
    body_text text;
    changed_kind text;
    changed_id text;
    contained text;
    has_deleted boolean := false;
BEGIN
    UPDATE openai_runs_servers SET written = number WHERE epoch = this_server AND NOT is_over;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another process has opened the store' USING ERRCODE = '{IS_OVER}';
    END IF;
    -- In one order everywhere, so that two processes do not wait for each other.
    FOR change IN SELECT s FROM jsonb_array_elements(scopes) s ORDER BY s ->> 1 LOOP
        UPDATE openai_runs_objects o SET version = o.version + 1
            WHERE o.kind = change ->> 0 AND o.id = change ->> 1
            AND (change ->> 2 IS NULL OR o.version = (change ->> 2)::bigint);
        IF NOT FOUND AND change ->> 2 IS NOT NULL THEN
            RAISE EXCEPTION 'another process has changed %', change ->> 1 USING ERRCODE = '{IS_STALE}';
        END IF;
    END LOOP;
    FOR i IN 0 .. jsonb_array_length(index) - 1 LOOP
        change := index -> i;
        changed_kind := change ->> 0;
        changed_id := change ->> 1;
        IF changed_kind = 'claim' THEN
            UPDATE openai_runs_active a SET
                server = CASE WHEN change ->> 2 IS NOT NULL THEN this_server END,
                is_waiting = change ->> 3 IS NOT NULL,
                reader = CASE change ->> 4 WHEN 'yes' THEN this_server WHEN 'no' THEN NULL ELSE a.reader END
            WHERE a.run = changed_id;
            CONTINUE;
        END IF;
        IF change -> 6 IS NOT NULL THEN
            body_text := convert_from(substr(bodies, (change ->> 6)::integer, (change ->> 7)::integer), 'UTF8');
            INSERT INTO openai_runs_objects AS o (kind, id, owner, list, history, part, body)
            VALUES (
                changed_kind, changed_id, change ->> 2, change ->> 3, change ->> 4, change ->> 5, body_text
            )
            ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, body = excluded.body
                WHERE o.kind <> 'used_key';
            IF NOT FOUND THEN
                RAISE EXCEPTION 'this idempotency key was used before' USING ERRCODE = '{KEY_USED}';
            END IF;
            IF changed_kind = 'run_state' THEN
                INSERT INTO openai_runs_active AS a (thread, run, owner, deadline)
                VALUES (
                    body_text::json ->> 'thread_id', changed_id, change ->> 2,
                    (body_text::json ->> 'deadline')::double precision
                )
                ON CONFLICT (run) DO UPDATE SET deadline = excluded.deadline;
            END IF;
            CONTINUE;
        END IF;
        IF changed_kind NOT IN ({_INTERNAL}) THEN
            INSERT INTO openai_runs_deleted (kind, id, list, place)
                SELECT o.kind, o.id, o.list, o.place FROM openai_runs_objects o
                WHERE o.kind = changed_kind AND o.id = changed_id AND o.list IS NOT NULL
            ON CONFLICT (kind, id, list) DO UPDATE SET place = excluded.place, number = DEFAULT;
            has_deleted := true;
        END IF;
        DELETE FROM openai_runs_objects o WHERE o.kind = changed_kind AND o.id = changed_id;
        IF changed_kind = 'run_state' THEN
            DELETE FROM openai_runs_active a WHERE a.run = changed_id;
        ELSIF changed_kind = 'thread' THEN
            DELETE FROM openai_runs_active a WHERE a.thread = changed_id;
            FOR contained IN SELECT o.id FROM openai_runs_objects o WHERE o.kind = 'run' AND o.list = changed_id LOOP
                DELETE FROM openai_runs_objects o WHERE o.kind = 'run_state' AND o.id = contained;
                DELETE FROM openai_runs_objects o WHERE o.kind = 'run_step' AND o.list = contained;
            END LOOP;
            DELETE FROM openai_runs_objects o WHERE o.kind = 'run' AND o.list = changed_id;
            DELETE FROM openai_runs_objects o WHERE o.kind = 'message' AND o.list = changed_id;
        ELSIF changed_kind = 'vector_store' THEN
            FOR contained IN
                SELECT o.id FROM openai_runs_objects o WHERE o.kind = 'vector_store_entry' AND o.list = changed_id
            LOOP
                DELETE FROM openai_runs_objects o WHERE o.kind = 'file_use' AND o.id = contained;
                DELETE FROM openai_runs_objects o WHERE o.kind = 'index_job' AND o.id = contained;
            END LOOP;
            DELETE FROM openai_runs_objects o WHERE o.kind = 'vector_store_entry' AND o.list = changed_id;
            DELETE FROM openai_runs_objects o WHERE o.kind = 'file_batch' AND o.list = changed_id;
            DELETE FROM openai_runs_objects o WHERE o.kind = 'batch_files' AND o.list = changed_id;
        END IF;
    END LOOP;
    IF has_deleted THEN
        DELETE FROM openai_runs_deleted d
        WHERE d.number <= (SELECT max(m.number) FROM openai_runs_deleted m) - {_MAX_DELETED};
    END IF;
END
$function$
"""
#: Writes a group of changes in one transaction; see `index_and_bodies`.
WRITE: Final = "SELECT pg_temp.openai_runs_write(%s::bigint, %s::bigint, %s::jsonb, %b, %s::jsonb)"

READ: Final = """
    SELECT o.kind, o.id, o.owner, convert_to(o.body, 'UTF8')
    FROM unnest(%(kinds)s::text[], %(ids)s::text[]) AS wanted (kind, id)
    JOIN openai_runs_objects o ON o.kind = wanted.kind AND o.id = wanted.id
"""


def _sized(members: str, order: str) -> str:
    """The next objects as ``sized``: at most ``limit``; each with its number, and the bytes so far.

    The size of a body is known without reading it.
    """
    return f"""
        walk AS (
            SELECT place, kind, id, owner, body, octet_length(body) AS size FROM openai_runs_objects
            WHERE {members} ORDER BY {order} LIMIT %(limit)s::bigint
        ),
        sized AS (
            SELECT *, sum(size) OVER so_far AS bytes, row_number() OVER so_far AS number FROM walk
            WINDOW so_far AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
        )
    """


#: None after the one that reaches ``bytes``, but two if there are two: so it is known whether there are more.
_FITS: Final = "(number <= 2 OR bytes - size < %(bytes)s::bigint)"
_COLUMNS: Final = "bytes, kind, id, owner, convert_to(body, 'UTF8')"


@cache
def page(*, from_the_end: bool, of_part: bool, crosses_lists: bool) -> str:
    """Find the places of two cursors, and the objects between them.

    The planner does not know which index is the one for a condition. An expression, such as ``list || ''``, has none,
    and leaves it no choice; so does the index of ``place + 0``, which is for those only who walk through all lists.
    """

    def place(cursor: str) -> str:
        if crosses_lists:
            return f"""(SELECT place FROM openai_runs_objects
                WHERE kind = %(kind)s AND id = %({cursor})s AND part || '' = %(part)s)"""
        return f"""coalesce(
            (SELECT place FROM openai_runs_objects
                WHERE kind = %(kind)s AND id = %({cursor})s AND list || '' = %(list)s),
            (SELECT place FROM openai_runs_deleted WHERE kind = %(kind)s AND id = %({cursor})s AND list = %(list)s)
        )"""

    members = "kind = %(kind)s AND list = %(list)s"
    if of_part:
        members = "part = %(part)s AND kind || '' = %(kind)s" + " AND list || '' = %(list)s" * (not crosses_lists)
    low = f"CASE WHEN %(low)s::text IS NULL THEN 0 ELSE {place('low')} END"
    high = f"CASE WHEN %(high)s::text IS NULL THEN {2**63 - 1} ELSE {place('high')} END"
    between = "place > (SELECT low FROM bounds) AND place < (SELECT high FROM bounds)"
    return f"""
        WITH bounds AS MATERIALIZED (SELECT {low} AS low, {high} AS high),
        {_sized(f"{members} AND {between}", "place DESC" if from_the_end else "place")}
        SELECT low, high, {_COLUMNS} FROM bounds LEFT JOIN sized ON {_FITS} ORDER BY number
    """


@cache
def piece(members: str, place: str = "place") -> str:
    """The next objects between two places."""
    return f"""
        WITH {_sized(f"{members} AND {place} BETWEEN %(start)s AND %(end)s", place)}
        SELECT place, {_COLUMNS} FROM sized WHERE {_FITS} ORDER BY number
    """


def piece_of_kinds(kinds: tuple[str, ...]) -> str:
    """The next objects of some kinds. One alone may have an index of its own."""
    if len(kinds) == 1 and kinds[0] in FEW:
        return piece(f"kind = '{kinds[0]}'")
    return piece(f"kind IN ({', '.join(map(repr, kinds))})", "place + 0")


PIECE_OF_HISTORY: Final = piece("history = %(thread_id)s")
UNFINISHED: Final = "kind = 'run_state'"
PIECE_UNFINISHED: Final = piece(UNFINISHED)
PLACES_UNFINISHED: Final = f"SELECT place FROM openai_runs_objects WHERE {UNFINISHED} ORDER BY place"
OWNER_AND_ID: Final = "SELECT owner, id FROM openai_runs_objects WHERE place + 0 = %(place)s"
HIGHEST_PLACE: Final = "SELECT coalesce(max(place + 0), 0) FROM openai_runs_objects"
COUNT: Final = "SELECT count(*) FROM openai_runs_objects"
COUNT_OF_MESSAGES: Final = "SELECT count(*) FROM openai_runs_objects WHERE kind = 'message' AND list = %(thread_id)s"
START_OF_HISTORY: Final = """
    SELECT place FROM openai_runs_objects
    WHERE history = %(thread_id)s AND kind || '' = 'message' AND part IS DISTINCT FROM %(besides_run)s
    ORDER BY place DESC LIMIT 1 OFFSET greatest(%(last_messages)s::bigint - 1, 0)
"""
