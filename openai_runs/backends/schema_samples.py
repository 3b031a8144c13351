"""Makes values that satisfy a JSON schema, for the arguments of scripted tool calls.

Where the schema leaves a choice, they are what the user has said: names, dates and numbers. It supports what schemas of
functions usually have: types, ``enum``, ``const``, ``default``, ``examples``, objects, arrays, ``$ref`` within the
schema, ``allOf``, ``anyOf``, ``oneOf``, bounds and lengths, common formats. It ignores other keywords (``pattern``,
``not``, ``if``, ``contains`` …) and may break them. The same schema and texts always give the same value. Any JSON
object is accepted as a schema: what is malformed in it is ignored, and the size of the value is limited.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, field

from openai_runs.backends.mentions import Mentions

_Schema = Mapping[str, Any]

_MAX_DEPTH: Final = 8  #: levels after which a recursive schema is left by the shortest way
_DEEPEST: Final = 32  #: levels after which there are only nulls: some schemas have no way out
_MAX_VALUES: Final = 1_000  #: in one sample; all others are null
_MAX_LENGTH: Final = 10_000  #: characters that a text is made long
_MAX_NUMBER: Final = 10**15  #: bounds beyond it are ignored
_FORMAT_SAMPLES: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "12345678-1234-4234-8234-123456789012",
    "decimal": "1.5",  # msgspec's name for Python's
    "base64": "dGV4dA==",  # a `contentEncoding`
}


def sample(schema: _Schema | None, said: Iterable[str] = ()) -> Any:
    """Make a value that satisfies a schema; without one, an empty object.

    Args:
        schema: A JSON schema.
        said: Texts of the user, the latest first.
    """
    return {} if schema is None else _value(schema, _Sample(schema, tuple(said)), "", 0)


@define
class _Sample:
    """What all values of one sample have in common."""

    schema: _Schema  #: the root, which references begin from
    said: tuple[str, ...]
    values: int = field(default=0, init=False)  #: how many there are so far
    mentions: Mentions = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.mentions = Mentions.of(self.said)

    def choose(self, choices: list[Any]) -> Any:
        """Choose the first choice that the user has mentioned; else the first one."""
        texts = [text.casefold() for text in self.said]
        for text in texts:
            for choice in choices:
                if isinstance(choice, str) and re.search(rf"\b{re.escape(choice.casefold())}\b", text):
                    return choice
        return choices[0]


def _value(schema: Any, root: _Sample, name: str, depth: int) -> Any:
    root.values += 1
    if root.values > _MAX_VALUES or depth > _DEEPEST:
        return None
    schema = _resolve(schema, root, depth)
    if fixed := _fixed(schema, root):
        return fixed[0]
    match _type_of(schema):
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, name, depth)
        case "integer":
            return int(_number(schema, root, step=schema.get("multipleOf") or 1))
        case "number":
            return _number(schema, root, step=schema.get("multipleOf"))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema, root, name)


def _fixed(schema: _Schema, root: _Sample) -> list[Any]:
    """The value that the schema itself names, as a list of one; empty if it names none."""
    for word in ("const", "default"):
        if word in schema:
            return [schema[word]]
    if choices := schema.get("enum"):
        return [root.choose(choices)]
    examples: list[Any] = schema.get("examples", [])
    return examples[:1]


_NUMBERS: Final = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_SIZES: Final = {"minItems", "maxItems", "minLength", "maxLength", "minProperties"}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER


#: By keyword, whether a value is well-formed. Others are ignored.
_IS_WELL_FORMED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "type": lambda value: isinstance(value, str | list),
    "$ref": lambda value: isinstance(value, str),
    "format": lambda value: isinstance(value, str),
    "contentEncoding": lambda value: isinstance(value, str),
    "properties": lambda value: isinstance(value, Mapping),
    "required": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    **dict.fromkeys(
        ("enum", "examples", "allOf", "anyOf", "oneOf", "prefixItems"), lambda value: isinstance(value, list)
    ),
    **dict.fromkeys(_NUMBERS, _is_number),
    **dict.fromkeys(_SIZES, lambda value: _is_number(value) and value >= 0 and value == int(value)),
}


def _well_formed(schema: Any) -> dict[str, Any]:
    """The keywords of a schema that are well-formed; none for ``true``, which allows any value."""
    if not isinstance(schema, Mapping):
        return {}
    always: Callable[[Any], bool] = lambda _: True  # noqa: E731  # for keywords that are not in the table
    found = {word: value for word, value in schema.items() if _IS_WELL_FORMED.get(word, always)(value)}
    return {word: int(value) if word in _SIZES else value for word, value in found.items()}


def _resolve(schema: Any, root: _Sample, depth: int) -> _Schema:
    """A schema with its references followed, its combinations merged, and one alternative chosen."""
    resolved = _well_formed(schema)
    for _ in range(_MAX_DEPTH):  # references may lead to references, also in a cycle
        parts = resolved.pop("allOf", [])
        if reference := resolved.pop("$ref", None):
            parts = [*parts, _resolve_reference(reference, root.schema)]
        for word in ("anyOf", "oneOf"):
            if alternatives := resolved.pop(word, None):  # the last one is often null or a leaf, which ends a recursion
                parts = [*parts, alternatives[-1 if depth >= _MAX_DEPTH else 0]]
        if not parts:
            break
        for part in parts:
            resolved = _merged(resolved, _well_formed(part))
    return resolved


def _resolve_reference(reference: str, root: _Schema) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            return {}  # it leads nowhere, or out of the schema
    return found


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = [*one["required"], *other["required"]]
    return merged


def _type_of(schema: _Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return str(next((each for each in kind if each != "null"), "null"))
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "number" if {"minimum", "maximum"} & schema.keys() else "string"


def _object(schema: _Schema, root: _Sample, depth: int) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    # Optional parameters of the function are included; optional properties further down are not.
    names = dict.fromkeys([*(properties if depth < 2 else ()), *required])
    value = {name: _value(properties.get(name, {}), root, name, depth + 1) for name in names}
    for index in range(len(value), min(schema.get("minProperties", 0), _MAX_VALUES)):
        value[f"key_{index}"] = _value(schema.get("additionalProperties"), root, "", depth + 1)
    return value


def _array(schema: _Schema, root: _Sample, name: str, depth: int) -> list[Any]:
    first = schema.get("prefixItems", ())
    length = max(schema.get("minItems", 0), 1 if depth < 2 else 0, len(first))
    length = min(length, schema.get("maxItems", length), _MAX_VALUES)
    schemas = [first[index] if index < len(first) else schema.get("items") for index in range(length)]
    items = [_value(each, root, name, depth + 1) for each in schemas]
    if schema.get("uniqueItems") and length > 1:
        choices = _resolve(schema.get("items"), root, depth).get("enum")
        items = choices[:length] if choices else [_make_distinct(item, index) for index, item in enumerate(items)]
    return items


def _make_distinct(item: Any, index: int) -> Any:
    if isinstance(item, str):
        return f"{item}{index}"
    return item + index if isinstance(item, int | float) else item


def _number(schema: _Schema, root: _Sample, *, step: float | None) -> float:
    mentioned = root.mentions.number(lambda number: _is_in_bounds(number, schema, step))
    return _any_number(schema, step=step) if mentioned is None else mentioned


def _is_in_bounds(number: float, schema: _Schema, step: float | None) -> bool:
    return bool(
        schema.get("minimum", number) <= number <= schema.get("maximum", number)
        and schema.get("exclusiveMinimum", number - 1) < number < schema.get("exclusiveMaximum", number + 1)
        and (step is None or number % step == 0)
    )


def _any_number(schema: _Schema, *, step: float | None) -> float:
    low = max((schema[word] for word in ("minimum", "exclusiveMinimum") if word in schema), default=None)
    high = min((schema[word] for word in ("maximum", "exclusiveMaximum") if word in schema), default=None)
    if step is None:
        if low is not None and high is not None:
            return float(low + high) / 2
        return float(low + 1 if low is not None else high - 1 if high is not None else 1)
    first = math.ceil(low / step) if low is not None else 1 if high is None else math.floor(high / step)
    if schema.get("exclusiveMinimum") == first * step:
        first += 1
    elif low is None and schema.get("exclusiveMaximum") == first * step:
        first -= 1
    return first * step


def _text(schema: _Schema, root: _Sample, name: str) -> str:
    kind = schema.get("format") or schema.get("contentEncoding", "")
    at_least: int = schema.get("minLength", 0)
    at_most: int = schema.get("maxLength", _MAX_LENGTH)

    def fits(text: str) -> bool:
        return at_least <= len(text) <= at_most

    if kind == "date":
        return root.mentions.date(lambda date: "T" not in date) or _FORMAT_SAMPLES[kind]
    if kind == "date-time":
        return root.mentions.date(lambda date: date[-1:] == "Z" or "+" in date) or _FORMAT_SAMPLES[kind]
    if kind in _FORMAT_SAMPLES:
        return _FORMAT_SAMPLES[kind]
    if "pattern" not in schema:
        found = root.mentions.date(fits) if "date" in name.lower() else root.mentions.name(fits)
        if found is not None:
            return found
    text = (name or "text").ljust(min(at_least, _MAX_LENGTH), "x")
    return text[:at_most]
