"""What `PostgresContents` promises beyond `FileContents`: little memory, no left-overs, and several servers at once."""

import tracemalloc
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from openai_runs.errors import StoreUnavailableError
from openai_runs.stores.file_contents import at_hand, pieces, whole
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.postgres import contents as postgres_contents
from openai_runs.stores.postgres.contents import PostgresContents
from tests.postgres import Postgres, execute, kill_sessions
from tests.stores.objects import file

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@pytest.fixture
async def store(url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(url, folder=tmp_path) as store:
        yield store


async def keep(store: PostgresStore, id: str, *pieces: bytes) -> None:
    async with store.contents.drafting() as draft:
        for piece in pieces:
            await draft.write(piece)
        await draft.keep(id)


def age(url: str) -> None:
    """As if what is there had been there for two days."""
    execute(url, "UPDATE openai_runs_contents SET written_at = written_at - interval '2 days'")


def rows(url: str) -> tuple[int, int]:
    """How many contents and pieces there are."""
    [found] = execute(
        url, "SELECT (SELECT count(*) FROM openai_runs_contents), (SELECT count(*) FROM openai_runs_pieces)"
    )
    return found


async def test_a_large_content_is_never_in_memory(store: PostgresStore, url: str):
    """It comes, lies and goes in pieces."""
    tracemalloc.start()
    try:
        await keep(store, "file-1", *[b"x" * 2**16] * 800)
        size = 0
        async for piece in pieces(await store.contents.source("file-1")):
            size += len(piece)
        async with at_hand(await store.contents.source("file-1")) as path:
            assert isinstance(path, Path)
            assert path.stat().st_size == size == 800 * 2**16
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert rows(url) == (1, 200)


async def test_nothing_is_left_of_what_is_deleted(store: PostgresStore, url: str):
    """Not of a draft that is left, nor of a content that is deleted or kept anew."""
    async with store.contents.drafting() as draft:
        await draft.write(b"x" * 2**20)
        assert rows(url) == (1, 4)
    assert rows(url) == (0, 0)
    for text in b"one", b"two":
        await keep(store, "file-1", text)
    assert rows(url) == (1, 1)
    await store.contents.delete("file-1")
    assert rows(url) == (0, 0)


async def test_drafts_of_servers_that_died(store: PostgresStore, url: str):
    """They are deleted a day later by whoever begins another one, and not before; contents of files stay."""
    await store.commit([file("file-1")])
    await keep(store, "file-1", b"one")
    drafting = store.contents.drafting
    async with drafting() as lost, drafting() as complete, drafting() as late:
        for draft in lost, complete:
            await draft.write(b"x" * 2**18)
        age(url)
        await late.write(b"x" * 2**18)
        assert rows(url) == (2, 2)
        for change in lost.write(b"x" * 2**18), lost.keep("file-2"), complete.keep("file-2"):
            with pytest.raises(StoreUnavailableError, match="has come too slowly"):
                await change
        await keep(store, "file-3", b"three")
        await late.keep("file-2")
    assert [await whole(await store.contents.source(f"file-{n}")) for n in (1, 2, 3)] == [
        b"one",
        b"x" * 2**18,
        b"three",
    ]


async def test_contents_without_a_file(url: str, tmp_path: Path):
    """What was kept for a file that was never committed is deleted at a start, a day later."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([file("file-1")])
        await keep(store, "file-1", b"one")
        await keep(store, "file-2", b"two")
    async with PostgresStore(url, folder=tmp_path) as store:
        assert rows(url) == (2, 2)
    age(url)
    async with PostgresStore(url, folder=tmp_path) as store:
        assert rows(url) == (1, 1)
        assert await whole(await store.contents.source("file-1")) == b"one"


async def test_a_content_that_is_deleted_while_it_is_read(store: PostgresStore, monkeypatch: pytest.MonkeyPatch):
    """Whoever reads it hears of that, and no file is left behind."""
    monkeypatch.setattr(postgres_contents, "_PIECE", 4)
    await keep(store, "file-1", b"some text")
    source = await store.contents.source("file-1")
    await store.contents.delete("file-1")
    with pytest.raises(LookupError, match="was deleted while it was read"):
        await whole(source)
    with pytest.raises(LookupError, match="was deleted while it was read"):
        async with at_hand(source):
            pytest.fail("it is there")


async def test_connections_are_lost(store: PostgresStore, url: str):
    """One that was idle is replaced: an upload goes on."""
    async with store.contents.drafting() as draft:
        for _ in range(3):
            kill_sessions(url)
            await draft.write(b"x" * 2**18)
        kill_sessions(url)
        await draft.keep("file-1")
    kill_sessions(url)
    assert len(await whole(await store.contents.source("file-1"))) == 3 * 2**18


async def test_a_database_that_is_away(caplog: pytest.LogCaptureFixture):
    """What cannot be deleted is logged, since the request it belongs to has ended well; a day later it is gone."""
    is_away = False

    async def execute(sql: str, _: Mapping[str, Any]) -> list[Any]:
        if is_away:
            raise StoreUnavailableError("away")
        return [(7,)]

    contents = PostgresContents(execute)
    async with contents.drafting() as draft:
        await draft.write(b"x" * 2**18)
        is_away = True
        with pytest.raises(StoreUnavailableError):
            await draft.write(b"x" * 2**18)
    await contents.delete("file-1")
    assert "is deleted a day later: away" in caplog.text
    assert "the content of file-1 cannot be deleted now: away" in caplog.text


async def test_a_content_that_another_server_has_moved(store: PostgresStore, tmp_path: Path):
    """It is counted by that one."""

    class Folder:
        async def source(self, _: str) -> Path:
            return tmp_path / "gone"

    await store.commit([file("file-1")])
    assert await store.contents.move_from(Folder()) == 0  # type: ignore[attr-defined,arg-type]
