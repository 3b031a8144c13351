"""A model that says what it is told to, and a search that finds what it is told to."""

from collections.abc import Sequence
from typing import Any

from openai_runs.backends import SearchingBackend
from openai_runs.backends.model_backend import (
    BackendEvent,
    Finished,
    HostedToolCall,
    ModelBackend,
    ModelRequest,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.models.tool import FileSearchResources, FileSearchTool, ToolResources
from tests.backends.requests import a_request

TOOL = FileSearchTool()
STORES = ToolResources(file_search=FileSearchResources(vector_store_ids=("vs_thread", "vs_assistant")))


class Model(ModelBackend):
    """Says one turn after another, and keeps what it was asked; a turn may be an exception."""

    def __init__(self, *turns: Sequence[BackendEvent] | Exception) -> None:
        self.turns = list(turns)
        self.requests: list[ModelRequest] = []
        self.abandoned: list[str] = []
        self.is_open = False

    async def __aenter__(self):
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False

    async def abandon(self, handle):
        self.abandoned.append(handle)

    async def respond(self, request):
        self.requests.append(request)
        turn = self.turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        for event in turn:
            yield event


class Chunk:
    """A chunk of a file."""

    def __init__(self, text: str, file_id: str = "file-tea", filename: str = "tea.md", score: float = 0.9) -> None:
        self.text, self.file_id, self.filename, self.score = text, file_id, filename, score


class Files:
    """A search that finds the same for every query, and keeps what was asked."""

    def __init__(self, *chunks: Chunk) -> None:
        self.chunks = chunks
        self.searches: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    async def search(self, store_ids, query, /, **options):
        if self.failure is not None:
            raise self.failure
        self.searches.append({"stores": list(store_ids), "queries": list(query), **options})
        return list(self.chunks)


TEA = Chunk("Tea is hot.")
CUP = Chunk("A cup holds 0.2 litres.", "file-cup", "cup.md", 0.5)


def say(text: str, *, used: tuple[int, int] = (10, 2)) -> list[BackendEvent]:
    """A turn with text."""
    return [TextChunk(text), UsageReport(*used), Finished()]


def ask(*calls: tuple[str, str], text: str = "", used: tuple[int, int] = (10, 2)) -> list[BackendEvent]:
    """A turn with calls, each of which comes in two pieces."""
    events: list[BackendEvent] = [TextChunk(text)] if text else []
    for index, (name, arguments) in enumerate(calls):
        events += [
            ToolCallChunk(index, f"call_{index}", name, arguments[:3]),
            ToolCallChunk(index, None, None, arguments[3:]),
        ]
    return [*events, UsageReport(*used), Finished("tool_calls")]


SEARCH = ("file_search", '{"queries":["tea"]}')
WEATHER_CALL = ("get_weather", '{"city":"Oslo"}')


async def respond(
    model: ModelBackend, files: Files, *items: Any, options: Any = None, **changes: Any
) -> list[BackendEvent]:
    """What the searching backend yields for one request."""
    backend = SearchingBackend(model, files, **(options or {}))
    request = a_request(*items, **{"tools": (TOOL,), "tool_resources": STORES, **changes})
    return [event async for event in backend.respond(request)]


def found(events: Sequence[BackendEvent]) -> list[Any]:
    """The searches among events."""
    return [event.call.file_search for event in events if isinstance(event, HostedToolCall)]


def outputs(request: ModelRequest) -> list[str | None]:
    """The outputs of this run's calls in a request."""
    return [call.function.output for step in request.rounds for call in step.function_calls]
