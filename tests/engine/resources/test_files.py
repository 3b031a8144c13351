"""Files in the engine: created with their contents, limited, expired, and consistent after a crash."""

import logging
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs.engine import ApiError, ManualClock
from openai_runs.engine.audit import By
from openai_runs.engine.idempotency import IdempotencyKey
from openai_runs.engine.vector_store_expiry import LOOK_AGAIN
from openai_runs.errors import StoreDataError, StoreFileError, StoreUnavailableError
from openai_runs.models.file import File
from openai_runs.stores import MemoryStore, PageQuery
from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.engine.world import ALL, World, conform, world
from tests.postgres import Postgres, execute
from tests.stores import objects
from tests.stores.faulty import FaultyStore, damage

pytestmark = pytest.mark.anyio

HOUR = {"anchor": "created_at", "seconds": 3600}


async def create(
    w: World, content: bytes = b"some text", owner: str = "", filename: str = "a.txt", **body: Any
) -> File:
    async with w.engine.files.uploading(owner) as upload:
        await upload.write(content)
        return conform(await w.engine.files.create(owner, {"purpose": "assistants", **body}, filename, upload))


async def content(w: World, file: File, owner: str = "") -> bytes:
    _, source = await w.engine.files.content(owner, file.id)
    return source if isinstance(source, bytes) else source.read_bytes()


async def is_gone(w: World, file: File) -> bool:
    with pytest.raises(LookupError):
        await w.store.contents.source(file.id)
    return await w.store.get(File, file.id) is None


async def test_a_life():
    """A file is created with its content, found, listed, read and deleted; then it is gone, content included."""
    async with world() as w:
        file = await create(w, b"one", filename="ä.txt")
        assert (file.bytes, file.filename, file.purpose, file.status) == (3, "ä.txt", "assistants", "processed")
        assert file.id.startswith("file-")
        assert file.created_at.timestamp() == w.clock.now()
        assert await w.engine.files.retrieve("", file.id) == file
        assert conform(await w.engine.files.list("", ALL)).data == (file,)
        assert await content(w, file) == b"one"
        deleted = await w.engine.files.delete("", file.id)
        assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
        assert await is_gone(w, file)
        for operation in w.engine.files.retrieve, w.engine.files.content, w.engine.files.delete:
            with pytest.raises(ApiError, match=f"No such File object: {file.id}") as caught:
                await operation("", file.id)
            assert (caught.value.status, caught.value.param) == (404, "id")


async def test_lists():
    """Newest first, over any number of pages, of all files or of those for a purpose; those of the owner only."""
    async with world() as w:
        purposes = ["assistants", "batch", "assistants", "vision", "assistants"]
        files = [await create(w, owner="ann", purpose=purpose) for purpose in purposes]
        other = await create(w, owner="bob")
        assert (await w.engine.files.list("ann", PageQuery())).data == tuple(files[::-1])
        page = await w.engine.files.list("ann", PageQuery(limit=2), "assistants")
        assert (page.data, page.has_more) == ((files[4], files[2]), True)
        page = await w.engine.files.list("ann", PageQuery(limit=2, after=files[2].id), "assistants")
        assert (page.data, page.has_more) == ((files[0],), False)
        assert (await w.engine.files.list("bob", PageQuery(), "assistants")).data == (other,)
        assert (await w.engine.files.list("bob", PageQuery(), "fine-tune")).data == ()
        with pytest.raises(ApiError, match="No file found with id 'file-9' to start 'after'"):
            await w.engine.files.list("ann", PageQuery(after="file-9"))


async def test_what_was_not_created_leaves_nothing():
    """An upload that ends without a file has no content, and takes none of the owner's bytes."""
    async with world(max_owner_bytes=10) as w:
        for _ in range(3):
            async with w.engine.files.uploading("ann") as upload:
                await upload.write(b"12345678")
        assert w.engine.files._used == {}
        await create(w, b"1234567890", "ann")


async def test_a_file_that_is_too_large():
    """It is refused as soon as it is, and not when it has been received."""
    async with world(max_file_bytes=10) as w, w.engine.files.uploading("") as upload:
        await upload.write(b"1234567890")
        with pytest.raises(ApiError, match="at most 10 bytes are accepted") as caught:
            await upload.write(b"1")
        assert (caught.value.status, caught.value.param) == (413, "file")


async def test_an_owner_with_too_much():
    """Files and uploads in progress count, of this owner only; what is deleted or given up does not."""
    async with world(max_owner_bytes=10) as w:
        file = await create(w, b"12345", "ann")
        async with w.engine.files.uploading("ann") as first, w.engine.files.uploading("ann") as second:
            await first.write(b"1234")
            with pytest.raises(ApiError, match="more than 10 bytes together") as caught:
                await second.write(b"12")
            assert (caught.value.status, caught.value.code) == (403, "storage_quota_exceeded")
            await create(w, b"1234567890", "bob")
        await create(w, b"12345", "ann")
        await w.engine.files.delete("ann", file.id)
        await create(w, b"12345", "ann")


