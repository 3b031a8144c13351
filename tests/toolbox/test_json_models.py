"""`openai_runs.toolbox.json_models`: pydantic's models in signatures, by their methods."""

import dataclasses
import subprocess
import sys
from typing import Any, Literal

import jsonschema_rs
import msgspec
import pydantic
import pytest

from openai_runs.toolbox.json_models import decode_json_model, encode_json_model, is_json_model
from openai_runs.toolbox.signature import read_signature


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    friends: "list[Cat | Dog]" = []


class Owner(pydantic.BaseModel):
    """Who feeds them."""

    pet: Cat | Dog = pydantic.Field(discriminator="kind")


@dataclasses.dataclass
class Home:
    owners: list[Owner]


def visit(owner: Owner, home: Home, pack: dict[str, Dog], second: Owner | None = None) -> None:
    """Visit.

    Args:
        owner: Whom.
    """


CAT = {"kind": "cat"}
DOG = {"kind": "dog", "friends": [CAT, {"kind": "dog", "friends": []}]}


def test_schema_has_all_definitions_at_the_top() -> None:
    """References between models, to themselves too, can be followed, wherever the models stand."""
    schema = read_signature(visit).schema
    assert set(schema["$defs"]) == {"Cat", "Dog", "Home"}
    assert schema["properties"]["owner"]["description"] == "Whom."
    validator = jsonschema_rs.validator_for(dict(schema))
    good = {"owner": {"pet": CAT}, "home": {"owners": [{"pet": DOG}]}, "pack": {"a": DOG}, "second": None}
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "home": {"owners": [{"pet": {**DOG, "friends": [{"kind": "cow"}]}}]}})


def lambda_with(hint: Any) -> Any:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = hint
    return function


def test_strict_schema_closes_the_models_as_well() -> None:
    with pytest.raises(TypeError, match="may have any keys"):
        read_signature(lambda_with(dict[str, Dog]), strict=True)
    schema = read_signature(lambda_with(Owner), strict=True).schema
    pet = schema["$defs"]["Dog"]
    assert pet["required"] == ["kind", "friends"]
    assert pet["additionalProperties"] is False


def test_two_types_of_one_name_are_refused() -> None:
    """The schema could not tell them apart; the error names them."""

    class Cat(msgspec.Struct):
        meow: bool

    def both(one: Cat, other: Owner) -> None: ...

    both.__annotations__.update(one=Cat, other=Owner)
    with pytest.raises(TypeError, match="two types have the name 'Cat' in the schema: rename one"):
        read_signature(both)


def test_other_classes_are_not_meant() -> None:
    """A class without those methods is refused as it always was."""
    assert not is_json_model(object)
    assert not is_json_model(Cat(kind="cat"))
    with pytest.raises(TypeError, match="has a type that cannot be read from JSON"):
        read_signature(lambda_with(subprocess.Popen))
    with pytest.raises(NotImplementedError):
        decode_json_model(subprocess.Popen, {})
    with pytest.raises(TypeError, match="Encoding objects of type object is unsupported"):
        encode_json_model(object())


def test_pydantic_is_not_imported() -> None:
    """Toolboxes work where it is not installed."""
    code = "import sys; sys.modules['pydantic'] = None; import openai_runs.toolbox.signature; print('works')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"works"
