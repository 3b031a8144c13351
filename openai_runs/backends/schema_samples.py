"""Makes values that satisfy a JSON schema, for the arguments of scripted tool calls.

It supports what schemas of functions usually have: types, ``enum``, ``const``, ``default``, ``examples``, objects,
arrays, ``$ref`` within the schema, ``allOf``, ``anyOf``, ``oneOf``, bounds and lengths, common formats. It ignores
other keywords (``pattern``, ``not``, ``if``, ``contains`` …) and may break them. A schema always gives the same value.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

_Schema = Mapping[str, Any]

_MAX_DEPTH: Final = 8  #: levels after which a recursive schema is left by the shortest way
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
}


def sample(schema: _Schema | None) -> Any:
    """Make a value that satisfies a schema; without one, an empty object."""
    return {} if schema is None else _value(schema, schema, "", 0)


def _value(schema: Any, root: _Schema, name: str, depth: int) -> Any:
    schema = _resolve(schema, root, depth)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if choices := schema.get("examples") or schema.get("enum"):
        return choices[0]
    match _type_of(schema):
        case "object":
            return _object(schema, root, depth)
        case "array":
            return _array(schema, root, name, depth)
        case "integer":
            return int(_number(schema, step=schema.get("multipleOf") or 1))
        case "number":
            return _number(schema, step=schema.get("multipleOf"))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema, name)


def _resolve(schema: Any, root: _Schema, depth: int) -> _Schema:
    """A schema with its references followed, its combinations merged, and one alternative chosen."""
    if not isinstance(schema, Mapping):  # `true`, which allows any value
        return {}
    resolved: dict[str, Any] = dict(schema)
    for _ in range(_MAX_DEPTH):  # references may lead to references, also in a cycle
        parts = resolved.pop("allOf", [])
        if reference := resolved.pop("$ref", None):
            parts = [*parts, _resolve_reference(reference, root)]
        for word in ("anyOf", "oneOf"):
            if alternatives := resolved.pop(word, None):  # the last one is often null or a leaf, which ends a recursion
                parts = [*parts, alternatives[-1 if depth >= _MAX_DEPTH else 0]]
        if not parts:
            break
        for part in parts:
            resolved = _merged(resolved, part)
    return resolved


def _resolve_reference(reference: str, root: _Schema) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {})
    return found


def _merged(one: dict[str, Any], other: Any) -> dict[str, Any]:
    if not isinstance(other, Mapping):
        return one
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


def _object(schema: _Schema, root: _Schema, depth: int) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    # Optional parameters of the function are included; optional properties further down are not.
    names = dict.fromkeys([*(properties if depth < 2 else ()), *required])
    value = {name: _value(properties.get(name, {}), root, name, depth + 1) for name in names}
    for index in range(len(value), schema.get("minProperties", 0)):
        value[f"key_{index}"] = _value(schema.get("additionalProperties"), root, "", depth + 1)
    return value


def _array(schema: _Schema, root: _Schema, name: str, depth: int) -> list[Any]:
    first = schema.get("prefixItems", ())
    length = max(schema.get("minItems", 0), 1 if depth < 2 else 0, len(first))
    length = min(length, schema.get("maxItems", length))
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


def _number(schema: _Schema, *, step: float | None) -> float:
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


def _text(schema: _Schema, name: str) -> str:
    if (text := _FORMAT_SAMPLES.get(schema.get("format", ""))) is not None:
        return text
    text = (name or "text").ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]