async def test_bytes_are_counted_again_after_a_restart():
    """A restart is no way to get around the limit."""
    store = MemoryStore()
    async with world(store=store) as w:
        await create(w, b"12345", "ann")
    async with world(store=store, max_owner_bytes=8) as w:
        with pytest.raises(ApiError, match="more than 8 bytes"):
            await create(w, b"1234", "ann")


async def until_gone(w: World, file: File) -> None:
    with anyio.fail_after(20):
        while await w.store.get(File, file.id) is not None:
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("restart", [False, True])
async def test_expiry(restart: bool):
    """A file is deleted when its time has come, also after a restart; a file without such a time stays."""
    store, clock = MemoryStore(), ManualClock()
    async with world(store=store, clock=clock) as w:
        file, other = await create(w, expires_after=HOUR), await create(w)
        assert (file.expires_at - file.created_at).total_seconds() == 3600
        if not restart:
            clock.advance(3599)
            await w.settle()
            assert await w.engine.files.retrieve("", file.id) == file
            clock.advance(1)
            with pytest.raises(ApiError, match="No such File"):  # even before it is deleted
                await w.engine.files.retrieve("", file.id)
            await until_gone(w, file)
    clock.advance(3600)
    async with world(store=store, clock=clock) as w:
        await until_gone(w, file)
        await w.settle()
        assert await is_gone(w, file)
        assert await content(w, other) == b"some text"


async def test_files_of_another_server(postgres_server: Postgres):
    """A server that shares its store deletes and counts them, too, after a while: the other one may be gone."""
    url, clock = postgres_server.store_url(), ManualClock()
    async with world(store=SharedPostgresStore(url), clock=clock, max_owner_bytes=8) as here:
        async with world(store=SharedPostgresStore(url), clock=clock) as w:
            kept, file = await create(w, b"12345", "ann"), await create(w, owner="bob", expires_after=HOUR)
        async with here.engine.files.uploading("ann") as upload:
            await upload.write(b"1")
            with anyio.fail_after(20):
                while here.engine.files._used.get("ann", 0) < 6:
                    clock.advance(LOOK_AGAIN)
                    await anyio.lowlevel.checkpoint()
            with pytest.raises(ApiError, match="more than 8 bytes"):
                await create(here, b"123", "ann")
        await here.engine.files.delete("ann", kept.id)
        await create(here, b"12345", "ann")
        clock.advance(3600)
        await until_gone(here, file)


async def test_files_that_cannot_all_be_read(postgres_server: Postgres, caplog: pytest.LogCaptureFixture):
    """Then those of others are not counted for now, and that is logged."""
    url, clock = postgres_server.store_url(), ManualClock()
    async with world(store=SharedPostgresStore(url), clock=clock) as w:
        await create(w, b"12345", "ann")
        execute(url, "UPDATE openai_runs_objects SET body = '{' WHERE kind = 'file'")
        with anyio.fail_after(20):
            while "what owners have is not counted anew" not in caplog.text:
                clock.advance(LOOK_AGAIN)
                await anyio.lowlevel.checkpoint()
        assert w.engine.files._used == {"ann": 5}


async def test_files_for_batches_expire():
    """After thirty days, unless something else is asked for, as the API says."""
    async with world() as w:
        file = await create(w, purpose="batch")
        assert (file.expires_at - file.created_at).days == 30
        file = await create(w, purpose="batch", expires_after=HOUR)
        assert (file.expires_at - file.created_at).total_seconds() == 3600


async def test_a_deleted_file_does_not_expire():
    """Its deadline goes with it."""
    async with world() as w:
        file = await create(w, expires_after=HOUR)
        await w.engine.files.delete("", file.id)
        assert len(w.engine.files._deadlines) == 0


async def test_expiry_with_a_full_disk():
    """It waits until the store takes commits again."""
    store = FaultyStore()
    async with world(store=store) as w:
        file = await create(w, expires_after=HOUR)
        store.full = True
        w.clock.advance(3600)
        with anyio.fail_after(20):
            while not store.refused:
                await anyio.lowlevel.checkpoint()
        store.full = False
        await w.settle()
        w.clock.advance(1)
        await until_gone(w, file)


