"""How notebooks show objects, and steps over time: small HTML that needs nothing from elsewhere.

What models and endpoints have written is text. All of it goes through `_cell` or `_text_cell`, and none into an
attribute.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from html import escape
from itertools import islice
from typing import Final

from openai_runs.models.assistant import Assistant
from openai_runs.models.lines import end_of, one_line, took
from openai_runs.models.message import Message
from openai_runs.models.run import LastError, Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.texts import call_texts, parts
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FunctionTool

#: Characters that are shown of a text in one line, and of one with its line breaks.
_MOST: Final = 300
_MOST_OF_TEXT: Final = 20_000
#: Tool calls of a step that are shown.
_MOST_CALLS: Final = 30
_WIDTH: Final = 240  # pixels of the longest bar
_LEAST: Final = 2.0  # pixels; what took no time is to be seen
_COLOURS: Final = {"completed": "seagreen", "failed": "firebrick", "expired": "firebrick", "in_progress": "steelblue"}
#: These classes keep MathJax, which notebooks have, from taking text between dollars for a formula.
_TABLE: Final = '<table class="tex2jax_ignore mathjax_ignore">{}</table>'


def facts_html(facts: Iterable[tuple[str, object]], texts: Iterable[tuple[str, str]] = ()) -> str:
    """A table with a row for each fact.

    Args:
        facts: Names and values, which are shown in one line each. ``None`` is not known, and has no row.
        texts: Names and texts that keep their line breaks; they come last.
    """
    lines = [f"<tr>{_cell(name, 'th')}{_cell(_plain(value))}</tr>" for name, value in facts if value is not None]
    return _TABLE.format("".join(lines + [f"<tr>{_cell(name, 'th')}{_text_cell(text)}</tr>" for name, text in texts]))


def run_html(run: Run) -> str:
    """A run's facts as a table."""
    return facts_html(_run_facts(run))


def message_html(message: Message) -> str:
    """A message's facts, and what it says, as a table."""
    return facts_html(_message_facts(message), (("says", part) for part in parts(message)))


def conversation_html(messages: Iterable[Message]) -> str:
    """A table with a row for each message."""
    said = ((message.role, "\n\n".join(parts(message))) for message in messages)
    rows = (f"<tr>{_cell(role)}{_text_cell(text)}</tr>" for role, text in said)
    return _TABLE.format(f"<tr><th>role</th><th>says</th></tr>{''.join(rows)}")


def assistant_html(assistant: Assistant) -> str:
    """An assistant's facts, and its instructions, as a table."""
    instructions = () if assistant.instructions is None else (("instructions", assistant.instructions),)
    return facts_html(_assistant_facts(assistant), instructions)


def thread_html(thread: Thread) -> str:
    """A thread's facts as a table."""
    return facts_html([("thread", thread.id), ("created", thread.created_at), *_metadata(thread.metadata)])


class Timeline:
    """Steps of a run, for a notebook: a bar for each, over the time of them all, in the order in which they come.

    Beside its bar stands what a step did, with the arguments and outputs of its tool calls.
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


def _run_facts(run: Run) -> Iterator[tuple[str, object]]:
    yield "run", run.id
    yield "status", run.status
    yield "thread", run.thread_id
    yield "assistant", run.assistant_id
    yield "model", run.model
    yield "created", run.created_at
    yield "took", took(run)
    if (usage := run.usage) is not None:
        split = f"{usage.prompt_tokens:,} read, {usage.completion_tokens:,} written"
        yield "tokens", f"{usage.total_tokens:,}: {split}"
    if run.last_error is not None:
        yield "error", _error(run.last_error)
    if run.incomplete_details is not None:
        yield "incomplete", run.incomplete_details.reason or "no reason given"
    for call in run.pending_tool_calls:
        yield "waits for", f"{call.function.name}({call.function.arguments})"
    yield from _metadata(run.metadata)


def _message_facts(message: Message) -> Iterator[tuple[str, object]]:
    yield "message", message.id
    yield "role", message.role
    yield "status", message.status
    if message.incomplete_details is not None:
        yield "incomplete", message.incomplete_details.reason
    yield "thread", message.thread_id
    yield "run", message.run_id
    yield "created", message.created_at
    for attachment in message.attachments or ():
        yield "attached", attachment.file_id
    yield from _metadata(message.metadata)


def _assistant_facts(assistant: Assistant) -> Iterator[tuple[str, object]]:
    yield "assistant", assistant.id
    yield "name", assistant.name
    yield "description", assistant.description
    yield "model", assistant.model
    yield "created", assistant.created_at
    names = [tool.function.name if isinstance(tool, FunctionTool) else tool.type for tool in assistant.tools]
    yield "tools", ", ".join(names) or None
    yield "temperature", assistant.temperature
    yield "top_p", assistant.top_p
    yield "reasoning effort", assistant.reasoning_effort
    yield from _metadata(assistant.metadata)


def _metadata(metadata: Mapping[str, object] | None) -> Iterator[tuple[str, object]]:
    for name, value in (metadata or {}).items():
        yield f"metadata {name}", value


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
    cells = _cell(took(step) or step.status), _cell(tokens), _text_cell("\n".join(_did(step)))
    return f"<tr>{_cell(step.id)}<td>{bar}</td>{''.join(cells)}</tr>"


def _did(step: RunStep) -> Iterator[str]:
    if step.message_id is not None:
        yield one_line(f"message {step.message_id}", _MOST)
    for call in islice(step.tool_calls, _MOST_CALLS):
        texts = call_texts(call)
        output = f" -> {one_line(texts.output, _MOST)}" if texts.output else ""
        yield f"{one_line(texts.name, _MOST)}({one_line(texts.arguments, _MOST)}){output}"
    if (more := len(step.tool_calls) - _MOST_CALLS) > 0:
        yield f"{more} more calls"
    if step.last_error is not None:
        yield one_line(_error(step.last_error), _MOST)


def _error(error: LastError) -> str:
    return f"{error.code}: {error.message}"


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return str(value)


def _cell(text: str, tag: str = "td") -> str:
    """A text in one line."""
    return f'<{tag} style="text-align: left">{escape(one_line(text, _MOST))}</{tag}>'


def _text_cell(text: str) -> str:
    """A text with its line breaks and spaces."""
    start, rest = text[:_MOST_OF_TEXT], len(text) - _MOST_OF_TEXT
    shown = "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in start)
    more = f"… ({rest:,} more characters)" if rest > 0 else ""
    return f'<td style="text-align: left; white-space: pre-wrap">{escape(shown + more)}</td>'
