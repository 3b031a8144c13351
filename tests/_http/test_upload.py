"""Uploads: read while they are sent, as often as they can be, and what happens if reading or sending fails."""

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs._http.upload import Upload, filename_of, form_fields
from openai_runs.errors import AuthenticationError, ServerError, TransportError
from tests.stub import NEVER, RESET, Stub, error, reply

pytestmark = pytest.mark.anyio

FILE = {"id": "file-1", "bytes": 1, "created_at": 1, "filename": "a", "purpose": "vision", "status": "processed"}
MADE = reply({"object": "file", **FILE})
BUSY = error(503)  # which says that the request had no effect


async def once(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def test_fields():
    """Objects become names with brackets, at any depth."""
    assert form_fields({"a": "x", "b": {"c": 1, "d": {"e": "f"}}}) == {"a": "x", "b[c]": "1", "b[d][e]": "f"}


class Pipe(io.RawIOBase):
    """A binary file that cannot seek, and whose name is a number, as that of a pipe is."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.name = 7

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        piece, self.data = self.data[:size], self.data[size:]
        return piece


def test_names(tmp_path: Path):
    """Without a name of the caller's, a file has its own, as far as it has one."""
    assert filename_of(tmp_path / "a.txt", None) == "a.txt"
    assert filename_of(tmp_path / "a.txt", "b") == "b"
    with (tmp_path / "c").open("wb+") as file:
        assert filename_of(file, None) == "c"
    assert filename_of(Pipe(b""), None) == "upload"
    assert filename_of(io.BytesIO(), None) == "upload"


@pytest.mark.parametrize("source", [b"one", io.BytesIO(b"one"), Pipe(b"one"), once(b"one")])
async def test_a_connection_that_was_refused(source: Any):
    """Nothing was read, so that even what can be read only once is sent once there is a server."""
    upload = Upload(source, "a", {})
    await upload.form(9)
    assert not upload.is_spent


@pytest.mark.parametrize("source", [b"one", io.BytesIO(b"one")])
async def test_repeated(source: Any):
    """The server asks for a repetition, which is the same again."""
    async with Stub(BUSY, BUSY, MADE) as stub, stub.session() as session:
        assert (await session.files.create(source, purpose="vision")).id == "file-1"
    for request in stub.requests:
        assert b"\r\n\r\none\r\n--" in request.body


@pytest.mark.parametrize("make", [lambda: once(b"on", b"e"), lambda: Pipe(b"one")])
async def test_not_repeated(make: Any):
    """What can be read once is sent once, whatever the server says; its own error is raised."""
    async with Stub(BUSY, MADE) as stub, stub.session() as session:
        with pytest.raises(ServerError, match="503"):
            await session.files.create(make(), purpose="vision")
    async with Stub(RESET, MADE) as stub, stub.session() as session:
        with pytest.raises(TransportError):
            await session.files.create(make(), purpose="vision")


@pytest.mark.parametrize("is_once", [False, True])
async def test_a_token_that_has_expired(is_once: bool):
    """A request that is refused with 401 is sent again with another token, if its file can be."""
    tokens = iter(["old", "new"])

    async def token() -> str:
        return next(tokens)

    async with Stub(error(401), MADE) as stub, stub.session(api_key=token) as session:
        if is_once:
            with pytest.raises(AuthenticationError):
                await session.files.create(once(b"one"), purpose="vision")
        else:
            assert (await session.files.create(b"one", purpose="vision")).id == "file-1"
    assert len(stub.requests) == 1 if is_once else 2


async def test_what_the_caller_raises(tmp_path: Path):
    """An error of the caller's own iterable, or of its file, is raised as it is, and nothing is repeated."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        raise KeyError("mine")

    class BrokenFile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    async with Stub(MADE) as stub, stub.session() as session:
        with pytest.raises(KeyError, match="mine"):
            await session.files.create(broken(), purpose="vision")
        with pytest.raises(OSError, match="Input/output error"):
            await session.files.create(BrokenFile(b"xx"), purpose="vision")
        with pytest.raises(FileNotFoundError):
            await session.files.create(tmp_path / "none", purpose="vision")
    assert stub.requests == []


async def test_a_file_that_is_lost_between_two_attempts(tmp_path: Path):
    """If the first attempt may have taken effect, its error is raised, and says so."""
    path = tmp_path / "a"
    path.write_bytes(b"one")

    def lose(_: object) -> Any:
        path.unlink()
        return error(500, "no", idempotency_key_supported="true")

    async with Stub(lose) as stub, stub.session() as session:
        with pytest.raises(ServerError) as caught:
            await session.files.create(path, purpose="vision")
    assert caught.value.maybe_done
    assert "Repeating it failed, since reading the file raised FileNotFoundError." in caught.value.__notes__


@pytest.mark.parametrize("change", [-2, 2])
async def test_a_file_that_changes_while_it_is_sent(tmp_path: Path, change: int):
    """What it has at the start is sent, and not more; if it becomes shorter, that is an error."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 4)
    upload = Upload(path, "a", {})
    size = upload._size()
    path.write_bytes(b"x" * (4 + change))
    sent = []
    if change > 0:
        assert [piece async for piece in upload._noting_failure(size)] == [b"x" * 4]
    else:
        with pytest.raises(ValueError, match="the file has become shorter while it was sent: 2 bytes of 4 were left"):
            sent = [piece async for piece in upload._noting_failure(size)]
        assert isinstance(upload.failure, ValueError)
    assert sent == []


async def test_a_server_that_takes_nothing(monkeypatch: pytest.MonkeyPatch):
    """The timeout holds for each piece that is sent, too."""
    async with Stub() as stub:
        stub_serve = Stub._serve

        async def deaf(self: Stub, reader: Any, writer: Any) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                writer.close()

        monkeypatch.setattr(Stub, "_serve", deaf)
        async with stub.session(timeout=0.2, max_retries=0) as session:
            with pytest.raises(TransportError, match=r"the server took nothing for 0\.2 s"):
                await session.files.create(os.urandom(1024) * 40_000, purpose="vision")
        monkeypatch.setattr(Stub, "_serve", stub_serve)


async def test_silence_after_it_was_sent():
    """The timeout of the request holds as for others."""
    async with Stub(NEVER) as stub, stub.session(max_retries=0) as session:
        with pytest.raises(TransportError, match=r"nothing came for 0\.2 s"):
            await session.files.create(b"x", purpose="vision", timeout=0.2)


async def test_without_a_timeout():
    """It can be switched off."""
    async with Stub(MADE) as stub, stub.session(timeout=float("inf")) as session:
        assert (await session.files.create(b"x", purpose="vision")).id == "file-1"


async def test_whoever_is_cancelled_closes_the_file(tmp_path: Path):
    """An upload that is cancelled in the middle leaves nothing open: neither a file nor an iterable."""
    path = tmp_path / "a"
    await anyio.Path(path).write_bytes(b"x" * 1_000_000)
    upload = Upload(path, "a", {})
    pieces = upload._noting_failure(1_000_000)
    assert await anext(pieces)
    await pieces.aclose()
    assert upload.failure is None
    is_closed = False

    async def source() -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            yield b"x"
            scope.cancel()
            yield b"x"
        finally:
            is_closed = True

    async with Stub() as stub, stub.session() as session:
        with anyio.CancelScope() as scope:
            await session.files.create(source(), purpose="vision")
    assert is_closed


def test_it_is_not_shown():
    """aiohttp asks for a text only where it shows a form."""
    from openai_runs._http.upload import _Pieces

    with pytest.raises(TypeError, match="cannot be shown"):
        _Pieces(once, 1, 1).decode()
