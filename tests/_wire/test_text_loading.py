"""Loading JSON text by way of structs: quick where it fits, and never another model than parsed JSON makes."""

import json
from datetime import datetime

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openai_runs._wire import converting, decode, dump, load
from openai_runs._wire.text_loading import TextLoader
from openai_runs.errors import ProtocolError
from openai_runs.models.message import Message
from openai_runs.models.model import NO_EXTRA, Model, Unknown
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.tool import FunctionTool, Tool
from tests.samples import EXAMPLES, MODELS
from tests.strategies import bodies, damaged, json_values

OBJECTS = EXAMPLES / "objects"
RUN = json.loads((OBJECTS / "RunObject.json").read_text())
PAGE = {"object": "list", "data": [RUN], "first_id": "run_1", "last_id": "run_1", "has_more": False}

unhurried = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def text_of(body):
    return json.dumps(body).encode()


@pytest.fixture
def loader():
    """A loader that has learned nothing yet."""
    return TextLoader(converting._FAST)


def exact(value):
    """A value with all that ``==`` does not tell apart: what was absent, classes, and kinds of numbers."""
    match value:
        case Model():
            fields = {each.name: exact(getattr(value, each.name)) for each in attrs.fields(type(value))}
            return type(value), fields | {"extra": {name: exact(each) for name, each in value.extra.items()}}
        case Unknown():
            return Unknown, value.type, exact(value.raw)
        case tuple():
            return tuple(map(exact, value))
        case datetime() | str() | frozenset():
            return type(value), value
        case _:
            return repr(value)


def outcome(data, into, *, strict):
    """The model, or the error."""
    try:
        return exact(load(data, into, strict=strict))
    except ProtocolError as error:
        return str(error), error.paths, error.body


def loads_alike(text, into):
    """Check that a text makes the model, or the error, that the same text makes once it is parsed."""
    try:
        parsed = decode(text)
    except ProtocolError:
        with pytest.raises(ProtocolError, match=r"^not JSON"):
            load(text, into)
        return
    for strict in (True, False):
        assert outcome(text, into, strict=strict) == outcome(parsed, into, strict=strict)


def with_twins(text):
    """A text in which some object has a name twice, perhaps with other values."""
    return text.replace(b'{"', b'{"id": 1, "type": "function", "created_at": null, "', 1)


@pytest.mark.unmeasured
@pytest.mark.parametrize("schema", MODELS)
@unhurried
@given(st.data())
def test_text_and_parsed_json_load_alike(schema, data):
    """Whatever is sent, the quick way makes the same model, or leaves the same error to the others."""
    body = data.draw(bodies(schema) | bodies(schema, unknown=False) | damaged(bodies(schema)))
    text = text_of(body)
    if data.draw(st.booleans()):
        text = with_twins(text)
    if data.draw(st.integers(0, 5)) == 5:
        place = data.draw(st.integers(0, len(text) - 1))
        text = text[:place] + data.draw(st.binary(max_size=2)) + text[place + data.draw(st.integers(0, 2)) :]
    loads_alike(text, MODELS[schema])


@given(json_values)
@example(10**40)
@example(-(2**63) - 1)
@example(1.0)
@example(True)
@example("\ud800")
@example([[[]]])
@pytest.mark.parametrize("name", ["created_at", "temperature", "max_prompt_tokens", "tools", "tool_choice", "metadata"])
def test_any_value_of_a_field_loads_alike(name, value):
    """Numbers keep their kind, times their limits, and nothing is a number that is not."""
    loads_alike(text_of(RUN | {name: value}), Run)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'{"id": "run_1"',
        b"\xff",
        b'{"id": "\xff"}',
        b'{"tools": [{"type": "\xff"}]}',
        b'{"temperature": NaN}',
        b'{"temperature": 1e999}',
        b'{"tools": ' + b"[" * 100_000,
        b'\xef\xbb\xbf{"id": 1}',
    ],
)
def test_broken_texts(text):
    """What is no JSON, or hardly, is refused as ever, in parts too that are not decoded at first."""
    loads_alike(text, Run)
    loads_alike(text_of(RUN)[:-1] + b', "x": ' + text + b"}", Run)


@pytest.mark.parametrize("text", [text_of(RUN), json.dumps(RUN)], ids=["bytes", "str"])
def test_text_of_either_kind(text, loader):
    """Stores have strings, responses bytes."""
    assert loader.load(text, Run) == load(RUN, Run)


@pytest.mark.parametrize("file", sorted(OBJECTS.glob("*.json")), ids=lambda file: file.stem)
def test_what_the_api_sends_is_loaded_quickly(file, loader):
    """Every documented object fits its struct: otherwise nobody would notice that the quick way is of no use."""
    body = json.loads(file.read_text())
    assert exact(loader.load(file.read_bytes(), MODELS[file.stem])) == exact(load(body, MODELS[file.stem]))


