"""Every example in the API document is loaded, even those that break the document's own schema."""

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
    """A response loads into typed objects, and is dumped unchanged."""
    body = example(entry)
    model = load(json.dumps(body), MODELS[entry["schema"]])
    assert dump(model) == body
    assert not list(unknown_parts(model))


@pytest.mark.parametrize("entry", [*entries("request")])
def test_requests_are_sent_as_documented(entry):
    """A documented request passes our checks, and is sent unchanged."""
    body = example(entry)
    body.pop("stream", None)  # not a parameter: methods of their own stream
    check_params(body, PARAMS[entry["schema"]])
    assert dump(body) == body


@pytest.mark.parametrize("entry", [*entries("event-stream")])
def test_streamed_objects_survive(entry):
    """The data of stream events, deltas included, is loaded and dumped unchanged."""
    names = []
    for name, body in events(EXAMPLES / entry["file"]):
        model = load(body, MODELS[event_schema(name)])
        assert dump(model) == body
        assert not list(unknown_parts(model))
        names.append(name)
    assert [*names, "done"] == entry["events"]


def test_all_examples_are_here():
    """The tests cover every documented example."""
    assert len([*entries("response", "object", "request", "event-stream")]) == len(INDEX) == 54
    assert sum(not entry["valid"] for entry in INDEX) == 21


def test_a_run_reads_as_documented():
    """A documented run's values are the model's values."""
    run = load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)
    assert run.status is RunStatus.COMPLETED
    assert run.created_at.isoformat() == "2023-10-24T00:34:21+00:00"
    assert run.usage is not None
    assert run.usage.total_tokens == 579
    assert [tool.type for tool in run.tools] == ["file_search", "code_interpreter"]
    assert run.absent == {"completion_window", "reasoning_effort", "required_action", "tool_resources"}
    assert not run.extra


def test_a_message_reads_as_documented():
    """`Message.text` is the text of all its parts."""
    message = load((EXAMPLES / "objects/MessageObject.json").read_bytes(), Message)
    assert message.text == "Hi! How can I help you today?"
    assert isinstance(message.content[0], TextContent)


def test_a_delta_reads_as_documented():
    """`MessageDelta.text` is the added text, and empty if the delta adds none."""
    delta = load((EXAMPLES / "objects/MessageDeltaObject.json").read_bytes(), MessageDelta)
    assert delta.text == "Hello"
    for changes in ({}, {"role": "assistant"}, {"content": [{"index": 0, "type": "image_file"}]}):
        assert load({"id": "msg_1", "delta": changes}, MessageDelta).text == ""
    assert (
        load({"id": "msg_1", "delta": {"content": [{"index": 0, "type": "text", "text": {}}]}}, MessageDelta).text == ""
    )
