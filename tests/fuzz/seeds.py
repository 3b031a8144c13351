"""The samples as inputs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.samples import EXAMPLES, MODELS, PARAMS, example

QUIRKS = Path(__file__).parents[1] / "quirks"
_OF_QUIRKS = {
    "Assistant": "AssistantObject",
    "Message": "MessageObject",
    "Page[Assistant]": "ListAssistantsResponse",
    "Page[Message]": "ListMessagesResponse",
    "Run": "RunObject",
    "RunStep": "RunStepObject",
    "Thread": "ThreadObject",
}


def line(value: Any) -> str:
    """JSON in one line, which damage knows as such."""
    return json.dumps(value)


def examples(part: str) -> Iterator[tuple[str, Any]]:
    """The document's examples of requests or responses: schema and body."""
    for entry in json.loads((EXAMPLES / "index.json").read_text()):
        if entry["part"] == part and entry["schema"] in (PARAMS if part == "request" else MODELS):
            yield entry["schema"], example(entry)


def objects() -> Iterator[tuple[str, Any]]:
    """Objects of the API, as the document has them and as other servers send them: schema and body."""
    for path in sorted(EXAMPLES.glob("objects/*.json")):
        yield path.stem, json.loads(path.read_text())
    yield from examples("response")
    for path in sorted(QUIRKS.glob("bodies/*.json")):
        quirk = json.loads(path.read_text())
        yield _OF_QUIRKS[quirk["model"]], quirk["body"]


def event_streams() -> Iterator[bytes]:
    """Streams of runs, as the document has them and as other servers send them."""
    for path in (*sorted(EXAMPLES.glob("sse*/*.sse")), *sorted(QUIRKS.glob("streams/*.sse"))):
        yield path.read_bytes()


def stored_objects() -> list[Any]:
    """Objects that a store can have, each by itself."""
    return [body for _, body in objects() if isinstance(body, dict) and body.get("object", "list") != "list"]
