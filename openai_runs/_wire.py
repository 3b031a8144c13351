"""JSON to models and back, in one place; the only user of cattrs.

A loader is generated for each class: straight-line code, one expression a field, strict about JSON types. It only
tells *that* a body does not fit. Then a second converter, which reports every place that is wrong, is asked *where*.
"""

import json
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs
import msgspec
from cattrs import Converter, transform_error
from cattrs.errors import AttributeValidationNote, ClassValidationError, IterableValidationError, IterableValidationNote

from openai_runs.errors import ProtocolError, snippet
from openai_runs.models.model import NO_EXTRA, Model, Unknown
from openai_runs.models.open_enum import OpenEnum

T = TypeVar("T")
_Load = Callable[[Any, Any], Any]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Milliseconds(datetime):
    """A timestamp from a server that counts milliseconds; it is sent back as it came."""


def _load_datetime(value: Any, _: object = None) -> datetime:
    if value.__class__ is not int and value.__class__ is not float:
        raise TypeError(f"expected Unix seconds, got {_shown(value)}")
    if abs(value) < 1e11:  # seconds until the year 5138; milliseconds since 1973
        return _EPOCH + timedelta(seconds=value)
    return _Milliseconds.fromtimestamp(value / 1000, UTC)


def _dump_datetime(value: datetime) -> int | float:
    seconds = (value - _EPOCH).total_seconds() * (1000 if isinstance(value, _Milliseconds) else 1)
    return int(seconds) if seconds.is_integer() else seconds


def _shown(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:60] + '…'}"


def _wrong(value: object, expected: str) -> Any:
    raise TypeError(f"expected {expected}, got {_shown(value)}")


def _load_int(value: Any, _: object = None) -> int:
    if value.__class__ is int:
        return value
    if value.__class__ is float and value.is_integer():  # 1.0 is an integer in JSON Schema
        return int(value)
    return cast("int", _wrong(value, "int"))


def _load_float(value: Any, _: object = None) -> float:
    return value if value.__class__ is float or value.__class__ is int else _wrong(value, "number")


def _load_open_enum(value: Any, enum: Any) -> Any:
    return enum(value) if value.__class__ is str else _wrong(value, "str")


def _load_mapping(value: Any, _: object = None) -> dict[str, Any]:
    return value if value.__class__ is dict else _wrong(value, "object")


# One expression for the types that nearly all fields have; `v` is the value. Others go through a hook.
_INLINE: Final[Mapping[Any, str]] = {
    str: "v if v.__class__ is str else wrong(v, 'str')",
    bool: "v if v.__class__ is bool else wrong(v, 'bool')",
    int: "v if v.__class__ is int else load_int(v)",
    float: "v if v.__class__ is float else load_float(v)",
    datetime: "load_datetime(v)",
}


# What is JSON already; a mapping is free JSON, whose inside is not ours.
_PLAIN: Final = (str, bool, int, float, Mapping[str, str], Mapping[str, Any])


@cache
def fields_of(cls: Any) -> Mapping[str, Any]:
    """The wire fields of a model and their types, without `Annotated`."""
    hints = get_type_hints(cls)
    return {a.name: hints[a.name] for a in attrs.fields(cls) if a.name not in ("extra", "absent")}


