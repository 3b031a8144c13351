"""Runs, steps and messages as pages show them: times, bars and texts, computed from models. No I/O, no HTML."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from attrs import define, evolve, frozen

from openai_runs import _wire
from openai_runs.models.lines import duration, end_of
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import CodeInterpreterCall, RunStep, StepToolCall
from openai_runs.models.texts import CallTexts, call_texts

_THINNEST: Final = 0.8  # percent; a step that took no time is to be seen, too
#: Seconds.
_OFF: Final = 1.0  # a time in whole seconds, at most
_SHORTEST: Final = 0.001  # a timeline
_SHORTEST_WAIT: Final = 0.1  # in the queue, to be mentioned
#: Characters that are shown of one text, and of all texts of a page. A model or a user may have written any number, and
#: a page is made in one go, and made again each second.
MOST_OF_TEXT: Final = 20_000
MOST_OF_PAGE: Final = 500_000
#: Of one setting, such as the parameters of a tool; and settings.
MOST_OF_SETTING: Final = 2_000
MOST_SETTINGS: Final = 100
#: Calls of one step.
MOST_CALLS: Final = 100

#: Control characters, and those that set the direction of text.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@frozen
class Bar:
    """A part of a timeline, in percent of its width."""

    start: float
    length: float


@frozen
class StepRow:
    """A step on a run's timeline."""

    id: str
    title: str
    status: str
    bar: Bar | None  #: if it is known when the step was
    seconds: float | None  #: if that is known
    tokens: int | None
    calls: tuple[CallTexts, ...]
    more_calls: int  #: that are not among these
    message: Message | None
    error: str | None


def seconds_of(value: Run | RunStep, now: datetime) -> float | None:
    """How long something has taken, or takes until now; ``None`` if its times do not tell.

    Times in whole seconds are up to a second off, at each end, so of less than that they tell nothing.
    """
    ended = end_of(value)
    seconds = max(((ended or now) - value.created_at).total_seconds(), 0.0)
    known = 0.0 if _is_exact(value) else _OFF if ended is None else 2 * _OFF
    return seconds if seconds >= known else None


def lasted(seconds: float | None) -> str:
    """A time span, in milliseconds below a second."""
    if seconds is None:
        return "\N{EN DASH}"
    return duration(seconds) if seconds >= 1 else f"{max(round(seconds * 1000), 1)} ms"


def _is_exact(value: Run | RunStep) -> bool:
    return value.created_at.microsecond != 0


def timeline(
    run: Run, steps: Sequence[RunStep], messages: Sequence[Message], now: datetime
) -> tuple[Bar | None, tuple[StepRow, ...]]:
    """Put a run's steps on its time.

    Returns:
        How long it has been in the queue at first, if that is known and worth mentioning, and its steps in order.
    """
    seconds = seconds_of(run, now)
    whole = max(seconds or 0.0, _SHORTEST)
    by_id = {message.id: message for message in messages}

    def bar(since: datetime, until: datetime) -> Bar:
        start, end = ((time - run.created_at).total_seconds() / whole * 100 for time in (since, until))
        start = min(max(start, 0.0), 100 - _THINNEST)
        return Bar(round(start, 2), round(max(min(end, 100.0) - start, _THINNEST), 2))

    # A run that was answered has the time of its latest start.
    begins = [step.created_at for step in steps] + ([] if run.started_at is None else [run.started_at])
    begun = min(begins, default=end_of(run) or now)
    shortest = _SHORTEST_WAIT if _is_exact(run) else 2 * _OFF
    queued = bar(run.created_at, begun) if (begun - run.created_at).total_seconds() >= shortest else None
    return queued, tuple(
        StepRow(
            step.id,
            "message" if step.message_id is not None else "tool calls",
            str(step.status),
            None if seconds is None else bar(step.created_at, end_of(step) or now),
            seconds_of(step, now),
            None if step.usage is None else step.usage.total_tokens,
            tuple(_call(call) for call in step.tool_calls[:MOST_CALLS]),
            max(len(step.tool_calls) - MOST_CALLS, 0),
            by_id.get(step.message_id or ""),
            None if step.last_error is None else f"{step.last_error.code}: {step.last_error.message}",
        )
        for step in steps
    )


@frozen
class Setting:
    """What a run was told beside its instructions."""

    name: str
    text: str
    is_short: bool  #: whether it is a word or a number, or else JSON in several lines


_SETTINGS: Final = (
    "temperature",
    "top_p",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "completion_window",
)


def settings(run: Run) -> tuple[Setting, ...]:
    """The settings that a run has, and its tools, as far as they leave room for what the run has done."""
    data = _wire.dump(run)
    found = [Setting(name, *_text_of(data[name])) for name in _SETTINGS if data.get(name) is not None]
    for tool in data.get("tools") or ():
        details = tool.get(tool["type"])
        name = details.get("name") if isinstance(details, dict) else None
        text, is_short = _text_of(details) if details else ("", True)
        found.append(Setting(f"tool: {name or tool['type']}", text, is_short))
    return tuple(found[:MOST_SETTINGS])


def _text_of(value: object) -> tuple[str, bool]:
    if isinstance(value, str):
        return value, True
    if not isinstance(value, dict | list):
        return json.dumps(value), True
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    except RecursionError:
        text = "…"
    return text if len(text) <= MOST_OF_SETTING else text[:MOST_OF_SETTING] + "…", False


def ticks(seconds: float | None) -> tuple[str, ...]:
    """What stands above a timeline: its beginning, middle and end; nothing if it is not known how long it is."""
    return () if seconds is None else ("0", *(lasted(max(seconds, _SHORTEST) * part) for part in (0.5, 1)))


def _call(call: StepToolCall) -> CallTexts:
    texts = call_texts(call)
    return texts if isinstance(call, CodeInterpreterCall) else evolve(texts, arguments=pretty(texts.arguments))


def pretty(arguments: str) -> str:
    """A call's arguments, indented if they are JSON; a model may have written anything."""
    if len(arguments) > MOST_OF_TEXT:
        return arguments
    try:
        return json.dumps(json.loads(arguments), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def visible(text: str) -> str:
    """A text with those characters visible that turn the order of others or are not shown."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


@define
class Texts:
    """The texts of one page, which have a limit together."""

    _left: int = MOST_OF_PAGE

    def shown(self, text: str) -> str:
        """A text, or its beginning, as `visible` makes it."""
        most = min(self._left, MOST_OF_TEXT)
        start, rest = text[:most], len(text) - most
        self._left -= len(start)
        return visible(start) if rest <= 0 else f"{visible(start)}… ({rest:,} more characters)"
