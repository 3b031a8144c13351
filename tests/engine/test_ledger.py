"""`Ledger`: commits, and the subscribers to whom it publishes."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from openai_runs.backends import Call, Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import ModelBackend, TextChunk, ToolCallChunk
from openai_runs.engine import ApiError, Engine, ManualClock
from openai_runs.engine.ledger import Ledger
from openai_runs.errors import StoreUnavailableError
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
    assert caplog.text.count("its subscriber failed at") == 2


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


class Stoppable(MemoryStore):
    """A store whose next commit stops in the middle, once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = False
        self.writing, self.go_on = asyncio.Event(), asyncio.Event()

    async def commit(self, changes):
        if self.stops:
            self.stops = False
            self.writing.set()
            await self.go_on.wait()
        await super().commit(changes)


async def cancelled_in_commit(w, work):
    """Cancel the task of a request while its commit is being written, as `asyncio.timeout` does."""
    w.store.stops = True
    request = asyncio.ensure_future(work)
    await w.store.writing.wait()
    request.cancel()
    await w.settle()
    w.store.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await request
    w.store.writing.clear()
    w.store.go_on.clear()


ASK = [[Call("f")], [Say("It is"), Wait()]]


async def test_a_cancelled_task_that_creates_a_run():
    """The run is executed like any other: it is active, it expires, and no second one can be created beside it."""
    async with world([Wait()], store=Stoppable()) as w:
        assistant = await w.engine.assistants.create("", {"model": "m"})
        thread = await w.engine.threads.create("", {})
        body = {"assistant_id": assistant.id}
        await cancelled_in_commit(w, w.engine.runs.create("", thread.id, body))
        run = await w.until("run.in_progress")
        with pytest.raises(ApiError, match="already has an active run"):
            await w.engine.runs.create("", thread.id, body)
        await cancelled_in_commit(w, w.engine.threads.create_and_run("", body))
        assert (await w.until("run.in_progress", times=2)).thread_id != run.thread_id
        w.clock.advance(600)
        await w.until("run.expired", times=2)


async def test_a_cancelled_task_that_submits_or_cancels():
    """The run goes on with the outputs, and a run that is being cancelled ends."""
    async with world(ASK, store=Stoppable()) as w:
        run = await w.start()
        waiting = await w.until("run.requires_action", run)
        outputs = [{"tool_call_id": call.id, "output": "x"} for call in waiting.pending_tool_calls]
        await cancelled_in_commit(w, w.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs))
        await w.until("message.delta", run)
        await cancelled_in_commit(w, w.engine.runs.cancel("", run.thread_id, run.id))
        await w.until("run.cancelled", run)
        assert (await w.messages(run))[-1].text == "It is"


async def test_a_cancelled_task_that_deletes():
    """A thread's run ends, once its execution has been stopped for the deletion."""
    async with world(ASK, store=Stoppable()) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        await cancelled_in_commit(w, w.engine.threads.delete("", run.thread_id))
        assert (await w.get(run)).status == "cancelled"
        assert w.engine._executor.active_run(run.thread_id) is None
        await w.engine.threads.delete("", run.thread_id)


async def test_a_cancelled_caller_leaves_no_subscriber():
    """It cannot unsubscribe, as it has not heard of the run; the subscriber would collect events for nobody."""

    class Listening:
        def receive(self, events):
            pass

    async with world([Wait()], store=Stoppable()) as w:
        assistant = await w.engine.assistants.create("", {"model": "m"})
        body = {"assistant_id": assistant.id}
        await cancelled_in_commit(w, w.engine.threads.create_and_run("", body, Listening()))
        assert w.engine._ledger._subscribers == {}


@pytest.mark.parametrize("at", range(8))
async def test_a_backend_that_cancels_the_task_which_calls_it(at):
    """At whichever commit of a turn that happens, the run ends once, and with all the text that was shown."""

    class Counting(MemoryStore):
        left, turn = at, None

        async def commit(self, changes):
            if self.turn is not None:
                self.left -= 1
                if self.left == 0:
                    self.turn.cancel()
                    await anyio.lowlevel.checkpoint()
            await super().commit(changes)

    class Backend(ModelBackend):
        async def respond(self, request):
            w.store.turn = asyncio.current_task()
            yield TextChunk("Hello")
            yield TextChunk(" there")
            yield ToolCallChunk(0, None, "f", "{}")

    async with world(Backend(), store=Counting()) as w:
        run = await w.start()
        await w.settle()
        w.store.turn = None
        await w.settle()
        status = (await w.get(run)).status
        assert status in ("requires_action", "failed")
        assert w.names(run.id)[-1] == f"run.{status}"
        shown = "".join(w.said(run.id))
        assert "".join(message.text for message in await w.messages(run)) == shown


@pytest.mark.parametrize(("longest", "waits"), [(None, [1, 1, 1, 1]), (5.0, [1, 2, 4, 5])])
async def test_waits_between_attempts(longest, waits):
    """What is cheap is tried each second; what is not, more and more rarely."""

    class Waiting(ManualClock):
        async def sleep_until(self, when):
            waited.append(when - self.now())

    async def fail_at_first():
        if len(waited) < 4:
            raise StoreUnavailableError("The disk is full.")
        return "stored"

    waited = []
    ledger = Ledger(MemoryStore(), Waiting())
    options = {} if longest is None else {"longest": longest}
    assert await ledger.retry_until_stored(fail_at_first, **options) == "stored"
    assert waited == waits
