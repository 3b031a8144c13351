"""`Turn`: what a model call makes of a run, and the events in which it is told."""

from contextlib import asynccontextmanager

import anyio
import pytest

from openai_runs import _wire
from openai_runs.backends import Call, Fail, Refuse, Say, Stop, Wait
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    Detached,
    Finished,
    HostedToolCall,
    ModelBackend,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.models.message import CitedFile, FileCitation
from openai_runs.models.run_step import CodeInterpreterCall, FileSearch, FileSearchCall, InterpretedCode
from openai_runs.stores import memory as store
from tests.engine.world import TIME, WEATHER, world

pytestmark = pytest.mark.anyio


class Yielding(ModelBackend):
    """Yields the events that it was given, in every call; what is callable is called first."""

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


async def test_an_answer():
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
    """The run waits with its step open, and goes on after the outputs; usage is counted over both calls."""
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


async def test_step_deltas():
    """The first delta of a call has its ID, its name and no output; later ones are arguments only."""
    events = [
        ToolCallChunk(4, "call_1", "f"),
        ToolCallChunk(4, arguments='{"a"'),
        ToolCallChunk(9, "call_2", "g", "{}"),
    ]
    async with world(Yielding(*events, ToolCallChunk(4, arguments=":1}"))) as w:
        run = await w.start()
        waiting = await w.until("run.requires_action", run)
        shown = [
            e.data["delta"]["step_details"]["tool_calls"] for _, e in w.events if e.name == "thread.run.step.delta"
        ]
        first = {"name": "f", "arguments": "", "output": None}
        second = {"name": "g", "arguments": "{}", "output": None}
        assert shown == [
            [{"index": 0, "type": "function", "id": "call_1", "function": first}],
            [{"index": 0, "type": "function", "function": {"arguments": '{"a"'}}],
            [{"index": 1, "type": "function", "id": "call_2", "function": second}],
            [{"index": 0, "type": "function", "function": {"arguments": ":1}"}}],
        ]
        assert [call.function.arguments for call in waiting.pending_tool_calls] == ['{"a":1}', "{}"]


async def test_text_before_calls():
    """A message that comes with calls is complete before they are asked; their step has the usage."""
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
    """A model may go on to talk; the calls wait all the same."""
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


async def test_text_and_refusal():
    """A message may have both; each is a part of its own."""
    async with world([[Say("Well,"), Refuse("I will not."), Say("")]]) as w:
        run = await w.start()
        await w.until("run.completed", run)
        (message,) = await w.messages(run)
        assert [part.type for part in message.content] == ["text", "refusal"]
        assert message.content[1].refusal == "I will not."
        assert w.said(run.id) == ["Well,", "I", " will", " not."]


async def test_nothing_at_all():
    """A model that says nothing has completed the run, without a message."""
    async with world(Yielding(TextChunk(""))) as w:
        run = await w.start("Hm?")
        done = await w.until("run.completed", run)
        assert done.usage.total_tokens == 0
        assert await w.steps(run) == ()
        assert len(await w.messages(run)) == 1


async def test_one_call_at_a_time():
    """With `parallel_tool_calls` off, the first call of several is asked, and is the only one that is told."""
    async with world([[Call("f", id="1"), Call("g", id="2")], Say("Done.")]) as w:
        run = await w.start(parallel_tool_calls=False)
        waiting = await w.until("run.requires_action", run)
        assert [call.id for call in waiting.pending_tool_calls] == ["1"]
        assert sum(e.name == "thread.run.step.delta" for _, e in w.events) == 2


async def test_call_ids_are_unique_within_a_run():
    """Some models count from call_0 in each round; a program that answers each ID once must not be misled."""
    async with world([[Call("f", id="call_0"), Call("f", id="call_0"), Call("f")], Call("f", id="call_0")]) as w:
        run = await w.start()
        first = [call.id for call in (await w.until("run.requires_action", run)).pending_tool_calls]
        assert first[0] == "call_0"
        assert all(id.startswith("call_") and len(id) == 29 for id in first[1:])
        await w.answer(run)
        second = [call.id for call in (await w.until("run.requires_action", run, 2)).pending_tool_calls]
        assert len({*first, *second}) == 4


