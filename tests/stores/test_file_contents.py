"""What every place for the contents of files promises; in memory, in a folder, and in PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.file_contents import FileContents, MemoryContents, at_hand, pieces, whole
from openai_runs.stores.postgres import PostgresStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "folder", "postgres"])
async def contents(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[FileContents]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_server").store_url()
        async with PostgresStore(url, folder=tmp_path / "none") as store:
            yield store.contents
    else:
        yield MemoryContents() if request.param == "memory" else ContentFolder(tmp_path / "runs.db-files")


async def keep(contents: FileContents, id: str, *pieces: bytes) -> None:
    async with contents.drafting() as draft:
        for piece in pieces:
            await draft.write(piece)
        assert draft.size == sum(map(len, pieces))
        await draft.keep(id)


async def read(contents: FileContents, id: str) -> bytes:
    return await whole(await contents.source(id))


@pytest.mark.parametrize(
    "pieces", [(), (b"",), (b"a", b"", b"bc"), (b"x" * 2**20, b"y", b"z" * 3 * 2**20), (b"1" * 1000,) * 3000]
)
async def test_what_was_written_is_kept(contents: FileContents, pieces: tuple[bytes, ...]):
    """A content of any size, in pieces of any size, is the pieces in their order; an empty one is one, too."""
    await keep(contents, "file-1", *pieces)
    assert await read(contents, "file-1") == b"".join(pieces)


async def test_a_content_at_hand(contents: FileContents):
    """Whoever needs a file or bytes gets one or the other, until the end; a piece is never large."""
    data = bytes(range(256)) * 2**13
    await keep(contents, "file-1", data)
    source = await contents.source("file-1")
    sizes = [len(piece) async for piece in pieces(source)]
    assert sum(sizes) == len(data)
    assert max(sizes) <= 2**20
    async with at_hand(source) as found:
        assert (found if isinstance(found, bytes) else found.read_bytes()) == data
    assert isinstance(found, bytes) or found.exists() is isinstance(source, Path)


async def test_what_was_not_kept_is_gone(contents: FileContents):
    """A draft that is left is no content."""
    async with contents.drafting() as draft:
        await draft.write(b"half")
    assert await contents.sweep([]) == []
    with pytest.raises(LookupError):
        await contents.source("file-1")


async def test_a_content_is_deleted(contents: FileContents):
    """Once it is deleted it cannot be read; deleting what is not there does nothing."""
    await keep(contents, "file-1", b"one")
    await keep(contents, "file-2", b"two")
    for _ in range(2):
        await contents.delete("file-1")
    with pytest.raises(LookupError):
        await contents.source("file-1")
    assert await read(contents, "file-2") == b"two"


@pytest.mark.parametrize("id", ["../../etc/passwd", "a/b", "é", "\ud800", "x" * 300, "."])
async def test_ids_of_any_kind(contents: FileContents, id: str):
    """An imported file may have any ID: it never is a path."""
    await keep(contents, id, b"one")
    assert await read(contents, id) == b"one"


async def test_a_sweep(contents: FileContents):
    """It leaves the contents of the files that there are, and tells which of them have none."""
    for number in range(4):
        await keep(contents, f"file-{number}", b"%d" % number)
    assert await contents.sweep(["file-1", "file-9", "file-3", "file-8"]) == ["file-9", "file-8"]
    assert [await read(contents, id) for id in ("file-1", "file-3")] == [b"1", b"3"]
    for id in "file-0", "file-2":
        with pytest.raises(LookupError):
            await contents.source(id)


async def test_fingerprints(contents: FileContents):
    """Equal contents have equal ones, however they are cut, and others another."""
    found = []
    for parts in ([b"ab", b"c"], [b"a", b"bc"], [b"abd"], []):
        async with contents.drafting() as draft:
            for piece in parts:
                await draft.write(piece)
            found.append(await draft.fingerprint())
            await draft.keep("file-1")
        assert await read(contents, "file-1") == b"".join(parts)
    assert found[0] == found[1]
    assert len(set(found)) == 3
