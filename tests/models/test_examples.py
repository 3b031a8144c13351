"""Every example of the API's document is understood, those that break the document's own schema too."""

import json

import pytest

from openai_runs import dump, load
from openai_runs._wire.parameters import check_params
from openai_runs.models.delta import MessageDelta
from openai_runs.models.message import Message, TextContent
from openai_runs.models.run import Run, RunStatus
from tests.samples import EXAMPLES, MODELS, PARAMS, event_schema, events, example
from tests.strategies import unknown_parts

INDEX = json.loads((EXAMPLES / "index.json").read_text())


def entries(*kinds):
    for entry in INDEX:
        if entry["part"] in kinds:
            name = "-".join([entry["file"], entry.get("title", ""), entry["part"]])
            yield pytest.param(entry, id=name.replace(" ", "-"))


@pytest.mark.parametrize("entry", [*entries("response", "object")])
def test_answers_survive(entry):
    """An answer loads into typed objects, and is dumped as it came."""
    body = example(entry)
    model = load(json.dumps(body), MODELS[entry["schema"]])
    assert dump(model) == body
    assert not list(unknown_parts(model))


@pytest.mark.parametrize("entry", [*entries("request")])
def test_requests_are_sent_as_documented(entry):
    """A documented request passes our checks, and is sent as it was given."""
    body = example(entry)
    body.pop("stream", None)  # not a parameter: methods of their own stream
    check_params(body, PARAMS[entry["schema"]])
    assert dump(body) == body


@pytest.mark.parametrize("entry", [*entries("event-stream")])
def test_streamed_objects_survive(entry):
    """What a stream's events carry survives too, the deltas as well."""
    names = []
    for name, body in events(EXAMPLES / entry["file"]):
        model = load(body, MODELS[event_schema(name)])
        assert dump(model) == body
        assert not list(unknown_parts(model))
        names.append(name)
    assert [*names, "done"] == entry["events"]


def test_all_examples_are_here():
    """Nothing documented is left out."""
    assert len([*entries("response", "object", "request", "event-stream")]) == len(INDEX) == 54
    assert sum(not entry["valid"] for entry in INDEX) == 21


def test_a_run_reads_as_documented():
    """What the document shows is what a program sees."""
    run = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)
    assert run.status is RunStatus.COMPLETED
    assert run.created_at.isoformat() == "2023-10-24T00:34:21+00:00"
    assert run.usage is not None
    assert run.usage.total_tokens == 579
    assert [tool.type for tool in run.tools] == ["file_search", "code_interpreter"]
    assert run.absent == {"reasoning_effort", "required_action", "tool_resources"}
    assert not run.extra


def test_a_message_reads_as_documented():
    """The text of a message is one property away."""
    message = load((EXAMPLES / "objects/MessageObject.json").read_bytes(), Message)
    assert message.text == "Hi! How can I help you today?"
    assert isinstance(message.content[0], TextContent)


def test_a_delta_reads_as_documented():
    """The new text is one property away, and empty where a delta is about something else."""
    delta = load((EXAMPLES / "objects/MessageDeltaObject.json").read_bytes(), MessageDelta)
    assert delta.text == "Hello"
    for changes in ({}, {"role": "assistant"}, {"content": [{"index": 0, "type": "image_file"}]}):
        assert load({"id": "msg_1", "delta": changes}, MessageDelta).text == ""
    assert (
        load({"id": "msg_1", "delta": {"content": [{"index": 0, "type": "text", "text": {}}]}}, MessageDelta).text == ""
    )
