"""`stream: true`: which events come in which order, when, and what happens to slow or disconnected readers."""

import asyncio
import logging
import socket
import tracemalloc
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aiohttp import ClientSession, web
from attrs import define, field

from openai_runs.backends import Call, Fail, Refuse, Say, ScriptedBackend, Stop, Wait
from openai_runs.engine import ApiEvent, Engine, ManualClock
from openai_runs.engine.api_events import TextPiece
from openai_runs.engine.turn_output import MessageDraft
from openai_runs.models.message import CitedFile, FilePath
from openai_runs.server import LocalServer, create_app, sse_response
from openai_runs.server.sse_response import HEARTBEAT, STREAMS, Outbox
from openai_runs.stores import MemoryStore
from tests.server.api import Api
from tests.server.event_stream import documented, events_of, story, text_of

pytestmark = pytest.mark.anyio

WEATHER = Call("get_weather", {"city": "Oslo"})
TOOL = {"type": "function", "function": {"name": "get_weather"}}


@define
class Place:
    """A server with a script and a manual clock, and its client."""

    api: Api
    app: web.Application
    engine: Engine
    clock: ManualClock
    port: int
    assistant_id: str = field(default="", init=False)

    def begin(self, **body):
        """Create and stream a run in a new thread; returns the response, to be entered."""
        return self.open("/threads/runs", {"assistant_id": self.assistant_id, **body})

    def open(self, path, body):
        return self.api.http.post(self.api.url + path, json={**body, "stream": True})

    async def told(self, path, **body):
        """All events of a stream."""
        async with self.open(path, body) as response:
            assert response.status == 200, await response.text()
            return events_of(await response.read())

    async def thread(self):
        return (await self.api("POST", "/threads", {"messages": [{"role": "user", "content": "Hi"}]}))["id"]

    async def until(self, condition):
        """Wait for a condition by yielding to the event loop."""
        with anyio.fail_after(20):
            while not condition():
                await anyio.lowlevel.checkpoint()

    async def tick(self, times=1):
        """Advance the clock by heartbeats."""
        for _ in range(times):
            self.clock.advance(HEARTBEAT)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def place(*script, **options):
    clock = ManualClock()
    engine = Engine(store=MemoryStore(), backend=ScriptedBackend(script), clock=clock, **options)
    async with engine:
        app = create_app(engine)
        runner = web.AppRunner(app, shutdown_timeout=5)
        await runner.setup()
        try:
            sock = socket.create_server(("127.0.0.1", 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)  # so that slow readers show soon
            await web.SockSite(runner, sock).start()
            port = runner.addresses[0][1]
            async with ClientSession() as http:
                here = Place(Api(http, f"http://127.0.0.1:{port}/v1"), app, engine, clock, port)
                assistant = await here.api("POST", "/assistants", {"model": "m", "tools": [TOOL]})
                here.assistant_id = assistant["id"]
                yield here
        finally:
            await runner.cleanup()
        await here.until(lambda: not app[STREAMS])
        assert not engine._ledger._subscribers


def waiting_calls(events):
    """The path of the run that a stream ended with, and outputs for its tool calls."""
    run = events[-2][1]
    calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in calls]
    return f"/threads/{run['thread_id']}/runs/{run['id']}", outputs


# --- order


async def test_a_message(anyio_backend):
    """createRun and createThreadAndRun send the same events as the document's examples."""
    async with place(Say("Hello! How can I help?")) as here:
        events = await here.told(f"/threads/{await here.thread()}/runs", assistant_id=here.assistant_id)
        assert story(events) == documented("createRun.streaming.sse")
        assert story(events) == documented("createRun.streaming-with-functions.sse")  # which calls none, either
        assert text_of(events) == "Hello! How can I help?"
        events = await here.told("/threads/runs", assistant_id=here.assistant_id)
        assert story(events) == documented("createThreadAndRun.streaming.sse")


async def test_calls_and_outputs(anyio_backend):
    """A stream ends with the tool calls; the stream of the outputs begins with the step that received them."""
    async with place(WEATHER, Say("It is sunny.")) as here:
        events = await here.told("/threads/runs", assistant_id=here.assistant_id)
        assert story(events) == documented("createThreadAndRun.streaming-with-functions.sse")
        path, outputs = waiting_calls(events)
        events = await here.told(f"{path}/submit_tool_outputs", tool_outputs=outputs)
        assert story(events) == documented("submitToolOuputsToRun.streaming.sse")
        assert events[0][1]["step_details"]["tool_calls"][0]["function"]["output"] == "sunny"
        run = await here.api("GET", path)
        assert run == events[-2][1]
        messages = await here.api("GET", f"/threads/{run['thread_id']}/messages")
        assert messages["data"][0]["content"][0]["text"]["value"] == text_of(events) == "It is sunny."


