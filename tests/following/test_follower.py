"""`runs.follow` and `runs.complete`: every event once, and nothing left behind when following stops early."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Literal

import anyio
import pytest

from openai_runs._wire import load
from openai_runs.backends.scripted import Call, Fail, Say, ScriptedBackend, Stop, Wait
from openai_runs.engine.clock import ManualClock
from openai_runs.errors import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    RunActionRequiredError,
    RunCancelledError,
    RunDeadlineError,
    RunExpiredError,
    RunFailedError,
    RunIncompleteError,
    RunStuckError,
    ServerError,
    ToolError,
    TransportError,
)
from openai_runs.events import ActionRequired, RunEnded, StatusChanged, ToolOutputsSubmitted
from openai_runs.following.polling import Polling
from openai_runs.models.assistant import Assistant
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.tool import ToolOutput
from openai_runs.pacing.pace import Taken, Turn
from openai_runs.pacing.rate_limits import RateLimits
from openai_runs.pacing.turns import Turns
from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.samples import EXAMPLES
from tests.stub import CUT, NEVER, Reply, Request, Stub, error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())


def seen(status: str, *calls: str, hint: str | None = None, arguments: str = "{}") -> Reply:
    """The run in a status, with these calls waiting."""
    waiting = [
        {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}} for id in calls
    ]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": waiting}} if calls else None
    headers = {} if hint is None else {"openai_poll_after_ms": hint}
    return reply(RUN | {"status": status, "required_action": action}, 200, **headers)


class World:
    """A server with a model that the test scripts, and a run on it."""

    def __init__(self, server: LocalServer, session: Session, assistant: Assistant, thread: Thread) -> None:
        self.server, self.session, self.assistant, self.thread = server, session, assistant, thread

    async def start(self, **params: Any) -> Run:
        thread = await self.session.threads.create(messages=[{"role": "user", "content": "How is the weather?"}])
        return await self.session.runs.create(thread.id, assistant_id=self.assistant.id, **params)

    async def until(self, run: Run, status: str) -> Run:
        async with aclosing(self.session.runs.follow(run, polling=QUICK)) as events:
            async for event in events:
                if event.run.status == status:
                    return event.run
        raise AssertionError(f"it ended {event.run.status}")

    async def now(self, run: Run) -> str:
        return (await self.session.runs.retrieve(run)).status


@pytest.fixture
def world(server: LocalServer, session: Session, assistant: Assistant, thread: Thread) -> World:
    return World(server, session, assistant, thread)


def script(*turns: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("backend", [ScriptedBackend(turns)], ids=["scripted"])


class TestStories:
    @script(Call("get_weather", {"city": "Oslo"}), [Call("get_weather", {"city": "Rome"}), Say("and")], Say("Sunny."))
    async def test_several_rounds(self, world: World, toolbox: Toolbox) -> None:
        """Each change is reported once, tool calls are answered in between, and the end comes last."""
        run = await world.start()
        events = [event async for event in world.session.runs.follow(run, toolbox=toolbox, polling=QUICK)]
        assert [type(event) for event in events if type(event) is not StatusChanged] == [
            *[ActionRequired, ToolOutputsSubmitted] * 2,
            RunEnded,
        ]
        submitted = [event for event in events if isinstance(event, ToolOutputsSubmitted)]
        assert [event.outputs[0].output for event in submitted] == ["sunny in Oslo", "sunny in Rome"]
        changes = [event for event in events if isinstance(event, StatusChanged)]
        assert [event.previous for event in changes] == [None, *(event.status for event in changes[:-1])]
        assert (changes[0].status, changes[-1].status) == ("queued", "completed")
        steps = [step async for step in world.session.run_steps.list(thread_id=run.thread_id, run_id=run.id)]
        assert sum(step.type == "tool_calls" for step in steps) == 2

    async def test_the_caller_answers(self, world: World) -> None:
        """Without a toolbox the loop's body submits outputs, and the iteration continues."""
        run = await world.start()
        statuses = []
        async for event in world.session.runs.follow(run, polling=QUICK):
            statuses.append(event.status)
            if isinstance(event, ActionRequired):
                outputs = [ToolOutput(tool_call_id=call.id, output="rain") for call in event.tool_calls]
                await world.session.runs.submit_tool_outputs(event.run, outputs)
        assert statuses.count("requires_action") == 1
        assert statuses[-1] == "completed"

    async def test_reattach(self, world: World, toolbox: Toolbox) -> None:
        """A run is followed from its two IDs or from any older snapshot, also by another session."""
        run = await world.start()
        await world.until(run, "requires_action")
        async with world.server.session() as other:
            done = await other.runs.complete(thread_id=run.thread_id, run_id=run.id, toolbox=toolbox, polling=QUICK)
        assert done.status == "completed"
        assert [event async for event in world.session.runs.follow(done)] == [RunEnded(done, None)]
        assert await world.session.runs.complete(run, polling=QUICK) == done

    async def test_an_unknown_status(self) -> None:
        """An unknown status is reported, not fatal."""
        story = seen("queued"), seen("paused"), seen("paused"), seen("completed")
        async with Stub(*story) as stub, stub.session() as session:
            events = [event async for event in session.runs.follow(thread_id="thread_1", run_id="run_1", polling=QUICK)]
        assert [event.status for event in events] == ["queued", "paused", "completed"]

    async def test_unknown_calls(self) -> None:
        """A tool call of an unknown type cannot be answered, and is not ignored either."""
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [{"id": "c", "type": "mcp"}]}}
        waiting = reply(RUN | {"status": "requires_action", "required_action": action})
        async with Stub(waiting) as stub, stub.session() as session:
            with pytest.raises(
                RunActionRequiredError, match="requires outputs of an unknown tool, 'mcp': no toolbox can"
            ):
                await session.runs.complete(thread_id="thread_1", run_id="run_1")

    async def test_no_such_run(self, world: World) -> None:
        """A run that does not exist, or no longer, raises NotFoundError at once."""
        with pytest.raises(NotFoundError):
            await world.session.runs.complete(thread_id=world.thread.id, run_id="run_none")

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"deadline": -1}, ValueError, "deadline must be at least 0 seconds: got -1"),
            ({"deadline": float("nan")}, ValueError, "deadline must be at least 0 seconds: got nan"),
            ({"deadline": "60"}, TypeError, "deadline must be a number of seconds or None: got '60'"),
            ({"on_exit": "stop"}, ValueError, "on_exit must be 'leave' or 'cancel': got 'stop'"),
            ({"timeout": 5}, TypeError, "unknown parameter 'timeout'"),
            ({"polling": 5}, TypeError, "polling must be a Polling: got 5"),
            ({"toolbox": [print]}, TypeError, r"toolbox must be a Toolbox: got \[<built-in"),
        ],
    )
    async def test_wrong_arguments(self, options: dict[str, Any], error: type[Exception], text: str) -> None:
        """Invalid options are refused by the call itself."""
        async with Stub() as stub, stub.session() as session:
            with pytest.raises(error, match=text):
                session.runs.follow(thread_id="thread_1", run_id="run_1", **options)


