"""`ModelRequest`: what the model sees of a thread and of a run's settings."""

import pytest

from openai_runs.backends import Call, Say
from openai_runs.backends.model_backend import ToolCallChunk, UsageReport
from tests.engine.world import WEATHER, YieldingBackend, world

pytestmark = pytest.mark.anyio


async def test_limits_count_all_calls():
    """Each call gets the tokens that are left; when none are left, the run is incomplete without another call."""
    backend = YieldingBackend(UsageReport(300, 250), UsageReport(600, 256), ToolCallChunk(0, None, "f", "{}"))
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
    backend = YieldingBackend(UsageReport(1000, 10), ToolCallChunk(0, None, "f", "{}"))
    async with world(backend) as w:
        run = await w.start(max_prompt_tokens=1000)
        await w.answer(run)
        assert (await w.until("run.incomplete", run)).incomplete_details.reason == "max_prompt_tokens"
        assert len(backend.requests) == 1


async def test_what_the_model_sees():
    """The request has the instructions, the thread's messages and tool calls, and the run's settings."""
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
    """`tool_choice` 'none' holds for every call of a run."""
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
    """`last_messages` counts messages from before the run; the run's own are never left out."""
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
    """A later run of the thread sees tool calls that never got outputs, so that the backend can tell the model."""
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
