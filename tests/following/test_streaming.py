"""Streams: the same status events as polling, and all text, over connections that break anywhere."""

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs._http.sse import Decoder
from openai_runs._wire import load
from openai_runs.errors import (
    BadRequestError,
    NotFoundError,
    ProtocolError,
    ResponseError,
    RunActionRequiredError,
    RunCancelledError,
    RunError,
    RunFailedError,
    ToolError,
    TransportError,
)
from openai_runs.events import (
    ActionRequired,
    MessageChanged,
    PollingTookOver,
    RunEnded,
    StatusChanged,
    StepChanged,
    ThreadCreated,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.following.polling import Polling
from openai_runs.models.delta import MessageDelta, RunStepDelta
from openai_runs.models.run import Run
from openai_runs.models.tool import ToolOutput
from openai_runs.services.runs import MARKER
from openai_runs.toolbox import Toolbox
from tests.following.story import (
    COMPLETED,
    CREATED,
    EMPTY,
    Counting,
    Story,
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
from tests.samples import EXAMPLES
from tests.stub import CUT, Reply, Stub, error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


def statuses(events: Sequence[Any]) -> list[Any]:
    """The statuses of the status events."""
    return [
        (type(event), event.previous, event.status, [call.id for call in event.run.pending_tool_calls])
        for event in events
        if isinstance(event, StatusChanged)
    ]


def text_of(events: Sequence[Any]) -> dict[str, str]:
    """The text of each message, from its deltas."""
    texts: dict[str, str] = {}
    for event in events:
        if isinstance(event, MessageDelta) and event.text:
            texts[event.id] = texts.get(event.id, "") + event.text
    return texts


STREAMS = {path.name: path.read_bytes() for path in EXAMPLES.glob("sse/*.sse")}
VERBATIM = {path.name: path.read_bytes() for path in EXAMPLES.glob("sse-verbatim/*.sse")}


_texts = st.lists(st.text(max_size=8), max_size=12)
rounds = st.tuples(
    st.lists(st.tuples(_texts, st.integers(1, 3)), max_size=3),
    _texts,
    st.sampled_from(["completed", "failed", "expired"]),
)
cuts = st.lists(st.none() | st.floats(0, 1, exclude_max=True), max_size=20)


def legs_of(rounds: Any) -> list[Any]:
    (*tool_rounds,) = rounds[0]
    legs = [leg(n, texts, [f"call_{n}_{i}" for i in range(calls)]) for n, (texts, calls) in enumerate(tool_rounds)]
    return [*legs, leg(len(legs), rounds[1], [], rounds[2])]


async def polled(legs: Any) -> list[Any]:
    toolbox = Counting()
    async with Stub(Story(legs)) as stub, stub.session() as session:
        run = await session.runs.create("thread_1", assistant_id="asst_1")
        return [event async for event in session.runs.follow(run, toolbox=toolbox, polling=QUICK)]


@pytest.mark.unmeasured
@given(rounds, cuts, st.booleans())
async def test_the_same_as_polling(rounds: Any, cuts: Any, chunked: bool) -> None:
    """Wherever it breaks, a stream yields polling's status events, all text once, and calls each tool once."""
    legs = legs_of(rounds)
    toolbox = Counting()
    story = Story(legs, cuts, chunked=chunked)
    async with Stub(story) as stub, stub.session() as session:
        async with session.runs.stream("thread_1", assistant_id="asst_1", toolbox=toolbox, polling=QUICK) as events:
            seen = [event async for event in events]
        assert statuses(seen) == statuses(await polled(legs))
        texts = [*[texts for texts, _ in rounds[0]], rounds[1]]
        written = {f"msg_{number}": "".join(pieces) for number, pieces in enumerate(texts) if pieces}
        assert text_of(seen) == {id: text for id, text in written.items() if text}
        assert {message.id: message.text for message in events.messages} == written
        assert toolbox.calls == sum(calls for _, calls in rounds[0])
        finished = [
            event.name for event in seen if isinstance(event, MessageChanged) if event.message.status == "completed"
        ]
        assert len(finished) == len(written)


async def events_of(*frames: bytes, **options: Any) -> list[Any]:
    """The events of a stream of these frames."""
    async with streaming(ends(*frames), **options) as (_, events):
        return [event async for event in events]


class TestRequests:
    async def test_runs_stream(self) -> None:
        """The body is that of `create`, and asks for a stream; so does a header."""
        async with streaming(
            ends(*framed(CREATED, COMPLETED)), include=["x"], temperature=0.5, metadata={"a": "b"}
        ) as (stub, events):
            assert (await events.until_done()).status == "completed"
        (request,) = stub.requests
        assert (request.method, request.target) == ("POST", "/v1/threads/thread_1/runs?include%5B%5D=x")
        assert request.headers["accept"] == "text/event-stream"
        marker = request.json["metadata"][MARKER]
        assert request.json == {
            "assistant_id": "asst_1",
            "temperature": 0.5,
            "metadata": {"a": "b", MARKER: marker},
            "stream": True,
        }

    async def test_stream_run(self) -> None:
        """The thread is created as well, and reported."""
        sent = ("thread.created", {"id": "thread_1", "object": "thread", "created_at": 0})
        async with (
            Stub(ends(*framed(sent, CREATED, COMPLETED))) as stub,
            stub.session() as session,
            session.threads.stream_run(assistant_id="asst_1", thread={"messages": []}) as events,
        ):
            first, *_ = [event async for event in events]
        assert isinstance(first, ThreadCreated)
        assert (first.thread.id, first.name) == ("thread_1", "thread.created")
        (request,) = stub.requests
        assert request.target == "/v1/threads/runs"
        assert request.json == {"assistant_id": "asst_1", "thread": {"messages": []}, "stream": True}

    @pytest.mark.parametrize("by_ids", [False, True])
    async def test_stream_tool_outputs(self, by_ids: bool) -> None:
        """A run is given as an object, which is not reported back then, or by two IDs."""
        waits = load(waiting("call_1"), Run)
        outputs = [ToolOutput(tool_call_id="call_1", output="1")]
        second = framed(*leg(1, ["Hi"], []))
        async with Stub(ends(*second)) as stub, stub.session() as session:
            named: Any = {"thread_id": "thread_1", "run_id": "run_1"} if by_ids else {"run": waits}
            async with session.runs.stream_tool_outputs(**named, tool_outputs=outputs) as events:
                if not by_ids:
                    assert events.run is waits
                seen = [event async for event in events]
                assert events.steps[0].status == "completed"
        assert [(e.previous, e.status) for e in seen if isinstance(e, StatusChanged)] == [
            (None if by_ids else "requires_action", "queued"),
            ("queued", "in_progress"),
            ("in_progress", "completed"),
        ]
        (request,) = stub.requests
        assert request.target == "/v1/threads/thread_1/runs/run_1/submit_tool_outputs"
        assert request.json == {"tool_outputs": [{"tool_call_id": "call_1", "output": "1"}], "stream": True}

    async def test_bad_arguments(self) -> None:
        """Invalid arguments are refused before anything is sent."""
        async with Stub() as stub, stub.session() as session:
            with pytest.raises(TypeError, match="missing parameter 'assistant_id'"):
                session.runs.stream("thread_1")
            with pytest.raises(TypeError, match="missing parameter 'assistant_id'"):
                session.threads.stream_run()
            with pytest.raises(ValueError, match="thread_id must be an ID"):
                session.runs.stream("", assistant_id="asst_1")
            with pytest.raises(ValueError, match="on_exit must be"):
                session.runs.stream("thread_1", assistant_id="asst_1", on_exit="stay")
            with pytest.raises(ValueError, match="deadline"):
                session.runs.stream("thread_1", assistant_id="asst_1", deadline=-1)
            with pytest.raises(TypeError, match="missing parameter 'tool_outputs'"):
                session.runs.stream_tool_outputs(thread_id="thread_1", run_id="run_1")
            with pytest.raises(TypeError, match="unknown parameter 'polls'; did you mean 'polling'"):
                session.runs.stream("thread_1", assistant_id="asst_1", polls=QUICK)
            with pytest.raises(TypeError, match="tool_call_id"):
                session.runs.stream_tool_outputs(thread_id="thread_1", run_id="run_1", tool_outputs=[{"output": "1"}])
        assert stub.requests == []

    async def test_open_once(self) -> None:
        """A stream is used inside its `async with`, once."""
        async with Stub(ends(*framed(CREATED, COMPLETED))) as stub, stub.session() as session:
            events = session.runs.stream("thread_1", assistant_id="asst_1")
            assert repr(events) == "<RunStream, not open yet: the run on thread_1>"
            with pytest.raises(RuntimeError, match="not open: use it in `async with`"):
                aiter(events)
            async with events:
                assert repr(events) == "<RunStream, open: the run on thread_1>"
                with pytest.raises(RuntimeError, match="no snapshot of the run has arrived yet"):
                    events.run  # noqa: B018  # a property that raises
                await events.until_done()
            assert repr(events) == f"<RunStream, closed: {events.run.id} completed>"
            with pytest.raises(RuntimeError, match="closed"):
                await events.until_done()
            with pytest.raises(RuntimeError, match="opened only once"):
                await events.__aenter__()
        assert len(stub.requests) == 1

    @pytest.mark.parametrize(
        ("answer", "kind", "words"),
        [
            (error(404, "No thread found"), NotFoundError, "404: No thread found"),
            (error(400, "Thread has an active run"), BadRequestError, "active run"),
            (reply(b"<html>", 200, content_type="text/html"), ProtocolError, "text/html: <html>"),
            (reply(b"", 204), ProtocolError, "an empty body"),
        ],
    )
    async def test_no_stream(self, answer: Reply, kind: Any, words: str) -> None:
        """A response that is not a stream raises what it would for any other request."""
        async with Stub(answer, EMPTY) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(kind, match=words):
                await session.runs.stream("thread_1", assistant_id="asst_1").__aenter__()

    async def test_a_busy_server(self) -> None:
        """The request for a stream is repeated like any other."""
        async with streaming(error(429), ends(*framed(CREATED, COMPLETED))) as (stub, events):
            await events.until_done()
        assert len(stub.requests) == 2


class TestEvents:
    async def test_each_kind(self) -> None:
        """Every event of the API is yielded as its own class."""
        step_delta = {"id": "step_0", "object": "thread.run.step.delta", "delta": {}}
        sent = [
            ("thread.created", {"id": "thread_1", "object": "thread", "created_at": 0}),
            CREATED,
            ("thread.run.queued", run("queued")),  # nothing new
            ("thread.run.in_progress", run("in_progress")),
            *((f"thread.run.step.{word}", step("step_0")) for word in ("created", "in_progress")),
            ("thread.run.step.delta", step_delta),
            *(
                (f"thread.run.step.{word}", step("step_0", word))
                for word in ("completed", "failed", "cancelled", "expired")
            ),
            *((f"thread.message.{word}", message("msg_0")) for word in ("created", "in_progress")),
            delta("msg_0", "Hi"),
            ("thread.message.delta", {"id": "msg_0", "object": "thread.message.delta", "delta": {"role": "assistant"}}),
            ("thread.message.completed", message("msg_0", "Hi")),
            ("thread.message.incomplete", message("msg_1", "Hi", status="incomplete")),
            ("thread.run.cancelling", run("cancelling")),
            ("thread.run.cancelled", run("cancelled")),
        ]
        seen = await events_of(*framed(*sent))
        assert [type(event) for event in seen] == [
            *[ThreadCreated, StatusChanged, StatusChanged, StepChanged, StepChanged, RunStepDelta, *[StepChanged] * 4],
            *[MessageChanged, MessageChanged, MessageDelta, MessageDelta, MessageChanged],
            *[MessageDelta, MessageChanged, StatusChanged, RunEnded],
        ]
        names = [event.name for event in seen if isinstance(event, StepChanged | MessageChanged)]
        assert names == [name for name, _ in sent if ".step." in name or "message" in name if "delta" not in name]

    @pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled", "expired"])
    async def test_ends(self, status: str) -> None:
        """Each terminal status is reported, and `until_done` returns or raises as `complete` does."""
        frames = framed(CREATED, (f"thread.run.{status}", run(status)))
        seen = await events_of(*frames)
        assert isinstance(seen[-1], RunEnded)
        async with streaming(ends(*frames)) as (_, events):
            if status == "completed":
                assert (await events.until_done()).status == status
            else:
                with pytest.raises(RunError, match=f"ended {status}"):
                    await events.until_done()
            assert events.run.status == status

    async def test_unknown(self) -> None:
        """Unknown events are kept, whatever their data; one with a run of an unknown status is a StatusChanged."""
        sent = [
            CREATED,
            ("thread.later", {"x": 1, "error": None}),
            ("ping", "pong"),
            ("thread.run.pausing", run("pausing")),
            ("thread.run.resumed", run("pausing")),
            ("thread.run.forked", {"object": "thread.run"}),
            ("th\u00e9", [1]),
            COMPLETED,
        ]
        _, later, ping, pausing, resumed, forked, odd, _ = await events_of(*framed(*sent))
        assert later == UnknownEvent("thread.later", {"x": 1, "error": None})
        assert ping == UnknownEvent("ping", "pong")
        assert isinstance(pausing, StatusChanged)
        assert pausing.status == "pausing"
        assert resumed == UnknownEvent("thread.run.resumed", run("pausing"))
        assert forked == UnknownEvent("thread.run.forked", {"object": "thread.run"})
        assert odd == UnknownEvent("th\u00e9", [1])

    async def test_unnamed(self) -> None:
        """An event without a name is the standard's `message`; `[DONE]` in it ends the stream."""
        frames = [
            *framed(CREATED, COMPLETED),
            b'data: {"a": 1}\n\n',
            b": alive\n\n",
            b"data: [DONE]\n\n",
            b"data: 2\n\n",
        ]
        assert (await events_of(*frames))[-1] == UnknownEvent("message", {"a": 1})

    @pytest.mark.parametrize("name", ["done", "thread.message.delta", "thread.run.completed", "whatever"])
    async def test_done(self, name: str) -> None:
        """`[DONE]` ends the stream, whatever the event's name; anything after it is ignored."""
        frames = framed(CREATED, COMPLETED, (name, "[DONE]"), delta("msg_0", "late"), ("error", {"message": "late"}))
        assert [type(event) for event in await events_of(*frames)] == [StatusChanged, RunEnded]

    @pytest.mark.parametrize(
        ("name", "payload"),
        [
            ("error", {"code": "c", "message": "sorry", "param": None, "type": "t"}),
            ("error", {"error": {"code": "c", "message": "sorry", "param": None, "type": "t"}}),
            ("thread.run.in_progress", {"error": {"code": "c", "message": "sorry", "type": "t"}}),
            (
                "thread.message.delta",
                {**delta("msg_0", "x")[1], "error": {"code": "c", "message": "sorry", "type": "t"}},
            ),
            ("surprise", {"error": {"code": "c", "message": "sorry", "type": "t"}}),
        ],
    )
    async def test_errors(self, name: str, payload: Any) -> None:
        """An error, bare or wrapped or under another event name, is raised with all its fields."""
        answer = ends(*framed(CREATED, (name, payload)))
        data = answer.data.replace(b"\r\n", b"\r\nx-request-id: req_1\r\n", 1)
        async with streaming(Reply(data)) as (_, events):
            with pytest.raises(ResponseError, match="sent an error event: sorry") as caught:
                await events.until_done()
            assert events.run.id == "run_1"
        raised = caught.value
        assert (raised.status, raised.code, raised.type, raised.param) == (None, "c", "t", None)
        assert (raised.message, raised.request_id) == ("sorry", "req_1")

    async def test_errors_without_words(self) -> None:
        """An error event without the API's error fields is shown as it came, without the key."""
        with pytest.raises(ResponseError, match=r"sent an error event: no \*\*\*") as caught:
            await events_of(*framed(CREATED, ("error", "no sk-of-the-tests")))
        assert caught.value.body == "no ***"

    async def test_nonsense(self) -> None:
        """An event that does not fit the API raises an error that names the event and the place in it."""
        for field, strict in (("role", True), ("id", False)):
            bad = ("thread.message.created", {**message("msg_0"), field: 7})
            place = rf"event 2 of the stream, thread\.message\.created.* \$\.{field}"
            with pytest.raises(ProtocolError, match=place) as caught:
                await events_of(*framed(CREATED, bad), strict=strict)
            assert caught.value.paths == (f"expected str, got int 7 @ $.{field}",)
        with pytest.raises(ProtocolError, match=r"event 1 of the stream, thread\.run\.created: not JSON"):
            await events_of(b"event: thread.run.created\ndata: {]\n\n")

    async def test_nonsense_after_much_text(self) -> None:
        """So it does after events that were read at once; each of them counts."""
        many = [delta("msg_0", f" {number}") for number in range(200)]
        bad = ("thread.message.completed", {**message("msg_0"), "role": 7})
        for sent in ([*many, bad], [*many, delta("msg_0", "", 1), *many[:40], bad]):
            with pytest.raises(
                ProtocolError, match=rf"event {len(sent) + 1} of the stream, thread\.message\.completed"
            ):
                await events_of(*framed(CREATED, *sent), strict=True)

    async def test_names_inside_the_data(self) -> None:
        """An event without a name is the one inside its data, if there is one; else it stays unknown."""
        inside = [("message", {"event": name, "data": body}) for name, body in (CREATED, delta("msg_0", "He"))]
        frames = [frame.removeprefix(b"event: message\n") for frame in framed(*inside, ("message", {"event": 1}))]
        changed, text, unknown, ended = await events_of(*frames, *framed(COMPLETED))
        assert (changed.run.status, text.text, ended.run.status) == ("queued", "He", "completed")
        assert unknown == UnknownEvent("message", {"event": 1})
        with pytest.raises(ResponseError, match="sent an error event"):
            await events_of(b'data: {"event": "error", "data": {"message": "no"}}\n\n')

    async def test_oddities(self) -> None:
        """Odd deltas and snapshots merge like any other: the text is told once, and no event is lost."""
        odd = (
            [{"type": "text", "text": "Hel"}],
            [{"index": 0, "type": "text", "text": {"value": "lo", "annotations": 0}}],
        )
        whole = {**message("msg_0", "Hello"), "content": [{"type": "text", "text": "Hello"}], "created_at": "soon"}
        frames = framed(
            CREATED,
            ("thread.message.created", {"id": "msg_0", "status": "in_progress", "content": None}),
            *(("thread.message.delta", {"id": "msg_0", "delta": {"content": content}}) for content in odd),
            ("thread.message.completed", whole),
            ("thread.run.completed", {**run("completed"), "tools": None}),
        )
        async with streaming(ends(*frames)) as (_, events):
            seen = [event async for event in events]
            assert [message.text for message in events.messages] == ["Hello"]
        assert "".join(event.text for event in seen if isinstance(event, MessageDelta)) == "Hello"
        assert [type(event) for event in seen] == [
            StatusChanged,
            MessageChanged,
            MessageDelta,
            MessageDelta,
            MessageChanged,
            RunEnded,
        ]
        with pytest.raises(ProtocolError, match=r"event 2 of the stream"):
            await events_of(*frames, strict=True)


class TestDocumentedStreams:
    """The streams in the API's documentation: repaired to be valid JSON, and verbatim."""

    @pytest.mark.parametrize("name", STREAMS)
    async def test_repaired(self, name: str) -> None:
        """Each documented stream is read completely."""
        toolbox, first = Toolbox(), STREAMS[name]

        @toolbox.tool
        def get_current_weather(location: str, unit: str) -> str:
            return f"70 {unit} in {location}"

        rest = STREAMS["submitToolOuputsToRun.streaming.sse"]
        async with Stub(stream(first, chunked=False), stream(rest, chunked=False)) as stub, stub.session() as session:
            if name.startswith("submit"):
                opened = session.runs.stream_tool_outputs(
                    thread_id="thread_123", run_id="run_123", tool_outputs=[], toolbox=toolbox
                )
            else:
                opened = session.threads.stream_run(assistant_id="asst_123", toolbox=toolbox)
            async with opened as events:
                seen = [event async for event in events]
                assert isinstance(seen[-1], RunEnded)
                assert seen[-1].status == "completed"
                assert not any(isinstance(event, UnknownEvent | PollingTookOver) for event in seen)
                (last,) = events.messages
                assert last.status == "completed"

    @pytest.mark.parametrize("name", VERBATIM)
    async def test_verbatim(self, name: str) -> None:
        """A surplus brace raises an error that says where; polling replaces an event without its field name."""
        *_, last, _ = Decoder().feed(STREAMS["createThreadAndRun.streaming.sse"])
        async with (
            Stub(stream(VERBATIM[name], chunked=False), reply(json.loads(last[1])), EMPTY, EMPTY) as stub,
            stub.session() as session,
            session.threads.stream_run(assistant_id="asst_123", polling=QUICK) as events,
        ):
            if name == "createThreadAndRun.streaming.sse":
                seen = [event async for event in events]
                assert [type(event) for event in seen[-2:]] == [PollingTookOver, RunEnded]
            else:
                words = r"event \d of the stream, thread\.run\..*: not JSON: Extra data: line 1 column"
                with pytest.raises(ProtocolError, match=words):
                    await events.until_done()


class TestText:
    async def test_text_deltas(self) -> None:
        """Only the text, piece by piece."""
        sent = [
            CREATED,
            delta("msg_0", "He"),
            delta("msg_0", ""),
            delta("msg_0", "llo", 1),
            delta("msg_1", "!"),
            COMPLETED,
        ]
        async with streaming(ends(*framed(*sent))) as (_, events):
            assert [text async for text in events.text_deltas()] == ["He", "llo", "!"]

    async def test_messages_meanwhile(self) -> None:
        """`messages` matches the events yielded so far, even if more bytes have arrived."""
        sent = [
            CREATED,
            ("thread.message.created", message("msg_0")),
            *(delta("msg_0", str(n)) for n in range(99)),
            ("thread.message.delta", {**delta("msg_0", "")[1], "more": 1}),
            *(delta("msg_0", str(n)) for n in range(3)),
            *(delta("msg_0", str(n), 1) for n in range(3)),
            COMPLETED,
        ]
        async with streaming(ends(*framed(*sent))) as (_, events):
            text = ""
            async for event in events:
                if isinstance(event, MessageDelta):
                    text += event.text
                assert "".join(message.text for message in events.messages) == text
                assert (events.run.status == "completed") == isinstance(event, RunEnded)

    async def test_no_deltas(self) -> None:
        """If a server sends whole messages only, deltas are yielded for their text."""
        frames = framed(CREATED, ("thread.message.completed", message("msg_0", "Hello")), COMPLETED)
        assert text_of(await events_of(*frames)) == {"msg_0": "Hello"}


class TestToolCalls:
    async def test_without_a_toolbox(self) -> None:
        """The stream ends when the run waits for outputs; another stream submits them and continues."""
        story = Story([leg(0, ["a"], ["call_1"]), leg(1, ["b"], [])])
        async with Stub(story) as stub, stub.session() as session:
            async with session.runs.stream("thread_1", assistant_id="asst_1") as events:
                seen = [event async for event in events]
                assert isinstance(seen[-1], ActionRequired)
                with pytest.raises(RunActionRequiredError, match="requires outputs of f: pass a toolbox"):
                    await events.until_done()
            outputs = [ToolOutput(tool_call_id="call_1", output="1")]
            async with session.runs.stream_tool_outputs(events.run, outputs) as more:
                assert [text async for text in more.text_deltas()] == ["b"]
                assert (await more.until_done()).status == "completed"

    async def test_through_the_calls(self) -> None:
        """With a toolbox the stream continues: calls are answered, and the events are those of one run."""
        toolbox = Counting()
        story = Story([leg(0, ["a"], ["call_1", "call_2"]), leg(1, ["b"], [])])
        async with streaming(story, toolbox=toolbox) as (stub, events):
            seen = [event async for event in events]
        assert (toolbox.calls, story.streams) == (2, 2)
        assert [set(outputs) for outputs in story.submissions] == [{"call_1", "call_2"}]
        submitted = next(event for event in seen if isinstance(event, ToolOutputsSubmitted))
        assert {output.tool_call_id for output in submitted.outputs} == {"call_1", "call_2"}
        assert text_of(seen) == {"msg_0": "a", "msg_1": "b"}
        assert stub.connections == 1

    async def test_the_same_ids_in_each_round(self) -> None:
        """An endpoint that counts the IDs of calls from call_0 in each round has as many rounds as any other."""
        story = Story([leg(n, [str(n)], ["call_0"]) for n in range(3)] + [leg(3, ["3"], [])])
        async with streaming(story, toolbox=Counting()) as (_, events):
            seen = [event async for event in events]
        assert len(story.submissions) == 3
        assert sum(isinstance(event, ActionRequired) for event in seen) == 3
        assert sum(isinstance(event, ToolOutputsSubmitted) for event in seen) == 3
        assert text_of(seen) == {f"msg_{n}": str(n) for n in range(4)}

    @pytest.mark.parametrize("is_stale", [True, False])
    async def test_the_same_calls_after_a_lost_stream(self, is_stale: bool) -> None:
        """Polled after a submission, the same calls are stale if their outputs are refused, else another round."""
        head, waits = Reply(stream().data[:-5], "close"), reply(waiting("call_0"))
        answers = [ends(*framed(*leg(0, [], ["call_0"]))), head, waits, EMPTY, EMPTY]
        if is_stale:
            answers += [error(400, "no"), reply(run("in_progress")), reply(run("completed")), EMPTY, EMPTY]
        else:
            answers += [ends(*framed(*leg(1, ["b"], [])))]
        toolbox = Counting()
        async with streaming(*answers, toolbox=toolbox) as (stub, events):
            seen = [event async for event in events]
        assert len(stub.requests) == len(answers)
        assert toolbox.calls == 1
        assert sum(isinstance(event, ActionRequired) for event in seen) == 2 - is_stale
        assert sum(isinstance(event, ToolOutputsSubmitted) for event in seen) == 2 - is_stale
        changes = [event for event in seen if isinstance(event, StatusChanged)]
        assert [event.previous for event in changes] == [None, *(event.status for event in changes[:-1])]

    @pytest.mark.parametrize("kind", ["approval", "nothing"])
    async def test_no_function_calls(self, kind: str) -> None:
        """A toolbox cannot approve anything: an error at once says what is required; without one, it is reported."""
        action = {"type": "submit_tool_approval", "submit_tool_approval": {}} if kind == "approval" else None
        waits = framed(CREATED, ("thread.run.requires_action", run("requires_action", required_action=action)))
        async with streaming(ends(*waits), toolbox=Counting()) as (stub, events):
            with pytest.raises(RunActionRequiredError, match=r"'submit_tool_approval'|does not say which"):
                await events.until_done()
        assert len(stub.requests) == 1
        assert isinstance((await events_of(*waits))[-1], ActionRequired)

    async def test_a_tool_that_fails(self) -> None:
        """A failing tool ends the iteration, as it ends `follow`."""
        toolbox = Toolbox(on_error="raise")

        @toolbox.tool
        def f() -> str:
            raise LookupError

        async with streaming(Story([leg(0, [], ["call_1"])]), toolbox=toolbox) as (_, events):
            with pytest.raises(ToolError):
                await events.until_done()

    async def test_somebody_else_answers(self) -> None:
        """If another client submitted the outputs, the run is polled from its current state."""
        first = ends(*framed(*leg(0, [], ["call_1"])))
        answers = [first, error(400, "not waiting"), reply(run("in_progress")), reply(run("completed")), EMPTY, EMPTY]
        async with streaming(*answers, toolbox=Counting()) as (_, events):
            seen = [event async for event in events]
        took_over = next(event for event in seen if isinstance(event, PollingTookOver))
        assert took_over.run.status == "in_progress"
        assert not any(isinstance(event, ToolOutputsSubmitted) for event in seen)

    async def test_outputs_are_refused(self) -> None:
        """If the outputs are refused and the run still waits, the error is raised."""
        waits = framed(*leg(0, [], ["call_1"]))
        answers = ends(*waits), error(400, "too large"), reply(waiting("call_1"))
        async with streaming(*answers, toolbox=Counting()) as (_, events):
            with pytest.raises(BadRequestError, match="too large"):
                await events.until_done()


FAILED = run("failed", last_error={"code": "server_error", "message": "No."})


def written(*texts: str) -> tuple[Reply, Reply]:
    """The lists of a run's steps and messages."""
    steps = [step(f"step_{n}", "completed", f"msg_{n}") for n, _ in enumerate(texts)]
    messages = [message(f"msg_{n}", text) for n, text in enumerate(texts)]
    one, other = (reply({"object": "list", "data": data, "has_more": False}) for data in (steps, messages))
    return one, other


class TestEndsThatRequestsBring:
    """An iterator ends once it has reported the run's end, not when a terminal snapshot has arrived."""

    @pytest.mark.parametrize("ended", [run("completed"), FAILED])
    async def test_the_answer_to_the_start_is_lost(self, ended: Any) -> None:
        """A run that is found by its marker and has ended meanwhile: its text and its end are reported."""
        found = {"object": "list", "data": [{**ended, "metadata": {MARKER: "m"}}], "has_more": False}
        async with streaming(CUT, reply(found), *written("Hello"), idempotency_key="m") as (_, events):
            seen = [event async for event in events]
            assert text_of(seen) == {"msg_0": "Hello"}
            assert [event.status for event in seen if isinstance(event, StatusChanged)] == [ended["status"]]
            assert isinstance(seen[-1], RunEnded)

    async def test_plain_json(self) -> None:
        """The same if an endpoint that does not stream responds with a run that has ended."""
        async with streaming(reply(run("completed")), *written("Hello")) as (_, events):
            seen = [event async for event in events]
        assert text_of(seen) == {"msg_0": "Hello"}
        assert isinstance(seen[-1], RunEnded)

    async def test_the_answer_to_outputs_is_lost(self) -> None:
        """The same for tool outputs whose stream is lost, with a toolbox and without."""
        waits, ended = ends(*framed(*leg(0, [], ["call_1"]))), reply(run("completed"))
        async with streaming(waits, CUT, ended, *written("Hello"), toolbox=Counting()) as (_, events):
            seen = [event async for event in events]
        assert text_of(seen) == {"msg_0": "Hello"}
        assert [type(event) for event in seen if isinstance(event, ToolOutputsSubmitted | RunEnded)] == [
            ToolOutputsSubmitted,
            RunEnded,
        ]
        outputs = [ToolOutput(tool_call_id="call_1", output="1")]
        async with (
            Stub(CUT, ended, *written("Hello")) as stub,
            stub.session() as session,
            session.runs.stream_tool_outputs(load(waiting("call_1"), Run), outputs, polling=QUICK) as more,
        ):
            seen = [event async for event in more]
        assert text_of(seen) == {"msg_0": "Hello"}
        assert [(event.previous, event.status) for event in seen if isinstance(event, RunEnded)] == [
            ("requires_action", "completed")
        ]

    async def test_cancelled_while_a_tool_works(self) -> None:
        """If the run is cancelled meanwhile, the outputs are refused, and the end is reported."""
        waits = ends(*framed(*leg(0, [], ["call_1"])))
        answers = [waits, error(400, "not waiting"), reply(run("cancelled")), EMPTY, EMPTY]
        async with streaming(*answers, toolbox=Counting()) as (_, events):
            *_, last = [event async for event in events]
            with pytest.raises(RunCancelledError):
                await events.until_done()
        assert isinstance(last, RunEnded)
        assert (last.previous, last.status) == ("requires_action", "cancelled")


class TestLostConnections:
    async def test_said_so(self) -> None:
        """PollingTookOver says why the stream ended; what was reported before is not repeated."""
        story = Story([leg(0, ["Hel", "lo"], [])], [0.5])
        async with streaming(story) as (_, events):
            seen = [event async for event in events]
        took_over = [event for event in seen if isinstance(event, PollingTookOver)]
        assert len(took_over) == 1
        assert "broke off" in took_over[0].reason
        assert text_of(seen) == {"msg_0": "Hello"}

    async def test_an_end_too_early(self) -> None:
        """The same for a stream that ends properly while the run is active."""
        answers = [ends(*framed(CREATED)), reply(run("queued")), reply(run("failed")), EMPTY, EMPTY]
        async with streaming(*answers) as (_, events):
            created, took_over, ended = [event async for event in events]
            with pytest.raises(RunFailedError):
                await events.until_done()
        assert took_over == PollingTookOver(created.run, "the stream ended before the run did")
        assert (ended.previous, ended.status) == ("queued", "failed")

    @pytest.mark.parametrize("chunked", [True, False])
    async def test_in_the_middle_of_an_event(self, chunked: bool) -> None:
        """A truncated event counts as a broken connection, not as invalid data."""
        frames = framed(CREATED, delta("msg_0", "Hello"))
        whole = stream(*frames, chunked=chunked)
        cut = Reply(whole.data[: whole.data.index(b"Hello") + 2], "close")
        answers = [
            cut,
            reply(run("completed")),
            EMPTY,
            reply({"object": "list", "data": [message("msg_0", "Hello")], "has_more": False}),
        ]
        async with streaming(*answers) as (_, events):
            seen = [event async for event in events]
        assert text_of(seen) == {"msg_0": "Hello"}
        assert [type(event) for event in seen][-1] is RunEnded

    async def test_before_the_first_event(self) -> None:
        """After a lost response, the run is found by its marker, and polled."""
        story = Story([leg(0, ["Hello"], [])], [0.0])
        async with streaming(story) as (stub, events):
            seen = [event async for event in events]
        assert [request.method for request in stub.requests[:2]] == ["POST", "GET"]
        assert [type(event) for event in seen[:2]] == [PollingTookOver, StatusChanged]
        assert text_of(seen) == {"msg_0": "Hello"}

    async def test_after_the_head(self) -> None:
        """The same if a stream had begun; a lookup that finds nothing yet is repeated."""
        head = Reply(stream().data[:-5], "close")
        found = {"object": "list", "data": [run("completed", metadata={MARKER: "m"})], "has_more": False}
        answers = [head, EMPTY, reply(found), EMPTY, EMPTY]
        async with streaming(*answers, idempotency_key="m") as (_, events):
            assert [type(event) async for event in events] == [PollingTookOver, RunEnded]

    async def test_a_run_that_cannot_be_found(self) -> None:
        """Without a marker the run cannot be found, and the request is not repeated."""
        full = {str(number): "" for number in range(16)}
        head = Reply(stream().data[:-5], "close")
        async with streaming(head, metadata=full) as (stub, events):
            with pytest.raises(TransportError, match=r"broke off.*may have been started") as caught:
                await events.until_done()
        assert caught.value.maybe_done
        assert len(stub.requests) == 1

    async def test_a_run_that_is_not_there(self) -> None:
        """Looking for the run ends after the outage limit."""
        head = Reply(stream().data[:-5], "close")
        polling = Polling(first=0.001, longest=0.001, outage=0.0)
        async with streaming(lambda request: head if request.method == "POST" else EMPTY, polling=polling) as (
            _,
            events,
        ):
            with pytest.raises(TransportError, match="may have been started"):
                await events.until_done()

    @pytest.mark.parametrize("known", [True, False])
    async def test_a_new_thread(self, known: bool) -> None:
        """The run on a new thread is found if the thread's event has arrived."""
        thread = framed(("thread.created", {"id": "thread_1", "object": "thread", "created_at": 0}))
        head = Reply(stream(*thread * known).data[:-5], "close")
        found = reply({"object": "list", "data": [run("completed")], "has_more": False})
        async with (
            Stub(head, EMPTY, found, EMPTY, EMPTY) as stub,
            stub.session() as session,
            session.threads.stream_run(assistant_id="asst_1", polling=QUICK) as events,
        ):
            if known:
                assert [type(event) async for event in events] == [ThreadCreated, PollingTookOver, RunEnded]
                assert stub.requests[1].target == "/v1/threads/thread_1/runs?limit=1"
            else:
                with pytest.raises(TransportError, match="the run on a new thread may have been started"):
                    await events.until_done()

    async def test_the_log_names_the_run(self, caplog: pytest.LogCaptureFixture) -> None:
        """Once the ID of a run on a new thread has come, what is said of the run has it."""
        cut = Reply(stream(*framed(CREATED)).data[:-5], "close")
        async with (
            Stub(cut, error(503), reply(run("completed")), EMPTY, EMPTY) as stub,
            stub.session(max_retries=0) as session,
            session.threads.stream_run(assistant_id="asst_1", polling=QUICK) as events,
        ):
            await events.until_done()
        [line] = [record.getMessage() for record in caplog.records if record.name == "openai_runs.following"]
        assert line.startswith("run run_1: the endpoint has been unreachable")

    async def test_an_endpoint_that_does_not_stream(self) -> None:
        """An endpoint that does not stream responds with the run, which is then polled."""
        answers = [reply(run("queued")), reply(run("completed")), EMPTY, EMPTY]
        async with streaming(*answers) as (_, events):
            took_over, queued, ended = [event async for event in events]
        assert took_over == PollingTookOver(queued.run, "the response was the run instead of a stream")
        assert ended.status == "completed"

    async def test_after_the_end(self) -> None:
        """A connection that breaks after the run's end changes nothing."""
        whole = ends(*framed(CREATED, COMPLETED))
        async with streaming(whole.cut(30)) as (stub, events):
            await events.until_done()
        assert len(stub.requests) == 1

    @pytest.mark.unmeasured
    async def test_twenty_cuts(self) -> None:
        """Three tool rounds, ten thousand deltas, and a connection that breaks twenty times, at random."""
        pieces = [f"{number} " for number in range(10_000)]
        legs = [leg(n, pieces[n::4], [f"call_{n}"] if n < 3 else []) for n in range(4)]
        dice = random.Random(4711)
        for _ in range(3):
            # The first cut of each stream, and the others among polls, looks, submissions and lists.
            toolbox = Counting()
            cuts = [dice.random() for _ in range(20)]
            gaps = [None if dice.random() < 0.3 else cuts.pop() for _ in range(60) if cuts]
            story = Story(legs, gaps)
            async with streaming(story, toolbox=toolbox) as (_, events):
                seen = [event async for event in events]
            assert not cuts
            assert text_of(seen) == {f"msg_{n}": "".join(pieces[n::4]) for n in range(4)}
            assert toolbox.calls == len(story.submissions) == 3
            assert statuses(seen) == statuses(await polled(legs))
