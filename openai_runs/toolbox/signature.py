"""Reads a function's signature: makes the JSON Schema of its arguments, and the class that they are decoded into.

`msgspec` does both. This module collects type hints and descriptions for it, and its errors name the parameter that
`msgspec` cannot handle.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_type_hints

import msgspec
from attrs import frozen


@frozen
class Signature:
    """What a model needs to know to call a function, and the class for the arguments that it sends."""

    description: str | None
    schema: Mapping[str, Any]  #: of one JSON object; complete, with its own ``$defs``
    arguments: type[msgspec.Struct]  #: a field for each parameter


def read_signature(function: Callable[..., Any], *, strict: bool = False) -> Signature:
    """Read the signature, type hints and docstring of a function.

    Args:
        function: The function.
        strict: Make a schema for the API's strict mode.

    Raises:
        TypeError: It cannot be called with JSON; the message names the parameter and says what to do.
    """
    import docstring_parser  # a tenth of the package's import time, which clients without tools need not spend

    docstring = docstring_parser.parse(inspect.getdoc(function))
    descriptions = {p.arg_name: p.description for p in docstring.params if p.description}
    arguments = _arguments(function, descriptions)
    schema = _schema(arguments)
    return Signature(
        description=(docstring.description or "").strip() or None,
        schema=_strict(schema, function.__qualname__) if strict else schema,
        arguments=arguments,
    )


def _arguments(function: Callable[..., Any], descriptions: Mapping[str, str]) -> type[msgspec.Struct]:
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # evaluating annotations runs the caller's code, which may raise anything
        raise TypeError(
            f"the annotations of {function.__qualname__}() cannot be read: {error}; every name in them must exist "
            "in the function's module at run time"
        ) from error
    fields = []
    for parameter in parameters:
        where = f"parameter {parameter.name!r} of {function.__qualname__}()"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"{where} is {parameter.kind.description}, but a model passes each argument by its name: "
                "make it an ordinary parameter"
            )
        if parameter.name not in hints:
            raise TypeError(f"{where} has no annotation: add its type, as in `{parameter.name}: str`")
        hint = hints[parameter.name]
        if parameter.name in descriptions:
            hint = Annotated[hint, msgspec.Meta(description=descriptions[parameter.name])]
        fields.append(_field(where, parameter, hint))
    return msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _field(where: str, parameter: inspect.Parameter, hint: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    """A parameter as `msgspec.defstruct` takes it."""
    try:
        msgspec.json.Decoder(hint)
        msgspec.json.schema(hint)
    except Exception as error:  # from msgspec, or from the caller's annotations inside the type
        raise TypeError(
            f"{where} has a type that cannot be read from JSON: {error}; use builtin types, enums, dataclasses, attrs "
            "classes, TypedDicts or msgspec.Structs"
        ) from error
    default = parameter.default
    if default is parameter.empty:
        return parameter.name, hint
    try:
        msgspec.json.schema(msgspec.defstruct("_", [(parameter.name, hint, default)]))
    except TypeError:  # mutable, or not JSON: the function still gets this default, but the schema cannot have it
        default = msgspec.field(default_factory=lambda: parameter.default)
    return parameter.name, hint, default


def _schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    (reference,), definitions = msgspec.json.schema_components([arguments])
    schema: dict[str, Any] = definitions.pop(reference["$ref"].removeprefix("#/$defs/"))
    del schema["title"]  # redundant: a tool has a name
    return {**schema, "$defs": definitions} if definitions else schema


def _strict(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Convert a schema for strict mode: no additional properties, all required, no keys beside a ``$ref``."""
    strict = {key: value for key, value in schema.items() if key != "default"}
    if "$ref" in strict and len(strict) > 1:
        strict["anyOf"] = [{"$ref": strict.pop("$ref")}]
    for key in strict.keys() & {"properties", "$defs"}:
        strict[key] = {name: _strict(part, f"{where}.{name}") for name, part in strict[key].items()}
    for key in strict.keys() & {"anyOf", "prefixItems"}:
        strict[key] = [_strict(part, where) for part in strict[key]]
    if strict.get("items"):
        strict["items"] = _strict(strict["items"], f"{where}[]")
    if strict.get("type") == "object":
        if "properties" not in strict:
            raise TypeError(f"{where} may have any keys, which strict=True forbids: name them in a class")
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    return strict
