"""Vector stores in the engine: their files, their status, their expiry, and searching in them."""

from datetime import timedelta
from typing import Any

import pytest

from openai_runs.engine import ApiError
from openai_runs.stores import PageQuery
from openai_runs.stores.records import BatchFiles, FileUse, IndexJob, VectorStoreEntry
from tests.engine.index import WordIndex
from tests.engine.shelves import counts, done, shelves, store_now, store_of, upload
from tests.engine.world import ALL, conform, world

pytestmark = pytest.mark.anyio

DAYS = {"anchor": "last_active_at", "days": 3}


async def test_a_life():
    """A store is created, found, changed, listed and deleted."""
    async with shelves() as (w, _):
        store = await store_of(w, name="Menu", description="What there is", metadata={"a": "b"})
        assert (store.id[:3], store.name, store.description) == ("vs_", "Menu", "What there is")
        assert (store.status, counts(store), store.usage_bytes) == ("completed", (0, 0, 0, 0, 0), 0)
        assert (store.expires_after, store.expires_at, store.last_active_at) == (None, None, store.created_at)
        w.clock.advance(10)
        changed = conform(await w.engine.vector_stores.update("", store.id, {"name": None, "metadata": None}))
        assert (changed.name, changed.metadata, changed.description) == ("", {}, "What there is")
        assert changed.last_active_at - store.last_active_at == timedelta(seconds=10)
        assert conform(await w.engine.vector_stores.list("", ALL)).data == (changed,)
        assert (await w.engine.vector_stores.update("", store.id, {})).name == ""
        deleted = await w.engine.vector_stores.delete("", store.id)
        assert (deleted.id, deleted.object) == (store.id, "vector_store.deleted")
        for operation in w.engine.vector_stores.retrieve, w.engine.vector_stores.delete:
            with pytest.raises(ApiError, match=f"No vector store found with id '{store.id}'") as caught:
                await operation("", store.id)
            assert caught.value.status == 404


async def test_its_files_are_read():
    """A new store with files is in progress until all of them have been read; their sizes are its size."""
    async with shelves() as (w, index):
        files = [await upload(w, text) for text in ("one", "three")]
        index.stop()
        store = await store_of(w, *files, files[0])
        assert (store.status, counts(store)) == ("in_progress", (2, 0, 0, 0, 2))
        index.go_on()
        await done(w)
        store = await store_now(w, store)
        assert (store.status, counts(store), store.usage_bytes) == ("completed", (0, 2, 0, 0, 2), 16)
        assert await w.store.get(IndexJob, f"{store.id}/{files[0].id}") is None


async def test_a_file_that_is_not_there():
    """Nothing is created then."""
    async with shelves() as (w, _):
        other = await upload(w, owner="other")
        for file_id in "file-9", other.id:
            with pytest.raises(ApiError, match=f"No such File object: {file_id}") as caught:
                await w.engine.vector_stores.create("", {"file_ids": [file_id]})
            assert caught.value.status == 404
        assert (await w.engine.vector_stores.list("", ALL)).data == ()


async def test_deletion_takes_all_along():
    """Entries, batches and jobs go, the files stay, and the index forgets."""
    async with shelves() as (w, index):
        files = [await upload(w), await upload(w, "other")]
        store, other = await store_of(w, files[0]), await store_of(w, *files)
        batch = await w.engine.vector_store_file_batches.create("", store.id, {"file_ids": [files[1].id]})
        await done(w)
        index.stop()
        late = await upload(w, "late")
        await w.engine.vector_store_files.create("", store.id, {"file_id": late.id})
        await w.settle()
        await w.engine.vector_stores.delete("", store.id)
        assert [record async for record in w.store.everything(BatchFiles)] == []
        assert len([record async for record in w.store.everything(VectorStoreEntry)]) == 2
        assert len([record async for record in w.store.everything(FileUse)]) == 2
        with pytest.raises(ApiError):
            await w.engine.vector_store_file_batches.retrieve("", store.id, batch.id)
        index.go_on()
        await done(w)
        assert [store_id for store_id, _ in index.chunks_of] == [other.id, other.id]
        assert [record async for record in w.store.everything(IndexJob)] == []
        assert len((await w.engine.files.list("", ALL)).data) == 3


async def test_expiry():
    """Days without use end a store; a use puts that off, and so does a change."""
    async with shelves() as (w, _):
        store = await store_of(w, await upload(w), expires_after=DAYS)
        assert (store.expires_after.days, store.expires_at) == (3, store.created_at + timedelta(days=3))
        await done(w)
        w.clock.advance(2 * 86400)
        await w.engine.vector_stores.search("", store.id, {"query": "text"})
        later = await store_now(w, store)
        assert later.expires_at == store.expires_at + timedelta(days=2)
        w.clock.advance(30)
        await w.engine.vector_stores.search("", store.id, {"query": "text"})
        assert await store_now(w, store) == later  # each use would cost a commit
        w.clock.advance(3 * 86400)
        await w.settle()
        await done(w)
        assert (await store_now(w, store)).status == "expired"
        with pytest.raises(ApiError, match="has expired") as caught:
            await w.engine.vector_stores.search("", store.id, {"query": "text"})
        assert (caught.value.status, caught.value.code) == (400, "expired_vector_store")
        revived = await w.engine.vector_stores.update("", store.id, {"expires_after": {**DAYS, "days": 5}})
        assert (revived.status, revived.expires_after.days) == ("in_progress", 5)  # its files are read again
        forever = await w.engine.vector_stores.update("", store.id, {"expires_after": None})
        assert (forever.expires_after, forever.expires_at) == (None, None)


