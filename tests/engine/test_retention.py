"""Threads that nobody uses are deleted after a while."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from openai_runs.backends import Call, Say
from openai_runs.engine import ManualClock, retention
from openai_runs.engine.retention import Periods, last_use
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import RunStatus
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import Record
from openai_runs.stores.store import Store
from tests.engine.auditing import Entries
from tests.engine.shelves import upload
from tests.engine.world import World, world
from tests.stores.objects import NOW, message, run, state, thread

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


@pytest.fixture(autouse=True)
def _no_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manual clock would stand still in them."""
    monkeypatch.setattr(retention, "_BREAK", 0)


@asynccontextmanager
async def keeping(
    days: float | None = 30, by_owner: Mapping[str, float] | None = None, script: Any = None, **options: Any
) -> AsyncGenerator[tuple[World, Entries]]:
    """An engine that deletes threads."""
    audit = Entries()
    clock = ManualClock(NOW.timestamp())
    periods = Periods(days, by_owner or {})
    async with world(script, audit=audit, retention=periods, clock=clock, **options) as w:
        yield w, audit


async def later(w: World, days: float) -> None:
    w.clock.advance(days * DAY)
    for _ in range(100):
        await w.settle()


async def threads_in(store: Store) -> list[str]:
    return sorted([record.value.id async for record in store.everything(Thread)])


@pytest.mark.parametrize("bad", [0, 0.5, -1, float("nan"), float("inf")])
def test_periods_that_are_none(bad: float):
    """An idempotency key lives for a day, so no period is shorter; the error names what is wrong."""
    with pytest.raises(ValueError, match="retention_days must be"):
        Periods(bad)
    with pytest.raises(ValueError, match="the retention of 'shop', in days, must be"):
        Periods(30, {"shop": bad})
    with pytest.raises(TypeError):
        Periods("30")


async def test_off_by_default():
    """Without a period, nothing is ever deleted, whether retention is there or not."""
    for options in {}, {"retention": Periods()}:
        async with world(**options) as w:
            made = await w.engine.threads.create("", {})
            await later(w, 10_000)
            assert await w.engine.threads.retrieve("", made.id) == made


async def test_untouched_threads_go():
    """A message or a run is a use, the end of a run is, too, and reading is none. The rest is audited as it goes."""
    async with keeping(script=[Say("Hello")]) as (w, audit):
        old, used = [(await w.engine.threads.create("al", {})).id for _ in range(2)]
        of = await w.start("Hi", owner="al")
        await w.until("run.completed", of)
        await later(w, 20)
        await w.engine.messages.create("al", used, {"role": "user", "content": "Hi"})
        await w.engine.threads.retrieve("al", old)
        await later(w, 20)
        assert await threads_in(w.store) == [used]
        assert audit.short == [("retention", "thread", old, "al"), ("retention", "thread", of.thread_id, "al")]
        assert audit.entries[1].counts == {"message": 2, "run": 1, "run_step": 1}
        await later(w, 20)
        assert await threads_in(w.store) == []


async def test_many_threads():
    """More than one page, and each owner by its own period, which may be replaced at any time."""
    async with keeping(by_owner={"short": 5}) as (w, audit):
        await w.store.commit([thread(f"{owner}{n}", owner) for owner in ("long", "short") for n in range(150)])
        await later(w, 6)
        assert {id[:4] for id in await threads_in(w.store)} == {"long"}
        assert len(audit.entries) == 150
        w.engine._retention.periods.days = None
        await later(w, 60)
        assert len(await threads_in(w.store)) == 150
        w.engine._retention.periods.days = 1
        await later(w, 1)
        assert await threads_in(w.store) == []


async def test_a_thread_with_an_active_run():
    """It is left alone, however old it is; when its run has ended, its time begins anew."""
    async with keeping(days=1, script=[Call("f")], expires_after=10 * DAY) as (w, _):
        of = await w.start("Hi")
        await w.until("run.requires_action", of)
        await later(w, 5)
        assert await threads_in(w.store) == [of.thread_id]
        await later(w, 5)
        assert (await w.get(of)).status is RunStatus.EXPIRED
        await later(w, 0.9)
        assert await threads_in(w.store) == [of.thread_id]
        await later(w, 0.2)
        assert await threads_in(w.store) == []


async def test_a_run_of_another_process():
    """An unfinished run in the store protects its thread, even if this process does not execute it."""
    store = MemoryStore()
    async with keeping(days=1, store=store) as (w, _):
        await store.commit([thread("t"), message("m", "t"), run("r", "t"), state("r", "t")])
        await later(w, 5)
        assert await threads_in(store) == ["t"]
        assert await store.get(Message, "m") is not None


