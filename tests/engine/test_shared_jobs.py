"""Index jobs of engines that share a store: each is done by one at a time, and by another one if that dies."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from openai_runs.engine.clock import SystemClock
from openai_runs.engine.shared_jobs import SharedJobs
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.records import IndexJob, Record
from tests.engine.index import WordIndex
from tests.engine.shelves import counts, file_now, store_now, store_of, upload
from tests.engine.world import World, world
from tests.postgres import Postgres, execute

pytestmark = pytest.mark.anyio

LEASE = 3.0  # seconds


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@asynccontextmanager
async def replica(url: str, index: WordIndex, **options: Any) -> AsyncIterator[World]:
    """An engine on the shared store. All have one index, as they would have in the database."""
    async with world(index=index, store=SharedPostgresStore(url, lease=LEASE), clock=SystemClock(), **options) as w:
        yield w


async def done(w: World, store: VectorStore) -> VectorStore:
    """The vector store, once all of its files have been read."""
    with anyio.fail_after(20):
        while counts(now := await store_now(w, store))[0] or await jobs(w):
            await anyio.lowlevel.checkpoint()
    return now


async def jobs(w: World) -> list[IndexJob]:
    return [record.value async for record in w.store.everything(IndexJob)]


async def test_what_one_server_takes_and_another_has_made(url: str):
    """A file that was uploaded at one is read into a vector store of another, once; both see it and what is left."""
    index = WordIndex()
    async with replica(url, index) as here, replica(url, index) as there:
        files = [await upload(here, f"text {number}") for number in range(5)]
        shelf = await store_of(there, *files)
        assert counts(await done(here, shelf)) == (0, 5, 0, 0, 5)
        assert (await file_now(there, shelf, files[0])).status == "completed"
        assert sorted(index.calls) == sorted(("ingest", shelf.id, file.id) for file in files)
        await here.engine.vector_store_files.delete("", shelf.id, files[0].id)
        await there.engine.files.delete("", files[1].id)
        assert counts(await done(there, shelf)) == (0, 3, 0, 0, 3)
        await there.engine.vector_stores.delete("", shelf.id)
        with anyio.fail_after(20):
            while index.chunks_of:
                await anyio.lowlevel.checkpoint()


@pytest.mark.unmeasured
async def test_a_server_dies_while_it_reads(url: str, caplog: pytest.LogCaptureFixture):
    """Another one takes up what it has left once its lease has run out, and reads the file from the beginning."""
    slow, quick = WordIndex(), WordIndex()
    slow.stop()
    async with replica(url, slow) as dead:
        files = [await upload(dead, f"text {number}") for number in range(3)]
        shelf = await store_of(dead, *files)
        with anyio.fail_after(20):
            while not slow.under_way:
                await anyio.lowlevel.checkpoint()
        async with replica(url, quick) as other:
            await anyio.wait_all_tasks_blocked()
            assert quick.calls == []
            lease = dead.store._lease
            lease._renew = _never  # as if it did not run any more: its lease runs out, and it goes on as nobody
            assert counts(await done(other, shelf)) == (0, 3, 0, 0, 3)
            assert len(quick.calls) == 3
            assert not slow.under_way
    assert "has run out" in caplog.text
    assert "cannot be read" not in caplog.text


async def _never(*_: object) -> None:
    raise StoreUnavailableError("away")


async def test_a_server_ends_while_it_reads(url: str):
    """The others need not wait for its lease."""
    slow, quick = WordIndex(), WordIndex()
    slow.stop()
    async with replica(url, quick) as other:
        quick.stop()
        async with replica(url, slow) as w:
            shelves = [await store_of(w, await upload(w, str(number))) for number in range(8)]
            with anyio.fail_after(20):
                while slow.under_way < 2 or quick.under_way < 2:
                    await anyio.lowlevel.checkpoint()
        quick.go_on()
        for shelf in shelves:
            assert counts(await done(other, shelf)) == (0, 1, 0, 0, 1)
    assert execute(
        url,
        "SELECT count(*) FROM openai_runs_indexing i JOIN openai_runs_servers s ON s.epoch = i.server "
        "WHERE NOT s.is_over",
    ) == [(0,)]


async def test_owners_take_turns(url: str):
    """Two vector stores of the first owner are being read already: the other owner is next."""
    index, none = WordIndex(), WordIndex()
    none.stop()
    async with replica(url, none) as w:
        for owner in "ann", "bob":
            for number in range(4):
                await store_of(w, await upload(w, f"{owner} {number}", owner), owner=owner)
        async with replica(url, index):
            with anyio.fail_after(20):
                while len(index.chunks_of) < 6:
                    await anyio.lowlevel.checkpoint()
    order = [chunks[0][:3] for chunks in index.chunks_of.values()]
    assert order[:2] == ["bob", "bob"]


async def test_a_job_that_cannot_be_done_here(url: str, caplog: pytest.LogCaptureFixture):
    """It is tried once, and is in the way of no other; a server that can do it does."""
    broken, sound = WordIndex(), WordIndex()
    broken.failures[b"forget"] = OSError("busy")
    async with replica(url, broken) as w:
        files = [await upload(w, "a"), await upload(w, "b")]
        shelf = await store_of(w, files[0])
        await done(w, shelf)
        with caplog.at_level(logging.ERROR):
            await w.engine.vector_store_files.delete("", shelf.id, files[0].id)
            await w.engine.vector_store_files.create("", shelf.id, {"file_id": files[1].id})
            with anyio.fail_after(20):
                while len(await jobs(w)) != 1 or not w.engine._ingestion._shared._passed_over:
                    await anyio.lowlevel.checkpoint()
        assert counts(await store_now(w, shelf)) == (0, 1, 0, 0, 1)
        assert broken.calls.count(("forget", shelf.id, files[0].id)) == 1
        assert "cannot be carried out before the next start" in caplog.text
        sound.chunks_of = broken.chunks_of
        async with replica(url, sound):
            await done(w, shelf)
        assert sound.calls == [("forget", shelf.id, files[0].id)]


async def test_taken_out_and_added_again_while_it_is_forgotten(url: str, monkeypatch: pytest.MonkeyPatch):
    """What another server puts in place of a job at the last moment is not deleted with that."""
    index = WordIndex()
    async with replica(url, index) as here, replica(url, index) as there:
        file = await upload(here)
        shelf = await store_of(here, file)
        await done(here, shelf)
        commit, is_late = SharedPostgresStore.commit, asyncio.Event()

        async def commit_late(store: SharedPostgresStore, changes: Any) -> None:
            is_forgotten = any(getattr(change, "kind", None) is IndexJob for change in changes)
            if is_forgotten and not is_late.is_set():
                is_late.set()
                await there.engine.vector_store_files.create("", shelf.id, {"file_id": file.id})
            await commit(store, changes)

        monkeypatch.setattr(SharedPostgresStore, "commit", commit_late)
        await here.engine.vector_store_files.delete("", shelf.id, file.id)
        with anyio.fail_after(20):
            await is_late.wait()
        assert counts(await done(here, shelf)) == (0, 1, 0, 0, 1)
        assert list(index.chunks_of) == [(shelf.id, file.id)]


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_run_waits_for_the_jobs_of_other_servers(url: str, is_told: bool, monkeypatch: pytest.MonkeyPatch):
    """It begins when they are done: at once if that is told, or when it looks again."""
    index = WordIndex()
    index.stop()
    async with replica(url, index) as there:
        shelf = await store_of(there, await upload(there, "blue sky"))
        with anyio.fail_after(20):
            while not index.under_way:
                await anyio.lowlevel.checkpoint()
        async with replica(url, WordIndex()) as here:
            if not is_told:
                monkeypatch.setattr(SharedJobs, "_note_progress", lambda _: None)
            search = [{"type": "file_search"}]
            resources = {"file_search": {"vector_store_ids": [shelf.id]}}
            thread = await here.engine.threads.create("", {"tool_resources": resources})
            assistant = await here.engine.assistants.create("", {"model": "m", "tools": search})
            run = await here.engine.runs.create("", thread.id, {"assistant_id": assistant.id})
            await here.until("run.in_progress", run)
            await here.until("run.completed", await here.start("Hello", tools=search))
            assert (await here.get(run)).status == "in_progress"
            index.go_on()
            await here.until("run.completed", run)


async def test_a_store_that_is_away_for_a_while(url: str, monkeypatch: pytest.MonkeyPatch):
    """Claims and releases that fail are made again; a claim that nobody has heard of is in nobody's way."""
    index = WordIndex()
    failing = {"claim_jobs": 2, "release_jobs": 1}

    def fails(name: str) -> None:
        method = getattr(SharedPostgresStore, name)

        async def maybe(store: SharedPostgresStore, argument: Any) -> Any:
            found = await method(store, argument)
            if failing[name] and (found is not None or name == "release_jobs"):
                failing[name] -= 1
                raise StoreUnavailableError("away")
            return found

        monkeypatch.setattr(SharedPostgresStore, name, maybe)

    for name in failing:
        fails(name)
    async with replica(url, index) as w:
        shelf = await store_of(w, await upload(w, "a"))
        await done(w, shelf)
        await w.engine.vector_store_files.create("", shelf.id, {"file_id": (await upload(w, "b")).id})
        assert counts(await done(w, shelf)) == (0, 2, 0, 0, 2)
    assert failing == {"claim_jobs": 0, "release_jobs": 0}


