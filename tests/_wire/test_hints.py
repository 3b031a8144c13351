"""Type hints of fields, as the generators of loaders read them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args

from openai_runs._wire import hints
from openai_runs.models.message import Content, ImageFileContent, TextContent
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.tool import FunctionTool, Tool


def test_kinds():
    """Each kind of hint is told from the others."""
    kinds = {
        Run: "model",
        Page[Run]: "model",
        Mapping[str, str]: "mapping",
        tuple[Run, ...]: "tuple",
        str | None: "union",
        str | Run: "union choice",
        str | Run | None: "union choice",
        Literal["a", "b"]: "",
        dict: "",
        int: "",
    }
    for hint, expected in kinds.items():
        told = [kind for kind in ("model", "union", "choice", "mapping", "tuple") if getattr(hints, f"is_{kind}")(hint)]
        assert " ".join(told) == expected, hint


def test_names():
    """A union has all that may be in it, whichever way it is written; a class is called as it is."""
    assert hints.name_of(Run) == "Run"
    assert hints.name_of(list[int]) == "list"
    assert hints.name_of(int | None) == "int | None"
    assert "int" in hints.name_of(Union[int, None])  # noqa: UP007  # as old code has it


def test_without_none():
    """Whether a field may be null is one thing, its type the other; annotations are no part of either."""
    assert hints.without_none(str) == (False, str)
    assert hints.without_none(str | None) == (True, str)
    assert hints.without_none(Annotated[int | None, "most 16"]) == (True, int)
    assert hints.without_none(str | int | None) == (True, str | int)
    assert hints.without_none(Any) == (False, Any)


def test_generic_models():
    """The items of a page have the type that the page was asked for with."""
    (item,) = Page.__parameters__
    assert hints.with_arguments(tuple[item, ...], Page[Run]) == tuple[Run, ...]
    assert hints.with_arguments(str, Page[Run]) is str
    assert isinstance(item, TypeVar)


def test_fields_on_the_wire():
    """What a model keeps for itself is not on the wire."""
    assert {"extra", "absent"}.isdisjoint(hints.fields_of(Run))
    assert {"id", "status", "required_action"} <= hints.fields_of(Run).keys()


def test_members_by_type():
    """Each member of a union is found by its literal ``type``."""
    by_type, other = hints.members_by_type(Tool)
    assert by_type["function"] is FunctionTool
    assert len(by_type) == len([member for member in get_args(Tool) if hints.is_model(member)]) - (other is not None)
    by_type, _ = hints.members_by_type(Content)
    assert (by_type["text"], by_type["image_file"]) == (TextContent, ImageFileContent)
