"""`VectorStoreExpiry`: what the index has of an expired vector store goes, once, whatever happens."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from openai_runs.engine import ManualClock
from openai_runs.engine.errors import ApiError
from openai_runs.engine.vector_store_expiry import LOOK_AGAIN
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores import MemoryStore
from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.records import IndexJob, Record
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.index import WordIndex
from tests.engine.shelves import counts, done, file_now, shelves, store_now, store_of, upload
from tests.engine.world import ALL, World
from tests.postgres import Postgres, execute

pytestmark = pytest.mark.anyio

DAY = 86400
ONE_DAY = {"anchor": "last_active_at", "days": 1}
ATTACHED = {"tools": [{"type": "file_search"}]}


async def expired(w: World, seconds: float = DAY) -> None:
    w.clock.advance(seconds)
    await w.settle()
    await done(w)


def forgotten(index: WordIndex) -> list[str]:
    return [store_id for what, store_id, file_id in index.calls if (what, file_id) == ("forget", "*")]


async def test_its_passages_go():
    """Its files are still listed, as the API has them: they say what a new store needs. Other stores keep theirs."""
    async with shelves() as (w, index):
        file = await upload(w)
        store, other = await store_of(w, file, expires_after=ONE_DAY), await store_of(w, file)
        await expired(w)
        assert list(index.chunks_of) == [(other.id, file.id)]
        assert (await store_now(w, store)).status == "expired"
        assert (await w.store.get(VectorStore, store.id)).value.status == "expired"
        assert counts(await store_now(w, store)) == (0, 1, 0, 0, 1)
        assert [each.id for each in (await w.engine.vector_store_files.list("", store.id, ALL)).data] == [file.id]
        assert [record async for record in w.store.everything(IndexJob)] == []


async def test_a_store_that_is_used():
    """It expires after its last use, and not before."""
    async with shelves() as (w, index):
        store = await store_of(w, await upload(w), expires_after=ONE_DAY)
        await done(w)
        w.clock.advance(DAY - 10)
        assert (await w.engine.vector_stores.search("", store.id, {"query": "text"})).data
        await expired(w, 20)
        assert index.chunks_of
        await expired(w)
        assert not index.chunks_of


@pytest.mark.parametrize("has_expired_before", [False, True])
async def test_after_a_restart(tmp_path: Path, has_expired_before: bool):
    """A store that expires while nobody watches is forgotten at the next start, and not again at those after it."""
    clock = ManualClock()
    async with shelves(store=SQLiteStore(tmp_path / "runs.db"), clock=clock) as (w, index):
        store = await store_of(w, await upload(w), expires_after=ONE_DAY)
        await done(w)
        if has_expired_before:
            index.stop()  # nothing is read any more, so the process dies with the job
            await w.engine.vector_store_files.create("", store.id, {"file_id": (await upload(w, "other")).id})
            w.clock.advance(DAY)
            await w.settle()
            assert [record.value.id async for record in w.store.everything(IndexJob)][1:] == [store.id]
    assert index.chunks_of
    index.go_on()
    clock.advance(DAY)
    for _ in range(3):
        async with shelves(index, store=SQLiteStore(tmp_path / "runs.db"), clock=clock) as (w, _):
            with anyio.fail_after(20):
                while index.chunks_of or w.engine._ingestion._jobs:
                    await anyio.lowlevel.checkpoint()
            assert (await store_now(w, store)).status == "expired"
            assert counts(await store_now(w, store))[0] == 0
    assert forgotten(index) == [store.id]


async def test_nothing_is_added():
    """Files, batches and attachments are refused as a search is; files can be taken out, and the store be deleted."""
    async with shelves() as (w, index):
        file, new = await upload(w, "a"), await upload(w, "b")
        store = await store_of(w, file, expires_after=ONE_DAY)
        thread = await w.engine.threads.create(
            "", {"tool_resources": {"file_search": {"vector_store_ids": [store.id]}}}
        )
        await expired(w)
        message = {"role": "user", "content": "hi", "attachments": [{"file_id": new.id, **ATTACHED}]}
        for refused in (
            w.engine.vector_store_files.create("", store.id, {"file_id": new.id}),
            w.engine.vector_store_file_batches.create("", store.id, {"file_ids": [new.id]}),
            w.engine.messages.create("", thread.id, message),
            w.engine.vector_stores.search("", store.id, {"query": "a"}),
        ):
            with pytest.raises(ApiError, match=f"The vector store {store.id} has expired") as caught:
                await refused
            assert (caught.value.status, caught.value.code) == (400, "expired_vector_store")
        await w.engine.vector_store_files.delete("", store.id, file.id)
        await w.engine.vector_stores.delete("", store.id)
        await done(w)
        assert not index.chunks_of


async def test_revived():
    """An update is a use, also of an expired store: its files are read again, and found; what had failed stays so."""
    async with shelves() as (w, index):
        file, bad = await upload(w), await upload(w, filename="bad.exe")
        store = await store_of(w, file, bad, expires_after=ONE_DAY)
        await expired(w)
        revived = await w.engine.vector_stores.update("", store.id, {"expires_after": None})
        assert (revived.status, counts(revived)) == ("in_progress", (1, 0, 1, 0, 2))
        await done(w)
        store = await store_now(w, store)
        assert (store.status, store.usage_bytes, counts(store)) == ("completed", 18, (0, 1, 1, 0, 2))
        assert (await file_now(w, store, file)).usage_bytes == 18
        [hit] = (await w.engine.vector_stores.search("", store.id, {"query": "text"})).data
        assert hit.file_id == file.id
        await expired(w, 10 * DAY)
        assert index.chunks_of


async def test_revived_before_it_is_forgotten():
    """The job that was to forget it is dropped, and does not take away what is read meanwhile."""
    async with shelves() as (w, index):
        file = await upload(w)
        store = await store_of(w, file, expires_after=ONE_DAY)
        await done(w)
        index.stop()
        await w.engine.vector_store_files.create("", store.id, {"file_id": (await upload(w, "other")).id})
        w.clock.advance(DAY)
        await w.settle()
        await w.engine.vector_stores.update("", store.id, {"name": "again"})
        index.go_on()
        await done(w)
        assert len(index.chunks_of) == 2
        assert forgotten(index) == []
        assert counts(await store_now(w, store)) == (0, 2, 0, 0, 2)


async def test_deleted_before():
    """A store that is deleted, or that is not to expire any more, is not watched."""
    async with shelves() as (w, index):
        deleted, kept = [await store_of(w, await upload(w), expires_after=ONE_DAY) for _ in range(2)]
        await w.engine.vector_stores.delete("", deleted.id)
        await w.engine.vector_stores.update("", kept.id, {"expires_after": None})
        assert len(w.engine._ingestion.expiry._deadlines) == 0
        await w.engine._ingestion.expiry._end(deleted.id)  # due in the moment of its deletion
        await expired(w)
        assert forgotten(index) == [deleted.id]
        assert (await store_now(w, kept)).status == "completed"


async def test_a_damaged_store(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """It is logged, and stops nothing: others still expire."""
    async with shelves(store=MemoryStore()) as (w, index):
        bad = await store_of(w, await upload(w), expires_after=ONE_DAY)
        good = await store_of(w, await upload(w), expires_after={**ONE_DAY, "days": 2})
        await done(w)
        get = MemoryStore.get

        async def get_or_fail(self: MemoryStore, kind: Any, id: str) -> Any:
            if id == bad.id:
                raise StoreDataError("damaged")
            return await get(self, kind, id)

        monkeypatch.setattr(MemoryStore, "get", get_or_fail)
        with caplog.at_level(logging.ERROR):
            await expired(w)
        assert f"the passages of the expired vector store {bad.id} cannot be deleted" in caplog.text
        await expired(w)
        assert {store_id for store_id, _ in index.chunks_of} == {bad.id}
        assert forgotten(index) == [good.id]


@pytest.mark.parametrize("errors", [[StoreUnavailableError("busy")], [StoreDataError("damaged")]])
async def test_stores_that_cannot_be_read(caplog: pytest.LogCaptureFixture, errors: list[Exception]):
    """The engine starts nevertheless; what may pass is tried again, and what does not is logged."""
    is_left = isinstance(errors[0], StoreDataError)

    class Damaged(MemoryStore):
        def everything(self, *kinds: Any) -> AsyncIterator[Record[Any]]:
            if kinds == (VectorStore,) and left:
                raise left.pop()
            return super().everything(*kinds)

    store, left, clock = Damaged(), list[Exception](), ManualClock()
    async with shelves(store=store, clock=clock) as (w, index):
        await store_of(w, await upload(w), expires_after=ONE_DAY)
        await done(w)
    left += errors
    clock.advance(DAY)
    async with shelves(index, store=store, clock=clock) as (w, _):
        await w.settle()
        await expired(w, 1)
        await expired(w, 0)
        assert bool(index.chunks_of) == is_left
        assert ("wait for the next start" in caplog.text) == is_left


async def test_stores_of_another_server(postgres_server: Postgres, caplog: pytest.LogCaptureFixture):
    """Each server that shares the store has them expire, as the other one may be gone; the index forgets once."""
    url, clock, index = postgres_server.store_url(), ManualClock(), WordIndex()
    async with shelves(index, store=SharedPostgresStore(url), clock=clock) as (here, _):
        async with shelves(index, store=SharedPostgresStore(url), clock=clock) as (w, _):
            store = await store_of(w, await upload(w), expires_after=ONE_DAY)
            with anyio.fail_after(20):
                while counts(await store_now(w, store))[0]:
                    await anyio.lowlevel.checkpoint()
                for each in here, w:
                    while store.id not in each.engine._ingestion.expiry._deadlines._when:
                        clock.advance(LOOK_AGAIN)
                        await anyio.lowlevel.checkpoint()
                clock.advance(DAY)
                while not forgotten(index) or [record async for record in w.store.everything(IndexJob)]:
                    await anyio.lowlevel.checkpoint()
        assert (await here.store.get(VectorStore, store.id)).value.status == "expired"
        assert forgotten(index) == [store.id]
        execute(url, "UPDATE openai_runs_objects SET body = '{' WHERE kind = 'vector_store'")
        with anyio.fail_after(20):
            while "those that expire are left to the next look" not in caplog.text:
                clock.advance(LOOK_AGAIN)
                await anyio.lowlevel.checkpoint()
