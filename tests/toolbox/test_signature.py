"""`openai_runs.toolbox.signature`: the description and schema of a function."""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import attrs
import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.toolbox.signature import read_signature


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Detail(StrEnum):
    """How much to say."""

    SHORT = "short"
    LONG = "long"


@dataclasses.dataclass
class Place:
    """Somewhere on Earth."""

    city: str
    near: "list[Place]" = dataclasses.field(default_factory=list)


@attrs.frozen
class Span:
    days: int = attrs.field(validator=attrs.validators.gt(0))


class Sky(TypedDict):
    clouds: float
    rain: NotRequired[bool]


class Wind(msgspec.Struct):
    speed: float


def objects_in(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    if isinstance(schema, dict | list):
        for part in schema.values() if isinstance(schema, dict) else schema:
            yield from objects_in(part)


def test_schema_by_value() -> None:
    """Names, types, descriptions, limits and defaults, all of it."""

    def get_weather(
        city: str,
        unit: Unit = Unit.CELSIUS,
        *,
        days: Annotated[int, msgspec.Meta(ge=1, le=14)],
        parts: Literal["day", "night"] = "day",
        detail: Annotated[Detail | None, msgspec.Meta(description="Ours.")] = None,
    ) -> str:
        """Look the weather up.

        Needs no key.

        Args:
            city: The city,
                with its country.
            days: How far to look ahead.

        Returns:
            A report.
        """
        return f"{city}{unit}{days}{parts}{detail}"

    signature = read_signature(get_weather)
    assert signature.description == "Look the weather up.\n\nNeeds no key."
    assert signature.schema == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city,\nwith its country."},
            "unit": {"$ref": "#/$defs/Unit", "default": "celsius"},
            "days": {"type": "integer", "minimum": 1, "maximum": 14, "description": "How far to look ahead."},
            "parts": {"enum": ["day", "night"], "default": "day"},
            "detail": {
                "anyOf": [{"$ref": "#/$defs/Detail"}, {"type": "null"}],
                "default": None,
                "description": "Ours.",
            },
        },
        "required": ["city", "days"],
        "additionalProperties": False,
        "$defs": {
            "Unit": {"title": "Unit", "enum": ["celsius", "fahrenheit"]},
            "Detail": {"title": "Detail", "description": "How much to say.", "enum": ["long", "short"]},
        },
    }


