"""Deltas are merged by the API's rules; every piece of text is reported, and reported once."""

import copy
import json
import logging
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs.errors import ProtocolError
from openai_runs.events import MessageChanged, StepChanged
from openai_runs.following.transcript import Transcript, _merge, _to_json
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.message import FileCitation, ImageUrlContent, Message, RefusalContent, TextContent
from openai_runs.models.model import Unknown
from openai_runs.models.run_step import CodeInterpreterCall, FunctionStepCall, LogsOutput, RunStep
from tests.strategies import bodies


def message(*texts, status="in_progress", **fields):
    content = [{"type": "text", "text": {"value": text, "annotations": []}} for text in texts]
    return _wire.load(
        {"id": "msg_1", "created_at": 0, "thread_id": "t", "role": "assistant", "status": status}
        | {"content": content, "run_id": "run_1"}
        | fields,
        Message,
    )


def step(*calls, status="in_progress", **fields):
    return _wire.load(
        {"id": "step_1", "created_at": 0, "thread_id": "t", "run_id": "run_1", "type": "tool_calls", "status": status}
        | {"step_details": {"type": "tool_calls", "tool_calls": list(calls)}}
        | fields,
        RunStep,
    )


def delta(*content, **fields):
    return _wire.load({"id": "msg_1", "delta": {"content": list(content), **fields}}, MessageDelta)


def text(value, index=0, **fields):
    return {"index": index, "type": "text", "text": {"value": value, **fields}}


def step_delta(*calls):
    return _wire.load(
        {"id": "step_1", "delta": {"step_details": {"type": "tool_calls", "tool_calls": list(calls)}}}, RunStepDelta
    )


@pytest.fixture
def transcript():
    """A transcript in which one message and one step have begun."""
    transcript = Transcript()
    transcript.change_message(message(), "thread.message.created")
    transcript.change_step(step(), "thread.run.step.created")
    return transcript


