"""What a run writes, put together: snapshots and deltas in; events, and messages and steps as they stand, out. No I/O.

Deltas are merged by ``index`` inside each array: strings grow; numbers, types and IDs are replaced; a new index starts
an item. A delta costs the same however long the text is already, since its parts are joined only when asked for.
"""

import copy
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any, Final, Generic, TypeVar, cast

from openai_runs import _wire
from openai_runs.errors import ProtocolError
from openai_runs.events import MessageChanged, StepChanged
from openai_runs.models.delta import MessageChanges, MessageDelta, RunStepDelta, TextContentDelta, TextDelta
from openai_runs.models.message import Message, MessageStatus, TextContent
from openai_runs.models.run_step import RunStep, RunStepStatus

_logger = logging.getLogger("openai_runs.runs")

WholeT = TypeVar("WholeT")
_Json = dict[str, Any]


class Transcript:
    """The messages and steps of one run, in the order in which they came up."""

    def __init__(self) -> None:
        self._messages: dict[str, _Growing[Message]] = {}
        self._steps: dict[str, _Growing[RunStep]] = {}

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message that has begun, with all that is known of it.

        Raises:
            ProtocolError: What the deltas say is no message.
        """
        return tuple(whole for growing in self._messages.values() if (whole := growing.whole()) is not None)

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """Every step that has begun, with all that is known of it.

        Raises:
            ProtocolError: What the deltas say is no step.
        """
        return tuple(whole for growing in self._steps.values() if (whole := growing.whole()) is not None)

    def add_text(self, id: str, index: int, value: str) -> None:
        """Take a delta of a message that adds to one text, and says nothing else."""
        (self._messages.get(id) or self._message(id)).add_text(index, value)

    def add_message_delta(self, event: MessageDelta) -> None:
        """Take a delta of a message."""
        self._message(event.id).add(_wire.dump(event.delta))

    def add_step_delta(self, event: RunStepDelta) -> None:
        """Take a delta of a step."""
        self._step(event.id).add(_wire.dump(event.delta))

    def change_message(self, message: Message, name: str) -> list[MessageDelta | MessageChanged]:
        """Take a snapshot of a message, and tell it: the text that no delta has told, then the snapshot."""
        growing = self._message(message.id)
        content = growing.merged().get("content") or []
        told = {index: _text(part) for index, part in enumerate(content)}
        now = {index: part.text.value for index, part in enumerate(message.content) if isinstance(part, TextContent)}
        if _is_open(message) and any(len(text) > len(now.get(index, "")) for index, text in told.items()):
            # The snapshot is older than the latest deltas; what they told stays, lest it be told again.
            message = _made({**_wire.dump(message), "content": content}, Message)
            now = {}
        news: list[MessageDelta | MessageChanged] = []
        for index, text in now.items():
            before = told.get(index, "")
            if not text.startswith(before):  # the snapshot has the truth, but what has been told cannot be taken back
                _logger.warning("the text of message %s is not what its deltas told", message.id)
            elif text != before:
                news.append(_text_delta(message.id, index, text[len(before) :]))
        growing.replace(message)
        return [*news, MessageChanged(message, name)]

    def change_step(self, step: RunStep, name: str) -> StepChanged:
        """Take a snapshot of a step, and tell it."""
        self._step(step.id).replace(step)
        return StepChanged(step, name)

    def catch_up(
        self, messages: Iterable[Message], steps: Iterable[RunStep]
    ) -> Iterator[MessageDelta | MessageChanged | StepChanged]:
        """Take what was fetched while no stream was to be had, and tell what is new in it."""
        for message in messages:
            known = self._message(message.id).whole()
            if known is None or (_is_open(known) and message != known):
                status = message.status or MessageStatus.COMPLETED  # plain answers leave it out
                yield from self.change_message(message, f"thread.message.{status}")
        for step in steps:
            before = self._step(step.id).whole()
            if before is None or (before.status is RunStepStatus.IN_PROGRESS and step != before):
                yield self.change_step(step, f"thread.run.step.{step.status}")

    def _message(self, id: str) -> "_Growing[Message]":
        if (growing := self._messages.get(id)) is None:
            growing = self._messages[id] = _Growing(Message)
        return growing

    def _step(self, id: str) -> "_Growing[RunStep]":
        if (growing := self._steps.get(id)) is None:
            growing = self._steps[id] = _Growing(RunStep)
        return growing


def _is_open(message: Message) -> bool:
    return message.status is MessageStatus.IN_PROGRESS


def _text(part: Any) -> str:
    """The text of a content part, as JSON; empty if it has none."""
    text = part.get("text") if isinstance(part, dict) else None
    value = text.get("value") if isinstance(text, dict) else None
    return value if isinstance(value, str) else ""


def _text_delta(id: str, index: int, value: str) -> MessageDelta:
    text = TextDelta(value=value, absent=frozenset({"annotations"}))
    return MessageDelta(id=id, delta=MessageChanges(content=(TextContentDelta(index=index, text=text),)))


class _Growing(Generic[WholeT]):
    """A snapshot, and the deltas since."""

    __slots__ = ("_behind", "_deltas", "_index", "_kind", "_merged", "_parts", "_whole")

    def __init__(self, kind: type[WholeT]) -> None:
        self._kind: Final = kind
        self._whole: WholeT | None = None
        self._behind = False  # `_whole`, behind `_merged`
        self._merged: _Json | None = None  # as it is on the wire; ``None`` while `_whole` says it all
        self._deltas: list[_Json] = []
        # Pieces of text that come one after the other are kept as they are, and not as a delta each.
        self._index = 0
        self._parts: list[str] = []

    def replace(self, whole: WholeT) -> None:
        self._whole = whole
        self._behind = False
        self._merged = None
        self._deltas.clear()
        self._parts.clear()

    def add(self, delta: _Json) -> None:
        self._gather()
        self._deltas.append(delta)

    def add_text(self, index: int, value: str) -> None:
        if index != self._index:
            self._gather()
            self._index = index
        self._parts.append(value)

    def _gather(self) -> None:
        if self._parts:
            part = {"index": self._index, "type": "text", "text": {"value": "".join(self._parts)}}
            self._deltas.append({"content": [part]})
            self._parts.clear()

    def merged(self) -> _Json:
        """All that is known, as JSON; without a snapshot, what the deltas told."""
        self._gather()
        if self._merged is None:
            self._merged = {} if self._whole is None else _wire.dump(self._whole)
        if self._deltas:
            grown = _merge({}, self._merged)
            for delta in self._deltas:
                _merge(grown, delta)
            self._deltas.clear()
            self._merged = cast("_Json", _plain(grown))
        return self._merged

    def whole(self) -> WholeT | None:
        """All that is known; nothing if no snapshot has come yet."""
        if self._whole is not None and (self._deltas or self._parts or self._behind):
            self._behind = True  # and it stays so if this raises
            self._whole = _made(self.merged(), self._kind)
            self._behind = False
        return self._whole


class _Items(dict[int, Any]):
    """An array that grows by index."""


class _Parts(list[str]):
    """A string that grows."""


def _merge(into: _Json, delta: Mapping[str, Any]) -> _Json:
    """Merge a delta; what is in it is copied, as a delta is somebody else's."""
    for key, new in delta.items():
        old = into.get(key)
        if isinstance(new, dict):
            into[key] = _merge(old if old.__class__ is dict else {}, new)
        elif isinstance(new, list):
            into[key] = _merge_items(old if isinstance(old, _Items) else _Items(), new)
        elif isinstance(new, str) and isinstance(old, str | _Parts) and not _comes_whole(key):
            if isinstance(old, str):
                into[key] = old = _Parts((old,))
            old.append(new)
        elif new is not None or old is None:
            into[key] = new
    return into


