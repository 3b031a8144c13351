"""Generates a loader for each model class: straight-line code, a line or two per field, strict about JSON types.

A generated loader fills a model without calling its ``__init__``, so models must not have validators or converters; it
does call ``__attrs_post_init__``.
"""

import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, Literal, TypeAlias, cast, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from openai_runs._evolving import fillable
from openai_runs._wire.hints import fields_of, members_by_type, with_arguments, without_none
from openai_runs._wire.scalars import MAX_SECONDS, load_bool, load_datetime, load_float, load_int, load_str, wrong
from openai_runs.models.model import NO_EXTRA, Unknown
from openai_runs.models.open_enum import OpenEnum

Load: TypeAlias = Callable[[Any, Any], Any]

#: Inline code for the types of nearly all fields; ``v`` is the value. Other types need a call of their hook.
_INLINE: Final[Mapping[Any, str]] = {
    str: "v if v.__class__ is str else load_str(v)",
    bool: "v if v.__class__ is bool else load_bool(v)",
    int: "v if v.__class__ is int else load_int(v)",
    float: "v if v.__class__ is float else load_float(v)",
    datetime: "at(v, UTC) if v.__class__ is int and 0 <= v < MAX_SECONDS else load_datetime(v)",
}
_SCOPE: Final[Mapping[str, Any]] = {
    "NO_EXTRA": NO_EXTRA,
    "NONE": frozenset(),
    "wrong": wrong,
    "load_str": load_str,
    "load_bool": load_bool,
    "load_int": load_int,
    "load_float": load_float,
    "load_datetime": load_datetime,
    "at": datetime.fromtimestamp,
    "UTC": UTC,
    "MAX_SECONDS": MAX_SECONDS,
}


@cache
def structure_model(target: Any, converter: Converter) -> Load:
    """Generate the loader of a model class, or of a generic one such as ``Page[Run]``."""
    cls = get_origin(target) or target
    fields = fields_of(cls)
    scope = {**_SCOPE, "cls": cls, "fillable": fillable(cls), "known": frozenset(fields)}
    lines = [
        "def load(o, _):",
        "    if o.__class__ is not dict:",
        "        wrong(o, 'object')",
        "    get = o.get",
        "    m = fillable()",
    ]
    for name, field in fields.items():
        nullable, hint = without_none(field.type)
        hint = with_arguments(hint, target)
        scope[f"default_{name}"] = field.default
        if hint in _INLINE:
            load = _INLINE[hint]
        elif get_origin(hint) is Literal:
            scope[f"values_{name}"] = get_args(hint)
            load = f"v if v in values_{name} else wrong(v, values_{name})"
        else:
            scope[f"load_{name}"], scope[f"type_{name}"] = converter.get_structure_hook(hint), hint
            load = f"load_{name}(v, type_{name})"
            if isinstance(hint, type) and issubclass(hint, OpenEnum):
                scope[f"members_{name}"] = {member.value: member for member in hint}
                load = f"members_{name}.get(v) or {load}"
        if nullable:  # its default is ``None``, so absent and null load alike
            lines.append(f"    m.{name} = None if (v := get({name!r})) is None else {load}")
            continue
        # `wrong` doubles as the marker of an absent key: it is no JSON value, so every loader refuses it.
        lines.append(f"    v = get({name!r}, wrong)")
        if field.default is not attrs.NOTHING:
            load = f"default_{name} if v is wrong else {load}"
        lines.append(f"    m.{name} = {load}")
    lines += [
        "    extra = NO_EXTRA if known.issuperset(o) else {k: v for k, v in o.items() if k not in known}",
        "    m.extra = extra",
        f"    m.absent = NONE if len(o) - len(extra) == {len(fields)} else known.difference(o)",
        "    m.__class__ = cls",
        *["    m.__attrs_post_init__()"] * hasattr(cls, "__attrs_post_init__"),
        "    return m",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("Load", scope["load"])


def structure_model_exactly(target: Any, converter: Converter) -> Load:
    load = make_dict_structure_fn(target, converter, extra=override(omit=True), absent=override(omit=True))
    return lambda value, _: load(value, target) if value.__class__ is dict else wrong(value, "object")


def structure_tuple(target: Any, converter: Converter) -> Load:
    load = homogenous_tuple_structure_factory(target, converter)
    return lambda value, _: load(value, target) if value.__class__ is list else wrong(value, "array")


def structure_union(target: Any, converter: Converter) -> Load:
    """Generate the loader of a union of models, picked by their ``type``.

    Any other ``type`` is loaded as the member without a literal ``type``, or as `Unknown`. The union may also contain
    ``str`` and ``None``.
    """
    members = get_args(target)
    nullable, allows_str = types.NoneType in members, str in members
    expected = "object or str" if allows_str else "object"
    by_type, other = members_by_type(target)
    tagged = {tag: (converter.get_structure_hook(model), model) for tag, model in by_type.items()}
    untagged = other and (converter.get_structure_hook(other), other)

    def load(value: Any, _: object) -> Any:
        if value.__class__ is dict:
            tag = value.get("type")
            tag = tag if tag.__class__ is str else ""
            found = tagged.get(tag, untagged)
            return Unknown(tag, value) if found is None else found[0](value, found[1])
        if value is None and nullable:
            return None
        return value if allows_str and value.__class__ is str else wrong(value, expected)

    return load
