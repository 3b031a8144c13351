"""Runs, steps, messages and events as lines of text, with rich's markup."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from rich.markup import escape

from openai_runs.events import ActionRequired, PollingTookOver, RunEnded, RunEvent, StatusChanged, ToolOutputsSubmitted
from openai_runs.models.lines import end_of, one_line, took
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import (
    CodeInterpreterCall,
    FileSearchCall,
    FunctionStepCall,
    RunStep,
    StepToolCall,
)

_STYLES: Final = {
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "red",
    RunStatus.EXPIRED: "red",
    RunStatus.INCOMPLETE: "yellow",
    RunStatus.CANCELLED: "yellow",
    RunStatus.REQUIRES_ACTION: "magenta",
}
_BAR: Final = 24  # characters


def when(time: datetime | None) -> str:
    """A time on this machine's clock."""
    return "-" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def status_of(run: Run) -> str:
    """A run's status, with its colour."""
    style = _STYLES.get(run.status, "cyan")
    return f"[{style}]{escape(str(run.status))}[/]"


def run_line(run: Run, *, with_thread: bool, at: datetime | None = None) -> str:
    """A run in one line: when it was created, what became of it, how long it took, its tokens, its IDs.

    Args:
        run: The run.
        with_thread: Whether the thread's ID is there, too.
        at: The time that is shown instead of the run's creation.
    """
    tokens = "" if run.usage is None else f"{run.usage.total_tokens:,}"
    padding = " " * (15 - len(str(run.status)))
    line = (
        f"{when(at or run.created_at)}  {status_of(run)}{padding}  {took(run) or '':>10}  {tokens:>9}  {escape(run.id)}"
    )
    return f"{line}  {escape(run.thread_id)}" if with_thread else line


def run_header(*, with_thread: bool, at: str = "created") -> str:
    """The names of what `run_line` shows, above it.

    Args:
        with_thread: Whether the thread's ID is there, too.
        at: What the time is.
    """
    line = f"{at:<19}  {'status':<15}  {'took':>10}  {'tokens':>9}  {'run':<28}"
    return f"[dim]{f'{line}  thread' if with_thread else line.rstrip()}[/]"


def run_facts(run: Run) -> Iterator[str]:
    """What a run is, a line each."""
    yield f"[bold]{escape(run.id)}[/]  {status_of(run)}"
    usage = run.usage
    facts = {
        "thread": run.thread_id,
        "assistant": run.assistant_id,
        "model": run.model,
        "created": when(run.created_at),
        "took": took(run),
        "expires": when(run.expires_at) if run.expires_at is not None else None,
        "tokens": None
        if usage is None
        else f"{usage.total_tokens:,}: {usage.prompt_tokens:,} read, {usage.completion_tokens:,} written",
        "error": None if run.last_error is None else f"{run.last_error.code}: {run.last_error.message}",
        "incomplete": None if run.incomplete_details is None else run.incomplete_details.reason,
        **{f"metadata {name}": value for name, value in (run.metadata or {}).items()},
    }
    for name, value in facts.items():
        if value is not None:
            yield f"  {escape(name):<10} {escape(str(value))}"
    for call in run.pending_tool_calls:
        yield f"  {'waits for':<10} {escape(f'{call.function.name}({call.function.arguments})')}"


def timeline(run: Run, steps: Sequence[RunStep], texts: dict[str, str], *, width: int, now: datetime) -> Iterator[str]:
    """A run's steps over its time, the oldest first.

    Args:
        run: The run.
        steps: Its steps, the oldest first.
        texts: The texts of messages, by their IDs.
        width: Characters in a line.
        now: The end of what has not ended.
    """
    began = run.created_at
    whole = max(((end_of(run) or now) - began).total_seconds(), 1.0)
    for step in steps:
        start = min(max((step.created_at - began).total_seconds() / whole, 0.0), 1.0)
        end = min(max(((end_of(step) or now) - began).total_seconds() / whole, start), 1.0)
        left = min(int(start * _BAR), _BAR - 1)
        length = max(round(end * _BAR) - left, 1)
        bar = " " * left + "█" * length + " " * (_BAR - left - length)
        lines = list(_step_lines(step, texts))
        first, *others = lines or [str(step.status)]
        room = max(width - _BAR - 5, 20)
        yield f"  [dim]▕[/][cyan]{bar}[/][dim]▏[/] {escape(one_line(first, room))}"
        for line in others:
            yield f"   {' ' * _BAR}  {escape(one_line(line, room))}"


def _step_lines(step: RunStep, texts: dict[str, str]) -> Iterator[str]:
    if step.message_id is not None:
        yield f"message: {texts.get(step.message_id, step.message_id)}"
    for call in step.tool_calls:
        yield call_line(call)
    if step.last_error is not None:
        yield f"{step.last_error.code}: {step.last_error.message}"


def call_line(call: StepToolCall) -> str:
    """A tool call in one line."""
    match call:
        case FunctionStepCall(function=function):
            output = "" if function.output is None else f" -> {function.output}"
            return f"{function.name}({function.arguments}){output}"
        case FileSearchCall(file_search=search):
            names = [result.file_name for result in search.results or ()]
            return f"file_search -> {', '.join(dict.fromkeys(names)) or 'nothing'}"
        case CodeInterpreterCall(code_interpreter=code):
            return f"code_interpreter: {code.input}"
        case _:
            return f"{call.type}: {json.dumps(call.raw)}"


def message_line(message: Message) -> str:
    """Who wrote a message, and what."""
    style = "green" if message.role == "assistant" else "bold"
    return f"[{style}]{escape(str(message.role))}[/]  {escape(message.text)}"


def event_line(event: RunEvent) -> str:
    """An event of a run that is followed, in one line."""
    match event:
        case ActionRequired(run=run, tool_calls=calls):
            asked = ", ".join(f"{call.function.name}({call.function.arguments})" for call in calls)
            return f"{status_of(run)}: {escape(asked)}"
        case RunEnded(run=run):
            lasted, error = took(run), run.last_error
            after = "" if lasted is None else f" after {lasted}"
            tokens = "" if run.usage is None else f", {run.usage.total_tokens:,} tokens"
            why = "" if error is None else f": {error.code}: {error.message}"
            return f"{status_of(run)}{after}{tokens}{escape(why)}"
        case StatusChanged(run=run):
            return status_of(run)
        case ToolOutputsSubmitted(outputs=outputs):
            return f"outputs submitted: {escape(', '.join(output.output for output in outputs))}"
        case PollingTookOver(reason=reason):
            return f"polling from now on: {escape(reason)}"


def now() -> datetime:
    """The time now."""
    return datetime.now(UTC)
