"""`RecordCache`: an LRU cache of records, up to a total size."""

from collections import OrderedDict
from typing import Any, TypeAlias, TypeVar

from attrs import define, field

from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores.records import Record, Stored, UsedKey

T = TypeVar("T", bound=Stored)
_Key: TypeAlias = tuple[type[Any], str]


@define
class RecordCache:
    """Records by kind and ID. The least recently used one is dropped first.

    A thread, or a vector store, is dropped with its contents. Beside a record there is its JSON text, as it was written
    or read, so that an answer to a client need not be encoded again.
    """

    max_size: int  #: of all records together, in the unit of `put`
    _entries: OrderedDict[_Key, tuple[Record[Any], int, str, bytes | None]] = field(factory=OrderedDict, init=False)
    _within: dict[str, set[_Key]] = field(factory=dict, init=False)  # by the ID of a thread or a vector store
    _size: int = field(default=0, init=False)

    def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Return a record, if it is cached."""
        key = (kind, id)
        if (entry := self._entries.get(key)) is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def text_of(self, value: Stored) -> bytes | None:
        """The JSON text of an object, if it is cached: of this very object, and not of another state of it."""
        entry = self._entries.get((value.__class__, value.id))
        return entry[3] if entry is not None and entry[0].value is value else None

    def put(self, record: Record[Any], size: int, text: bytes | None = None) -> None:
        """Add a record, or replace the one with its kind and ID."""
        value = record.value
        if isinstance(value, UsedKey):  # as a rule never read, and there is one for each new object
            return
        key = (type(value), value.id)
        if (earlier := self._entries.get(key)) is not None:
            _, earlier_size, container, _ = earlier  # a record that is put again stays where it is
            self._size -= earlier_size
            self._entries.move_to_end(key)
        else:
            container = getattr(value, "thread_id", "") or getattr(value, "vector_store_id", "")
            self._within.setdefault(container, set()).add(key)
        self._entries[key] = (record, size, container, text)
        self._size += size
        while self._size > self.max_size:
            self._drop(next(iter(self._entries)))

    def drop(self, kind: type[Any], id: str) -> None:
        """Remove a record; with a thread or a vector store, everything in it."""
        if (kind, id) in self._entries:
            self._drop((kind, id))
        if kind in (Thread, VectorStore):
            for key in self._within.pop(id, ()):
                self._size -= self._entries.pop(key)[1]

    def clear(self) -> None:
        """Remove all records."""
        self._entries.clear()
        self._within.clear()
        self._size = 0

    def _drop(self, key: _Key) -> None:
        _, size, container, _ = self._entries.pop(key)
        self._size -= size
        keys = self._within[container]
        keys.remove(key)
        if not keys:
            del self._within[container]
