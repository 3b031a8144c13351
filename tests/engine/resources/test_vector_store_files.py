"""Files in vector stores: added, read, listed by status, changed and taken out."""

from typing import Any

import pytest

from openai_runs.engine import ApiError
from openai_runs.errors import FileError
from openai_runs.file_search import Chunking
from openai_runs.models.vector_store import VectorStoreFileStatus
from openai_runs.stores import MemoryStore, PageQuery
from openai_runs.stores.records import FileUse
from tests.engine.shelves import counts, done, file_now, shelves, store_now, store_of, upload
from tests.engine.world import ALL, conform

pytestmark = pytest.mark.anyio

STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}


async def test_a_life():
    """A file is added, read, changed and taken out; then it is still a file."""
    async with shelves() as (w, index):
        file, store = await upload(w, "one\ntwo"), await store_of(w)
        index.stop()
        body = {"file_id": file.id, "attributes": {"a": 1.5, "b": True}, "chunking_strategy": STATIC}
        added = conform(await w.engine.vector_store_files.create("", store.id, body))
        assert (added.id, added.vector_store_id, added.status) == (file.id, store.id, "in_progress")
        assert (added.attributes, added.chunking_strategy.static.max_chunk_size_tokens) == ({"a": 1.5, "b": True}, 200)
        assert conform(await w.engine.vector_store_files.content("", store.id, file.id)).data == ()
        index.go_on()
        await done(w)
        assert index.chunkings == [Chunking(200, 100)]
        read = await file_now(w, store, file)
        assert (read.status, read.usage_bytes, read.last_error) == ("completed", 14, None)
        content = conform(await w.engine.vector_store_files.content("", store.id, file.id))
        assert [(passage.type, passage.text) for passage in content.data] == [("text", "one"), ("text", "two")]
        changed = await w.engine.vector_store_files.update("", store.id, file.id, {"attributes": {"a": "b"}})
        assert conform(changed).attributes == {"a": "b"}
        assert (await w.engine.vector_store_files.update("", store.id, file.id, {"attributes": None})).attributes == {}
        deleted = await w.engine.vector_store_files.delete("", store.id, file.id)
        assert (deleted.id, deleted.object) == (file.id, "vector_store.file.deleted")
        assert counts(await store_now(w, store)) == (0, 0, 0, 0, 0)
        assert (await store_now(w, store)).usage_bytes == 0
        await done(w)
        assert index.chunks_of == {}
        assert await w.engine.files.retrieve("", file.id) == file
        for operation in ("retrieve", "delete", "content"):
            with pytest.raises(ApiError, match=f"No file found with id '{file.id}'") as caught:
                await getattr(w.engine.vector_store_files, operation)("", store.id, file.id)
            assert caught.value.status == 404


async def test_a_file_that_cannot_be_read(caplog: pytest.LogCaptureFixture):
    """It has failed, and says why; the others are read."""
    async with shelves() as (w, index):
        index.failures[b"bad"] = FileError("invalid_file", "It is empty.")
        index.failures[b"worse"] = KeyError("a bug")
        files = [await upload(w, text) for text in ("bad", "worse", "good")]
        program = await upload(w, filename="a.exe")
        store = await store_of(w, *files, program)
        await done(w)
        assert counts(await store_now(w, store)) == (0, 1, 3, 0, 4)
        errors = [(await file_now(w, store, file)).last_error for file in (*files, program)]
        assert [error and error.code for error in errors] == ["invalid_file", "server_error", None, "unsupported_file"]
        assert (errors[0].message, errors[3].message) == ("It is empty.", "Programs are not read.")
        assert "a bug" not in errors[1].message
        assert f"the file {files[1].id} cannot be read into {store.id}" in caplog.text


async def test_added_again():
    """A file that is there is not read again; one that failed is, and one that is to be cut otherwise."""
    async with shelves() as (w, index):
        file, store = await upload(w, "text"), await store_of(w)
        index.failures[b"text"] = KeyError("once")
        create = w.engine.vector_store_files.create
        await create("", store.id, {"file_id": file.id, "attributes": {"a": 1}})
        await done(w)
        index.failures.clear()
        assert (await create("", store.id, {"file_id": file.id})).attributes == {"a": 1}
        await done(w)
        again = await create("", store.id, {"file_id": file.id, "attributes": {"b": 2}})
        assert (again.status, again.attributes) == ("completed", {"b": 2})
        await done(w)
        assert len(index.calls) == 2
        again = await create("", store.id, {"file_id": file.id, "chunking_strategy": STATIC})
        assert (again.status, again.attributes) == ("in_progress", {"b": 2})
        await done(w)
        assert (len(index.calls), counts(await store_now(w, store))) == (3, (0, 1, 0, 0, 1))
        assert (await store_now(w, store)).usage_bytes == 8


