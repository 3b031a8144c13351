"""The spans of an engine's runs: one for the run, with its waits and model calls below it."""

from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.trace import SpanKind, StatusCode

from openai_runs._wire import load
from openai_runs.backends import Call, Fail, Say, Wait
from openai_runs.engine import ManualClock
from openai_runs.engine.run_telemetry import RunTelemetry
from openai_runs.models.run import Run
from openai_runs.stores import MemoryStore
from tests.engine.world import TIME, YieldingBackend, world
from tests.following import story
from tests.recorded import Recorded

pytestmark = pytest.mark.anyio


def summed(recorded: Recorded, name: str) -> dict[Any, float]:
    return {
        (by["gen_ai.operation.name"], by.get("gen_ai.token.type"), by.get("error.type")): point.count
        for by, point in recorded.measured(name)
    }


async def test_a_run_with_a_tool() -> None:
    """One span for the whole run, in which it is queued twice and calls the model twice."""
    recorded = Recorded()
    own = recorded.tracers.get_tracer("own")
    script = [Call("get_time"), Say("It is noon.")]
    async with world(script, telemetry=recorded.telemetry()) as w:
        with own.start_as_current_span("request"):
            run = await w.start("secret", tools=[TIME])
        await w.answer(run, "secret")
        await w.until("run.completed", run)
    assert recorded.tree() == [
        "request",
        "  invoke_agent",
        "    queued",
        "    chat m",
        "    queued",
        "    chat m",
    ]
    first, second = recorded.attributes("chat m")
    assert first == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai_runs",
        "gen_ai.request.model": "m",
        "gen_ai.conversation.id": run.thread_id,
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 1,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": first["gen_ai.response.time_to_first_chunk"],
        "openai_runs.run.id": run.id,
    }
    assert second["gen_ai.usage.output_tokens"] == 3
    whole = recorded.one("invoke_agent")
    assert (whole.kind, recorded.spans[3].kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    assert dict(whole.attributes or {}) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai_runs",
        "gen_ai.request.model": "m",
        "gen_ai.agent.id": run.assistant_id,
        "gen_ai.conversation.id": run.thread_id,
        "gen_ai.usage.input_tokens": 1 + second["gen_ai.usage.input_tokens"],
        "gen_ai.usage.output_tokens": 4,
        "openai_runs.run.id": run.id,
        "openai_runs.run.status": "completed",
    }
    assert "secret" not in str([span.attributes for span in recorded.spans])
    assert summed(recorded, "gen_ai.client.operation.duration") == {("chat", None, None): 2}
    assert summed(recorded, "gen_ai.server.request.duration") == {("invoke_agent", None, None): 1}
    assert summed(recorded, "gen_ai.client.token.usage") == {("chat", "input", None): 2, ("chat", "output", None): 2}
    assert summed(recorded, "gen_ai.client.operation.time_to_first_chunk") == {("chat", None, None): 2}
    assert summed(recorded, "gen_ai.server.time_to_first_token") == {("invoke_agent", None, None): 1}
    assert recorded.measured("openai_runs.run.queue_wait")[0][1].count == 2


async def test_a_failed_call() -> None:
    """Call and run end with the code of the error, and without its text."""
    recorded = Recorded()
    async with world([Fail("rate_limit_exceeded", "secret")], telemetry=recorded.telemetry()) as w:
        await w.until("run.failed", await w.start("Hello"))
    for name in "chat m", "invoke_agent":
        assert recorded.attributes(name)[0]["error.type"] == "rate_limit_exceeded"
        assert (recorded.status(name).status_code, recorded.status(name).description) == (StatusCode.ERROR, None)
        assert recorded.one(name).events == ()
    assert "gen_ai.response.finish_reasons" not in recorded.attributes("chat m")[0]
    assert summed(recorded, "gen_ai.client.operation.duration") == {("chat", None, "rate_limit_exceeded"): 1}


async def test_a_call_without_usage() -> None:
    """What the endpoint does not report is not made up."""
    recorded = Recorded()
    async with world(YieldingBackend(), telemetry=recorded.telemetry()) as w:
        await w.until("run.completed", await w.start("Hello"))
    assert "gen_ai.usage.input_tokens" not in recorded.attributes("chat m")[0]
    assert recorded.measured("gen_ai.client.token.usage") == []


