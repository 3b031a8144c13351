"""An engine that stops at any moment, and the next engine on its store, which resumes its runs."""

import asyncio
from unittest.mock import patch

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve

from openai_runs.backends import Call, Say, Wait
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    Detached,
    HostedToolCall,
    ModelBackend,
    Replay,
    TextChunk,
    ToolCallChunk,
)
from openai_runs.backends.replay import replay_items
from openai_runs.engine import ManualClock
from openai_runs.engine.executor import Executor
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.message import CitedFile, FilePath
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import CodeInterpreterCall, InterpretedCode, RunStep
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import Delete, Record, RunState, Unreadable
from tests.engine.world import world
from tests.stores.faulty import DamagedStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def kept():
    """The store and clock that two engines use one after the other."""
    return {"store": MemoryStore(), "clock": ManualClock()}


class Then(ModelBackend):
    """Yields some events; then it hangs or ends."""

    def __init__(self, *events, hang=False):
        self.events = events
        self.hang = hang
        self.requests = []

    async def respond(self, request):
        self.requests.append(request)
        for event in self.events:
            yield event
        if self.hang:
            await anyio.sleep_forever()


async def interrupted(kept, *events):
    """A run whose model call was interrupted after some events, with its steps and messages at that time."""
    async with world(Then(*events, hang=True), **kept) as w:
        run = await w.start("Hello")
        await w.settle()
        return run, await w.steps(run), await w.messages(run)


async def test_a_call_is_repeated_in_place(kept):
    """The message that was started is written again, with the same ID; nothing is duplicated."""
    run, steps, (_, message) = await interrupted(kept, TextChunk("It is su"))
    assert (message.status, message.content) == ("in_progress", ())
    backend = Then(TextChunk("It is sunny."))
    async with world(backend, **kept) as w:
        done = await w.until("run.completed", run)
        assert done.started_at is not None
        assert w.names() == ["message.completed", "run.step.completed", "run.completed"]
        assert [item.text for item in backend.requests[0].items] == ["Hello"]
        assert [item.text for item in await w.messages(run)] == ["Hello", "It is sunny."]
        assert (await w.messages(run))[1].id == message.id
        assert [step.id for step in await w.steps(run)] == [step.id for step in steps]


async def test_a_round_of_calls_is_repeated_in_place(kept):
    """The step that was started is used again."""
    run, (step,), _ = await interrupted(kept, ToolCallChunk(0, "call_1", "f", "{"))
    async with world([Call("f", id="call_2"), Say("Done.")], **kept) as w:
        waiting = await w.until("run.requires_action", run)
        assert [call.id for call in waiting.pending_tool_calls] == ["call_2"]
        assert [s.id for s in await w.steps(run)] == [step.id]


async def test_what_was_complete_stays(kept):
    """A message that was complete before the crash is neither repeated nor deleted."""
    run, steps, messages = await interrupted(kept, TextChunk("Let me look."), ToolCallChunk(0, "c", "f", "{"))
    note = FilePath(text="see", file_path=CitedFile(file_id="file"), start_index=0, end_index=3)
    backend = Then(TextChunk("Let me see."), AnnotationAdded(note), ToolCallChunk(0, "c", "f", "{}"))
    async with world(backend, **kept) as w:
        await w.until("run.requires_action", run)
        assert [item.text for item in backend.requests[0].items] == ["Hello"]
        assert await w.messages(run) == messages
        assert [step.id for step in await w.steps(run)] == [step.id for step in steps]
        assert w.said(run.id) == []