async def test_lists():
    """Newest first, of the owner only."""
    async with shelves() as (w, _):
        stores = [await store_of(w, owner="ann") for _ in range(3)]
        await store_of(w, owner="bob")
        assert (await w.engine.vector_stores.list("ann", PageQuery(limit=2))).data == (stores[2], stores[1])


async def search(w: Any, store: Any, query: Any = "blue", **body: Any) -> list[str]:
    page = conform(await w.engine.vector_stores.search("", store.id, {"query": query, **body}))
    return [result.content[0].text for result in page.data]


async def test_search():
    """The best chunks come first, each with its file's name and attributes; of several queries the best one counts."""
    async with shelves() as (w, index):
        file = await upload(w, "blue sky\nblue sea and sky\nred", filename="colours.txt")
        store = await store_of(w)
        body = {"file_id": file.id, "attributes": {"year": 2026}}
        await w.engine.vector_store_files.create("", store.id, body)
        await done(w)
        page = conform(await w.engine.vector_stores.search("", store.id, {"query": "blue sea"}))
        assert page.search_query == ("blue sea",)
        assert [result.content[0].text for result in page.data] == ["blue sea and sky", "blue sky"]
        first = page.data[0]
        assert (first.file_id, first.filename, first.score) == (file.id, "colours.txt", 1)
        assert first.attributes == {"year": 2026}
        assert await search(w, store, ["blue sea", "red"], max_num_results=2) == ["blue sea and sky", "red"]
        ranking = {"ranker": "none", "score_threshold": 0.9}
        assert await search(w, store, "blue sea", ranking_options=ranking) == ["blue sea and sky"]
        assert index.searches[-1] == {**ranking, "file_ids": None}
        assert await search(w, store, []) == []


async def test_filters():
    """Only files that meet the filter are searched, so that there are as many results as there can be."""
    async with shelves() as (w, index):
        store = await store_of(w)
        for year in range(2020, 2030):
            body = {
                "file_id": (await upload(w, f"blue {year}")).id,
                "attributes": {"year": year, "even": year % 2 == 0},
            }
            await w.engine.vector_store_files.create("", store.id, body)
        await done(w)
        newer = {"type": "gte", "key": "year", "value": 2027}
        assert await search(w, store, filters=newer, max_num_results=3) == ["blue 2027", "blue 2028", "blue 2029"]
        even = {"type": "eq", "key": "even", "value": True}
        assert await search(w, store, filters={"type": "and", "filters": [newer, even]}) == ["blue 2028"]
        calls = len(index.searches)
        assert await search(w, store, filters={"type": "eq", "key": "year", "value": 1999}) == []
        assert len(index.searches) == calls


async def test_many_files_are_filtered(monkeypatch: pytest.MonkeyPatch):
    """Also if they are more than fit into one page."""
    from openai_runs.engine.resources import vector_stores

    monkeypatch.setattr(vector_stores, "_MOST_ENTRIES", 2)
    async with shelves() as (w, _):
        store = await store_of(w, *[await upload(w, f"blue {number}") for number in range(5)])
        await done(w)
        assert len(await search(w, store, filters={"type": "ne", "key": "a", "value": 1})) == 5


async def test_what_was_taken_out_is_not_found():
    """Even while the index has it still."""
    async with shelves() as (w, index):
        file, other = await upload(w, "blue one"), await upload(w, "blue two")
        store = await store_of(w, file, other)
        await done(w)
        index.failures[b"forget"] = OSError("busy")
        await w.engine.vector_store_files.delete("", store.id, file.id)
        assert await search(w, store) == ["blue two"]
        await w.engine.files.delete("", other.id)
        assert await search(w, store) == []
        await done(w)


async def test_without_an_index():
    """A file cannot be read then, and says why; a search is refused."""
    async with world() as w:
        store = await store_of(w, await upload(w))
        await done(w)
        [file] = conform(await w.engine.vector_store_files.list("", store.id, ALL)).data
        assert (file.status, file.last_error.code) == ("failed", "server_error")
        with pytest.raises(ApiError, match="has no index, and cannot search") as caught:
            await w.engine.vector_stores.search("", store.id, {"query": "x"})
        assert caught.value.status == 400
        content = await w.engine.vector_store_files.content("", store.id, file.id)
        assert conform(content).data == ()
        await w.engine.vector_stores.delete("", store.id)
        await done(w)
        assert [record async for record in w.store.everything(IndexJob)] == []


async def test_scores_are_within_bounds():
    """Whatever an index says: the API has scores from 0 to 1."""

    class Eager(WordIndex):
        async def search(self, *arguments, **options):
            from attrs import evolve

            return [evolve(hit, score=1.5) for hit in await super().search(*arguments, **options)]

    async with shelves(Eager()) as (w, _):
        store = await store_of(w, await upload(w, "blue"))
        await done(w)
        page = conform(await w.engine.vector_stores.search("", store.id, {"query": "blue"}))
        assert page.data[0].score == 1
