"""The faulty network of the tests does what it says."""

import asyncio

import pytest

from tests.proxy import REQUEST_NAME, Cut, FaultyNetwork, Instead, Proxy, Unframed, WrongLength
from tests.stub import Reply, Stub, error, reply

pytestmark = pytest.mark.anyio

ANSWER = reply(b"0123456789")
HEAD = len(ANSWER.data) - 10


async def exchange(proxy: Proxy, method: str = "GET", headers: str = "") -> bytes:
    """What a client reads until the connection ends, if it ends by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(f"{method} /v1/x HTTP/1.1\r\n{headers}\r\n".encode())
        writer.write_eof()
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("fate", "answer", "arrives"),
    [
        (None, ANSWER.data, True),
        ("trickle", ANSWER.data, True),
        (error(500), error(500).data, True),
        (Instead(error(429)), error(429).data, False),
        (Instead(Reply(b"", "reset")), b"reset", False),
        ("lose request", b"", False),
        ("lose answer", b"", True),
        ("refuse", b"", False),
        ("stall", b"", False),
        (Cut(HEAD + 4), ANSWER.data[:-6], True),
        (Cut(0, "reset"), b"reset", True),
        (Cut(HEAD, "hang"), ANSWER.data[:-10], True),
        (WrongLength(5), ANSWER.data.replace(b"length: 10", b"Length: 15").replace(b"content-L", b"Content-L"), True),
    ],
)
async def test_fates(fate: object, answer: bytes, arrives: bool) -> None:
    async with Stub(ANSWER) as stub, Proxy(stub.url) as proxy:
        if fate is not None:
            proxy.plan("GET", "/x", fate)
        assert await exchange(proxy) == answer
        assert len(stub.requests) == arrives


async def test_unframed() -> None:
    """Nothing tells the end of the body from the end of the connection."""
    async with Stub(ANSWER) as stub, Proxy(stub.url) as proxy:
        proxy.plan("GET", "/x", Unframed(4))
        head, _, body = (await exchange(proxy)).partition(b"\r\n\r\n")
    assert b"length" not in head.lower()
    assert body == b"0123"


@pytest.mark.parametrize("late", ["late", "very late"])
async def test_late(late: str) -> None:
    async with Stub(ANSWER, ANSWER) as stub, Proxy(stub.url) as proxy:
        proxy.plan("POST", "/x", late)
        assert await exchange(proxy, "POST") == b""
        assert stub.requests == []
        assert await exchange(proxy, "POST") == ANSWER.data
        await proxy.heal()
        assert len(stub.requests) == 2


async def test_a_seed_decides() -> None:
    """The same seed chooses the same faults; a fifth of all exchanges has one."""
    one, other = FaultyNetwork(7), FaultyNetwork(7)
    headers = {REQUEST_NAME.lower(): "the latest"}
    fates = [one("POST", "/x", headers) for _ in range(2000)]
    assert [other("POST", "/x", {}) for _ in range(2000)] == fates
    assert 300 < sum(fate is not None for fate in fates) < 500
    assert len(one.chosen) > 20
    assert one.faults["the latest"] in one.chosen


async def test_keys_are_hidden() -> None:
    """A server behind it may look like one that knows nothing of idempotency keys."""
    answer = reply(b"0123456789", idempotency_key_supported="true")
    async with Stub(answer, answer) as stub:
        for honours_keys in (True, False):
            async with Proxy(stub.url, honours_keys=honours_keys) as proxy:
                lines = (await exchange(proxy, headers='Idempotency-Key: "a"\r\n')).splitlines()
            assert (b"idempotency-key-supported: true" in lines) is honours_keys
            assert ("idempotency-key" in stub.requests[-1].headers) is honours_keys