def _structure_model(target: Any, converter: Converter) -> _Load:
    """Generate the loader of a model class, or of a generic one with its argument, such as ``Page[Run]``."""
    cls = get_origin(target) or target
    parameters = dict(zip(getattr(cls, "__parameters__", ()), get_args(target), strict=False))
    known = fields_of(cls)
    defaults = {a.name: a.default for a in attrs.fields(cls)}
    scope: dict[str, Any] = {
        "cls": cls,
        "known": frozenset(known),
        "NO_EXTRA": NO_EXTRA,
        "NONE": frozenset(),
        "wrong": _wrong,
        "load_int": _load_int,
        "load_float": _load_float,
        "load_datetime": _load_datetime,
        "defaults": defaults,
        "note": _note_attribute,
        "ClassValidationError": ClassValidationError,
    }
    values = []
    for name, declared in known.items():
        hint = parameters.get(declared, declared)
        if get_origin(hint) is tuple and get_args(hint)[0] in parameters:
            hint = tuple[parameters[get_args(hint)[0]], ...]  # type: ignore[misc]  # a type made at run time
        nullable, hint = _without_none(hint)
        if hint in _INLINE:
            load = _INLINE[hint]
        elif get_origin(hint) is Literal:
            scope[f"words_{name}"] = get_args(hint)
            load = f"v if v in words_{name} else wrong(v, ' or '.join(map(repr, words_{name})))"
        else:
            scope[f"hook_{name}"], scope[f"type_{name}"] = converter.get_structure_hook(hint), hint
            load = f"hook_{name}(v, type_{name})"
        if nullable:
            load = f"None if v is None else ({load})"
        if defaults[name] is attrs.NOTHING:
            load = f"({load}) if (v := get({name!r}, wrong)) is not wrong else missing({name!r})"
        elif defaults[name] is None and nullable:  # the usual case: absent and null are both None at first
            load = load.replace("v is None", f"(v := get({name!r})) is None", 1)
        else:
            load = f"({load}) if (v := get({name!r}, wrong)) is not wrong else defaults[{name!r}]"
        values.append((name, load))
    scope["missing"] = _missing
    lines = ["def load(o, _):", "    if o.__class__ is not dict:", "        wrong(o, 'object')", "    get = o.get"]
    if converter.detailed_validation:
        lines.append("    errors = []")
        for name, load in values:
            lines += [
                "    try:",
                f"        f_{name} = {load}",
                "    except Exception as error:  # collected: the caller wants all that is wrong",
                f"        errors.append(note(error, {cls.__name__!r}, {name!r}))",
            ]
        lines += ["    if errors:", "        raise ClassValidationError('', errors, cls)"]
        values = [(name, f"f_{name}") for name, _ in values]
    lines += [
        "    extra = NO_EXTRA if known.issuperset(o) else {k: v for k, v in o.items() if k not in known}",
        f"    absent = NONE if len(o) - len(extra) == {len(known)} else known.difference(o)",
        "    return cls(" + "".join(f"{name}={load}, " for name, load in values) + "extra=extra, absent=absent)",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("_Load", scope["load"])


def _missing(name: str) -> Any:
    raise KeyError(name)


def _note_attribute(error: Exception, cls: str, name: str) -> Exception:
    error.add_note(AttributeValidationNote(f"Structuring class {cls} @ attribute {name}", name, None))
    return error


def _without_none(hint: Any) -> tuple[bool, Any]:
    """Whether a type allows ``None``, and the type without it, bare of `Annotated`."""
    if get_origin(hint) is Annotated:
        return _without_none(get_args(hint)[0])
    if get_origin(hint) not in (Union, types.UnionType):
        return False, hint
    rest = [h for h in get_args(hint) if h is not type(None)]
    return len(rest) < len(get_args(hint)), reduce(or_, rest)


def _structure_tuple(target: Any, converter: Converter) -> _Load:
    item = get_args(target)[0]
    hook = _strict_str if item is str else converter.get_structure_hook(item)

    def load(value: Any, _: object) -> tuple[Any, ...]:
        if value.__class__ is not list:
            _wrong(value, "array")
        return tuple([hook(entry, item) for entry in value])

    def load_and_collect(value: Any, _: object) -> tuple[Any, ...]:
        if value.__class__ is not list:
            _wrong(value, "array")
        items, errors = [], []
        for index, entry in enumerate(value):
            try:
                items.append(hook(entry, item))
            except Exception as error:  # collected: the caller wants all that is wrong
                error.add_note(IterableValidationNote(f"Structuring @ index {index}", index, item))
                errors.append(error)
        if errors:
            raise IterableValidationError("", errors, tuple)
        return tuple(items)

    return load_and_collect if converter.detailed_validation else load


def _strict_str(value: Any, _: object = None) -> str:
    return value if value.__class__ is str else _wrong(value, "str")


def _structure_union(target: Any, converter: Converter) -> _Load:
    """A union of models that ``type`` tells apart, perhaps with `Unknown` for the rest, perhaps with plain words."""
    members = get_args(target)
    words = str in members
    tagged: dict[str, tuple[_Load, Any]] = {}
    single: tuple[_Load, Any] | None = None
    for member in members:
        if attrs.has(member) and issubclass(member, Model):
            tag = get_args(fields_of(member)["type"])
            pair = (converter.get_structure_hook(member), member)
            if tag:
                tagged[tag[0]] = pair
            else:
                single = pair
    tolerant = Unknown in members

    def load(value: Any, _: object) -> Any:
        if value.__class__ is not dict:
            return value if words and value.__class__ is str else _wrong(value, "object or str" if words else "object")
        tag = value.get("type")
        found = (tagged.get(tag) if tag.__class__ is str else None) or single
        if found is not None:
            return found[0](value, found[1])
        if tolerant:
            return Unknown(tag if tag.__class__ is str else "", value)
        return _wrong(tag, "a type of " + " or ".join(map(repr, tagged)))

    return load


def _is_mapping(hint: Any) -> bool:
    return bool(get_origin(hint) is Mapping)


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _unstructure_model(cls: type[Model], converter: Converter) -> Callable[[Any], dict[str, Any]]:
    """Generate the dumper of a model class."""
    names = fields_of(cls)
    defaults = {a.name: a.default for a in attrs.fields(cls)}
    unset_by_default = frozenset(name for name in names if defaults[name] is None)
    plain = {name for name, hint in names.items() if _without_none(hint)[1] in _PLAIN}
    scope: dict[str, Any] = {"dump": converter.unstructure, "unset": unset_by_default}
    scope["defaults"] = defaults
    pairs = ", ".join(f"{n!r}: o.{n}" if n in plain else f"{n!r}: dump(o.{n})" for n in names)
    lines = [
        "def dump_model(o):",
        f"    d = {{{pairs}}}",
        "    absent = o.absent",
        "    if absent is None:",
        "        for name in unset:",
        "            if d[name] is None:",
        "                del d[name]",
        "    elif absent:",
        "        for name in absent:",
        "            if getattr(o, name) == defaults[name]:",
        "                del d[name]",
        "    if o.extra:",
        "        d.update(o.extra)",
        "    return d",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("Callable[[Any], dict[str, Any]]", scope["dump_model"])


def _converter(*, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed)
    converter.register_structure_hook(datetime, _load_datetime)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook(int, _load_int)
    converter.register_structure_hook(float, _load_float)
    converter.register_structure_hook_func(lambda t: isinstance(t, type) and issubclass(t, OpenEnum), _load_open_enum)
    converter.register_structure_hook_func(_is_mapping, _load_mapping)
    converter.register_structure_hook_factory(_is_tuple, _structure_tuple)
    converter.register_structure_hook_factory(_is_union, _structure_union)
    converter.register_structure_hook_factory(_is_model, _structure_model)
    converter.register_unstructure_hook(datetime, _dump_datetime)
    converter.register_unstructure_hook(_Milliseconds, _dump_datetime)
    converter.register_unstructure_hook(tuple, lambda items: [converter.unstructure(item) for item in items])
    converter.register_unstructure_hook(Unknown, lambda unknown: unknown.raw)
    converter.register_unstructure_hook_func(lambda t: isinstance(t, type) and issubclass(t, OpenEnum), str)
    converter.register_unstructure_hook_factory(_is_model, _unstructure_model)
    return converter


def _is_model(hint: Any) -> bool:
    cls = get_origin(hint) or hint
    return isinstance(cls, type) and issubclass(cls, Model)


_FAST: Final = _converter(detailed=False)
_EXACT: Final = _converter(detailed=True)


def load_json(data: Any, into: type[T], *, source: str = "$") -> T:
    """Make a model of parsed JSON.

    Raises:
        ProtocolError: It does not fit; ``paths`` names each place that is wrong.
    """
    try:
        return _FAST.structure(data, into)
    except Exception as error:  # whatever it was, the exact converter says it better
        first = error
    try:
        return _EXACT.structure(data, into)
    except Exception as error:  # cattrs groups its own, and lets those of our hooks at the root through
        paths = tuple(transform_error(error, path=source, format_exception=_describe))
    name = getattr(into, "__name__", str(into))
    raise ProtocolError(f"not a {name}: " + "; ".join(paths[:5]), paths=paths, body=snippet(repr(data))) from first


def _describe(error: BaseException, _: type | None) -> str:
    return f"missing {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


def load(data: bytes | str | Mapping[str, Any], into: type[T]) -> T:
    """Make a model of the API's JSON: ``load(text, Run)``, ``load(body, Page[Run])``.

    Args:
        data: JSON text, or what it parses to.
        into: A model class.

    Raises:
        ProtocolError: It is not JSON, or does not fit; ``paths`` names each place that is wrong.
    """
    return load_json(decode(data) if isinstance(data, bytes | str) else data, into)


def dump(value: Any) -> Any:
    """Make what JSON can hold of a model, or of anything that has models in it.

    What was loaded comes back as it was sent, unknown and absent fields included. The order of keys is ours.
    """
    return _FAST.unstructure(value)


def decode(body: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        ProtocolError: It is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Half a surrogate pair, or a number past a double's range: legal for some writers, so ask a laxer parser.
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"not JSON: {error}", body=snippet(body)) from error
    except RecursionError as error:
        raise ProtocolError("not JSON that can be read: nested too deeply", body=snippet(body)) from error


def encode(value: Any) -> bytes:
    """Write JSON; models in it are dumped first."""
    plain = dump(value)
    try:
        return msgspec.json.encode(plain)
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(plain, separators=(",", ":")).encode()
