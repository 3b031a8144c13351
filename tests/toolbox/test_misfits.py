"""What a model is told about arguments that do not fit: names, and the words of JSON."""

import dataclasses
import enum
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from openai_runs.toolbox.json_models import decode_json_model
from openai_runs.toolbox.misfits import misfit
from openai_runs.toolbox.type_schemas import schema_of


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@attrs.frozen
class Stop:
    city: str
    days: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    colour: Colour | None = None
    onwards: "Stop | None" = None


class Rating(pydantic.BaseModel):
    stars: Annotated[int, pydantic.Field(le=5)]
    words: list[str] = []


@dataclasses.dataclass
class Trip:
    stops: list[Stop]
    rating: Rating | None = None
    pair: tuple[Colour, Literal[1, 2]] | None = None
    by_name: dict[str, Colour] = dataclasses.field(default_factory=dict)
    by_number: dict[int, int] = dataclasses.field(default_factory=dict)
    many: Literal[
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u"
    ] = "a"
    pets: "list[Cat | Dog]" = dataclasses.field(default_factory=list)


class Cat(msgspec.Struct, tag="cat"):
    lives: Annotated[int, msgspec.Meta(multiple_of=9)] = 9


class Dog(msgspec.Struct, tag="dog"):
    name: Annotated[str, msgspec.Meta(pattern="^`, got x")] = ""


def told(kind: Any, text: str, *, schema: bool = True) -> str:
    """What is said of a text."""
    with pytest.raises((msgspec.MsgspecError, RecursionError)) as caught:
        msgspec.json.Decoder(kind, dec_hook=decode_json_model).decode(text)
    return misfit(caught.value, str(caught.value), whole="they", schema=schema_of(kind) if schema else None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "they must be an object: got an array"),
        ("{}", "stops is missing"),
        ('{"stops": true}', "stops must be an array: got a boolean"),
        ('{"stops": [{}]}', "stops[0].city is missing"),
        ('{"stops": [{"city": 1.5}]}', "stops[0].city must be a string: got a number"),
        ('{"stops": [{"city": "Oslo", "days": 0}]}', "stops[0]: 'days' must be >= 1: 0"),
        (
            '{"stops": [{"city": "Oslo", "onwards": {"city": "Rome", "colour": "blue"}}]}',
            """stops[0].onwards.colour must be one of "green", "red": got 'blue'""",
        ),
        ('{"stops": [], "pair": ["red", 3]}', "pair[1] must be one of 1, 2: got 3"),
        ('{"stops": [], "pair": ["red"]}', "pair must be an array of length 2"),
        ('{"stops": [], "by_name": {"x": "blue"}}', """by_name[...] must be one of "green", "red": got 'blue'"""),
        ('{"stops": [], "by_number": {"x": 1}}', "a key of by_number must be an integer: got a string"),
        ('{"stops": [], "many": "z"}', "many must be one of the values in its schema: got 'z'"),
        ('{"stops": [], "pets": [{"type": "cow"}]}', 'pets[0].type must be one of "cat", "dog": got \'cow\''),
        (
            '{"stops": [], "pets": [{"type": "cat", "lives": 5}]}',
            "pets[0].lives must be an integer that's a multiple of 9",
        ),
        (
            '{"stops": [], "pets": [{"type": "dog", "name": "x"}]}',
            "pets[0].name must be a string matching regex '^`, got x'",
        ),
        (
            '{"stops": [], "rating": {"stars": 6, "words": [1]}}',
            "rating.stars: Input should be less than or equal to 5; rating.words[0]: Input should be a valid string",
        ),
        ('{"stops": [], "rating": 6}', "rating: Input should be an object"),
        ('{"stops": ', "the JSON ends too early"),
        ("stops", "the JSON is malformed: invalid character (byte 0)"),
        ("[" * 100_000, "they must be an object: got an array"),
    ],
)
def test_what_is_said(text: str, says: str) -> None:
    """The place by its names, what must be there, and what came instead."""
    assert told(Trip, text) == says


def test_without_a_schema() -> None:
    """Then the values of an enumeration are not told."""
    text = '{"stops": [{"city": "Oslo", "colour": "blue"}]}'
    assert told(Trip, text, schema=False) == "stops[0].colour must be one of the values in its schema: got 'blue'"


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (date, '"x"', "they must be a date, such as 2026-12-31"),
        (datetime, '"2026"', "they must be a date and time, such as 2026-12-31T23:59:59Z"),
        (time, '"x"', "they must be a time of day, such as 23:59:59Z"),
        (timedelta, '"x"', "they must be a duration, such as PT1H30M"),
        (UUID, '"x"', "they must be a UUID"),
        (bytes, '"%"', "they must be a string in base64"),
        (Decimal, '"x"', "they must be a decimal number"),
        (int | str | None, "1.5", "they must be an integer or a string or null: got a number"),
        (float, "1e999", "Number out of range"),
        (list[float], "[1e999]", "[0]: Number out of range"),
        (Annotated[tuple[int, ...], msgspec.Meta(min_length=1)], "[]", "they must be an array of length >= 1"),
        (Rating, '{"stars": 6}', "stars: Input should be less than or equal to 5"),
        (Rating, "6", "Input should be an object"),
        (Rating, '{"stars": 1, "words": [1, 2, 3, 4, 5, 6, 7]}', "; and 2 more"),
        (Stop, '{"city": "Oslo", "days": 0}', "'days' must be >= 1: 0"),
        (dict[Colour, int], '{"blue": 1}', "a key must be one of the values in its schema: got 'blue'"),
    ],
)
def test_words_of_types(kind: Any, text: str, says: str) -> None:
    """No word of a library's; where one says what none of ours does, it is at its place."""
    assert told(kind, text).endswith(says)


def test_errors_of_other_kinds() -> None:
    """What is not from there stays as it is."""
    assert misfit(KeyError("two"), "'two'", whole="they") == "'two'"
