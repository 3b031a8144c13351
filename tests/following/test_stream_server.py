"""Streams from a real server, directly and over connections that break."""

import random
from typing import Any

import pytest

from openai_runs.backends.scripted import Call, Fail, Say, ScriptedBackend
from openai_runs.errors import RunActionRequiredError
from openai_runs.events import (
    ActionRequired,
    PollingTookOver,
    RunEnded,
    StatusChanged,
    ThreadCreated,
    ToolOutputsSubmitted,
)
from openai_runs.models.assistant import Assistant
from openai_runs.models.thread import Thread
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.following.test_streaming import text_of
from tests.proxy import Cut, Proxy
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

ROUND = ["queued", "in_progress", "requires_action"]


def script(*turns: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("backend", [ScriptedBackend(turns)], ids=["scripted"])


def statuses(events: list[Any]) -> list[str]:
    return [event.status for event in events if isinstance(event, StatusChanged)]


def words(start: int, stop: int) -> str:
    return " ".join(map(str, range(start, stop)))


@script([Say("Let me see."), Call("get_weather", {"city": "Oslo"})], Say("It is sunny."))
async def test_a_tool_round(session: Session, assistant: Assistant, thread: Thread, toolbox: Toolbox) -> None:
    """One iterator through a tool round, over several connections; the merged messages equal the server's."""
    async with session.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox) as events:
        seen = [event async for event in events]
        assert statuses(seen) == [*ROUND, "queued", "in_progress", "completed"]
        assert sum(isinstance(event, ToolOutputsSubmitted) for event in seen) == 1
        assert not any(isinstance(event, PollingTookOver) for event in seen)
        assert list(text_of(seen).values()) == ["Let me see.", "It is sunny."]
        run = events.run
        messages = [message async for message in session.messages.list(thread.id, run_id=run.id, order="asc")]
        assert events.messages == tuple(messages)
        steps = [step async for step in session.run_steps.list(thread_id=thread.id, run_id=run.id, order="asc")]
        assert events.steps == tuple(steps)


@script(Call("get_weather", {"city": "Oslo"}), Say("It is sunny."))
async def test_by_hand(session: Session, assistant: Assistant, thread: Thread, toolbox: Toolbox) -> None:
    """Without a toolbox, one stream ends and the next one continues."""
    async with session.threads.stream_run(assistant_id=assistant.id) as first:
        seen = [event async for event in first]
    assert isinstance(seen[0], ThreadCreated)
    outputs = await toolbox.answer(seen[-1].tool_calls)
    async with session.runs.stream_tool_outputs(first.run, outputs) as second:
        assert "".join([text async for text in second.text_deltas()]) == "It is sunny."
        assert (await second.until_done()).status == "completed"


@script(Call("get_weather", {"city": "Oslo"}))
@pytest.mark.parametrize("is_new_thread", [False, True])
@pytest.mark.parametrize("is_habit", [False, True])
async def test_a_toolbox_as_tools_only(
    session: Session,
    assistant: Assistant,
    thread: Thread,
    toolbox: Toolbox,
    caplog: pytest.LogCaptureFixture,
    is_new_thread: bool,
    is_habit: bool,
) -> None:
    """Whoever expects it to answer calls is told once what to write; who passes definitions reads no such line."""
    tools = toolbox if is_habit else toolbox.tools
    if is_new_thread:
        stream = session.threads.stream_run(assistant_id=assistant.id, tools=tools)
    else:
        stream = session.runs.stream(thread.id, assistant_id=assistant.id, tools=tools)
    async with stream as events:
        *_, last = [event async for event in events]
        assert isinstance(last, ActionRequired)
        with pytest.raises(RunActionRequiredError):
            await events.until_done()
    told = [record.getMessage() for record in caplog.records if record.name == "openai_runs.following"]
    assert len(told) == is_habit
    assert all(events.run.id in line and "pass the Toolbox as toolbox=…, too" in line for line in told)


@script(Fail("rate_limit_exceeded", "slowly"))
async def test_a_failure(session: Session, assistant: Assistant, thread: Thread) -> None:
    """A run that fails ends the stream."""
    async with session.runs.stream(thread.id, assistant_id=assistant.id) as events:
        *_, last = [event async for event in events]
    assert isinstance(last, RunEnded)
    assert last.run.last_error.code == "rate_limit_exceeded"


@pytest.mark.unmeasured
@script(
    [Say(words(0, 2500)), Call("get_weather", {"city": "Oslo"})],
    [Say(words(2500, 5000)), Call("get_weather", {"city": "Rome"})],
    [Say(words(5000, 7500)), Call("get_weather", {"city": "Bonn"})],
    Say(words(7500, 10_000)),
)
@pytest.mark.parametrize("seed", range(4))
async def test_twenty_cuts(
    server: LocalServer, session: Session, assistant: Assistant, thread: Thread, seed: int
) -> None:
    """Three tool rounds, ten thousand pieces of text, and twenty connections that break at random: nothing is lost."""
    toolbox, called = Toolbox(on_error="raise"), []

    @toolbox.tool
    async def get_weather(city: str) -> str:
        called.append(city)
        return f"sunny in {city}"

    dice = random.Random(seed)
    # Within a stream, or (four times as often) within the answer to a poll, a submission or a list.
    later = [dice.randrange(*dice.choices(((0, 900), (3000, 30_000)), (4, 1))[0]) for _ in range(60)]
    cuts = iter([dice.randrange(3000, 30_000), *later])
    async with (
        Proxy(server.url, lambda *_: (at := next(cuts, None)) and Cut(at)) as proxy,
        proxy.session() as shaky,
        shaky.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox, polling=QUICK) as events,
    ):
        seen = [event async for event in events]
    assert proxy.cuts >= 20
    assert list(text_of(seen).values()) == [words(start, start + 2500) for start in range(0, 10_000, 2500)]
    assert called == ["Oslo", "Rome", "Bonn"]
    assert len([run async for run in session.runs.list(thread.id)]) == 1
    # Polls may come too late for a status; none is reported twice, or in another order.
    every = iter([*ROUND * 3, "queued", "in_progress", "completed"])
    assert all(status in every for status in statuses(seen))
    assert events.run.status == "completed"
