"""Runs, steps and texts in one short line each, for a terminal or a log: what ``str()`` gives, and not ``repr()``.

Whatever an endpoint or a model has written stays in this line: a line break would forge a record of a log, and a
terminal obeys escape sequences.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import FunctionStepCall, RunStep

#: Characters in a line.
_MOST: Final = 80
#: Which of a run's times is that of its end, and of a step's.
_ENDS: Final = ("completed_at", "failed_at", "cancelled_at", "expired_at")


def one_line(text: str, most: int = _MOST) -> str:
    """A text in one line, with escapes for what is not printable.

    Args:
        text: The text.
        most: The most characters; the last one is then an ellipsis.
    """
    beginning = text[: 4 * most]  # enough, unless it is mostly spaces
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(beginning.split()))
    return shown if len(shown) <= most and beginning == text else f"{shown[: most - 1]}…"


def end_of(value: Run | RunStep) -> datetime | None:
    """When a run or a step has ended, if it has. A run that expired does not tell, and has its ``expires_at``."""
    ended = next((time for name in _ENDS if (time := getattr(value, name, None)) is not None), None)
    return value.expires_at if ended is None and value.status == "expired" else ended


def took(value: Run | RunStep) -> str | None:
    """How long a run or a step took; ``None`` unless it has ended."""
    seconds = seconds_of(value)
    return None if seconds is None else duration(seconds)


def seconds_of(value: Run | RunStep) -> float | None:
    """The same as a number. Most endpoints tell whole seconds, as the API does."""
    ended = end_of(value)
    return None if ended is None else (ended - value.created_at).total_seconds()


def duration(seconds: float) -> str:
    """A time span; the API has whole seconds."""
    if seconds < 1:
        return "< 1 s"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def run_line(run: Run, previous: RunStatus | None = None) -> str:
    """A run, or its change from a previous status: what became of it, how long it took, its tokens."""
    change = f"{previous} -> {run.status}" if previous else str(run.status)
    return one_line(f"{run.id} {change}{_in_brackets(_facts(run))}")


def _facts(run: Run) -> Iterator[str]:
    yield from _cost(run)
    if run.incomplete_details is not None:
        yield run.incomplete_details.reason or ""
    for call in run.pending_tool_calls:
        yield call.function.name


def _cost(value: Run | RunStep) -> Iterator[str]:
    yield took(value) or ""
    if value.usage is not None:
        yield f"{value.usage.total_tokens:,} tokens"
    if value.last_error is not None:
        yield f"{value.last_error.code}: {value.last_error.message}"


def step_line(step: RunStep, status: str | None = None) -> str:
    """A step: what it did, or what an event says of it, how long it took, its tokens, its tools."""
    return one_line(f"{step.id} {step.type} {status or step.status}{_in_brackets([*_cost(step), *tool_names(step)])}")


def tool_names(step: RunStep) -> list[str]:
    """What each tool call of a step has called: a function, by its name, or a tool of another type."""
    return [call.function.name if isinstance(call, FunctionStepCall) else call.type for call in step.tool_calls]


def _in_brackets(facts: Iterable[str]) -> str:
    inside = ", ".join(filter(None, facts))
    return f" ({inside})" if inside else ""