async def test_a_repetition_may_take_another_course(kept):
    """Steps that the interrupted call had started and its retry does not use are deleted."""
    run, _, _ = await interrupted(kept, TextChunk("Let"))
    async with world([Call("f"), Say("Done.")], **kept) as w:
        waiting = await w.until("run.requires_action", run)
        assert [item.text for item in await w.messages(run)] == ["Hello"]
        assert [step.type for step in await w.steps(run)] == ["tool_calls"]
        outputs = [{"tool_call_id": call.id, "output": ""} for call in waiting.pending_tool_calls]
        await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
        await w.until("run.completed", run)
    other, _, _ = await interrupted(kept, ToolCallChunk(0, "c", "f", "{"))
    async with world([Say("No need.")], **kept) as w:
        await w.until("run.completed", other)
        assert [step.type for step in await w.steps(other)] == ["message_creation"]


async def test_a_message_that_is_not_repeated_stays(kept):
    """A completed message stays if the retry makes only the tool call."""
    run, _, messages = await interrupted(kept, TextChunk("Let me look."), ToolCallChunk(0, "c", "f", "{"))
    async with world(Then(ToolCallChunk(0, "c", "f", "{}")), **kept) as w:
        await w.until("run.requires_action", run)
        assert await w.messages(run) == messages
        assert [step.status for step in await w.steps(run)] == ["completed", "in_progress"]


async def test_text_that_came_before_calls_comes_after_them(kept):
    """A completed message stays also if the retry makes the tool call first and then writes text."""
    run, _, messages = await interrupted(kept, TextChunk("Let me look."), ToolCallChunk(0, "c", "f", "{"))
    async with world(Then(ToolCallChunk(0, "c", "f", "{}"), TextChunk("I look.")), **kept) as w:
        await w.until("run.requires_action", run)
        assert await w.messages(run) == messages
        assert len(await w.steps(run)) == 2


async def test_hosted_tools_are_not_shown_twice(kept):
    """A step of the endpoint's own tool stays; the same call in the retry adds no second one."""
    used = HostedToolCall(CodeInterpreterCall(id="ci", code_interpreter=InterpretedCode(input="1+1")))
    run, steps, messages = await interrupted(kept, TextChunk("I count."), used, TextChunk("Tw"))
    backend = Then(TextChunk("I count."), used, TextChunk("Two."))
    async with world(backend, **kept) as w:
        await w.until("run.completed", run)
        assert [item.text for item in backend.requests[0].items if item.object == "thread.message"] == ["Hello"]
        assert [step.id for step in await w.steps(run)] == [step.id for step in steps]
        assert [message.text for message in await w.messages(run)] == ["Hello", "I count.", "Two."]
        assert [message.id for message in await w.messages(run)] == [message.id for message in messages]


async def test_a_step_of_a_hosted_tool_is_what_the_answer_rests_on(kept):
    """The retry may have searched for something else: the step stays, and has what the retry has found."""

    def computed(code, thought):
        call = CodeInterpreterCall(id=f"ci_{code}", code_interpreter=InterpretedCode(input=code))
        return Replay("me", ({"thought": thought},)), HostedToolCall(call)

    run, [step, _], _ = await interrupted(kept, *computed("1+1", "first"), TextChunk("Tw"))
    async with world(Then(*computed("2+2", "second"), ToolCallChunk(0, "c", "f", "{}")), **kept) as w:
        await w.until("run.requires_action", run)
        again, _ = await w.steps(run)
        assert (again.id, again.created_at, again.status) == (step.id, step.created_at, "completed")
        assert [call.code_interpreter.input for call in again.tool_calls] == ["2+2"]
        stored = (await w.store.get(RunStep, step.id)).value
        assert replay_items(stored, "me") == [{"thought": "second"}]


async def test_a_call_that_continued_at_the_endpoint_is_resumed(kept):
    """The backend gets the handle that the interrupted call had yielded."""
    run, _, _ = await interrupted(kept, Detached("resp_1"), TextChunk("It"))
    backend = Then(TextChunk("It is."))
    async with world(backend, **kept) as w:
        await w.until("run.completed", run)
        assert backend.requests[0].handle == "resp_1"


