"""Events relayed to a browser: what it receives, when, and what happens when it disconnects."""

import inspect
import json
import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aiohttp import ClientSession, web

from openai_runs.backends import Call, Say, ScriptedBackend, Wait
from openai_runs.errors import TransportError
from openai_runs.events import (
    ActionRequired,
    MessageChanged,
    PollingTookOver,
    RunEnded,
    StatusChanged,
    ToolOutputsSubmitted,
    UnknownEvent,
)
from openai_runs.models.delta import MessageChanges, MessageDelta, RefusalContentDelta, TextContentDelta, TextDelta
from openai_runs.models.message import Message, MessageRole, MessageStatus, Text, TextContent
from openai_runs.models.run import Run, RunStatus
from openai_runs.relay import HEADERS, relay, relay_to, shown
from openai_runs.server import LocalServer
from openai_runs.toolbox import Toolbox

pytestmark = pytest.mark.anyio


def delta(*parts):
    return MessageDelta(id="msg_1", delta=MessageChanges(content=parts))


def text(value):
    return delta(TextContentDelta(index=0, text=TextDelta(value=value)))


RUN = Run(
    id="run_1",
    created_at=datetime(2026, 8, 26, tzinfo=UTC),
    thread_id="thread_1",
    assistant_id="asst_1",
    status=RunStatus.QUEUED,
    instructions="secret",
    tools=(),
)


async def all_of(*items):
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


class Browser:
    """Records what is written, until it disconnects."""

    def __init__(self, most=100):
        self.got, self._most = [], most

    async def write(self, data):
        await anyio.lowlevel.checkpoint()
        if len(self.got) == self._most:
            raise ConnectionResetError("gone")
        self.got.append(data)

    @property
    def events(self):
        """The names and data in what was written, parsed as server-sent events."""
        events = []
        for block in b"".join(self.got).decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            if "data" in fields:
                data = fields["data"]
                events.append((fields.get("event", "message"), data if data == "[DONE]" else json.loads(data)))
        return events


async def relayed(*items, **options):
    browser = Browser()
    assert await relay_to(browser.write, all_of(*items), **options)
    return browser.events


DONE = ("done", "[DONE]")


async def test_events_of_a_run(anyio_backend):
    """A browser receives the text and the run's status, and none of the app's confidential data."""
    waiting = ActionRequired(RUN, RunStatus.IN_PROGRESS)
    events = [
        StatusChanged(RUN, None),
        text("Hi"),
        text(""),
        delta(RefusalContentDelta(index=0, refusal="No")),
        waiting,
        ToolOutputsSubmitted(RUN, ()),
        PollingTookOver(RUN, "cut"),
        UnknownEvent("thread.run.paused", {}),
        RunEnded(RUN, RunStatus.IN_PROGRESS),
    ]
    status = ("status", {"thread_id": "thread_1", "run_id": "run_1", "status": "queued"})
    assert await relayed(*events) == [
        *(status, ("text", {"message_id": "msg_1", "text": "Hi"})),
        *(status, status, DONE),
    ]


async def test_a_text_that_is_final(anyio_backend):
    """It comes as a whole, since after a lost connection the pieces may be those of another answer."""

    def message(words, status):
        content = (TextContent(text=Text(value=words)),) if words else ()
        made = Message(
            id="msg_1",
            created_at=RUN.created_at,
            thread_id="t",
            role=MessageRole.ASSISTANT,
            content=content,
            status=status,
        )
        return MessageChanged(made, f"thread.message.{status}")

    final = ("text.done", {"message_id": "msg_1", "text": "Hello"})
    sent = await relayed(
        message("", MessageStatus.IN_PROGRESS),
        text("Hi"),
        message("Hello", MessageStatus.COMPLETED),
        message("Hello", MessageStatus.INCOMPLETE),
        message("", MessageStatus.COMPLETED),
    )
    assert sent == [("text", {"message_id": "msg_1", "text": "Hi"}), final, final, DONE]


async def test_anything_else(anyio_backend):
    """Pairs, strings, models and other values are sent unchanged, line breaks included."""
    values = ["a\nb\r\u2028", {"a": [1, None]}, 7, ("name", "data"), ("run", [RUN]), ["x", "y"]]
    sent = await relayed(*values, None)
    assert sent[:4] == [("message", values[0]), ("message", values[1]), ("message", 7), ("name", "data")]
    assert sent[4][1][0]["id"] == "run_1"
    assert sent[5:] == [("message", ["x", "y"]), DONE]


