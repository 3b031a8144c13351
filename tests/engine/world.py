"""An engine for tests, with a manual clock and a scripted backend; validates its objects by the API's schema."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import anyio.lowlevel
import jsonschema_rs
from attrs import define, field

from openai_runs import _wire
from openai_runs.backends import ScriptedBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine import ApiEvent, Engine, ManualClock
from openai_runs.engine.ledger import Ledger
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.stores import MemoryStore, PageQuery
from openai_runs.stores.store import Store
from tests import samples

SCHEMAS = {"schemas": samples.SCHEMAS}
ALL = PageQuery(limit=100, order="asc")


def function(name: str, **properties: Any) -> dict[str, Any]:
    """A function tool whose parameters are all required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = function("get_weather", city={"type": "string", "enum": ["Oslo"]})
TIME = function("get_time")


@cache
def _validator(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator({"components": SCHEMAS, "$ref": f"#/components/schemas/{schema}"})


_SCHEMAS = {
    "assistant": "AssistantObject",
    "thread": "ThreadObject",
    "thread.message": "MessageObject",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
    "thread.message.delta": "MessageDeltaObject",
    "thread.run.step.delta": "RunStepDeltaObject",
    "file": "OpenAIFile",
    "vector_store": "VectorStoreObject",
    "vector_store.file": "VectorStoreFileObject",
    "vector_store.files_batch": "VectorStoreFileBatchObject",
    "vector_store.search_results.page": "VectorStoreSearchResultsPage",
    "vector_store.file_content.page": "VectorStoreFileContentResponse",
}


def conform(value: Any) -> Any:
    """Validate an object against the API's schema, as it would be sent."""
    shown = _wire.decode(_wire.encode(value))
    if shown["object"] == "list":
        for item in shown["data"]:
            _validator(_SCHEMAS[item["object"]]).validate(item)
    else:
        _validator(_SCHEMAS[shown["object"]]).validate(shown)
    return value


@define
class World:
    """An engine, and what tests need around it."""

    store: Store = field(factory=MemoryStore)
    clock: ManualClock = field(factory=ManualClock)
    engine: Engine = field(init=False)
    events: list[tuple[str, ApiEvent]] = field(factory=list)
    _news: anyio.Event = field(factory=anyio.Event)

    def take(self, run_id: str, events: Sequence[ApiEvent]) -> None:
        """Record what the engine publishes."""
        for event in events:
            conform(event.data)
            self.events.append((run_id, event))
        self._news.set()
        self._news = anyio.Event()

    def names(self, run_id: str | None = None) -> list[str]:
        """The names of the published events, of one run or of all, without deltas."""
        found = [event.name for id, event in self.events if run_id in (None, id)]
        return [name.removeprefix("thread.") for name in found if not name.endswith(".delta")]

    def said(self, run_id: str) -> list[str]:
        """The text deltas of a run."""
        deltas = [
            e.data["delta"]["content"][0] for id, e in self.events if (id, e.name[7:]) == (run_id, "message.delta")
        ]
        return [delta["text"].get("value", "") if delta["type"] == "text" else delta["refusal"] for delta in deltas]

    async def until(self, name: str, run: Run | None = None, times: int = 1) -> Any:
        """Wait for an event, and return its object."""
        with anyio.fail_after(20):
            while True:
                found = [e.data for id, e in self.events if e.name == f"thread.{name}" and (not run or run.id == id)]
                if len(found) >= times:
                    return found[times - 1]
                await self._news.wait()

    async def settle(self) -> None:
        """Let all tasks run until they wait."""
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

    async def start(self, *texts: str, owner: str = "", tools: Any = (), name: str | None = None, **body: Any) -> Run:
        """A run in a thread of its own."""
        settings = {"model": "m", "tools": list(tools), "name": name}
        assistant = await self.engine.assistants.create(owner, settings)
        thread = await self.engine.threads.create(owner, {"messages": [{"role": "user", "content": t} for t in texts]})
        return await self.engine.runs.create(owner, thread.id, {"assistant_id": assistant.id, **body})

    async def again(self, run: Run, **body: Any) -> Run:
        """Another run of the same assistant in the same thread."""
        return await self.engine.runs.create("", run.thread_id, {"assistant_id": run.assistant_id, **body})

    async def answer(self, run: Run, output: str = "sunny", owner: str = "") -> Run:
        """Submit outputs for all calls of a run, once it asks for them."""
        rounds = sum(name == "run.queued" for name in self.names(run.id))
        waiting = await self.until("run.requires_action", run, rounds)
        outputs = [{"tool_call_id": call.id, "output": output} for call in waiting.pending_tool_calls]
        return await self.engine.runs.submit_tool_outputs(owner, run.thread_id, run.id, outputs)

    async def get(self, run: Run, owner: str = "") -> Run:
        """The run as it is now."""
        return conform(await self.engine.runs.retrieve(owner, run.thread_id, run.id))

    async def messages(self, run: Run, owner: str = "") -> tuple[Message, ...]:
        """The messages of the run's thread, oldest first."""
        return conform(await self.engine.messages.list(owner, run.thread_id, ALL)).data

    async def steps(self, run: Run, owner: str = "") -> tuple[RunStep, ...]:
        """The steps of a run, oldest first."""
        return conform(await self.engine.run_steps.list(owner, run.thread_id, run.id, ALL)).data


@asynccontextmanager
async def world(
    backend: Any = None, *, store: Store | None = None, clock: ManualClock | None = None, **options: Any
) -> AsyncGenerator[World, None]:
    """Open an engine; a ``backend`` that is none is the script of a `ScriptedBackend`."""
    backend = backend if hasattr(backend, "respond") else ScriptedBackend(backend)
    here = World(store or MemoryStore(), clock or ManualClock())
    here.engine = Engine(store=here.store, backend=backend, clock=here.clock, **options)
    publish = Ledger.publish

    def publish_and_note(ledger: Ledger, run_id: str, events: Sequence[ApiEvent]) -> None:
        publish(ledger, run_id, events)
        if ledger is here.engine._ledger and events:
            here.take(run_id, events)

    with patch.object(Ledger, "publish", publish_and_note):
        async with here.engine:
            yield here


class YieldingBackend(ModelBackend):
    """Yields the given events in every call; a callable among them is awaited instead."""

    def __init__(self, *events):
        self.events = events
        self.requests = []
        self.abandoned = []

    async def respond(self, request):
        self.requests.append(request)
        for event in self.events:
            if callable(event):
                await event()
            else:
                yield event

    async def abandon(self, handle):
        self.abandoned.append(handle)


MESSAGE = ["run.step.created", "run.step.in_progress", "message.created", "message.in_progress"]
MESSAGE_END = ["message.completed", "run.step.completed"]
CALLS = ["run.step.created", "run.step.in_progress"]
BEGIN = ["run.created", "run.queued", "run.in_progress"]


async def assistant_of(w, **body):
    return await w.engine.assistants.create("", {"model": "m", **body})


async def create_run(w, assistant, **body):
    thread = await w.engine.threads.create("", {})
    return conform(await w.engine.runs.create("", thread.id, {"assistant_id": assistant.id, **body}))
