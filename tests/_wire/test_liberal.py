"""Reading liberally: a model in spite of a server's oddities, nothing lost, each kind said once."""

import json
import logging
import re
from collections import OrderedDict
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_runs._wire import dump, dump_as_read, liberal, load
from openai_runs.errors import ProtocolError
from openai_runs.models.assistant import Assistant, Deleted
from openai_runs.models.delta import MessageDelta, RunStepDelta, TextContentDelta, TextDelta
from openai_runs.models.message import FileCitation, Message, MessageRole, Text, TextContent
from openai_runs.models.model import NO_EXTRA, Unknown
from openai_runs.models.page import Page
from openai_runs.models.run import Run, Usage
from openai_runs.models.run_step import CalledFunction, RunStep, RunStepStatus
from openai_runs.models.thread import Thread
from openai_runs.models.tool import CodeInterpreterTool, Function, FunctionTool, ToolResources
from tests.samples import EXAMPLES, MODELS
from tests.strategies import bodies, damaged, equal, json_values

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
MESSAGE = json.loads((EXAMPLES / "objects/MessageObject.json").read_text())
STEP = json.loads((EXAMPLES / "objects/RunStepObject.json").read_text())
BARE = {"id": "run_1", "thread_id": "thread_1", "status": "queued"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch):
    monkeypatch.setattr(liberal, "_logged", set())


def survives(body, into):
    """Load a body liberally, which is refused otherwise, and check that it is dumped unchanged."""
    with pytest.raises(ProtocolError):
        load(body, into)
    model = load(json.dumps(body), into, strict=False)
    assert dump(model) == body
    assert load(dump(model), into, strict=False) == model
    return model


def message(**fields):
    return survives({"id": "msg_1", **fields}, Message)


# Values that do not fit


@pytest.mark.parametrize(
    ("name", "value", "reads"),
    [
        ("tools", None, ()),
        ("tools", {}, ()),
        ("object", None, "thread.run"),
        ("created_at", None, EPOCH),
        ("expires_at", "soon", None),
        ("assistant_id", None, ""),
        ("metadata", [], None),
        ("usage", "much", None),
        ("usage", {"total_tokens": None}, Usage(extra={"total_tokens": None})),
        ("usage", {"total_tokens": 1.5}, Usage(extra={"total_tokens": 1.5})),
        ("temperature", "0.5", None),  # a number in a string is no number
        ("temperature", False, None),
        ("parallel_tool_calls", 0, None),
        ("tool_choice", 0, None),
        ("response_format", [], None),
        ("incomplete_details", "max_tokens", None),
        ("tool_resources", {"file_search": []}, ToolResources(extra={"file_search": []})),
        ("instructions", ["x"], None),
    ],
)
def test_a_value_that_does_not_fit(name, value, reads):
    """The field reads its default, or as empty; the value is in `extra` and survives a round trip."""
    run = survives({**RUN, name: value}, Run)
    assert getattr(run, name) == reads
    assert run.status == "completed"
    if not isinstance(value, dict) or name == "tools":  # an oddity inside an object is kept in there
        assert run.extra == {name: value}
    assert name not in run.absent


def test_items_that_cannot_be_read():
    """A list reads the items that there are to read."""
    tools = [3, {"type": "code_interpreter"}, None, {"type": "function", "function": {"name": "f", "strict": 1}}, []]
    run = survives({**RUN, "tools": tools}, Run)
    assert run.tools == (CodeInterpreterTool(), FunctionTool(function=Function(name="f", extra={"strict": 1})))
    assert run.extra == {"tools": tools}
    assert message(content=[None]).content == ()


def test_words():
    """A role or a status that is no string reads as an unknown one."""
    assert message(role=None).role == MessageRole("")
    assert not message(role=7).role.is_known
    assert survives({**STEP, "status": None}, RunStep).status == RunStepStatus("")


@pytest.mark.parametrize(
    ("value", "reads"),
    [
        ("2023-11-04T02:01:30Z", datetime(2023, 11, 4, 2, 1, 30, tzinfo=UTC)),
        ("2023-11-04T03:01:30.5+01:00", datetime(2023, 11, 4, 2, 1, 30, 500000, tzinfo=UTC)),
        ("2023-11-04 02:01:30", datetime(2023, 11, 4, 2, 1, 30, tzinfo=UTC)),
        ("1699063290", EPOCH),
        ("20231104", EPOCH),
        ("today", EPOCH),
        ("0001-01-01T00:00:00+23:59", EPOCH),
        (10**30, EPOCH),
        (True, EPOCH),
    ],
)
def test_times(value, reads):
    """A time in ISO format is read, in UTC if it does not say where; nothing else is guessed."""
    thread = survives({"id": "thread_1", "created_at": value}, Thread)
    assert (thread.created_at, thread.created_at.tzinfo) == (reads, UTC)


