"""Why a type cannot be read from JSON: which one inside of it, and what is wrong with it."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import attrs
import msgspec
import pydantic
import pytest

from openai_runs.toolbox.unreadable import check_readable


class Plain:
    def __init__(self, x: int) -> None:
        self.x = x


@attrs.frozen
class Bare:
    x: int
    y = attrs.field()


@dataclasses.dataclass
class Inner:
    items: list[Plain]


@attrs.frozen
class Outer:
    inner: dict[str, Inner]
    itself: "Outer | None" = None


@dataclasses.dataclass
class Misspelt:
    x: "Nope"  # type: ignore[name-defined]  # noqa: F821


class Options(TypedDict):
    inner: Annotated[Plain | None, "how"]


class Struct(msgspec.Struct):
    number: complex


class Model(pydantic.BaseModel):
    plain: Plain
    model_config = {"arbitrary_types_allowed": True}


def with_inner(name: str, kind: type) -> Any:
    return pydantic.create_model(name, inner=(pydantic.create_model("Same", x=(kind, ...)), ...))


@dataclasses.dataclass
class TwoNames:
    one: with_inner("One", int)  # type: ignore[valid-type]
    other: with_inner("Other", str)  # type: ignore[valid-type]


@dataclasses.dataclass
class Good:
    x: int


@dataclasses.dataclass
class Better:
    y: int


@dataclasses.dataclass
class Union:
    one: Good | Better


class Names(NamedTuple):
    x: Plain


class Weird(enum.Enum):
    A = 1.5


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        (Plain, "there is no JSON for Plain"),
        (list[Plain], "there is no JSON for Plain"),
        (Annotated[list[Plain | None], "how"], "there is no JSON for Plain"),
        (Inner, "Inner.items: there is no JSON for Plain"),
        (Outer, "Inner.items: there is no JSON for Plain"),
        (Options, "Options.inner: there is no JSON for Plain"),
        (Struct, "Struct.number: there is no JSON for complex"),
        (Names, "Names.x: there is no JSON for Plain"),
        (Bare, "Bare.y has no annotation"),
        (Misspelt, "the annotations of Misspelt cannot be read: name 'Nope' is not defined"),
        ("Nope", "there is no JSON for Nope"),
        (Callable[[], int], "there is no JSON for collections.abc.Callable[[], int]"),
        (Model, "Model has no schema: Cannot generate a JsonSchema for core_schema.IsInstanceSchema"),
        (
            Union,
            "Union.one: in JSON, the members of tests.toolbox.test_unreadable.Good | ",
        ),
        (Literal[1.5], "Literal[1.5] may have strings, integers, booleans and None only"),
        (TwoNames, "two types have the name 'Same' in the schema: rename one"),
        (Weird, "there is no JSON for Weird"),
    ],
)
def test_the_reason(hint: Any, reason: str) -> None:
    """It is the innermost type that cannot be read, at its field, without a word of a library's; and what to do."""
    with pytest.raises(TypeError) as caught:
        check_readable(hint, "it cannot be read")
    text = str(caught.value)
    assert text.startswith(f"it cannot be read: {reason}")
    assert text.endswith(
        "; use builtin types, enums, dataclasses, attrs classes, TypedDicts, msgspec.Structs or pydantic models"
    )
    assert "schema_hook" not in text
    assert "\n" not in text
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("hint", [int, list[str] | None, Literal["a"], Annotated[int, msgspec.Meta(ge=1)]])
def test_what_can_be_read(hint: Any) -> None:
    """Nothing is said of it."""
    check_readable(hint, "it cannot be read")
