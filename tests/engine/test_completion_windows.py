"""Runs with a completion window: who may have one, how long they live, and that they keep nobody waiting."""

from functools import partial

import anyio
import pytest

from openai_runs import _wire
from openai_runs.backends.model_backend import Detached, ModelBackend, TextChunk, ToolCallChunk
from openai_runs.engine import ApiError, ManualClock
from openai_runs.stores import MemoryStore
from tests.engine.world import world

pytestmark = pytest.mark.anyio

HOUR = 3600


class Delayed(ModelBackend):
    """Takes each call, and goes on with it when the test lets it; the first call of a run with a tool calls it."""

    completion_windows = ("2h", "8h")

    def __init__(self):
        self.go_on = anyio.Event()
        self.requests = []
        self.abandoned = []

    async def respond(self, request):
        self.requests.append(request)
        yield Detached(request.handle or f"handle {len(self.requests)}")
        await self.go_on.wait()
        yield ToolCallChunk(0, None, "f", "{}") if request.tools and not request.rounds else TextChunk("Done.")

    async def abandon(self, handle):
        self.abandoned.append(handle)


FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize("operation", ["create", "create_and_run"])
async def test_a_backend_that_has_no_windows(operation):
    """The run is refused by name, and nothing is created: no window is dropped silently."""
    async with world() as w:
        assistant = await w.engine.assistants.create("", {"model": "m"})
        thread = await w.engine.threads.create("", {})
        body = {"assistant_id": assistant.id, "completion_window": "2h"}
        create = partial(w.engine.runs.create, "", thread.id)
        if operation == "create_and_run":
            create = partial(w.engine.threads.create_and_run, "")
        with pytest.raises(ApiError) as caught:
            await create(body)
        assert (caught.value.status, caught.value.param) == (400, "completion_window")
        assert "ScriptedBackend does not serve here: only ResponsesBackend does" in caught.value.message
        run = await create(body | {"completion_window": None})
        assert "completion_window" not in _wire.dump(run)


@pytest.mark.parametrize(("window", "hours"), [("2h", 2), ("8h", 8)])
async def test_a_run_lives_beyond_its_window(window, hours):
    """It expires after its window and the usual time together, in which its tools are called."""
    backend = Delayed()
    async with world(backend) as w:
        run = await w.start("Hi", completion_window=window)
        assert _wire.dump(run)["completion_window"] == window
        assert (run.expires_at - run.created_at).total_seconds() == hours * HOUR + 600
        await w.until("run.in_progress", run)
        w.clock.advance(hours * HOUR + 599)
        await w.settle()
        assert (await w.get(run)).status == "in_progress"
        w.clock.advance(2)
        await w.until("run.expired", run)
        await w.settle()
    assert backend.abandoned == ["handle 1"]


async def test_each_call_has_a_window():
    """After tool outputs the run lives as long again; the next call gets the window, and the handle of the last one."""
    backend = Delayed()
    async with world(backend) as w:
        run = await w.start("Hi", tools=[FUNCTION], completion_window="2h")
        w.clock.advance(2 * HOUR)
        backend.go_on.set()
        await w.until("run.requires_action", run)
        backend.go_on = anyio.Event()
        before = await w.get(run)
        await w.answer(run)
        after = await w.get(run)
        assert (before.expires_at - run.created_at).total_seconds() == 2 * HOUR + 600
        assert (after.expires_at - run.created_at).total_seconds() == 4 * HOUR + 600
        await w.settle()
        w.clock.advance(2 * HOUR + 599)
        await w.settle()
        assert (await w.get(run)).status == "in_progress"
        backend.go_on.set()
        done = await w.until("run.completed", run)
        assert done.completion_window == "2h"
    assert [(request.completion_window, request.previous) for request in backend.requests] == [
        ("2h", None),
        ("2h", "handle 1"),
    ]


async def test_who_waits_for_hours_needs_no_place():
    """Once the endpoint has taken a call, other runs execute in its place; it ends all the same."""
    backend = Delayed()
    async with world(backend, max_active_runs=1) as w:
        slow = [await w.start("Hi", completion_window="8h") for _ in range(3)]
        for run in slow:
            await w.until("run.in_progress", run)
        await w.settle()
        assert w.engine.runs.pending == 0
        quick, queued = await w.start("Hi"), await w.start("Hi")
        await w.until("run.in_progress", quick)
        await w.settle()
        assert (await w.get(queued)).status == "queued"
        assert w.engine.runs.pending == 2
        await w.engine.runs.cancel("", slow[0].thread_id, slow[0].id)
        await w.until("run.cancelled", slow[0])
        assert (await w.get(queued)).status == "queued"  # the run that was cancelled had no place to give
        backend.go_on.set()
        for run in (*slow[1:], quick, queued):
            await w.until("run.completed", run)
        assert w.engine.runs.pending == 0
    assert backend.abandoned == ["handle 1"]


async def test_the_next_engine_takes_it_up():
    """After a restart the call is resumed by its handle, with its window, and again needs no place."""
    kept = {"store": MemoryStore(), "clock": ManualClock()}
    async with world(Delayed(), **kept) as w:
        runs = [await w.start("Hi", completion_window="2h") for _ in range(2)]
        await w.settle()
    kept["clock"].advance(HOUR)
    backend = Delayed()
    async with world(backend, max_active_runs=1, **kept) as w:
        await w.settle()
        assert sorted(request.handle for request in backend.requests) == ["handle 1", "handle 2"]
        assert {(request.completion_window, request.seconds_left) for request in backend.requests} == {
            ("2h", HOUR + 600)
        }
        assert w.engine.runs.pending == 0
        backend.go_on.set()
        for run in runs:
            await w.until("run.completed", run)


async def test_a_backend_without_windows_takes_over():
    """A run with a window fails there, and says why: it is not executed at the standard price."""
    kept = {"store": MemoryStore(), "clock": ManualClock()}
    async with world(Delayed(), **kept) as w:
        run = await w.start("Hi", completion_window="2h")
        await w.settle()
    async with world(**kept) as w:
        failed = await w.until("run.failed", run)
    assert failed.last_error.code == "invalid_prompt"
    assert "ScriptedBackend does not serve" in failed.last_error.message