class TestOutcomes:
    """`follow` reports, `complete` raises: one error class per reason, with the run as an attribute."""

    @script(Fail("rate_limit_exceeded", "Too much."))
    async def test_failed(self, world: World) -> None:
        run = await world.start()
        with pytest.raises(
            RunFailedError, match=f"run {run.id} on {run.thread_id} ended failed: rate_limit_exceeded: T"
        ):
            await world.session.runs.complete(run, polling=QUICK)
        events = [event async for event in world.session.runs.follow(run, polling=QUICK)]
        assert isinstance(events[-1], RunEnded)
        assert events[-1].run.last_error.message == "Too much."

    @script([Say("a b c"), Stop("max_tokens")])
    async def test_incomplete(self, world: World) -> None:
        run = await world.start()
        with pytest.raises(RunIncompleteError, match="max_completion_tokens") as caught:
            await world.session.runs.complete(run, polling=QUICK)
        assert caught.value.run.status == "incomplete"

    @script(Wait())
    async def test_cancelled(self, world: World) -> None:
        run = await world.until(await world.start(), "in_progress")
        await world.session.runs.cancel(run)
        with pytest.raises(RunCancelledError) as caught:
            await world.session.runs.complete(run, polling=QUICK)
        assert caught.value.run.status == "cancelled"

    async def test_expired(self, toolbox: Toolbox) -> None:
        clock = ManualClock()
        async with LocalServer(clock=clock) as server, server.session() as session:
            assistant = await session.assistants.create(model="scripted", tools=toolbox.tools)
            run = await session.threads.create_and_run(assistant_id=assistant.id)
            async for event in session.runs.follow(run, polling=QUICK):
                if event.status == "requires_action":
                    clock.advance(601)
            with pytest.raises(RunExpiredError, match="did not end before expires_at") as caught:
                await session.runs.complete(run, polling=QUICK)
        assert caught.value.run.status == "expired"

    async def test_action_required(self, world: World) -> None:
        """Without a toolbox, complete() names the tools whose outputs are required, and says what to do."""
        run = await world.start()
        with pytest.raises(
            RunActionRequiredError, match=r"requires outputs of get_weather: pass a toolbox, or use "
        ) as caught:
            await world.session.runs.complete(run, polling=QUICK)
        assert caught.value.run.status == "requires_action"
        assert await world.now(run) == "requires_action"


@pytest.fixture
def counted() -> Toolbox:
    """A tool that says how often it was called."""
    toolbox, times = Toolbox(), 0

    @toolbox.tool
    async def get_weather() -> int:
        nonlocal times
        times += 1
        return times

    return toolbox


def submitted(stub: Stub) -> list[str]:
    """The outputs that were submitted, in their order."""
    return [
        output["output"]
        for request in stub.requests
        if request.path.endswith("/submit_tool_outputs")
        for output in request.json["tool_outputs"]
    ]


