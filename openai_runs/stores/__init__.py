"""Stores keep the engine's objects and their owners.

In memory, in a file (`openai_runs.stores.sqlite`), or in a PostgreSQL database (`openai_runs.stores.postgres`).
"""

from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.records import PageQuery
from openai_runs.stores.store import Store

__all__ = ["MemoryStore", "PageQuery", "Store"]
