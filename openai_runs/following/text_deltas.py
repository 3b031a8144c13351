"""A fast path for text deltas, by far the most frequent event of a stream, at less than half the cost of `_wire.load`.

Events that add to one text differ in nothing but what they add. So the first ones teach what stands around it, and a
chunk of such events is decoded as a list of strings. Their models equal those of `_wire.load`, and what is inside of
them is made when somebody asks for it. Callers use `_wire.load` for every event that this module does not recognize.
"""

from itertools import groupby
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from openai_runs._evolving import fillable
from openai_runs._wire import encode_plain
from openai_runs.models.delta import MessageChanges, MessageDelta, TextContentDelta, TextDelta
from openai_runs.models.model import NO_EXTRA

MESSAGE_DELTA: Final = b"thread.message.delta"


class _Struct(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Refuses unknown fields, so that an event with any of them goes to `_wire.load`, which keeps them."""


class _Text(_Struct):
    value: Raw
    annotations: tuple[()] | UnsetType = UNSET


class _ContentPart(_Struct):
    index: int
    type: Literal["text"]
    text: _Text


class _Changes(_Struct):
    content: tuple[_ContentPart]


class _Delta(_Struct):
    id: str
    object: str
    delta: _Changes


_decode: Final = msgspec.json.Decoder(_Delta).decode
_decode_value: Final = msgspec.json.Decoder(str).decode
_decode_values: Final = msgspec.json.Decoder(list[str]).decode
#: What is raised for what is no such event.
_MISFITS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_NewDelta: Final = fillable(MessageDelta)

#: Values of `Model.absent`.
_NONE: Final = frozenset[str]()
_ROLE: Final = frozenset({"role"})
_ANNOTATIONS: Final = frozenset({"annotations"})


class Place:
    """What all events that add to one text have in common."""

    __slots__ = ("id", "index", "object", "text_absent")

    def __init__(self, raw: _Delta) -> None:
        (part,) = raw.delta.content
        self.id: Final = raw.id  #: the message's
        self.index: Final = part.index  #: the text's, in the message
        self.object: Final = raw.object
        self.text_absent: Final = _ANNOTATIONS if part.text.annotations is UNSET else _NONE

    def delta(self, value: str) -> MessageDelta:
        """The delta that adds a piece."""
        # Filled without `__init__`, as in `_wire`: that of the frozen classes would take longer than everything else.
        delta: Any = _NewDelta()
        delta.id = self.id
        delta.object = self.object
        delta._inside = _changes, self, value  # noqa: SLF001  # a loader's slots
        delta._added = value  # noqa: SLF001  # the same
        delta.extra = NO_EXTRA
        delta.absent = _NONE
        delta.__class__ = MessageDelta
        made: MessageDelta = delta
        return made


def _changes(place: Place, value: str) -> MessageChanges:
    """What is inside of the delta that adds a piece."""
    text = TextDelta(value=value, absent=place.text_absent)
    return MessageChanges(content=(TextContentDelta(index=place.index, text=text, absent=_NONE),), absent=_ROLE)


class Pieces:
    """What consecutive events add to one text."""

    __slots__ = ("place", "values")

    def __init__(self, place: Place, values: list[str]) -> None:
        self.place: Final = place
        self.values: Final = values


class TextDeltas:
    """Reads the text deltas of one stream, and learns their form meanwhile."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None  # the place of the last event
        self._learned: tuple[str, int] | None = None  # the one whose form was tried to be learned
        self._place: Place | None = None  # the one whose form is known:
        self._begin = self._end = self._between = b""  # what stands before, after and between its pieces

    @property
    def is_learning(self) -> bool:
        """Whether no form is known yet."""
        return self._place is None

    def parts(self, text: bytes) -> list[bytes | Pieces]:
        """Take the events out of a text that add to the text whose form is known.

        Args:
            text: Whole events.

        Returns:
            What they add, and the texts of all other events, in order.
        """
        if self._place is None:
            return [text]
        string = text[len(self._begin) : -2 - len(self._end)]
        if b"\n" not in string and self._begin + string + self._end + b"\n\n" == text:  # one event, as it was written
            try:
                return [Pieces(self._place, [_decode_value(string)])]
            except _MISFITS:
                return [text]
        if self._begin not in text:
            return [text]
        *blocks, _ = text.split(b"\n\n")  # the text ends with it
        if (all_of_it := self._pieces(self._place, blocks)) is not None:
            return [all_of_it]
        parts: list[bytes | Pieces] = []
        for is_delta, each in groupby(blocks, lambda block: block.startswith(self._begin)):
            run = list(each)
            pieces = self._pieces(self._place, run) if is_delta else None
            parts.append(b"\n\n".join([*run, b""]) if pieces is None else pieces)
        return parts

    def _pieces(self, place: Place, blocks: list[bytes]) -> Pieces | None:
        begin, end = self._begin, self._end
        strings = [block[len(begin) : -len(end)] for block in blocks]
        if begin + self._between.join(strings) + end != b"\n\n".join(blocks):
            return None
        # A carriage return is nowhere in a stream's text, whose line ends are newlines, nor may it be in a JSON string:
        # no string goes on across it. A newline would begin another line of the event.
        if b"\n" in (joined := b",\r".join(strings)):
            return None
        try:
            values = _decode_values(b"[%b]" % joined)
        except _MISFITS:
            return None
        return Pieces(place, values) if len(values) == len(strings) else None

    def read(self, data: bytes) -> tuple[Place, str] | None:
        """Read the data of one event; where it adds what, or ``None`` for any event that has something else."""
        try:
            raw = _decode(data)
            (part,) = raw.delta.content
            piece = bytes(part.text.value)
            value = _decode_value(piece)
        except _MISFITS:  # `_wire.load` finds out what it is
            return None
        found = raw.id, part.index
        place = Place(raw)
        if found == self._last and found != self._learned:
            self._learned = found
            self._learn(place, data, piece, value)
        self._last = found
        return place, value

    def _learn(self, place: Place, data: bytes, piece: bytes, value: str) -> None:
        """Learn the form of an event: if its last part that looks like the piece is the piece, all else is the form."""
        begin, _, end = data.rpartition(piece)
        other = encode_plain(f"{value}, another one")
        try:
            found = bytes(_decode(begin + other + end).delta.content[0].text.value)
        except _MISFITS:
            return
        if found == other and b"\n" not in data:
            self._place = place
            self._begin = b"event: %b\ndata: %b" % (MESSAGE_DELTA, begin)
            self._end = end
            self._between = b"%b\n\n%b" % (end, self._begin)