class TestTools:
    async def test_a_tool_that_fails(self, world: World) -> None:
        """With on_error="raise", a failing tool ends following; the run is left running."""
        toolbox = Toolbox(on_error="raise")

        @toolbox.tool
        async def get_weather(city: str) -> str:
            raise LookupError(city)

        run = await world.start()
        with pytest.raises(ToolError, match="get_weather") as caught:
            await world.session.runs.complete(run, toolbox=toolbox, polling=QUICK)
        assert isinstance(caught.value.__cause__, LookupError)
        assert await world.now(run) == "requires_action"

    async def test_ended_while_the_tool_worked(self, world: World) -> None:
        """Outputs that come after the run's end are no error: RunEnded is reported."""
        toolbox = Toolbox()
        run = await world.start()

        @toolbox.tool
        async def get_weather(city: str) -> str:
            await world.session.runs.cancel(run)
            await world.until(run, "cancelled")
            return city

        events = [event async for event in world.session.runs.follow(run, toolbox=toolbox, polling=QUICK)]
        assert [type(event) for event in events[-2:]] == [ActionRequired, RunEnded]
        assert events[-1].status == "cancelled"

    async def test_answered_by_somebody_else(self, world: World) -> None:
        """If another follower has submitted the outputs, following continues."""
        toolbox = Toolbox()
        run = await world.start()

        @toolbox.tool
        async def get_weather(city: str) -> str:
            waiting = await world.session.runs.retrieve(run)
            outputs = [ToolOutput(tool_call_id=call.id, output="mine") for call in waiting.pending_tool_calls]
            await world.session.runs.submit_tool_outputs(run, outputs)
            return "late"

        events = [event async for event in world.session.runs.follow(run, toolbox=toolbox, polling=QUICK)]
        assert not any(isinstance(event, ToolOutputsSubmitted) for event in events)
        assert events[-1].status == "completed"

    async def test_outputs_that_are_refused(self, toolbox: Toolbox) -> None:
        """If the server refuses the outputs themselves, that error is raised."""
        waiting = seen("requires_action", "c1")
        async with Stub(waiting, error(400, "Output too long."), waiting) as stub, stub.session() as session:
            with pytest.raises(BadRequestError, match="Output too long"):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=Toolbox(), polling=QUICK)

    async def test_rounds_with_the_same_call_ids(self, counted: Toolbox) -> None:
        """Some servers count from call_0 in each round: the same question in a new round is a new call."""
        calls = seen("requires_action", "call_0")
        between = [seen("queued"), seen("in_progress")]  # the response to the submission, and a poll
        story = [calls, *between, calls, *between, calls, seen("queued"), seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=counted, polling=QUICK)
        assert submitted(stub) == ["1", "2", "3"]

    @pytest.mark.parametrize("way", ["follow", "complete"])
    async def test_rounds_with_the_same_call_ids_by_hand(self, counted: Toolbox, way: str) -> None:
        """The loop of the README does the same; and so does one that starts anew in each round."""
        calls = seen("requires_action", "call_0")
        between = [seen("in_progress")] if way == "follow" else []
        story = [calls, seen("queued"), *between, calls, seen("queued"), seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            if way == "follow":
                async for event in session.runs.follow(thread_id="thread_1", run_id="run_1", polling=QUICK):
                    if isinstance(event, ActionRequired):
                        outputs = await counted.answer(event.tool_calls)
                        await session.runs.submit_tool_outputs(event.run, outputs)
            else:
                for _ in range(2):
                    with pytest.raises(RunActionRequiredError) as caught:
                        await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK)
                    run = caught.value.run
                    await session.runs.submit_tool_outputs(run, await counted.answer(run.pending_tool_calls))
        assert submitted(stub) == ["1", "2"]

    async def test_a_round_of_an_earlier_follower(self, counted: Toolbox) -> None:
        """A follower that begins at a later round, with a snapshot that the caller has, asks anew as well."""
        calls = seen("requires_action", "call_0")
        story = [calls, seen("queued"), calls, calls, seen("queued"), seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            run = await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            await session.runs.submit_tool_outputs(run, await counted.answer(run.pending_tool_calls))
            run = await session.runs.retrieve(run)
            await session.runs.complete(run, toolbox=counted, polling=QUICK)
        assert submitted(stub) == ["1", "2"]

    async def test_answered_by_hand_first(self, counted: Toolbox) -> None:
        """Calls that were answered by hand and not submitted are not made again by `complete`."""
        calls = seen("requires_action", "call_0")
        async with Stub(calls, calls, seen("queued"), seen("completed")) as stub, stub.session() as session:
            run = await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            await counted.answer(run.pending_tool_calls)
            await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=counted, polling=QUICK)
        assert submitted(stub) == ["1"]

    async def test_several_followers(self, world: World) -> None:
        """Followers of one run with one toolbox make each call once, however late the others are."""
        toolbox, called = Toolbox(), []

        @toolbox.tool
        async def get_weather(city: str) -> str:
            called.append(city)
            return "sunny"

        async def follow(run: Run) -> None:
            done = await world.session.runs.complete(
                thread_id=run.thread_id, run_id=run.id, toolbox=toolbox, polling=QUICK
            )
            assert done.status == "completed"

        runs = [await world.start() for _ in range(10)]
        async with anyio.create_task_group() as group:
            for run in runs * 3:
                group.start_soon(follow, run)
        assert len(called) == len(runs)

    async def test_a_lost_submission(self, counted: Toolbox) -> None:
        """A submission that is repeated, by the follower or the next one, has the outputs of the first."""
        calls = seen("requires_action", "call_0")
        async with Stub(calls, CUT, error(400)) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(TransportError):
                await session.runs.complete(
                    thread_id="thread_1", run_id="run_1", toolbox=counted, polling=Polling(first=0.001, outage=0)
                )
        async with Stub(calls, CUT, calls, seen("queued"), seen("completed")) as again, again.session() as session:
            await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=counted, polling=QUICK)
        assert submitted(stub) + submitted(again) == ["1", "1", "1"]

    async def test_a_stale_replica_after_the_tool_has_run(self, counted: Toolbox) -> None:
        """A snapshot that may be stale gets the same outputs again: it does not make a tool run twice."""
        calls = seen("requires_action", "call_1")
        refused = error(400, "do not accept")
        story = [calls, seen("queued"), calls, refused, seen("in_progress"), seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=counted, polling=QUICK)
        assert submitted(stub) == ["1", "1"]

    async def test_a_stale_replica(self) -> None:
        """Following from a snapshot older than the submission does not fail on submitting the same outputs again."""
        calls = seen("requires_action", "c1")
        story = [calls, seen("queued"), calls, error(400, "do not accept"), seen("in_progress"), seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            done = await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=Toolbox(), polling=QUICK)
        assert done.status == "completed"
        assert [request.method for request in stub.requests] == ["GET", "POST", "GET", "POST", "GET", "GET"]


def answering() -> Toolbox:
    """Answers get_weather with the number of the call."""
    toolbox = Toolbox(on_error="raise")
    made: list[str] = []

    @toolbox.tool
    async def get_weather(city: str = "") -> str:
        made.append(city)
        return str(len(made))

    return toolbox


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events if type(event) is not StatusChanged]


IDS = {"thread_id": RUN["thread_id"], "run_id": RUN["id"]}
ROUND = ["ActionRequired", "ToolOutputsSubmitted"]


