# ruff: noqa: S608  # only constants of the package are put into SQL
"""The SQL by which servers that share a `PostgresStore` claim the index jobs of vector stores.

A claim is a row with the epoch of a server. That of a server that is over counts for nothing: so jobs are free when
runs are, see `Lease`.
"""

from typing import Final

_IS_ALIVE: Final = """
    EXISTS (SELECT FROM openai_runs_servers s WHERE s.epoch = i.server AND NOT s.is_over)
"""

#: Takes a vector store that has jobs, in rotation among owners, as far as fewer of theirs are taken. Of several servers
#: that choose the same one, the second finds that it is taken. What a server has claimed, it may claim again, unless it
#: is among ``but``: so a claim of which it has not heard, or which it could not let go of, is in nobody's way.
CLAIM: Final = f"""
    WITH me AS MATERIALIZED (
        SELECT epoch FROM openai_runs_servers WHERE epoch = %(epoch)s AND NOT is_over FOR KEY SHARE
    ),
    taken AS MATERIALIZED (SELECT i.vector_store, i.owner, i.server FROM openai_runs_indexing i WHERE {_IS_ALIVE}),
    waiting AS MATERIALIZED (
        SELECT o.part AS vector_store, min(o.owner) AS owner, min(o.place) AS place FROM openai_runs_objects o
        WHERE o.kind = 'index_job' AND NOT o.part = ANY(%(but)s::text[]) GROUP BY o.part
    ),
    free AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY owner ORDER BY place) AS turn FROM waiting w
        WHERE NOT EXISTS (SELECT FROM taken t WHERE t.vector_store = w.vector_store AND t.server <> %(epoch)s)
    ),
    chosen AS MATERIALIZED (
        SELECT f.vector_store, f.owner FROM free f
        LEFT JOIN (SELECT owner, count(*) AS number FROM taken GROUP BY owner) t ON t.owner = f.owner
        ORDER BY f.turn + coalesce(t.number, 0), f.place LIMIT 1
    )
    INSERT INTO openai_runs_indexing AS i (vector_store, owner, server)
    SELECT chosen.vector_store, chosen.owner, me.epoch FROM chosen, me
    ON CONFLICT (vector_store) DO UPDATE SET owner = excluded.owner, server = excluded.server
        WHERE i.server = excluded.server OR NOT {_IS_ALIVE}
    RETURNING vector_store
"""
#: Lets go of one, and forgets the claims of servers that are over.
RELEASE: Final = f"""
    DELETE FROM openai_runs_indexing i
    WHERE (i.vector_store = %(vector_store)s AND i.server = %(epoch)s) OR NOT {_IS_ALIVE}
    RETURNING true
"""
