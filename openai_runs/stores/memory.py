"""`MemoryStore`: a store in memory, lost when the process ends."""

from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import count
from operator import itemgetter
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar, get_args

from attrs import define, field

from openai_runs import _wire
from openai_runs._slices import Work, in_slices, in_slices_if_long
from openai_runs.errors import HistoryTooLargeError, KeyUsedError, UnknownCursorError
from openai_runs.models.message import Message, TextContent
from openai_runs.models.run import Run
from openai_runs.models.run_step import FunctionStepCall, RunStep, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFileBatch
from openai_runs.stores.emptying import MESSAGES, RUNS, counted
from openai_runs.stores.file_contents import FileContents, MemoryContents
from openai_runs.stores.records import (
    INTERNAL,
    MAX_HISTORY,
    BatchFiles,
    Change,
    Delete,
    FileUse,
    IndexJob,
    PageQuery,
    Record,
    RunState,
    Stored,
    UsedKey,
    VectorStoreEntry,
)
from openai_runs.stores.store import group_of, part_of
from openai_runs.stores.table_rows import NAMES

T = TypeVar("T", bound=Stored)


@define
class _Index:
    """The IDs of a list, in order of creation. Places only grow, so one is found by bisection."""

    places: list[int] = field(factory=list)
    ids: list[str] = field(factory=list)

    def append(self, place: int, id: str) -> None:
        self.places.append(place)
        self.ids.append(id)

    def remove(self, place: int) -> None:
        at = bisect_left(self.places, place)
        del self.places[at], self.ids[at]

    def page(
        self, limit: int, *, newest_first: bool, after: int | None, before: int | None
    ) -> tuple[Sequence[str], bool]:
        """The IDs of a page between two places, and whether there are more."""
        from_the_end = newest_first != (before is not None and after is None)
        low, high = (before, after) if newest_first else (after, before)
        start = 0 if low is None else bisect_right(self.places, low)
        stop = len(self.places) if high is None else bisect_left(self.places, high)
        page_ids = (
            self.ids[max(start, stop - limit) : stop] if from_the_end else self.ids[start : min(start + limit, stop)]
        )
        return page_ids[::-1] if newest_first else page_ids, stop - start > limit


#: How many deleted objects can still be cursors: more than a client deletes between two pages.
_MAX_DELETED: Final = 10_000

_HISTORY: Final = "history"  # key of the index that `history` reads; it is not paged
_PART: Final = "part "  # and its name: key of the index of a part of a list
_IndexKey: TypeAlias = tuple[type[Any] | str, str]


