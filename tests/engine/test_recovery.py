"""An engine that is torn down at any moment, and the one that takes over its store."""

import anyio
import pytest

from openai_runs.backends import Call, Say, Wait
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    Detached,
    HostedToolCall,
    ModelBackend,
    TextChunk,
    ToolCallChunk,
)
from openai_runs.engine import ManualClock
from openai_runs.models.message import CitedFile, FilePath
from openai_runs.models.run_step import CodeInterpreterCall, InterpretedCode
from openai_runs.stores import MemoryStore
from tests.engine.world import world

pytestmark = pytest.mark.anyio


@pytest.fixture
def kept():
    """What outlives an engine."""
    return {"store": MemoryStore(), "clock": ManualClock()}


class Then(ModelBackend):
    """Yields some events and then hangs; a second one yields some and ends."""

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
    """A run whose model call was cut off after some events, and what was to be seen of it then."""
    async with world(Then(*events, hang=True), **kept) as w:
        run = await w.start("Hello")
        await w.settle()
        return run, await w.steps(run), await w.messages(run)


async def test_a_call_is_repeated_in_place(kept):
    """The message that was begun is written again, under its ID; nothing is there twice."""
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
    """The step that was begun is used again."""
    run, (step,), _ = await interrupted(kept, ToolCallChunk(0, "call_1", "f", "{"))
    async with world([Call("f", id="call_2"), Say("Done.")], **kept) as w:
        waiting = await w.until("run.requires_action", run)
        assert [call.id for call in waiting.pending_tool_calls] == ["call_2"]
        assert [s.id for s in await w.steps(run)] == [step.id]


async def test_what_was_complete_stays(kept):
    """A message that was complete before the crash is not said a second time, and not taken back."""
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
    """What the interrupted call had begun and its repetition does not come back to is taken back."""
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
    """It was said; the repetition just calls, and says something else in the end."""
    run, _, messages = await interrupted(kept, TextChunk("Let me look."), ToolCallChunk(0, "c", "f", "{"))
    async with world(Then(ToolCallChunk(0, "c", "f", "{}")), **kept) as w:
        await w.until("run.requires_action", run)
        assert await w.messages(run) == messages
        assert [step.status for step in await w.steps(run)] == ["completed", "in_progress"]


async def test_text_that_came_before_calls_comes_after_them(kept):
    """A completed message stays also if the repetition calls first and talks later."""
    run, _, messages = await interrupted(kept, TextChunk("Let me look."), ToolCallChunk(0, "c", "f", "{"))
    async with world(Then(ToolCallChunk(0, "c", "f", "{}"), TextChunk("I look.")), **kept) as w:
        await w.until("run.requires_action", run)
        assert await w.messages(run) == messages
        assert len(await w.steps(run)) == 2


async def test_hosted_tools_are_not_shown_twice(kept):
    """A step of the endpoint's own tool stays, and its repetition is passed over."""
    used = HostedToolCall(CodeInterpreterCall(id="ci", code_interpreter=InterpretedCode(input="1+1")))
    run, steps, messages = await interrupted(kept, TextChunk("I count."), used, TextChunk("Tw"))
    backend = Then(TextChunk("I count."), used, TextChunk("Two."))
    async with world(backend, **kept) as w:
        await w.until("run.completed", run)
        assert [item.text for item in backend.requests[0].items if item.object == "thread.message"] == ["Hello"]
        assert [step.id for step in await w.steps(run)] == [step.id for step in steps]
        assert [message.text for message in await w.messages(run)] == ["Hello", "I count.", "Two."]
        assert [message.id for message in await w.messages(run)] == [message.id for message in messages]


async def test_a_call_that_went_on_elsewhere_is_taken_up(kept):
    """The backend gets the handle that the interrupted call had given."""
    run, _, _ = await interrupted(kept, Detached("resp_1"), TextChunk("It"))
    backend = Then(TextChunk("It is."))
    async with world(backend, **kept) as w:
        await w.until("run.completed", run)
        assert backend.requests[0].handle == "resp_1"


async def test_an_interrupted_run_can_be_cancelled_before_it_says_anything(kept):
    """What was begun ends as in any cancelled run."""
    run, _, _ = await interrupted(kept, TextChunk("It"))
    async with world([Wait()], **kept) as w:
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        assert (await w.messages(run))[1].incomplete_details.reason == "run_cancelled"
        assert (await w.steps(run))[0].status == "cancelled"


async def test_waiting_runs_wait_on(kept):
    """With the same calls, until the same time."""
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


async def test_time_goes_on_while_nobody_is_there(kept):
    """What should have expired has expired, and asks no model any more."""
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
    """In their order, and one thread still has one run."""
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
    """The answer to the cancel request was a promise."""
    async with world([[Say("It"), Wait()]], **kept) as w:
        run = await w.start()
        await w.until("message.delta", run)
        await w.engine.runs.cancel("", run.thread_id, run.id)
        # the engine stops before anything else happens
    async with world([Wait()], **kept) as w:
        await w.until("run.cancelled", run)
        (message,) = await w.messages(run)
        assert message.status == "incomplete"


async def test_a_program_that_is_cancelled(kept):
    """Torn down from outside, in the middle of everything, an engine leaves a store that can be taken over."""
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
