"""What all models have in common: immutable, with a readable repr, comparable, hashable, picklable."""

import copy
import pickle
import weakref
from datetime import UTC, datetime
from typing import get_args

import attrs
import pytest

from openai_runs import load
from openai_runs._wire.hints import without_none
from openai_runs.models import assistant, delta, message, page, run, run_step, thread, tool
from openai_runs.models.model import NO_EXTRA, Model, Unknown
from openai_runs.models.run import Run, RunStatus, Usage
from openai_runs.models.thread import Thread
from openai_runs.models.tool import CodeInterpreterTool, Function, FunctionTool, ToolOutput, ToolResources
from tests.samples import EXAMPLES

MODULES = (assistant, delta, message, page, run, run_step, thread, tool)
CLASSES = [
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Model) and value.__module__ == module.__name__
]
RUN = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)
ODD = load(
    {"id": "t", "created_at": 1699063290123, "metadata": {"a": "b"}, "tool_resources": {"x": [1]}, "more": {"y": None}},
    Thread,
)
TOOL = FunctionTool(function=Function(name="f", parameters={"type": "object"}))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_model_keeps_the_conventions(cls):
    """The loaders rely on this: frozen, with slots, no code in ``__init__``; nullable fields default to None."""
    assert attrs.fields(cls).extra.default is NO_EXTRA
    assert cls.__doc__
    assert hasattr(cls, "__attrs_post_init__") == (cls is Run)  # the loaders call it; it takes time for each object
    for field in attrs.fields(cls):
        assert field.validator is None
        assert field.converter is None
        assert field.kw_only
        nullable, _ = without_none(field.type)
        assert nullable == (field.default is None)


@pytest.mark.parametrize("cls", CLASSES)
def test_unions_of_models_have_a_place_for_the_rest(cls):
    """Each union member has its own `type`; other types load as `Unknown`, or as the member without a literal one."""
    for field in attrs.fields(cls):
        for hint in (field.type, *get_args(field.type)):
            members = get_args(hint)
            models = [member for member in members if isinstance(member, type) and issubclass(member, Model)]
            if len(models) > 1:
                tags = [get_args(attrs.fields(model).type.type) for model in models]
                assert len(tags) == len(set(tags))
                assert Unknown in members or () in tags


def test_nothing_can_be_set():
    """A model is immutable, whether it was loaded or built by hand."""
    for model in (RUN, TOOL):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            model.extra = {}
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            del model.extra
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            model.nonsense = 1
    assert type(RUN) is Run


def test_repr_says_what_matters():
    """The repr leaves out fields at their defaults, and ends with unknown ones."""
    assert repr(ToolOutput(tool_call_id="c", output="1")) == "ToolOutput(tool_call_id='c', output='1')"
    assert repr(CodeInterpreterTool()) == "CodeInterpreterTool()"
    assert repr(Usage(total_tokens=3, extra={"cached": 1})) == "Usage(total_tokens=3, extra={'cached': 1})"
    assert repr(load(b'{"id": "t", "created_at": 0}', Thread)) == "Thread(id='t', created_at=1970-01-01T00:00:00+00:00)"
    assert repr(RUN).startswith("Run(id='run_abc123', created_at=2023-10-24T00:34:21+00:00, ")
    assert "absent" not in repr(RUN)


def test_equality():
    """Equality ignores which fields were absent, but not unknown fields."""
    loaded = load(b'{"id": "t", "created_at": 0}', Thread)
    built = Thread(id="t", created_at=datetime(1970, 1, 1, tzinfo=UTC))
    assert loaded == built
    assert loaded.absent != built.absent
    assert loaded == load(b'{"id": "t", "created_at": 0, "metadata": null}', Thread)
    assert loaded != load(b'{"id": "t", "created_at": 0, "x": null}', Thread)
    assert ToolResources() != CodeInterpreterTool()


def test_hash():
    """Models are hashable, also with free-form JSON in them."""
    assert hash(ODD) == hash(copy.deepcopy(ODD))
    assert len({RUN, copy.copy(RUN), ODD, TOOL, Unknown("x", {"type": "x"})}) == 4
    assert {RUN: 1}[attrs.evolve(RUN)] == 1


@pytest.mark.parametrize(
    "carry",
    [
        copy.copy,
        copy.deepcopy,
        attrs.evolve,
        *(
            pytest.param(lambda model, p=protocol: pickle.loads(pickle.dumps(model, p)), id=f"pickle-{protocol}")
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
@pytest.mark.parametrize("model", [RUN, ODD, TOOL, ToolResources(), attrs.evolve(RUN, status=RunStatus("new"))])
def test_models_are_carried_anywhere(model, carry):
    """Copied and pickled models are equal, with their unknown and absent fields and unusual times."""
    carried = carry(model)
    assert carried == model
    assert type(carried) is type(model)
    assert carried.absent == model.absent
    assert (carried.extra is NO_EXTRA) == (model.extra is NO_EXTRA)
    assert repr(carried) == repr(model)


def test_weak_references():
    """Models can be weakly referenced."""
    usage = load({}, Usage)
    assert weakref.ref(usage)() is usage


def test_no_extra():
    """NO_EXTRA is empty and immutable."""
    assert dict(NO_EXTRA) == {}
    assert NO_EXTRA == {}
    assert repr(NO_EXTRA) == "{}"
    assert "x" not in NO_EXTRA
    with pytest.raises(KeyError):
        NO_EXTRA["x"]
    with pytest.raises(TypeError):
        NO_EXTRA["x"] = 1
