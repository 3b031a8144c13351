"""What is written in advance is what aiohttp would write, and whatever is odd is left to aiohttp."""

from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from openai_runs._http import connections
from openai_runs._http.exchanges import Exchanges
from openai_runs._http.prepared_requests import PreparedRequests
from openai_runs.session import Session
from tests.samples import EXAMPLES
from tests.stub import Request, Stub, reply

pytestmark = pytest.mark.anyio

ORIGIN = URL("https://example.org")
HEADERS = CIMultiDict({"Accept": "application/json", "Content-Type": "application/json", "Authorization": "Bearer k"})
RUN = (EXAMPLES / "objects/RunObject.json").read_bytes()
PAGE = b'{"object": "list", "data": [], "has_more": false}'


def write(method: str = "GET", path: str = "/v1/threads", **given: Any) -> bytes | None:
    url = given.pop("url", URL(f"https://example.org{path}", encoded=True))
    return PreparedRequests(ORIGIN, HEADERS).write(method, url, given.get("headers"), given.get("data"))


def answer(request: Request) -> Any:
    return reply(PAGE if request.path.endswith("runs") and request.method == "GET" else RUN)


async def use(session: Session) -> None:
    """Requests of each kind that is prepared."""
    await session.runs.retrieve(thread_id="thread_1", run_id="run ö/1")
    await session.runs.list("thread_1", limit=2).page()
    await session.runs.update(thread_id="thread_1", run_id="run_1", metadata={"ключ": "ö"})
    await session.runs.create("thread_1", assistant_id="asst_1", idempotency_key="key-1")
    await session.runs.cancel(thread_id="thread_1", run_id="run_1")
    async with session.runs.stream("thread_1", assistant_id="asst_1", idempotency_key="key-2"):
        pass


async def token() -> str:
    return "of-the-day"


@pytest.mark.parametrize("api_key", ["sk-1", token], ids=["key", "function"])
async def test_what_is_sent_is_what_aiohttp_sends(api_key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Line by line, whatever the kind of request."""
    written: list[bytes] = []
    own = Exchanges.send

    def noting(self: Exchanges, *args: Any, **given: Any) -> Any:
        written.append(args[3])
        return own(self, *args, **given)

    monkeypatch.setattr(Exchanges, "send", noting)

    async def lines() -> list[list[bytes]]:
        async with Stub(answer) as stub, stub.session(api_key=api_key, default_query={"v": "1"}) as session:
            written.clear()  # the rehearsal's
            await use(session)
        origin = f"127.0.0.1:{stub.port}".encode()
        return [sorted(request.raw.replace(origin, b"here").split(b"\r\n")) for request in stub.requests]

    ours = await lines()
    assert len(written) == len(ours) == 6
    monkeypatch.setattr(connections, "exchanges", lambda *_: None)
    assert ours == await lines()
    assert written == []


@pytest.mark.parametrize(
    "odd",
    [
        {"method": "PUT"},
        {"url": URL("https://elsewhere.org/v1")},
        {"url": URL("http://example.org/v1")},
        {"url": URL("https://example.org:8443/v1")},
        {"url": URL("https://user:word@example.org/v1")},
        {"data": b"{}"},
        {"data": "text", "method": "POST"},
        {"data": b"a" * 40_000, "method": "POST"},
        {"headers": {"X-Mine": "1"}},
        {"headers": {"Accept": "text/plain"}},
        {"headers": {"Host": "elsewhere.org"}},
        {"headers": {"Content-Length": "7"}},
        {"headers": {"Authorization": "Bearer other"}},
    ],
    ids=" ".join,
)
async def test_what_is_odd(odd: dict[str, Any]) -> None:
    """Whatever decides where a request goes or how long it is, and headers that replace others, are left to aiohttp."""
    assert write() is not None
    assert write(**odd) is None


async def test_a_stream() -> None:
    """It is asked for by a header in place of the usual one; the order among others does not matter."""
    for names in ("Accept", "Idempotency-Key"), ("Idempotency-Key", "Accept"):
        headers = {name: {"Accept": "text/event-stream", "Idempotency-Key": "1"}[name] for name in names}
        head, _, body = (write("POST", headers=headers, data=b"{}") or b"").partition(b"\r\n\r\n")
        assert sorted(head.lower().split(b"\r\n"))[:2] == [
            b"accept-encoding: gzip, deflate",
            b"accept: text/event-stream",
        ]
        assert b"Idempotency-Key: 1" in head.split(b"\r\n")
        assert body == b"{}"


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\ny", "a\x00", "a\x7f", "ключ"])
async def test_no_header_ends_a_line(value: str) -> None:
    """What could begin another header, or another request, is not written into a line; aiohttp refuses it."""
    assert write(headers={"Idempotency-Key": "a"}) is not None
    assert write(headers={"Idempotency-Key": value}) is None


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ö", "/a\x7f"])
async def test_no_path_ends_a_line(path: str) -> None:
    """Nor is a path that is not percent-encoded, whatever made it."""
    assert write(path=path) is None


async def test_the_key_is_not_shown() -> None:
    """The head has it."""
    assert "Bearer" not in repr(PreparedRequests(ORIGIN, HEADERS))


@pytest.mark.parametrize("name", ["Host", "cookie", "Content-Length", "transfer-encoding", "Connection"])
async def test_headers_that_are_not_for_all(name: str) -> None:
    """A session that sets how messages are framed is left to aiohttp as a whole."""
    headers = HEADERS.copy()
    assert PreparedRequests(ORIGIN, headers).are_usual
    headers[name] = "1"
    assert not PreparedRequests(ORIGIN, headers).are_usual