class TestRoundsWithTheSameIds:
    """Some endpoints count the IDs of calls from call_0 in each round."""

    async def follow(self, *story: Reply, methods: str, by_hand: bool = False) -> list[Any]:
        async with Stub(*story) as stub, stub.session() as session:
            events = []
            toolbox = None if by_hand else answering()
            async for event in session.runs.follow(**IDS, toolbox=toolbox, polling=QUICK):
                events.append(event)
                if by_hand and isinstance(event, ActionRequired):
                    outputs = [ToolOutput(tool_call_id=call.id, output="rain") for call in event.tool_calls]
                    await session.runs.submit_tool_outputs(event.run, outputs)
        assert "".join(request.method[0] for request in stub.requests) == methods
        assert isinstance(events[-1], RunEnded)
        return events

    @pytest.mark.parametrize("by_hand", [False, True])
    async def test_other_arguments(self, by_hand: bool) -> None:
        """Other arguments make another round, even if no status in between was seen."""
        rounds = [seen("requires_action", "call_0", arguments=f'{{"city": "{city}"}}') for city in ("Oslo", "Rome")]
        story = [rounds[0], seen("queued"), rounds[1], seen("queued"), seen("completed")]
        events = await self.follow(*story, methods="GPGPG", by_hand=by_hand)
        assert kinds(events) == [*([ROUND[0]] if by_hand else ROUND) * 2, "RunEnded"]
        if not by_hand:
            assert [event.outputs[0].output for event in events if isinstance(event, ToolOutputsSubmitted)] == [
                "1",
                "2",
            ]

    @pytest.mark.parametrize("by_hand", [False, True])
    async def test_a_status_in_between(self, by_hand: bool) -> None:
        """The very same calls make another round once the run has been seen without them."""
        calls = seen("requires_action", "call_0")
        story = [calls, seen("queued"), seen("in_progress"), calls, seen("queued"), seen("completed")]
        events = await self.follow(*story, methods="GPGGPG", by_hand=by_hand)
        assert kinds(events) == [*([ROUND[0]] if by_hand else ROUND) * 2, "RunEnded"]

    async def test_at_once(self) -> None:
        """The very same calls right after a submission: another round if the endpoint accepts the outputs again."""
        calls = seen("requires_action", "call_0")
        story = [calls, seen("queued"), calls, seen("queued"), seen("completed")]
        assert kinds(await self.follow(*story, methods="GPGPG")) == [*ROUND * 2, "RunEnded"]

    async def test_at_once_in_the_answer(self) -> None:
        """The same if the submission is answered with the next round."""
        calls = seen("requires_action", "call_0")
        story = [calls, calls, calls, seen("queued"), seen("completed")]
        assert kinds(await self.follow(*story, methods="GPGPG")) == [*ROUND * 2, "RunEnded"]

    async def test_a_stale_snapshot(self) -> None:
        """If it refuses them, the snapshot was stale: it is not reported, and no tool is called twice."""
        calls = seen("requires_action", "call_0")
        story = [calls, seen("queued"), calls, error(400, "no"), calls, seen("in_progress"), seen("completed")]
        events = await self.follow(*story, methods="GPGPGGG")
        assert kinds(events) == [*ROUND, "RunEnded"]
        changes = [event for event in events if isinstance(event, StatusChanged)]
        assert [event.previous for event in changes] == [None, *(event.status for event in changes[:-1])]

    async def test_a_stale_snapshot_by_hand(self) -> None:
        """The caller is not asked again for what a lagging replica still shows."""
        calls = seen("requires_action", "call_0")
        story = [calls, seen("queued"), calls, calls, seen("in_progress"), seen("completed")]
        events = await self.follow(*story, methods="GPGGGG", by_hand=True)
        assert [event.status for event in events] == ["requires_action", "in_progress", "completed"]

    async def test_calls_that_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The caller is asked again for the very same calls if the run goes on waiting for them."""
        record_sleeps(monkeypatch, move=True)
        submissions = 0

        def answer(request: Request) -> Reply:
            nonlocal submissions
            submissions += request.method == "POST"
            return seen("completed") if submissions == 2 else seen("requires_action", "call_0")

        async with Stub(answer) as stub, stub.session() as session:
            events = []
            async for event in session.runs.follow(**IDS, polling=Polling(first=0.5, longest=0.5)):
                events.append(event)
                if isinstance(event, ActionRequired):
                    await session.runs.submit_tool_outputs(event.run, [ToolOutput(tool_call_id="call_0", output="")])
        assert kinds(events) == ["ActionRequired", "ActionRequired", "RunEnded"]
        assert len(stub.requests) < 12

    async def test_not_answered_yet(self) -> None:
        """Calls that nobody has answered are reported once, however long they wait and however they are written."""
        story = [seen("requires_action", "call_0", arguments=text) for text in ('{"a":1,"b":2}', '{"b": 2, "a": 1}')]
        async with Stub(*story, story[0], seen("expired")) as stub, stub.session() as session:
            events = [event async for event in session.runs.follow(**IDS, polling=QUICK)]
        assert kinds(events) == ["ActionRequired", "RunEnded"]

    @pytest.mark.parametrize("by_hand", [False, True])
    async def test_a_lost_answer(self, by_hand: bool) -> None:
        """After a lost response, other calls under the same IDs show that the outputs were taken."""
        first, second = (seen("requires_action", "call_0", arguments=f'{{"city": "{city}"}}') for city in "AB")
        story = [first, CUT, second, *[second] * by_hand, seen("queued"), seen("completed")]
        events = await self.follow(*story, methods="GPGGPG" if by_hand else "GPGPG", by_hand=by_hand)
        assert kinds(events) == [*([ROUND[0]] if by_hand else ROUND) * 2, "RunEnded"]


APPROVAL = {"type": "submit_tool_approval", "submit_tool_approval": {"tool_calls": [{"id": "a", "type": "mcp"}]}}


class TestActionsWithoutFunctionCalls:
    @pytest.mark.parametrize(
        ("action", "words"),
        [
            (APPROVAL, "requires the action 'submit_tool_approval': no toolbox can answer that"),
            ({"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}, "and names no call"),
            ({"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [{"type": "mcp"}]}}, "tool, 'mcp'"),
            (None, "an action, and the endpoint does not say which"),
        ],
    )
    async def test_named(self, action: Any, words: str) -> None:
        """With a toolbox, an action that it cannot take is an error at once; without one, it is reported."""
        waiting = reply(RUN | {"status": "requires_action", "required_action": action})
        for options in ({}, {"toolbox": Toolbox()}):
            async with Stub(waiting) as stub, stub.session() as session:
                with pytest.raises(RunActionRequiredError, match=words) as caught:
                    await session.runs.complete(**IDS, polling=QUICK, **options)
            assert len(stub.requests) == 1
            assert caught.value.run.status == "requires_action"

    async def test_reported(self) -> None:
        """Each approval is reported once, with everything that the endpoint says of it."""
        waits = [
            reply(RUN | {"status": "requires_action", "required_action": APPROVAL | {"submit_tool_approval": [id]}})
            for id in ("a", "a", "b")
        ]
        async with Stub(*waits, seen("completed")) as stub, stub.session() as session:
            *actions, _ = [event async for event in session.runs.follow(**IDS, polling=QUICK)]
        assert [action.run.required_action.extra for action in actions] == [
            {"submit_tool_approval": ["a"]},
            {"submit_tool_approval": ["b"]},
        ]
        assert all(isinstance(action, ActionRequired) and action.tool_calls == () for action in actions)


class TestDeadline:
    @script(Wait())
    async def test_a_run_that_never_ends(self, world: World) -> None:
        """At the deadline, the error carries the run, which is left running."""
        run = await world.until(await world.start(), "in_progress")
        with pytest.raises(RunDeadlineError, match=r"did not end within the deadline of 0\.05 s") as caught:
            await world.session.runs.complete(run, deadline=0.05, polling=QUICK)
        assert caught.value.run.id == run.id
        assert isinstance(caught.value, TimeoutError)
        assert await world.now(run) == "in_progress"

    async def test_of_nothing(self) -> None:
        """With a deadline of 0, the caller's own snapshot is still reported, and the run is looked at once."""
        async with Stub(seen("queued"), seen("queued")) as stub, stub.session() as session:
            run = await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            async with aclosing(session.runs.follow(run, deadline=0)) as events:
                assert (await anext(events)).status == "queued"
                with pytest.raises(RunDeadlineError):
                    await anext(events)
        assert len(stub.requests) == 2

    @pytest.mark.parametrize("silent_from", [1, 2])
    async def test_silence(self, silent_from: int) -> None:
        """A request without a response is abandoned at the deadline."""
        last = error(503, connection="close")
        async with Stub(*[seen("queued")] * (silent_from - 1), NEVER, last) as stub, stub.session() as session:
            with pytest.raises(TransportError if silent_from == 1 else RunDeadlineError, match="deadline"):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", deadline=0.3, polling=QUICK)
            await stub.disconnected()

    async def test_in_a_tool(self, world: World) -> None:
        """A tool that is still running at the deadline is cancelled."""
        toolbox = Toolbox()
        ended = []

        @toolbox.tool
        async def get_weather(city: str) -> str:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(city)

        run = await world.until(await world.start(), "requires_action")
        with pytest.raises(RunDeadlineError, match=r"its latest status was requires_action$"):
            await world.session.runs.complete(run, toolbox=toolbox, deadline=0.3)
        assert len(ended) == 1

    async def test_without_a_toolbox(self, world: World) -> None:
        """The error says that the calls have no answer; where they have, it does not."""
        run = await world.until(await world.start(), "requires_action")
        with pytest.raises(RunDeadlineError, match=r"nobody has answered its tool calls: there is no toolbox$"):
            async for _ in world.session.runs.follow(run, deadline=0.1):
                pass

    async def test_a_wait_is_cut_short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Waiting for the next poll ends at the deadline."""
        waits = record_sleeps(monkeypatch)
        async with Stub(seen("queued", hint="3600000")) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", deadline=50.0)
        assert len(waits) == 1
        assert 40 < waits[0] <= 50

    @pytest.mark.parametrize("on_exit", ["leave", "cancel"])
    async def test_one_last_look(self, on_exit: Any) -> None:
        """A run that has completed when the deadline passes is completed, and is not cancelled."""
        story = [seen("queued"), NEVER, seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            done = await session.runs.complete(**IDS, deadline=0.5, polling=QUICK, on_exit=on_exit)
        assert done.status == "completed"
        assert len(stub.requests) == 3

    async def test_the_last_look_shows_the_latest(self) -> None:
        """The error has the snapshot of the last look."""
        async with Stub(seen("queued"), NEVER, seen("in_progress")) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError, match="its latest status was in_progress") as caught:
                await session.runs.complete(**IDS, deadline=0.5, polling=QUICK)
        assert caught.value.run.status == "in_progress"

    async def test_the_last_look_fails(self) -> None:
        """If the last look fails, the deadline's error is raised all the same, and says so; nothing is repeated."""
        async with Stub(seen("queued"), NEVER, error(503)) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.complete(**IDS, deadline=0.5, polling=QUICK)
        assert caught.value.__notes__[0].startswith("A last look at the run failed: GET /v1/threads")
        assert len(stub.requests) == 3

    async def test_what_follows_is_short(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The last look and the cancelling after it have a few seconds together."""
        monkeypatch.setattr("openai_runs.following.leaving._CANCEL_TIMEOUT", 0.5)
        async with Stub(seen("queued"), NEVER, NEVER, NEVER) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError):
                await session.runs.complete(**IDS, deadline=0.5, polling=QUICK, on_exit="cancel")
        assert [request.method for request in stub.requests] == ["GET", "GET", "GET", "POST"]
        assert "could not be cancelled within 0.5 s" in caplog.text

    async def test_of_a_deadline_that_is_kept(self, world: World, toolbox: Toolbox) -> None:
        """A run that ends before the deadline is returned."""
        run = await world.start()
        done = await world.session.runs.complete(run, toolbox=toolbox, deadline=100, polling=QUICK)
        assert done.status == "completed"


HINT = {"openai_poll_after_ms": "500000"}


class TestQueued:
    @script(Wait())
    async def test_stuck(self, assistant: Assistant, backend: ScriptedBackend) -> None:
        """Only a run that stays queued for too long is stuck, not one that is in progress for long."""
        async with LocalServer(backend=backend, max_active_runs=1) as server, server.session() as session:
            assistant = await session.assistants.create(model="scripted")
            busy = await session.threads.create_and_run(assistant_id=assistant.id)
            async for event in session.runs.follow(busy, polling=QUICK):
                if event.status == "in_progress":
                    break
            run = await session.threads.create_and_run(assistant_id=assistant.id)
            with pytest.raises(RunStuckError, match=r"has been queued for 0\.02 s: the endpoint is overl") as caught:
                await session.runs.complete(run, polling=Polling(first=0.001, longest=0.001, queued_timeout=0.02))
            assert caught.value.run.status == "queued"
            assert isinstance(caught.value, TimeoutError)

    @pytest.mark.parametrize(("window", "delay"), [("2h", 120.0), ("8h", 480.0)])
    async def test_a_run_that_has_hours(self, monkeypatch: pytest.MonkeyPatch, window: str, delay: float) -> None:
        """With a completion window no run is stuck, and the server's longer hints are obeyed."""
        waits = record_sleeps(monkeypatch, move=True)
        story = [
            reply(RUN | {"status": status, "required_action": None, "completion_window": window}, 200, **HINT)
            for status in ["queued"] * 70 + ["in_progress"] * 5 + ["completed"]
        ]
        async with Stub(*story) as stub, stub.session() as session:
            done = await session.runs.complete(
                thread_id="thread_1", run_id="run_1", polling=Polling(queued_timeout=600)
            )
        assert done.completion_window == window
        assert waits == [delay] * 75

    @pytest.mark.parametrize("most", [5.0, None])
    async def test_at_a_stretch(self, monkeypatch: pytest.MonkeyPatch, most: float | None) -> None:
        """Only the current period as queued counts, not the time of a tool, nor earlier periods."""
        clock = record_sleeps(monkeypatch, move=True)
        toolbox = Toolbox()

        @toolbox.tool
        async def get_weather() -> str:
            clock.append(100.0)
            return "sunny"

        polling = Polling(first=4, longest=4, queued_timeout=most)
        story = [
            seen("queued"),
            seen("queued"),
            seen("requires_action", "c1"),
            *[seen("queued")] * 2,
            seen("in_progress"),
            *[seen("in_progress")] * 10,
            seen("queued"),
            seen("queued"),
            seen("completed"),
        ]
        async with Stub(*story) as stub, stub.session() as session:
            done = await session.runs.complete(thread_id="thread_1", run_id="run_1", toolbox=toolbox, polling=polling)
        assert done.status == "completed"


def record_sleeps(monkeypatch: pytest.MonkeyPatch, *, move: bool = False) -> list[float]:
    """Replaces sleeping: records the delays, and can advance the clock by them."""
    waits: list[float] = []
    began = anyio.current_time()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("openai_runs.following.follower.anyio.sleep", sleep)
    if move:
        monkeypatch.setattr("openai_runs.following.follower.anyio.current_time", lambda: began + sum(waits))
    return waits


class TestPolling:
    async def test_adaptive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Delays are short after a change, and grow while nothing changes."""
        waits = record_sleeps(monkeypatch)
        story = [seen("queued")] * 3 + [seen("in_progress")] * 3 + [seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            await session.runs.complete(
                thread_id="thread_1", run_id="run_1", polling=Polling(first=1, factor=2, longest=3)
            )
        assert waits == [1, 2, 3, 1, 2, 3]

    async def test_a_hint_from_before_the_outputs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Once the caller has submitted outputs, the hint that came with the calls does not delay the next poll."""
        waits = record_sleeps(monkeypatch)
        story = [seen("requires_action", "c1", hint="5000"), seen("queued"), seen("in_progress"), seen("completed")]
        async with Stub(*story) as stub, stub.session() as session:
            async for event in session.runs.follow(**IDS, polling=Polling(first=1)):
                if isinstance(event, ActionRequired):
                    await session.runs.submit_tool_outputs(event.run, [ToolOutput(tool_call_id="c1", output="")])
        assert waits == [1, 1]

    async def test_the_hint_on_every_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only the latest response's hint counts: a retrieval's, or a submission's, also repeated or looked up."""
        waits = record_sleeps(monkeypatch)
        story = [
            seen("queued", hint="1000"),
            seen("queued", hint="2000"),
            seen("queued"),
            error(503),
            seen("in_progress", hint="4000"),
            seen("requires_action", "c1", hint="9000"),
            seen("in_progress", hint="5000"),  # answers the submission
            seen("requires_action", "c2", hint="9000"),
            CUT,
            seen("in_progress", hint="6000"),  # found by looking
            seen("completed"),
        ]
        async with Stub(*story) as stub, stub.session() as session:
            await session.runs.complete(
                thread_id="thread_1", run_id="run_1", toolbox=Toolbox(), polling=Polling(first=0.5, longest=0.5)
            )
        assert waits == [1, 2, 0.5, 4, 5, 6]

    async def test_an_outage_is_borne(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Polls and submissions that fail for a while are repeated, with growing delays."""
        waits = record_sleeps(monkeypatch)
        down = [error(503), seen("queued").cut(5), error(500), error(429), reply(b"<html>")]
        story = [
            seen("queued"),
            *down,
            seen("requires_action", "c1"),
            *[error(503), error(503), seen("requires_action", "c1")],
            seen("queued"),
            seen("completed"),
        ]
        async with Stub(*story) as stub, stub.session(max_retries=0) as session:
            done = await session.runs.complete(
                thread_id="thread_1", run_id="run_1", toolbox=Toolbox(), polling=Polling(first=1, factor=2, longest=4)
            )
        assert done.status == "completed"
        assert waits[:6] == [1, 1, 2, 4, 4, 4]
        assert "run run_1: the endpoint has been unreachable for" in caplog.text

    async def test_an_outage_that_lasts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last failure is raised once an outage lasts `Polling.outage` seconds; earlier outages do not count."""
        waits = record_sleeps(monkeypatch, move=True)
        story = [seen("queued"), error(500), error(500), error(500), seen("in_progress"), *[error(503)] * 9]
        polling = Polling(first=1, longest=1, outage=3)
        async with Stub(*story) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(ServerError, match="503"):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=polling)
        assert waits == [1] * (1 + 3 + 1 + 3)

    async def test_a_long_delay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that asks for more than two minutes does not end following: it is asked again within the outage."""
        waits = record_sleeps(monkeypatch, move=True)
        busy = error(429, retry_after="121")
        story = [seen("queued"), busy, seen("in_progress"), *[busy] * 9]
        async with Stub(*story) as stub, stub.session() as session:
            with pytest.raises(RateLimitError):
                await session.runs.complete(**IDS, polling=Polling(first=1, longest=1, outage=100), deadline=1000)
        assert waits == pytest.approx([1, 60, 1, 60, 40])

    async def test_a_tiny_hint(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server cannot make a follower poll without a pause."""
        waits = record_sleeps(monkeypatch)
        async with Stub(seen("queued", hint="0.001"), seen("completed")) as stub, stub.session() as session:
            await session.runs.complete(**IDS)
        assert waits == [0.02]

    async def test_an_outage_of_slow_failures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An outage counts from when the first request that failed was sent, its own time included."""
        clock = record_sleeps(monkeypatch, move=True)
        polls = 0

        def answer(_: Request) -> Reply:
            nonlocal polls
            polls += 1
            if polls == 1:
                return seen("queued")
            clock.append(50.0)  # what it takes to fail
            return error(503)

        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(ServerError):
                await session.runs.complete(**IDS, polling=Polling(first=1, longest=1, outage=60))
        assert polls == 3

    @pytest.mark.parametrize("answer", [error(401), error(404, "No run found with id 'run_1'."), reply([])])
    async def test_no_outage(self, answer: Reply) -> None:
        """A failure that is not transient is raised at once."""
        async with Stub(seen("queued"), answer) as stub, stub.session() as session:
            with pytest.raises(Exception, match=r"401|404|not a Run"):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK)
        assert len(stub.requests) == 2

    async def test_none_is_borne(self) -> None:
        """With an outage of 0, the first failure is raised."""
        async with Stub(seen("queued"), seen("queued").cut(5)) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(TransportError):
                await session.runs.complete(
                    thread_id="thread_1", run_id="run_1", polling=Polling(first=0.001, outage=0)
                )


Leave = Callable[[World, Run, str], Awaitable[None]]


async def at_a_deadline(world: World, run: Run, on_exit: Any) -> None:
    with pytest.raises(RunDeadlineError):
        await world.session.runs.complete(run, deadline=0.03, polling=QUICK, on_exit=on_exit)


async def cancelled(world: World, run: Run, on_exit: Any) -> None:
    task = asyncio.create_task(world.session.runs.complete(run, polling=QUICK, on_exit=on_exit))
    await world.session.runs.retrieve(run)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_break(world: World, run: Run, on_exit: Any) -> None:
    async with aclosing(
        world.session.runs.follow(thread_id=run.thread_id, run_id=run.id, polling=QUICK, on_exit=on_exit)
    ) as events:
        async for _ in events:
            break


async def by_an_error(world: World, run: Run, on_exit: Any) -> None:
    async def fail() -> None:
        async with aclosing(world.session.runs.follow(run, polling=QUICK, on_exit=on_exit)) as events:
            async for _ in events:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


class TestLeaving:
    @pytest.mark.parametrize("leave", [at_a_deadline, cancelled, by_break, by_an_error])
    @pytest.mark.parametrize("on_exit", ["leave", "cancel"])
    @script(Wait())
    async def test_what_becomes_of_the_run(self, world: World, leave: Leave, on_exit: str) -> None:
        """An unfinished run is left running or cancelled, as `on_exit` says, however following stops."""
        run = await world.until(await world.start(), "in_progress")
        await leave(world, run, on_exit)
        if on_exit == "cancel":
            await world.until(run, "cancelled")
        else:
            assert await world.now(run) == "in_progress"

    async def test_by_a_tools_failure(self, world: World) -> None:
        """`on_exit` also applies when a tool fails."""
        toolbox = Toolbox(on_error="raise")

        @toolbox.tool
        async def get_weather(city: str) -> str:
            raise LookupError(city)

        run = await world.start()
        with pytest.raises(ToolError):
            await world.session.runs.complete(run, toolbox=toolbox, polling=QUICK, on_exit="cancel")
        await world.until(run, "cancelled")

    async def test_a_run_that_has_ended(self, world: World, toolbox: Toolbox) -> None:
        """A run that has ended is not cancelled: no request is sent."""
        run = await world.session.runs.complete(await world.start(), toolbox=toolbox, polling=QUICK)
        async with Stub() as stub, stub.session() as session:
            assert await session.runs.complete(run, on_exit="cancel") == run
        assert stub.requests == []

    async def test_cancelling_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        """The caller gets the error that ended following; a failed cancellation is logged."""
        story = seen("in_progress"), error(401, "no"), error(403, "Cannot cancel")
        async with Stub(*story) as stub, stub.session() as session:
            with pytest.raises(AuthenticationError):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK, on_exit="cancel")
        assert stub.requests[-1].path.endswith("/cancel")
        assert "run run_1 could not be cancelled: POST /v1/threads" in caplog.text

    @pytest.mark.parametrize(("now", "is_logged"), [("completed", False), ("cancelling", False), ("in_progress", True)])
    async def test_cancelling_is_refused(self, caplog: pytest.LogCaptureFixture, now: str, is_logged: bool) -> None:
        """A run that has ended since its latest snapshot needs no cancelling and no warning."""
        story = seen("in_progress"), error(401, "no"), error(400, "Cannot cancel"), seen(now)
        async with Stub(*story) as stub, stub.session() as session:
            with pytest.raises(AuthenticationError):
                await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK, on_exit="cancel")
        assert len(stub.requests) == len(story)
        assert ("could not be cancelled" in caplog.text) is is_logged

    async def test_cancelling_takes_too_long(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Cancelling on exit has a timeout."""
        monkeypatch.setattr("openai_runs.following.leaving._CANCEL_TIMEOUT", 0.03)
        async with Stub(seen("in_progress"), NEVER, NEVER) as stub, stub.session() as session:
            task = asyncio.create_task(
                session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK, on_exit="cancel")
            )
            await stub.requested(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stub.disconnected()
        assert "run run_1 could not be cancelled within 0.03 s" in caplog.text

    async def test_cancelled_again(self) -> None:
        """What cancels the run is finished, even if the caller's task is cancelled again meanwhile."""
        task: asyncio.Task[Run]
        story = [seen("in_progress"), NEVER]

        def answer(request: Request) -> Reply:
            if not request.path.endswith("/cancel"):
                return story.pop(0)
            task.cancel()
            return error(409, "try again", retry_after_ms="1") if not cancels.append(1) and len(cancels) == 1 else done

        cancels: list[int] = []
        done = seen("cancelling")
        async with Stub(answer) as stub, stub.session() as session:
            task = asyncio.create_task(session.runs.complete(**IDS, polling=QUICK, on_exit="cancel"))
            await stub.requested(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(cancels) == 2

    @pytest.mark.parametrize("on_exit", ["leave", "cancel"])
    @pytest.mark.parametrize("hangs_at", range(1, 6))
    async def test_cancelled_anywhere(self, hangs_at: int, on_exit: Any) -> None:
        """Cancelled at any point, following leaves no task and no connection, and lets the cancellation through."""
        story = [
            seen("queued"),
            seen("requires_action", "c1"),
            seen("queued"),  # answers the submission
            seen("in_progress"),
            seen("completed"),
        ]
        story[hangs_at - 1] = NEVER
        before = asyncio.all_tasks()

        def answer(request: Request) -> Reply:
            return seen("cancelling") if request.path.endswith("/cancel") else story.pop(0)

        async with Stub(answer) as stub, stub.session() as session:
            task = asyncio.create_task(
                session.runs.complete(
                    thread_id="thread_1", run_id="run_1", toolbox=Toolbox(), polling=QUICK, on_exit=on_exit
                )
            )
            await stub.requested(hangs_at)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            cancels = sum(request.path.endswith("/cancel") for request in stub.requests)
            assert cancels == (on_exit == "cancel")
        await stub.disconnected()
        assert {task for task in asyncio.all_tasks() - before if "Stub" not in repr(task)} == set()

    async def test_cancelled_in_a_wait(self) -> None:
        """Between two polls no connection is held."""
        async with Stub(seen("queued")) as stub, stub.session() as session:
            with anyio.move_on_after(0.05) as scope:
                await session.runs.complete(
                    thread_id="thread_1", run_id="run_1", polling=Polling(first=100, longest=100)
                )
        assert scope.cancelled_caught

    async def test_dropped(self) -> None:
        """An iterator that is dropped without closing holds no connection either."""
        async with Stub(seen("queued"), seen("queued")) as stub, stub.session() as session:
            async for _ in session.runs.follow(thread_id="thread_1", run_id="run_1"):
                break
            assert (await session.runs.retrieve(thread_id="thread_1", run_id="run_1")).status == "queued"
            assert stub.connections == 1


@pytest.mark.unmeasured
@pytest.mark.timeout(180)
async def test_hundreds_of_runs() -> None:
    """300 runs with tool calls, followed at once in one session: all complete, nothing is left behind."""
    made = 0
    toolbox = Toolbox(on_error="raise")

    @toolbox.tool
    async def get_weather(city: str) -> str:
        nonlocal made
        made += 1
        return f"sunny in {city}"

    done: list[Run] = []
    before = asyncio.all_tasks()
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="scripted", tools=toolbox.tools)

        async def one() -> None:
            run = await session.threads.create_and_run(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "How is the weather?"}]}
            )
            done.append(await session.runs.complete(run, toolbox=toolbox))

        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(one)
    assert [run.status for run in done] == ["completed"] * 300
    assert len({run.id for run in done}) == made == 300
    assert asyncio.all_tasks() == before


