"""`sample`: values that satisfy schemas."""

import json

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
        ({"type": "string", "format": "decimal"}, "1.5"),
        ({"type": "string", "contentEncoding": "base64"}, "dGV4dA=="),
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
    for reference in ("#/$defs/0/type", "#/$defs/7", "#/$defs/x/y", "https://example.com/schema", "", 7, None):
        assert sample({"$defs": [{"type": "string"}], "properties": {"a": {"$ref": reference}}, "type": "object"}) == {
            "a": "a"
        }
    assert sample({"$ref": "#/$defs/1", "$defs": [{"type": "null"}, {"type": "integer"}]}) == 1


def test_a_schema_without_end_is_limited():
    """Recursion without a way out and huge sizes give a value of limited size."""
    endless = sample({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})
    assert len(json.dumps(endless)) < 1000
    wide = {"type": "array", "minItems": 10**9, "items": {"$ref": "#"}}
    assert len(json.dumps(sample(wide))) < 300_000
    assert len(sample({"type": "string", "minLength": 10**12})) == 10_000
    assert len(sample({"type": "object", "minProperties": 10**12})) == 1000


KEYWORDS = ["type", "$ref", "format", "properties", "required", "enum", "allOf", "anyOf", "items", "prefixItems"]
MORE_KEYWORDS = [
    "minimum",
    "maximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "minLength",
    "minProperties",
    "a",
    "contentEncoding",
]
VALUES = [
    "object",
    "array",
    "string",
    "integer",
    "number",
    "#/a",
    "#/properties/a",
    "#",
    True,
    None,
    0,
    1,
    -3,
    10**400,
    0.5,
]
JSON = st.recursive(
    st.sampled_from(VALUES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS + MORE_KEYWORDS), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(KEYWORDS + MORE_KEYWORDS), JSON))
def test_any_json_is_a_schema(schema):
    """Whatever a tool's parameters are, there is a value for them, and it is JSON."""
    json.dumps(sample(schema, ["On 2027-03-04 I fly to Rio with 3 bags."]), allow_nan=False)


TEXT, DATE, WHOLE = {"type": "string"}, {"type": "string", "format": "date"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("properties", "said", "expected"),
    [
        ({"city": TEXT}, ["Weather in Lisbon?"], {"city": "Lisbon"}),
        ({"city": TEXT}, ["What is it like here?", "I am in New York now."], {"city": "New York"}),
        ({"city": TEXT}, ["How is it in Zürich or Aix-en-Provence?"], {"city": "Zürich"}),
        ({"from": TEXT, "to": TEXT}, ["From Oslo to Rio de Janeiro, please"], {"from": "Oslo", "to": "Rio"}),
        ({"city": TEXT, "unit": TEXT}, ["Weather in Oslo"], {"city": "Oslo", "unit": "unit"}),
        ({"city": TEXT}, ["Hello! Tell me. I'm here"], {"city": "city"}),
        ({"code": TEXT | {"maxLength": 3}}, ["Fly Lisbon to OSL"], {"code": "OSL"}),
        ({"unit": {"enum": ["celsius", "fahrenheit"]}}, ["In Fahrenheit, please"], {"unit": "fahrenheit"}),
        ({"unit": {"enum": ["celsius", "fahrenheit"]}}, ["In kelvin, please"], {"unit": "celsius"}),
        ({"on": DATE, "n": WHOLE}, ["The 3 of us on 2027-03-04"], {"on": "2027-03-04", "n": 3}),
        ({"date": TEXT, "city": TEXT}, ["Oslo on 2027-03-04 in Norway"], {"date": "2027-03-04", "city": "Norway"}),
        (
            {"at": {"type": "string", "format": "date-time"}},
            ["Not 2027-03-04T05:06 but 2027-03-04T05:06:07Z"],
            {"at": "2027-03-04T05:06:07Z"},
        ),
        ({"n": WHOLE | {"maximum": 9}, "x": {"type": "number"}}, ["12 times -7.5, or 8"], {"n": 8, "x": 12}),
        ({"mail": TEXT | {"format": "email"}}, ["Write to Ann in Oslo"], {"mail": "someone@example.com"}),
        ({"code": TEXT | {"pattern": "^[a-z]+$"}}, ["Weather in Oslo"], {"code": "code"}),
        ({"n": WHOLE}, ["room 12b at 10:30 costs 7/8"], {"n": 1}),
    ],
)
def test_what_the_user_said(properties, said, expected):
    """Names, dates and numbers of the latest message come first; each is used once, where the schema allows it."""
    assert sample({"type": "object", "properties": properties}, said) == expected


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
