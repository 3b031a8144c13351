"""Batches of files in vector stores: counted, cancelled, and listed."""

from typing import Any

import pytest

from openai_runs.engine import ApiError
from openai_runs.models.vector_store import VectorStoreFileStatus
from openai_runs.stores import PageQuery
from tests.engine.shelves import batch_now, counts, done, file_now, shelves, store_now, store_of, upload
from tests.engine.world import conform

pytestmark = pytest.mark.anyio

STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}


async def batch_of(w: Any, store: Any, *files: Any, **body: Any) -> Any:
    asked = body if "files" in body else {"file_ids": [file.id for file in files], **body}
    return conform(await w.engine.vector_store_file_batches.create("", store.id, asked))


async def test_a_life():
    """A batch is in progress until all of its files have been read."""
    async with shelves() as (w, index):
        files, store = [await upload(w, str(number)) for number in range(3)], await store_of(w)
        index.stop()
        batch = await batch_of(w, store, *files, files[0], attributes={"a": 1}, chunking_strategy=STATIC)
        assert (batch.status, counts(batch), batch.vector_store_id) == ("in_progress", (3, 0, 0, 0, 3), store.id)
        index.go_on()
        await done(w)
        batch = await batch_now(w, batch)
        assert (batch.status, counts(batch)) == ("completed", (0, 3, 0, 0, 3))
        for file in files:
            read = await file_now(w, store, file)
            assert (read.attributes, read.chunking_strategy.static.chunk_overlap_tokens) == ({"a": 1}, 0)
        other = await store_of(w)
        for wrong in ("vsfb_9", store.id), (batch.id, other.id):
            with pytest.raises(ApiError, match="No file batch found") as caught:
                await w.engine.vector_store_file_batches.retrieve("", wrong[1], wrong[0])
            assert caught.value.status == 404


async def test_files_with_parameters_of_their_own():
    """Then those of the whole batch do not count."""
    async with shelves() as (w, _):
        files, store = [await upload(w, str(number)) for number in range(2)], await store_of(w)
        asked = [{"file_id": files[0].id, "attributes": {"own": 1}}, {"file_id": files[1].id}]
        await batch_of(w, store, files=asked, attributes={"all": 1})
        assert [(await file_now(w, store, file)).attributes for file in files] == [{"own": 1}, {}]
        with pytest.raises(ApiError, match="either 'file_ids' or 'files'"):
            await batch_of(w, store, files=asked, file_ids=[files[0].id])
        await done(w)


async def test_failures_are_counted():
    """A batch of which nothing could be read has failed; one file is enough for it to be completed."""
    async with shelves() as (w, index):
        index.failures[b"bad"] = KeyError("bad")
        bad, good, store = await upload(w, "bad"), await upload(w, "good"), await store_of(w)
        batch = await batch_of(w, store, bad)
        await done(w)
        assert ((await batch_now(w, batch)).status, counts(await batch_now(w, batch))) == ("failed", (0, 0, 1, 0, 1))
        batch = await batch_of(w, store, bad, good)
        await done(w)
        assert ((await batch_now(w, batch)).status, counts(await batch_now(w, batch))) == ("completed", (0, 1, 1, 0, 2))


async def test_files_that_are_there_already():
    """They count as what they are; two batches may wait for one file."""
    async with shelves() as (w, index):
        read, late, store = await upload(w, "read"), await upload(w, "late"), await store_of(w)
        await batch_of(w, store, read)
        await done(w)
        assert (await batch_of(w, store, read)).status == "completed"
        index.stop()
        batches = [await batch_of(w, store, read, late) for _ in range(2)]
        assert [counts(batch) for batch in batches] == [(1, 1, 0, 0, 2)] * 2
        index.go_on()
        await done(w)
        assert [counts(await batch_now(w, batch)) for batch in batches] == [(0, 2, 0, 0, 2)] * 2
        assert len([call for call in index.calls if call[0] == "ingest"]) == 2


async def test_cancel():
    """What has been read stays, what has not is not read; the index forgets what it was reading."""
    async with shelves() as (w, index):
        files, store = [await upload(w, str(number)) for number in range(4)], await store_of(w)
        await batch_of(w, store, files[0])
        await done(w)
        index.stop()
        batch = await batch_of(w, store, *files)
        other = await batch_of(w, store, files[1])
        await w.settle()
        cancelled = conform(await w.engine.vector_store_file_batches.cancel("", store.id, batch.id))
        assert (cancelled.status, counts(cancelled)) == ("cancelled", (0, 1, 0, 3, 4))
        assert counts(await store_now(w, store)) == (0, 1, 0, 3, 4)
        assert counts(await batch_now(w, other)) == (0, 0, 0, 1, 1)
        assert [(await file_now(w, store, file)).status for file in files[:2]] == ["completed", "cancelled"]
        index.go_on()
        await done(w)
        assert list(index.chunks_of) == [(store.id, files[0].id)]
        assert counts(await store_now(w, store)) == (0, 1, 0, 3, 4)
        with pytest.raises(ApiError, match="Cannot cancel file batch with status 'cancelled'"):
            await w.engine.vector_store_file_batches.cancel("", store.id, batch.id)


async def test_files_that_are_taken_out():
    """They end the wait for them, and are not listed any more."""
    async with shelves() as (w, index):
        files, store = [await upload(w, str(number)) for number in range(2)], await store_of(w)
        index.stop()
        batch = await batch_of(w, store, *files)
        await w.engine.vector_store_files.delete("", store.id, files[0].id)
        assert counts(await batch_now(w, batch)) == (1, 0, 0, 1, 2)
        index.go_on()
        await done(w)
        assert (await batch_now(w, batch)).status == "completed"
        assert await ids(w, batch) == ([files[1].id], False)
        gone = await batch_of(w, store, files[1])
        await w.engine.vector_store_files.delete("", store.id, files[1].id)
        assert (await batch_now(w, gone)).status == "completed"


async def ids(w: Any, batch: Any, status: str | None = None, **query: Any) -> tuple[list[str], bool]:
    wanted = None if status is None else VectorStoreFileStatus(status)
    page = await w.engine.vector_store_file_batches.list_files(
        "", batch.vector_store_id, batch.id, PageQuery(**query), wanted
    )
    return [file.id for file in conform(page).data], page.has_more


async def test_lists():
    """By pages in both directions, of all files or of those with one status."""
    async with shelves() as (w, index):
        index.failures[b"bad"] = KeyError("bad")
        files = [await upload(w, "bad" if number % 2 else "good") for number in range(6)]
        all_ids, store = [file.id for file in files], await store_of(w, await upload(w))
        batch = await batch_of(w, store, *files)
        await done(w)
        assert await ids(w, batch) == (all_ids[::-1], False)
        assert await ids(w, batch, limit=2, order="asc", after=all_ids[0]) == (all_ids[1:3], True)
        assert await ids(w, batch, limit=2, order="asc", before=all_ids[4]) == (all_ids[2:4], True)
        assert await ids(w, batch, "failed", limit=2, order="asc") == (all_ids[1:5:2], True)
        assert await ids(w, batch, "failed", order="asc", after=all_ids[1], before=all_ids[5]) == ([all_ids[3]], False)
        for cursor in "after", "before":
            with pytest.raises(ApiError, match=f"to start '{cursor}'") as caught:
                await ids(w, batch, **{cursor: "file-9"})
            assert (caught.value.status, caught.value.param) == (400, cursor)