def test_texts():
    """A text that is a bare string, as in a request, is read: a message is not empty because of it."""
    assert message(content="Hello").text == "Hello"
    assert message(content=[{"type": "text", "text": "Hello"}]).content == (
        TextContent(text=Text(value="Hello"), extra={"text": "Hello"}),
    )
    delta = survives({"id": "msg_1", "delta": {"content": [{"index": 1, "type": "text", "text": "He"}]}}, MessageDelta)
    assert delta.text == "He"
    assert delta.delta.content[0] == TextContentDelta(index=1, text=TextDelta(value="He"), extra={"text": "He"})
    assert survives({"id": "msg_1", "delta": {"content": "He"}}, MessageDelta).text == "He"
    assert survives({**RUN, "tools": "none"}, Run).tools == ()


def test_an_oddity_deep_inside():
    """What does not fit is kept where it was; all around it is read as usual."""
    text = {"value": "[1]", "annotations": [{"type": "file_citation", "text": "[1]", "start_index": "0"}, "x"]}
    odd = message(content=[{"type": "text", "text": text, "more": 1}, {"type": "later"}])
    part, later = odd.content
    assert part.extra == {"more": 1}
    assert part.text.extra == {"annotations": text["annotations"]}
    (citation,) = part.text.annotations
    assert isinstance(citation, FileCitation)
    assert (citation.text, citation.start_index, citation.end_index) == ("[1]", 0, 0)
    assert (citation.file_citation.file_id, citation.absent) == ("", {"file_citation", "end_index"})
    assert later == Unknown("later", {"type": "later"})


# Fields that are missing


def test_missing_fields():
    """A field without a default reads as empty, of its own type, and stands in `absent`."""
    run = survives(BARE, Run)
    assert (run.assistant_id, run.created_at, run.tools, run.usage, run.extra) == ("", EPOCH, (), None, NO_EXTRA)
    assert run.absent >= {"assistant_id", "created_at", "tools", "usage"}
    bare = message()
    assert (bare.role, bare.thread_id, bare.content, bare.text) == ("", "", (), "")
    assert survives({"id": "step_1"}, RunStep).step_details == Unknown("", {})
    assert survives({}, Deleted) == Deleted(id="", object="")
    assert message(content=[{"type": "text"}]).content == (TextContent(text=Text(value="")),)
    assert survives({"id": "msg_1"}, MessageDelta).text == ""
    assert survives({"id": "msg_1", "delta": {"content": [{"type": "text"}]}}, MessageDelta).delta.content[0].index == 0
    result = {"type": "file_search", "id": "call_1", "file_search": {"results": [{}]}}
    step = survives({**STEP, "step_details": {"type": "tool_calls", "tool_calls": [result]}}, RunStep)
    assert step.tool_calls[0].file_search.results[0].score == 0.0


def test_changes_win():
    """Whoever changes a field that was odd or missing dumps the change."""
    odd = survives({**BARE, "tools": None, "expires_at": "2023-11-04T02:01:30Z"}, Run)
    assert dump(attrs.evolve(odd, tools=(CodeInterpreterTool(),)))["tools"] == [{"type": "code_interpreter"}]
    assert dump(attrs.evolve(odd, expires_at=None))["expires_at"] is None
    assert dump(attrs.evolve(odd, assistant_id="asst_1"))["assistant_id"] == "asst_1"
    assert dump(attrs.evolve(odd, status="failed")) == {**dump(odd), "status": "failed"}
    built = Thread(id="t", created_at=EPOCH, extra={"metadata": {"a": "b"}})
    assert dump(built) == {"id": "t", "object": "thread", "created_at": 0, "metadata": {"a": "b"}}


def test_as_read():
    """The readable form has no oddities, and all that the API requires: it loads strictly."""
    odd = survives({**BARE, "created_at": "2023-11-04T02:01:30Z", "tools": None, "more": 1}, Run)
    plain = {**BARE, "created_at": 1699063290, "assistant_id": "", "tools": [], "more": 1}
    assert dump_as_read(odd) == plain
    assert load(plain, Run) == attrs.evolve(odd, extra={"more": 1})
    assert dump_as_read(load(RUN, Run)) == RUN
    assert dump_as_read(attrs.evolve(odd, absent=None))["tools"] is None  # built so by a caller


# What is not forgiven

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def waiting(call):
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [CALL, call]}}
    return {**RUN, "required_action": action}


def using(call):
    return {**STEP, "step_details": {"type": "tool_calls", "tool_calls": [call]}}


ACTION = "$.required_action.submit_tool_outputs.tool_calls[1]"


