"""What a page shows of texts that are being written: whole, and in pieces."""

import pytest

from openai_runs import load
from openai_runs.engine import Writing
from openai_runs.models.message import Message
from openai_runs.models.run_step import RunStep
from openai_runs.models.texts import call_texts, parts
from openai_runs.server.console import writing
from openai_runs.server.console.writing import WrittenPieces, written_message, written_step
from tests.following.story import message as a_message
from tests.following.story import step as a_step

TEXT = Writing("msg_1", 0, "text", ["Let me ", "see."])
REFUSAL = Writing("msg_1", 1, "refusal", ["No"])
CALL = Writing("step_1", 0, "call", ['{"city": ', '"Os'], "call_1", "get_weather")


def message(text: str | None = None) -> Message:
    return load(a_message("msg_1", text), Message)


def step(*calls: dict[str, object]) -> RunStep:
    return load({**a_step("step_1"), "step_details": {"type": "tool_calls", "tool_calls": list(calls)}}, RunStep)


def test_a_message_that_is_being_written():
    """It has what is written so far; once it is complete, what the store has of it counts."""
    assert list(parts(written_message(message(), [CALL, TEXT, REFUSAL]))) == [
        "Let me see.",
        "(refused) No",
    ]
    assert list(parts(written_message(message("Done."), [TEXT]))) == ["Done."]
    assert written_message(message(), [CALL]) == message()


def test_calls_that_are_being_written():
    """Likewise the calls of a step."""
    [call] = written_step(step(), [TEXT, CALL]).tool_calls
    texts = call_texts(call)
    assert (texts.id, texts.name, texts.arguments, texts.output) == ("call_1", "get_weather", '{"city": "Os', None)
    complete = {"type": "function", "id": "call_1", "function": {"name": "x", "arguments": "{}", "output": "1"}}
    assert written_step(step(complete), [CALL]) == step(complete)
    assert written_step(step(), [TEXT]) == step()


def test_only_what_is_new_is_told():
    """The first time all of a text, as a page that has just been opened needs it; then what has been added."""
    pieces, text, call = WrittenPieces(), ["Hi\u202e"], [""]
    writing = [Writing("msg_1", 0, "text", text), Writing("step_1", 0, "call", call)]
    assert pieces.new(writing) == [
        {"of": "msg_1-0", "text": "Hi[U+202E]", "is_start": True},
        {"of": "step_1-0", "text": "", "is_start": True},
    ]
    assert pieces.new(writing) == []
    text += [" the", "re"]
    assert pieces.new([*writing, REFUSAL]) == [
        {"of": "msg_1-0", "text": " there", "is_start": False},
        {"of": "msg_1-1", "text": "(refused) No", "is_start": True},
    ]
    assert pieces.new([]) == []


def test_limits(monkeypatch: pytest.MonkeyPatch):
    """A page is told no more than it would show of a text, of all texts and of the calls of a step."""
    monkeypatch.setattr(writing, "MOST_OF_TEXT", 4)
    monkeypatch.setattr(writing, "MOST_OF_PAGE", 6)
    monkeypatch.setattr(writing, "MOST_CALLS", 2)
    pieces, one, two = WrittenPieces(), ["12", "34"], ["12"]
    both = [Writing("step_1", 0, "call", one), Writing("step_1", 1, "call", two), Writing("step_1", 2, "call", ["x"])]
    assert [each["text"] for each in pieces.new(both)] == ["1234", "12"]
    one.append("5")
    two.append("3")
    assert [each["text"] for each in pieces.new(both)] == ["…", "…"]
    two.append("4")
    assert pieces.new(both) == []
