"""A run that is followed or streamed has one span, around all that is done for it."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from openai_runs.errors import RunDeadlineError, RunFailedError, TransportError
from openai_runs.events import StatusChanged
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.following.story import COMPLETED, CREATED, EMPTY, Counting, Story, delta, framed, leg, run, stream
from tests.following.test_stream_lifetimes import goes_on
from tests.following.test_streaming import cuts, legs_of, rounds
from tests.recorded import Recorded
from tests.stub import Stub, reply
from tests.weather import QUICK, WEATHER

pytestmark = pytest.mark.anyio


async def with_a_tool(recorded: Recorded, toolbox: Toolbox, server: LocalServer, *, streamed: bool) -> None:
    async with server.session() as session:
        assistant = await session.assistants.create(model="scripted", tools=[WEATHER])
        thread = await session.threads.create(messages=[{"role": "user", "content": "How is it in Oslo?"}])
    async with server.session(telemetry=recorded.telemetry()) as session:
        if streamed:
            async with session.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox) as events:
                await events.until_done()
        else:
            run = await session.runs.create(thread.id, assistant_id=assistant.id)
            await session.runs.complete(run, toolbox=toolbox, polling=QUICK)


async def test_streamed(server: LocalServer, toolbox: Toolbox) -> None:
    """All from the creation to the end: requests and tool calls are its children."""
    recorded = Recorded()
    await with_a_tool(recorded, toolbox, server, streamed=True)
    assert recorded.tree() == ["invoke_agent", "  POST", "  execute_tool get_weather", "  POST"]
    span = recorded.one("invoke_agent")
    attributes = dict(span.attributes or {})
    assert (span.kind, span.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    assert attributes["openai_runs.run.status"] == "completed"
    assert attributes["gen_ai.agent.id"].startswith("asst_")
    assert attributes["gen_ai.conversation.id"].startswith("thread_")
    assert attributes["gen_ai.usage.output_tokens"] > 0
    ((measured, point),) = recorded.measured("gen_ai.client.operation.duration")
    assert point.count == 1
    assert measured == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "server.address": attributes["server.address"],
        "server.port": attributes["server.port"],
    }
    tokens = {
        points["gen_ai.token.type"]: point.sum for points, point in recorded.measured("gen_ai.client.token.usage")
    }
    assert tokens == {
        "input": attributes["gen_ai.usage.input_tokens"],
        "output": attributes["gen_ai.usage.output_tokens"],
    }


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_name_of_the_assistant(server: LocalServer, streamed: bool) -> None:
    """It is known if the session has seen the assistant; the run itself has the ID alone."""
    recorded = Recorded()
    async with server.session(telemetry=recorded.telemetry()) as session:
        created = await session.assistants.create(model="scripted", name="Guide")
        thread = await session.threads.create()
        if streamed:
            async with session.runs.stream(thread.id, assistant_id=created.id) as events:
                await events.until_done()
        else:
            run = await session.runs.create(thread.id, assistant_id=created.id)
            await session.runs.complete(run, polling=QUICK)
        attributes = recorded.attributes("invoke_agent Guide")[0]
        assert (attributes["gen_ai.agent.name"], attributes["gen_ai.agent.id"]) == ("Guide", created.id)
        await session.assistants.update(created.id, name=None)
        await session.runs.complete(await session.runs.create(thread.id, assistant_id=created.id), polling=QUICK)
        assert "gen_ai.agent.name" not in recorded.attributes("invoke_agent")[0]
        await session.assistants.update(created.id, name="Leader")
    async with server.session(telemetry=recorded.telemetry()) as session:
        await session.assistants.retrieve(created.id)
        await session.runs.complete(await session.runs.create(thread.id, assistant_id=created.id), polling=QUICK)
        assert len(recorded.attributes("invoke_agent Leader")) == 1


async def test_polled(server: LocalServer, toolbox: Toolbox) -> None:
    """The same for a run that is followed; the request that has created it came before."""
    recorded = Recorded()
    await with_a_tool(recorded, toolbox, server, streamed=False)
    tree = recorded.tree()
    assert tree[:2] == ["POST", "invoke_agent"]
    assert [line for line in tree[2:] if line != "  GET"] == ["  execute_tool get_weather", "  POST"]


async def test_a_broken_stream() -> None:
    """The polls that take over are its children, too, and there is one span however often the connection breaks."""
    recorded = Recorded()
    async with (
        Stub(Story([leg(0, ["a", "b"], [])], [0.5])) as stub,
        stub.session(telemetry=recorded.telemetry()) as session,
        session.runs.stream("thread_1", assistant_id="asst_1", polling=QUICK) as events,
    ):
        await events.until_done()
    assert recorded.tree() == ["invoke_agent", "  POST", *["  GET"] * (len(stub.requests) - 1)]
    assert recorded.attributes("invoke_agent")[0]["openai_runs.run.status"] == "completed"


async def test_a_failed_run() -> None:
    """Its code is the kind of the error; the message is not recorded."""
    recorded = Recorded()
    failed = run("failed", last_error={"code": "rate_limit_exceeded", "message": "secret"})
    async with Stub(reply(failed)) as stub, stub.session(telemetry=recorded.telemetry()) as session:
        with pytest.raises(RunFailedError):
            await session.runs.complete(thread_id="thread_1", run_id="run_1")
    assert recorded.status("invoke_agent").status_code is StatusCode.ERROR
    assert recorded.attributes("invoke_agent")[0]["error.type"] == "rate_limit_exceeded"
    assert "secret" not in str(recorded.attributes("invoke_agent"))
    assert recorded.measured("gen_ai.client.operation.duration")[0][0]["error.type"] == "rate_limit_exceeded"


async def test_no_run() -> None:
    """An error before there is a run ends the span with its kind."""
    recorded = Recorded()
    async with Stub() as stub:
        pass
    async with stub.session(telemetry=recorded.telemetry(), max_retries=0) as session:
        with pytest.raises(TransportError):
            await session.runs.complete(thread_id="thread_1", run_id="run_1")
    assert recorded.attributes("invoke_agent")[0]["error.type"] == "openai_runs.errors.TransportError"


async def test_a_deadline() -> None:
    """The run goes on; the span ends with the error, and with the run's latest status. The last look is in it."""
    recorded = Recorded()
    async with (
        Stub(*[reply(run("in_progress", usage=None))] * 9) as stub,
        stub.session(telemetry=recorded.telemetry()) as session,
    ):
        with pytest.raises(RunDeadlineError):
            await session.runs.complete(thread_id="thread_1", run_id="run_1", deadline=0.01, polling=QUICK)
    attributes = recorded.attributes("invoke_agent")[0]
    assert attributes["openai_runs.run.status"] == "in_progress"
    assert attributes["error.type"] == "openai_runs.errors.RunDeadlineError"
    assert {line[:2] for line in recorded.tree()[1:]} == {"  "}


