"""Where the engine keeps its objects: the `Store` protocol, and `MemoryStore`."""

from typing import Protocol


class Store(Protocol):
    """Keeps objects. One engine at a time owns a store."""


class MemoryStore(Store):
    """Keeps objects for as long as the process lives."""
