"""JSON to models and back: what is accepted, what is refused and where, and that nothing is lost or added."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from openai_runs._wire import converting, decode, dump, encode, load
from openai_runs.errors import ProtocolError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Attachment, FileCitation, Message, MessageRole, TextContent
from openai_runs.models.model import NO_EXTRA, Unknown
from openai_runs.models.page import Page
from openai_runs.models.run import LastError, Run, RunStatus, TruncationStrategy, Usage
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.models.thread import Thread
from openai_runs.models.tool import (
    CodeInterpreterTool,
    Function,
    FunctionTool,
    JsonSchemaFormat,
    NamedToolChoice,
    ToolOutput,
    ToolResources,
)
from tests.samples import EXAMPLES, MODELS
from tests.strategies import bodies, damaged, json_values

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
STEP = json.loads((EXAMPLES / "objects/RunStepObject.json").read_text())
MESSAGE = json.loads((EXAMPLES / "objects/MessageObject.json").read_text())
ASSISTANT = json.loads((EXAMPLES / "objects/AssistantObject.json").read_text())
THREAD = {"id": "thread_1", "object": "thread", "created_at": 0}


def survives(body, model_type):
    """Load a body and check that it is dumped unchanged."""
    model = load(json.dumps(body), model_type)
    assert dump(model) == body
    assert json.loads(encode(model)) == body
    return model


def paths_of(body, model_type):
    with pytest.raises(ProtocolError) as caught:
        load(body, model_type)
    return caught.value.paths


# What servers send that the document does not foresee


@pytest.mark.parametrize("name", ["reasoning_effort", "tool_resources"])
def test_fields_of_runs_that_only_examples_have(name):
    """Runs have these two fields, although they are not in the schema."""
    value = {"reasoning_effort": "high", "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}}[name]
    assert getattr(survives({**RUN, name: value}, Run), name) is not None


def test_the_time_a_step_expires():
    """Every step has `expires_at`, which the API document calls differently."""
    assert survives({**STEP, "expires_at": 1699064000}, RunStep).expires_at == datetime(
        2023, 11, 4, 2, 13, 20, tzinfo=UTC
    )


def test_older_shapes():
    """Objects as the API sent them until 2024 are still loaded."""
    annotation = {
        "type": "file_citation",
        "text": "[1]",
        "start_index": 0,
        "end_index": 3,
        "file_citation": {"file_id": "file_1", "quote": "so it is written"},
    }
    content = [{"type": "text", "text": {"value": "[1]", "annotations": [annotation]}}]
    message = survives({**MESSAGE, "content": content, "file_ids": ["file_1"]}, Message)
    assert message.extra == {"file_ids": ["file_1"]}
    part = message.content[0]
    assert isinstance(part, TextContent)
    assert isinstance(part.text.annotations[0], FileCitation)
    assert part.text.annotations[0].file_citation.quote == "so it is written"
    assistant = survives({**ASSISTANT, "tools": [{"type": "retrieval"}], "response_format": "none"}, Assistant)
    assert assistant.tools == (Unknown("retrieval", {"type": "retrieval"}),)
    assert assistant.response_format == "none"
    attachments = survives({**MESSAGE, "attachments": [{"file_id": "f", "add_to": ["x"]}, {}]}, Message).attachments
    assert attachments == (Attachment(file_id="f", extra={"add_to": ["x"]}), Attachment())


def test_unknown_types_are_kept():
    """An unknown tool, tool call, content part, annotation, output or step detail is kept with all its fields."""
    tool = {"type": "bing_grounding", "bing_grounding": {"connections": [1, None]}}
    call = {"id": "call_1", "type": "quark_search", "quark": {}}
    assert survives({**RUN, "tools": [tool, {"type": "code_interpreter"}]}, Run).tools == (
        Unknown("bing_grounding", tool),
        CodeInterpreterTool(),
    )
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    run = survives({**RUN, "required_action": action}, Run)
    assert run.required_action is not None
    assert run.required_action.submit_tool_outputs is not None
    assert run.required_action.submit_tool_outputs.tool_calls == (Unknown("quark_search", call),)
    assert run.pending_tool_calls == ()
    steps = survives({**STEP, "step_details": {"type": "tool_calls", "tool_calls": [call]}}, RunStep).step_details
    assert steps.tool_calls == (Unknown("quark_search", call),)
    thought = {"type": "thought", "text": "hm"}
    assert survives({**STEP, "step_details": thought}, RunStep).step_details == Unknown("thought", thought)
    nameless = [{"text": "no type at all"}, {"type": 7}, {"type": None}, {"type": ["text"]}]
    assert survives({**MESSAGE, "content": nameless}, Message).content == tuple(Unknown("", part) for part in nameless)


def test_an_unknown_required_action():
    """A required action of an unknown type is loaded."""
    action = {"type": "approve", "approve": {"by": "alice"}}
    run = survives({**RUN, "status": "requires_action", "required_action": action}, Run)
    assert run.required_action is not None
    assert run.required_action.extra == {"approve": {"by": "alice"}}
    assert run.pending_tool_calls == ()


def test_unknown_words():
    """An unknown status or role stays readable, and is dumped unchanged."""
    run = survives({**RUN, "status": "paused"}, Run)
    assert (run.status, run.status.is_known, run.status.is_terminal) == ("paused", False, False)
    assert survives({**MESSAGE, "role": "system"}, Message).role == "system"
    assert survives({**STEP, "status": ""}, RunStep).status == ""


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (1699063290, datetime(2023, 11, 4, 2, 1, 30, tzinfo=UTC)),
        (1699063290123, datetime(2023, 11, 4, 2, 1, 30, 123000, tzinfo=UTC)),
        (-1699063290123, datetime(1916, 2, 28, 21, 58, 29, 877000, tzinfo=UTC)),
        (1699063290.25, datetime(2023, 11, 4, 2, 1, 30, 250000, tzinfo=UTC)),
        (1699063290.1, datetime(2023, 11, 4, 2, 1, 30, 100000, tzinfo=UTC)),
        (1699063290.0, datetime(2023, 11, 4, 2, 1, 30, tzinfo=UTC)),
        (1699063290123.5, datetime(2023, 11, 4, 2, 1, 30, 123500, tzinfo=UTC)),
        (99999999999, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        (100000000000, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
    ],
)
def test_timestamps(number, when):
    """The API sends seconds, some servers milliseconds, fractions or -1. All are dumped unchanged."""
    thread = survives({**THREAD, "created_at": number}, Thread)
    assert thread.created_at == when
    assert thread.created_at.tzinfo is UTC


@given(st.integers(-62_135_596_800, 10**11 - 1) | st.integers(10**11, 10**14))  # from the year 1 on
def test_whole_timestamps_survive(number):
    """Timestamps are not rounded, in seconds or in milliseconds."""
    assert dump(load({**THREAD, "created_at": number}, Thread))["created_at"] == number


@pytest.mark.parametrize("value", ["2023-11-04", True, None, [], 10**30, -(10**30), 1e300])
def test_what_is_no_timestamp(value):
    """A string is no timestamp, nor is a number beyond Python's dates."""
    assert paths_of({**THREAD, "created_at": value}, Thread)[0].endswith("@ $.created_at")


