"""`MemoryStore`: objects are kept for as long as the process lives."""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from attrs import define, field

from openai_runs._slices import Work, in_slices, in_slices_if_long
from openai_runs.errors import HistoryTooLargeError, UnknownCursorError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message, TextContent
from openai_runs.models.run import Run
from openai_runs.models.run_step import FunctionStepCall, RunStep, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.stores.records import MAX_HISTORY, Change, Delete, PageQuery, Record, RunState, Stored
from openai_runs.stores.store import group_of

T = TypeVar("T", bound=Stored)


@define
class _Line:
    """IDs in order of their places. Places only grow, so an ID is found by bisection."""

    places: list[int] = field(factory=list)
    ids: list[str] = field(factory=list)

    def append(self, place: int, id: str) -> None:
        self.places.append(place)
        self.ids.append(id)

    def remove(self, place: int) -> None:
        at = bisect_left(self.places, place)
        del self.places[at], self.ids[at]

    def cut(
        self, limit: int, *, newest_first: bool, after: int | None, before: int | None
    ) -> tuple[Sequence[str], bool]:
        """The IDs between two places, and whether there are more."""
        from_the_end = newest_first != (before is not None and after is None)
        low, high = (before, after) if newest_first else (after, before)
        start = 0 if low is None else bisect_right(self.places, low)
        stop = len(self.places) if high is None else bisect_left(self.places, high)
        found = (
            self.ids[max(start, stop - limit) : stop] if from_the_end else self.ids[start : min(start + limit, stop)]
        )
        return found[::-1] if newest_first else found, stop - start > limit


#: How many deleted objects still do as cursors: more than anybody deletes between two pages.
_REMEMBERED: Final = 10_000

_HISTORY: Final = "history"  # lines that are not paged: what `history` reads, and a run's messages
_OF_RUN: Final = "of run "  # and its ID
_LineKey: TypeAlias = tuple[type[Any] | str, str]


