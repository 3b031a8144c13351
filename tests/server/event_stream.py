"""A strict parser of event streams that checks each event against the published document."""

import json
import re
from pathlib import Path
from typing import Any, TypeAlias

from tests.conformance.judge import complaints_about

Event: TypeAlias = tuple[str, Any]

DOCUMENTED = Path(__file__).parent.parent / "samples/openapi/examples/sse"


def events_of(text: bytes) -> list[Event]:
    """Names and payloads of the events. Comments are skipped; any other deviation fails."""
    assert b"\r" not in text
    text = re.sub(rb"(?m)^:.*\n", b"", text)
    assert not text or text.endswith(b"\n\n")
    events: list[Event] = []
    for block in text.decode().split("\n\n")[:-1]:
        first, second = block.split("\n")
        name, data = first.removeprefix("event: "), second.removeprefix("data: ")
        assert (first, second) == (f"event: {name}", f"data: {data}")
        payload = data if name == "done" else json.loads(data)
        complaints = complaints_about({"event": name, "data": payload}, "AssistantStreamEvent")
        assert not complaints, f"{name}: {complaints}"
        events.append((name, payload))
    return events


def story(events: list[Event]) -> list[str]:
    """The names without their common prefix; consecutive equal ones appear once."""
    names = [name.removeprefix("thread.") for name, _ in events]
    return [name for name, before in zip(names, [None, *names], strict=False) if name != before]


def documented(name: str) -> list[str]:
    """`story` of a stream in the document's examples."""
    names = [line[7:] for line in (DOCUMENTED / name).read_text().splitlines() if line.startswith("event: ")]
    return story([(name, None) for name in names])


def text_of(events: list[Event]) -> str:
    """The text that the deltas of all messages add up to."""
    parts = [part for name, data in events if name == "thread.message.delta" for part in data["delta"]["content"]]
    return "".join(part["text"].get("value", "") for part in parts if part["type"] == "text")