class TestMessages:
    def test_text(self, transcript):
        """Texts are concatenated, each index on its own."""
        for part in (text("Hel", annotations=[]), text("lo"), text("Wor", 1), text("ld", 1), text("!", 0)):
            transcript.add_message_delta(delta(part))
        (merged,) = transcript.messages
        assert [part.text.value for part in merged.content] == ["Hello!", "World"]
        assert merged.text == "Hello!World"
        assert merged.content[0].extra == {}

    @pytest.mark.parametrize("reads", [False, True])
    @pytest.mark.parametrize("snapshot", [None, "open", "whole"])
    def test_the_second_part_first(self, transcript, reads, snapshot):
        """A delta of the second part may come before one of the first, whatever is read in between."""
        transcript.add_message_delta(delta(text("Wor", 1)))
        if reads:
            assert transcript.messages[0].text == "Wor"
        if snapshot == "open":
            (changed,) = transcript.change_message(message(), "thread.message.in_progress")
            assert changed.message.text == "Wor"
        for part in (text("Hel"), text("ld", 1), text("lo")):
            transcript.add_message_delta(delta(part))
        assert [part.text.value for part in transcript.messages[0].content] == ["Hello", "World"]
        if snapshot == "whole":
            events = transcript.change_message(
                message("Hello", "World!", status="completed"), "thread.message.completed"
            )
            assert [event.text for event in events[:-1]] == ["!"]

    def test_a_snapshot_fills_the_first_part(self, transcript):
        """A snapshot adds what its deltas have not brought, in the part that lacks it."""
        transcript.add_message_delta(delta(text("World", 1)))
        events = transcript.change_message(message("Hello", "World", status="completed"), "thread.message.completed")
        assert [(event.delta.content[0].index, event.text) for event in events[:-1]] == [(0, "Hello")]

    def test_snapshots_in_between(self, transcript):
        """Reading the message in between changes nothing."""
        for count in range(1, 50):
            transcript.add_message_delta(delta(text("ab")))
            assert transcript.messages[0].text == "ab" * count
            assert transcript.messages is not None

    @pytest.mark.unmeasured
    def test_ten_thousand(self, transcript):
        """The text of many deltas is complete."""
        for number in range(10_000):
            transcript.add_message_delta(delta(text(f"{number} ")))
        assert transcript.messages[0].text == " ".join(map(str, range(10_000))) + " "

    def test_annotations(self, transcript):
        """Numbers and IDs are replaced, strings are appended, a new index starts an item."""
        citation = {"index": 0, "type": "file_citation", "text": "[1", "file_citation": {"file_id": "file_1"}}
        more = {"index": 0, "type": "file_citation", "text": "]", "file_citation": {"file_id": "file_1"}}
        path = {"index": 1, "type": "file_path", "text": "x", "file_path": {"file_id": "f"}}
        transcript.add_message_delta(delta(text("a", annotations=[{**citation, "start_index": 3, "end_index": 5}])))
        transcript.add_message_delta(delta(text("b")))
        transcript.add_message_delta(delta(text("c", annotations=[{**more, "start_index": 4, "end_index": 7}])))
        transcript.add_message_delta(delta(text("d", annotations=[path])))
        (part,) = transcript.messages[0].content
        assert isinstance(part, TextContent)
        assert part.text.value == "abcd"
        (first,) = part.text.annotations  # of the second, the indexes are still to come
        assert isinstance(first, FileCitation)
        assert (first.text, first.start_index, first.end_index, first.file_citation.file_id) == ("[1]", 4, 7, "file_1")
        transcript.add_message_delta(delta(text("e", annotations=[{**path, "start_index": 0, "end_index": 1}])))
        (part,) = transcript.messages[0].content
        assert part.text.value == "abcde"
        assert [annotation.type for annotation in part.text.annotations] == ["file_citation", "file_path"]

    def test_other_parts(self, transcript):
        """Images are replaced, refusals are appended, unknown parts are kept, and the order follows the indexes."""
        new = {"index": 3, "type": "hologram", "hologram": {"depth": 2}}
        url = {"index": 2, "type": "image_url", "image_url": {"url": "https://x/y.png"}}
        refusals = [{"index": 0, "type": "refusal", "refusal": part} for part in ("No", ", thanks")]
        transcript.add_message_delta(delta(new, url))
        transcript.add_message_delta(delta(refusals[0], role="assistant"))
        transcript.add_message_delta(delta(refusals[1], {**new, "hologram": {"depth": 3, "width": 1}}))
        transcript.add_message_delta(delta())
        (merged,) = transcript.messages
        assert merged.role == "assistant"
        refusal, image, hologram = merged.content
        assert refusal == RefusalContent(refusal="No, thanks")
        assert isinstance(image, ImageUrlContent)
        assert hologram == Unknown("hologram", {"type": "hologram", "hologram": {"depth": 3, "width": 1}})

    def test_parts_that_are_not_yet_whole(self, transcript):
        """An item that lacks required fields is left out until they arrive; the others are there."""
        transcript.add_message_delta(delta(text("a"), {"index": 1, "type": "image_file"}, {"index": 2, "type": "text"}))
        assert len(transcript.messages[0].content) == 1
        image = {"index": 1, "type": "image_file", "image_file": {"file_id": "file_1"}}
        transcript.add_message_delta(delta(image, text("b", 2)))
        assert [part.type for part in transcript.messages[0].content] == ["text", "image_file", "text"]

    def test_nonsense_outside_of_arrays(self, transcript):
        """Invalid data outside of arrays raises an error that says where."""
        transcript.add_message_delta(_wire.load({"id": "msg_1", "delta": {"thread_id": 7}}, MessageDelta))
        for _ in range(2):
            with pytest.raises(ProtocolError, match=r"\$\.thread_id"):
                transcript.messages  # noqa: B018  # a property that raises

    def test_a_delta_is_not_changed(self, transcript):
        """Events that were yielded do not change later."""
        first = delta({"index": 0, "type": "hologram", "parts": [{"index": 0, "name": "a"}], "size": {"x": "1"}})
        before = copy.deepcopy(_wire.dump(first))
        transcript.add_message_delta(first)
        transcript.add_message_delta(
            delta({"index": 0, "type": "hologram", "parts": [{"name": "b"}], "size": {"x": "2"}})
        )
        (part,) = transcript.messages[0].content
        assert part.raw["size"] == {"x": "12"}
        assert part.raw["parts"] == [{"name": "a"}, {"name": "b"}]
        assert _wire.dump(first) == before

    def test_deltas_of_a_message_that_nobody_announced(self):
        """Deltas before the first snapshot are kept, and their text is not reported again with it."""
        transcript = Transcript()
        transcript.add_message_delta(delta(text("Hel")))
        assert transcript.messages == ()
        news = transcript.change_message(message("Hello", status="completed"), "thread.message.completed")
        assert [event.text for event in news if isinstance(event, MessageDelta)] == ["lo"]
        assert transcript.messages[0].text == "Hello"


