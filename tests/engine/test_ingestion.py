"""The jobs of the index: done in order for each vector store, fairly for owners, and again after whatever happened."""

import asyncio
import logging
from pathlib import Path

import anyio
import pytest

from openai_runs.engine import ManualClock
from openai_runs.engine.ingestion import PATIENCE
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.file import File
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import IndexJob, VectorStoreEntry
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.engine.index import WordIndex
from tests.engine.shelves import batch_now, counts, done, file_now, shelves, store_now, store_of, upload
from tests.engine.world import ALL, World, world
from tests.stores.faulty import FaultyStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


async def test_taken_up_after_a_restart(store: Store):
    """What was being read, or was waiting, is read by the next engine; what was to be forgotten is forgotten."""
    clock = ManualClock()
    async with shelves(store=store, clock=clock) as (w, index):
        files = [await upload(w, str(number)) for number in range(3)]
        old, of_batch = await store_of(w, files[0]), await store_of(w)
        await done(w)
        index.stop()
        new = await store_of(w, *files)
        batch = await w.engine.vector_store_file_batches.create("", of_batch.id, {"file_ids": [files[1].id]})
        await w.settle()
        index.failures[b"forget"] = OSError("the process dies here")
        await w.engine.vector_stores.delete("", old.id)
    index.failures.clear()
    index.go_on()
    async with shelves(index, store=store, clock=clock) as (w, _):
        await done(w)
        assert counts(await store_now(w, new)) == (0, 3, 0, 0, 3)
        assert (await batch_now(w, batch)).status == "completed"
        assert old.id not in {store_id for store_id, _ in index.chunks_of}
        assert [record async for record in w.store.everything(IndexJob)] == []


async def test_one_store_after_the_other():
    """What concerns one vector store is done in order; two stores are worked for at once, whoever they belong to."""
    async with shelves() as (w, index):
        index.stop()
        mine = await store_of(w, *[await upload(w, str(number)) for number in range(5)])
        other = await store_of(w, await upload(w, "other", "bob"), owner="bob")
        third = await store_of(w, await upload(w, "third", "bob"), owner="bob")
        await w.settle()
        assert index.under_way == 2
        assert {store_id for _, store_id, _ in index.calls} == {mine.id, other.id}
        index.go_on()
        await done(w)
        assert index.most_under_way == 2
        order = [store_id for _, store_id, _ in index.calls]
        assert order.index(third.id) < len(order) - 1  # not after all of the first owner's
        entries = [record.value.file.id async for record in w.store.everything(VectorStoreEntry)]
        assert [file_id for _, store_id, file_id in index.calls if store_id == mine.id] == entries[:5]


async def test_a_full_disk():
    """The result waits until the store takes commits again; nothing is read twice for that."""
    store = FaultyStore()
    async with shelves(store=store) as (w, index):
        file = await upload(w)
        index.stop()
        shelf = await store_of(w, file)
        await w.settle()
        store.full = True
        index.go_on()
        with anyio.fail_after(20):
            while not store.refused:
                await anyio.lowlevel.checkpoint()
        store.full = False
        await w.settle()
        w.clock.advance(1)
        await done(w)
        assert (await file_now(w, shelf, file)).status == "completed"
        assert len(index.calls) == 1


async def test_a_file_that_is_gone():
    """Its entry says so: the file was deleted while it was added."""
    async with shelves() as (w, index):
        file, other = await upload(w), await upload(w, "other")
        index.stop()
        shelf = await store_of(w, other, file)
        await w.settle()
        await w.store.contents.delete(file.id)
        index.go_on()
        await done(w)
        error = (await file_now(w, shelf, file)).last_error
        assert (error.code, error.message) == ("invalid_file", "The file was deleted before it could be read.")


