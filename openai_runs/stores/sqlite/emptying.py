# ruff: noqa: S608  # only constants of the package are put into SQL
"""Finds the owners of threads in an SQLite file, and empties threads: see `emptying`."""

from typing import Final

from openai_runs.stores.sqlite.schema import walk

_LAST: Final = 2**63 - 1

OWNERS: Final = """
    WITH RECURSIVE owners (label) AS (
        SELECT min(list) FROM objects WHERE kind = 'thread' AND list IS NOT NULL
        UNION ALL
        SELECT (SELECT min(list) FROM objects WHERE kind = 'thread' AND list > label) FROM owners
            WHERE label IS NOT NULL
    )
    SELECT label FROM owners WHERE label IS NOT NULL
"""
IS_IDLE: Final = """
    SELECT EXISTS (SELECT 1 FROM objects WHERE kind = 'thread' AND id = :thread_id) AND NOT EXISTS (
        SELECT 1 FROM objects WHERE kind = 'run_state' AND id = (
            SELECT id FROM objects WHERE kind = 'run' AND list = :thread_id ORDER BY place DESC LIMIT 1
        )
    )
"""
_RUNS: Final = "kind = 'run' AND list = :thread_id ORDER BY place LIMIT :runs"
EMPTY: Final = f"""
    DELETE FROM objects WHERE place IN (
        SELECT place FROM ({walk("kind = 'message' AND list = :thread_id", "0", f"{_LAST}")} SELECT place FROM walk)
        UNION ALL
        SELECT place FROM (SELECT place FROM objects WHERE {_RUNS})
        UNION ALL
        SELECT place FROM objects
            WHERE kind = 'run_step' AND list IN (SELECT id FROM objects WHERE {_RUNS})
        UNION ALL
        SELECT place FROM objects
            WHERE kind = 'run_state' AND id IN (SELECT id FROM objects WHERE {_RUNS})
    ) RETURNING kind, id
"""
