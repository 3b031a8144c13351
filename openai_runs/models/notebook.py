"""How notebooks show a run, and steps over time: small HTML that needs nothing from elsewhere.

What models and endpoints have written is text. All of it goes through `_cell`, and none into an attribute.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from typing import Final

from openai_runs.models.lines import end_of, one_line, took
from openai_runs.models.run import LastError, Run
from openai_runs.models.run_step import FunctionStepCall, RunStep

#: Characters of a text that are shown.
_MOST: Final = 300
_WIDTH: Final = 240  # pixels of the longest bar
_LEAST: Final = 2.0  # pixels; what took no time is to be seen
_COLOURS: Final = {"completed": "seagreen", "failed": "firebrick", "expired": "firebrick", "in_progress": "steelblue"}
#: These classes keep MathJax, which notebooks have, from taking text between dollars for a formula.
_TABLE: Final = '<table class="tex2jax_ignore mathjax_ignore">{}</table>'


def run_html(run: Run) -> str:
    """A run's facts as a table."""
    return _TABLE.format("".join(f"<tr>{_cell(name, 'th')}{_cell(value)}</tr>" for name, value in _facts(run)))


class Timeline:
    """Steps of a run, for a notebook: a bar for each, over the time of them all, in the order in which they come.

    A page of steps shows itself like this. For a list of several pages::

        Timeline(await session.run_steps.list(run, order="asc").to_list())
    """

    def __init__(self, steps: Iterable[RunStep]) -> None:
        self.steps: Final = tuple(steps)

    def _repr_html_(self) -> str:
        """A table with a row for each step. A step that has not ended reaches to the latest time of all."""
        times = [time for step in self.steps for time in (step.created_at, end_of(step)) if time is not None]
        rows = "".join(_row(step, min(times), max(times)) for step in self.steps)
        return _TABLE.format(f"<tr><th>step</th><th>over time</th><th>took</th><th>tokens</th><th>did</th></tr>{rows}")


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    yield "run", run.id
    yield "status", run.status
    yield "thread", run.thread_id
    yield "assistant", run.assistant_id
    if run.model is not None:
        yield "model", run.model
    yield "created", run.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if (duration := took(run)) is not None:
        yield "took", duration
    if (usage := run.usage) is not None:
        split = f"{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written"
        yield "tokens", f"{usage.total_tokens:,}: {split}"
    if run.last_error is not None:
        yield "error", _error(run.last_error)
    if run.incomplete_details is not None:
        yield "incomplete", run.incomplete_details.reason or "no reason given"
    for call in run.pending_tool_calls:
        yield "waits for", f"{call.function.name}({call.function.arguments})"
    for name, value in (run.metadata or {}).items():
        yield f"metadata {name}", str(value)


def _row(step: RunStep, first: datetime, last: datetime) -> str:
    whole = max((last - first).total_seconds(), 1e-6)
    begin = (step.created_at - first).total_seconds() / whole * _WIDTH
    end = ((end_of(step) or last) - first).total_seconds() / whole * _WIDTH
    width = max(end - begin, _LEAST)
    bar = (
        f'<svg width="{_WIDTH}" height="12"><rect x="{min(begin, _WIDTH - width):.1f}" width="{width:.1f}" '
        f'height="12" fill="{_COLOURS.get(step.status, "gray")}"/></svg>'
    )
    tokens = "" if step.usage is None else f"{step.usage.total_tokens:,}"
    cells = _cell(took(step) or step.status), _cell(tokens), _cell(", ".join(_did(step)))
    return f"<tr>{_cell(step.id)}<td>{bar}</td>{''.join(cells)}</tr>"


def _did(step: RunStep) -> Iterable[str]:
    if step.message_id is not None:
        yield f"message {step.message_id}"
    for call in step.tool_calls:
        yield call.function.name if isinstance(call, FunctionStepCall) else call.type
    if step.last_error is not None:
        yield _error(step.last_error)


def _error(error: LastError) -> str:
    return f"{error.code}: {error.message}"


def _cell(text: str, tag: str = "td") -> str:
    return f'<{tag} style="text-align: left">{escape(one_line(text, _MOST))}</{tag}>'
