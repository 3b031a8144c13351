"""Ending a run whose state, steps or messages are damaged: the run ends all the same, and others are not affected."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from openai_runs.backends import Call, Say, Wait
from openai_runs.engine import ManualClock
from openai_runs.errors import StoreDataError
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.stores.records import RunState
from tests.engine.world import world
from tests.stores.faulty import DamagedStore

pytestmark = pytest.mark.anyio

FAILURES = [StoreDataError("Part of the store is damaged."), OverflowError("too large")]


@pytest.mark.parametrize("error", FAILURES, ids=["damage", "bug"])
@pytest.mark.parametrize(
    "where",
    [
        {"reading": ["history"]},
        {"reading": [RunStep]},
        {"reading": [Message]},
        {"reading": [RunState]},
        {"reading": [RunState, RunStep]},
        {"writing": [Message]},
        {"writing": [RunStep]},
        {"writing": [RunState]},
    ],
    ids=str,
)
async def test_whatever_a_store_raises(where, error):
    """What cannot be read or written is left as it is; the run still fails, and its thread is free."""
    go_on = anyio.Event()
    store = DamagedStore(**where, error=error)
    async with world([[Wait(go_on), Say("It is"), Wait(go_on), Call("f"), Wait(go_on)]], store=store) as w:
        other, run = await w.start("Hello"), await w.start("Hello")
        store.hurt.add(run.id)
        go_on.set()
        failed = await w.until("run.failed", run)
        if isinstance(error, StoreDataError):
            assert failed.last_error.message == "Part of the store is damaged."
        else:
            assert "log says" in failed.last_error.message
        assert await store.unfinished() == [await store.get(RunState, other.id)]
        await w.until("run.requires_action", await w.again(run))
        assert (await w.get(other)).status == "requires_action"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StoreDataError("Part of the store is damaged."), "Part of the store is damaged."),
        (asyncio.CancelledError(), "The server failed to execute this run (CancelledError); its log says why."),
    ],
)
async def test_a_history_that_cannot_be_read_is_the_reason(error, message):
    """`last_error` has the store's message if there is one, and the run's open parts are ended."""
    store = DamagedStore(reading=["history"], error=error)
    async with world([Say("Hello")], store=store, max_active_runs=1) as w:
        first = await w.start()
        await w.until("run.completed", first)
        run = await w.again(first)
        store.hurt.add(run.id)
        failed = await w.until("run.failed", run)
        assert failed.last_error.message == message
        assert w.names(run.id) == ["run.created", "run.queued", "run.failed"]


@pytest.mark.parametrize("kind", [[Run], [Run, RunState]], ids=str)
async def test_a_run_that_cannot_even_be_ended(kind, caplog):
    """It is given up: this is logged, its thread and its place are free, and the next engine starts."""
    go_on = anyio.Event()
    kept = {"store": DamagedStore(reading=kind), "clock": ManualClock()}
    store = kept["store"]
    async with world([[Wait(go_on), Say("Hello")]], max_active_runs=1, **kept) as w:
        run = await w.start("Hello")
        await w.until("run.in_progress", run)
        store.hurt.add(run.id)
        go_on.set()
        await w.settle()
        assert f"run {run.id} cannot be ended" in caplog.text
        await w.until("run.completed", await w.again(run))
        w.clock.advance(600)  # its deadline was discarded
        await w.settle()
    caplog.clear()
    async with world([Say("Hello")], **kept) as w:
        assert f"run {run.id} cannot be resumed" in caplog.text
        await w.until("run.completed", await w.again(run))
        store.hurt.clear()  # as if repaired: then it can be cancelled
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        assert await store.unfinished() == []


async def test_a_message_that_cannot_be_ended():
    """The message and its step stay as they were started; the run still ends."""
    store, go_on = DamagedStore(writing=[Message]), anyio.Event()
    async with world([[Say("It is"), Wait(go_on), Call("f")]], store=store) as w:
        run = await w.start("Hello")
        await w.until("message.delta", run, 2)
        store.hurt.add(run.id)
        go_on.set()
        await w.until("run.failed", run)
        assert [step.status for step in await w.steps(run)] == ["in_progress"]
        assert await store.unfinished() == []


async def test_a_waiting_run_that_cannot_be_ended(caplog):
    """It cannot expire, but its thread is free."""
    store = DamagedStore(reading=[Run])
    async with world([Call("f")], store=store) as w:
        run = await w.start("Hello")
        await w.until("run.requires_action", run)
        store.hurt.add(run.id)
        w.clock.advance(600)
        await w.settle()
        assert f"run {run.id} cannot be ended" in caplog.text
        await w.until("run.requires_action", await w.again(run))


async def test_a_run_that_expires_though_it_is_damaged():
    """A run expires in time even if its steps are damaged."""
    store = DamagedStore(reading=[RunStep])
    async with world([Call("f")], store=store) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        store.hurt.add(run.id)
        w.clock.advance(600)
        await w.until("run.expired", run)


async def test_a_thread_is_deleted_though_its_run_is_damaged():
    """Whatever is wrong with the run, deleting its thread deletes it."""
    store = DamagedStore(reading=[Run])
    async with world([Wait()], store=store) as w:
        run = await w.start()
        await w.until("run.in_progress", run)
        store.hurt.add(run.id)
        await w.engine.threads.delete("", run.thread_id)
        await w.settle()
        assert (w.engine.runs.pending, await store.unfinished()) == (0, [])