class TestSnapshotsOfMessages:
    def test_nothing_new(self, transcript):
        """A snapshot with the deltas' text is reported without another delta."""
        transcript.add_message_delta(delta(text("Hello")))
        done = message("Hello", status="completed")
        assert transcript.change_message(done, "thread.message.completed") == [
            MessageChanged(done, "thread.message.completed")
        ]
        assert transcript.messages == (done,)

    def test_more_text_than_deltas(self, transcript):
        """Text that no delta had is reported as one delta; joined, the deltas are always the whole text."""
        transcript.add_message_delta(delta(text("Hel")))
        done = message("Hello", "World", status="completed")
        first, second, changed = transcript.change_message(done, "thread.message.completed")
        assert _wire.dump(first) == {
            "id": "msg_1",
            "object": "thread.message.delta",
            "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "lo"}}]},
        }
        assert (second.text, second.delta.content[0].index) == ("World", 1)
        assert changed == MessageChanged(done, "thread.message.completed")

    def test_another_text_than_the_deltas(self, transcript, caplog):
        """If the texts differ, the snapshot wins, but no further delta is reported; a warning says so."""
        transcript.add_message_delta(delta(text("Good-bye")))
        done = message("Hello", status="completed")
        with caplog.at_level(logging.WARNING, "openai_runs.following"):
            assert len(transcript.change_message(done, "thread.message.completed")) == 1
        assert "differs from that of its deltas" in caplog.text
        assert transcript.messages == (done,)

    def test_an_old_snapshot(self, transcript):
        """A snapshot older than the latest deltas does not remove their text."""
        transcript.add_message_delta(delta(text("Hello")))
        transcript.add_message_delta(delta({"index": 1, "type": "image_file", "image_file": {"file_id": "f"}}))
        (changed,) = transcript.change_message(message("He", metadata={"a": "b"}), "thread.message.in_progress")
        assert (changed.message.text, changed.message.metadata) == ("Hello", {"a": "b"})
        transcript.add_message_delta(delta(text(" you")))
        assert transcript.messages[0].text == "Hello you"
        assert len(transcript.messages[0].content) == 2


