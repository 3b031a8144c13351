"""`sample`: values that satisfy schemas."""

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.backends.schema_samples import sample

TREE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
    "required": ["value", "next"],
}
SHARED = {
    "$defs": {"a/b": {"type": "string", "minLength": 3}, "again": {"$ref": "#/$defs/a~1b"}},
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/again", "description": "of x"}},
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {}),
        ({}, "text"),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"city": {"type": "string"}}}, {"city": "city"}),
        ({"properties": {"a": True}, "required": ["a", "b"]}, {"a": "a", "b": "b"}),
        ({"const": None}, None),
        ({"type": "string", "enum": ["x", "y"]}, "x"),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "integer", "examples": [8]}, 8),
        ({"type": "integer"}, 1),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "string"]}, "text"),
        ({"type": ["null"]}, None),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}]}, [1, None]),
        ({"type": "array", "minItems": 3, "uniqueItems": True}, ["text0", "text1", "text2"]),
        ({"type": "array", "minItems": 2, "uniqueItems": True, "items": {"type": "number"}}, [1.0, 2.0]),
        ({"type": "array", "minItems": 2, "uniqueItems": True, "items": {"enum": [5, 6, 7]}}, [5, 6]),
        (
            {"type": "object", "minProperties": 2, "additionalProperties": {"type": "null"}},
            {"key_0": None, "key_1": None},
        ),
        ({"minimum": 5}, 6.0),
        ({"maximum": 5}, 4.0),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "string", "minLength": 6, "maxLength": 7}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        (SHARED, {"x": "xxx"}),
    ],
)
def test_values(schema, expected):
    """The value for each kind of schema, which satisfies it."""
    value = sample(schema)
    assert value == expected
    assert type(value) is type(expected)
    assert jsonschema_rs.Draft202012Validator({} if schema is None else schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        TREE,
        {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
                True,
            ]
        },
        {"oneOf": [{"type": "string", "maxLength": 1}, {"type": "integer"}]},
        {
            "type": "object",
            "properties": {
                "deep": {"type": "object", "properties": {"deeper": {"type": "object", "properties": {"x": {}}}}}
            },
        },
        {"type": "array", "minItems": 2, "uniqueItems": True, "items": {"type": "integer"}, "maxItems": 2},
    ],
)
def test_combinations(schema):
    """Recursive references, alternatives and combined schemas give valid values."""
    jsonschema_rs.Draft202012Validator(schema).validate(sample(schema))


def test_nonsense_does_no_harm():
    """An unsatisfiable or invalid schema still gives a value."""
    assert sample({"$ref": "#/nowhere"}) == "text"
    assert sample({"$ref": "#"}) == "text"
    assert sample({"type": "array", "minItems": 2, "uniqueItems": True, "items": {"type": "null"}}) == [None, None]


NUMBERS = st.integers(-50, 50)


@given(
    st.fixed_dictionaries(
        {}, optional={"minimum": NUMBERS, "exclusiveMinimum": NUMBERS, "multipleOf": st.integers(1, 7)}
    ),
    st.fixed_dictionaries({}, optional={"maximum": st.just(70), "exclusiveMaximum": st.just(71)}),
    st.sampled_from(["integer", "number"]),
)
def test_bounds(low, high, kind):
    """Numbers are within their bounds, if a value exists there."""
    schema = {"type": kind, **low, **high}
    jsonschema_rs.Draft202012Validator(schema).validate(sample(schema))


@given(
    st.fixed_dictionaries(
        {}, optional={"maximum": NUMBERS, "exclusiveMaximum": NUMBERS, "multipleOf": st.integers(1, 7)}
    )
)
def test_upper_bounds(high):
    """Numbers are below an upper bound without a lower one."""
    schema = {"type": "integer", **high}
    jsonschema_rs.Draft202012Validator(schema).validate(sample(schema))