async def test_failures():
    """A model's failure is the run's, in the API's words; what was said stays, as incomplete."""
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
    """The API has that code for runs only."""
    async with world([[Call("f"), Fail("invalid_prompt", "No.")]]) as w:
        run = await w.start()
        assert (await w.until("run.failed", run)).last_error.code == "invalid_prompt"
        (step,) = await w.steps(run)
        assert (step.status, step.last_error.code) == ("failed", "server_error")
        assert step.step_details.tool_calls == ()


async def test_a_broken_backend(caplog):
    """A bug in a backend ends one run, and only that; the log has the rest."""

    async def broken():
        raise KeyError("choices")

    async with world(Yielding(TextChunk("It"), broken)) as w:
        run = await w.start()
        failed = await w.until("run.failed", run)
        assert failed.last_error.code == "server_error"
        assert "KeyError" not in failed.last_error.message
        assert "KeyError: 'choices'" in caplog.text
        await w.until("run.failed", await w.again(run))


async def test_events_that_are_none(caplog):
    """What a backend yields is what the engine knows, or its author hears of it."""
    async with world(Yielding({"choices": []})) as w:
        run = await w.start()
        await w.until("run.failed", run)
        assert "TypeError: the backend yielded {'choices': []}, which is no event" in caplog.text


async def test_output_limit():
    """Cut off by the limit, the message and the run say so."""
    async with world([[Say("word " * 300)]]) as w:
        run = await w.start(max_completion_tokens=256)
        done = await w.until("run.incomplete", run)
        assert done.incomplete_details.reason == "max_completion_tokens"
        assert (done.completed_at is not None, done.usage.completion_tokens) == (True, 256)
        (message,), (step,) = await w.messages(run), await w.steps(run)
        assert (message.status, message.incomplete_details.reason) == ("incomplete", "max_tokens")
        assert (step.status, len(message.text.split())) == ("completed", 256)


async def test_limits_count_all_calls():
    """Each call gets what is left; when nothing is left, the run is incomplete without another one."""
    backend = Yielding(UsageReport(300, 250), UsageReport(600, 256), ToolCallChunk(0, None, "f", "{}"))
    async with world(backend) as w:
        run = await w.start(max_completion_tokens=512, max_prompt_tokens=2000)
        await w.answer(run)
        await w.answer(run)
        done = await w.until("run.incomplete", run)
        assert done.incomplete_details.reason == "max_completion_tokens"
        assert [request.max_completion_tokens for request in backend.requests] == [512, 256]
        assert [request.max_prompt_tokens for request in backend.requests] == [2000, 1400]
        assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (1200, 512)
        assert [step.status for step in await w.steps(run)] == ["completed", "completed"]
    backend = Yielding(UsageReport(1000, 10), ToolCallChunk(0, None, "f", "{}"))
    async with world(backend) as w:
        run = await w.start(max_prompt_tokens=1000)
        await w.answer(run)
        assert (await w.until("run.incomplete", run)).incomplete_details.reason == "max_prompt_tokens"
        assert len(backend.requests) == 1


@pytest.mark.parametrize(("usage", "reason"), [((1001, 1), "max_prompt_tokens"), ((1, 1001), "max_completion_tokens")])
async def test_more_than_allowed(usage, reason):
    """A model that does not keep to the limits: the run says so; what was said is whole; calls are not asked."""
    limits = {"max_prompt_tokens": 1000, "max_completion_tokens": 1000}
    async with world(Yielding(TextChunk("Yes."), UsageReport(*usage), Finished())) as w:
        run = await w.start(**limits)
        assert (await w.until("run.incomplete", run)).incomplete_details.reason == reason
        assert (await w.messages(run))[0].status == "completed"
    async with world(Yielding(ToolCallChunk(0, None, "f", "{}"), UsageReport(*usage))) as w:
        run = await w.start(**limits)
        assert (await w.until("run.incomplete", run)).required_action is None
        (step,) = await w.steps(run)
        assert (step.status, step.last_error.code) == ("failed", "server_error")


