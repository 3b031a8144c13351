"""A stream's events in a short form to compare."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from openai_runs.backends.model_backend import (
    AnnotationAdded,
    BackendEvent,
    Finished,
    HostedToolCall,
    RefusalChunk,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from tests.backends.streams import Event


class Answer(NamedTuple):
    """The model's answer, assembled from events as the engine does it."""

    text: str = ""
    refusal: str = ""
    calls: tuple[tuple[str | None, str | None, str], ...] = ()  #: ID, name and arguments
    usage: tuple[int, int] | None = None
    reason: str | None = None
    annotations: tuple[Any, ...] = ()
    hosted: tuple[Any, ...] = ()

    @property
    def functions(self) -> list[tuple[str | None, str]]:
        return [(name, arguments) for _, name, arguments in self.calls]


class Machine(Protocol):
    def feed(self, event: bytes, data: bytes) -> list[BackendEvent]: ...


def read(machine: Machine, events: Iterable[Event]) -> list[BackendEvent]:
    return [told for name, data in events for told in machine.feed(name.encode(), data)]


def together(events: Iterable[BackendEvent]) -> Answer:
    events = list(events)
    calls: dict[int, list[Any]] = {}
    for event in events:
        if isinstance(event, ToolCallChunk):
            if event.index not in calls:
                assert event.name, "a call begins with its name"
                calls[event.index] = [event.id, event.name, ""]
            else:
                assert event.name is None
            calls[event.index][2] += event.arguments
    usages = [(event.prompt_tokens, event.completion_tokens) for event in events if isinstance(event, UsageReport)]
    reasons = [event.reason for event in events if isinstance(event, Finished)]
    assert len(reasons) <= 1
    return Answer(
        text="".join(event.text for event in events if isinstance(event, TextChunk)),
        refusal="".join(event.text for event in events if isinstance(event, RefusalChunk)),
        calls=tuple((id, name, arguments) for id, name, arguments in calls.values()),
        usage=usages[-1] if usages else None,
        reason=reasons[0] if reasons else None,
        annotations=tuple(event.annotation for event in events if isinstance(event, AnnotationAdded)),
        hosted=tuple(event.call for event in events if isinstance(event, HostedToolCall)),
    )
