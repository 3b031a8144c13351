"""Structs: what msgspec decodes JSON text into, and the models that are made of them."""

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import Raw

from openai_runs._wire.structs import Structs
from openai_runs.models.delta import FunctionStepCallDelta, RunStepDelta
from openai_runs.models.message import Message, Text
from openai_runs.models.model import NO_EXTRA
from openai_runs.models.page import Page
from openai_runs.models.run import Run, RunStatus, SubmitToolOutputs, TruncationStrategy
from openai_runs.models.tool import CodeInterpreterTool, NamedToolChoice

RUN = '{"id": "run_1", "created_at": 1, "thread_id": "thread_1", "assistant_id": "asst_1", "status": "queued"'


def decoded(text, target, structs=None):
    structs = structs or Structs(lambda hint: bytes, {})
    return msgspec.json.decode(text, type=structs.of(target))


def model(text, target, structs=None):
    return decoded(text, target, structs).to_model()


def test_a_model_of_a_text():
    """Every field is what the model says; absent ones read their defaults, and are named."""
    run = model(RUN + ', "model": null, "temperature": 1, "usage": {"total_tokens": 3}, "tool_choice": "auto"}', Run)
    assert (run.id, run.status, run.created_at) == (
        "run_1",
        RunStatus.QUEUED,
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
    )
    assert (type(run.temperature), run.usage.total_tokens, run.tool_choice) == (int, 3, "auto")
    assert (run.usage.prompt_tokens, run.usage.absent) == (0, {"prompt_tokens", "completion_tokens"})
    assert {"model", "usage"}.isdisjoint(run.absent)
    assert {"object", "tools", "completed_at"} < run.absent
    assert run.extra is NO_EXTRA
    assert type(run) is Run
    with pytest.raises(AttributeError):
        run.id = "run_2"


def test_nothing_is_absent():
    """Then all models share one empty set."""
    one, other = (model(f'{{"value": "{word}", "annotations": []}}', Text) for word in ("a", "b"))
    assert one.absent == frozenset()
    assert one.absent is other.absent


def test_a_run_notes_its_calls():
    """What a class does after its ``__init__``, it does here, too."""
    call = '{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}'
    action = f'{{"type": "submit_tool_outputs", "submit_tool_outputs": {{"tool_calls": [{call}]}}}}'
    run = model(f'{RUN}, "required_action": {action}}}', Run)
    assert [each.id for each in run.pending_tool_calls] == ["call_1"]


def test_unions():
    """The ``type`` picks the struct; a model without a literal one is the only member."""
    text = '{"type": "text", "text": {"value": "Hi"}}'
    message = '{"id": "msg_1", "created_at": 0, "thread_id": "thread_1", "role": "user", "content": [%s]}'
    assert model(message % text, Message).text == "Hi"
    assert model(message % text, Message).content[0].type == "text"
    assert model(RUN + ', "tool_choice": {"type": "function"}}', Run).tool_choice == NamedToolChoice(type="function")


STEP_DELTA = '{"id": "step_1", "delta": {"step_details": {"type": "tool_calls", "tool_calls": [{"index": %s%s}]}}}'


def test_a_deferred_field():
    """The inside of a delta is made when somebody asks for it, once."""
    delta = model(STEP_DELTA % (0, ', "type": "function"'), RunStepDelta)
    slot = vars(RunStepDelta)["delta"]
    with pytest.raises(AttributeError):
        slot.__get__(delta)
    assert delta.delta.step_details.tool_calls == (FunctionStepCallDelta(index=0),)
    assert slot.__get__(delta) is delta.delta
    assert (delta.absent, delta.extra) == ({"object"}, {})
    assert type(delta) is RunStepDelta


@pytest.mark.parametrize("call", [(0, ""), ('"0"', ', "type": "function"'), (0, ', "type": "function", "more": 1')])
def test_a_deferred_field_that_does_not_fit(call):
    """It is refused at once, not when somebody asks for it."""
    with pytest.raises(msgspec.ValidationError):
        decoded(STEP_DELTA % call, RunStepDelta)


@pytest.mark.parametrize("call", ["{}", '{"type": "web"}', '{"type": ""}', '{"type": null}', "3"])
def test_what_is_no_member(call):
    """Without a known ``type`` nothing is picked, even if the union has one model only."""
    with pytest.raises((msgspec.ValidationError, AttributeError)):
        model(f'{{"tool_calls": [{call}]}}', SubmitToolOutputs)


def test_a_type_of_its_own():
    """A model outside of a union may lack its ``type``, but not have another."""
    assert model("{}", CodeInterpreterTool) == CodeInterpreterTool()
    assert model("{}", CodeInterpreterTool).absent == {"type"}
    with pytest.raises(msgspec.ValidationError):
        model('{"type": "function"}', CodeInterpreterTool)


def test_repeated_fields_stay_text():
    """The loader of parts gets their text, and its answer is the field's value."""
    hints = []

    def part_loader(hint):
        hints.append(hint)
        return bytes

    run = model(RUN + ', "tools": [ 1 ], "truncation_strategy": null}', Run, Structs(part_loader, {}))
    assert (run.tools, run.truncation_strategy, run.response_format) == (b"[ 1 ]", b"null", None)
    assert TruncationStrategy | None in hints
    assert isinstance(decoded(RUN + ', "tools": []}', Run).tools, Raw)


def test_generic_models():
    """A page of runs is another struct than one of messages; each is generated once."""
    structs = Structs(lambda hint: bytes, {})
    page = model(f'{{"data": [{RUN}}}], "has_more": false}}', Page[Run], structs)
    assert (page.data[0].id, page.has_more) == ("run_1", False)
    assert structs.of(Page[Run]) is structs.of(Page[Run])
    assert structs.of(Page[Run]) is not structs.of(Page[Message])


def test_unknown_fields():
    """They are refused, unless they are expected; those that come are in ``extra``."""
    structs = Structs(lambda hint: bytes, {Text: ["x-1", "extra"]})
    assert model('{"value": "a", "extra": [1], "x-1": null}', Text, structs).extra == {"x-1": None, "extra": [1]}
    assert model('{"value": "a", "x-1": 1}', Text, structs).extra == {"x-1": 1}
    assert model('{"value": "a"}', Text, structs).extra is NO_EXTRA
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        model('{"value": "a", "x-2": 1}', Text, structs)