@pytest.mark.parametrize(
    "docstring",
    [
        "Find it.\n\nArgs:\n    query: What to find.\n",
        "Find it.\n\nParameters\n----------\nquery : str\n    What to find.\n",
        "Find it.\n\n:param query: What to find.\n:returns: it\n",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_any_style_of_docstring_will_do(docstring: str) -> None:
    def find(query: str) -> str:
        return query

    find.__doc__ = docstring
    signature = read_signature(find)
    assert signature.description == "Find it."
    assert signature.schema["properties"]["query"]["description"] == "What to find."


def test_there_may_be_nothing_to_tell() -> None:
    signature = read_signature(lambda: None)
    assert signature.description is None
    assert signature.schema == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


@pytest.mark.parametrize("strict", [False, True])
def test_schema_is_self_contained(strict: bool) -> None:
    """Every reference, recursive or not, resolves below ``$defs``, and nothing in ``$defs`` is unused."""

    def plan(where: Place, span: Span, sky: Sky, wind: Wind | None = None) -> str:
        return f"{where} {span} {sky} {wind}"

    schema = read_signature(plan, strict=strict).schema
    referred = {part["$ref"] for part in objects_in(schema) if "$ref" in part}
    assert referred == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(schema["$defs"]) == {"Place", "Span", "Sky", "Wind"}


def test_class_may_have_the_name_of_the_function() -> None:
    def find(place: Place) -> str:
        return place.city

    find.__name__ = "Place"
    schema = read_signature(find).schema
    (name,) = schema["$defs"]
    assert schema["properties"] == {"place": {"$ref": f"#/$defs/{name}"}}
    assert schema["$defs"][name]["description"] == "Somewhere on Earth."


def test_default_that_json_cannot_say_is_not_told() -> None:
    """A mutable default is left out of the schema."""

    def collect(
        near: Place = Place("Oslo"),  # noqa: B008  # users write this, too
        empty: list[str] = [],  # noqa: B006  # likewise
        words: list[str] = ["a"],  # noqa: B006  # likewise
        limit: int = object(),  # type: ignore[assignment]  # a default that is no JSON
    ) -> str:
        return f"{near} {empty} {words} {limit}"

    schema = read_signature(collect).schema
    assert schema["required"] == []
    assert {name: part["default"] for name, part in schema["properties"].items() if "default" in part} == {
        "near": {"city": "Oslo", "near": []},
        "empty": [],
    }


def test_strict_schema_leaves_the_model_no_choice() -> None:
    """In strict mode objects allow no other keys and require all of theirs; no defaults, no keys beside a ``$ref``."""

    def plan(where: Place, sky: Sky, unit: Unit = Unit.CELSIUS, default: tuple[Place, int] | None = None) -> str:
        """Plan.

        Args:
            where: The place to go to.
        """
        return f"{where} {sky} {unit} {default}"

    schema = read_signature(plan, strict=True).schema
    assert schema["properties"] == {
        "where": {"description": "The place to go to.", "anyOf": [{"$ref": "#/$defs/Place"}]},
        "sky": {"$ref": "#/$defs/Sky"},
        "unit": {"$ref": "#/$defs/Unit"},
        "default": {
            "anyOf": [
                {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": 2,
                    "prefixItems": [{"$ref": "#/$defs/Place"}, {"type": "integer"}],
                    "items": False,
                },
                {"type": "null"},
            ]
        },
    }
    assert schema["required"] == ["where", "sky", "unit", "default"]
    for part in objects_in(schema):
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
    assert schema["$defs"]["Place"]["properties"]["near"] == {"type": "array", "items": {"$ref": "#/$defs/Place"}}


def test_strict_schema_cannot_have_free_keys() -> None:
    def count(words: list[dict[str, int]]) -> int:
        return len(words)

    with pytest.raises(TypeError, match=r"count\.words\[\] may have any keys"):
        read_signature(count, strict=True)


def forecast(
    days: Annotated[int, msgspec.Meta(ge=1, le=14)],
    places: list[Place],
    unit: Unit = Unit.CELSIUS,
    sky: Sky | None = None,
    words: dict[str, str] = {},  # noqa: B006  # users write this, too
) -> str:
    return f"{days} {places} {unit} {sky} {words}"


places = st.fixed_dictionaries({"city": st.text()}, optional={"near": st.just([{"city": "Oslo"}]) | st.just(["Oslo"])})
objects = st.fixed_dictionaries(
    {"days": st.integers(-2, 20) | st.booleans()},
    optional={
        "places": st.lists(places | st.just({"town": "Oslo"}), max_size=2),
        "unit": st.sampled_from(["celsius", "kelvin", None, 1]),
        "sky": st.none() | st.just({"clouds": 1}) | st.just({"rain": True}) | st.just({"clouds": "1"}),
        "words": st.dictionaries(st.text(), st.text() | st.integers(), max_size=2),
        "more": st.none(),
    },
)


@given(objects)
def test_schema_says_what_is_accepted(value: dict[str, Any]) -> None:
    """Arguments are accepted exactly if an independent validator accepts them for the schema."""
    signature = read_signature(forecast)
    try:
        msgspec.json.decode(json.dumps(value), type=signature.arguments)
    except msgspec.ValidationError:
        assert not jsonschema_rs.is_valid(signature.schema, value)
    else:
        assert jsonschema_rs.is_valid(signature.schema, value)


class Finder:
    def find(self, query: str) -> str:
        return query


def bare(x, y: int = 0):
    return x + y


def arguments(*words: str) -> None: ...
def keywords(**words: str) -> None: ...
def positional(x: int, /) -> None: ...
def opaque(x: threading.Lock) -> None: ...
def opaque_inside(x: dict[str, list[Callable[[], int]]]) -> None: ...
def ambiguous(x: Place | Span) -> None: ...
def missing(x: "Nowhere") -> None: ...  # noqa: F821  # the name that does not exist is the point
def nonsense(x: Annotated[str, msgspec.Meta(ge=1)]) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (bare, r"parameter 'x' of bare\(\) has no annotation: add its type, as in `x: str`"),
        (Finder.find, r"parameter 'self' of Finder.find\(\) has no annotation"),
        (arguments, r"parameter 'words' of arguments\(\) is variadic positional, .* make it an ordinary"),
        (keywords, r"parameter 'words' of keywords\(\) is variadic keyword"),
        (positional, r"parameter 'x' of positional\(\) is positional-only"),
        (opaque, r"parameter 'x' of opaque\(\) has a type that cannot be read from JSON"),
        (opaque_inside, r"parameter 'x' of opaque_inside\(\) has a type that cannot be read from JSON"),
        (ambiguous, r"parameter 'x' of ambiguous\(\) .* cannot be told apart"),
        (nonsense, r"parameter 'x' of nonsense\(\) .* Can only set `ge` on a numeric type"),
        (missing, r"annotations of missing\(\) cannot be read: name 'Nowhere' is not defined"),
    ],
)
def test_function_that_no_model_can_call_is_refused(function: Callable[..., Any], message: str) -> None:
    """A function that cannot be a tool is refused at decoration; the error names the parameter and says what to do."""
    with pytest.raises(TypeError, match=message):
        read_signature(function)
