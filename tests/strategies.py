"""Hypothesis strategies: bodies that the API's document allows, damage to them, and what to look for afterwards."""

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import attrs
from hypothesis import strategies as st

from openai_runs.models.model import Model, Unknown
from tests.samples import SCHEMAS

_text = st.text(max_size=12)
_scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | _text
)
#: Any JSON.
json_values: st.SearchStrategy[Any] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3), max_leaves=6
)
#: Fields that no schema knows; servers are free to send them.
unknown_fields = st.dictionaries(_text.map("x-{}".format), json_values, max_size=2)
#: Seconds, and what servers send that do not count in seconds, or have no time to tell.
unix_times = st.integers(0, 2**32) | st.integers(10**12, 4 * 10**12) | st.just(-1)


@cache
def bodies(name: str, *, unknown: bool = True) -> st.SearchStrategy[Any]:
    """JSON that is valid against a component of the API's document, perhaps with fields that it does not name."""
    return _valid(SCHEMAS[name], unknown)


def _valid(schema: dict[str, Any], unknown: bool) -> st.SearchStrategy[Any]:
    """The part of JSON Schema that the document uses."""
    if "$ref" in schema:
        return st.deferred(lambda: bodies(schema["$ref"].rpartition("/")[2], unknown=unknown))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        beside = {word: value for word, value in schema.items() if word not in ("anyOf", "oneOf")}
        return st.one_of(*(_valid({**beside, **branch}, unknown) for branch in branches))
    match schema.get("type", "object" if "properties" in schema else "any"):
        case list(kinds):
            return st.one_of(*(_valid({**schema, "type": kind}, unknown) for kind in kinds))
        case "object":
            return _objects(schema, unknown)
        case "array":
            least, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
            return st.lists(_valid(schema["items"], unknown), min_size=least, max_size=most)
        case "integer" if schema.get("format") == "unixtime":
            return unix_times
        case "integer":
            integers = st.integers(schema.get("minimum", -(2**40)), schema.get("maximum", 2**40))
            return integers | integers.map(float)  # 1.0 is an integer in JSON Schema
        case "number":
            bounds = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
            return st.floats(**bounds, allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1])
        case "string":
            return st.text(max_size=min(schema.get("maxLength", 12), 12))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return json_values


def _objects(schema: dict[str, Any], unknown: bool) -> st.SearchStrategy[Any]:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    if not properties:
        return st.dictionaries(_text, json_values if more is True else _valid(more, unknown), max_size=3)
    optional = {name: _valid(inner, unknown) for name, inner in properties.items()}
    required = {name: optional.pop(name) for name in schema.get("required", ()) if name in optional}
    fields = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda x, known: x | known, unknown_fields, fields) if more and unknown else fields


@st.composite
def damaged(draw: st.DrawFn, intact: st.SearchStrategy[Any]) -> Any:
    """A body in which one place has been replaced by something else, or is missing."""
    body = draw(intact)
    place, parent, key = body, None, None
    while isinstance(place, dict | list) and place and (parent is None or draw(st.integers(0, 3))):
        parent = place
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        place = place[key]
    if parent is None or key is None:
        return draw(json_values)
    if draw(st.booleans()):
        parent[key] = draw(json_values)
    else:
        del parent[key]
    return body


def unknown_parts(value: Any) -> Iterator[Unknown]:
    """What was kept raw, though the document knows it."""
    if isinstance(value, Unknown):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from unknown_parts(item)
    elif isinstance(value, Model):
        for field in attrs.fields(type(value)):
            yield from unknown_parts(getattr(value, field.name))


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; numbers as near as times are kept."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
        case list(), list():
            return len(one) == len(other) and all(map(equal, one, other))
        case (int() | float(), float()) | (float(), int() | float()):
            return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-3)
    return bool(one == other)