async def test_exactly_as_much_as_allowed():
    """A limit may be reached."""
    async with world(Yielding(TextChunk("Yes."), UsageReport(256, 256))) as w:
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
    """Why a model stopped is why the run is incomplete."""
    async with world([[Say("Well"), Stop(stop), Say("never said")]]) as w:
        run = await w.start()
        await w.until("run.incomplete", run)
        assert _wire.dump(await w.get(run))["incomplete_details"] == shown
        (said,) = await w.messages(run)
        assert (said.text, said.incomplete_details and said.incomplete_details.reason) == ("Well", message)


async def test_what_the_model_sees():
    """Instructions, the thread's messages and rounds of calls, this run's included, and the run's settings."""
    requests = []

    def script(request):
        requests.append(request)
        return Call("get_weather", id="c") if len(requests) == 1 else Say("Sunny.")

    async with world(script) as w:
        run = await w.start("Hello", tools=[WEATHER], tool_choice="required", metadata={"a": "b"})
        await w.answer(run, "21 C")
        await w.until("run.completed", run)
        later = await w.again(run, additional_messages=[{"role": "user", "content": "And now?"}], top_p=0.5)
        await w.until("run.completed", later)
        first, second, third = requests
        assert (first.run_id, first.thread_id, first.model, first.metadata) == (run.id, run.thread_id, "m", {"a": "b"})
        assert (first.temperature, first.top_p, first.reasoning_effort) == (None, None, None)  # nobody asked for any
        assert (first.seconds_left, first.may_shorten, first.handle) == (600, True, None)
        assert (first.tool_choice, second.tool_choice) == ("required", "auto")  # forced once, not for ever
        assert [item.text for item in first.items] == ["Hello"]
        _, calls = second.items
        assert (calls.run_id, calls.step_details.tool_calls[0].function.output) == (run.id, "21 C")
        assert second.rounds == (calls,)
        assert [type(item).__name__ for item in third.items] == ["Message", "RunStep", "Message", "Message"]
        assert [item.text for item in third.items if item.object == "thread.message"] == ["Hello", "Sunny.", "And now?"]
        assert (third.rounds, third.top_p) == ((), 0.5)


async def test_tool_choice_none_stays():
    """What is forbidden stays forbidden."""
    requests = []

    def script(request):
        requests.append(request)
        return Call("f") if len(requests) == 1 else Say("So.")

    async with world(script) as w:
        run = await w.start(tool_choice="none")
        await w.answer(run)
        await w.until("run.completed", run)
        assert [request.tool_choice for request in requests] == ["none", "none"]


async def test_truncation():
    """`last_messages` counts what was there before the run; the run's own are never cut off."""
    requests = []

    def script(request):
        requests.append(request)
        return [Say("Wait."), Call("f")] if len(requests) < 3 else Say("So.")

    async with world(script) as w:
        run = await w.start("1", "2", "3", truncation_strategy={"type": "last_messages", "last_messages": 2})
        await w.answer(run)
        await w.answer(run)
        await w.until("run.completed", run)
        texts = [[item.text for item in request.items if item.object == "thread.message"] for request in requests]
        assert texts == [["2", "3"], ["2", "3", "Wait."], ["2", "3", "Wait.", "Wait."]]
        assert not requests[0].may_shorten


async def test_unanswered_calls_of_an_earlier_run():
    """A later run of the thread sees what was asked and never answered, so that its model can be told."""
    requests = []

    def script(request):
        requests.append(request)
        return Call("f", id="c") if len(requests) == 1 else Say("So.")

    async with world(script) as w:
        run = await w.start("Hello")
        await w.until("run.requires_action", run)
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.until("run.completed", await w.again(run))
        assert requests[1].items[1].step_details.tool_calls[0].function.output is None