async def test_a_view_of_ones_own(anyio_backend):
    """`encode` decides what is sent and what is not."""

    def encode(event):
        return ("piece", event.text) if isinstance(event, MessageDelta) else None

    assert await relayed(text("a"), StatusChanged(RUN, None), encode=encode) == [("piece", "a"), DONE]
    with pytest.raises(ValueError, match="one line"):
        await relayed(("a\nb", 1))


async def test_an_endpoint_that_fails(anyio_backend, caplog):
    """If the endpoint fails, the browser gets `error` and the log the reason; other exceptions are raised."""
    events = await relayed(text("a"), TransportError("http://secret.example does not answer"))
    assert events[1:] == [("error", {"message": "The answer broke off."})]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("openai_runs.relay", logging.WARNING)
    assert "secret.example" in record.getMessage()
    browser = Browser()
    with pytest.raises(KeyError):
        await relay_to(browser.write, all_of(text("a"), KeyError("bug")))
    assert len(browser.events) == 1
    with pytest.raises(TypeError):
        await relayed(object())


@pytest.mark.parametrize("most", range(4))
async def test_a_browser_that_leaves(anyio_backend, most):
    """When the reader disconnects, the iteration stops and the generator is closed."""
    closed = False

    async def endless():
        nonlocal closed
        try:
            while True:
                yield "x"
        finally:
            await anyio.lowlevel.checkpoint()
            closed = True

    assert not await relay_to(Browser(most).write, endless())
    assert closed


async def test_a_browser_that_leaves_at_the_end(anyio_backend):
    """The same if the reader disconnects before an error can be sent."""
    assert not await relay_to(Browser(0).write, all_of(TransportError("lost")))
    assert not await relay_to(Browser(1).write, all_of("x"))


async def test_an_iterator_that_cannot_be_closed(anyio_backend):
    """An async iterable that is not a generator can be relayed, too."""

    class Two:
        left = 2

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return self.left

    browser = Browser()
    assert await relay_to(browser.write, Two())
    assert browser.events == [("message", 1), ("message", 0), DONE]


async def test_signs_of_life(anyio_backend):
    """While there are no events, keep-alive comments are sent."""
    browser, go = Browser(), anyio.Event()

    async def slow():
        await go.wait()
        yield "x"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: relay_to(browser.write, slow(), heartbeat=0.001))
        while len(browser.got) < 3:
            await anyio.lowlevel.checkpoint()
        assert browser.events == []
        assert set(browser.got) == {b": keep-alive\n"}
        go.set()
    assert browser.events == [("message", "x"), DONE]


@pytest.mark.parametrize("function", [relay, relay_to])
def test_signs_of_life_are_as_often_as_said(function):
    """A proxy between may close what is silent for 30 seconds, and a browser that is gone is noticed as soon."""
    assert inspect.signature(function).parameters["heartbeat"].default == 15.0


async def test_signs_of_life_among_events(anyio_backend):
    """Keep-alive comments do not split events."""
    browser, until = Browser(10**9), anyio.current_time() + 0.02

    async def busy():
        while anyio.current_time() < until:
            await anyio.lowlevel.checkpoint()
            yield "x"

    assert await relay_to(browser.write, busy(), heartbeat=0.001)
    assert browser.events == [("message", "x")] * (len(browser.events) - 1) + [DONE]


async def test_silence_shows_who_has_left(anyio_backend):
    """When the browser is gone, the wait for the next event ends."""
    left = False

    async def never():
        nonlocal left
        try:
            await anyio.sleep_forever()
            yield
        finally:
            left = True

    assert not await relay_to(Browser(1).write, never(), heartbeat=0.001)
    assert left


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("place", ["events", "encode", "write", "heartbeat"])
async def test_the_callers_own_errors(anyio_backend, error, place):
    """Whatever the caller's own code raises is raised as it is, not in an exception group."""

    def fail(where):
        if where == place:
            raise error

    async def write(data):
        fail("heartbeat" if data.startswith(b":") else "write")

    async def events():
        fail("events")
        if place == "heartbeat":
            await anyio.sleep_forever()
        yield "x"

    def encode(event):
        fail("encode")
        return event

    with pytest.raises(type(error)) as caught:
        await relay_to(write, events(), encode=encode, heartbeat=0.001)
    assert caught.value is error


async def test_cancelled(anyio_backend):
    """Cancellation goes through, and closes the relayed generator."""
    browser, began = Browser(), anyio.Event()

    async def never():
        yield "x"
        began.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay_to, browser.write, never())
        await began.wait()
        tasks.cancel_scope.cancel()
    assert browser.events == [("message", "x")]


