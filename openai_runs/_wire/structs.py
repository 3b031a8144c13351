"""Generates a struct for each model class. msgspec decodes JSON text into structs, and checks every type in C.

A struct has a method ``to_model``: straight-line code that fills the model. It refuses more than the model's loader
does, unknown fields above all, so a refusal says nothing but that another loader has to be asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args, get_origin

import attrs
import msgspec
from msgspec import NODEFAULT, UNSET, Raw

from openai_runs._evolving import fillable
from openai_runs._wire.hints import (
    fields_of,
    is_choice,
    is_mapping,
    is_model,
    is_tuple,
    members_by_type,
    with_arguments,
    without_none,
)
from openai_runs._wire.scalars import load_datetime
from openai_runs.models.model import DEFERRED, NO_EXTRA, REPEATED

LoadPart: TypeAlias = Callable[[Raw], Any]


class _Made(dict[Any, Any]):
    """What was made of values lately. A look takes half as long as a call of what `functools.lru_cache` makes."""

    def __init__(self, make: Callable[[Any], Any], size: int) -> None:
        self._make: Final = make
        self._size: Final = size

    def __missing__(self, value: Any) -> Any:
        made = self._make(value)
        if len(self) >= self._size:
            self.clear()
        self[value] = made
        return made


#: As what msgspec decodes a scalar. Told ``float`` alone, it would make floats of whole numbers, too.
_SCALARS: Final[Mapping[Any, Any]] = {str: str, bool: bool, int: int, float: int | float}
_SCOPE: Final[Mapping[str, Any]] = {
    "NO_EXTRA": NO_EXTRA,
    "NONE": frozenset(),
    "UNSET": UNSET,
    "times": _Made(load_datetime, 1024),  # whoever polls reads the same times again and again
}


class _NoMember(msgspec.Struct, tag_field="type", tag=""):
    """Makes every union one of several structs: only in those does msgspec demand a ``type``."""


class _Field(NamedTuple):
    """A field on its way from JSON into a model."""

    name: str
    decoded: Any  #: the type as which msgspec decodes it
    code: str  #: makes the model's value of the decoded one, which is ``v``
    slot: str  #: the attribute that it becomes
    default: Any  #: the value if the field is absent; `attrs.NOTHING` if it must not be


class Structs:
    """The structs of all models, each generated when it is first needed."""

    def __init__(self, part_loader: Callable[[Any], LoadPart], unknown: Mapping[Any, Sequence[str]]) -> None:
        """Prepare.

        Args:
            part_loader: Makes the loader of fields marked `REPEATED`, which msgspec leaves as text, by their type.
            unknown: Names of fields that objects have beyond those of their model, by its class.
        """
        self._part_loader: Final = part_loader
        self._unknown: Final = unknown
        self._structs: Final[dict[Any, Any]] = {}

    def of(self, target: Any, tag: str | None = None) -> Any:
        """The struct of a model class, or of a generic one such as ``Page[Run]``.

        Args:
            target: The class.
            tag: The model's ``type``, if it is a member of a union.
        """
        if (found := self._structs.get((target, tag))) is None:
            found = self._structs[target, tag] = self._generate(target, tag)
        return found

    def _generate(self, target: Any, tag: str | None) -> Any:
        cls = get_origin(target) or target
        scope: dict[str, Any] = {**_SCOPE, "cls": cls, "fillable": fillable(cls)}
        attributes = fields_of(cls)
        if tag is not None:
            del attributes["type"]
        fields = [self._field(target, attribute, scope) for attribute in attributes.values()]
        unknown = {f"unknown_{number}": name for number, name in enumerate(self._unknown.get(cls, ()))}
        exec("\n".join(_code(fields, tag, unknown, scope)), scope)  # noqa: S102  # our own class definitions, not input
        return msgspec.defstruct(
            cls.__name__,
            [(each.name, each.decoded, NODEFAULT if each.default is attrs.NOTHING else UNSET) for each in fields]
            + [(name, Any, UNSET) for name in unknown],
            namespace={"to_model": scope["to_model"]},
            tag_field=tag and "type",
            tag=tag,
            rename=unknown,
            kw_only=True,
            forbid_unknown_fields=True,
            gc=False,
        )

    def _field(self, target: Any, attribute: "attrs.Attribute[Any]", scope: dict[str, Any]) -> _Field:
        name, default = attribute.name, attribute.default
        nullable, hint = without_none(attribute.type)
        if nullable:  # its default is ``None``, as in `loading`
            default = None
        if attribute.metadata == REPEATED:
            scope[f"load_{name}"] = self._part_loader(attribute.type)
            return _Field(name, Raw, f"load_{name}(v)", name, default)
        if attribute.metadata == DEFERRED:
            decoded = scope[f"struct_{name}"] = self.of(hint)
            return _Field(name, decoded, f"(struct_{name}.to_model, v)", "_inside", default)
        decoded, code = self._way(with_arguments(hint, target), name, scope)
        if nullable:
            decoded, code = decoded | None, code if code == "v" else f"None if v is None else {code}"
        return _Field(name, decoded, code, name, default)

    def _way(self, hint: Any, name: str, scope: dict[str, Any]) -> tuple[Any, str]:
        """The type as which msgspec decodes a value, and the code that makes the model's value of that."""
        if hint in _SCALARS:
            return _SCALARS[hint], "v"
        if hint is datetime:
            return int | float, "times[v]"
        if is_mapping(hint):
            return dict[str, Any], "v"
        if get_origin(hint) is Literal:
            return hint, "v"
        if is_model(hint):
            return self.of(hint), "v.to_model()"
        if is_tuple(hint):
            decoded, code = self._way(get_args(hint)[0], name, scope)
            items: Any = tuple[decoded, ...]  # type: ignore[valid-type]  # a type made while the program runs
            return items, "v" if code == "v" else f"v and tuple([{code} for v in v])"
        if is_choice(hint):
            tagged, other = members_by_type(hint)
            structs = [self.of(model, tag) for tag, model in tagged.items()]
            decoded = reduce(or_, structs, self.of(other) if other else _NoMember)
            if str in get_args(hint):
                return decoded | str, "v if v.__class__ is str else v.to_model()"
            return decoded, "v.to_model()"
        scope[f"enum_{name}"], scope[f"members_{name}"] = hint, {member.value: member for member in hint}
        return str, f"members_{name}.get(v) or enum_{name}(v)"


