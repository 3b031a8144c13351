"""Streams that are left early or reach their deadline leave nothing behind."""

import asyncio
import logging
import pickle
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice, repeat
from typing import Any, ClassVar

import anyio
import pytest
from attrs import define
from yarl import URL

from openai_runs._http.byte_stream import ByteStream
from openai_runs._http.redaction import Secrets
from openai_runs._http.response import Reader
from openai_runs._wire import load
from openai_runs.errors import (
    BadRequestError,
    OpenAIRunsError,
    RateLimitError,
    RunDeadlineError,
    RunStuckError,
    TransportError,
)
from openai_runs.events import ActionRequired, PollingTookOver, RunEnded, StatusChanged
from openai_runs.following.follower import Follower
from openai_runs.following.polling import Polling
from openai_runs.following.run_requests import RunRequests
from openai_runs.following.streaming import RunStream
from openai_runs.models.run import Run
from openai_runs.models.tool import ToolOutput
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.following.story import (
    COMPLETED,
    CREATED,
    DONE,
    EMPTY,
    Counting,
    delta,
    ends,
    framed,
    leg,
    message,
    run,
    step,
    stream,
    streaming,
    waiting,
)
from tests.shown import shown
from tests.stub import CUT, NEVER, Reply, Request, Stub, error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


def goes_on(*frames: bytes) -> Reply:
    """A stream that never ends."""
    return Reply(stream(*frames).data[:-5], "hang")


