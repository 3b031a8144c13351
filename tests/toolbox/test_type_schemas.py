"""`openai_runs.toolbox.type_schemas`: the schema of a type. `test_signature.py` has those of functions."""

from typing import Any

import jsonschema_rs
import msgspec
import pydantic
import pytest
from attrs import frozen

from openai_runs.toolbox.type_schemas import schema_of, strict_schema


@frozen
class Place:
    """Somewhere."""

    city: str
    near: "tuple[Place, ...]" = ()


class Node(pydantic.BaseModel):
    value: int
    more: "list[Node]" = []


class Plain(msgspec.Struct):
    place: Place
    text: str = '"#/$defs/Plain"'


@pytest.mark.parametrize(
    ("cls", "good", "bad", "definitions"),
    [
        (Place, {"city": "a", "near": [{"city": "b"}]}, {"city": "a", "near": [{}]}, {"Place"}),
        (Node, {"value": 1, "more": [{"value": 2}]}, {"value": 1, "more": [{}]}, {"Node"}),
        (Plain, {"place": {"city": "a"}}, {"place": {}}, {"Place"}),
    ],
)
def test_the_object_stands_at_the_top(cls: Any, good: Any, bad: Any, definitions: set[str]) -> None:
    """There is no reference, which strict mode forbids there; a class that has itself in it is a definition, too."""
    schema = schema_of(cls)
    assert schema["type"] == "object"
    assert set(schema["$defs"]) == definitions
    assert jsonschema_rs.is_valid(schema, good)
    assert not jsonschema_rs.is_valid(schema, bad)


@pytest.mark.parametrize("hint", [int, list[str], dict[str, int], int | None])
def test_other_types(hint: Any) -> None:
    """What is no class has a schema without definitions."""
    assert "$defs" not in schema_of(hint)


def test_strict() -> None:
    """Everything is required; what may have any keys is refused by its place."""
    strict = strict_schema(schema_of(Place), "Place")
    assert strict["required"] == strict["$defs"]["Place"]["required"] == ["city", "near"]
    assert strict["additionalProperties"] is False
    with pytest.raises(TypeError, match=r"Box\.words may have any keys, which strict=True forbids"):
        strict_schema(schema_of(msgspec.defstruct("Box", [("words", dict[str, int])])), "Box")
