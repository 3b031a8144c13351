"""`Ledger`: commits, and the subscribers to whom it publishes."""

import anyio
import anyio.lowlevel
import pytest

from openai_runs.backends import Say, ScriptedBackend
from openai_runs.engine import Engine, ManualClock
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import RunState
from tests.engine.world import world

pytestmark = pytest.mark.anyio


async def test_a_subscriber_that_raises(caplog):
    """The error is logged, and the run is not affected."""

    class Listening:
        names = ()

        def receive(self, events):
            self.names = (*self.names, *(event.name for event in events))
            raise ValueError("not listening")

    subscriber = Listening()
    backend = ScriptedBackend([Say("Hello")])
    async with Engine(store=MemoryStore(), backend=backend, clock=ManualClock()) as engine:
        assistant = await engine.assistants.create("", {"model": "m"})
        run = await engine.threads.create_and_run("", {"assistant_id": assistant.id}, subscriber)
        for _ in range(40):
            await anyio.lowlevel.checkpoint()
        assert (await engine.runs.retrieve("", run.thread_id, run.id)).status == "completed"
    assert subscriber.names[-1] == "thread.run.completed"
    assert caplog.text.count("its subscriber failed at") > 3


async def test_a_store_that_has_lost_an_object():
    """An object that must exist but does not is a `LookupError`."""
    async with world() as w:
        with pytest.raises(LookupError, match="the store has no RunState x"):
            await w.engine._ledger.get(RunState, "x")


async def test_a_caller_who_is_cancelled_leaves_no_half_done_work():
    """A request that is cancelled while its commit is being written is completed, and its run executed."""

    class Stuck(MemoryStore):
        writing, go_on = anyio.Event(), anyio.Event()

        async def commit(self, changes):
            if len(changes) == 2:  # a run and its state
                self.writing.set()
                await self.go_on.wait()
            await super().commit(changes)

    store = Stuck()
    async with world([Say("Hello")], store=store) as w, anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def caller():
            with scope:
                await w.start()

        tasks.start_soon(caller)
        await store.writing.wait()
        scope.cancel()
        store.go_on.set()
        run = await w.until("run.completed")
        assert [message.text for message in await w.messages(run)] == ["Hello"]
