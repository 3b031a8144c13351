"""A store in a file, for one server."""

from openai_runs.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
