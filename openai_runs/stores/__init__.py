"""Stores keep the engine's objects and their owners: in memory, or in a file (`openai_runs.stores.sqlite`)."""

from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.records import PageQuery
from openai_runs.stores.store import Store

__all__ = ["MemoryStore", "PageQuery", "Store"]
