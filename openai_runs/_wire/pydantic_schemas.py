"""What pydantic, and so FastAPI, is told of a model: it is checked by `load`, written by `dump`, and has these fields.

Only pydantic calls this, so nothing else imports the module, and pydantic need not be installed.
"""

import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from inspect import getdoc
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin

import attrs

from openai_runs._wire.converting import dump, load, with_article
from openai_runs._wire.hints import fields_of, is_mapping, is_model, is_tuple, is_union, with_arguments
from openai_runs.errors import ProtocolError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

#: Under this name, pydantic keeps the model for `json_schema`.
_TARGET: Final = "openai_runs.model"
_TYPES: Final[Mapping[Any, Mapping[str, Any]]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "number", "description": "Unix seconds"},
    types.NoneType: {"type": "null"},
}


def core_schema(target: Any) -> "CoreSchema":
    """Pydantic's schema of a model class, or of a generic one such as ``Page[Run]``."""
    from pydantic_core.core_schema import no_info_plain_validator_function, plain_serializer_function_ser_schema

    cls = get_origin(target) or target

    def validate(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if value.__class__ is not dict:
            raise ValueError(f"not {with_article(cls.__name__)}: expected {cls.__name__} or a JSON object")
        try:
            return load(value, target)
        except ProtocolError as error:
            raise ValueError(str(error)) from error  # which pydantic takes for its own kind

    return no_info_plain_validator_function(
        validate,
        ref=_reference(target),
        serialization=plain_serializer_function_ser_schema(dump),
        metadata={_TARGET: target},
    )


def _reference(target: Any) -> str:
    """What makes the JSON schema a definition of its own; in the form from which pydantic makes short, clear names."""
    cls = get_origin(target) or target
    of = ",".join(map(_reference, get_args(target)))
    return f"{cls.__module__}.{cls.__qualname__}:{id(cls)}" + (f"[{of}]" if of else "")


def json_schema(schema: "CoreSchema") -> dict[str, Any]:
    """The JSON schema of a model, from what `core_schema` has made of it."""
    return _of(schema["metadata"][_TARGET])


def _of(hint: Any, target: Any = None) -> dict[str, Any]:
    """The JSON schema of a field's type; ``{}``, which is anything, for what has no closer one."""
    hint = with_arguments(hint, target)
    if get_origin(hint) is Annotated:
        return _of(get_args(hint)[0])
    if is_model(hint):
        return _of_model(hint)
    if is_union(hint):
        return {"anyOf": [_of(member) for member in get_args(hint)]}
    if is_tuple(hint):
        return {"type": "array", "items": _of(get_args(hint)[0])}
    if is_mapping(hint):
        return {"type": "object"}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if isinstance(hint, type) and issubclass(hint, Enum):  # open: the known values are examples
        return {"type": "string", "examples": [member.value for member in hint]}
    return dict(_TYPES.get(hint, {}))


def _of_model(target: Any) -> dict[str, Any]:
    cls = get_origin(target) or target
    fields = fields_of(cls)
    schema = {
        "title": cls.__name__,
        "description": (getdoc(cls) or "").partition("\n")[0],
        "type": "object",
        "properties": {name: _of(field.type, target) for name, field in fields.items()},
    }
    if required := [name for name, field in fields.items() if field.default is attrs.NOTHING]:
        schema["required"] = required
    return schema
