"""Reads what the strict loaders refuse, so that a server's oddity does not stop a program; and says so in the log.

Asked only after the fast loader has failed, and only for what a server sent. Every part that fits is loaded by the fast
loaders. A value that does not fit is read as well as it can be, and kept as it was sent in the model's ``extra``; a
field that is missing stands in ``absent``. Only a field that is marked `NEEDED` is worth an error.
"""

import logging
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args, get_origin

import attrs
from attrs import define, field, frozen
from cattrs import Converter

from openai_runs._wire.hints import (
    fields_of,
    is_choice,
    is_model,
    is_tuple,
    members_by_type,
    with_arguments,
    without_none,
)
from openai_runs._wire.loading import Load
from openai_runs.models.model import NEEDED, NO_EXTRA, Unknown
from openai_runs.models.open_enum import OpenEnum

_logger = logging.getLogger("openai_runs.wire")

#: What a field without a default reads if its value is missing or unreadable, by its type.
_EMPTY: Final[Mapping[Any, Any]] = {
    str: "",
    int: 0,
    float: 0.0,
    bool: False,
    datetime: datetime(1970, 1, 1, tzinfo=UTC),
}
_JSON_NAMES: Final[Mapping[type, str]] = {
    types.NoneType: "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
_MISSING: Final = "missing"
_logged: Final[set[tuple[str, str, str]]] = set()  # bounded: classes times their fields times JSON's types


@frozen
class Reading:
    """What a value reads, if it does not fit."""

    value: Any
    is_odd: bool  #: whether the reading is not dumped as the value was sent, so that this has to be kept


@define
class Notes:
    """What is wrong with one body."""

    problems: list[str] = field(factory=list)  #: why there is no model, each with its place
    oddities: list[tuple[str, str, str]] = field(factory=list)  #: class, field, and what came

    def log(self) -> None:
        """Log each kind of oddity once in the life of the process. Values are not logged: they may be personal."""
        for oddity in self.oddities:
            if oddity in _logged:
                continue
            _logged.add(oddity)
            cls, name, what = oddity
            if what == _MISSING:
                _logger.warning("the server leaves out %s.%s, which is in `absent` and reads as empty", cls, name)
            else:
                _logger.warning("the server sends %s.%s as %s that does not fit; see `extra`", cls, name, what)


@frozen
class _Field:
    name: str
    hint: Any  # without ``None``
    is_nullable: bool
    is_required: bool
    if_missing: Any  # `attrs.NOTHING`: then there is no model
    if_unreadable: Any  # the same
    load: Load  # the fast loader


class LiberalReader:
    """Reads models liberally."""

    def __init__(self, fast: Converter) -> None:
        self._fast: Final = fast
        self._fields: Final[dict[Any, dict[str, _Field]]] = {}

    def read(self, target: Any, body: Mapping[str, Any], place: str, notes: Notes) -> Any:
        """Make a model of an object; if ``notes`` have problems then, it is of no use."""
        cls = get_origin(target) or target
        fields = self._fields_of(target)
        extra = {name: value for name, value in body.items() if name not in fields}
        values = {}
        for name, each in fields.items():
            if name not in body:
                values[name] = each.if_missing
                if each.if_missing is attrs.NOTHING:
                    notes.problems.append(f"missing {name!r} @ {place}.{name}")
                elif each.is_required:
                    notes.oddities.append((cls.__name__, name, _MISSING))
                continue
            raw = body[name]
            if raw is None and each.is_nullable:
                values[name] = None
                continue
            try:
                values[name] = each.load(raw, each.hint)
                continue
            except Exception as error:  # of any kind, as in `load`: the value does not fit
                reading = self._read_field(each, raw, f"{place}.{name}", notes, error)
            values[name] = reading.value
            if reading.is_odd:
                extra[name] = raw
                notes.oddities.append((cls.__name__, name, _JSON_NAMES.get(type(raw), "something")))
        return cls(**values, extra=extra or NO_EXTRA, absent=frozenset(fields.keys() - body.keys()))

    def reread(self, cls: Any, name: str, raw: Any) -> Any:
        """What a field reads whose value did not fit."""
        return self._read_field(self._field(cls, fields_of(cls)[name]), raw, "$", Notes(), None).value

    def _fields_of(self, target: Any) -> dict[str, _Field]:
        """How to read each field of a model class, or of a generic one such as ``Page[Run]``."""
        if (found := self._fields.get(target)) is None:
            found = self._fields[target] = {
                name: self._field(target, attribute)
                for name, attribute in fields_of(get_origin(target) or target).items()
            }
        return found

    def if_missing(self, attribute: "attrs.Attribute[Any]", hint: Any) -> Any:
        """What a field reads that the server left out; `attrs.NOTHING` if there is no model without it."""
        if attribute.default is not attrs.NOTHING or attribute.metadata == NEEDED:
            return attribute.default
        return self._empty(hint)

    def _field(self, target: Any, attribute: "attrs.Attribute[Any]") -> _Field:
        nullable, hint = without_none(attribute.type)
        hint = with_arguments(hint, target)
        default = self.if_missing(attribute, hint)
        return _Field(
            name=attribute.name,
            hint=hint,
            is_nullable=nullable,
            is_required=attribute.default is attrs.NOTHING,
            if_missing=default,
            # A literal `type` of which another came: the class is the wrong one, which no union chooses.
            if_unreadable=attrs.NOTHING if get_origin(hint) is Literal else default,
            load=self._fast.get_structure_hook(hint),
        )

    def _empty(self, hint: Any) -> Any:
        """What a field of this type reads if it has no default; `attrs.NOTHING` for a model with needed fields."""
        if is_model(hint):
            notes = Notes()
            model = self.read(hint, {}, "$", notes)
            return attrs.NOTHING if notes.problems else model
        if is_tuple(hint):
            return ()
        if is_choice(hint):
            return Unknown("", {})
        return hint("") if issubclass(hint, OpenEnum) else _EMPTY[hint]

    def _read_field(self, each: _Field, raw: Any, place: str, notes: Notes, error: Exception | None) -> Reading:
        """Read a field whose value does not fit, as ``error`` says."""
        reading = self._read_value(each.hint, raw, place, notes)
        is_needed = each.if_unreadable is attrs.NOTHING
        if reading is not None and not (is_needed and reading.is_odd):
            return reading
        if is_needed:
            notes.problems.append(f"{error} @ {place}")
        return Reading(each.if_unreadable, is_odd=True)

    def _read_value(self, hint: Any, raw: Any, place: str, notes: Notes) -> Reading | None:
        """Read a value that does not fit; ``None`` if there is no sensible reading."""
        if is_tuple(hint):
            return self._read_items(get_args(hint)[0], raw, place, notes)
        if is_choice(hint):
            return self._read_member(hint, raw, place, notes)
        if is_model(hint) and raw.__class__ is dict:
            return Reading(self.read(hint, raw, place, notes), is_odd=False)
        if raw.__class__ is not str:
            return None
        if is_model(hint):
            return _read_alone(hint, raw)
        return _read_iso_time(raw) if hint is datetime else None

    def _read_items(self, item: Any, raw: Any, place: str, notes: Notes) -> Reading | None:
        """Read a list; items that cannot be read are left out."""
        if raw.__class__ is str and is_choice(item) and "text" in members_by_type(item)[0]:  # a message's content
            part = self._read_member(item, {"type": "text", "text": {"value": raw}}, f"{place}[0]", Notes())
            return None if part is None else Reading((part.value,), is_odd=True)
        if raw.__class__ is not list:
            return None
        load, items, is_odd = self._fast.get_structure_hook(item), [], False
        for index, value in enumerate(raw):
            try:
                items.append(load(value, item))
                continue
            except Exception:  # of any kind, as in `load`
                reading = self._read_value(item, value, f"{place}[{index}]", notes)
            if reading is not None:
                items.append(reading.value)
            is_odd |= reading is None or reading.is_odd
        return Reading(tuple(items), is_odd=is_odd)

    def _read_member(self, union: Any, raw: Any, place: str, notes: Notes) -> Reading | None:
        """Read an object whose ``type`` says which member of a union it is."""
        if raw.__class__ is not dict:
            return None
        tag = raw.get("type")
        by_type, other = members_by_type(union)
        member = by_type.get(tag if tag.__class__ is str else "", other)  # never none: any object is an `Unknown`
        return Reading(self.read(member, raw, place, notes), is_odd=False)


def _read_alone(model: Any, raw: str) -> Reading | None:
    """Read a text that stands in place of an object with it; losing it would be worse than any oddity."""
    names = [each.name for each in attrs.fields(model) if each.metadata.get("may_stand_alone")]
    if not names:
        return None
    (name,) = names
    absent = {each.name for each in attrs.fields(model) if not each.inherited} - {name}
    return Reading(model(**{name: raw}, absent=frozenset(absent)), is_odd=True)


def _read_iso_time(text: str) -> Reading | None:
    if text.isdigit():  # seconds as a string, which `fromisoformat` may take for a date
        return None
    try:
        time = datetime.fromisoformat(text)
        return Reading(time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC), is_odd=True)
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        return None