async def test_an_interrupted_run_can_be_cancelled_before_its_retry_yields(kept):
    """Its open message and step end as in any cancelled run."""
    run, _, _ = await interrupted(kept, TextChunk("It"))
    async with world([Wait()], **kept) as w:
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        assert (await w.messages(run))[1].incomplete_details.reason == "run_cancelled"
        assert (await w.steps(run))[0].status == "cancelled"


async def test_waiting_runs_keep_waiting(kept):
    """They have the same calls and the same deadline."""
    async with world([Call("f", id="c"), Say("Done.")], **kept) as w:
        run, other = await w.start(), await w.start()
        await w.until("run.requires_action", run)
        await w.until("run.requires_action", other)
    kept["clock"].advance(300)
    async with world([Call("f", id="c"), Say("Done.")], **kept) as w:
        assert [call.id for call in (await w.get(run)).pending_tool_calls] == ["c"]
        output = {"tool_call_id": "c", "output": "yes"}
        await w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, [output])
        await w.until("run.completed", run)
        w.clock.advance(300)
        await w.until("run.expired", other)


async def test_deadlines_pass_while_no_engine_runs(kept):
    """Overdue runs expire at the start, without another model call."""
    async with world([Call("f")], **kept) as w:
        waiting = await w.start()
        await w.until("run.requires_action", waiting)
    run, _, _ = await interrupted(kept, TextChunk("It"))
    kept["clock"].advance(600)
    backend = Then(TextChunk("It is."))
    async with world(backend, **kept) as w:
        await w.until("run.expired", waiting)
        await w.until("run.expired", run)
        assert (await w.messages(run))[1].incomplete_details.reason == "run_expired"
        assert backend.requests == []


async def test_queued_runs_are_executed(kept):
    """They execute in their order, and a thread still takes only one run."""
    async with world([Wait()], max_active_runs=1, **kept) as w:
        runs = [await w.start() for _ in range(3)]
        await w.settle()
    async with world([Say("Done.")], max_active_runs=1, **kept) as w:
        with pytest.raises(Exception, match="already has an active run"):
            await w.again(runs[2])
        for run in runs:
            await w.until("run.completed", run)
        order = [id for id, event in w.events if event.name == "thread.run.completed"]
        assert order == [run.id for run in runs]


async def test_cancelling_runs_get_cancelled(kept):
    """A run that was stored as `cancelling` becomes `cancelled`."""
    async with world([[Say("It"), Wait()]], **kept) as w:
        run = await w.start()
        await w.until("message.delta", run)
        with patch.object(Executor, "_cancel"):  # the engine stops before anything else happens
            await w.engine.runs.cancel("", run.thread_id, run.id)
    async with world([Wait()], **kept) as w:
        await w.until("run.cancelled", run)
        (message,) = await w.messages(run)
        assert message.status == "incomplete"


async def test_a_program_that_is_cancelled(kept):
    """If the engine's task is cancelled at any moment, the next engine can use its store."""
    runs = []
    async with anyio.create_task_group() as tasks:

        async def program():
            async with world([[Say("It is"), Wait()]], **kept) as w:
                runs.extend([await w.start() for _ in range(5)])
                await w.until("message.delta", runs[4])
                tasks.cancel_scope.cancel()
                await anyio.sleep_forever()

        tasks.start_soon(program)
    async with world([Say("It is done.")], **kept) as w:
        for run in runs:
            await w.until("run.completed", run)
            assert [message.text for message in await w.messages(run)] == ["It is done."]


async def test_a_store_that_is_not_available_at_a_start():
    """That concerns all runs: the engine does not start, and no run is lost."""
    kept = {"store": DamagedStore(reading=[Run], error=StoreUnavailableError("no disk")), "clock": ManualClock()}
    async with world([Wait()], **kept) as w:
        run = await w.start("Hello")
    kept["store"].hurt.add(run.id)
    with pytest.raises(StoreUnavailableError):
        async with world([Say("Hello")], **kept):
            pytest.fail("started")
    kept["store"].hurt.clear()
    async with world([Say("Hello")], **kept) as w:
        await w.until("run.completed", run)