@pytest.mark.parametrize("overlap", [101, -1])
async def test_an_overlap_that_is_too_long(overlap: int):
    """It is at most half of a passage, which no schema can say."""
    async with shelves() as (w, _):
        sizes = {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": overlap}
        with pytest.raises(ApiError, match="expected 0 to 100") as caught:
            await w.engine.vector_stores.create("", {"chunking_strategy": {"type": "static", "static": sizes}})
        assert caught.value.param == "chunking_strategy.static.chunk_overlap_tokens"


async def ids(w: Any, store: Any, status: str | None = None, **query: Any) -> tuple[list[str], bool]:
    wanted = None if status is None else VectorStoreFileStatus(status)
    page = conform(await w.engine.vector_store_files.list("", store.id, PageQuery(**query), wanted))
    assert (page.first_id, page.last_id) == ((page.data[0].id, page.data[-1].id) if page.data else (None, None))
    return [file.id for file in page.data], page.has_more


async def test_lists(monkeypatch: pytest.MonkeyPatch):
    """By pages in both directions, of all files or of those with one status, however few they are."""
    from openai_runs.engine.resources import vector_store_files

    monkeypatch.setattr(vector_store_files, "_STEP", 2)
    async with shelves() as (w, index):
        index.failures[b"bad"] = KeyError("bad")
        files = [(await upload(w, "bad" if number % 3 else "good")).id for number in range(8)]
        store = conform(await w.engine.vector_stores.create("", {"file_ids": files}))
        await done(w)
        assert await ids(w, store) == (files[::-1], False)
        assert await ids(w, store, limit=2, order="asc", after=files[1]) == (files[2:4], True)
        assert await ids(w, store, limit=2, order="asc", before=files[5]) == (files[3:5], True)
        bad = [id for number, id in enumerate(files) if number % 3]
        assert await ids(w, store, "failed") == (bad[::-1], False)
        assert await ids(w, store, "failed", limit=2, order="asc") == (bad[:2], True)
        assert await ids(w, store, "failed", limit=3, order="asc", after=bad[1]) == (bad[2:], False)
        assert await ids(w, store, "failed", limit=2, order="asc", before=files[6]) == (bad[2:4], True)
        assert await ids(w, store, "failed", limit=9, order="asc", before=files[6]) == (bad[:4], False)
        assert await ids(w, store, "cancelled") == ([], False)
        with pytest.raises(ApiError, match="to start 'after'") as caught:
            await ids(w, store, after="file-9")
        assert (caught.value.status, caught.value.param) == (400, "after")


async def test_a_deleted_file_is_taken_out():
    """Of all vector stores, of whichever number; what was being read is forgotten."""
    async with shelves() as (w, index):
        file, other = await upload(w), await upload(w, "other")
        stores = [await store_of(w, file, other) for _ in range(3)]
        await done(w)
        index.stop()
        late = await store_of(w, file)
        await w.settle()
        await w.engine.files.delete("", file.id)
        for store in stores:
            assert counts(await store_now(w, store)) == (0, 1, 0, 0, 1)
        assert counts(await store_now(w, late)) == (0, 0, 0, 0, 0)
        assert (await w.store.page(FileUse, file.id, PageQuery()))[0] == []
        index.go_on()
        await done(w)
        assert {file_id for _, file_id in index.chunks_of} == {other.id}


@pytest.mark.parametrize("first", ["store", "entry"])
async def test_two_deletions_at_a_time(monkeypatch: pytest.MonkeyPatch, first: str):
    """Whoever comes second finds nothing to take out, and that is no error."""
    async with shelves() as (w, _):
        file = await upload(w)
        store = await store_of(w, file)
        await done(w)
        page = MemoryStore.page

        async def page_then_delete(self: Any, kind: Any, *arguments: Any, **options: Any) -> Any:
            found = await page(self, kind, *arguments, **options)
            if kind is FileUse and found[0]:
                if first == "store":
                    await w.engine.vector_stores.delete("", store.id)
                else:
                    await w.engine.vector_store_files.delete("", store.id, file.id)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(MemoryStore, "page", page_then_delete)
            assert (await w.engine.files.delete("", file.id)).deleted
        await done(w)
        assert [record async for record in w.store.everything(FileUse)] == []


async def test_too_many_files(monkeypatch: pytest.MonkeyPatch):
    """A store has as many as one of the hosted API could have."""
    from openai_runs.engine import vector_store_changes

    monkeypatch.setattr(vector_store_changes, "MAX_FILES", 2)
    async with shelves() as (w, _):
        files = [await upload(w) for _ in range(3)]
        store = await store_of(w, *files[:2])
        with pytest.raises(ApiError, match="would have more than 2 files") as caught:
            await w.engine.vector_store_files.create("", store.id, {"file_id": files[2].id})
        assert caught.value.status == 400
        assert len((await w.engine.vector_store_files.list("", store.id, ALL)).data) == 2
