"""JSON to models and back, in one place; the only user of cattrs.

A loader is generated for each class: straight-line code, a line or two for each field, strict about JSON types. It only
tells *that* a body does not fit. Then a second converter, which collects all that is wrong, is asked *where*.

A generated loader fills a model without calling its ``__init__``, so models have no validators and no converters.
"""

import json
import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin

import attrs
import msgspec
from cattrs import Converter, transform_error
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.gen import make_dict_structure_fn, override

from openai_runs.errors import ProtocolError, snippet
from openai_runs.models.model import NO_EXTRA, Model, Unknown
from openai_runs.models.open_enum import OpenEnum

T = TypeVar("T")
_Load = Callable[[Any, Any], Any]


# --- JSON text


def decode(body: bytes | str) -> Any:
    """Parse JSON.

    Raises:
        ProtocolError: It is not JSON.
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError as error:
        raise ProtocolError("not JSON that can be read: nested too deeply", body=snippet(body)) from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass  # half a surrogate pair, or a byte order mark, is more than this parser takes, so ask a laxer one
    try:
        return json.loads(body, parse_constant=_refuse_constant, parse_float=_parse_float)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}", body=snippet(body)) from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _parse_float(text: str) -> float:
    if (number := float(text)) in (float("inf"), float("-inf")):
        raise ValueError(f"a number out of range: {snippet(text, 20)}")
    return number


def encode(value: Any) -> bytes:
    """Write JSON; models in it are dumped first. A float that is not finite becomes ``null``, as in JavaScript."""
    return encode_plain(dump(value))


def encode_plain(plain: Any) -> bytes:
    """Write JSON that has no models in it: of a small object, in a tenth of the time of `encode`."""
    try:
        return msgspec.json.encode(plain)
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can carry
        return json.dumps(plain, separators=(",", ":")).encode()


# --- JSON objects and models


def load(data: bytes | str | Mapping[str, Any], into: type[T]) -> T:
    """Make a model of the API's JSON: ``load(text, Run)``, ``load(body, Page[Run])``.

    Args:
        data: JSON text, or what it parses to.
        into: A model class.

    Raises:
        ProtocolError: It is not JSON, or does not fit; ``paths`` names each place that is wrong.
    """
    plain = decode(data) if isinstance(data, bytes | str) else data
    try:
        return _FAST.structure(plain, into)
    except Exception as error:  # whatever it was, the exact converter says it better
        first = error
    try:
        _EXACT.structure(plain, into)
    except Exception as error:  # cattrs groups its own, and lets those of our hooks at the root through
        paths = tuple(transform_error(error, format_exception=_describe))
        more = f"; and {len(paths) - 5} more" if len(paths) > 5 else ""
        name = getattr(into, "__name__", str(into))
        message = f"not a {name}: {'; '.join(paths[:5])}{more}"
        raise ProtocolError(message, paths=paths, body=snippet(repr(plain))) from error
    raise first  # a bug of ours: the two have to agree


def dump(value: Any) -> Any:
    """Make what JSON can hold of a model, or of anything that has models in it.

    What was loaded comes back as it was sent, unknown and absent fields included; times to the microsecond. The order
    of keys is ours. Free JSON, such as metadata and unknown fields, is shared with the model and not copied.
    """
    return _FAST.unstructure(value)


def _describe(error: BaseException, _: type | None) -> str:
    return f"missing {error.args[0]!r}" if isinstance(error, KeyError) else str(error)


# --- Scalars


def _wrong(value: object, expected: str) -> NoReturn:
    text = repr(value)
    raise TypeError(f"expected {expected}, got {type(value).__name__} {snippet(text, 60)}")


def _load_str(value: Any, _: object = None) -> str:
    return value if value.__class__ is str else _wrong(value, "str")


def _load_bool(value: Any, _: object = None) -> bool:
    return value if value.__class__ is bool else _wrong(value, "bool")


def _load_int(value: Any, _: object = None) -> int:
    if value.__class__ is int:
        return value
    if value.__class__ is float and value.is_integer():  # 1.0 is an integer in JSON Schema
        return int(value)
    _wrong(value, "int")


def _load_float(value: Any, _: object = None) -> float:
    return value if value.__class__ is float or value.__class__ is int else _wrong(value, "number")


def _load_mapping(value: Any, _: object = None) -> dict[str, Any]:
    return value if value.__class__ is dict else _wrong(value, "object")


def _load_open_enum(value: Any, enum: Any) -> Any:
    return enum(value) if value.__class__ is str else _wrong(value, "str")


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_SECONDS: Final = 10**11  # the year 5138; as milliseconds, 1973


class _Milliseconds(datetime):
    """A timestamp from a server that counts milliseconds; it is sent back as it came."""


_EPOCH_IN_MILLISECONDS: Final = _Milliseconds(1970, 1, 1, tzinfo=UTC)


def _load_datetime(value: Any, _: object = None) -> datetime:
    if value.__class__ is not int and value.__class__ is not float:
        _wrong(value, "Unix seconds")
    if 0 <= value < _MOST_SECONDS:
        return datetime.fromtimestamp(value, UTC)
    if -_MOST_SECONDS < value < 0:
        return _EPOCH + timedelta(seconds=value)
    return _EPOCH_IN_MILLISECONDS + timedelta(milliseconds=value)


def _dump_datetime(value: datetime) -> int | float:
    unit = timedelta(milliseconds=1) if isinstance(value, _Milliseconds) else timedelta(seconds=1)
    number = (value - _EPOCH) / unit
    return int(number) if number.is_integer() else number


# --- Loading

#: One expression for the types that nearly all fields have; ``v`` is the value. Other types go through a hook.
_INLINE: Final[Mapping[Any, str]] = {
    str: "v if v.__class__ is str else load_str(v)",
    bool: "v if v.__class__ is bool else load_bool(v)",
    int: "v if v.__class__ is int else load_int(v)",
    float: "v if v.__class__ is float else load_float(v)",
    datetime: "at(v, UTC) if v.__class__ is int and 0 <= v < MOST_SECONDS else load_datetime(v)",
}
_SCOPE: Final[Mapping[str, Any]] = {
    "NO_EXTRA": NO_EXTRA,
    "NONE": frozenset(),
    "new": object.__new__,
    "wrong": _wrong,
    "load_str": _load_str,
    "load_bool": _load_bool,
    "load_int": _load_int,
    "load_float": _load_float,
    "load_datetime": _load_datetime,
    "at": datetime.fromtimestamp,
    "UTC": UTC,
    "MOST_SECONDS": _MOST_SECONDS,
}


def _fields_of(cls: Any) -> dict[str, "attrs.Attribute[Any]"]:
    """The wire fields of a model."""
    return {name: field for name, field in attrs.fields_dict(cls).items() if name not in ("extra", "absent")}


def _without_none(hint: Any) -> tuple[bool, Any]:
    """Whether a type allows ``None``, and the type without it, bare of `Annotated`."""
    if get_origin(hint) is Annotated:
        return _without_none(get_args(hint)[0])
    if not _is_union(hint):
        return False, hint
    rest = [h for h in get_args(hint) if h is not types.NoneType]
    return len(rest) < len(get_args(hint)), reduce(or_, rest)


def fillable(cls: Any) -> type:
    """A twin of a frozen class with slots whose fields can be set; what it makes becomes a ``cls`` by ``__class__``.

    A frozen class's own ``__init__`` takes longer for a run than everything else that a loader does.
    """
    writable = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(cls.__name__, (cls.__base__,), {"__slots__": cls.__slots__, **writable})


def _structure_model(target: Any, converter: Converter) -> _Load:
    """Generate the loader of a model class, or of a generic one with its argument, such as ``Page[Run]``."""
    cls = get_origin(target) or target
    arguments = dict(zip(getattr(cls, "__parameters__", ()), get_args(target), strict=True))
    fields = _fields_of(cls)
    scope = {**_SCOPE, "cls": cls, "fillable": fillable(cls), "known": frozenset(fields)}
    lines = [
        "def load(o, _):",
        "    if o.__class__ is not dict:",
        "        wrong(o, 'object')",
        "    get = o.get",
        "    m = new(fillable)",
    ]
    for name, field in fields.items():
        nullable, hint = _without_none(field.type)
        if parameters := getattr(hint, "__parameters__", ()):
            hint = hint[tuple(arguments[parameter] for parameter in parameters)]
        scope[f"default_{name}"] = field.default
        if hint in _INLINE:
            load = _INLINE[hint]
        elif get_origin(hint) is Literal:
            scope[f"words_{name}"] = get_args(hint)
            load = f"v if v in words_{name} else wrong(v, words_{name})"
        else:
            scope[f"load_{name}"], scope[f"type_{name}"] = converter.get_structure_hook(hint), hint
            load = f"load_{name}(v, type_{name})"
            if isinstance(hint, type) and issubclass(hint, OpenEnum):
                scope[f"members_{name}"] = {member.value: member for member in hint}
                load = f"members_{name}.get(v) or {load}"
        if nullable:  # and ``None`` by default: absent and null read alike
            lines.append(f"    m.{name} = None if (v := get({name!r})) is None else {load}")
            continue
        # Where nothing came, `wrong` stands for it: something that no loader takes.
        lines.append(f"    v = get({name!r}, wrong)")
        if field.default is not attrs.NOTHING:
            load = f"default_{name} if v is wrong else {load}"
        lines.append(f"    m.{name} = {load}")
    lines += [
        "    extra = NO_EXTRA if known.issuperset(o) else {k: v for k, v in o.items() if k not in known}",
        "    m.extra = extra",
        f"    m.absent = NONE if len(o) - len(extra) == {len(fields)} else known.difference(o)",
        "    m.__class__ = cls",
        "    return m",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("_Load", scope["load"])


def _structure_model_exactly(target: Any, converter: Converter) -> _Load:
    load = make_dict_structure_fn(target, converter, extra=override(omit=True), absent=override(omit=True))
    return lambda value, _: load(value, target) if value.__class__ is dict else _wrong(value, "object")


def _structure_tuple(target: Any, converter: Converter) -> _Load:
    load = homogenous_tuple_structure_factory(target, converter)
    return lambda value, _: load(value, target) if value.__class__ is list else _wrong(value, "array")


def _structure_union(target: Any, converter: Converter) -> _Load:
    """A union of models told apart by ``type``, with one untagged or `Unknown` for the rest, perhaps with words."""
    members = get_args(target)
    nullable, words = types.NoneType in members, str in members
    tagged, untagged = {}, None
    for model in filter(_is_model, members):
        pair = (converter.get_structure_hook(model), model)
        if tag := get_args(_fields_of(model)["type"].type):
            tagged[tag[0]] = pair
        else:
            untagged = pair

    def load(value: Any, _: object) -> Any:
        if value.__class__ is dict:
            tag = value.get("type")
            tag = tag if tag.__class__ is str else ""
            found = tagged.get(tag, untagged)
            return Unknown(tag, value) if found is None else found[0](value, found[1])
        if value is None and nullable:
            return None
        return value if words and value.__class__ is str else _wrong(value, "object or str" if words else "object")

    return load


# --- Dumping

#: What is JSON already; a mapping is free JSON, whose inside is not ours.
_PLAIN: Final = (str, bool, int, float, Mapping[str, str], Mapping[str, Any])


def _unstructure_model(cls: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    """Generate the dumper of a model class."""
    fields = _fields_of(cls)
    defaults = {name: field.default for name, field in fields.items()}
    scope = {
        "NO_EXTRA": NO_EXTRA,
        "dump": converter.unstructure,
        "defaults": defaults,
        "unset": [name for name, default in defaults.items() if default is None],
    }
    pairs = [
        f"{name!r}: o.{name}"
        if _without_none(field.type)[1] in _PLAIN
        else f"{name!r}: None if (v := o.{name}) is None else dump(v)"
        for name, field in fields.items()
    ]
    lines = [
        "def dump_model(o):",
        "    d = {" + ", ".join(pairs) + "}",
        "    absent = o.absent",
        "    if absent is None:",
        "        for name in unset:",
        "            if d[name] is None:",
        "                del d[name]",
        "    else:",
        "        for name in absent:",
        "            if getattr(o, name) == defaults[name]:",
        "                del d[name]",
        "    if o.extra is not NO_EXTRA:",
        "        d.update(o.extra)",
        "    return d",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("Callable[[Any], dict[str, Any]]", scope["dump_model"])


# --- Converters


def _is_model(hint: Any) -> bool:
    cls = get_origin(hint) or hint
    return isinstance(cls, type) and issubclass(cls, Model)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _is_choice(hint: Any) -> bool:
    return _is_union(hint) and len([h for h in get_args(hint) if h is not types.NoneType]) > 1


def _is_mapping(hint: Any) -> bool:
    return bool(get_origin(hint) is Mapping)


def _is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple


def _converter(structure_model: Callable[[Any, Converter], _Load], *, detailed: bool) -> Converter:
    converter = Converter(detailed_validation=detailed)
    for scalar, load in (str, _load_str), (bool, _load_bool), (int, _load_int), (float, _load_float):
        converter.register_structure_hook(scalar, load)
    converter.register_structure_hook(datetime, _load_datetime)
    converter.register_structure_hook(OpenEnum, _load_open_enum)  # comes before `str` in the order of their bases
    converter.register_structure_hook_func(_is_mapping, _load_mapping)
    converter.register_structure_hook_factory(_is_tuple, _structure_tuple)
    converter.register_structure_hook_factory(_is_choice, _structure_union)
    converter.register_structure_hook_factory(_is_model, structure_model)
    converter.register_unstructure_hook(datetime, _dump_datetime)
    converter.register_unstructure_hook(tuple, lambda items: [converter.unstructure(item) for item in items])
    converter.register_unstructure_hook(Unknown, lambda unknown: unknown.raw)
    converter.register_unstructure_hook(OpenEnum, str)
    converter.register_unstructure_hook_factory(_is_model, _unstructure_model)
    return converter


_FAST: Final = _converter(_structure_model, detailed=False)
_EXACT: Final = _converter(_structure_model_exactly, detailed=True)
