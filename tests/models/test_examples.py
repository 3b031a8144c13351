"""Every example of the API's document is understood, those that break the document's own schema too."""

import json

import pytest

from openai_runs import _params, dump, load
from openai_runs.models.message import Message, TextContent
from openai_runs.models.run import Run, RunStatus
from tests.samples import EXAMPLES, MODELS, PARAMS, event_schema, events, example
from tests.strategies import unknown_parts

INDEX = json.loads((EXAMPLES / "index.json").read_text())
#: Schemas without a model: what streams add to messages and steps, bit by bit.
DELTAS = {"MessageDeltaObject", "RunStepDeltaObject"}


def entries(*kinds):
    for entry in INDEX:
        if entry["part"] in kinds and entry["schema"] not in DELTAS:
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
    _params.check(body, PARAMS[entry["schema"]])
    assert dump(body) == body


@pytest.mark.parametrize("entry", [*entries("event-stream")])
def test_streamed_objects_survive(entry):
    """The objects inside a stream's events are the same as anywhere else."""
    seen = 0
    for name, body in events(EXAMPLES / entry["file"]):
        if (schema := event_schema(name)) not in DELTAS:
            model = load(body, MODELS[schema])
            assert dump(model) == body
            assert not list(unknown_parts(model))
            seen += 1
    assert seen == len([name for name in entry["events"] if not name.endswith("delta") and name != "done"])


def test_all_examples_are_here():
    """Nothing documented is left out but what streams add bit by bit."""
    assert len(INDEX) == 54
    assert sum(not entry["valid"] for entry in INDEX) == 21
    assert len([*entries("response", "object", "request", "event-stream")]) == 52


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
