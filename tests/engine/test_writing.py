"""What a model is writing, for those who look on while it does."""

import anyio
import pytest
from attrs import define, field

from openai_runs.backends.model_backend import Finished, RefusalChunk, TextChunk, ToolCallChunk
from openai_runs.engine import Writing
from openai_runs.models.run import Run
from tests.engine.world import WEATHER, YieldingBackend, world

pytestmark = pytest.mark.anyio


async def test_what_is_being_written():
    """The texts so far, and the arguments of calls; what is complete is no longer among them."""
    gates = [anyio.Event(), anyio.Event(), anyio.Event()]
    backend = YieldingBackend(
        gates[0].wait,
        TextChunk("Let me "),
        TextChunk("see."),
        RefusalChunk("No."),
        gates[1].wait,
        ToolCallChunk(0, "call_1", "get_weather"),
        ToolCallChunk(0, arguments='{"city": '),
        gates[2].wait,
        ToolCallChunk(0, arguments='"Oslo"}'),
        Finished("stop"),
    )
    async with world(backend) as w:
        run = await w.start("Hi", tools=[WEATHER])
        await w.settle()
        assert w.engine.runs.writing(run) == []
        gates[0].set()
        await w.settle()
        [message] = [each for each in await w.messages(run) if each.run_id == run.id]
        assert (message.status, message.content) == ("in_progress", ())
        assert w.engine.runs.writing(run) == [
            Writing(message.id, 0, "text", ["Let me ", "see."]),
            Writing(message.id, 1, "refusal", ["No."]),
        ]
        gates[1].set()
        await w.settle()
        step = (await w.steps(run))[-1]
        [call] = w.engine.runs.writing(run)
        assert call == Writing(step.id, 0, "call", ["", '{"city": '], "call_1", "get_weather")
        gates[2].set()
        await w.until("run.requires_action", run)
        assert w.engine.runs.writing(run) == ()
        assert call.pieces == ["", '{"city": ', '"Oslo"}']


async def test_of_no_other_run():
    """A run that has ended writes nothing, though another one of its thread does."""
    gate = anyio.Event()
    async with world(YieldingBackend(TextChunk("Hi"), gate.wait, Finished("stop"))) as w:
        first = await w.start("Hi")
        gate.set()
        await w.until("run.completed", first)
        assert w.engine.runs.writing(first) == ()
        w.engine._backend.events = (TextChunk("Hi"), anyio.Event().wait)
        second = await w.again(first)
        await w.settle()
        assert w.engine.runs.writing(first) == ()
        assert [each.pieces for each in w.engine.runs.writing(second)] == [["Hi"]]


@define(eq=False)
class Watcher:
    statuses: list[str] = field(factory=list)

    def note(self, run: Run) -> None:
        self.statuses.append(run.status)


async def test_watching_a_run():
    """Its watcher hears what it is, and what becomes of it; not of another run, and not after the end."""
    gate = anyio.Event()
    async with world(YieldingBackend(gate.wait, Finished("stop"))) as w:
        run, watcher = await w.start("Hi"), Watcher()
        await w.settle()
        await w.engine.runs.watch_run(run, watcher)
        other = await w.start("Hi")
        gate.set()
        await w.until("run.completed", run)
        await w.until("run.completed", other)
        w.engine.runs.unwatch_run(run, watcher)
        await w.engine.runs.update("", run.thread_id, run.id, {"metadata": {"a": "b"}})
        assert watcher.statuses == ["in_progress", "completed"]


async def test_watching_a_run_that_is_gone():
    """Its thread may be deleted by the time."""
    async with world() as w:
        run, watcher = await w.start("Hi"), Watcher()
        await w.until("run.completed", run)
        await w.engine.threads.delete("", run.thread_id)
        await w.engine.runs.watch_run(run, watcher)
        w.engine.runs.unwatch_run(run, watcher)
        assert watcher.statuses == []