@define
class MemoryStore:
    """Keeps objects for as long as the process lives. An engine may take over where another one left."""

    _records: dict[type[Any], dict[str, Record[Any]]] = field(
        factory=lambda: {kind: {} for kind in (Assistant, Thread, Message, Run, RunStep, RunState)}, init=False
    )
    _places: dict[tuple[type[Any], str], int] = field(factory=dict, init=False)
    _lines: dict[_LineKey, _Line] = field(factory=dict, init=False)
    _deleted: OrderedDict[tuple[type[Any], str, str], int] = field(factory=OrderedDict, init=False)
    _next_place: Iterator[int] = field(factory=count, init=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Keep everything."""

    async def commit(self, changes: Sequence[Change]) -> None:
        """Do all of it at once, after what can be done before."""
        for change, lines in await in_slices_if_long(_with_lines(changes), len(changes)):
            if isinstance(change, Delete):
                self._delete(change.kind, change.id)
            else:
                self._put(change, lines)

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Find an object."""
        return self._records[kind].get(id)

    async def page(
        self, kind: type[T], group: str, query: PageQuery, *, run_id: str | None = None
    ) -> tuple[Sequence[Record[T]], bool]:
        """Read a part of a list."""
        after = self._cursor(kind, group, "after", query.after)
        before = self._cursor(kind, group, "before", query.before)
        line = self._lines.get((kind, group) if run_id is None else (_OF_RUN + run_id, group))
        if line is None:
            return [], False
        ids, more = line.cut(query.limit, newest_first=query.order == "desc", after=after, before=before)
        records = self._records[kind]
        return [records[id] for id in ids], more

    async def count_messages(self, thread_id: str, enough: int) -> int:  # noqa: ARG002  # see `Store`
        """Count the messages of a thread."""
        line = self._lines.get((Message, thread_id))
        return 0 if line is None else len(line.ids)

    async def history(
        self, thread_id: str, *, last_messages: int | None = None, besides_run: str = ""
    ) -> Sequence[Record[Message] | Record[RunStep]]:
        """Read a thread's messages and the steps with tool calls between them."""
        return await in_slices(self._reading_history(thread_id, last_messages, besides_run))

    def _reading_history(self, thread_id: str, last_messages: int | None, besides_run: str) -> Work[list[Record[Any]]]:
        line = self._lines.get((_HISTORY, thread_id))
        messages, steps = self._records[Message], self._records[RunStep]
        found: list[Record[Any]] = []
        size = 0
        for id in reversed(line.ids[:] if line else []):
            if last_messages == 0:
                break
            record = messages.get(id) or steps.get(id)
            if record is None:  # deleted between two turns
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
        """List what there is of run states."""
        return list(self._records[RunState].values())

    async def everything(self, kind: type[T]) -> AsyncGenerator[Record[T]]:
        """Go through all objects of a kind."""
        for record in list(self._records[kind].values()):
            yield record

    def _put(self, record: Record[Any], lines: Sequence[_LineKey]) -> None:
        kind, id = type(record.value), record.value.id
        self._records[kind][id] = record
        if (kind, id) not in self._places:
            place = self._places[kind, id] = next(self._next_place)
            for key in lines:
                if (line := self._lines.get(key)) is None:
                    line = self._lines[key] = _Line()
                line.append(place, id)

    def _delete(self, kind: type[Any], id: str) -> None:
        record = self._records[kind].get(id)
        if record is None:
            return
        if (group := group_of(record)) is not None:
            self._deleted[kind, group, id] = self._places[kind, id]
            if len(self._deleted) > _REMEMBERED:
                self._deleted.popitem(last=False)
        self._forget(kind, id)
        if kind is Thread:
            self._forget_all(Message, id)
            for run_id in self._forget_all(Run, id):
                self._forget_all(RunStep, run_id)
                if run_id in self._records[RunState]:
                    self._forget(RunState, run_id)

    def _forget_all(self, kind: type[Any], group: str) -> Sequence[str]:
        ids = list(self._lines[kind, group].ids) if (kind, group) in self._lines else []
        for id in reversed(ids):  # from the end, where taking an item out of a list costs nothing
            self._forget(kind, id)
        return ids

    def _forget(self, kind: type[Any], id: str) -> None:
        record, place = self._records[kind].pop(id), self._places.pop((kind, id))
        for key in _lines_of(record):
            line = self._lines[key]
            line.remove(place)
            if not line.ids:
                del self._lines[key]

    def _cursor(self, kind: type[Any], group: str, param: str, id: str | None) -> int | None:
        if id is None:
            return None
        record = self._records[kind].get(id)
        if record is not None and group_of(record) == group:
            return self._places[kind, id]
        if (place := self._deleted.get((kind, group, id))) is not None:
            return place
        raise UnknownCursorError(param)


def _text_size(value: Message | RunStep) -> int:
    """The length of its texts, which is nearly all there is to an object that is large."""
    if isinstance(value, Message):
        return sum(len(part.text.value) for part in value.content if isinstance(part, TextContent))
    calls = value.step_details.tool_calls if isinstance(value.step_details, ToolCalls) else ()
    functions = [call.function for call in calls if isinstance(call, FunctionStepCall)]
    return sum(len(function.arguments) + len(function.output or "") for function in functions)


def _with_lines(changes: Sequence[Change]) -> Work[list[tuple[Change, Sequence[_LineKey]]]]:
    found = []
    for change in changes:
        found.append((change, () if isinstance(change, Delete) else _lines_of(change)))
        yield
    return found


def _lines_of(record: Record[Any]) -> Sequence[_LineKey]:
    value = record.value
    group = group_of(record)
    lines: list[_LineKey] = [] if group is None else [(type(value), group)]
    if isinstance(value, Message):
        lines.append((_HISTORY, value.thread_id))
        if value.run_id is not None:
            lines.append((_OF_RUN + value.run_id, value.thread_id))
    elif isinstance(value, RunStep) and value.type == "tool_calls":
        lines.append((_HISTORY, value.thread_id))
    return lines