def _comes_whole(key: str) -> bool:
    """Whether a string is replaced; all others grow."""
    return key in ("type", "role", "id") or key.endswith("_id")


def _merge_items(items: _Items, entries: Iterable[Any]) -> _Items:
    behind = max(items, default=-1) + 1
    for position, entry in enumerate(entries, behind):
        if not isinstance(entry, dict):
            items[position] = entry
            continue
        index = entry.get("index")
        if not isinstance(index, int):
            index = position
        old = items.get(index)
        items[index] = _merge(old if old.__class__ is dict else {}, {k: v for k, v in entry.items() if k != "index"})
    return items


def _plain(node: Any) -> Any:
    if isinstance(node, _Items):
        return [_plain(node[index]) for index in sorted(node)]
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    return "".join(node) if isinstance(node, _Parts) else node


def _made(merged: _Json, model: type[WholeT]) -> WholeT:
    """A model; an array's item of which too little is known yet, say a citation without its place, is left out."""
    try:
        return _wire.load(merged, model)
    except ProtocolError as error:
        items = {_item(path) for path in error.paths}
        if () in items:
            raise
    pruned = copy.deepcopy(merged)
    for *way, index in sorted(items, reverse=True):  # the last one first, so that the others stay where they are
        del reduce(getitem, way, pruned)[index]
    return _made(pruned, model)


def _item(path: str) -> tuple[Any, ...]:
    """The way to the innermost array's item in ``missing 'id' @ $.content[0].text``; empty if there is none."""
    place = path.rpartition(" @ $")[2]
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", place[: place.rfind("]") + 1])
    return tuple(int(index) if index else name for name, index in steps)