class TestLeaving:
    async def test_early(self) -> None:
        """Leaving closes the connection at once, not when the session is closed; the run is left running."""
        async with Stub(goes_on(*framed(CREATED, delta("msg_0", "a")))) as stub, stub.session() as session:
            async with session.runs.stream("thread_1", assistant_id="asst_1") as events:
                async for event in events:
                    assert isinstance(event, StatusChanged)
                    break
            await stub.disconnected()
        assert len(stub.requests) == 1

    async def test_unread(self) -> None:
        """The same if no event was read."""
        async with Stub(goes_on()) as stub, stub.session() as session:
            async with session.runs.stream("thread_1", assistant_id="asst_1"):
                pass
            await stub.disconnected()

    async def test_with_an_error(self) -> None:
        """The same with an error, which is the one that is raised."""
        async with Stub(goes_on(*framed(CREATED))) as stub, stub.session() as session:

            async def use() -> None:
                async with session.runs.stream("thread_1", assistant_id="asst_1") as events:
                    async for _ in events:
                        raise LookupError

            with pytest.raises(LookupError):
                await use()
            await stub.disconnected()

    @pytest.mark.parametrize(
        ("answers", "requests"),
        [
            pytest.param([NEVER], 1, id="opening"),
            pytest.param([goes_on()], 1, id="before the first event"),
            pytest.param([goes_on(*framed(CREATED))], 1, id="between events"),
            pytest.param([ends(*framed(*leg(0, [], ["call_1"]))), NEVER], 2, id="submitting"),
            pytest.param([ends(*framed(*leg(0, [], ["call_1"]))), goes_on()], 2, id="in the second stream"),
            pytest.param([ends(*framed(CREATED)), NEVER], 2, id="polling"),
            pytest.param([ends(*framed(CREATED)), reply(run("completed")), NEVER], 3, id="catching up"),
        ],
    )
    async def test_cancelled(self, answers: list[Reply], requests: int) -> None:
        """Cancelled at any point, a stream lets the cancellation through and leaves no connection."""
        async with Stub(*answers) as stub, stub.session() as session:

            async def use() -> None:
                options: Any = {"toolbox": Counting(), "polling": QUICK}
                async with session.runs.stream("thread_1", assistant_id="asst_1", **options) as events:
                    await events.until_done()
                pytest.fail("it has no end")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use)
                await stub.requested(requests)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            await stub.disconnected()

    async def test_in_a_tool(self) -> None:
        """The same while a tool runs, after its stream has ended."""
        toolbox, begun = Toolbox(), anyio.Event()

        @toolbox.tool
        async def f() -> None:
            begun.set()
            await anyio.sleep_forever()

        async with Stub(ends(*framed(*leg(0, [], ["call_1"])))) as stub, stub.session() as session:

            async def use() -> None:
                async with session.runs.stream("thread_1", assistant_id="asst_1", toolbox=toolbox) as events:
                    await events.until_done()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use)
                await begun.wait()
                tasks.cancel_scope.cancel()

    async def test_the_connection_is_used_again(self) -> None:
        """The next request reuses the connection of a stream that was read to its end."""
        async with Stub(ends(*framed(CREATED, COMPLETED)), reply(run("completed"))) as stub, stub.session() as session:
            async with session.runs.stream("thread_1", assistant_id="asst_1") as events:
                await events.until_done()
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        assert stub.connections == 1

    @pytest.mark.parametrize("end", ["nothing", "keep-alives"])
    async def test_a_stream_held_open(self, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        """A stream that goes on without `done` holds nobody up once the run requires outputs or has ended."""
        monkeypatch.setattr("openai_runs.following.event_stream._DONE_TIMEOUT", 0.05)
        more = [b": alive\n\n"] * (end == "keep-alives")
        legs = [goes_on(*framed(*leg(0, ["a"], ["call_1"])), *more), goes_on(*framed(*leg(1, ["b"], [])), *more)]
        async with Stub(*legs) as stub, stub.session() as session:
            options: Any = {"toolbox": Counting(), "deadline": 100}
            async with session.runs.stream("thread_1", assistant_id="asst_1", **options) as events:
                assert [text async for text in events.text_deltas()] == ["a", "b"]
                assert events.run.status == "completed"
            await stub.disconnected()
        assert len(stub.requests) == 2

    async def test_a_server_that_does_not_end(self) -> None:
        """After `done`, the wait for the end of the response is short."""
        async with Stub(goes_on(*framed(CREATED, COMPLETED, DONE))) as stub, stub.session() as session:
            async with session.runs.stream("thread_1", assistant_id="asst_1") as events:
                await events.until_done()
            await stub.disconnected()


class TestCancelling:
    async def test_left(self) -> None:
        """With `on_exit="cancel"`, a run that is left is cancelled."""
        async with streaming(goes_on(*framed(CREATED)), reply(run("cancelling")), on_exit="cancel") as (stub, events):
            await anext(aiter(events))
        assert [request.path for request in stub.requests[1:]] == ["/v1/threads/thread_1/runs/run_1/cancel"]
        assert events.run.status == "cancelling"

    async def test_ended(self) -> None:
        """A run that has ended is not cancelled."""
        async with streaming(ends(*framed(CREATED, COMPLETED)), on_exit="cancel") as (stub, events):
            await events.until_done()
        assert len(stub.requests) == 1

    @pytest.mark.parametrize("ends_with", ["nothing", "an error", "a break"])
    async def test_required_outputs(self, ends_with: str) -> None:
        """A stream that is read to its end is continued by another one; an error after that, or a break, is leaving."""
        answers = ends(*framed(*leg(0, [], ["call_1"]), DONE)), reply(run("cancelling"))
        with suppress(LookupError):
            async with streaming(*answers, on_exit="cancel") as (stub, events):
                async for event in events:
                    if ends_with == "a break" and isinstance(event, ActionRequired):
                        break
                if ends_with == "an error":
                    raise LookupError
        assert [request.path.endswith("/cancel") for request in stub.requests[1:]] == [True] * (ends_with != "nothing")

    async def test_not_yet_known(self) -> None:
        """A run of which no event was read is looked up and cancelled."""
        found = reply({"object": "list", "data": [run("queued", metadata={"openai_runs.create": "m"})]})
        answers = goes_on(), found, reply(run("cancelling"))
        async with streaming(*answers, on_exit="cancel", idempotency_key="m") as (stub, events):
            pass
        assert [request.method for request in stub.requests] == ["POST", "GET", "POST"]
        assert events.run.status == "cancelling"

    async def test_never_known(self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the run cannot be found, a warning says so, and the original error is raised."""
        monkeypatch.setattr("openai_runs.following.leaving._CANCEL_TIMEOUT", 0.1)
        full = {str(number): "" for number in range(16)}
        with pytest.raises(LookupError), caplog.at_level(logging.WARNING, "openai_runs.following"):
            async with streaming(goes_on(), on_exit="cancel", metadata=full):
                raise LookupError
        assert "the run on thread_1 could not be cancelled" in caplog.text


class TestLeavingWhileOpening:
    """With `on_exit="cancel"` no run is left behind by whoever is cancelled before the stream is open."""

    @pytest.mark.parametrize("by", ["task", "scope", "deadline"])
    @pytest.mark.parametrize("looks", [0, 2])
    async def test_it_arrives_late(self, by: str, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The request may arrive at the server after the first look for its run: the run is looked for again."""
        monkeypatch.setattr("openai_runs.following.leaving._LOOK_EVERY", 0.001)
        found = {"object": "list", "data": [run("queued", metadata={MARKER: "m"})], "has_more": False}
        there = [EMPTY] * looks

        def answer(request: Request) -> Reply:
            if request.path.endswith("/cancel"):
                return reply(run("cancelling"))
            if request.method == "POST":
                return NEVER
            return there.pop() if there else reply(found)

        async with Stub(answer) as stub, stub.session() as session:

            async def use() -> None:
                options: Any = {"on_exit": "cancel", "deadline": 0.1 if by == "deadline" else None}
                async with session.runs.stream(
                    "thread_1", assistant_id="asst_1", idempotency_key="m", **options
                ) as events:
                    pytest.fail(f"{events} is not open")

            task = asyncio.create_task(within_a_scope(use) if by == "scope" else use())
            await stub.requested(1)
            if by == "task":
                task.cancel()
            with pytest.raises((asyncio.CancelledError, RunDeadlineError, TransportError, TimeoutError)):
                await task
            assert stub.requests[-1].path.endswith("/cancel")
            assert len(stub.requests) == 3 + looks
            await no_request(stub)

    @pytest.mark.parametrize("again", [False, True])
    async def test_the_answer_is_awaited(self, again: bool) -> None:
        """The ID of a run on a new thread comes with the stream only: its first event is awaited, then cancelled."""
        go, opening = asyncio.Event(), asyncio.Event()

        async def start() -> ByteStream:
            opening.set()
            await go.wait()
            return byte_stream(*framed(CREATED))

        async with Stub(reply(run("cancelling"))) as stub, stub.session() as session:
            requests = RunRequests(session._transport, "the run")
            events = RunStream(Follower(requests, None, on_exit="cancel"), start)
            task = asyncio.create_task(events.__aenter__())
            await opening.wait()
            for _ in range(1 + again):
                task.cancel()
                await anyio.wait_all_tasks_blocked()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert [request.path for request in stub.requests] == ["/v1/threads/thread_1/runs/run_1/cancel"]

    async def test_it_is_refused(self) -> None:
        """If the server refuses to start the run, there is nothing to look for."""
        go, opening = asyncio.Event(), asyncio.Event()

        async def start() -> ByteStream:
            opening.set()
            await go.wait()
            raise BadRequestError("no", status=400)

        async with Stub() as stub, stub.session() as session:
            requests = RunRequests(session._transport, "the run")
            task = asyncio.create_task(RunStream(Follower(requests, None, on_exit="cancel"), start).__aenter__())
            await opening.wait()
            task.cancel()
            await anyio.wait_all_tasks_blocked()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert stub.requests == []

    async def test_it_is_answered_with_the_run(self) -> None:
        """The same if an endpoint that does not stream answers with the run."""
        go, opening = asyncio.Event(), asyncio.Event()

        async def start() -> Run:
            opening.set()
            await go.wait()
            return load(run("queued"), Run)

        async with Stub(reply(run("cancelling"))) as stub, stub.session() as session:
            requests = RunRequests(session._transport, "the run")
            task = asyncio.create_task(RunStream(Follower(requests, None, on_exit="cancel"), start).__aenter__())
            await opening.wait()
            task.cancel()
            await anyio.wait_all_tasks_blocked()
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(stub.requests) == 1

    async def test_it_never_arrives(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """The search ends after a few seconds, with a warning; a look that fails is repeated."""
        monkeypatch.setattr("openai_runs.following.leaving._CANCEL_TIMEOUT", 0.1)
        monkeypatch.setattr("openai_runs.following.leaving._LOOK_EVERY", 0.001)
        looks = [error(503), EMPTY]

        def answer(request: Request) -> Reply:
            return NEVER if request.method == "POST" else looks.pop(0) if looks else EMPTY

        async with Stub(answer) as stub, stub.session() as session:
            stream = session.runs.stream("thread_1", assistant_id="asst_1", on_exit="cancel")
            task = asyncio.create_task(stream.__aenter__())
            await stub.requested(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await no_request(stub)
        assert "the run on thread_1 could not be cancelled within 0.1 s" in caplog.text

    async def test_looking_is_refused(self, caplog: pytest.LogCaptureFixture) -> None:
        """A look that is refused ends the search."""
        async with Stub(NEVER, error(403, "not yours")) as stub, stub.session() as session:
            stream = session.runs.stream("thread_1", assistant_id="asst_1", on_exit="cancel")
            task = asyncio.create_task(stream.__aenter__())
            await stub.requested(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert "could not be cancelled: GET /v1/threads/thread_1/runs" in caplog.text

    async def test_outputs(self) -> None:
        """A stream that is left while it submits outputs cancels the run, whose ID is known."""
        waits = load(waiting("call_1"), Run)
        outputs = [ToolOutput(tool_call_id="call_1", output="1")]
        async with Stub(NEVER, reply(run("cancelling"))) as stub, stub.session() as session:
            stream = session.runs.stream_tool_outputs(waits, outputs, on_exit="cancel")
            task = asyncio.create_task(stream.__aenter__())
            await stub.requested(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert stub.requests[1].path.endswith("/cancel")

    async def test_outputs_that_are_refused(self) -> None:
        """If outputs are refused, there still is the run that waits for them: it is cancelled."""
        waits = load(waiting("call_1"), Run)
        outputs = [ToolOutput(tool_call_id="call_1", output="1")]
        async with Stub(error(429), reply(run("cancelling"))) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(RateLimitError):
                await session.runs.stream_tool_outputs(waits, outputs, on_exit="cancel").__aenter__()
        assert [request.path.rpartition("/")[2] for request in stub.requests] == ["submit_tool_outputs", "cancel"]


async def within_a_scope(use: Callable[[], Awaitable[None]]) -> None:
    with anyio.fail_after(0.1):
        await use()


async def no_request(stub: Stub) -> None:
    """Nothing that was begun is still under way."""
    assert [task for task in asyncio.all_tasks() if "_open" in repr(task) or "Transport.stream" in repr(task)] == []


@define
class Pieces:
    """Stands in for a response that arrives in these chunks."""

    connection: ClassVar[None] = None  # all of it is here

    pieces: Iterator[bytes]

    @property
    def content(self) -> "Pieces":
        return self

    async def readany(self) -> bytes:
        return next(self.pieces)

    def close(self) -> None:
        pass


def byte_stream(*pieces: bytes) -> ByteStream:
    response: Any = Pieces(iter(pieces))
    url = URL("http://localhost/v1")
    return ByteStream(response, Reader(str(url), Secrets()), url, 0.0)


def stream_of(*pieces: bytes, polling: Polling = QUICK) -> RunStream:
    """A stream that arrives in these chunks."""

    async def start() -> ByteStream:
        return byte_stream(*pieces)

    requests = RunRequests(Session("http://localhost/v1")._transport, "the run")
    return RunStream(Follower(requests, None, polling=polling), start)


class TestPieces:
    async def test_after_the_end(self) -> None:
        """Bytes after `done` are read, so that the connection can be reused, and ignored."""
        pieces = [*framed(CREATED, COMPLETED, DONE), *framed(CREATED), b"x", b""]
        async with stream_of(*pieces) as events:
            assert [type(event) async for event in events] == [StatusChanged, RunEnded]

    async def test_every_byte(self) -> None:
        """However the bytes are cut, the events are the same."""
        whole = b"".join(framed(*leg(0, ["Hel", "lo"], []), DONE))
        async with stream_of(*(bytes([byte]) for byte in whole), b"") as events:
            assert [text async for text in events.text_deltas()] == ["Hel", "lo"]

    @pytest.mark.parametrize("events", [(CREATED, COMPLETED), (CREATED, COMPLETED, DONE)])
    async def test_no_last_newline(self, events: Any) -> None:
        """The end of the input ends the last event, as in the documented streams."""
        async with stream_of(b"".join(framed(*events)).rstrip(), b"") as events:
            assert [type(event) async for event in events] == [StatusChanged, RunEnded]

    async def test_stuck(self) -> None:
        """Keep-alives do not hide that a run is stuck in `queued`."""
        signs_of_life = repeat(b": alive\n\n")
        async with stream_of(
            *framed(CREATED), *islice(signs_of_life, 100_000), polling=Polling(queued_timeout=0.001)
        ) as events:
            with pytest.raises(RunStuckError, match=r"queued for 0\.001 s"):
                await events.until_done()


class TestTime:
    @pytest.mark.parametrize("opened", [goes_on(*framed(CREATED)), NEVER])
    async def test_one_last_look(self, opened: Reply) -> None:
        """A run that has completed when the deadline passes is completed, with all its text."""
        done = run("completed", metadata={MARKER: "m"})
        steps = [step("step_0", "completed", "msg_0")]

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return opened
            data = {"steps": steps, "messages": [message("msg_0", "Hello")], "runs": [done]}
            kind = request.path.rpartition("/")[2]
            return reply({"object": "list", "data": data[kind], "has_more": False}) if kind in data else reply(done)

        options: Any = {"deadline": 0.1, "idempotency_key": "m", "on_exit": "cancel"}
        async with streaming(answer, **options) as (stub, events):
            seen = [event async for event in events]
            assert isinstance(seen[-1], RunEnded)
            assert [message.text for message in events.messages] == ["Hello"]
            assert (await events.until_done()).status == "completed"
        assert not any(request.path.endswith("/cancel") for request in stub.requests)

    async def test_one_last_look_for_outputs(self) -> None:
        """The same if the deadline passes while tool outputs are submitted."""
        waits, outputs = load(waiting("call_1"), Run), [ToolOutput(tool_call_id="call_1", output="1")]

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return NEVER
            return reply(run("completed")) if request.path.endswith("/run_1") else EMPTY

        async with (
            Stub(answer) as stub,
            stub.session() as session,
            session.runs.stream_tool_outputs(waits, outputs, deadline=0.1) as events,
        ):
            assert [type(event) async for event in events] == [RunEnded]

    async def test_a_deadline_while_catching_up(self) -> None:
        """The same if the deadline passes while the text of a run that has ended is fetched."""
        answers = [ends(*framed(CREATED)), reply(run("completed")), NEVER, reply(run("completed")), EMPTY, EMPTY]
        async with streaming(*answers, deadline=0.2) as (_, events):
            seen = [event async for event in events]
        assert [type(event) for event in seen] == [StatusChanged, PollingTookOver, RunEnded]

    async def test_no_time_to_catch_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the text cannot be fetched in the time that is left, the deadline's error is raised."""
        monkeypatch.setattr("openai_runs.following.leaving._CANCEL_TIMEOUT", 0.1)
        answers = [goes_on(*framed(CREATED)), reply(run("completed")), NEVER]
        async with streaming(*answers, deadline=0.1) as (_, events):
            with pytest.raises(RunDeadlineError):
                await events.until_done()

    @pytest.mark.parametrize("outage", [60.0, 0.0])
    async def test_a_fault_while_catching_up(self, outage: float) -> None:
        """In the time that is left, the text is fetched through an outage; else the deadline's error is raised."""
        answers = [goes_on(*framed(CREATED)), reply(run("completed")), error(503), EMPTY, EMPTY]
        polling = Polling(first=0.001, longest=0.001, outage=outage)
        async with Stub(*answers) as stub, stub.session(max_retries=0) as session:
            options: Any = {"assistant_id": "asst_1", "deadline": 0.1, "polling": polling}
            async with session.runs.stream("thread_1", **options) as events:
                if outage:
                    assert (await events.until_done()).status == "completed"
                    return
                with pytest.raises(RunDeadlineError) as caught:
                    await events.until_done()
        assert caught.value.__notes__[-1].startswith("The run has ended, but its text could not be fetched: ")

    async def test_queued_in_silence(self) -> None:
        """A run that stays queued is stuck, also if its stream sends nothing at all."""
        polling = Polling(first=0.001, longest=0.01, queued_timeout=0.05)
        async with streaming(goes_on(*framed(CREATED)), polling=polling) as (_, events):
            with pytest.raises(RunStuckError, match=r"queued for 0\.05 s"):
                await events.until_done()

    async def test_queued_without_any_event(self) -> None:
        """A run of which no event came is polled then, and is stuck if it is still queued."""
        found = {"object": "list", "data": [run("queued", metadata={MARKER: "m"})], "has_more": False}

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return goes_on()
            return reply(found) if request.path.endswith("/runs") else reply(run("queued"))

        polling = Polling(first=0.001, longest=0.01, queued_timeout=0.05)
        async with streaming(answer, polling=polling, idempotency_key="m") as (_, events):
            assert isinstance(await anext(aiter(events)), PollingTookOver)
            with pytest.raises(RunStuckError):
                await events.until_done()

    async def test_deadline(self) -> None:
        """The deadline covers the whole run, and holds while a stream is silent."""
        async with streaming(goes_on(*framed(CREATED)), deadline=0.05) as (_, events):
            with pytest.raises(RunDeadlineError, match=r"deadline of 0\.05 s; its latest status was queued") as caught:
                await events.until_done()
        assert caught.value.run.id == "run_1"

    async def test_deadline_before_the_first_event(self) -> None:
        """Before the first event the run exists, but its ID is not known: the error says maybe_done."""
        async with streaming(goes_on(), deadline=0.05) as (_, events):
            with pytest.raises(TransportError, match="sent no response at all") as caught:
                await events.until_done()
        assert caught.value.maybe_done

    async def test_deadline_before_the_answer(self) -> None:
        """If the deadline passes before the response, the run may exist."""
        async with Stub(NEVER) as stub, stub.session() as session:
            with pytest.raises(TransportError, match="sent no response at all") as caught:
                await session.runs.stream("thread_1", assistant_id="asst_1", deadline=0.05).__aenter__()
        assert caught.value.maybe_done

    async def test_deadline_while_submitting(self) -> None:
        """If the deadline passes while outputs are submitted, the error says that they may have arrived."""
        snapshot = load(waiting("call_1"), Run)
        outputs, answers = [{"tool_call_id": "call_1", "output": ""}], Toolbox()

        @answers.tool
        async def f() -> str:
            return ""

        def answer(request: Request) -> Reply:
            return NEVER if request.method == "POST" else reply(waiting("call_1"))  # in the last look

        async with Stub(answer) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.stream_tool_outputs(snapshot, outputs, deadline=0.05).__aenter__()
            assert caught.value.maybe_done
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.complete(snapshot, toolbox=answers, deadline=0.5)
            assert caught.value.maybe_done
            assert pickle.loads(pickle.dumps(caught.value)).maybe_done

    @pytest.mark.parametrize(("found", "is_doubt"), [("in_progress", False), ("requires_action", True)])
    async def test_the_last_look_after_a_submission(self, found: str, is_doubt: bool) -> None:
        """A run that has gone on has had its outputs; one that still waits may get them later."""
        snapshot = waiting("call_1")
        answers = {"POST": NEVER, "GET": reply(snapshot if found == "requires_action" else run(found))}
        async with Stub(lambda request: answers[request.method]) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.complete(load(snapshot, Run), toolbox=Counting(), deadline=0.2)
        assert caught.value.run.status == found
        assert caught.value.maybe_done is is_doubt

    async def test_deadline_after_a_lost_submission(self) -> None:
        """A submission whose response was lost stays in doubt while it waits to be repeated, and in the last look."""
        waits = reply(waiting("call_1"))

        def answer(request: Request) -> Reply:
            return CUT if request.method == "POST" else waits

        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.complete(
                    load(waiting("call_1"), Run), toolbox=Counting(), deadline=0.5, polling=Polling(first=9, longest=9)
                )
        assert caught.value.maybe_done

    @pytest.mark.parametrize(
        ("then", "is_doubt"),
        [
            ([error(401)], True),
            ([error(400), NEVER], True),
            ([error(400), error(401)], True),
            ([error(400), reply(waiting("call_1"))], False),
        ],
        ids=["refused", "deadline", "look refused", "still required"],
    )
    async def test_a_doubt_that_stays(self, then: list[Reply], is_doubt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is refused after a lost response may have been accepted before, unless a look shows that it was not."""
        monkeypatch.setattr("openai_runs.following.leaving._CANCEL_TIMEOUT", 0.1)
        waits = reply(waiting("call_1"))
        answers = iter([CUT, waits, *then])  # the response is lost, and the run looks as before

        async with Stub(lambda _: next(answers, NEVER)) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(OpenAIRunsError) as caught:
                await session.runs.complete(
                    load(waiting("call_1"), Run), toolbox=Counting(), deadline=0.5, polling=QUICK
                )
        assert caught.value.maybe_done is is_doubt
        assert "An earlier attempt may have taken effect" in shown(caught.value) or then[-1] is NEVER

    async def test_the_start_was_found(self) -> None:
        """If the last look finds the run that was being started, there is no doubt left: the error has it."""
        found = reply({"object": "list", "data": [run("queued", metadata={MARKER: "m"})], "has_more": False})
        options: Any = {"idempotency_key": "m", "deadline": 0.05}

        def answer(request: Request) -> Reply:
            return NEVER if request.method == "POST" else found

        async with Stub(answer) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.stream("thread_1", assistant_id="asst_1", **options).__aenter__()
        assert caught.value.run.id == "run_1"
        assert not caught.value.maybe_done

    @pytest.mark.parametrize("on_exit", ["leave", "cancel"])
    async def test_the_last_look_has_no_key(self, on_exit: Any, caplog: pytest.LogCaptureFixture) -> None:
        """What api_key() raises in the last look, or while leaving, does not replace the deadline's error."""
        tokens = iter(["token-one"])

        async def provide() -> str:
            if (token := next(tokens, None)) is None:
                raise LookupError("no login")
            return token

        snapshot = load(waiting("call_1"), Run)
        outputs = [{"tool_call_id": "call_1", "output": ""}]
        async with Stub(NEVER) as stub, stub.session(api_key=provide) as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.stream_tool_outputs(snapshot, outputs, deadline=0.05, on_exit=on_exit).__aenter__()
        assert caught.value.maybe_done
        assert caught.value.__notes__ == ["A last look at the run failed: LookupError"]
        assert ("run run_1 could not be cancelled: LookupError" in caplog.text) == (on_exit == "cancel")

    async def test_deadline_while_polling(self) -> None:
        """A poll that the deadline cuts off leaves no doubt."""
        async with Stub(NEVER) as stub, stub.session() as session:
            with pytest.raises(RunDeadlineError) as caught:
                await session.runs.complete(load(run("queued"), Run), polling=QUICK, deadline=0.05)
        assert not caught.value.maybe_done

    async def test_silence(self) -> None:
        """A stream that is silent for longer than the session's timeout counts as broken."""
        lists = EMPTY, EMPTY
        async with (
            Stub(goes_on(*framed(CREATED)), reply(run("completed")), *lists) as stub,
            stub.session(timeout=0.1) as session,
            session.runs.stream("thread_1", assistant_id="asst_1", polling=QUICK) as events,
        ):
            _, took_over, ended = [event async for event in events]
        assert isinstance(took_over, PollingTookOver)
        assert took_over.reason.endswith("broke off: nothing came for 0.1 s")
        assert isinstance(ended, RunEnded)


class TestStreamToolOutputs:
    WAITS = load(waiting("call_1"), Run)
    OUTPUTS = (ToolOutput(tool_call_id="call_1", output="1"),)
    CUT = Reply(stream().data[:-5], "close")

    async def test_nothing_came(self) -> None:
        """If a stream breaks before its first event, polling continues from the run's current state."""
        answers = self.CUT, reply(run("in_progress")), reply(run("completed")), EMPTY, EMPTY
        async with (
            Stub(*answers) as stub,
            stub.session() as session,
            session.runs.stream_tool_outputs(self.WAITS, self.OUTPUTS, polling=QUICK) as events,
        ):
            took_over, *changes = [event async for event in events]
        assert took_over.run == self.WAITS
        assert [(change.previous, change.status) for change in changes] == [
            ("requires_action", "in_progress"),
            ("in_progress", "completed"),
        ]

    @pytest.mark.parametrize("tells_calls", [True, False])
    async def test_only_what_is_its_own(self, tells_calls: bool) -> None:
        """What precedes the step of the answered calls is left out; without such a step, everything is reported."""
        calls = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}", "output": None}}]
        tools = step("step_1", "completed")
        tools["step_details"]["tool_calls"] = calls * tells_calls
        steps = [step("step_0", "completed", "msg_0"), tools, step("step_2", "completed", "msg_2")]
        # Of the second message this endpoint does not tell the run.
        messages = [
            message("msg_0", "before"),
            message("msg_2", "after", run_id=None),
            message("msg_3", "", run_id=None),
        ]
        lists = [reply({"object": "list", "data": data, "has_more": False}) for data in (steps, messages)]
        async with (
            Stub(self.CUT, reply(run("completed")), *lists) as stub,
            stub.session() as session,
            session.runs.stream_tool_outputs(self.WAITS, self.OUTPUTS, polling=QUICK) as events,
        ):
            assert [text async for text in events.text_deltas()] == ["before"] * (not tells_calls) + ["after"]
            assert [step.id for step in events.steps] == ["step_0"] * (not tells_calls) + ["step_1", "step_2"]
