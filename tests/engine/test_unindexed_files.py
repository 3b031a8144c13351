"""Files that the store calls completed and the index does not have are read again at the start."""

import logging

import pytest

from openai_runs.engine import ManualClock
from openai_runs.engine.unindexed_files import UnindexedFiles
from openai_runs.errors import StoreUnavailableError
from openai_runs.stores import MemoryStore
from tests.engine.index import WordIndex
from tests.engine.shelves import counts, done, file_now, shelves, store_now, store_of, upload

pytestmark = pytest.mark.anyio


async def test_an_index_that_was_lost(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """All completed files are found again, a log line says so, and a file that was refused is left alone."""
    monkeypatch.setattr("openai_runs.engine.unindexed_files._STEP", 2)
    store, lost = MemoryStore(), WordIndex()
    async with shelves(store=store) as (w, _):
        files = [await upload(w, str(number)) for number in range(5)]
        program = await upload(w, "no text", filename="a.exe")
        mine, other = await store_of(w, *files, program), await store_of(w, await upload(w, "b", "bob"), owner="bob")
        await done(w)
        before = await store_now(w, mine)
    with caplog.at_level(logging.WARNING):
        async with shelves(lost, store=store) as (w, _):
            await w.settle()
            await done(w)
            assert await store_now(w, mine) == before
            assert counts(before) == (0, 5, 1, 0, 6)
            assert {file_id for store_id, file_id in lost.chunks_of if store_id == mine.id} == {f.id for f in files}
            assert (await store_now(w, other, "bob")).file_counts.completed == 1
    assert (
        "the search index lacks files that are completed: they are read again; files: 6, vector stores: 2"
        in caplog.text
    )


async def test_an_index_that_has_them(caplog: pytest.LogCaptureFixture):
    """Nothing is read twice, and nothing is said."""
    store, index = MemoryStore(), WordIndex()
    async with shelves(index, store=store) as (w, _):
        await store_of(w, await upload(w))
        await store_of(w)
        await done(w)
    async with shelves(index, store=store) as (w, _):
        await w.settle()
        await done(w)
    assert len(index.calls) == 1
    assert caplog.text == ""


async def test_expired():
    """What has expired is forgotten, as it should be."""
    store, clock = MemoryStore(), ManualClock()
    async with shelves(store=store, clock=clock) as (w, _):
        await store_of(w, await upload(w), expires_after={"anchor": "last_active_at", "days": 1})
        await done(w)
        clock.advance(2 * 86400)
        await w.settle()
        await done(w)
    async with shelves(store=store, clock=clock) as (w, index):
        await w.settle()
        await done(w)
        assert ("ingest",) not in {call[:1] for call in index.calls}


async def test_changed_meanwhile():
    """A vector store that expires or is deleted while it is looked at, and a file that is taken out, are left alone."""
    async with shelves() as (w, index):
        files = [await upload(w, text) for text in "abc"]
        kept = await store_of(w, *files[:2])
        expiring = await store_of(w, files[2], expires_after={"anchor": "last_active_at", "days": 1})
        deleted = await store_of(w, files[2])
        await done(w)
        reads = len(index.calls)

        class Meanwhile(WordIndex):
            async def file_ids(self, store_id):
                if store_id == kept.id:
                    await w.engine.vector_store_files.delete("", kept.id, files[0].id)
                elif store_id == expiring.id:
                    w.clock.advance(2 * 86400)
                else:
                    await w.engine.vector_stores.delete("", store_id)
                return []

        await UnindexedFiles(w.engine._ledger, Meanwhile(), w.engine._ingestion.changing).read_again()
        await done(w)
        assert [call for call in index.calls[reads:] if call[0] == "ingest"] == [("ingest", kept.id, files[1].id)]
        assert deleted.id not in {store_id for store_id, _ in index.chunks_of}


@pytest.mark.parametrize("error", [OSError("busy"), AttributeError("an index of an earlier version")])
async def test_an_index_that_cannot_say(caplog: pytest.LogCaptureFixture, error: Exception):
    """The log says so, and the engine works."""
    store, index = MemoryStore(), WordIndex()
    async with shelves(store=store) as (w, _):
        file = await upload(w)
        shelf = await store_of(w, file)
        await done(w)
    index.failures[b"file_ids"] = error
    async with shelves(index, store=store) as (w, _):
        await w.settle()
        assert (await file_now(w, shelf, file)).status == "completed"
    assert f"it is not known which files of {shelf.id} the search index has" in caplog.text


async def test_an_index_that_is_not_available_for_a_while():
    """It is asked again."""
    store, index = MemoryStore(), WordIndex()
    async with shelves(store=store) as (w, _):
        await store_of(w, await upload(w))
        await done(w)
    index.failures[b"file_ids"] = StoreUnavailableError("locked")
    async with shelves(index, store=store) as (w, _):
        await w.settle()
        assert index.calls == []
        index.failures.clear()
        w.clock.advance(1)
        await w.settle()
        await done(w)
        assert len(index.calls) == 1
