"""`Transcript`: merges snapshots and deltas into the messages and steps of a run. No I/O.

Deltas are merged by ``index`` inside each array: strings are appended; numbers, types and IDs are replaced; a new index
starts an item. A delta costs the same however long the text is already, since pieces are joined only on demand.
"""

import copy
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import reduce
from operator import getitem
from typing import Any, Final, Generic, TypeVar, cast

from openai_runs import _wire
from openai_runs.errors import ProtocolError
from openai_runs.events import MessageChanged, StepChanged
from openai_runs.models.delta import MessageChanges, MessageDelta, RunStepDelta, TextContentDelta, TextDelta
from openai_runs.models.message import Message, MessageStatus, TextContent
from openai_runs.models.run_step import RunStep, RunStepStatus

_logger = logging.getLogger("openai_runs.following")

ModelT = TypeVar("ModelT")
_Json = dict[str, Any]


class Transcript:
    """The messages and steps of one run, in the order in which they began."""

    def __init__(self) -> None:
        self._messages: dict[str, _DeltaMerger[Message]] = {}
        self._steps: dict[str, _DeltaMerger[RunStep]] = {}

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every message that has begun, with its deltas so far.

        Raises:
            ProtocolError: The deltas do not merge into a valid message.
        """
        return tuple(message for merger in self._messages.values() if (message := merger.current()) is not None)

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """Every step that has begun, with its deltas so far.

        Raises:
            ProtocolError: The deltas do not merge into a valid step.
        """
        return tuple(step for merger in self._steps.values() if (step := merger.current()) is not None)

    def text(self, id: str, index: int) -> Callable[[str], None]:
        """What appends a piece to one text of a message. Of use until anything else is added or changed."""
        return self._message(id).text(index)

    def add_message_delta(self, event: MessageDelta) -> None:
        """Add any message delta."""
        self._message(event.id).add(event)

    def add_step_delta(self, event: RunStepDelta) -> None:
        """Add a step delta."""
        self._step(event.id).add(event)

    def change_message(self, message: Message, name: str) -> list[MessageDelta | MessageChanged]:
        """Store a snapshot of a message.

        Returns:
            A delta for each text that the snapshot has and the deltas so far have not, then the snapshot's event.
        """
        merger = self._message(message.id)
        reported = merger.texts()
        texts = {index: part.text.value for index, part in enumerate(message.content) if isinstance(part, TextContent)}
        if _is_open(message) and any(len(text) > len(texts.get(index, "")) for index, text in reported.items()):
            # The snapshot is older than the latest deltas: keep their text, or it would be reported twice.
            return [MessageChanged(merger.replace_all_but(message, "content"), name)]
        events: list[MessageDelta | MessageChanged] = []
        for index, text in texts.items():
            before = reported.get(index, "")
            if not text.startswith(before):  # the snapshot is right, but events cannot be taken back
                _logger.warning("the text of message %s differs from that of its deltas", message.id)
            elif text != before:
                events.append(_text_delta(message.id, index, text[len(before) :]))
        merger.replace(message)
        return [*events, MessageChanged(message, name)]

    def change_step(self, step: RunStep, name: str) -> StepChanged:
        """Store a snapshot of a step, and return its event."""
        self._step(step.id).replace(step)
        return StepChanged(step, name)

    def catch_up(
        self, messages: Iterable[Message], steps: Iterable[RunStep]
    ) -> Iterator[MessageDelta | MessageChanged | StepChanged]:
        """Store what was fetched while there was no stream, and yield events for what is new."""
        for message in messages:
            before = self._message(message.id).current()
            if before is None or (_is_open(before) and message != before):
                status = message.status or MessageStatus.COMPLETED  # only streams have to send it
                yield from self.change_message(message, f"thread.message.{status}")
        for step in steps:
            earlier = self._step(step.id).current()
            if earlier is None or (earlier.status is RunStepStatus.IN_PROGRESS and step != earlier):
                yield self.change_step(step, f"thread.run.step.{step.status}")

    def _message(self, id: str) -> "_DeltaMerger[Message]":
        if (merger := self._messages.get(id)) is None:
            merger = self._messages[id] = _DeltaMerger(Message)
        return merger

    def _step(self, id: str) -> "_DeltaMerger[RunStep]":
        if (merger := self._steps.get(id)) is None:
            merger = self._steps[id] = _DeltaMerger(RunStep)
        return merger


def _is_open(message: Message) -> bool:
    return message.status is MessageStatus.IN_PROGRESS


def _text(part: Any) -> str:
    """The text of a content part, which is given as JSON; empty if it has none."""
    text = part.get("text") if isinstance(part, dict) else None
    value = text.get("value") if isinstance(text, dict) else None
    return value if isinstance(value, str) else ""


def _text_delta(id: str, index: int, value: str) -> MessageDelta:
    text = TextDelta(value=value, absent=frozenset({"annotations"}))
    return MessageDelta(id=id, delta=MessageChanges(content=(TextContentDelta(index=index, text=text),)))


class _DeltaMerger(Generic[ModelT]):
    """One message or step: the latest snapshot, and the deltas since."""

    __slots__ = ("_deltas", "_is_stale", "_model", "_snapshot", "_text_index", "_text_pieces", "_tree")

    def __init__(self, model: type[ModelT]) -> None:
        self._model: Final = model
        self._snapshot: ModelT | None = None
        self._is_stale = False  # whether `_tree` has deltas that `_snapshot` has not
        # Snapshot and deltas under construction; ``None`` while there are no deltas. Arrays keep the indexes of their
        # items: a delta of the second part may come before one of the first.
        self._tree: _Json | None = None
        self._deltas: list[_Json | MessageDelta | RunStepDelta] = []
        # Consecutive pieces of one text are collected here; a delta for each would cost more.
        self._text_index = 0
        self._text_pieces: list[str] = []

    def replace(self, snapshot: ModelT) -> None:
        self._snapshot = snapshot
        self._is_stale = False
        self._tree = None
        self._deltas.clear()
        self._text_pieces.clear()

    def replace_all_but(self, snapshot: ModelT, key: str) -> ModelT:
        """Replace everything by a snapshot that is older than the latest deltas to ``key``, which stays."""
        kept = self._merge_all()
        self.replace(snapshot)
        self._tree = _merge({}, _wire.dump_as_read(snapshot))
        self._tree[key] = kept[key]
        self._snapshot = _load_complete_items(self.merged(), self._model)
        return self._snapshot

    def add(self, delta: MessageDelta | RunStepDelta) -> None:
        self._flush_text()
        self._deltas.append(delta)

    def text(self, index: int) -> Callable[[str], None]:
        if index != self._text_index:
            self._flush_text()
            self._text_index = index
        return self._text_pieces.append

    def _flush_text(self) -> None:
        if self._text_pieces:
            part = {"index": self._text_index, "type": "text", "text": {"value": "".join(self._text_pieces)}}
            self._deltas.append({"content": [part]})
            self._text_pieces.clear()

    def merged(self) -> _Json:
        """Snapshot and deltas as JSON; without a snapshot, only the deltas."""
        return cast("_Json", _to_json(self._merge_all()))

    def texts(self) -> dict[int, str]:
        """The text of each content part that there is so far, by its index; empty if the part has none."""
        content = self._merge_all().get("content")
        return {index: _text(_to_json(part)) for index, part in content.items()} if content is not None else {}

    def _merge_all(self) -> _Json:
        self._flush_text()
        if self._tree is None:
            self._tree = _merge({}, {} if self._snapshot is None else _wire.dump_as_read(self._snapshot))
        for delta in self._deltas:
            _merge(self._tree, delta if isinstance(delta, dict) else _wire.dump_as_read(delta.delta))
        self._deltas.clear()
        return self._tree

    def current(self) -> ModelT | None:
        """Snapshot and deltas as a model; ``None`` before the first snapshot."""
        if self._snapshot is not None and (self._deltas or self._text_pieces or self._is_stale):
            self._is_stale = True  # stays set if loading raises
            self._snapshot = _load_complete_items(self.merged(), self._model)
            self._is_stale = False
        return self._snapshot


class _IndexedItems(dict[int, Any]):
    """An array under construction: its items by index."""


class _TextPieces(list[str]):
    """A string under construction."""


def _merge(into: _Json, delta: Mapping[str, Any]) -> _Json:
    """Merge a delta into ``into``; the delta belongs to the caller, so its dicts and lists are copied."""
    for key, new in delta.items():
        old = into.get(key)
        if isinstance(new, dict):
            into[key] = _merge(old if old.__class__ is dict else {}, new)
        elif isinstance(new, list):
            into[key] = _merge_items(old if isinstance(old, _IndexedItems) else _IndexedItems(), new)
        elif isinstance(new, str) and isinstance(old, str | _TextPieces) and not _is_replaced(key):
            if isinstance(old, str):
                into[key] = old = _TextPieces((old,))
            old.append(new)
        elif new is not None or old is None:
            into[key] = new
    return into


def _is_replaced(key: str) -> bool:
    """Whether a delta replaces this string; all others are appended to."""
    return key in ("type", "role", "id") or key.endswith("_id")


def _merge_items(items: _IndexedItems, entries: Iterable[Any]) -> _IndexedItems:
    next_index = max(items, default=-1) + 1
    for position, entry in enumerate(entries, next_index):
        if not isinstance(entry, dict):
            items[position] = entry
            continue
        index = entry.get("index")
        if not isinstance(index, int):
            index = position
        old = items.get(index)
        items[index] = _merge(old if old.__class__ is dict else {}, {k: v for k, v in entry.items() if k != "index"})
    return items


def _to_json(node: Any) -> Any:
    if isinstance(node, _IndexedItems):
        return [_to_json(node[index]) for index in sorted(node)]
    if isinstance(node, dict):
        return {key: _to_json(value) for key, value in node.items()}
    if isinstance(node, _TextPieces):
        node[:] = ["".join(node)]  # each piece is joined once, however often the text is read
        return node[0]
    return node


def _load_complete_items(merged: _Json, model: type[ModelT]) -> ModelT:
    """Load a model without the array items that lack required fields so far, such as a citation without its indexes."""
    try:
        return _wire.load(merged, model)
    except ProtocolError as error:
        incomplete = {_innermost_item(path) for path in error.paths}
        if () in incomplete:
            raise
    pruned = copy.deepcopy(merged)
    for *keys, index in sorted(incomplete, reverse=True):  # the last one first, so that other indexes stay valid
        del reduce(getitem, keys, pruned)[index]
    return _load_complete_items(pruned, model)


def _innermost_item(path: str) -> tuple[Any, ...]:
    """The keys to the innermost array item in ``missing 'id' @ $.content[0].text``; empty if there is none."""
    place = path.rpartition(" @ $")[2]
    steps = re.findall(r"\.(\w+)|\[(\d+)\]", place[: place.rfind("]") + 1])
    return tuple(int(index) if index else name for name, index in steps)
