"""Runs, steps and events as lines: what is said, and that what a model wrote is text."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.text import Text

from openai_runs import Run, load
from openai_runs.cli.showing import (
    call_line,
    event_line,
    message_line,
    run_facts,
    run_line,
    status_of,
    timeline,
    when,
)
from openai_runs.events import ActionRequired, PollingTookOver, RunEnded, StatusChanged, ToolOutputsSubmitted
from openai_runs.models.message import Message
from openai_runs.models.run import RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import ToolOutput
from tests.following.story import message, run, waiting

BEGAN = datetime(2026, 11, 28, 4, 0, tzinfo=UTC)


def plain(line: str) -> str:
    """What a terminal shows."""
    return Text.from_markup(line).plain


def a_run(status: str = "completed", **fields: Any) -> Run:
    none = dict.fromkeys(("completed_at", "failed_at", "cancelled_at", "expires_at", "usage", "last_error"))
    return load({**run(status), **none, "created_at": int(BEGAN.timestamp()), **fields}, Run)


WAITING = a_run("requires_action", required_action=waiting("c")["required_action"])


def usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def step(details: dict[str, Any], start: int = 0, end: int | None = None, **fields: Any) -> RunStep:
    at = int(BEGAN.timestamp())
    body = {
        "id": "step_1",
        "object": "thread.run.step",
        "created_at": at + start,
        "completed_at": None if end is None else at + end,
        "thread_id": "thread_1",
        "run_id": "run_1",
        "type": details["type"],
        "status": "in_progress" if end is None else "completed",
        "step_details": details,
        **fields,
    }
    return load(body, RunStep, strict=False)


def test_when():
    """On this machine's clock; a time that is not known is a dash."""
    assert when(BEGAN) == BEGAN.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert when(None) == "-"


def test_a_run_in_one_line():
    """What became of it, and its IDs; tokens and duration once they are known."""
    ended = a_run(completed_at=int(BEGAN.timestamp()) + 65, usage=usage(1000, 234))
    line = plain(run_line(ended, with_thread=True))
    assert line.split("  ")[1] == "completed"
    assert line.split()[3:] == ["1", "min", "5", "s", "1,234", ended.id, ended.thread_id]
    assert plain(run_line(ended, with_thread=True, at=BEGAN + timedelta(hours=1))).startswith(
        when(BEGAN + timedelta(hours=1))
    )
    line = plain(run_line(a_run("queued"), with_thread=False))
    assert line.split()[2:] == ["queued", a_run().id]


def test_facts():
    """Each that is there has a line; what a model wrote is no markup."""
    failed = a_run(
        "failed",
        failed_at=int(BEGAN.timestamp()) + 2,
        usage=usage(1000, 234),
        last_error={"code": "server_error", "message": "[red]no[/]"},
        metadata={"who": "ann"},
        incomplete_details={"reason": "max_prompt_tokens"},
        expires_at=int(BEGAN.timestamp()) + 600,
    )
    shown = [plain(line).split(maxsplit=1) for line in run_facts(failed)]
    assert ["tokens", "1,234: 1,000 read, 234 written"] in shown
    assert ["error", "server_error: [red]no[/]"] in shown
    assert ["metadata", "who ann"] in shown
    assert ["incomplete", "max_prompt_tokens"] in shown
    assert ["took", "2 s"] in shown
    assert plain([*run_facts(WAITING)][-1]).split(maxsplit=2) == ["waits", "for", "f({})"]


class TestTimeline:
    def test_steps(self):
        """Each has its place in the run's time; one that has not ended lasts until now."""
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "output": None}}
        steps = [
            step({"type": "tool_calls", "tool_calls": [call, call]}, 0, 5),
            step({"type": "message_creation", "message_creation": {"message_id": "msg_1"}}, 5),
        ]
        lines = [
            plain(line)
            for line in timeline(
                a_run("in_progress"), steps, {"msg_1": "It is [b]."}, width=80, now=BEGAN + timedelta(seconds=10)
            )
        ]
        assert lines[0] == "  ▕████████████            ▏ f({})"
        assert lines[1].strip() == "f({})"
        assert lines[2] == "  ▕            ████████████▏ message: It is [b]."

    def test_odd_times(self):
        """Clocks of several machines differ; a bar stays within its run."""
        ended = a_run(completed_at=int(BEGAN.timestamp()))
        steps = [step({"type": "odd"}, start, end) for start, end in ((-5, -1), (100, 200), (3, 1))]
        for line in timeline(ended, steps, {}, width=10, now=BEGAN):
            bar = plain(line).split("▕")[1].split("▏")[0]
            assert len(bar) == 24
            assert "█" in bar

    def test_a_step_that_failed(self):
        """The error is shown; so is a message that cannot be read."""
        error = {"code": "server_error", "message": "no"}
        details = {"type": "message_creation", "message_creation": {"message_id": "msg_1"}}
        lines = [
            plain(line) for line in timeline(a_run(), [step(details, 0, 1, last_error=error)], {}, width=80, now=BEGAN)
        ]
        assert "message: msg_1" in lines[0]
        assert "server_error: no" in lines[1]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}", "output": "1"}},
            "f({}) -> 1",
        ),
        ({"id": "c", "type": "file_search", "file_search": {}}, "file_search -> nothing"),
        (
            {
                "id": "c",
                "type": "file_search",
                "file_search": {"results": [{"file_id": "f", "file_name": "a.pdf", "score": 1.0}] * 2},
            },
            "file_search -> a.pdf",
        ),
        (
            {"id": "c", "type": "code_interpreter", "code_interpreter": {"input": "1+1", "outputs": []}},
            "code_interpreter: 1+1",
        ),
        ({"id": "c", "type": "later"}, 'later: {"id": "c", "type": "later"}'),
    ],
)
def test_calls(call: dict[str, Any], said: str):
    """Each kind of call in one line, also one that is not known."""
    [loaded] = step({"type": "tool_calls", "tool_calls": [call]}).tool_calls
    assert call_line(loaded) == said


def test_a_message():
    """Who wrote it, and its text, which is no markup."""
    shown = message_line(load(message("msg_1", "It is [red]hot[/]."), Message, strict=False))
    assert plain(shown) == "assistant  It is [red]hot[/]."


def test_events():
    """Each kind of event in one line, with what one wants to know about it."""
    ended = a_run(
        "failed",
        failed_at=int(BEGAN.timestamp()) + 3,
        usage=usage(3, 2),
        last_error={"code": "server_error", "message": "no"},
    )
    shown = [
        plain(event_line(event))
        for event in (
            StatusChanged(a_run("queued"), None),
            ActionRequired(WAITING, RunStatus.IN_PROGRESS),
            ToolOutputsSubmitted(WAITING, (ToolOutput(tool_call_id="c", output="[x]"),)),
            PollingTookOver(WAITING, "it broke"),
            RunEnded(ended, RunStatus.IN_PROGRESS),
            RunEnded(a_run("cancelled"), RunStatus.IN_PROGRESS),
        )
    ]
    assert shown == [
        "queued",
        "requires_action: f({})",
        "outputs submitted: [x]",
        "polling from now on: it broke",
        "failed after 3 s, 5 tokens: server_error: no",
        "cancelled",
    ]


def test_statuses_of_later_versions():
    """A status that is not known is shown as it is."""
    assert plain(status_of(a_run("[pondering]"))) == "[pondering]"