@define
class MemoryStore:
    """Keeps objects until the process ends. Engines may use it one after the other: the next one resumes the runs."""

    _records: dict[type[Any], dict[str, Record[Any]]] = field(
        factory=lambda: {kind: {} for kind in get_args(Stored)},
        init=False,
    )
    _places: dict[tuple[type[Any], str], int] = field(factory=dict, init=False)
    #: The indexes that an object is in: those of its first record. One that is put again stays where it was.
    _index_keys: dict[tuple[type[Any], str], Sequence[_IndexKey]] = field(factory=dict, init=False)
    _indexes: dict[_IndexKey, _Index] = field(factory=dict, init=False)
    _deleted: OrderedDict[tuple[type[Any], str, str], int] = field(factory=OrderedDict, init=False)
    _next_place: Iterator[int] = field(factory=count, init=False)
    contents: FileContents = field(factory=MemoryContents, init=False)  #: of the files

    @property
    def sharing(self) -> None:
        """``None``: one engine has the store."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Keep all objects, for the next engine."""

    def stop_waiting(self) -> None:
        """No commit waits."""

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply all changes without interruption; only the keys are computed before, in slices.

        Raises:
            KeyUsedError: A `UsedKey` among the changes is in the store already; nothing was stored.
        """
        indexed = await in_slices_if_long(_with_index_keys(changes), len(changes))
        used = self._records[UsedKey]
        if any(
            isinstance(change, Record) and change.value.__class__ is UsedKey and change.value.id in used
            for change in changes
        ):
            raise KeyUsedError
        for change, index_keys in indexed:
            if isinstance(change, Delete):
                self._delete(change.kind, change.id)
            elif isinstance(change, Record):
                self._put(change, index_keys)

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object."""
        return self._records[kind].get(id)

    async def known(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object; no other server changes it."""
        return await self.get(kind, id)

    def text_of(self, _: Stored) -> None:
        """No object is kept as JSON text."""
        return

    async def page(
        self, kind: type[T], group: str, query: PageQuery, *, part: str | None = None
    ) -> tuple[Sequence[Record[T]], bool]:
        """Read a page of a list."""
        key = (kind, group) if part is None else (_PART + part, group)
        after = self._cursor(kind, key, "after", query.after)
        before = self._cursor(kind, key, "before", query.before)
        index = self._indexes.get(key)
        if index is None:
            return [], False
        ids, more = index.page(query.limit, newest_first=query.order == "desc", after=after, before=before)
        records = self._records[kind]
        return [records[id] for id in ids], more

    async def count_messages(self, thread_id: str, enough: int) -> int:  # noqa: ARG002  # see `Store`
        """Count the messages of a thread."""
        index = self._indexes.get((Message, thread_id))
        return 0 if index is None else len(index.ids)

    async def count_bytes(self, owner: str) -> int:
        """Count the bytes of an owner's threads and messages."""
        return await in_slices(self._counting_bytes(owner))

    def _counting_bytes(self, owner: str) -> Work[int]:
        total, threads, messages = 0, self._records[Thread], self._records[Message]
        for thread_id in self._ids(Thread, owner):
            found = [threads.get(thread_id), *(messages.get(id) for id in self._ids(Message, thread_id))]
            for record in found:
                if record is not None:  # else it was deleted between two slices
                    total += len(_wire.encode(record.value))
                yield
        return total

    def _ids(self, kind: type[Any], group: str) -> Sequence[str]:
        index = self._indexes.get((kind, group))
        return () if index is None else index.ids[:]

    async def owners_of_threads(self) -> Sequence[str]:
        """The labels of all owners who have threads."""
        return [group for kind, group in self._indexes if kind is Thread]

    async def empty_some(self, thread_id: str) -> Counter[str] | None:
        """Delete some of what is in a thread, the oldest first; see `Store`."""
        runs = self._ids(Run, thread_id)
        if thread_id not in self._records[Thread] or (runs and runs[-1] in self._records[RunState]):
            return None
        chosen: list[tuple[type[Any], str]] = [(Message, id) for id in self._ids(Message, thread_id)[:MESSAGES]]
        for run_id in runs[:RUNS]:
            chosen += [(RunStep, id) for id in self._ids(RunStep, run_id)]
            chosen += [(kind, run_id) for kind in (RunState, Run) if run_id in self._records[kind]]
        for kind, id in chosen:
            self._remove(kind, id)
        return counted((NAMES[kind], id) for kind, id in chosen)

    async def history(
        self, thread_id: str, *, last_messages: int | None = None, besides_run: str = ""
    ) -> Sequence[Record[Message] | Record[RunStep]]:
        """Read a thread's messages and the steps with tool calls between them."""
        return await in_slices(self._reading_history(thread_id, last_messages, besides_run))

    def _reading_history(self, thread_id: str, last_messages: int | None, besides_run: str) -> Work[list[Record[Any]]]:
        index = self._indexes.get((_HISTORY, thread_id))
        messages, steps = self._records[Message], self._records[RunStep]
        found: list[Record[Any]] = []
        size = 0
        for id in reversed(index.ids[:] if index else []):
            if last_messages == 0:
                break
            record = messages.get(id) or steps.get(id)
            if record is None:  # deleted between two slices
                continue
            if last_messages is not None and isinstance(record.value, Message):
                last_messages -= record.value.run_id != besides_run
            found.append(record)
            size += _text_size(record.value)
            if size > MAX_HISTORY:
                raise HistoryTooLargeError(MAX_HISTORY)
            yield
        return found[::-1]

    async def unfinished(self) -> Sequence[Record[RunState]]:
        """List the run states."""
        return list(self._records[RunState].values())

    async def everything(self, *kinds: type[T]) -> AsyncGenerator[Record[T]]:
        """Iterate over all objects of some kinds."""
        records = [(self._places[kind, id], record) for kind in kinds for id, record in self._records[kind].items()]
        for _, record in sorted(records, key=itemgetter(0)):
            yield record

    def _put(self, record: Record[Any], index_keys: Sequence[_IndexKey]) -> None:
        kind, id = type(record.value), record.value.id
        self._records[kind][id] = record
        if (kind, id) not in self._places:
            place = self._places[kind, id] = next(self._next_place)
            self._index_keys[kind, id] = index_keys
            for key in index_keys:
                if (index := self._indexes.get(key)) is None:
                    index = self._indexes[key] = _Index()
                index.append(place, id)

    def _delete(self, kind: type[Any], id: str) -> None:
        if id not in self._records[kind]:
            return
        if kind not in INTERNAL and (group := self._group(kind, id)) is not None:
            self._deleted[kind, group, id] = self._places[kind, id]
            if len(self._deleted) > _MAX_DELETED:
                self._deleted.popitem(last=False)
        self._remove(kind, id)
        if kind is Thread:
            self._remove_all(Message, id)
            for run_id in self._remove_all(Run, id):
                self._remove_all(RunStep, run_id)
                if run_id in self._records[RunState]:
                    self._remove(RunState, run_id)
        if kind is VectorStore:
            self._remove_within_vector_store(id)

    def _remove_within_vector_store(self, id: str) -> None:
        self._remove_all(VectorStoreFileBatch, id)
        self._remove_all(BatchFiles, id)
        for entry_id in self._remove_all(VectorStoreEntry, id):
            for kind in (FileUse, IndexJob):
                if entry_id in self._records[kind]:
                    self._remove(kind, entry_id)

    def _remove_all(self, kind: type[Any], group: str) -> Sequence[str]:
        ids = list(self._indexes[kind, group].ids) if (kind, group) in self._indexes else []
        for id in reversed(ids):  # from the end, where removing an item from a list is cheap
            self._remove(kind, id)
        return ids

    def _remove(self, kind: type[Any], id: str) -> None:
        del self._records[kind][id]
        place = self._places.pop((kind, id))
        for key in self._index_keys.pop((kind, id)):
            index = self._indexes[key]
            index.remove(place)
            if not index.ids:
                del self._indexes[key]

    def _group(self, kind: type[Any], id: str) -> str | None:
        """The list that an object is in, if any."""
        index_keys = self._index_keys[kind, id]
        return index_keys[0][1] if index_keys else None

    def _cursor(self, kind: type[Any], key: _IndexKey, param: str, id: str | None) -> int | None:
        if id is None:
            return None
        _, group = key
        if id in self._records[kind] and (key in self._index_keys[kind, id] or self._group(kind, id) == group):
            return self._places[kind, id]
        if (place := self._deleted.get((kind, group, id))) is not None:
            return place
        raise UnknownCursorError(param)


def _text_size(value: Message | RunStep) -> int:
    """The length of an object's texts, which is nearly all of a large object."""
    if isinstance(value, Message):
        return sum(len(part.text.value) for part in value.content if isinstance(part, TextContent))
    calls = value.step_details.tool_calls if isinstance(value.step_details, ToolCalls) else ()
    functions = [call.function for call in calls if isinstance(call, FunctionStepCall)]
    return sum(len(function.arguments) + len(function.output or "") for function in functions)


def _with_index_keys(changes: Sequence[Change]) -> Work[list[tuple[Change, Sequence[_IndexKey]]]]:
    result = []
    for change in changes:
        result.append((change, _index_keys_of(change) if isinstance(change, Record) else ()))
        yield
    return result


def _index_keys_of(record: Record[Any]) -> Sequence[_IndexKey]:
    value = record.value
    group = group_of(record)
    index_keys: list[_IndexKey] = [] if group is None else [(type(value), group)]
    if group is not None and (part := part_of(record)) is not None:
        index_keys.append((_PART + part, "" if isinstance(value, Run) else group))
    if isinstance(value, Message) or (isinstance(value, RunStep) and value.type == "tool_calls"):
        index_keys.append((_HISTORY, value.thread_id))
    return index_keys
