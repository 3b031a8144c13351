"""`Turn`: how a model call changes a run, and the events that it publishes."""

from contextlib import asynccontextmanager

import anyio
import pytest

from openai_runs import _wire
from openai_runs.backends import Call, Fail, Say, Stop, Wait
from openai_runs.backends.model_backend import (
    Detached,
    Finished,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.stores import memory as store
from tests.engine.world import BEGIN, CALLS, MESSAGE, MESSAGE_END, TIME, WEATHER, YieldingBackend, world

pytestmark = pytest.mark.anyio


async def test_a_message():
    """The simplest run: its events in the documented order, its message, its step, its timestamps."""
    async with world([Say("It is sunny.")]) as w:
        run = await w.start("How is the weather?")
        assert (run.status, run.started_at, run.usage) == ("queued", None, None)
        assert (run.expires_at - run.created_at).total_seconds() == 600
        w.clock.advance(2)
        done = await w.until("run.completed", run)
        assert w.names(run.id) == [*BEGIN, *MESSAGE, *MESSAGE_END, "run.completed"]
        assert w.said(run.id) == ["It", " is", " sunny."]
        assert done == await w.get(run)
        assert (done.expires_at, done.required_action, done.last_error) == (None, None, None)
        assert done.completed_at is not None
        assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens == 7
        question, answer = await w.messages(run)
        assert (question.role, question.run_id, question.assistant_id) == ("user", None, None)
        assert (answer.role, answer.run_id, answer.assistant_id) == ("assistant", run.id, run.assistant_id)
        assert (answer.status, answer.text) == ("completed", "It is sunny.")
        (step,) = await w.steps(run)
        assert (step.type, step.status, step.usage) == ("message_creation", "completed", done.usage)
        assert step.step_details.message_creation.message_id == answer.id
        assert step.expires_at == run.expires_at
        shown = _wire.dump(step)
        assert (shown["expired_at"], shown["metadata"]) == (None, {})


async def test_a_tool_call():
    """The run waits with its step open, and continues after the outputs; usage is summed over both calls."""
    async with world([Call("get_weather", {"city": "Oslo"}, id="call_1"), Say("Sunny.")]) as w:
        run = await w.start("How is the weather?", tools=[WEATHER])
        waiting = await w.until("run.requires_action", run)
        assert waiting == await w.get(run)
        assert (waiting.usage, waiting.expires_at) == (None, run.expires_at)
        (call,) = waiting.pending_tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("call_1", "get_weather", '{"city": "Oslo"}')
        (step,) = await w.steps(run)
        assert (step.type, step.status, step.usage) == ("tool_calls", "in_progress", None)
        assert _wire.dump(step)["step_details"]["tool_calls"][0]["function"]["output"] is None
        w.clock.advance(5)
        queued = await w.answer(run, "sunny")
        assert (queued.status, queued.required_action) == ("queued", None)
        assert (queued.started_at, queued.expires_at) == (waiting.started_at, run.expires_at)
        done = await w.until("run.completed", run)
        assert (done.started_at - waiting.started_at).total_seconds() == 5
        assert w.names(run.id) == [
            *[*BEGIN, *CALLS, "run.requires_action"],
            *["run.step.completed", "run.queued", "run.in_progress", *MESSAGE, *MESSAGE_END, "run.completed"],
        ]
        calls, message = await w.steps(run)
        assert calls.step_details.tool_calls[0].function.output == "sunny"
        assert calls.usage.total_tokens + message.usage.total_tokens == done.usage.total_tokens
        assert calls.usage.completion_tokens == 2  # the words of the arguments


async def test_text_before_calls():
    """A message before tool calls is completed before the run waits; the step of the calls has the usage."""
    async with world([[Say("Let me look."), Call("get_weather"), Call("get_time")], Say("Sunny, noon.")]) as w:
        run = await w.start(tools=[WEATHER, TIME])
        await w.answer(run)
        done = await w.until("run.completed", run)
        first = [*BEGIN, *MESSAGE, *MESSAGE_END, *CALLS, "run.requires_action", "run.step.completed"]
        assert w.names(run.id)[: len(first)] == first
        assert [message.text for message in await w.messages(run)] == ["Let me look.", "Sunny, noon."]
        steps = await w.steps(run)
        assert [step.type for step in steps] == ["message_creation", "tool_calls", "message_creation"]
        assert steps[0].usage.total_tokens == 0
        assert sum(step.usage.total_tokens for step in steps) == done.usage.total_tokens


async def test_text_after_calls():
    """A model may write text after tool calls; the run still waits for their outputs."""
    async with world([[Call("f"), Say("I have asked."), Call("g")]]) as w:
        run = await w.start()
        waiting = await w.until("run.requires_action", run)
        assert [call.function.name for call in waiting.pending_tool_calls] == ["f", "g"]
        calls, message = await w.steps(run)
        assert (calls.status, message.status) == ("in_progress", "completed")
    async with world([[Call("f"), Say("I have asked.")]]) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        assert w.names(run.id) == [*BEGIN, *CALLS, *MESSAGE, *MESSAGE_END, "run.requires_action"]


async def test_nothing_at_all():
    """Empty output completes the run, without a message."""
    async with world(YieldingBackend(TextChunk(""))) as w:
        run = await w.start("Hm?")
        done = await w.until("run.completed", run)
        assert done.usage.total_tokens == 0
        assert await w.steps(run) == ()
        assert len(await w.messages(run)) == 1


async def test_failures():
    """A failed model call fails the run, with the backend's error; the text so far stays, as incomplete."""
    async with world([[Say("It is"), Fail("rate_limit_exceeded", "Slow down.")]]) as w:
        run = await w.start("Hello there")
        failed = await w.until("run.failed", run)
        assert (failed.last_error.code, failed.last_error.message) == ("rate_limit_exceeded", "Slow down.")
        assert (failed.failed_at is not None, failed.expires_at, failed.completed_at) == (True, None, None)
        assert failed.usage.total_tokens == 4
        assert w.names(run.id) == [*BEGIN, *MESSAGE, "message.incomplete", "run.step.failed", "run.failed"]
        (_, message), (step,) = await w.messages(run), await w.steps(run)
        assert (message.text, message.status, message.incomplete_details.reason) == (
            "It is",
            "incomplete",
            "run_failed",
        )
        assert message.incomplete_at is not None
        assert (step.last_error, step.usage) == (failed.last_error, failed.usage)
        assert (await w.again(run)).status == "queued"  # the thread is free


async def test_an_invalid_prompt():
    """`invalid_prompt` is a code of runs only: the step has `server_error`."""
    async with world([[Call("f"), Fail("invalid_prompt", "No.")]]) as w:
        run = await w.start()
        assert (await w.until("run.failed", run)).last_error.code == "invalid_prompt"
        (step,) = await w.steps(run)
        assert (step.status, step.last_error.code) == ("failed", "server_error")
        assert step.step_details.tool_calls == ()


async def test_a_broken_backend(caplog):
    """A bug in a backend fails one run only; the details are in the log only."""

    async def broken():
        raise KeyError("choices")

    async with world(YieldingBackend(TextChunk("It"), broken)) as w:
        run = await w.start()
        failed = await w.until("run.failed", run)
        assert failed.last_error.code == "server_error"
        assert "KeyError" not in failed.last_error.message
        assert "KeyError: 'choices'" in caplog.text
        await w.until("run.failed", await w.again(run))


async def test_unknown_backend_events(caplog):
    """An object that is no backend event fails the run, and the log names it."""
    async with world(YieldingBackend({"choices": []})) as w:
        run = await w.start()
        await w.until("run.failed", run)
        assert "TypeError: the backend yielded {'choices': []}, which is no event" in caplog.text


async def test_output_limit():
    """The run and the message that the limit cut off are incomplete, with the reason."""
    async with world([[Say("word " * 300)]]) as w:
        run = await w.start(max_completion_tokens=256)
        done = await w.until("run.incomplete", run)
        assert done.incomplete_details.reason == "max_completion_tokens"
        assert (done.completed_at is not None, done.usage.completion_tokens) == (True, 256)
        (message,), (step,) = await w.messages(run), await w.steps(run)
        assert (message.status, message.incomplete_details.reason) == ("incomplete", "max_tokens")
        assert (step.status, len(message.text.split())) == ("completed", 256)


@pytest.mark.parametrize(("usage", "reason"), [((1001, 1), "max_prompt_tokens"), ((1, 1001), "max_completion_tokens")])
async def test_more_than_allowed(usage, reason):
    """If a model exceeds a limit, the run is incomplete; its message is complete; its tool calls are not made."""
    limits = {"max_prompt_tokens": 1000, "max_completion_tokens": 1000}
    async with world(YieldingBackend(TextChunk("Yes."), UsageReport(*usage), Finished())) as w:
        run = await w.start(**limits)
        assert (await w.until("run.incomplete", run)).incomplete_details.reason == reason
        assert (await w.messages(run))[0].status == "completed"
    async with world(YieldingBackend(ToolCallChunk(0, None, "f", "{}"), UsageReport(*usage))) as w:
        run = await w.start(**limits)
        assert (await w.until("run.incomplete", run)).required_action is None
        (step,) = await w.steps(run)
        assert (step.status, step.last_error.code) == ("failed", "server_error")


async def test_exactly_as_much_as_allowed():
    """A run may use exactly its limit."""
    async with world(YieldingBackend(TextChunk("Yes."), UsageReport(256, 256))) as w:
        run = await w.start(max_prompt_tokens=256, max_completion_tokens=256)
        await w.until("run.completed", run)


@pytest.mark.parametrize(
    ("stop", "shown", "message"),
    [
        ("max_tokens", {"reason": "max_completion_tokens"}, "max_tokens"),
        ("max_prompt_tokens", {"reason": "max_prompt_tokens"}, None),
        ("content_filter", {}, "content_filter"),  # the API has no reason for that in a run
    ],
)
async def test_finish_reasons(stop, shown, message):
    """The model's finish reason is the reason for which the run is incomplete."""
    async with world([[Say("Well"), Stop(stop), Say("never said")]]) as w:
        run = await w.start()
        await w.until("run.incomplete", run)
        assert _wire.dump(await w.get(run))["incomplete_details"] == shown
        (said,) = await w.messages(run)
        assert (said.text, said.incomplete_details and said.incomplete_details.reason) == ("Well", message)


@asynccontextmanager
async def detached(*events):
    backend = YieldingBackend(Detached("resp_1"), *events)
    async with world(backend) as w:
        run = await w.start()
        yield w, run, backend


async def test_a_call_that_continues_at_the_endpoint_is_stopped():
    """If its run is cancelled or fails, the endpoint is asked to stop the call; not if the run completes."""
    async with detached(TextChunk("Well"), anyio.sleep_forever) as (w, run, backend):
        await w.until("message.delta", run)
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.settle()
        assert backend.abandoned == ["resp_1"]

    async def fail():
        raise OSError

    async with detached(fail) as (w, run, backend):
        await w.until("run.failed", run)
        await w.settle()
        assert backend.abandoned == ["resp_1"]
    async with detached(TextChunk("Well")) as (w, run, backend):
        await w.until("run.completed", run)
        await w.settle()
        assert backend.abandoned == []


async def test_a_handle_is_good_for_one_call(caplog):
    """The next call starts without a handle; and an error of `abandon` does no harm."""

    class Failing(YieldingBackend):
        async def abandon(self, handle):
            raise OSError(handle)

    backend = Failing(Detached("resp_1"), ToolCallChunk(0, "c", "f", "{}"))
    async with world(backend) as w:
        run = await w.start()
        await w.answer(run)
        await w.until("run.requires_action", run, 2)
        assert [request.handle for request in backend.requests] == [None, None]
        backend.events = (Detached("resp_2"), anyio.sleep_forever)
        await w.answer(run)
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.settle()
        assert "OSError: resp_2" in caplog.text


@pytest.mark.parametrize(
    ("before", "delta", "after", "texts"),
    [
        (TextChunk("Before."), "message.delta", TextChunk("After."), ["Before."]),
        (ToolCallChunk(0, "c", "f", "{"), "run.step.delta", ToolCallChunk(0, None, None, "}"), []),
    ],
    ids=["text", "call"],
)
async def test_late_events_are_ignored(before, delta, after, texts):
    """A backend that ignores its cancellation can neither block a run nor add to it."""
    stopping = anyio.Event()

    class Deaf(YieldingBackend):
        async def respond(self, request):
            yield before
            with anyio.CancelScope(shield=True):  # what no generator may do
                await stopping.wait()
                yield after
                yield ToolCallChunk(1, "d", "f", "{}")

    async with world(Deaf()) as w:
        run = await w.start()
        await w.until(delta, run)
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        told = list(w.events)
        stopping.set()
        await w.settle()
        assert w.events == told
        assert [message.text for message in await w.messages(run)] == texts


async def test_the_thread_changes_under_a_run():
    """Metadata that a client sets while the run executes is not overwritten by the run."""
    go_on = anyio.Event()
    async with world([[Say("One"), Wait(go_on), Say(" two")]]) as w:
        run = await w.start()
        message = await w.until("message.in_progress", run)
        await w.engine.runs.update("", run.thread_id, run.id, {"metadata": {"run": "yes"}})
        await w.engine.messages.update("", run.thread_id, message.id, {"metadata": {"message": "yes"}})
        go_on.set()
        done = await w.until("run.completed", run)
        assert done.metadata == {"run": "yes"}
        (message,) = await w.messages(run)
        assert (message.metadata, message.text) == ({"message": "yes"}, "One two")


async def test_a_thread_that_is_too_large_fails_the_run(monkeypatch):
    """Only this run fails; `last_error` says what to do, and the next run, with truncation, completes."""
    monkeypatch.setattr(store, "MAX_HISTORY", 100)
    async with world() as w:
        run = await w.start("x" * 60, "y" * 60)
        failed = await w.until("run.failed", run)
        assert failed.last_error.code == "invalid_prompt"
        assert "more than 100 bytes" in failed.last_error.message
        again = await w.again(run, truncation_strategy={"type": "last_messages", "last_messages": 1})
        await w.until("run.completed", again)


async def test_times_of_an_answer():
    """An answer that takes no time is later than its run, as programs expect that select by it; nothing goes back."""
    async with world([Call("f"), Say("Done.")]) as w:
        run = await w.start("Hello")
        await w.answer(run)
        done = await w.until("run.completed", run)
        (_, message), steps = await w.messages(run), await w.steps(run)
        assert message.created_at > run.created_at
        made = [message.created_at, message.completed_at, *(step.created_at for step in steps)]
        assert {*made, *(step.completed_at for step in steps), done.completed_at} == {message.created_at}
        later = await w.again(run)
        w.clock.advance(5)
        await w.answer(later)
        await w.until("run.completed", later)
        assert ((await w.messages(run))[-1].created_at - later.created_at).total_seconds() == 5
