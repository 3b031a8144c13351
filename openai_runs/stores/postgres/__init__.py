"""A store in a PostgreSQL database, for one server (`PostgresStore`) or for several (`SharedPostgresStore`)."""

from openai_runs.stores.postgres.shared import SharedPostgresStore
from openai_runs.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore", "SharedPostgresStore"]