async def test_leaving_early() -> None:
    """Who leaves a stream ends its span, without an error."""
    recorded = Recorded()
    async with (
        Stub(goes_on(*framed(CREATED, delta("msg_0", "a")))) as stub,
        stub.session(telemetry=recorded.telemetry()) as session,
        session.runs.stream("thread_1", assistant_id="asst_1") as events,
    ):
        async for event in events:
            assert isinstance(event, StatusChanged)
            assert not trace.get_current_span().get_span_context().is_valid
            break
    assert recorded.status("invoke_agent").status_code is StatusCode.UNSET
    assert recorded.attributes("invoke_agent")[0]["openai_runs.run.status"] == "queued"


async def test_leaving_a_loop() -> None:
    """Who leaves `follow` ends its span when the iterator is closed, also in another task than the one that began."""
    recorded = Recorded()
    async with Stub(*[reply(run("in_progress"))] * 3) as stub, stub.session(telemetry=recorded.telemetry()) as session:
        following = session.runs.follow(thread_id="thread_1", run_id="run_1", polling=QUICK)
        async for _ in following:
            break
        await asyncio.create_task(following.aclose())  # type: ignore[arg-type]
    assert recorded.tree() == ["invoke_agent", "  GET"]
    assert recorded.status("invoke_agent").status_code is StatusCode.UNSET


async def test_cancellation() -> None:
    """A task that is cancelled while it follows ends the span, and what it sends to cancel the run is in it."""
    recorded = Recorded()
    polled, cancelled = reply(run("in_progress")), reply(run("cancelling"))

    def answer(request: Any) -> Any:
        return cancelled if request.path.endswith("/cancel") else polled

    async with Stub(answer) as stub, stub.session(telemetry=recorded.telemetry()) as session:
        following = session.runs.complete(thread_id="thread_1", run_id="run_1", on_exit="cancel", polling=QUICK)
        task = asyncio.create_task(following)
        await stub.requested(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (recorded.tree()[0], recorded.tree()[-1]) == ("invoke_agent", "  POST")
    assert recorded.attributes("invoke_agent")[0]["openai_runs.run.status"] == "cancelling"


async def test_nothing_is_current_between_events(server: LocalServer, toolbox: Toolbox) -> None:
    """A caller's own spans keep their place, in the task that iterates and in any other that goes on with it."""
    recorded = Recorded()
    own = recorded.tracers.get_tracer("own")
    async with (
        Stub(stream(*framed(CREATED, delta("msg_0", "a"), COMPLETED)), EMPTY) as stub,
        stub.session(telemetry=recorded.telemetry()) as session,
        session.runs.stream("thread_1", assistant_id="asst_1") as events,
    ):
        iterator = aiter(events)
        await anext(iterator)
        with own.start_as_current_span("first"):
            await asyncio.create_task(anext(iterator))  # type: ignore[arg-type]
            own.start_span("second").end()
        async for _ in iterator:
            own.start_span("third").end()
    tree = recorded.tree()
    assert tree == ["invoke_agent", "  POST", "first", "  second", *["third"] * tree.count("third")]


@pytest.mark.unmeasured
@given(rounds, cuts, st.booleans(), st.integers(1, 12))
async def test_no_span_is_left(told: Any, cuts: Any, streamed: bool, stop_after: int) -> None:
    """Wherever the connection breaks, and the task is cancelled, all spans end below one, and none is current."""
    recorded = Recorded()

    async def follow(session: Session) -> None:
        options: Any = {"toolbox": Counting(), "polling": QUICK}
        if streamed:
            async with session.runs.stream("thread_1", assistant_id="asst_1", **options) as events:
                async for _ in events:
                    pass
        else:
            async with aclosing(session.runs.follow(thread_id="thread_1", run_id="run_1", **options)) as polled:
                async for _ in polled:
                    pass

    async with Stub(Story(legs_of(told), cuts)) as stub, stub.session(telemetry=recorded.telemetry()) as session:
        if not streamed:
            await session.runs.create("thread_1", assistant_id="asst_1")
        task = asyncio.create_task(follow(session))
        enough = asyncio.create_task(stub.requested(stop_after))
        await asyncio.wait((task, enough), return_when=asyncio.FIRST_COMPLETED)
        for each in task, enough:
            each.cancel()
        await asyncio.wait((task, enough))
    roots = [line for line in recorded.tree() if not line.startswith(" ")]
    assert [line for line in roots if line != "POST"] == ["invoke_agent"] * (len(roots) - (not streamed))