class TestSteps:
    def test_function_calls(self, transcript):
        """Arguments are appended, a null output is set, IDs and names stay, and each call is merged on its own."""
        first = {"index": 0, "id": "call_1", "type": "function"}
        second = {"index": 1, "id": "call_2", "type": "function"}
        for call in (
            {**first, "function": {"name": "f", "arguments": "", "output": None}},
            {**second, "function": {"name": "g", "arguments": "{", "output": None}},
            {"index": 0, "type": "function", "function": {"arguments": '{"a"'}},
            {**first, "function": {"arguments": ":1}", "output": None}},
            {"index": 1, "type": "function", "function": {"arguments": "}", "output": "x"}},
            {"index": 1, "type": "function", "function": {"output": None}},
        ):
            transcript.add_step_delta(step_delta(call))
        (merged,) = transcript.steps
        assert all(isinstance(call, FunctionStepCall) for call in merged.step_details.tool_calls)
        assert [call.id for call in merged.step_details.tool_calls] == ["call_1", "call_2"]
        functions = [call.function for call in merged.step_details.tool_calls]
        assert [(f.name, f.arguments, f.output) for f in functions] == [("f", '{"a":1}', None), ("g", "{}", "x")]

    def test_code(self, transcript):
        """Input and logs are appended."""
        for code in ({"input": "1"}, {"input": "+1", "outputs": [{"index": 0, "type": "logs", "logs": "2"}]}):
            call = {"index": 0, "id": "call_1", "type": "code_interpreter", "code_interpreter": code}
            transcript.add_step_delta(step_delta(call))
        logs = {"index": 0, "type": "logs", "logs": "3"}
        more = {"index": 0, "type": "code_interpreter", "code_interpreter": {"outputs": [logs]}}
        transcript.add_step_delta(step_delta(more))
        (call,) = transcript.steps[0].step_details.tool_calls
        assert isinstance(call, CodeInterpreterCall)
        assert call.code_interpreter.input == "1+1"
        assert call.code_interpreter.outputs == (LogsOutput(logs="23"),)

    def test_a_message_creation_that_is_repeated(self, transcript):
        """An ID that is repeated is not appended."""
        details = {"type": "message_creation", "message_creation": {"message_id": "msg_1"}}
        transcript.change_step(
            step(id="step_2", type="message_creation", step_details=details), "thread.run.step.created"
        )
        transcript.add_step_delta(_wire.load({"id": "step_2", "delta": {"step_details": details}}, RunStepDelta))
        assert transcript.steps[1].step_details.message_creation.message_id == "msg_1"

    def test_a_step_that_nobody_announced(self):
        """After tool outputs, a stream begins with a step of the previous stream."""
        transcript = Transcript()
        transcript.add_step_delta(step_delta({"index": 0, "type": "function"}))
        assert transcript.steps == ()
        done = step(status="completed")
        assert transcript.change_step(done, "thread.run.step.completed") == StepChanged(
            done, "thread.run.step.completed"
        )
        assert transcript.steps == (done,)

    def test_oddities(self):
        """What a server left out or sent oddly does not keep deltas from being merged."""
        transcript = Transcript()
        bare = {"id": "msg_1", "status": "in_progress", "content": [{"type": "text", "text": "Hel"}], "metadata": 0}
        transcript.change_message(_wire.load(bare, Message, strict=False), "thread.message.created")
        transcript.add_message_delta(
            _wire.load(
                {"id": "msg_1", "delta": {"content": [{"type": "text", "text": "lo"}]}}, MessageDelta, strict=False
            )
        )
        (merged,) = transcript.messages
        assert (merged.text, merged.role, merged.metadata) == ("Hello", "", None)
        transcript.change_step(_wire.load({"id": "step_1"}, RunStep, strict=False), "thread.run.step.created")
        transcript.add_step_delta(step_delta({"index": 0, "type": "code_interpreter", "id": "call_1"}))
        assert transcript.steps[0].tool_calls == ()  # incomplete so far