def _code(
    fields: Sequence[_Field], tag: str | None, unknown: Mapping[str, str], scope: dict[str, Any]
) -> Iterator[str]:
    """The lines of ``to_model``."""
    optional: list[str] = []
    scope["names"] = _Made(
        lambda bits: frozenset(name for number, name in enumerate(optional) if bits >> number & 1), 64
    )
    yield "def to_model(s):"
    yield "    m = fillable()"
    if tag is not None:
        yield f"    m.type = {tag!r}"
    yield "    absent = 0"
    for name, _, code, slot, default in fields:
        yield f"    v = s.{name}"
        if default is attrs.NOTHING:
            yield f"    m.{slot} = {code}"
            continue
        scope[f"default_{name}"] = default
        yield "    if v is UNSET:"
        yield f"        m.{name} = default_{name}"
        yield f"        absent |= {1 << len(optional)}"
        yield "    else:"
        yield f"        m.{slot} = {code}"
        optional.append(name)
    if unknown:
        pairs = ", ".join(f"({name!r}, s.{slot})" for slot, name in unknown.items())
        yield f"    m.extra = {{name: v for name, v in ({pairs},) if v is not UNSET}} or NO_EXTRA"
    else:
        yield "    m.extra = NO_EXTRA"
    yield "    m.absent = names[absent] if absent else NONE"
    yield "    m.__class__ = cls"
    if (post_init := getattr(scope["cls"], "__attrs_post_init__", None)) is not None:
        scope["post_init"] = post_init  # found by its class, which would ask `__getattr__`, too
        yield "    post_init(m)"
    yield "    return m"