async def test_jobs_that_cannot_be_read(url: str, caplog: pytest.LogCaptureFixture):
    """They are logged, and those of other vector stores are done."""
    index = WordIndex()
    async with replica(url, index) as w:
        execute(
            url,
            "INSERT INTO openai_runs_objects (kind, id, owner, list, part, body) "
            "VALUES ('index_job', 'vs_0/file-1', '', '', 'vs_0', '{')",
        )
        shelf = await store_of(w, await upload(w, "a"))
        with anyio.fail_after(20):
            while counts(await store_now(w, shelf)) != (0, 1, 0, 0, 1):
                await anyio.lowlevel.checkpoint()
            while "the jobs of the index for vs_0 cannot be read" not in caplog.text:
                await anyio.lowlevel.checkpoint()


async def test_claims_that_fail(url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """Whatever it is, the engine goes on, and so do its jobs afterwards."""
    index, claim, failed = WordIndex(), SharedPostgresStore.claim_jobs, []

    async def fail_once(store: SharedPostgresStore, but: Any) -> str | None:
        if not failed:
            failed.append(1)
            raise ValueError("a bug")
        return await claim(store, but)

    monkeypatch.setattr(SharedPostgresStore, "claim_jobs", fail_once)
    async with replica(url, index) as w:
        shelf = await store_of(w, await upload(w, "a"))
        await done(w, shelf)
        renamed = await w.engine.vector_stores.update("", shelf.id, {"name": "other"})
        assert counts(renamed) == (0, 1, 0, 0, 1)
    assert "no jobs of the index can be claimed now" in caplog.text


async def test_messages_that_were_missed(url: str):
    """Whatever they were, it looks for it."""
    index = WordIndex()
    async with replica(url, index) as w:
        shared = w.engine._ingestion._shared
        shared._passed_over.add("vs_1")
        news, progress = shared._news, shared._progress
        shared.missed(None)
        assert news.is_set()
        assert progress.is_set()
        assert not shared._passed_over
        shared.heard(7, ["of a later version"])
        await w.store.commit([Record("", IndexJob(id="vs_2", vector_store_id="vs_2", number="1"))])
        await w.engine._ingestion._shared.wait()