def test_times_are_exact_to_the_microsecond():
    """Fractions survive to the microsecond, the resolution of Python's datetimes."""
    thread = load({**THREAD, "created_at": 1699063290.1234567}, Thread)
    assert thread.created_at.microsecond == 123457
    assert dump(thread)["created_at"] == 1699063290.123457


def test_a_later_time_in_milliseconds():
    """A time computed from a server's milliseconds is dumped in milliseconds."""
    thread = load({**THREAD, "created_at": 1699063290123}, Thread)
    later = attrs.evolve(thread, created_at=thread.created_at + timedelta(seconds=1))
    assert dump(later)["created_at"] == 1699063291123


def test_empty_objects():
    """Azure's empty usage, an error without a message, and details without a reason are loaded."""
    run = survives({**RUN, "usage": {}, "last_error": {"code": "", "message": ""}, "incomplete_details": {}}, Run)
    assert run.usage == Usage()
    assert run.last_error == LastError(code="", message="")
    assert run.incomplete_details is not None
    assert run.incomplete_details.reason is None


@pytest.mark.parametrize("value", [None, {}, {"code_interpreter": None}, {"file_search": {"vector_store_ids": []}}])
def test_null_empty_and_absent_are_three_things(value):
    """An optional field that is given, null or absent is dumped in the same way."""
    assert survives({**THREAD, "tool_resources": value}, Thread).absent == {"metadata"}
    absent = survives(THREAD, Thread)
    assert (absent.tool_resources, absent.absent) == (None, {"tool_resources", "metadata"})


def test_a_choice_without_a_name():
    """The API document allows a tool choice of type function without a name."""
    run = survives({**RUN, "tool_choice": {"type": "function"}}, Run)
    assert run.tool_choice == NamedToolChoice(type="function")


def test_free_json_is_left_alone():
    """JSON schemas keep their keys' order, their numbers and their nulls."""
    parameters = json.loads('{"z": 1.0, "a": [null, 1e3, {"$ref": "#/$defs/x"}], "$defs": {"x": true}, "é": ""}')
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": False}}
    answer = {"type": "json_schema", "json_schema": {"name": "s", "schema": parameters}}
    run = survives({**RUN, "tools": [tool], "response_format": answer}, Run)
    assert isinstance(run.tools[0], FunctionTool)
    assert isinstance(run.response_format, JsonSchemaFormat)
    assert json.dumps(run.tools[0].function.parameters) == json.dumps(parameters)


