"""Contents of files: read whole with retries, or piece by piece, and what a broken connection does."""

import pytest

from openai_runs.errors import AuthenticationError, NotFoundError, ProtocolError, ServerError, TransportError
from tests.stub import CUT, RESET, Stub, error, reply

pytestmark = pytest.mark.anyio

TEXT = b"some text"
WHOLE = reply(TEXT, content_type="application/json")  # as the document has it; the type says nothing


async def test_read():
    """All of it, whatever its type is said to be."""
    async with Stub(WHOLE, reply(b"")) as stub, stub.session() as session:
        content = session.files.content("file-1")
        assert await content.read() == TEXT
        assert await content.read() == b""  # asked for again
    assert stub.requests[0].path == "/v1/files/file-1/content"
    assert stub.requests[0].headers["accept"] == "*/*"


@pytest.mark.parametrize("failure", [CUT, RESET, error(500), error(429), WHOLE.cut(3)])
async def test_read_again(failure):
    """A failure that may pass, such as a connection that breaks within the content, is repeated from the start."""
    async with Stub(failure, failure, WHOLE) as stub, stub.session() as session:
        assert await session.files.content("file-1").read() == TEXT
    assert len(stub.requests) == 3


async def test_given_up():
    """In the end the error says what broke; nothing is in doubt, since nothing was to change."""
    async with Stub(*[WHOLE.cut(3)] * 2) as stub, stub.session(max_retries=1) as session:
        with pytest.raises(TransportError, match=r"GET /v1/files/file-1/content at .* broke off") as caught:
            await session.files.content("file-1").read()
    assert not caught.value.maybe_done


async def test_refusals():
    """They are those of any request."""
    async with Stub(error(404), error(401), error(500)) as stub, stub.session(max_retries=0) as session:
        for kind in NotFoundError, AuthenticationError, ServerError:
            with pytest.raises(kind):
                await session.files.content("file-1").read()


async def test_too_much():
    """More than the caller wants in memory is an error, and not read to its end."""
    async with Stub(WHOLE) as stub, stub.session() as session:
        with pytest.raises(ProtocolError, match="the content has more than 5 bytes, the limit; read it piece by piece"):
            await session.files.content("file-1").read(max_bytes=5)
    async with Stub(WHOLE) as stub, stub.session() as session:
        assert await session.files.content("file-1").read(max_bytes=len(TEXT)) == TEXT


async def test_pieces():
    """The opening is repeated, the pieces come as they are; leaving early closes the connection."""
    async with Stub(error(503), WHOLE, reply(b"x" * 5_000_000)) as stub, stub.session() as session:
        async with session.files.content("file-1") as pieces:
            assert b"".join([piece async for piece in pieces]) == TEXT
        async with session.files.content("file-1") as pieces:
            assert await anext(aiter(pieces))
        await stub.disconnected()


async def test_pieces_that_break_off():
    """What came is not taken for the whole."""
    seen = []

    async def read() -> None:
        async with session.files.content("file-1") as pieces:
            async for piece in pieces:
                seen.append(piece)  # noqa: PERF401  # what came before the error

    async with Stub(WHOLE.cut(3)) as stub, stub.session() as session:
        with pytest.raises(TransportError, match="broke off"):
            await read()
    assert b"".join(seen) == TEXT[:-3]


async def test_what_the_callers_key_raises():
    """It gets out as it is."""

    async def token():
        raise KeyError("mine")

    async with Stub() as stub, stub.session(api_key=token) as session:
        with pytest.raises(KeyError, match="mine"):
            await session.files.content("file-1").read()
