"""The short way from JSON to a text delta, which nearly every event of a stream is; it takes a third of the long one.

What comes out is what `_wire.load` would make. Whatever is not of the usual shape is left to that.
"""

from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from openai_runs._wire import fillable
from openai_runs.models.delta import MessageChanges, MessageDelta, TextContentDelta, TextDelta
from openai_runs.models.model import NO_EXTRA


class _Struct(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Refuses what it does not name, so that nothing is lost."""


class _Text(_Struct):
    value: str
    annotations: tuple[()] | UnsetType = UNSET


class _Part(_Struct):
    index: int
    type: Literal["text"]
    text: _Text


class _Changes(_Struct):
    content: tuple[_Part]


class _Delta(_Struct):
    id: str
    object: str
    delta: _Changes


_decode: Final = msgspec.json.Decoder(_Delta).decode
_new: Final = object.__new__
_NewDelta, _NewChanges, _NewPart, _NewText = map(fillable, (MessageDelta, MessageChanges, TextContentDelta, TextDelta))

#: The names of absent fields.
_NONE: Final = frozenset[str]()
_ROLE: Final = frozenset({"role"})
_ANNOTATIONS: Final = frozenset({"annotations"})


def read_text_delta(data: bytes) -> tuple[MessageDelta, int, str] | None:
    """A delta that adds to one text and says nothing else, that text's index, and what is added; else ``None``."""
    try:
        raw = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # the long way says what it is
        return None
    (part,) = raw.delta.content
    piece = part.text
    # As in `_wire`: the frozen classes' own way to make these would take longer than everything else.
    text: Any = _new(_NewText)
    text.value = piece.value
    text.annotations = ()
    text.extra = NO_EXTRA
    text.absent = _ANNOTATIONS if piece.annotations is UNSET else _NONE
    text.__class__ = TextDelta
    content: Any = _new(_NewPart)
    content.index = part.index
    content.type = "text"
    content.text = text
    content.extra = NO_EXTRA
    content.absent = _NONE
    content.__class__ = TextContentDelta
    changes: Any = _new(_NewChanges)
    changes.role = None
    changes.content = (content,)
    changes.extra = NO_EXTRA
    changes.absent = _ROLE
    changes.__class__ = MessageChanges
    delta: Any = _new(_NewDelta)
    delta.id = raw.id
    delta.object = raw.object
    delta.delta = changes
    delta.extra = NO_EXTRA
    delta.absent = _NONE
    delta.__class__ = MessageDelta
    return delta, part.index, piece.value