def test_what_is_no_model(loader):
    """Only models have structs."""
    with pytest.raises(TypeError, match="not a model class"):
        loader.load(b"{}", Tool)
    assert isinstance(load(b'{"type": "function", "function": {"name": "f"}}', Tool), FunctionTool)


# Parts that are repeated


def test_equal_parts_are_shared(loader):
    """The runs of an assistant have its tools in common."""
    one, other = (loader.load(text_of(RUN | {"id": run_id}), Run) for run_id in ("run_1", "run_2"))
    assert one.tools == load(RUN, Run).tools
    assert one.tools is other.tools
    assert loader.load(text_of(RUN | {"truncation_strategy": None}), Run).truncation_strategy is None


def test_what_is_shared_is_limited(loader, monkeypatch):
    """The oldest part goes when there are too many, and a large one is not kept at all."""
    monkeypatch.setattr("openai_runs._wire.text_loading._PARTS", 2)
    texts = [text_of(RUN | {"tools": [{"type": name}]}) for name in ("a", "b", "c")]
    first, *_ = (loader.load(text, Run).tools for text in texts)
    assert loader.load(texts[2], Run).tools is loader.load(texts[2], Run).tools
    assert loader.load(texts[0], Run).tools == first
    assert loader.load(texts[0], Run).tools is not first
    large = text_of(RUN | {"tools": [{"type": "x" * 40_000}]})
    assert loader.load(large, Run).tools is not loader.load(large, Run).tools


# Unknown fields


def refusal(loader, text, into):
    with pytest.raises(Exception, match=r".") as caught:
        loader.load(text, into)
    return str(caught.value)


def test_unknown_fields_are_learned(loader):
    """A server that sends more than the API has is refused once, and from then on loaded quickly."""
    body = PAGE | {"data": [RUN | {"x-cost": 0.5, "usage": RUN["usage"] | {"cached": {"tokens": 1}}}]}
    text = text_of(body)
    loader.learn(refusal(loader, text, Page[Run]), load(body, Page[Run]))
    page = loader.load(text, Page[Run])
    assert exact(page) == exact(load(body, Page[Run]))
    assert page.data[0].extra == {"x-cost": 0.5}
    assert dump(page) == body
    assert loader.load(text_of(PAGE), Page[Run]).data[0].extra is NO_EXTRA


def test_nothing_is_learned_from_another_refusal(loader):
    """A value that does not fit is not the fault of unknown fields."""
    body = RUN | {"created_at": 0.5, "max_prompt_tokens": 300.0, "x": 1}
    loader.learn("Expected `int`, got `float`", load(body, Run))
    assert "unknown field" in refusal(loader, text_of(RUN | {"x": 1}), Run)


@pytest.mark.parametrize("name", ["", 'a"b', "a\\b", "\ud800", "é", "x" * 65])
def test_odd_names_are_not_learned(loader, name):
    """Names that msgspec does not take, or that are too long to be kept."""
    body = RUN | {name: 1}
    loader.learn("Object contains unknown field", load(body, Run))
    refusal(loader, text_of(body), Run)
    loads_alike(text_of(body), Run)
    assert loader.load(text_of(RUN), Run) == load(RUN, Run)


def test_what_is_learned_is_limited(loader):
    """A server that makes up names without end is loaded as ever."""
    body = RUN | {f"x-{number}": number for number in range(200)}
    loader.learn("Object contains unknown field", load(body, Run))
    few = text_of(RUN | {"x-0": 0, "x-63": 63})
    assert loader.load(few, Run).extra == {"x-0": 0, "x-63": 63}
    loader.learn(refusal(loader, text_of(body), Run), load(body, Run))
    assert "x-64" in refusal(loader, text_of(RUN | {"x-64": 64}), Run)


def test_a_text_of_which_nothing_is_learned_counts(loader):
    """Odd names in every text do not make every text be searched for them."""
    for _ in range(64):
        loader.learn("Object contains unknown field", load(RUN | {"é": 1}, Run))
    loader.learn("Object contains unknown field", load(RUN | {"x": 1}, Run))
    assert "unknown field" in refusal(loader, text_of(RUN | {"x": 1}), Run)


def test_an_unknown_member_of_a_union(loader):
    """It does not fit; the other loaders keep it."""
    body = json.loads((OBJECTS / "MessageObject.json").read_text()) | {"content": [{"type": "hologram"}, {"type": ""}]}
    refusal(loader, text_of(body), Message)
    loads_alike(text_of(body), Message)