@pytest.mark.unmeasured
@given(unknown=st.dictionaries(st.text().map("x-{}".format), json_values))
def test_unknown_fields_survive_everywhere(unknown):
    """Unknown fields are kept, at the top, in nested objects and in list items."""
    body = {
        **RUN,
        "usage": {**RUN["usage"], **unknown},
        "tools": [{"type": "code_interpreter", **unknown}],
        "truncation_strategy": {"type": "auto", **unknown},
        **unknown,
    }
    run = survives(body, Run)
    assert run.extra == unknown
    assert run.tools[0].extra == unknown
    assert (run.extra is NO_EXTRA) == (not unknown)


# Refusals


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"status": 5}, "expected str, got int 5 @ $.status"),
        ({"status": None}, "expected str, got NoneType None @ $.status"),
        ({"status": ["queued"]}, "expected str, got list ['queued'] @ $.status"),
        ({"id": 1}, "expected str, got int 1 @ $.id"),
        ({"metadata": []}, "expected object, got list [] @ $.metadata"),
        ({"tools": {}}, "expected array, got dict {} @ $.tools"),
        ({"tools": None}, "expected array, got NoneType None @ $.tools"),
        ({"tools": [{"type": "code_interpreter"}, 3]}, "expected object, got int 3 @ $.tools[1]"),
        ({"tools": [{"type": "function"}]}, "missing 'function' @ $.tools[0].function"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "strict": 1}}]},
            "expected bool, got int 1 @ $.tools[0].function.strict",
        ),
        ({"usage": {"total_tokens": True}}, "expected int, got bool True @ $.usage.total_tokens"),
        ({"usage": {"total_tokens": 1.5}}, "expected int, got float 1.5 @ $.usage.total_tokens"),
        ({"usage": {"total_tokens": "1"}}, "expected int, got str '1' @ $.usage.total_tokens"),
        ({"usage": "much"}, "expected object, got str 'much' @ $.usage"),
        ({"temperature": False}, "expected number, got bool False @ $.temperature"),
        ({"temperature": "0.5"}, "expected number, got str '0.5' @ $.temperature"),
        ({"parallel_tool_calls": 0}, "expected bool, got int 0 @ $.parallel_tool_calls"),
        ({"tool_choice": 0}, "expected object or str, got int 0 @ $.tool_choice"),
        ({"model": "x" * 99 + "!"}, None),
        ({"instructions": ["x" * 99]}, f"expected str, got list ['{'x' * 58}… (103 characters) @ $.instructions"),
    ],
)
def test_what_is_wrong_is_named(change, path):
    """A wrong type is refused, and the error says what was expected, what came, and where."""
    if path is None:
        survives({**RUN, **change}, Run)
    else:
        assert paths_of({**RUN, **change}, Run) == (path,)


def test_all_that_is_wrong_is_named():
    """`paths` has every wrong place, nested ones too; the message has the first five."""
    page = {"data": [RUN, {**RUN, "status": 1, "usage": {"total_tokens": "x"}}, {}], "has_more": 1}
    with pytest.raises(ProtocolError) as caught:
        load(page, Page[Run])
    assert caught.value.paths[:2] == (
        "expected str, got int 1 @ $.data[1].status",
        "expected int, got str 'x' @ $.data[1].usage.total_tokens",
    )
    assert "missing 'id' @ $.data[2].id" in caught.value.paths
    assert caught.value.paths[-1] == "expected bool, got int 1 @ $.has_more"
    assert str(caught.value).startswith("not a Page: expected str, got int 1 @ $.data[1].status; ")
    assert str(caught.value).endswith(f"; and {len(caught.value.paths) - 5} more")


@pytest.mark.parametrize("body", ["null", "[]", '"run"', "7", "true"])
def test_what_is_no_object_at_all(body):
    """The whole body may be of the wrong type."""
    assert paths_of(body, Run) == (f"expected object, got {type(decode(body)).__name__} {decode(body)!r} @ $",)


def test_a_type_that_contradicts():
    """A model with a literal `type` refuses any other."""
    assert paths_of({"type": "function"}, CodeInterpreterTool)
    assert paths_of({**RUN, "truncation_strategy": {"last_messages": 1}}, Run) == (
        "missing 'type' @ $.truncation_strategy.type",
    )


def test_the_body_is_kept_for_the_reader():
    """The error shows only the beginning of a long body."""
    with pytest.raises(ProtocolError) as caught:
        load({"id": "x" * 1000}, Run)
    assert caught.value.body.startswith("{'id': 'xxx")
    assert len(caught.value.body) < 400