# --- in a web app, with a run


@asynccontextmanager
async def app(script, handler):
    """A web app that relays runs of a scripted model; yields its URL and the session behind it."""
    async with LocalServer(backend=ScriptedBackend(script)) as server, server.session() as session:
        assistant = await session.assistants.create(model="scripted", tools=TOOLBOX.tools, instructions="secret")
        site = web.Application()

        async def answer(request):
            return await handler(request, session, assistant.id)

        site.router.add_get("/answer", answer)
        runner = web.AppRunner(site, shutdown_timeout=5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with ClientSession() as http:
                yield http, f"http://127.0.0.1:{runner.addresses[0][1]}/answer", session
        finally:
            await runner.cleanup()


TOOLBOX = Toolbox()


@TOOLBOX.tool
async def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


async def streaming(request, session, assistant_id):
    """The handler as users would write it."""
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    stream = session.threads.stream_run(assistant_id=assistant_id, thread=thread, toolbox=TOOLBOX)
    async with stream as events:
        return await relay(request, events)


async def test_a_web_app(anyio_backend):
    """From the model through a tool call to the browser, in one response."""
    script = [[Say("Let me look."), Call("get_weather", {"city": "Oslo"})], Say("It is sunny.")]
    async with app(script, streaming) as (http, url, _), http.get(url) as response:
        for name in ("Cache-Control", "Content-Type", "X-Accel-Buffering"):
            assert response.headers[name] == HEADERS[name]
        browser = Browser()
        browser.got.append(await response.read())
    assert b"secret" not in browser.got[0]
    assert b"Oslo" not in browser.got[0]
    statuses = [data["status"] for name, data in browser.events if name == "status"]
    assert statuses == ["queued", "in_progress", "requires_action", "queued", "in_progress", "completed"]
    texts = {}
    for name, data in browser.events:
        if name == "text":
            texts[data["message_id"]] = texts.get(data["message_id"], "") + data["text"]
    assert list(texts.values()) == ["Let me look.", "It is sunny."]
    assert browser.events[-1] == DONE


async def test_tokens_reach_the_browser(anyio_backend):
    """Events reach the browser one by one, as the model writes."""
    said = [anyio.Event() for _ in range(3)]
    script = [[Say("one"), Wait(said[0]), Say(" two"), Wait(said[1]), Say(" three"), Wait(said[2])]]

    async def texts(request, session, assistant_id):
        async with session.threads.stream_run(assistant_id=assistant_id) as stream:
            return await relay(request, stream.text_deltas())

    async with app(script, texts) as (http, url, _), http.get(url) as response:
        for event, word in zip(said, ("one", " two", " three"), strict=True):
            assert await response.content.readuntil(b"\n\n") == f'data: "{word}"\n\n'.encode()
            event.set()
        assert await response.read() == b"event: done\ndata: [DONE]\n\n"


async def test_a_tab_is_closed(anyio_backend):
    """When the browser disconnects, the handler ends at its next write and leaves nothing behind; the run continues."""
    said, ended = anyio.Event(), anyio.Event()
    runs = []

    async def handler(request, session, assistant_id):
        async with session.threads.stream_run(assistant_id=assistant_id) as stream:
            await relay(request, stream)
            runs.append(stream.run)
        ended.set()
        return web.Response()

    async with app([[Say("one"), Wait(said), Say(" two")]], handler) as (http, url, session):
        async with http.get(url) as response:
            await response.content.readuntil(b"text")
            response.close()
        said.set()
        with anyio.fail_after(10):
            await ended.wait()
        run = await session.runs.complete(runs[0])
        assert run.status == "completed"


async def test_a_stream_that_cannot_be_opened(anyio_backend):
    """An error before the first event reaches the app, which can still send an HTTP status."""

    async def handler(request, session, assistant_id):
        try:
            return await streaming(request, session, "asst_nobody")
        except aiohttp.web.HTTPException:
            raise
        except Exception as error:
            raise web.HTTPBadGateway(text=type(error).__name__) from error

    async with app([], handler) as (http, url, _), http.get(url) as response:
        assert (response.status, await response.text()) == (502, "NotFoundError")


def test_shown_is_a_building_block():
    """A custom `encode` can call `shown`."""
    assert shown(text("a")) == ("text", {"message_id": "msg_1", "text": "a"})
    assert shown("a") == "a"