async def test_words_before_calls(anyio_backend):
    """A message and then its step are completed before the tool calls after them begin."""
    async with place([Say("Let me see."), WEATHER], [Refuse("No. Never.")]) as here:
        events = await here.told("/threads/runs", assistant_id=here.assistant_id)
        assert story(events)[4:] == [
            *("run.step.created", "run.step.in_progress", "message.created", "message.in_progress"),
            *("message.delta", "message.completed", "run.step.completed"),
            *("run.step.created", "run.step.in_progress", "run.step.delta", "run.requires_action", "done"),
        ]
        path, outputs = waiting_calls(events)
        events = await here.told(f"{path}/submit_tool_outputs", tool_outputs=outputs)
        parts = [data["delta"]["content"][0] for name, data in events if name == "thread.message.delta"]
        assert parts == [{"index": 0, "type": "refusal", "refusal": piece} for piece in ("No.", " Never.")]


@pytest.mark.parametrize("first", [True, False])
async def test_one_half_streamed(anyio_backend, first):
    """Each half of a run works with and without a stream."""
    async with place(WEATHER, Say("It is sunny.")) as here:
        if first:
            path, outputs = waiting_calls(await here.told("/threads/runs", assistant_id=here.assistant_id))
            await here.api("POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs})
            assert (await here.api.ended(await here.api("GET", path)))["status"] == "completed"
        else:
            run = await here.api("POST", "/threads/runs", {"assistant_id": here.assistant_id})
            path, outputs = waiting_calls([(None, await here.api.ended(run)), None])
            events = await here.told(f"{path}/submit_tool_outputs", tool_outputs=outputs)
            assert story(events) == documented("submitToolOuputsToRun.streaming.sse")


@pytest.mark.parametrize(
    ("part", "status", "message"),
    [
        (Fail(), "failed", "incomplete"),
        (Stop("max_tokens"), "incomplete", "incomplete"),
        (Stop("stop"), *2 * ("completed",)),
    ],
)
async def test_other_ends(anyio_backend, part, status, message):
    """However a run ends, its message ends before its step, and its step before the run."""
    async with place([Say("I"), part]) as here:
        events = await here.told("/threads/runs", assistant_id=here.assistant_id)
        step = "failed" if status == "failed" else "completed"
        assert story(events)[-4:] == [f"message.{message}", f"run.step.{step}", f"run.{status}", "done"]


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("cancel", ["run.cancelling", "message.incomplete", "run.step.cancelled", "run.cancelled", "done"]),
        ("delete", ["message.delta", "message.incomplete", "run.step.cancelled", "run.cancelled", "done"]),
        ("expire", ["message.delta", "message.incomplete", "run.step.expired", "run.expired", "done"]),
    ],
)
async def test_ended_by_others(anyio_backend, how, ends):
    """A stream reports the run's end, whoever ended it."""
    async with place([Say("I"), Wait()]) as here, here.begin() as response:
        text = b""
        while b"message.delta" not in text:
            text += await response.content.readany()
        run = events_of(text)[1][1]
        if how == "cancel":
            await here.api("POST", f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
        elif how == "delete":
            await here.api("DELETE", f"/threads/{run['thread_id']}")
        else:
            here.clock.advance(600)
        assert story(events_of(text + await response.read()))[-5:] == ends


# --- responses that are no streams


async def test_refusals_are_answers(anyio_backend):
    """A refused request gets a status and an error body, as without a stream, and changes nothing."""
    async with place(WEATHER) as here:
        path, outputs = waiting_calls(await here.told("/threads/runs", assistant_id=here.assistant_id))
        all_runs = path.rpartition("/")[0]
        for url, body, status in [
            (all_runs, {"assistant_id": here.assistant_id}, 400),  # a run is active
            (all_runs, {"assistant_id": here.assistant_id, "temperature": 3}, 400),
            ("/threads/thread_x/runs", {"assistant_id": here.assistant_id}, 404),
            ("/threads/runs", {"assistant_id": "asst_x"}, 404),
            (f"{path}/submit_tool_outputs", {"tool_outputs": outputs * 2}, 400),
            (f"{all_runs}/run_x/submit_tool_outputs", {"tool_outputs": outputs}, 404),
        ]:
            await here.api("POST", url, {**body, "stream": True}, status=status)
        assert not here.app[STREAMS]
        assert (await here.api("GET", path))["status"] == "requires_action"


async def test_headers(anyio_backend):
    """The headers keep proxies, browsers and libraries from buffering or caching the stream."""
    async with place(Say("Hi")) as here, here.begin() as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers  # though the client takes several
        assert response.headers["x-request-id"].startswith("req_")
        assert response.headers["openai-version"] == "2020-10-01"
        await response.read()


async def test_an_old_client(anyio_backend):
    """HTTP/1.0 has no chunked encoding: closing the connection ends the stream."""
    async with place(Say("Hi")) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        body = b'{"assistant_id":"%b","stream":true}' % here.assistant_id.encode()
        head = b"POST /v1/threads/runs HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        _, _, text = (await reader.read()).partition(b"\r\n\r\n")
        assert story(events_of(text)) == documented("createThreadAndRun.streaming.sse")
        writer.close()
        await writer.wait_closed()


# --- time


async def test_tokens_come_as_they_are_said(anyio_backend):
    """An event is sent at once, and does not wait for the next one."""
    said = [anyio.Event() for _ in range(3)]
    script = [Say("one"), Wait(said[0]), Say(" two"), Wait(said[1]), Say(" three more words")]
    async with place(script) as here, here.begin() as response:
        text = b""
        for event, token in zip(said, ("one", " two", " words"), strict=True):
            while f'"value":"{token}"'.encode() not in text:
                text += await response.content.readany()
            event.set()
        assert text_of(events_of(text + await response.read())) == "one two three more words"


async def test_what_is_ready_is_one_write(anyio_backend, monkeypatch):
    """Events that are ready together are sent in one write."""
    written = []
    write = web.StreamResponse.write

    async def listening(self, data):
        written.append(data)
        await write(self, data)

    monkeypatch.setattr(web.StreamResponse, "write", listening)
    async with place(Say(" ".join(["word"] * 1000))) as here:
        assert text_of(await here.told("/threads/runs", assistant_id=here.assistant_id)) == " ".join(["word"] * 1000)
    assert len(written) < 10
    assert max(map(len, written)) < 2**17


async def test_heartbeats(anyio_backend):
    """An idle stream sends keep-alives, which no client takes for an event."""
    said = anyio.Event()
    async with place([Say("I"), Wait(said), Say(" see.")]) as here, here.begin() as response:
        text = b""
        while b"message.delta" not in text:
            text += await response.content.readany()
        for _ in range(3):
            await here.tick()
            assert await response.content.readany() == b": keep-alive\n"
        said.set()
        assert text_of(events_of(text + await response.read())) == "I see."


# --- readers


async def test_a_reader_that_leaves(anyio_backend):
    """The run goes on without its reader, and the connection is dropped at the next write."""
    said = anyio.Event()
    async with place([Say("I"), Wait(said), Say(" see.")]) as here:
        async with here.begin() as response:
            text = b""
            while b"message.delta" not in text:
                text += await response.content.readany()
            events = events_of(text)
            response.close()
        run = events[1][1]
        assert here.app[STREAMS]
        said.set()
        await here.until(lambda: not here.app[STREAMS])
        assert not here.engine._ledger._subscribers
        run = await here.api.ended(run)
        assert run["status"] == "completed"


async def test_a_reader_that_leaves_in_silence(anyio_backend):
    """While there is nothing to send, the next heartbeat notices that the reader is gone."""
    async with place([Say("I"), Wait()]) as here:
        async with here.begin() as response:
            await response.content.readany()
            response.close()
        await here.until(lambda: all(stream._request.transport is None for stream in here.app[STREAMS]))
        await here.tick()
        await here.until(lambda: not here.app[STREAMS])
        assert not here.engine._ledger._subscribers


async def test_a_reader_that_leaves_before_the_server_does(anyio_backend):
    """An abandoned stream does not outlive the server."""
    async with place([Say("I"), Wait()]) as here:
        async with here.begin() as response:
            await response.content.readany()
            response.close()
        await here.until(lambda: all(stream._request.transport is None for stream in here.app[STREAMS]))
        assert here.app[STREAMS]


async def reader_that_does_not_read(here):
    """Requests a stream, and reads nothing of it."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", here.port))
    body = b'{"assistant_id":"%b","stream":true}' % here.assistant_id.encode()
    head = b"POST /v1/threads/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    await loop.sock_sendall(sock, head % len(body) + body)
    await here.until(lambda: here.app[STREAMS])
    [connection] = here.app[STREAMS]
    await here.until(lambda: connection.queue._is_complete)
    return sock, connection


LONG = " ".join(["word"] * 20_000)


async def test_a_slow_reader(anyio_backend):
    """A slow reader does not delay its run, and gets every event at its own pace."""
    async with place(Say(LONG)) as here:
        sock, connection = await reader_that_does_not_read(here)
        assert len(connection.queue._pending) > 15_000
        assert connection._request.transport.get_write_buffer_size() < 2**18
        loop, text = asyncio.get_running_loop(), bytearray()
        while not text.endswith(b"0\r\n\r\n"):
            text += await loop.sock_recv(sock, 2**20)
        sock.close()
        assert text.count(b'"value":"word"') + text.count(b'"value":" word"') == 20_000
        assert text.endswith(b"event: done\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        await here.until(lambda: not here.app[STREAMS])


async def test_a_slow_reader_and_the_next_stream(anyio_backend):
    """A slow reader of a run's first half does not affect the reader of the second."""
    said = anyio.Event()
    async with place([Say(LONG), WEATHER], [Say("It"), Wait(said), Say(" is sunny.")]) as here:
        sock, connection = await reader_that_does_not_read(here)
        run = connection.queue._pending[-2].data
        outputs = [{"tool_call_id": call.id, "output": "sunny"} for call in run.pending_tool_calls]
        path = f"/threads/{run.thread_id}/runs/{run.id}/submit_tool_outputs"
        async with here.open(path, {"tool_outputs": outputs}) as response:
            first = await response.content.readuntil(b"\n\n")
            sock.close()
            await here.until(lambda: connection not in here.app[STREAMS])
            said.set()
            events = events_of(first + await response.read())
        assert story(events) == documented("submitToolOuputsToRun.streaming.sse")
        assert text_of(events) == "It is sunny."


async def test_a_reader_that_does_not_read(anyio_backend):
    """A stalled reader is dropped after five minutes, however much is pending; its run ended long before."""
    async with place(Say(LONG)) as here:
        sock, _ = await reader_that_does_not_read(here)
        await here.tick(20)
        assert here.app[STREAMS]
        while here.app[STREAMS]:  # the operating system may have taken a little more in between
            await here.tick()
        sock.close()


async def test_a_reader_that_reads_now_and_then(anyio_backend):
    """A reader that is slow but makes progress is not dropped."""
    async with place(Say(LONG)) as here:
        sock, connection = await reader_that_does_not_read(here)
        loop = asyncio.get_running_loop()
        for _ in range(5):
            before = connection.queue.taken
            while connection.queue.taken == before:
                await loop.sock_recv(sock, 2**12)
            await here.tick(19)
        assert here.app[STREAMS]
        sock.close()
        await here.until(lambda: not here.app[STREAMS])


async def test_the_server_stops(anyio_backend):
    """A stopping server aborts its streams, so that none looks complete; their runs go on after a restart."""
    store, said = MemoryStore(), anyio.Event()
    backend = ScriptedBackend([[Say("I"), Wait(said), Say(" see.")]])
    async with ClientSession() as http:
        with anyio.fail_after(5):
            async with LocalServer(backend=backend, store=store, grace=60) as server:
                api = Api(http, server.url)
                assistant = await api("POST", "/assistants", {"model": "m"})
                body = {"assistant_id": assistant["id"], "stream": True}
                response = await http.post(f"{server.url}/threads/runs", json=body)
                text = b""
                while b"message.delta" not in text:
                    text += await response.content.readany()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        said.set()
        async with LocalServer(backend=backend, store=store) as server:
            run = await Api(http, server.url).ended(events_of(text)[1][1])
            assert run["status"] == "completed"


async def test_our_own_bug(anyio_backend, monkeypatch, caplog):
    """A bug while sending ends the stream with an error event that has the request ID; the run goes on."""

    def broken(*_):
        raise KeyError("secret")

    async with place(Say("Hi")) as here:
        monkeypatch.setattr(Outbox, "_encoded", broken)
        async with here.begin() as response:
            [(name, error)] = events_of(await response.read())
            assert (name, error["type"]) == ("error", "server_error")
            assert response.headers["x-request-id"] in error["message"]
        assert "secret" not in error["message"]
        (record,) = (record for record in caplog.records if record.name == "openai_runs.server")
        assert (record.levelno, "secret" in record.exc_text) == (logging.ERROR, True)


# --- the outbox by itself


def delta(data):
    return ApiEvent("thread.message.delta", data)


async def test_pieces_of_texts(anyio_backend):
    """Only deltas that continue a text are kept as bare strings, and each is sent as the same event."""
    writing, other, outbox = MessageDraft("step_1", "msg_1"), MessageDraft("step_2", 'msg_"2'), Outbox()
    note = FilePath(text="b", start_index=1, end_index=2, file_path=CitedFile(file_id="file_1"))
    deltas = [
        writing.add("text", "a"),
        writing.add("text", "b"),
        writing.add("text", 'c"\n\u2028\ud800'),
        writing.annotate(note),
        writing.add("text", "!"),
        other.add("text", "d"),
        writing.add("text", "e"),
        writing.add("refusal", "f"),
        writing.add("refusal", "g"),
        writing.add("text", "h"),
        writing.add("text", "i"),
        other.add("text", "j"),
        other.add("text", "k"),
    ]
    outbox.receive([delta(data) for data in deltas])
    outbox.put(b": now\n\n")
    outbox.receive([delta(writing.add("text", "l")), delta(writing.add("text", "m"))])
    text = (await outbox.take()).replace(b": now\n\n", b"")
    outbox.receive([delta(writing.add("text", "n"))])
    text += await outbox.take()
    assert sum(isinstance(item, str) for item in outbox._pending) == 0
    assert [data for _, data in events_of(text)][: len(deltas)] == deltas
    assert text_of(events_of(text))[-3:] == "lmn"


async def test_a_piece_that_comes_alone_is_sent_at_once(anyio_backend):
    """Without waking who waits for more, if the connection takes it; what cannot be sent at once stays in order."""
    writing, outbox, sent, takes = MessageDraft("step_1", "msg_1"), Outbox(), [], True

    def send_now(frame):
        if takes:
            sent.append(frame)
        return takes

    outbox.send_now = send_now
    outbox.receive([delta(writing.add("text", "a")), delta(writing.add("text", "b"))])
    assert sent == []  # nobody waits for them
    text = await outbox.take()
    async with anyio.create_task_group() as tasks:
        more = []

        async def take():
            more.append(await outbox.take())

        tasks.start_soon(take)
        await anyio.wait_all_tasks_blocked()
        outbox.receive([delta(writing.add("text", "c"))])
        assert outbox.taken == 2
        assert more == []
        takes = False
        outbox.receive([delta(writing.add("text", "d"))])
        outbox.receive([delta(writing.add("text", "e"))])
    assert outbox.taken == 3
    assert len(sent) == 1
    events = events_of(text + b"".join(sent) + more[0])
    assert text_of(events) == "abcde"
    assert [data for _, data in events][2:] == [
        {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": [part]}}
        for part in ({"index": 0, "type": "text", "text": {"value": value}} for value in "cde")
    ]


async def test_what_stands_between_a_piece_and_its_reader(anyio_backend, monkeypatch):
    """A piece goes at once only if nothing was sent so just before, nothing is unread, and the connection is open."""
    now, written = [10.0], []
    transport = SimpleNamespace(is_closing=lambda: False, get_write_buffer_size=lambda: 0, write=written.append)
    request = SimpleNamespace(transport=transport)
    monkeypatch.setattr(sse_response, "monotonic", lambda: now[0])
    connection = sse_response._Connection(request, Outbox())
    assert connection._send_now(b"x" * 26)
    assert written == [b"1a\r\n" + b"x" * 26 + b"\r\n"]
    now[0] += 0.001
    assert not connection._send_now(b"x")
    now[0] += 1
    transport.get_write_buffer_size = lambda: 1
    assert not connection._send_now(b"x")
    transport.is_closing = lambda: True
    assert not connection._send_now(b"x")
    request.transport = None
    assert not connection._send_now(b"x")
    assert len(written) == 1


async def test_the_last_event_is_the_last(anyio_backend):
    """Nothing is queued after a stream's final event: a slow reader gets no event of the run's second half."""
    async with place(WEATHER) as here:
        events = await here.told("/threads/runs", assistant_id=here.assistant_id)
        path, _ = waiting_calls(events)
        run = await here.engine.runs.retrieve("", *path.split("/")[2::2])
    outbox = Outbox()
    outbox.receive([ApiEvent("thread.run.requires_action", run), ApiEvent("thread.run.queued", run)])
    outbox.receive([ApiEvent("thread.run.in_progress", run)])
    assert events_of(await outbox.take()) == events[-2:]
    assert await outbox.take() == b""


async def test_a_piece_costs_a_pointer(anyio_backend):
    """Unread text costs one pointer per piece, since the run keeps the text anyway."""
    outbox, count, source = Outbox(), 10_000, object()
    pieces = [f" word{number}" for number in range(count)]
    tracemalloc.start()
    for piece in pieces:
        outbox.receive([delta(TextPiece("msg_1", 0, piece, source))])
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / count < 10
    text = b""
    while outbox._pending:
        text += await outbox.take()
    assert text_of(events_of(text)) == "".join(pieces)
