"""Requests that are made in advance send what aiohttp would send, and whatever is odd is left to aiohttp."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http import connections, prepared_requests
from openai_runs._http.prepared_requests import PreparedRequest, PreparedRequests
from openai_runs._http.watchdog import Watchdog
from openai_runs.errors import TransportError
from openai_runs.session import Session
from openai_runs.telemetry import Telemetry
from tests.recorded import Recorded
from tests.samples import EXAMPLES
from tests.stub import RESET, Request, Stub, reply

pytestmark = pytest.mark.anyio

BASE = URL("https://example.org/v1")
HEADERS = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer k"})
RUN = (EXAMPLES / "objects/RunObject.json").read_bytes()
PAGE = b'{"object": "list", "data": [], "has_more": false}'


def prepare(headers: CIMultiDict[str] = HEADERS) -> PreparedRequests:
    requests = prepared_requests.prepared_requests(BASE, headers, Watchdog(60.0))
    assert requests is not None
    return requests


def make(method: str = "GET", path: str = "/v1/threads", **given: Any) -> aiohttp.ClientRequest:
    """A request, asked for as aiohttp's session does."""
    usual: dict[str, Any] = {
        **dict.fromkeys(("skip_auto_headers", "data", "cookies", "auth", "compress", "chunked", "loop", "proxy")),
        **dict.fromkeys(("proxy_auth", "timer", "session", "server_hostname", "proxy_headers")),
        "params": {},
        "headers": CIMultiDict(),
        "version": aiohttp.HttpVersion11,
        "expect100": False,
        "response_class": aiohttp.ClientResponse,
        "ssl": True,
        "traces": [],
        "trust_env": False,
    }
    url = given.pop("url", URL(f"https://example.org{path}", encoded=True))
    return prepare().make(method, url, **usual | given)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientRequest]:
    """All requests that sessions make."""
    made: list[aiohttp.ClientRequest] = []
    own = PreparedRequests.make

    def noting(self: PreparedRequests, *args: Any, **given: Any) -> aiohttp.ClientRequest:
        made.append(own(self, *args, **given))
        return made[-1]

    monkeypatch.setattr(PreparedRequests, "make", noting)
    return made


def answer(request: Request) -> Any:
    return reply(PAGE if request.path.endswith("runs") and request.method == "GET" else RUN)


async def use(session: Session) -> None:
    """Requests of each kind that is prepared."""
    await session.runs.retrieve(thread_id="thread_1", run_id="run ö/1")
    await session.runs.list("thread_1", limit=2).page()
    await session.runs.update(thread_id="thread_1", run_id="run_1", metadata={"ключ": "ö"})
    await session.runs.create("thread_1", assistant_id="asst_1", idempotency_key="key-1")
    await session.runs.cancel(thread_id="thread_1", run_id="run_1")


async def token() -> str:
    return "of-the-day"