class TestCatchUp:
    def test_what_is_new(self, transcript):
        """What was written without a stream is reported: the rest of a text, a whole message, and steps."""
        transcript.add_message_delta(delta(text("Hel")))
        seen = message("Hello", status="completed")
        missed = message("Bye", status=None, id="msg_2")
        steps = [step(status="completed"), step(id="step_2", status="failed")]
        news = list(transcript.catch_up([seen, missed], steps))
        assert [event.text for event in news if isinstance(event, MessageDelta)] == ["lo", "Bye"]
        assert [event.name for event in news if not isinstance(event, MessageDelta)] == [
            "thread.message.completed",
            "thread.message.completed",
            "thread.run.step.completed",
            "thread.run.step.failed",
        ]
        assert transcript.messages == (seen, missed)
        assert list(transcript.catch_up([seen, missed], steps)) == []

    def test_unfinished(self, transcript):
        """Unchanged objects are not reported again; changed ones are."""
        assert list(transcript.catch_up([message()], [step()])) == []
        first = list(transcript.catch_up([message("He")], [step({"type": "later"})]))
        assert [type(event) for event in first] == [MessageDelta, MessageChanged, StepChanged]
        assert list(transcript.catch_up([message("He")], [step({"type": "later"})])) == []


# Any message can be split into deltas


def pieces(value, data):
    """Ways to split an object into deltas: texts in pieces, arrays by index."""
    told = []
    for key, inner in value.items():
        if isinstance(inner, str) and not (key in ("type", "role", "id") or key.endswith("_id")):
            place = data.draw(st.integers(0, len(inner)))
            told += [{key: inner[:place]}, {key: inner[place:]}]
        elif isinstance(inner, dict):
            told += [{key: part} for part in [{}, *pieces(inner, data)]]
        elif isinstance(inner, list):
            told.append({key: []})
            for index, item in enumerate(inner):
                tag = {"index": index, "type": item["type"]} if "type" in item else {"index": index}
                told += [{key: [{**part, **tag}]} for part in [{}, *pieces(item, data)]]
        else:
            told.append({key: inner})
    return told


@pytest.mark.unmeasured
@given(bodies("MessageObject", unknown=False), st.data())
def test_any_message_in_deltas(body, data):
    """Any message, split into deltas, is merged to the same message, also if it is read in between."""
    transcript = Transcript()
    empty = {**body, "content": [], "status": "in_progress"}
    transcript.change_message(_wire.load(empty, Message), "thread.message.created")
    for part in pieces({"content": body["content"]}, data):
        transcript.add_message_delta(_wire.load({"id": body["id"], "delta": part}, MessageDelta))
        assert transcript.messages
    assert _wire.dump(transcript.messages[0]) == json.loads(json.dumps({**empty, "content": body["content"]}))


@given(bodies("RunStepObject", unknown=False), st.data())
def test_any_step_in_deltas(body, data):
    """The same for a step."""
    transcript = Transcript()
    kind = body["step_details"]["type"]
    begun = {"type": "tool_calls", "tool_calls": []} if kind == "tool_calls" else body["step_details"]
    transcript.change_step(_wire.load({**body, "step_details": begun}, RunStep), "thread.run.step.created")
    for part in pieces({"step_details": body["step_details"]}, data):
        transcript.add_step_delta(_wire.load({"id": body["id"], "delta": part}, RunStepDelta))
        assert transcript.steps
    assert _wire.dump(transcript.steps[0]) == body


@pytest.mark.unmeasured
@given(
    bodies("MessageDeltaObject"),
    bodies("MessageDeltaObject"),
    bodies("RunStepDeltaObject"),
    bodies("RunStepDeltaObject"),
)
def test_any_deltas(first, second, third, fourth):
    """Deltas that contradict each other make a model, or an error that says where."""
    transcript = Transcript()
    transcript.change_message(message(id="a"), "")
    transcript.change_step(step(id="b"), "")
    for body in (first, second):
        transcript.add_message_delta(_wire.load({**body, "id": "a"}, MessageDelta))
        assert transcript.messages
    for body in (third, fourth):
        transcript.add_step_delta(_wire.load({**body, "id": "b"}, RunStepDelta))
        with suppress(ProtocolError):
            assert transcript.steps


def test_scalars_in_arrays():
    """Items that are not objects, which the API's deltas do not have, are appended."""
    assert _to_json(_merge(_merge({}, {"a": [1, [2]]}), {"a": [3], "b": None})) == {"a": [1, [2], 3], "b": None}