async def test_what_cannot_be_forgotten(caplog: pytest.LogCaptureFixture):
    """It is logged, and tried again at the next start; other jobs go on."""
    store = MemoryStore()
    async with shelves(store=store) as (w, index):
        files = [await upload(w, "a"), await upload(w, "b")]
        shelf = await store_of(w, files[0])
        await done(w)
        index.failures[b"forget"] = OSError("busy")
        with caplog.at_level(logging.ERROR):
            await w.engine.vector_store_files.delete("", shelf.id, files[0].id)
            await w.engine.vector_store_files.create("", shelf.id, {"file_id": files[1].id})
            await done(w)
        assert "cannot be carried out before the next start" in caplog.text
        assert len(index.chunks_of) == 2
    index.failures.clear()
    async with shelves(index, store=store) as (w, _):
        await done(w)
        assert list(index.chunks_of) == [(shelf.id, files[1].id)]


async def test_an_index_that_is_cancelled(caplog: pytest.LogCaptureFixture):
    """An index that raises a cancellation of its own stops neither the engine nor other files; its file fails."""
    async with shelves() as (w, index):
        index.failures[b"bad"] = asyncio.CancelledError()  # type: ignore[assignment]
        bad, good = await upload(w, "bad"), await upload(w, "good")
        shelf = await store_of(w, bad, good)
        await done(w)
        assert [(await file_now(w, shelf, file)).status for file in (bad, good)] == ["failed", "completed"]
        assert (await file_now(w, shelf, bad)).last_error.code == "server_error"
        assert counts(await store_now(w, shelf)) == (0, 1, 1, 0, 2)
        assert f"the file {bad.id} cannot be read into {shelf.id}" in caplog.text


async def test_taken_out_and_added_again_while_it_is_read():
    """The first reading does not count; the file is read once more, and is there in the end."""
    async with shelves() as (w, index):
        file = await upload(w)
        index.stop()
        shelf = await store_of(w, file)
        await w.settle()
        await w.engine.vector_store_files.delete("", shelf.id, file.id)
        await w.engine.vector_store_files.create("", shelf.id, {"file_id": file.id})
        assert (await file_now(w, shelf, file)).status == "in_progress"
        index.go_on()
        await done(w)
        assert [call[0] for call in index.calls] == ["ingest", "ingest"]
        assert counts(await store_now(w, shelf)) == (0, 1, 0, 0, 1)
        assert list(index.chunks_of) == [(shelf.id, file.id)]


async def test_taken_out_before_it_is_read():
    """It is not read at all."""
    async with shelves() as (w, index):
        first, second = await upload(w), await upload(w, "2")
        index.stop()
        shelf = await store_of(w, first, second)
        await w.settle()
        await w.engine.vector_store_files.delete("", shelf.id, second.id)
        index.go_on()
        await done(w)
        assert [call for call in index.calls if call[2] == second.id] == [("forget", shelf.id, second.id)]


@pytest.mark.parametrize(
    "errors",
    [
        [StoreDataError("damaged")],
        [StoreUnavailableError("busy")],
        [StoreUnavailableError("busy"), StoreUnavailableError("busy"), StoreDataError("damaged")],
    ],
)
async def test_jobs_that_cannot_be_read(caplog: pytest.LogCaptureFixture, errors: list[Exception]):
    """The engine starts nevertheless; what may pass is tried again, and what does not is logged."""

    is_left = isinstance(errors[-1], StoreDataError)

    class Damaged(MemoryStore):
        async def page(self, kind, *arguments, **options):
            if kind is IndexJob and left:
                raise left.pop(0)
            return await super().page(kind, *arguments, **options)

    store, left = Damaged(), list(errors)
    await store.commit([_job("vs_1/file-1")])
    async with shelves(store=store) as (w, _):
        for _ in errors:
            await w.settle()
            w.clock.advance(1)
        await w.settle()
        await done(w)
        assert (await store.get(IndexJob, "vs_1/file-1") is not None) == is_left
        assert ("wait for the next start" in caplog.text) == is_left