async def test_polls_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each poll waits for the session's turn, also the first one, and says whether the server has named its time.

    One that is not idle does not ask for a turn that nothing limits.
    """
    taken, take = [], Turns.take

    async def recorded(turns: Turns, turn: Turn) -> Taken:
        taken.append(turn)
        return await take(turns, turn)

    monkeypatch.setattr(Turns, "take", recorded)
    story = [seen("queued"), seen("queued"), seen("queued", hint="20"), seen("queued"), seen("completed")]
    async with Stub(*story, *story) as stub:
        async with stub.session(rate_limits=RateLimits(polls_per_second=10_000)) as session:
            await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK)
        assert taken == [Turn.IDLE_POLL, Turn.POLL, Turn.IDLE_POLL, Turn.POLL, Turn.IDLE_POLL]
        taken.clear()
        async with stub.session() as session:
            await session.runs.complete(thread_id="thread_1", run_id="run_1", polling=QUICK)
        assert taken == [Turn.IDLE_POLL] * 3


async def test_polls_wait_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll is not begun before it has one of the session's places, which it gives back, also if it fails."""
    asked = asyncio.Event()

    class Room(asyncio.Semaphore):
        async def acquire(self) -> Literal[True]:
            asked.set()
            return await super().acquire()

    run, room = load(json.dumps(RUN | {"status": "queued"}), Run), Room(0)
    async with Stub(seen("completed"), error(404)) as stub, stub.session() as session:
        monkeypatch.setattr(session.runs, "_room", room)
        completing = asyncio.create_task(session.runs.complete(run, polling=QUICK))
        await asked.wait()
        assert stub.requests == []
        room.release()
        assert (await completing).status == "completed"
        with pytest.raises(NotFoundError):
            await session.runs.complete(run, polling=QUICK)
        assert not room.locked()
