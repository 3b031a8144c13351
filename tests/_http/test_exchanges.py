"""Requests that do without aiohttp's session: what comes of them is what aiohttp's session would make of them."""

import asyncio
import gzip
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, TypeAlias
from unittest.mock import Mock

import aiohttp
import anyio
import pytest
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http import connections
from openai_runs._http.connections import Connections
from openai_runs._http.exchanges import Exchanges, exchanges
from openai_runs._http.watchdog import Watchdog
from openai_runs.errors import OpenAIRunsError, TransportError
from openai_runs.models.run import Run
from openai_runs.session import Session
from openai_runs.telemetry import Telemetry
from tests.recorded import Recorded
from tests.samples import EXAMPLES
from tests.stub import CUT, NEVER, RESET, Reply, Stub, error, reply

pytestmark = pytest.mark.anyio

ORIGIN = URL("https://example.org")
HEADERS = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer k"})
RUN = (EXAMPLES / "objects/RunObject.json").read_bytes()
LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=20.0)
Request: TypeAlias = Callable[[Session], Any]


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How each request of a session went."""
    went: list[str] = []
    short, long = Exchanges.send, aiohttp.ClientSession.request

    def noting_short(self: Exchanges, *args: Any, **given: Any) -> Any:
        went.append("short")
        return short(self, *args, **given)

    def noting_long(self: aiohttp.ClientSession, *args: Any, **given: Any) -> Any:
        went.append("long")
        return long(self, *args, **given)

    monkeypatch.setattr(Exchanges, "send", noting_short)
    monkeypatch.setattr(aiohttp.ClientSession, "request", noting_long)
    return went


def get(session: Session) -> Any:
    return session.runs.retrieve(thread_id="thread_1", run_id="run_1")


def update(session: Session) -> Any:
    return session.runs.update(thread_id="thread_1", run_id="run_1", metadata={})


def delete(session: Session) -> Any:
    return session.threads.delete("thread_1")


async def stream(session: Session) -> Any:
    transport = session._transport
    opened = await transport.stream(transport.url("/threads/runs"), Run, body={})
    if isinstance(opened, Run):
        return opened
    try:
        return [await opened.read(), await opened.read(), opened.lost and opened.problem]
    finally:
        opened.close()


async def test_which_way(ways: list[str]) -> None:
    """All that is usual goes the short way; large bodies, headers of the caller's own, and what is traced do not."""
    async with Stub(lambda _: reply(RUN)) as stub, stub.session(telemetry=Telemetry()) as session:
        ways.clear()
        await get(session)
        await update(session)
        async with session.runs.stream("thread_1", assistant_id="asst_1"):
            pass
        assert ways == ["short"] * 3
        ways.clear()
        await session.runs.create("thread_1", assistant_id="asst_1", instructions="a" * 40_000)
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1", extra_headers={"X-Mine": "1"})
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1", extra_headers={"Accept": "text/plain"})
        assert ways == ["long"] * 3
    assert [request.headers.get("x-mine") for request in stub.requests[-3:]] == [None, "1", None]
    assert stub.requests[-1].headers["accept"] == "text/plain"
    assert stub.connections == 1  # both ways use the same
    async with Stub(lambda _: reply(RUN)) as stub, stub.session(telemetry=Recorded().telemetry()) as session:
        ways.clear()
        await get(session)
    assert ways == ["long"]
    assert {"traceparent", "authorization", "openai-beta"} <= stub.requests[0].headers.keys()