async def test_citations():
    """An annotation belongs to the text it follows, in the deltas and in the message."""
    note = FileCitation(text="[1]", file_citation=CitedFile(file_id="file"), start_index=0, end_index=3)
    async with world(Yielding(TextChunk("[1]"), AnnotationAdded(note), AnnotationAdded(note))) as w:
        run = await w.start()
        await w.until("run.completed", run)
        (message,) = await w.messages(run)
        assert message.content[0].text.annotations == (note, note)
        deltas = [event.data for _, event in w.events if event.name == "thread.message.delta"]
        shown = deltas[2]["delta"]["content"][0]
        assert (shown["index"], shown["type"]) == (0, "text")
        assert shown["text"]["annotations"] == [{"index": 1, **_wire.dump(note)}]
    async with world(Yielding(AnnotationAdded(note))) as w:  # before any text
        run = await w.start()
        await w.until("run.completed", run)
        assert (await w.messages(run))[0].content[0].text.annotations == (note,)


async def test_hosted_tools():
    """A use of the endpoint's own tool is a completed step of its own, between the messages around it."""
    code = CodeInterpreterCall(id="ci_1", code_interpreter=InterpretedCode(input="1+1"))
    search = FileSearchCall(id="fs_1", file_search=FileSearch())
    events = [TextChunk("Let me count."), HostedToolCall(code), HostedToolCall(search), TextChunk("Two.")]
    async with world(Yielding(*events, UsageReport(5, 5))) as w:
        run = await w.start()
        await w.until("run.completed", run)
        hosted = [*CALLS, "run.step.completed"]
        assert w.names(run.id) == [
            *[*BEGIN, *MESSAGE, *MESSAGE_END, *hosted, *hosted],
            *[*MESSAGE, *MESSAGE_END, "run.completed"],
        ]
        steps = await w.steps(run)
        assert [step.type for step in steps] == ["message_creation", "tool_calls", "tool_calls", "message_creation"]
        assert steps[1].step_details.tool_calls == (code,)
        assert [step.usage.total_tokens for step in steps] == [0, 0, 0, 10]
        assert [message.text for message in await w.messages(run)] == ["Let me count.", "Two."]
        later = await w.again(run)
        await w.until("run.completed", later)


@asynccontextmanager
async def detached(*events):
    backend = Yielding(Detached("resp_1"), *events)
    async with world(backend) as w:
        run = await w.start()
        yield w, run, backend


async def test_a_call_that_goes_on_elsewhere_is_abandoned():
    """When its run is cancelled or fails, the endpoint hears of it; when it completes, there is nothing to say."""
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
        assert backend.abandoned == ["resp_1"]
    async with detached(TextChunk("Well")) as (w, run, backend):
        await w.until("run.completed", run)
        await w.settle()
        assert backend.abandoned == []


async def test_a_handle_is_good_for_one_call(caplog):
    """The next call is a new one; and a backend that fails to abandon does no harm."""

    class Failing(Yielding):
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


async def test_late_words_are_not_heard():
    """A backend that ignores its cancellation can neither hang a run nor add to it."""
    stopping = anyio.Event()

    class Deaf(Yielding):
        async def respond(self, request):
            yield TextChunk("Before.")
            with anyio.CancelScope(shield=True):  # what no generator may do
                await stopping.wait()
                yield TextChunk("After.")
                yield ToolCallChunk(0, "c", "f", "{}")

    async with world(Deaf()) as w:
        run = await w.start()
        await w.until("message.delta", run)
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        before = list(w.events)
        stopping.set()
        await w.settle()
        assert w.events == before
        assert [message.text for message in await w.messages(run)] == ["Before."]


async def test_the_thread_changes_under_a_run():
    """Metadata that a client sets while the run executes is not lost when the run writes."""
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
    """Only this run: it says why, and what to do; done so, the next one completes."""
    monkeypatch.setattr(store, "MAX_HISTORY", 100)
    async with world() as w:
        run = await w.start("x" * 60, "y" * 60)
        failed = await w.until("run.failed", run)
        assert failed.last_error.code == "invalid_prompt"
        assert "more than 100 bytes" in failed.last_error.message
        again = await w.again(run, truncation_strategy={"type": "last_messages", "last_messages": 1})
        await w.until("run.completed", again)
