"""Threads are deleted with all that is in them."""

import anyio
import pytest

from openai_runs.backends import Say
from openai_runs.engine import ApiError
from openai_runs.engine.audit import By
from openai_runs.engine.removal import remove_thread
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores import MemoryStore
from tests.engine.auditing import Entries
from tests.engine.world import WEATHER, world
from tests.stores.objects import message, run, state, thread

pytestmark = pytest.mark.anyio


async def test_what_goes_with_a_thread():
    """Its messages, runs and steps, counted; the same again is a 404, and is audited once."""
    audit = Entries()
    async with world([Say("Hello")], audit=audit) as w:
        of = await w.start("Hi", owner="al")
        await w.until("run.completed", of)
        await w.engine.threads.delete("al", of.thread_id)
        with pytest.raises(ApiError):
            await w.engine.threads.delete("al", of.thread_id)
        for kind in Thread, Message, Run, RunStep:
            assert [record async for record in w.store.everything(kind)] == []
    assert audit.short == [("request", "thread", of.thread_id, "al")]
    assert audit.entries[0].counts == {"message": 2, "run": 1, "run_step": 1}


async def test_in_steps():
    """Between two of them, others have their turn; whoever is cancelled meanwhile leaves nothing half done."""
    pauses = 0

    class Slow(MemoryStore):
        async def empty_some(self, thread_id):
            some = await super().empty_some(thread_id)
            scope.cancel()
            await anyio.lowlevel.checkpoint()
            return some

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    async with world(store=Slow()) as w:
        await w.store.commit([thread("t"), *(message(f"m{n}", "t") for n in range(900))])
        with anyio.CancelScope() as scope:
            await w.engine.threads.delete("", "t")
        assert scope.cancelled_caught
        assert await w.store.get(Thread, "t") is None
        await w.store.commit([thread("t"), *(message(f"m{n}", "t") for n in range(900))])
        assert await remove_thread(w.engine._ledger, "", "t", by=By.OPERATOR, pause=pause)
        assert pauses == 5


async def test_a_run_that_cannot_be_ended():
    """A client's deletion takes it along, as it asks for that; the operator's rule leaves it alone."""
    audit = Entries()
    async with world(audit=audit) as w:
        await w.store.commit([thread("t"), message("m", "t"), run("r", "t"), state("r", "t")])
        assert not await remove_thread(w.engine._ledger, "", "t", by=By.RETENTION)
        assert await w.store.get(Message, "m") is not None
        assert audit.entries == []
        await w.engine.threads.delete("", "t")
        for kind in Thread, Message, Run:
            assert [record async for record in w.store.everything(kind)] == []
        assert await w.store.unfinished() == []


async def test_by_the_operator():
    """Whoever owns it; of two who do so at once, one is told that it was there."""
    audit = Entries()
    async with world(audit=audit) as w:
        await w.store.commit([thread("t", "al"), message("m", "t", "al")])
        outcomes = []

        async def remove() -> None:
            outcomes.append(await w.engine.threads.remove("t"))

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(remove)
        assert sorted(outcomes) == [False, True]
        assert not await w.engine.threads.remove("t")
    assert audit.short == [("operator", "thread", "t", "al")]


async def test_a_store_that_is_away():
    """What is left belongs to the thread still, and goes with it the next time."""

    class Away(MemoryStore):
        is_away = False

        async def commit(self, changes):
            if self.is_away:
                raise StoreUnavailableError("away")
            await super().commit(changes)

    async with world(store=Away()) as w:
        await w.store.commit([thread("t"), message("m", "t")])
        w.store.is_away = True
        with pytest.raises(StoreUnavailableError):
            await w.engine.threads.delete("", "t")
        assert await w.store.get(Thread, "t") is not None
        w.store.is_away = False
        await w.engine.threads.delete("", "t")
        assert await w.store.get(Thread, "t") is None


async def test_the_other_deletions_are_audited():
    """Those of assistants, vector stores and files, with what goes along; a refused one is none."""
    audit = Entries()
    async with world(audit=audit) as w:
        assistant = await w.engine.assistants.create("al", {"model": "m", "tools": [WEATHER]})
        store = await w.engine.vector_stores.create("al", {})
        for resource, id in (w.engine.assistants, assistant.id), (w.engine.vector_stores, store.id):
            with pytest.raises(ApiError):
                await resource.delete("bob", id)
            await resource.delete("al", id)
        body = {"purpose": "assistants"}
        files = []
        for expiry in {}, {"expires_after": {"anchor": "created_at", "seconds": 3600}}:
            async with w.engine.files.uploading("al") as upload:
                files.append((await w.engine.files.create("al", {**body, **expiry}, "a.txt", upload)).id)
        await w.engine.files.delete("al", files[0])
        w.clock.advance(3601)
        await w.settle()
    assert audit.short == [
        ("request", "assistant", assistant.id, "al"),
        ("request", "vector_store", store.id, "al"),
        ("request", "file", files[0], "al"),
        ("expiry", "file", files[1], "al"),
    ]
    assert audit.entries[1].counts == {"vector_store_file": 0}