@pytest.mark.parametrize("api_key", ["sk-1", token], ids=["key", "function"])
async def test_what_is_sent_is_what_aiohttp_sends(
    api_key: Any, sent: list[aiohttp.ClientRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line, whatever the kind of request; also where a later aiohttp makes requests in another way."""

    async def lines(*, prepared: bool) -> list[list[bytes]]:
        if not prepared:
            monkeypatch.setattr(connections, "prepared_requests", lambda *_: None)
        async with Stub(answer) as stub, stub.session(api_key=api_key, default_query={"v": "1"}) as session:
            await use(session)
        origin = f"127.0.0.1:{stub.port}".encode()
        return [sorted(request.raw.replace(origin, b"here").split(b"\r\n")) for request in stub.requests]

    ours = await lines(prepared=True)
    assert [type(request) for request in sent[-5:]] == [PreparedRequest] * 5
    assert ours == await lines(prepared=False)
    assert len(ours) == 5


async def test_what_is_odd_goes_the_long_way(sent: list[aiohttp.ClientRequest]) -> None:
    """Streams, large bodies, files, headers of the caller's own, and all that is traced."""
    async with Stub(lambda _: reply(RUN)) as stub, stub.session() as session:
        sent.clear()
        await session.runs.create("thread_1", assistant_id="asst_1", instructions="a" * 40_000)
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1", extra_headers={"X-Mine": "1"})
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1", extra_headers={"Accept": "text/plain"})
        async with session.runs.stream("thread_1", assistant_id="asst_1"):
            pass
    assert [type(request) for request in sent] == [aiohttp.ClientRequest] * 4
    assert [request.headers.get("x-mine") for request in stub.requests] == [None, "1", None, None]
    assert stub.requests[2].headers["accept"] == "text/plain"
    async with Stub(lambda _: reply(RUN)) as stub, stub.session(telemetry=Recorded().telemetry()) as session:
        sent.clear()
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
    assert [type(request) for request in sent] == [aiohttp.ClientRequest]
    assert {"traceparent", "authorization", "openai-beta"} <= stub.requests[0].headers.keys()


@pytest.mark.parametrize(
    "odd",
    [
        {"params": {"a": "b"}},
        {"cookies": {"a": "b"}},
        {"proxy": URL("http://proxy:1")},
        {"version": aiohttp.HttpVersion10},
        {"ssl": False},
        {"compress": "gzip", "data": b"{}", "method": "POST"},
        {"method": "PUT"},
        {"url": URL("https://elsewhere.org/v1")},
        {"url": URL("http://example.org:443/v1")},
        {"data": b"{}"},
        {"data": "text", "method": "POST"},
        {"headers": CIMultiDict({"Host": "elsewhere.org"})},
        {"headers": CIMultiDict({"Content-Length": "7"})},
    ],
    ids=" ".join,
)
async def test_what_else_is_odd(odd: dict[str, Any]) -> None:
    """Whatever decides where a request goes or how long it is, aiohttp treats; it has the session's headers, too."""
    request = make(**odd)
    assert type(request) is aiohttp.ClientRequest
    assert request.headers["Accept"] == "application/json"


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\ny", "a\x00", "a\x7f", "ключ"])
async def test_no_header_ends_a_line(value: str) -> None:
    """What could begin another header, or another request, is not written into a line; aiohttp refuses it."""
    request = make(headers=CIMultiDict({"Idempotency-Key": value}))
    assert type(request) is aiohttp.ClientRequest


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ö", "/a\x7f"])
async def test_no_path_ends_a_line(path: str) -> None:
    """Nor is a path that is not percent-encoded, whatever made it."""
    assert type(make(path=path)) is aiohttp.ClientRequest


async def test_the_key_is_not_shown() -> None:
    """The head has it."""
    assert "Bearer" not in repr(prepare())


@pytest.mark.parametrize("name", ["Host", "cookie", "Content-Length", "transfer-encoding", "Connection"])
async def test_headers_that_are_not_for_all(name: str) -> None:
    """A session that sets how messages are framed is left to aiohttp as a whole."""
    headers = HEADERS.copy()
    headers[name] = "1"
    assert prepared_requests.prepared_requests(BASE, headers, Watchdog(60.0)) is None


class OtherHeaders(aiohttp.ClientRequest):
    def update_auto_headers(self, skip_auto_headers: Any) -> None:
        super().update_auto_headers(skip_auto_headers)
        if self.method == "POST":
            self.headers["X-New"] = "1"


class OtherKey(aiohttp.ClientRequest):
    @property
    def connection_key(self) -> Any:
        return object()


class OtherHead(aiohttp.ClientRequest):
    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        self.headers["X-New"] = "1"
        return await super().send(conn)


class Waiting(aiohttp.ClientRequest):
    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        await asyncio.sleep(0)
        return await super().send(conn)


class OtherArguments(aiohttp.ClientRequest):
    def __init__(self, method: str, url: URL, *, later: int, **given: Any) -> None:
        super().__init__(method, url, **given)


@pytest.mark.parametrize("later", [OtherHeaders, OtherKey, OtherHead, Waiting, OtherArguments])
async def test_another_aiohttp(later: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If aiohttp makes requests in another way than is known here, all are left to it."""
    monkeypatch.setattr(aiohttp, "ClientRequest", later)
    assert prepared_requests.prepared_requests(BASE, HEADERS, Watchdog(60.0)) is None


async def test_requests_that_are_none_of_ours() -> None:
    """A base URL that yarl writes in another way than aiohttp needs it is no reason to fail."""
    requests = PreparedRequests(HEADERS, Watchdog(60.0), "https", "example.org:443")
    assert not requests.are_like_others()


@pytest.mark.parametrize("transport", [None, SimpleNamespace(is_closing=lambda: True)], ids=["none", "closing"])
async def test_a_connection_that_closes(transport: Any) -> None:
    """The error is aiohttp's own, for its retries."""
    connection: Any = SimpleNamespace(protocol=SimpleNamespace(transport=transport))
    with pytest.raises(aiohttp.ClientConnectionResetError, match="Cannot write to closing transport"):
        await make().send(connection)


async def test_a_lost_connection(sent: list[aiohttp.ClientRequest]) -> None:
    """A GET on a connection that was kept is sent once more by aiohttp, as before; a POST is not."""
    async with Stub(reply(RUN), RESET, reply(RUN), RESET) as stub, stub.session(max_retries=0) as session:
        sent.clear()
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        assert len(stub.requests) == len(sent) == 3
        with pytest.raises(TransportError):
            await session.runs.update(thread_id="thread_1", run_id="run_1", metadata={})
        assert len(stub.requests) == len(sent) == 4


async def test_telemetry_that_records_nothing(sent: list[aiohttp.ClientRequest]) -> None:
    """It is no reason to go the long way."""
    async with Stub(reply(RUN)) as stub, stub.session(telemetry=Telemetry()) as session:
        sent.clear()
        await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
    assert [type(request) for request in sent] == [PreparedRequest]