unhurried = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.unmeasured
@pytest.mark.parametrize("schema", ["ListMessagesResponse", "RunObject", "RunStepObject", "AssistantObject"])
@unhurried
@given(st.data())
def test_both_converters_agree(schema, data):
    """Both converters refuse the same bodies."""
    body = data.draw(damaged(bodies(schema)))
    verdicts = []
    for converter in (converting._FAST, converting._EXACT):
        try:
            converter.structure(body, MODELS[schema])
        except Exception as error:
            verdicts.append(error)
    assert len(verdicts) in (0, 2)
    if verdicts:
        assert paths_of(body, MODELS[schema])
    else:
        model = load(body, MODELS[schema])
        assert load(dump(model), MODELS[schema]) == model


def test_a_disagreement_is_not_hidden(monkeypatch):
    """If the two converters disagree, the error is not a ProtocolError, since the bug is ours."""
    monkeypatch.setattr(converting, "_EXACT", SimpleNamespace(structure=lambda body, into: None))
    with pytest.raises(TypeError):
        load({**RUN, "id": 1}, Run)


# Dumping


def test_what_is_built_by_hand():
    """Fields that were not given are left out; with `absent` empty, they are sent as null."""
    assert dump(FunctionTool(function=Function(name="f"))) == {"type": "function", "function": {"name": "f"}}
    assert dump(Function(name="f", absent=frozenset())) == {
        "name": "f",
        "description": None,
        "parameters": None,
        "strict": None,
    }
    strategy = TruncationStrategy(type="auto", absent=frozenset({"last_messages"}))
    assert dump(strategy) == {"type": "auto"}
    assert dump(attrs.evolve(strategy, last_messages=3)) == {"type": "auto", "last_messages": 3}
    assert dump(ToolResources(extra={"web": {"on": True}})) == {"web": {"on": True}}


def test_what_was_loaded_and_changed():
    """A field that was absent is dumped once it has a value."""
    thread = load(THREAD, Thread)
    assert dump(attrs.evolve(thread, metadata={"a": "b"})) == {**THREAD, "metadata": {"a": "b"}}


def test_anything_may_hold_models():
    """Models, dates and enums inside dicts, lists and tuples are converted."""
    value = {
        "outputs": [ToolOutput(tool_call_id="c", output="1")],
        "pair": (RunStatus.QUEUED, RunStepStatus("new"), MessageRole.USER),
        "at": datetime(2023, 11, 4, tzinfo=UTC),
        "nested": {"tools": (CodeInterpreterTool(), Unknown("x", {"type": "x"}))},
        "plain": [1, 1.5, None, True, "é"],
    }
    plain = {
        "outputs": [{"tool_call_id": "c", "output": "1"}],
        "pair": ["queued", "new", "user"],
        "at": 1699056000,
        "nested": {"tools": [{"type": "code_interpreter"}, {"type": "x"}]},
        "plain": [1, 1.5, None, True, "é"],
    }
    assert dump(value) == plain
    assert json.loads(encode(value)) == plain
    assert [type(word) for word in dump(value)["pair"]] == [str, str, str]


def test_a_time_of_no_place_is_refused():
    """A naive datetime is refused, since it is ambiguous."""
    with pytest.raises(TypeError):
        dump(Thread(id="t", created_at=datetime(2023, 11, 4)))  # noqa: DTZ001  # that is the point


# JSON text


@given(json_values)
@example(2**64)
@example(-(2**63) - 1)
@example(10**40)
@example("\ud800")
@example({"\udfff": ["\ud83d", "\ude00"]})
def test_any_json_survives(value):
    """JSON that msgspec refuses, such as half a surrogate pair, is decoded as well."""
    assert decode(encode(value)) == value
    assert decode(json.dumps(value)) == value
    assert decode(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>502 Bad Gateway</html>",
        b'{"id": "run_1", "st',
        b"{} {}",
        b'"\xff"',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"[-1e999, 1]",
        b"[" * 100_000,
        b"9" * 5000,
        "nonsense",
        b'{"a": 1, "\\ud800',
    ],
)
def test_what_is_no_json(text):
    """Anything that is not JSON raises ProtocolError, which shows the body."""
    with pytest.raises(ProtocolError, match=r"^not JSON") as caught:
        load(text, Run)
    assert len(caught.value.body) < 400
    assert caught.value.paths == ()


def test_a_byte_order_mark_is_forgiven():
    """A byte order mark, which some proxies add, is skipped."""
    assert decode(b'\xef\xbb\xbf{"a": 1.5}') == {"a": 1.5}


def test_what_is_no_number():
    """NaN and infinity are encoded as null, as in JavaScript."""
    assert encode([float("nan"), float("inf")]) == b"[null,null]"
