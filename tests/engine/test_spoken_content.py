"""What is written down of a conversation, for who asks for contents in spans."""

import json
from typing import Any

import pytest

from openai_runs._wire import load
from openai_runs.backends import Call, Fail, Say
from openai_runs.backends.model_backend import (
    BackendEvent,
    FinishReason,
    HostedToolCall,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.engine.spoken_content import Answer, given
from openai_runs.models.message import Message
from openai_runs.models.run_step import CodeInterpreterCall, InterpretedCode, RunStep
from tests.backends.requests import a_request
from tests.engine.world import TIME, world
from tests.following import story
from tests.recorded import Recorded

pytestmark = pytest.mark.anyio

HOSTED = CodeInterpreterCall(id="ci", code_interpreter=InterpretedCode(input="secret"))


def said(*events: BackendEvent, reason: FinishReason | None = "stop") -> Any:
    answer = Answer()
    for event in events:
        answer.add(event)
    (message,) = json.loads(answer.said(reason)["gen_ai.output.messages"] or "")
    return message


def test_texts() -> None:
    """Pieces of one kind are one part; another kind begins another part."""
    message = said(TextChunk("I "), TextChunk("look."), RefusalChunk("No."), TextChunk("Sorry."))
    assert message == {
        "role": "assistant",
        "parts": [
            {"type": "text", "content": "I look."},
            {"type": "refusal", "content": "No."},
            {"type": "text", "content": "Sorry."},
        ],
        "finish_reason": "stop",
    }


def test_calls() -> None:
    """Each has its arguments as the model wrote them; of the endpoint's own tools there is only the kind."""
    pieces = ToolCallChunk(0, "a", "f", "{"), ToolCallChunk(1, None, None, "[]"), ToolCallChunk(0, arguments="}")
    message = said(HostedToolCall(HOSTED), *pieces)
    assert message["finish_reason"] == "tool_call"
    assert message["parts"] == [
        {"type": "code_interpreter", "id": "ci"},
        {"type": "tool_call", "id": "a", "name": "f", "arguments": "{}"},
        {"type": "tool_call", "id": None, "name": "", "arguments": "[]"},
    ]


def test_what_is_no_answer() -> None:
    """Other events and values of the wrong type are left out."""
    assert said(UsageReport(1, 2), TextChunk(5))["parts"] == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reason", "written"),
    [
        ("stop", "stop"),
        ("tool_calls", "tool_call"),
        ("max_tokens", "length"),
        ("max_prompt_tokens", "length"),
        ("content_filter", "content_filter"),
        (None, "error"),
    ],
)
def test_reasons(reason: FinishReason | None, written: str) -> None:
    """In the words of the conventions."""
    assert said(reason=reason)["finish_reason"] == written


def test_a_conversation() -> None:
    """Texts, calls and outputs; an image, and an answer that is missing, are left out."""
    image = {"type": "image_url", "image_url": {"url": "https://secret"}}
    refusal = {"type": "refusal", "refusal": "No."}
    asked = story.message("m", "Look!", role="user")
    asked["content"] += [image, refusal]
    calls = [
        {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}", "output": output}}
        for id, output in (("a", "sunny"), ("b", None))
    ]
    calls.append({"id": "c", "type": "code_interpreter", "code_interpreter": {"input": "secret", "outputs": []}})
    step = story.step("s", "completed")
    step["step_details"]["tool_calls"] = calls
    request = a_request(load(asked, Message), load(step, RunStep), instructions="Be brief.")
    attributes = {name: json.loads(text or "") for name, text in given(request).items()}
    assert attributes == {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": [
            {
                "role": "user",
                "parts": [
                    {"type": "text", "content": "Look!"},
                    {"type": "image_url"},
                    {"type": "refusal", "content": "No."},
                ],
            },
            {
                "role": "assistant",
                "parts": [
                    {"type": "tool_call", "id": "a", "name": "f", "arguments": "{}"},
                    {"type": "tool_call", "id": "b", "name": "f", "arguments": "{}"},
                    {"type": "code_interpreter"},
                ],
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "a", "response": "sunny"}]},
        ],
    }
    assert given(a_request(instructions=""))["gen_ai.system_instructions"] is None


async def test_in_spans() -> None:
    """A model call has them with `record_content`, one that has failed as well."""
    recorded = Recorded()
    script = [Call("get_time", id="a"), [Say("Noon"), Fail()]]
    async with world(script, telemetry=recorded.telemetry(record_content=True)) as w:
        run = await w.start("When?", tools=[TIME], instructions="Be brief.")
        await w.answer(run, "noon")
        await w.until("run.failed", run)
    first, second = recorded.attributes("chat m")
    assert "Be brief." in first["gen_ai.system_instructions"]
    assert json.loads(first["gen_ai.output.messages"])[0]["finish_reason"] == "tool_call"
    assert [message["role"] for message in json.loads(second["gen_ai.input.messages"])] == ["user", "assistant", "tool"]
    assert json.loads(second["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Noon"}], "finish_reason": "error"}
    ]