async def test_a_later_job_wins():
    """A job that was stored before is not carried out once there is another in its place, whichever comes first."""
    async with shelves() as (w, index):
        file = await upload(w)
        shelf = await store_of(w, file)
        await done(w)
        ingestion = w.engine._ingestion
        old = IndexJob(id=f"{shelf.id}/{file.id}", vector_store_id=shelf.id, file_id=file.id, number="0")
        ingestion.push("", [old])
        await done(w)
        assert list(index.chunks_of) == [(shelf.id, file.id)]
        index.stop()
        other = await upload(w, "other")
        await w.engine.vector_store_files.create("", shelf.id, {"file_id": other.id})
        await ingestion._read_jobs()
        assert len(ingestion._jobs[shelf.id]) == 1
        index.go_on()
        await done(w)
        assert len([call for call in index.calls if call[2] == other.id]) == 1


async def test_an_entry_without_its_store(store: Store):
    """A job whose entry has gone is done: nothing is read."""
    async with world(store=store) as w:
        await w.store.commit([_job("vs_1/file-1")])
    async with shelves(store=store) as (w, index):
        await done(w)
        assert index.calls == []
        assert await w.store.get(IndexJob, "vs_1/file-1") is None


def _job(id: str):
    from openai_runs.stores.records import Record

    return Record("", IndexJob(id=id, vector_store_id="vs_1", file_id="file-1", is_ingestion=True, number="1"))


async def test_a_store_that_cannot_be_read_for_a_while(monkeypatch: pytest.MonkeyPatch):
    """The job is repeated, and its file has not failed."""

    class Busy(WordIndex):
        failed = False

        async def ingest(self, *arguments):
            if not self.failed:
                self.failed = True
                raise StoreUnavailableError("busy")
            return await super().ingest(*arguments)

    async with shelves(Busy()) as (w, index):
        file = await upload(w)
        shelf = await store_of(w, file)
        with anyio.fail_after(20):
            while not index.failed:
                await anyio.lowlevel.checkpoint()
        await w.settle()
        w.clock.advance(1)
        await done(w)
        assert (await file_now(w, shelf, file)).status == "completed"


async def test_cancelled_requests_leave_whole_changes():
    """A request that is cancelled while it commits has its jobs done."""
    async with shelves() as (w, _):
        file = await upload(w)
        task = asyncio.create_task(w.engine.vector_stores.create("", {"file_ids": [file.id]}))
        while not w.engine._ingestion._jobs and not task.done():
            await anyio.lowlevel.checkpoint()
        task.cancel()
        await asyncio.wait([task])
        await done(w)
        [record] = [record async for record in w.store.everything(VectorStoreEntry)]
        assert record.value.file.status == "completed"


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_run_waits_for_what_it_searches(is_slow: bool):
    """It starts when the files of its vector stores have been read, or after a minute; no other run waits."""
    async with shelves() as (w, index):
        index.stop()
        shelf = await store_of(w, await upload(w, "blue sky"))
        search = [{"type": "file_search"}]
        thread = await w.engine.threads.create(
            "", {"tool_resources": {"file_search": {"vector_store_ids": [shelf.id]}}}
        )
        assistant = await w.engine.assistants.create("", {"model": "m", "tools": search})
        run = await w.engine.runs.create("", thread.id, {"assistant_id": assistant.id})
        await w.until("run.completed", await w.start("Hello", tools=search))
        await w.until("run.in_progress", run)
        await w.settle()
        assert (await w.get(run)).status == "in_progress"
        if is_slow:
            w.clock.advance(PATIENCE)
        else:
            index.go_on()
        await w.until("run.completed", run)
        assert (await file_now(w, shelf, await _only_file(w))).status == ("in_progress" if is_slow else "completed")


async def _only_file(w: World) -> File:
    [file] = (await w.engine.files.list("", ALL)).data
    return file
