"""``str()`` of runs, steps, deltas and events: one short line, whatever was written."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import Session, load
from openai_runs.events import (
    ActionRequired,
    MessageChanged,
    PollingTookOver,
    RunEnded,
    StatusChanged,
    StepChanged,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.models.delta import MessageChanges, MessageDelta, RunStepChanges, RunStepDelta
from openai_runs.models.lines import one_line, took
from openai_runs.models.message import Message, MessageRole, Text, TextContent
from openai_runs.models.run import (
    LastError,
    RequiredAction,
    Run,
    RunIncompleteDetails,
    RunStatus,
    SubmitToolOutputs,
    Usage,
)
from openai_runs.models.run_step import (
    CalledFunction,
    CodeInterpreterCall,
    FunctionStepCall,
    InterpretedCode,
    RunStep,
    RunStepStatus,
    ToolCalls,
)
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FunctionCall, FunctionToolCall, ToolOutput

AT = datetime(2026, 1, 1, tzinfo=UTC)
USAGE = Usage(prompt_tokens=1_000, completion_tokens=24, total_tokens=1_024)
RUN = Run(id="run_1", created_at=AT, thread_id="thread_1", assistant_id="asst_1", status=RunStatus.IN_PROGRESS)
DONE = evolve(RUN, status=RunStatus.COMPLETED, completed_at=AT + timedelta(seconds=1.24), usage=USAGE)
FAILED = evolve(
    RUN,
    status=RunStatus.FAILED,
    failed_at=AT + timedelta(seconds=2),
    last_error=LastError(code="server_error", message="The model\nis away."),
)
INCOMPLETE = evolve(
    RUN, status=RunStatus.INCOMPLETE, incomplete_details=RunIncompleteDetails(reason="max_prompt_tokens")
)
WAITING = evolve(
    RUN,
    status=RunStatus.REQUIRES_ACTION,
    required_action=RequiredAction(
        submit_tool_outputs=SubmitToolOutputs(
            tool_calls=(
                FunctionToolCall(id="call_1", function=FunctionCall(name="get_weather", arguments="{}")),
                FunctionToolCall(id="call_2", function=FunctionCall(name="get_time", arguments="{}")),
            )
        )
    ),
)
STEP = RunStep(
    id="step_1",
    created_at=AT,
    thread_id="thread_1",
    run_id="run_1",
    type="tool_calls",
    status=RunStepStatus.COMPLETED,
    completed_at=AT + timedelta(seconds=61),
    usage=USAGE,
    step_details=ToolCalls(
        tool_calls=(
            FunctionStepCall(id="call_1", function=CalledFunction(name="get_weather", arguments="{}")),
            CodeInterpreterCall(id="call_2", code_interpreter=InterpretedCode(input="1 + 1")),
        )
    ),
)
MESSAGE = Message(
    id="msg_1",
    created_at=AT,
    thread_id="thread_1",
    role=MessageRole.ASSISTANT,
    content=(TextContent(text=Text(value="It is\nsunny.")),),
)
ADDED = load({"content": [{"index": 0, "type": "text", "text": {"value": " sun"}}]}, MessageChanges)
CALLED = load({"step_details": {"type": "tool_calls", "tool_calls": []}}, RunStepChanges)

LINES: list[tuple[Any, str]] = [
    (RUN, "run_1 in_progress"),
    (DONE, "run_1 completed (1.2 s, 1,024 tokens)"),
    (FAILED, "run_1 failed (2 s, server_error: The model is away.)"),
    (INCOMPLETE, "run_1 incomplete (max_prompt_tokens)"),
    (WAITING, "run_1 requires_action (get_weather, get_time)"),
    (STEP, "step_1 tool_calls completed (1 min 1 s, 1,024 tokens, get_weather, code_interpreter)"[:79] + "…"),
    (StatusChanged(RUN, None), "run_1 in_progress"),
    (ActionRequired(WAITING, RunStatus.IN_PROGRESS), "run_1 in_progress -> requires_action (get_weather, get_time)"),
    (RunEnded(DONE, RunStatus.IN_PROGRESS), "run_1 in_progress -> completed (1.2 s, 1,024 tokens)"),
    (ToolOutputsSubmitted(RUN, (ToolOutput(tool_call_id="c", output="x"),)), "run_1 tool outputs submitted: 1"),
    (PollingTookOver(RUN, "the stream broke off"), "run_1 is polled: the stream broke off"),
    (ThreadCreated(Thread(id="thread_1", created_at=AT)), "thread_1 created"),
    (MessageChanged(MESSAGE, "thread.message.completed"), r"msg_1 completed 'It is\nsunny.'"),
    (MessageChanged(evolve(MESSAGE, content=()), "thread.message.created"), "msg_1 created"),
    (
        evolve(STEP, completed_at=None, usage=None, last_error=LastError(code="server_error", message="No.")),
        "step_1 tool_calls completed (server_error: No., get_weather, code_interpreter)",
    ),
    (
        StepChanged(evolve(STEP, completed_at=None, usage=None), "thread.run.step.in_progress"),
        "step_1 tool_calls in_progress (get_weather, code_interpreter)",
    ),
    (UnknownEvent("thread.paused", {"text": "secret"}), "thread.paused (unknown event)"),
    (MessageDelta(id="msg_1", delta=ADDED), "msg_1 + ' sun'"),
    (RunStepDelta(id="step_1", delta=CALLED), "step_1 + tool_calls"),
    (RunStepDelta(id="step_1", delta=RunStepChanges()), "step_1 + nothing"),
]


@pytest.mark.parametrize(("value", "line"), LINES)
def test_str_is_one_short_line(value: Any, line: str) -> None:
    """It says what matters in a log; the ``repr`` still has everything."""
    assert str(value) == f"{value}" == line
    assert repr(value).startswith(f"{type(value).__name__}(")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "< 1 s"),
        (0.4, "< 1 s"),
        (1, "1 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (3_725, "1 h 2 min"),
        (-5, "< 1 s"),
        (None, None),
    ],
)
def test_durations(seconds: float | None, words: str | None) -> None:
    """In the units of a reader, and never negative, whatever clocks an endpoint has."""
    ended = None if seconds is None else AT + timedelta(seconds=seconds)
    assert took(evolve(RUN, completed_at=ended)) == words


@given(st.text(max_size=500))
def test_whatever_was_written(text: str) -> None:
    """A line stays a line of at most 80 printable characters: nothing forges a record or commands a terminal."""
    for value in (
        evolve(RUN, id=text),
        evolve(RUN, status=RunStatus(text)),
        evolve(RUN, last_error=LastError(code=text, message=text)),
        StatusChanged(RUN, RunStatus(text)),
        PollingTookOver(RUN, text),
        UnknownEvent(text, None),
        MessageChanged(evolve(MESSAGE, content=(TextContent(text=Text(value=text)),)), text),
    ):
        line = str(value)
        assert line.isprintable()
        assert len(line) <= 80


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\n\tb", "a b"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("abc\u202edef", r"abc\u202edef"),
        ("\ud800", r"\ud800"),
        ("grün 🙂", "grün 🙂"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("a" + " " * 400 + "b", "a…"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    """What can be printed is, and all else is an escape; what is left out shows."""
    assert one_line(text) == shown


@pytest.mark.anyio
async def test_a_run_to_read(session: Session) -> None:
    """The events of a run, printed one by one, tell its story."""
    assistant = await session.assistants.create(model="scripted")
    run = await session.threads.create_and_run(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hello"}]}
    )
    lines = [str(event) async for event in session.runs.follow(run)]
    assert lines[0] == f"{run.id} queued"
    assert " -> completed (" in lines[-1]
    assert lines[-1].endswith(" tokens)")
