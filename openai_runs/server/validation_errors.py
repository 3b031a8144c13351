"""Error responses for invalid requests, with the message, ``param`` and ``code`` that the hosted API used.

Programs match on the codes, and people read the messages: each names one cause, its place and its limit.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jsonschema_rs import ValidationError
from jsonschema_rs import ValidationErrorKind as Kind

from openai_runs.engine.errors import ApiError

_WITH_ARTICLE: Final = {
    "array": "an array",
    "boolean": "a boolean",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def wrong_type(name: str, expected: str, got: str) -> ApiError:
    """A value of the wrong JSON type."""
    what = f"Invalid type for '{name}'" if name else "Invalid request body"
    return ApiError(
        400, f"{what}: expected {expected}, but got {got} instead.", param=name or None, code="invalid_type"
    )


def not_one_of(name: str, value: object, options: Sequence[object]) -> ApiError:
    """A value that is not one of the enumerated ones."""
    supported = _joined([f"'{option}'" for option in options], "and")
    return ApiError(
        400, f"Invalid value: {_quoted(value)}. Supported values are: {supported}.", param=name, code="invalid_value"
    )


def below_minimum(name: str, value: object, least: object, *, kind: str = "integer") -> ApiError:
    """A number below the minimum; ``kind`` is ``integer`` or ``decimal``."""
    text = f"{kind} below minimum value. Expected a value >= {least}, but got {_quoted(value)} instead."
    return ApiError(400, f"Invalid '{name}': {text}", param=name, code=f"{kind}_below_min_value")


def above_maximum(name: str, value: object, most: object, *, kind: str = "integer") -> ApiError:
    """A number above the maximum; ``kind`` is ``integer`` or ``decimal``."""
    text = f"{kind} above maximum value. Expected a value <= {most}, but got {_quoted(value)} instead."
    return ApiError(400, f"Invalid '{name}': {text}", param=name, code=f"{kind}_above_max_value")


def too_many_values(number: int, most: int) -> ApiError:
    """A body with more JSON values than the server accepts; the hosted API had no such limit, and so no code for it."""
    text = f"too many values. Expected at most {most} JSON values in all, but got {number} instead."
    return ApiError(400, f"Invalid request body: {text}", code="body_above_max_values")


def unknown_parameter(path: Sequence[str | int]) -> ApiError:
    """A name that the API does not have in this place."""
    name = dotted(path)
    return ApiError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def too_long_text(name: str, most: int) -> ApiError:
    """A text of more than ``most`` bytes, which was not read to its end."""
    text = f"string too long. Expected a string with maximum length {most}."
    return ApiError(400, f"Invalid '{name[:64]}': {text}", param=name[:64], code="string_above_max_length")


def too_many_items(path: Sequence[str | int], items: Any, most: int) -> ApiError:
    """An array that is too long."""
    name = dotted(path)
    return ApiError(
        400, f"Invalid '{name}': {_too_long('array', items, most)}", param=name, code="array_above_max_length"
    )


def too_many_properties(path: Sequence[str | int], properties: Any, most: int) -> ApiError:
    """An object with too many keys."""
    name = dotted(path)
    text = f"too many properties. Expected an object with at most {most} properties, but got {len(properties)}."
    return ApiError(400, f"Invalid '{name}': {text}", param=name, code="object_above_max_properties")


def from_schema_errors(errors: Sequence[ValidationError], document: Mapping[str, Any]) -> ApiError:
    """Make the error response for a body that does not fit its schema.

    Args:
        errors: What the validator found, at least one.
        document: The document that contains the schema.
    """
    # An unknown name comes before a missing one: it is often the misspelt one.
    error = next((error for error in errors if isinstance(error.kind, Kind.AdditionalProperties)), errors[0])
    path, value = error.instance_path, error.instance
    name = dotted(path)
    match error.kind:
        case Kind.AnyOf(branches) | Kind.OneOfNotValid(branches):
            return _union_error(path, value, branches, document)
        case Kind.AdditionalProperties(unexpected):
            return unknown_parameter([*path, unexpected[0]])
        case Kind.Required(missing):
            name = dotted([*path, missing])
            text = f"Missing required parameter: '{name}'."
            return ApiError(400, text, param=name, code="missing_required_parameter")
        case Kind.Type(types):
            return wrong_type(name, _expected(types), _WITH_ARTICLE[_json_type(value)])
        case Kind.Enum(options):
            return not_one_of(name, value, options)
        case Kind.OneOfMultipleValid():
            text = "give only one of the forms that exclude each other."
            return ApiError(400, f"Invalid '{name}': {text}", param=name, code="invalid_value")
        case _:
            return _limit_error(name, error, document)


def _limit_error(name: str, error: ValidationError, document: Mapping[str, Any]) -> ApiError:
    """Make the error for a value of the right type that breaks a limit."""
    value: Any = error.instance
    match error.kind:
        case Kind.Minimum(limit):
            return below_minimum(name, value, limit, kind=_kind_of_number(error, document))
        case Kind.Maximum(limit):
            return above_maximum(name, value, limit, kind=_kind_of_number(error, document))
        case Kind.MinItems(limit):
            text = f"empty array. Expected an array with minimum length {limit}, but got an empty array instead."
            code = "empty_array"
        case Kind.MaxItems(limit):
            return too_many_items(error.instance_path, value, limit)
        case Kind.MaxLength(limit):
            text, code = _too_long("string", value, limit), "string_above_max_length"
        case Kind.PropertyNames(inner):
            text, code = (
                f"a key is a {_too_long('string', inner.instance, inner.kind.value)}",
                "string_above_max_length",
            )
        case Kind.MaxProperties(limit):
            return too_many_properties(error.instance_path, value, limit)
        case Kind.Pattern(pattern):
            text = f"string does not match pattern. Expected '{pattern}', but got {_quoted(value)} instead."
            code = "invalid_value"
        case Kind.Format():
            text = f"Expected a valid URL, but got {_quoted(value)} instead."
            code = "invalid_value"
        case _:  # a keyword that the document does not use so far
            text, code = f"{error.message[:200]}.", "invalid_value"
    return ApiError(400, f"Invalid '{name}': {text}", param=name, code=code)


def _union_error(
    path: list[str | int], value: Any, branches: list[list[ValidationError]], document: Mapping[str, Any]
) -> ApiError:
    """Find the branch that was meant, by JSON type and by ``type``, and make the error for that branch."""
    tag = [*path, "type"]
    options: list[object] = []
    types: list[str] = []
    for branch in branches:
        wrong_tag = [e for e in branch if isinstance(e.kind, Kind.Enum) and e.instance_path == tag]
        wrong_type_here = [e for e in branch if isinstance(e.kind, Kind.Type) and e.instance_path == path]
        if not wrong_tag and not wrong_type_here:
            return from_schema_errors(branch, document)
        options += [option for e in wrong_tag for option in e.kind.value]
        types += [name for e in wrong_type_here for name in e.kind.value]
    if options:
        return not_one_of(dotted(tag), value["type"], options)
    return wrong_type(dotted(path), _expected(types), _WITH_ARTICLE[_json_type(value)])


def _too_long(kind: str, value: Any, most: int) -> str:
    a_kind = f"{_WITH_ARTICLE[kind]} with"
    return f"{kind} too long. Expected {a_kind} maximum length {most}, but got {a_kind} length {len(value)} instead."


def _kind_of_number(error: ValidationError, document: Mapping[str, Any]) -> str:
    """``decimal`` if the schema allows fractions, even if this value has none."""
    schema: Any = document
    for key in error.schema_path[:-1]:
        schema = schema[key]
    return "decimal" if "number" in schema["type"] else "integer"


def dotted(path: Sequence[str | int]) -> str:
    """A path such as ``tools[0].function.name``; keys come from the caller, so long ones are cut."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[:64]}" for step in path)
    return "".join(steps).removeprefix(".")


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"


def _expected(types: Sequence[str]) -> str:
    """The expected types in words; ``null`` only if it stands alone, since a wrong value was not meant as none."""
    names = [_WITH_ARTICLE[name] for name in dict.fromkeys(types) if name != "null"] or [_WITH_ARTICLE["null"]]
    return names[0] if len(names) == 1 else f"one of {_joined(names, 'or')}"


def _joined(words: Sequence[str], last: str) -> str:
    if len(words) < 3:
        return f" {last} ".join(words)
    return f"{', '.join(words[:-1])}, {last} {words[-1]}"


def _quoted(value: object) -> str:
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 64 else f"{text[:63]}…"