async def test_a_cancelled_run() -> None:
    """Nothing has failed: all spans end without an error."""
    recorded = Recorded()
    async with world([Wait()], telemetry=recorded.telemetry()) as w:
        run = await w.start("Hello")
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
    assert recorded.tree() == ["invoke_agent", "  queued", "  chat m"]
    assert {span.status.status_code for span in recorded.spans} == {StatusCode.UNSET}
    assert recorded.attributes("invoke_agent")[0]["openai_runs.run.status"] == "cancelled"
    assert "gen_ai.response.finish_reasons" not in recorded.attributes("chat m")[0]


async def test_a_turn_that_another_run_has_made_place_for() -> None:
    """A queued run starts when another one ends: its spans are in its own trace, and have nothing of the other's."""
    recorded = Recorded()
    own = recorded.tracers.get_tracer("own")
    async with world([Say("Hello")], telemetry=recorded.telemetry(), max_active_runs=1) as w:
        for name in "first", "second":
            token = context.attach(baggage.set_baggage("secret", name))
            with own.start_as_current_span(name):
                run = await w.start("Hello")
            context.detach(token)
        await w.until("run.completed", run)
    run_tree = ["  invoke_agent", "    queued", "    chat m"]
    assert recorded.tree() == ["first", *run_tree, "second", *run_tree]


async def test_a_stop_in_the_middle() -> None:
    """The engine's end ends all spans; with the next engine the run goes on in a trace of its own."""
    recorded, kept = Recorded(), {"store": MemoryStore(), "clock": ManualClock()}
    own = recorded.tracers.get_tracer("own")
    async with world([Wait()], **kept, telemetry=recorded.telemetry(), max_active_runs=1) as w:
        with own.start_as_current_span("request"):
            executing, queued = await w.start("Hello"), await w.start("Hello")
        await w.settle()
    run_tree = ["  invoke_agent", "    queued"]
    assert recorded.tree() == ["request", *run_tree, "    chat m", *run_tree]
    statuses = [attributes["openai_runs.run.status"] for attributes in recorded.attributes("invoke_agent")]
    assert statuses == ["in_progress", "queued"]
    again = Recorded()
    async with world([Say("Hello")], **kept, telemetry=again.telemetry(), max_active_runs=1) as w:
        await w.until("run.completed", executing)
        await w.until("run.completed", queued)
    assert again.tree() == ["invoke_agent", "  chat m", "invoke_agent", "  queued", "  chat m"]


async def test_a_run_that_has_expired_meanwhile() -> None:
    """It is ended at the next start, whose span is not its parent."""
    recorded, clock, store = Recorded(), ManualClock(), MemoryStore()
    async with world([Wait()], store=store, clock=clock) as w:
        run = await w.start("Hello")
        await w.until("run.in_progress", run)
    clock.advance(700)
    with recorded.tracers.get_tracer("own").start_as_current_span("start"):
        async with world([Wait()], store=store, clock=clock, telemetry=recorded.telemetry()) as w:
            await w.until("run.expired", run)
    assert recorded.tree() == ["start", "invoke_agent"]
    assert recorded.attributes("invoke_agent")[0]["error.type"] == "expired"


async def test_the_name_of_the_assistant() -> None:
    """It is in the name of the run's span, and an attribute; also after a restart, when the assistant is gone."""
    recorded, kept = Recorded(), {"store": MemoryStore(), "clock": ManualClock()}
    async with world([Wait()], **kept, telemetry=recorded.telemetry()) as w:
        run = await w.start("Hello", name="Guide")
        await w.settle()
        await w.engine.assistants.delete("", run.assistant_id)
    again = Recorded()
    async with world([Say("Hello")], **kept, telemetry=again.telemetry()) as w:
        await w.until("run.completed", run)
    for each in recorded, again:
        assert each.tree()[0] == "invoke_agent Guide"
        (attributes,) = each.attributes("invoke_agent Guide")
        assert (attributes["gen_ai.agent.name"], attributes["gen_ai.agent.id"]) == ("Guide", run.assistant_id)


def test_a_run_that_was_given_up() -> None:
    """It could not be ended, and nothing is known of it when it is, later."""
    recorded = Recorded()
    RunTelemetry(recorded.telemetry(), "openai").run_changed(load(story.run("cancelled"), Run), None)
    assert recorded.tree() == []
