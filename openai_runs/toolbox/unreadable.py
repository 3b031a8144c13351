"""Why a type cannot be read from JSON: which type inside of it has none, and what is wrong with that."""

import dataclasses
import types
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints, is_typeddict

import attrs
import msgspec

from openai_runs.toolbox.json_models import SchemaHook, decode_json_model, is_json_model

_INSTEAD: Final = "use builtin types, enums, dataclasses, attrs classes, TypedDicts, msgspec.Structs or pydantic models"


class _Part(NamedTuple):
    place: str  #: a field of a class; empty if it is that of the whole
    hint: Any


def check_readable(hint: Any, what: str) -> None:
    """Check that a type can be read from JSON, and has a schema.

    Args:
        hint: The type.
        what: What has this type, for the error.

    Raises:
        TypeError: It cannot; the error says which type in it is the reason.
    """
    if (problem := _problem(hint)) is not None:
        raise TypeError(f"{what}: {_reason(_Part('', hint), problem, set())}; {_INSTEAD}") from problem


def _problem(hint: Any) -> Exception | None:
    try:
        msgspec.json.Decoder(hint, dec_hook=decode_json_model)
        msgspec.json.schema(hint, schema_hook=SchemaHook())
    except Exception as error:  # from msgspec, or from the caller's annotations inside the type
        return error
    return None


def _reason(part: _Part, problem: Exception, seen: set[int]) -> str:
    """Why a type cannot be read: the innermost one that cannot be."""
    seen.add(id(part.hint))
    try:
        inner = list(_parts(part))
    except Exception as error:  # evaluating annotations runs the caller's code
        return f"the annotations of {_shown(part.hint)} cannot be read: {error}"
    for each in inner:
        if id(each.hint) not in seen and (cause := _problem(each.hint)) is not None:
            return _reason(each, cause, seen)
    where = f"{part.place}: " if part.place else ""
    return f"{where}{_words(part.hint, problem)}"


def _parts(part: _Part) -> Iterator[_Part]:
    """The types that a type is made of."""
    hint, place = part.hint, part.place
    if get_origin(hint) is Annotated:
        yield _Part(place, get_args(hint)[0])
    elif get_origin(hint) is not Literal:
        yield from (_Part(place, inner) for inner in get_args(hint) if isinstance(inner, type) or get_origin(inner))
    cls = get_origin(hint) or hint
    is_named = hasattr(cls, "_fields") or hasattr(cls, "__struct_fields__")  # a NamedTuple, a msgspec.Struct
    if is_named or dataclasses.is_dataclass(cls) or attrs.has(cls) or is_typeddict(cls):
        for name, inner in get_type_hints(cls, include_extras=True).items():
            yield _Part(f"{_shown(cls)}.{name}", inner)


def _words(hint: Any, problem: Exception) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return f"in JSON, the members of {_shown(hint)} cannot be told apart"
    if origin is Literal:
        return f"{_shown(hint)} may have strings, integers, booleans and None only"
    if is_json_model(hint):
        return f"{_shown(hint)} has no schema: {str(problem).partition(chr(10))[0]}"
    if attrs.has(hint) and (bare := [each.name for each in attrs.fields(hint) if each.type is None]):
        return f"{_shown(hint)}.{bare[0]} has no annotation"
    if "is not supported" in str(problem):  # as msgspec's errors for types end that it does not know
        return f"there is no JSON for {_shown(hint)}"
    return str(problem)


def _shown(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else str(hint).removeprefix("typing.")
