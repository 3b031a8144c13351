"""Why what a model has written does not fit, in the words of JSON: the name, what it must be, what came.

`msgspec` says that in words of its own, such as ``Expected `int`, got `str` - at `$.days```, and pydantic in several
lines with links. What a class of the caller's says stays as it is.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

#: What `msgspec` calls types, and what JSON and its schemas do.
_KINDS: Final = {
    "array": "an array",
    "bool": "a boolean",
    "bytes": "a string in base64",
    "date": "a date, such as 2026-12-31",
    "datetime": "a date and time, such as 2026-12-31T23:59:59Z",
    "decimal": "a decimal number",
    "float": "a number",
    "int": "an integer",
    "null": "null",
    "object": "an object",
    "str": "a string",
    "time": "a time of day, such as 23:59:59Z",
    "timedelta": "a duration, such as PT1H30M",
    "uuid": "a UUID",
}
_FORMATS: Final = {
    "Invalid RFC3339 encoded date": _KINDS["date"],
    "Invalid RFC3339 encoded datetime": _KINDS["datetime"],
    "Invalid RFC3339 encoded time": _KINDS["time"],
    "Invalid ISO8601 duration": _KINDS["timedelta"],
    "Invalid UUID": _KINDS["uuid"],
    "Invalid base64 encoded string": _KINDS["bytes"],
    "Invalid decimal string": _KINDS["decimal"],
}
_PLACE: Final = re.compile(r" - at `(?P<key>key` in `)?\$(?P<path>[^`]*)`$")
_EXPECTED: Final = re.compile(r"Expected `(?P<kinds>[^`]*)`(?P<limit>.*?)(?:, got (?P<got>`\w+`|\d+))?", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>.*)`", re.DOTALL)
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)
_VALUE: Final = re.compile(r"Invalid (?:enum )?value (?P<got>.*)", re.DOTALL)
_STEP: Final = re.compile(r"(?P<name>[^.\[\]]+)(?!\])|\[(?P<index>\d+|\.\.\.)\]")
#: How many of pydantic's errors, and of the values of an enumeration, are told.
_MOST: Final = 5
_MOST_VALUES: Final = 20


def misfit(error: Exception, text: str, *, whole: str, schema: Mapping[str, Any] | None = None) -> str:
    """Say why a text does not fit.

    Args:
        error: From `msgspec`, or from a class of the caller's.
        text: The text of this error.
        whole: What the model has written, as a pronoun: "they must be an object".
        schema: What the model was told to write.
    """
    if not isinstance(error, msgspec.MsgspecError):
        return text
    if text == "Input data was truncated":
        return "the JSON ends too early"
    if text.startswith("JSON is malformed"):
        return f"the {text}"
    found = _PLACE.search(text)
    if found is None:
        return _of_value(error.__cause__, text, "", whole, schema)
    path = found["path"].removeprefix(".")
    where = path or whole
    if found["key"]:
        where = f"a key of {path}" if path else "a key"
    return _of_value(error.__cause__, text[: found.start()], path, where, schema)


def _of_value(cause: BaseException | None, text: str, path: str, where: str, schema: Mapping[str, Any] | None) -> str:
    """What is said of a value, without its place."""
    if cause is not None:
        return "; ".join(_of_class(cause, text, path))
    if missing := _MISSING.fullmatch(text):
        return f"{_join(path, missing['name'])} is missing"
    if unknown := _UNKNOWN.fullmatch(text):
        return f"{_join(path, unknown['name'])} is unknown"
    if value := _VALUE.fullmatch(text):
        return f"{where} must be {_one_of(schema, path)}: got {value['got']}"
    if text in _FORMATS:
        return f"{where} must be {_FORMATS[text]}"
    if expected := _EXPECTED.fullmatch(text):
        kinds = " or ".join(_KINDS.get(kind, kind) for kind in expected["kinds"].split(" | "))
        got = expected["got"]
        came = "" if got is None else f": got {_KINDS.get(got.strip('`'), got)}"
        return f"{where} must be {kinds}{expected['limit']}{came}"
    return f"{path}: {text}" if path else text


def _of_class(cause: BaseException, text: str, place: str) -> Iterator[str]:
    """What the caller's class says of the object at a place."""
    if not type(cause).__module__.startswith("pydantic"):
        yield f"{place}: {text}" if place else text
        return
    errors = cause.errors(include_url=False, include_context=False, include_input=False)  # type: ignore[attr-defined]
    for each in errors[:_MOST]:
        inside = place
        for step in each["loc"]:
            inside = f"{inside}[{step}]" if isinstance(step, int) else _join(inside, str(step))
        yield f"{inside}: {each['msg']}" if inside else each["msg"]
    if len(errors) > _MOST:
        yield f"and {len(errors) - _MOST} more"


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _one_of(schema: Mapping[str, Any] | None, path: str) -> str:
    """The values that are allowed at a place, if the schema tells."""
    parts = [] if schema is None else list(_parts(schema, schema))
    for step in _STEP.finditer(path):
        parts = [inner for part in parts for inner in _inside(part, step, schema or {})]
    values = [value for part in parts for value in part.get("enum", ())]
    if not values or len(values) > _MOST_VALUES:
        return "one of the values in its schema"
    return f"one of {msgspec.json.encode(values).decode()[1:-1].replace(',', ', ')}"


def _inside(part: Mapping[str, Any], step: re.Match[str], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    name, index = step["name"], step["index"]
    if name is not None:
        inner = part.get("properties", {}).get(name)
    elif index.isdigit() and int(index) < len(part.get("prefixItems", ())):
        inner = part["prefixItems"][int(index)]
    else:
        inner = part.get("items" if index.isdigit() else "additionalProperties")
    if isinstance(inner, Mapping):
        yield from _parts(inner, root)


def _parts(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema, or the one that it refers to, or those that it chooses from."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    yield schema
    for each in schema.get("anyOf", ()):
        yield from _parts(each, root)