async def test_a_proxy_is_left_to_aiohttp(ways: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole."""
    async with Stub(reply(RUN)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with Session("http://endpoint.invalid/v1", "k") as session:
            await get(session)
    assert ways == ["long"]
    assert proxy.requests[0].target.startswith("http://endpoint.invalid/")


@pytest.mark.parametrize("is_open", [False, True])
async def test_mocks_are_asked(is_open: bool, ways: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries that mock, record or trace aiohttp's sessions replace one function, before or after they are opened."""
    own = aiohttp.ClientSession._request
    asked: list[Any] = []

    @wraps(own)
    async def mocked(self: aiohttp.ClientSession, method: str, url: Any, **given: Any) -> Any:
        asked.append((method, url.path))
        return await own(self, method, url, **given)

    if not is_open:
        monkeypatch.setattr(aiohttp.ClientSession, "_request", mocked)
    async with Stub(lambda _: reply(RUN)) as stub, stub.session() as session:
        monkeypatch.setattr(aiohttp.ClientSession, "_request", mocked)
        ways.clear()
        await get(session)
        assert ways == ["long"]
        assert asked == [("GET", "/v1/threads/thread_1/runs/run_1")]
        monkeypatch.setattr(aiohttp.ClientSession, "_request", own)
        await get(session)
    assert ways[-1] == ("short" if is_open else "long")
    assert len(asked) == 1


async def test_tracers_of_all_sessions(ways: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They see each request, and no other: such as one that was made to try aiohttp."""
    own = aiohttp.ClientSession.__init__
    seen: list[str] = []

    async def see(_: Any, __: Any, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    def traced(self: aiohttp.ClientSession, *args: Any, **given: Any) -> None:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(see)
        own(self, *args, trace_configs=[config], **given)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with Stub(reply(RUN)) as stub, stub.session() as session:
        await get(session)
    assert ways == ["long"]
    assert seen == ["/v1/threads/thread_1/runs/run_1"]


def raw(text: bytes, body: bytes = RUN) -> Reply:
    return Reply(text % len(body) + body)


REPLIES = {
    "plain": reply(RUN),
    "chunked": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(RUN), RUN)),
    "gzip": reply(gzip.compress(RUN), content_encoding="gzip"),
    "1.0": Reply(b"HTTP/1.0 200 OK\r\n\r\n" + RUN, "close"),
    "1.0, kept": raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n"),
    "not kept": raw(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"),
    "informed before": raw(
        b"HTTP/1.1 102 x\r\n\r\nHTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    ),
    "nothing": Reply(b"HTTP/1.1 204 x\r\n\r\n"),
    "not modified": Reply(b"HTTP/1.1 304 x\r\nContent-Length: 7\r\n\r\n"),
    "redirect": reply(b"", 307, location="/elsewhere"),
    "events": reply(b"event: done\ndata: [DONE]\n\n", content_type="text/event-stream"),
    "events, cut": reply(b"event: done\ndata: [DONE]\n\n", content_type="text/event-stream").cut(5),
    "cookies": reply(RUN, set_cookie="a=b; Path=/"),
    "refusal": error(404, "no such run", x_request_id="req_1"),
    "no HTTP": Reply(b"SMTP\r\n\r\n", "close"),
    "a long line": reply(RUN, x_long="a" * 9_000),
    "many headers": reply(RUN, **{f"x_{number}": "1" for number in range(200)}),
    "two lengths": Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "close"),
    "cut": reply(RUN).cut(5),
    "none": CUT,
    "reset": RESET,
}


@pytest.mark.parametrize("request_", [get, update, delete, stream])
@pytest.mark.parametrize("name", list(REPLIES))
async def test_whatever_comes(name: str, request_: Request, ways: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A response, whatever it is, is read alike on both ways, and so is one that fails.

    On a connection of its own and on one that was kept, with as many requests and connections.
    """

    async def told() -> list[Any]:
        found: list[Any] = []
        for is_kept in (False, True):
            async with Stub(lambda request: reply(RUN) if "beside" in request.path else REPLIES[name]) as stub:
                async with stub.session(max_retries=0) as session:
                    if is_kept:
                        await session.threads.retrieve("beside")
                    ways.clear()
                    try:
                        found.append(repr(await request_(session)))
                    except OpenAIRunsError as failed:
                        text = str(failed).replace(str(stub.port), "port")
                        found.append((type(failed), text, getattr(failed, "maybe_done", None)))
                    await session.threads.retrieve("beside")  # what was left behind does not disturb it
                found.append((stub.connections, [request.method for request in stub.requests]))
        return found

    ours = await told()
    assert set(ways) == {"short"}
    monkeypatch.setattr(connections, "exchanges", lambda *_: None)
    assert ours == await told()
    assert set(ways) == {"long"}


async def test_a_lost_connection() -> None:
    """A GET is sent once more, as aiohttp's session does, and not twice; what may have had an effect is not."""
    replies = [reply(RUN), RESET, reply(RUN), RESET, CUT, RESET, RESET, reply(RUN)]
    async with Stub(*replies) as stub, stub.session(max_retries=0) as session:
        await get(session)
        await get(session)
        for request in get, update, delete:
            with pytest.raises(TransportError):
                await request(session)
    looked = ["GET"]  # whether the thread is gone
    assert [request.method for request in stub.requests] == [*["GET"] * 5, "POST", "DELETE", *looked]


async def test_nothing_is_sent_again_by_a_session_that_closes() -> None:
    """A GET that is in progress then fails, and no connection is made for it."""
    async with Stub(NEVER, reply(RUN)) as stub, anyio.create_task_group() as tasks:
        failed = anyio.Event()

        async def wait() -> None:
            with pytest.raises(TransportError):
                await get(session)
            failed.set()

        async with stub.session(max_retries=0) as session:
            tasks.start_soon(wait)
            await stub.requested(1)
        await failed.wait()
        await stub.disconnected()
        assert (len(stub.requests), stub.connections) == (1, 1)


@pytest.mark.parametrize("request_", [get, update, delete, stream])
async def test_cancelled_while_it_waits_for_the_response(request_: Request) -> None:
    """The connection is closed at once, and its place is free."""
    async with Stub(NEVER, reply(RUN)) as stub, stub.session(max_connections=1) as session:
        task = asyncio.create_task(request_(session))
        await stub.requested(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stub.disconnected()
        await get(session)


async def test_cancelled_while_it_waits_for_a_connection() -> None:
    """Nothing is sent, and nobody else's place is taken."""
    async with Stub(NEVER, reply(RUN)) as stub, stub.session(max_connections=1) as session:
        first = asyncio.create_task(get(session))
        await stub.requested(1)
        second = asyncio.create_task(get(session))
        await anyio.wait_all_tasks_blocked()
        second.cancel()
        third = asyncio.create_task(get(session))
        await asyncio.wait([second])
        first.cancel()
        await third
        assert second.cancelled()
        assert len(stub.requests) == 2


class TooLate(aiohttp.BaseConnector):
    async def connect(self, *_: Any) -> Any:
        raise TimeoutError


class Closing(aiohttp.BaseConnector):
    """Makes connections that are closed already."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self.connection = Mock()
        self.connection.protocol = transport

    async def connect(self, *_: Any) -> Any:
        return self.connection


@asynccontextmanager
async def over(connector: aiohttp.BaseConnector) -> AsyncGenerator[Exchanges, None]:
    """Exchanges over other connections."""
    async with aiohttp.ClientSession(connector=connector) as http:
        exchanging = exchanges(http, ORIGIN, HEADERS, Watchdog(60.0))
        assert exchanging is not None
        yield exchanging


async def test_no_connection_in_time() -> None:
    """The error is aiohttp's own, so that everybody knows that nothing was sent."""
    async with over(TooLate()) as exchanging:
        with pytest.raises(aiohttp.ConnectionTimeoutError, match=r"^Connection timeout to host https://example.org/a$"):
            await exchanging.send("GET", ORIGIN / "a", None, b"", LIMITS)


@pytest.mark.parametrize(
    "protocol",
    [None, Mock(transport=None), Mock(transport=Mock(is_closing=lambda: True))],
    ids=["no protocol", "no transport", "closing"],
)
async def test_a_connection_that_closes(protocol: Any) -> None:
    """The error is aiohttp's own, and the connection gives its place back."""
    connector = Closing(protocol)
    async with over(connector) as exchanging:
        with pytest.raises(aiohttp.ClientConnectionResetError, match="Cannot write to closing transport"):
            await exchanging.send("GET", ORIGIN / "a", None, b"", LIMITS)
    connector.connection.close.assert_called_once_with()


async def test_aiohttp_watches_over_streams() -> None:
    """Their limit may be replaced while they last; all else has the session's one timer."""
    async with Stub(lambda _: reply(RUN)) as stub:
        opened = Connections(URL(stub.url), HEADERS, 20.0, 1)
        for headers, count in ({"Accept": "text/event-stream"}, 0), (None, 1):
            response = await opened.request("GET", URL(stub.url), headers, None, LIMITS)
            await response.read()
            assert len(opened._watchdog._under_way) == count
        await opened.close()


def other_headers(own: Any) -> Any:
    def update_auto_headers(self: aiohttp.ClientRequest, skip: Any) -> None:
        own(self, skip)
        if self.method == "POST":
            self.headers["X-New"] = "1"

    return update_auto_headers


def other_place(_: Any) -> Any:
    return property(lambda _: object())


def other_head(own: Any) -> Any:
    async def send(self: aiohttp.ClientRequest, connection: Any) -> Any:
        self.headers["X-New"] = "1"
        return await own(self, connection)

    return send


def waiting(own: Any) -> Any:
    async def send(self: aiohttp.ClientRequest, connection: Any) -> Any:
        await asyncio.sleep(0)
        return await own(self, connection)

    return send


def other_care(own: Any) -> Any:
    async def send(self: aiohttp.ClientRequest, connection: Any) -> Any:
        connection.protocol.start_timeout()
        return await own(self, connection)

    return send


def unknown_care(own: Any) -> Any:
    async def start(self: aiohttp.ClientResponse, connection: Any) -> Any:
        connection.protocol.note_progress()
        return await own(self, connection)

    return start


def other_arguments(own: Any) -> Any:
    def make(self: aiohttp.ClientResponse, *args: Any, later: int, **given: Any) -> None:
        own(self, *args, **given)

    return make


@pytest.mark.parametrize(
    ("changed", "name", "later"),
    [
        (aiohttp.ClientRequest, "update_auto_headers", other_headers),
        (aiohttp.ClientRequest, "connection_key", other_place),
        (aiohttp.ClientRequest, "send", other_head),
        (aiohttp.ClientRequest, "send", waiting),
        (aiohttp.ClientRequest, "send", other_care),
        (aiohttp.ClientResponse, "start", unknown_care),
        (aiohttp.ClientResponse, "__init__", other_arguments),
    ],
    ids=lambda given: getattr(given, "__name__", given),
)
async def test_another_aiohttp(
    changed: type, name: str, later: Callable[[Any], Any], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If aiohttp does anything else with requests than is known here, all go through its session."""
    monkeypatch.setattr(changed, name, later(getattr(changed, name)))
    async with aiohttp.ClientSession() as http:
        assert exchanges(http, ORIGIN, HEADERS, Watchdog(60.0)) is None


async def test_headers_that_are_not_for_all(ways: list[str]) -> None:
    """A session that sets how messages are framed is left to aiohttp as a whole, and so is one with cookies."""
    async with Stub(reply(RUN)) as stub, stub.session(default_headers={"Cookie": "a=b"}) as session:
        await get(session)
    assert ways == ["long"]
    assert stub.requests[0].headers["cookie"] == "a=b"
