"""Finds the owners of threads in a PostgreSQL database, and empties threads: see `emptying`."""

from typing import Final

OWNERS: Final = """
    WITH RECURSIVE owners (label) AS (
        (
            SELECT list FROM openai_runs_objects WHERE kind = 'thread' AND list IS NOT NULL
            ORDER BY list LIMIT 1
        )
        UNION ALL
        SELECT (
            SELECT list FROM openai_runs_objects WHERE kind = 'thread' AND list > label ORDER BY list LIMIT 1
        ) FROM owners WHERE label IS NOT NULL
    )
    SELECT label FROM owners WHERE label IS NOT NULL
"""
#: Nothing is waited for: what another process writes or deletes at the moment is left to it, and so neither can be
#: refused because each waits for the other. No row is returned of a thread that is not idle, or that another process
#: has, and one without kind and ID if nothing was left to be deleted.
EMPTY: Final = """
    WITH held AS (
        SELECT t.id FROM openai_runs_objects t WHERE t.kind = 'thread' AND t.id = %(thread_id)s
        AND (%(version)s::bigint IS NULL OR t.version = %(version)s) AND NOT EXISTS (
            SELECT 1 FROM openai_runs_objects s WHERE s.kind = 'run_state' AND s.id = (
                SELECT r.id FROM openai_runs_objects r WHERE r.kind = 'run' AND r.list = %(thread_id)s
                ORDER BY r.place DESC LIMIT 1
            )
        ) FOR UPDATE SKIP LOCKED
    ),
    messages AS (
        SELECT kind, id, place, octet_length(body) AS size FROM openai_runs_objects
        WHERE kind = 'message' AND list = (SELECT id FROM held)
        ORDER BY place LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ),
    sized AS (SELECT kind, id, sum(size) OVER (ORDER BY place) - size AS before FROM messages),
    runs AS (
        SELECT kind, id FROM openai_runs_objects WHERE kind = 'run' AND list = (SELECT id FROM held)
        ORDER BY place LIMIT %(runs)s FOR UPDATE SKIP LOCKED
    ),
    chosen AS (
        SELECT kind, id FROM sized WHERE before < %(bytes)s
        UNION ALL
        SELECT kind, id FROM runs
        UNION ALL
        SELECT s.kind, s.id FROM runs JOIN openai_runs_objects s ON s.kind = 'run_step' AND s.list = runs.id
        UNION ALL
        SELECT 'run_state', runs.id FROM runs
    ),
    gone AS (
        DELETE FROM openai_runs_objects o USING chosen c WHERE o.kind = c.kind AND o.id = c.id RETURNING o.kind, o.id
    )
    SELECT gone.kind, gone.id FROM held LEFT JOIN gone ON true
"""