async def test_expiry_of_what_cannot_be_deleted(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """It is logged, and the engine goes on; nobody sees the file."""
    async with world() as w:
        file, later = await create(w, expires_after=HOUR), await create(w, expires_after={**HOUR, "seconds": 7200})

        async def fail(*_: object) -> None:
            raise StoreDataError("damaged")

        with monkeypatch.context() as patch:
            patch.setattr(MemoryStore, "commit", fail)
            w.clock.advance(3600)
            with anyio.fail_after(20):
                while "cannot be deleted" not in caplog.text:
                    await anyio.lowlevel.checkpoint()
        with pytest.raises(ApiError, match="No such File"):
            await w.engine.files.content("", file.id)
        w.clock.advance(3600)
        await until_gone(w, later)


async def test_a_store_without_room():
    """If the file cannot be committed, its content is not kept either."""
    store = FaultyStore()
    async with world(store=store) as w:
        store.full = True
        with pytest.raises(StoreUnavailableError):
            await create(w, owner="ann")
        assert w.engine.files._used == {}
        assert await store.contents.sweep([]) == []
        assert store.contents._kept == {}


async def test_a_key_that_was_used():
    """The same request again, at the same time, has one file and one content."""
    async with world() as w:
        key = await IdempotencyKey.of("k", "", "POST /files", b"")

        async def create_once(_: IdempotencyKey) -> File:
            async with w.engine.files.uploading("") as upload:
                return await w.engine.files.create("", {"purpose": "vision"}, "a", upload, key=key)

        first, is_new = await w.engine.idempotency.once(key, create_once)
        assert is_new
        w.engine.idempotency._recent.clear()
        assert await w.engine.idempotency.once(key, create_once) == (first, False)
        assert list(w.store.contents._kept) == [first.id]


async def test_two_who_delete():
    """One of them is told that there is no such file."""
    async with world() as w:
        file, outcomes = await create(w), []

        async def delete() -> None:
            try:
                outcomes.append((await w.engine.files.delete("", file.id)).deleted)
            except ApiError as error:
                outcomes.append(error.status)

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(delete)
        assert sorted(outcomes) == [True, 404]
        assert await w.engine.files._remove(file.id, By.REQUEST) is False


async def test_a_content_that_is_gone(tmp_path: Path):
    """Whoever reads it at the moment of its deletion is told that there is no such file."""
    async with world() as w:
        file = await create(w)
        await w.store.contents.delete(file.id)
        with pytest.raises(ApiError, match="No such File"):
            await w.engine.files.content("", file.id)


async def test_whoever_is_cancelled_has_a_file_or_none():
    """A cancelled creation that was begun is finished: the content is never without its file."""
    async with world() as w:
        async with w.engine.files.uploading("") as upload:
            await upload.write(b"12")
            with anyio.CancelScope() as scope:
                scope.cancel()
                await w.engine.files.create("", {"purpose": "vision"}, "a", upload)
        [file] = (await w.engine.files.list("", ALL)).data
        assert await content(w, file) == b"12"
        assert w.engine.files._used == {"": 2}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


async def test_after_a_crash(store: Store, caplog: pytest.LogCaptureFixture):
    """At the start, files without content and contents without a file go; everything else stays."""
    async with world(store=store) as w:
        kept = await create(w, b"kept")
        async with store.contents.drafting() as draft:
            await draft.write(b"of nobody")
            await draft.keep("file-nobody")
        await store.commit([objects.file("file-empty", bytes=3)])
    with caplog.at_level(logging.WARNING):
        async with world(store=store, max_owner_bytes=10) as w:
            assert (await w.engine.files.list("", ALL)).data == (kept,)
            assert await content(w, kept) == b"kept"
            with pytest.raises(LookupError):
                await store.contents.source("file-nobody")
            assert w.engine.files._used == {"": 4}
    assert "1 files, such as file-empty, have lost their contents, and are deleted" in caplog.text


async def test_a_store_without_its_folder(tmp_path: Path):
    """The server does not start: the folder may be where the store has been before."""
    path = tmp_path / "runs.db"
    async with world(store=SQLiteStore(path)) as w:
        await create(w)
    (tmp_path / "runs.db-files").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreFileError, match="the folder with their contents is missing"):
        async with world(store=SQLiteStore(path)):
            pass
    (tmp_path / "elsewhere").rename(tmp_path / "runs.db-files")
    async with world(store=SQLiteStore(path)) as w:
        [file] = (await w.engine.files.list("", ALL)).data
        assert await content(w, file) == b"some text"


async def test_a_damaged_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The engine starts; no content is deleted then, since it may be that of the damaged file."""
    path = tmp_path / "runs.db"
    async with world(store=SQLiteStore(path)) as w:
        whole, hurt = await create(w, b"whole"), await create(w, b"hurt")
    damage(path, hurt.id, "file")
    async with world(store=SQLiteStore(path)) as w:
        assert await content(w, whole) == b"whole"
        assert (await w.store.contents.source(hurt.id)).read_bytes() == b"hurt"
        with pytest.raises(StoreDataError):
            await w.engine.files.retrieve("", hurt.id)
        await create(w)
    assert "not all files can be read, so nothing is cleaned up" in caplog.text