async def test_a_restart():
    """What one process has left is deleted by the next one, at once."""
    store = MemoryStore()
    await store.commit([thread("t"), message("m", "t")])
    async with keeping(days=1, store=store, script=[]) as (w, _):
        w.clock.advance(5 * DAY)
    async with world(store=store, retention=Periods(1), clock=ManualClock(NOW.timestamp() + 5 * DAY)) as w:
        await w.settle()
        assert await threads_in(store) == []


async def test_last_use():
    """The latest of all times of the newest message and the newest run."""
    store = MemoryStore()
    await store.commit([thread("t")])
    assert await last_use(store, thread("t").value) == NOW.timestamp()
    ended = run("r", "t", status=RunStatus.FAILED, failed_at=NOW + timedelta(days=3))
    await store.commit([message("m", "t"), ended])
    assert await last_use(store, thread("t").value) == NOW.timestamp() + 3 * DAY


async def test_vector_stores():
    """One that has expired goes with the thread that names it; one that can be searched stays, and so do files."""
    async with keeping() as (w, audit):
        file = await upload(w)
        message_with_file = {
            "role": "user",
            "content": "Read this.",
            "attachments": [{"file_id": file.id, "tools": [{"type": "file_search"}]}],
        }
        made = await w.engine.threads.create("", {"messages": [message_with_file]})
        [expiring] = made.tool_resources.file_search.vector_store_ids
        lasting = await w.engine.vector_stores.create("", {"file_ids": [file.id]})
        foreign = await w.engine.vector_stores.create("bob", {"expires_after": {"anchor": "last_active_at", "days": 1}})
        named = [{"file_search": {"vector_store_ids": [id]}} for id in (lasting.id, foreign.id, "vs_none")]
        for resources in named:
            await w.engine.threads.create("", {"tool_resources": resources})
        await later(w, 31)
        assert await threads_in(w.store) == []
        left = sorted([record.value.id async for record in w.store.everything(VectorStore)])
        assert left == sorted([lasting.id, foreign.id])
        assert ("retention", "vector_store", expiring, "") in audit.short
        assert (await w.engine.files.retrieve("", file.id)).id == file.id


async def test_a_vector_store_that_somebody_deletes_meanwhile(monkeypatch: pytest.MonkeyPatch):
    """That is no failure."""
    async with keeping() as (w, audit):
        shelf = await w.engine.vector_stores.create("", {"expires_after": {"anchor": "last_active_at", "days": 1}})
        for _ in range(2):
            await w.engine.threads.create("", {"tool_resources": {"file_search": {"vector_store_ids": [shelf.id]}}})
        delete = w.engine._retention._delete_vector_store

        async def delete_twice(*arguments: Any) -> None:
            await delete(*arguments)
            await delete(*arguments)

        w.engine._retention._delete_vector_store = delete_twice
        await later(w, 31)
        assert len(audit.entries) == 3


class Hurt(MemoryStore):
    """Has threads that cannot be read, or listed, or is away."""

    hurt: frozenset[str] = frozenset()
    error: Exception = StoreDataError("damaged")

    async def page(self, kind: Any, group: str, query: Any, *, part: str | None = None) -> Any:
        if group in self.hurt:
            raise self.error
        return await super().page(kind, group, query, part=part)


@pytest.mark.parametrize("hurt", ["al", "t1"])
async def test_damage(hurt: str, caplog: pytest.LogCaptureFixture):
    """What cannot be read is logged, and the other threads and owners are served."""
    store = Hurt()
    await store.commit([thread("t1", "al"), thread("t2", "bob")])
    store.hurt = frozenset([hurt])
    async with keeping(store=store) as (w, _):
        await later(w, 31)
        assert await threads_in(store) == ["t1"]
    assert "cannot be read" in caplog.text or "can be read" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), RuntimeError("a bug")])
async def test_outages(error: Exception, caplog: pytest.LogCaptureFixture):
    """The next look an hour later does what is left; only what is unexpected is logged here."""
    store = Hurt()
    await store.commit([thread("t1", "al")])
    store.hurt, store.error = frozenset(["t1"]), error
    async with keeping(store=store) as (w, _):
        await later(w, 31)
        assert await threads_in(store) == ["t1"]
        assert ("cannot be deleted" in caplog.text) is isinstance(error, RuntimeError)
        store.hurt = frozenset()
        await later(w, 1 / 23)
        assert await threads_in(store) == []


async def test_deleted_meanwhile():
    """A thread that its owner deletes while retention comes to it is no failure."""
    store = MemoryStore()
    await store.commit([thread("t1", "al")])
    async with keeping(store=store) as (w, audit):
        [record] = [found async for found in store.everything(Thread)]
        await w.engine.threads.delete("al", "t1")
        assert not await w.engine._retention._remove_if_unused(Record("al", record.value), NOW.timestamp() + DAY)
        assert audit.short == [("request", "thread", "t1", "al")]