@pytest.mark.parametrize(
    ("body", "into", "paths"),
    [
        ({**RUN, "id": None}, Run, ["expected str, got NoneType None @ $.id"]),
        ({**RUN, "thread_id": 7}, Run, ["expected str, got int 7 @ $.thread_id"]),
        ({**RUN, "status": None, "tools": None}, Run, ["expected str, got NoneType None @ $.status"]),
        ({}, Run, [f"missing {name!r} @ $.{name}" for name in ("id", "thread_id", "status")]),
        *(({}, cls, ["missing 'id' @ $.id"]) for cls in (Assistant, Thread, Message, RunStep)),
        *(({"delta": {}}, cls, ["missing 'id' @ $.id"]) for cls in (MessageDelta, RunStepDelta)),
        ({"data": None}, Page[Run], ["expected array, got NoneType None @ $.data"]),
        ({"data": [RUN, None]}, Page[Run], ["expected object, got NoneType None @ $.data"]),
        ({"data": [RUN, {**BARE, "id": 1}]}, Page[Run], ["expected str, got int 1 @ $.data[1].id"]),
        ({"has_more": False}, Page[Run], ["missing 'data' @ $.data"]),
        (waiting({**CALL, "id": None}), Run, [f"expected str, got NoneType None @ {ACTION}.id"]),
        (waiting({"type": "function", "id": "c"}), Run, [f"missing 'function' @ {ACTION}.function"]),
        (waiting({**CALL, "function": "f"}), Run, [f"expected object, got str 'f' @ {ACTION}.function"]),
        (waiting({**CALL, "function": {"arguments": "{}"}}), Run, [f"missing 'name' @ {ACTION}.function.name"]),
        (
            waiting({**CALL, "function": {"name": "f", "arguments": {}}}),
            Run,
            [f"expected str, got dict {{}} @ {ACTION}.function.arguments"],
        ),
        (using({**CALL, "id": 1}), RunStep, ["expected str, got int 1 @ $.step_details.tool_calls[0].id"]),
        ({"name": "f"}, CalledFunction, ["missing 'arguments' @ $.arguments"]),
        ({"type": "function"}, CodeInterpreterTool, None),
        ([RUN], Run, None),
        (None, Run, None),
    ],
)
def test_what_is_needed(body, into, paths):
    """Without an ID, a run's status, a call's name or arguments, or a page's data, there is no model."""
    with pytest.raises(ProtocolError, match=r"^not an? ") as caught:
        load(json.dumps(body), into, strict=False)
    if paths is not None:
        assert caught.value.paths == tuple(paths)
    assert not liberal._logged


def test_what_is_no_model():
    """Other types than models are loaded as ever."""
    with pytest.raises(ProtocolError):
        load({"a": 1}, list[int], strict=False)


def test_what_is_no_json():
    """Values that no JSON has, in a dict of the caller, do no harm."""
    assert load({**BARE, "tools": (), "usage": OrderedDict()}, Run, strict=False).extra == {
        "tools": (),
        "usage": OrderedDict(),
    }


# The log


def test_each_kind_is_logged_once(caplog):
    """A line per kind of oddity and process, which names class, field and what came, but no value."""
    secret = "sk-geheim"
    for _ in range(3):
        load({**BARE, "temperature": secret, "tools": [{"type": "function", "function": secret}]}, Run, strict=False)
        load({**RUN, "temperature": None}, Run, strict=False)
    assert [record.name for record in caplog.records] == ["openai_runs.wire"] * 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 4
    assert caplog.messages == [
        "the server leaves out Run.created_at, which is in `absent` and reads as empty",
        "the server leaves out Run.assistant_id, which is in `absent` and reads as empty",
        "the server sends FunctionTool.function as a string that does not fit; see `extra`",
        "the server sends Run.temperature as a string that does not fit; see `extra`",
    ]
    load({**BARE, "temperature": []}, Run, strict=False)
    assert caplog.messages[4:] == ["the server sends Run.temperature as a list that does not fit; see `extra`"]


def test_what_fits_is_not_logged(caplog):
    """A field with a default may be missing; whatever the API allows is no oddity."""
    load({"id": "thread_1", "created_at": 1.5, "metadata": None}, Thread, strict=False)
    load(dump(load({**BARE, "tools": None}, Run, strict=False)), Run, strict=False)
    assert [text for text in caplog.messages if "Thread" in text] == []
    assert len(caplog.messages) == 3


# Properties

unhurried = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
_needed = re.compile(
    r".* @ \$(\..*)?\.(id|thread_id|vector_store_id|status|data|function|name|arguments)$|.* @ \$$", re.DOTALL
).match


def tried(body, into, *, strict):
    try:
        return load(json.dumps(body), into, strict=strict)
    except ProtocolError as error:
        return error


@pytest.mark.unmeasured
@pytest.mark.parametrize("schema", MODELS)
@unhurried
@given(st.data())
def test_whatever_comes(schema, data):
    """What strict reading accepts reads alike; else a model is made that is dumped as sent, or a needed field lacks."""
    into = MODELS[schema]
    body = data.draw(json_values | damaged(damaged(damaged(bodies(schema)))))
    expected, model = tried(body, into, strict=True), tried(body, into, strict=False)
    if isinstance(model, ProtocolError):
        assert isinstance(expected, ProtocolError)
        assert model.paths
        assert all(map(_needed, model.paths))
        return
    if not isinstance(expected, ProtocolError):
        assert (model, model.absent) == (expected, expected.absent)
    assert equal(dump(model), body)
    assert load(dump(model), into, strict=False) == model
    assert load(dump_as_read(model), into)
    hash(model)
    repr(model)