async def test_what_is_resumed_is_logged(kept, caplog):
    """One line with the number of runs; none if there are none."""
    caplog.set_level("INFO", "openai_runs.engine")
    for begun, said in (0, None), (1, None), (1, "1 unfinished run"), (0, "2 unfinished runs"):
        caplog.clear()
        async with world([Wait()], **kept) as w:
            for _ in range(begun):
                await w.start()
            await w.settle()
        lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
        assert [line for line in lines if "resuming" in line] == ([f"resuming {said}"] if said else [])


async def test_a_start_with_damage(caplog):
    """A run with an unreadable state fails; the state of one that has ended is deleted; the others continue."""

    class Store(DamagedStore):
        async def unfinished(self):
            found = await super().unfinished()
            return [
                Unreadable("", record.value.id, "It is damaged.") if record.value.id in self.hurt else record
                for record in found
            ]

    kept = {"store": Store(reading=[RunState]), "clock": ManualClock()}
    store = kept["store"]
    async with world([Wait()], **kept) as w:
        damaged, lost, over, good = [await w.start() for _ in range(4)]
        await w.settle()
    store.hurt.add(damaged.id)
    await store.commit([Delete(Run, lost.id), Record("", evolve(over, status=RunStatus.COMPLETED))])
    async with world([Say("Hello")], **kept) as w:
        assert f"run {lost.id} cannot be resumed" in caplog.text
        await w.until("run.completed", good)
        failed = await w.until("run.failed", damaged)
        assert failed.last_error.message == "It is damaged."
        await w.settle()
        assert [record.value.id for record in await store.unfinished()] == [lost.id]
        assert (await w.engine.runs.retrieve("", over.thread_id, over.id)).status == "completed"


async def test_two_unfinished_runs_in_one_thread(caplog):
    """As in a store that was repaired by hand: one run continues, the other is left as it is."""
    kept = {"store": MemoryStore(), "clock": ManualClock()}
    async with world([Wait()], **kept) as w:
        one = await w.start()
        w.engine._executor._active.clear()
        other = await w.again(one)
    async with world([Say("Hello")], **kept) as w:
        await w.until("run.completed", one)
        assert f"run {other.id} cannot be resumed" in caplog.text


async def test_a_backend_that_fails_as_it_is_stopped(caplog):
    """Stopping the engine fails no run and logs no failure: the run continues at the next start."""

    class Sore(ModelBackend):
        async def respond(self, request):
            yield TextChunk("Well")
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                raise RuntimeError("how rude") from None

    kept = {"store": MemoryStore(), "clock": ManualClock()}
    async with world(Sore(), **kept) as w:
        run = await w.start()
        await w.until("message.delta", run)
    assert "failed" not in caplog.text
    async with world([Say("Well, well.")], **kept) as w:
        assert (await w.get(run)).status == "in_progress"
        await w.until("run.completed", run)


def test_an_event_loop_that_ends(caplog):
    """`asyncio.run` cancels all tasks at its end, in any order. No run fails, and the next engine resumes them."""
    kept = {"store": MemoryStore(), "clock": ManualClock()}
    runs = []

    async def program(started):
        async with world([[Say("It"), Wait()]], **kept) as w:
            runs.extend([await w.start() for _ in range(20)])
            for run in runs:
                await w.until("message.delta", run)
            started.set()
            await anyio.sleep_forever()

    async def main():
        started = asyncio.Event()
        task = asyncio.create_task(program(started))
        await started.wait()
        assert not task.done()

    async def later():
        async with world([Say("It is.")], **kept) as w:
            for run in runs:
                await w.until("run.completed", run)

    asyncio.run(main())
    assert caplog.text == ""
    asyncio.run(later())
