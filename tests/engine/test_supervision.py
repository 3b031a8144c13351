"""One run never takes the engine down: whatever goes wrong with it is its own end, and its readers are told."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
from attrs import evolve

from openai_runs.backends import Call, Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    Detached,
    Finished,
    HostedToolCall,
    ModelBackend,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.engine import Engine, ManualClock
from openai_runs.engine.supervision import supervise
from openai_runs.errors import BackendError, StoreDataError, StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import Delete, Record, RunState, Unreadable
from tests.engine.world import world

pytestmark = pytest.mark.anyio


class Odd(ModelBackend):
    """Does something odd in its first call, and is a good backend from then on."""

    def __init__(self, odd):
        self.odd = odd
        self.calls = 0

    async def respond(self, request):
        self.calls += 1
        if self.calls > 1:
            yield TextChunk("Hello.")
            return
        yield TextChunk("Well")
        if isinstance(self.odd, BaseException):
            raise self.odd
        if callable(self.odd):
            await self.odd()
        else:
            yield self.odd


async def cancel_our_task():
    asyncio.current_task().cancel()
    await anyio.lowlevel.checkpoint()


async def fail_in_a_group_of_asyncio_s_and_raise_cancelled():
    async def fail():
        await anyio.lowlevel.checkpoint()
        raise KeyError("group")

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())
    except ExceptionGroup:
        pass
    raise asyncio.CancelledError


async def wait_for_somebody_who_is_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


ODD = [
    KeyError(0),
    GeneratorExit(),
    asyncio.CancelledError(),
    BaseException("nothing in particular"),
    ExceptionGroup("several", [KeyError(0), ValueError("x")]),
    BaseExceptionGroup("several", [asyncio.CancelledError(), KeyError(0)]),
    StopAsyncIteration(),
    BackendError("no code", 5),
    cancel_our_task,
    fail_in_a_group_of_asyncio_s_and_raise_cancelled,
    wait_for_somebody_who_is_cancelled,
    object(),
    None,
    TextChunk(5),
    TextChunk(None),
    ToolCallChunk("0", None, "f"),
    ToolCallChunk(0, 7, "f"),
    ToolCallChunk(0, None, "f", {}),
    AnnotationAdded("a note"),
    HostedToolCall("a call"),
    Detached(object()),
    UsageReport("many", 1),
    Finished("enough"),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: getattr(odd, "__name__", repr(odd))[:40])
async def test_whatever_a_backend_comes_up_with(odd, caplog):
    """The run fails with a reason, nothing of it stays open, its thread is free, and all others go on."""
    async with world(Odd(odd), max_active_runs=1) as w:
        run = await w.start("Hello")
        failed = await w.until("run.failed", run)
        assert failed.last_error.code == "server_error"
        assert failed.last_error.message
        assert [step.status for step in await w.steps(run)] == ["failed"]
        assert [message.status for message in await w.messages(run)] == ["completed", "incomplete"]
        assert run.id in caplog.text or isinstance(odd, BackendError)
        await w.until("run.completed", await w.again(run))
        await w.until("run.completed", await w.start())
        assert w.engine.runs.pending == 0


class Damaged(MemoryStore):
    """Has something that it cannot give or take, while it is told so."""

    def __init__(self, *, reading=(), writing=(), error=None):
        super().__init__()
        self.reading, self.writing = reading, writing
        self.error = error or StoreDataError("Part of the store is damaged.")
        self.hurt = set()  # by IDs of runs

    def _concerns(self, value):
        return getattr(value, "run_id", None) in self.hurt or value.id in self.hurt

    async def get(self, kind, id):
        found = await super().get(kind, id)
        if found is not None and kind in self.reading and self._concerns(found.value):
            raise self.error
        return found

    async def page(self, kind, group, query, *, run_id=None):
        if kind in self.reading and group in self.hurt:
            raise self.error
        return await super().page(kind, group, query, run_id=run_id)

    async def history(self, thread_id, *, last_messages=None, besides_run=""):
        if besides_run in self.hurt and "history" in self.reading:
            raise self.error
        return await super().history(thread_id, last_messages=last_messages, besides_run=besides_run)

    async def commit(self, changes):
        values = [getattr(change, "value", None) for change in changes]
        if any(value is not None and type(value) in self.writing and self._concerns(value) for value in values):
            raise self.error
        await super().commit(changes)


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
async def test_whatever_a_store_comes_up_with(where, error):
    """What cannot be read or written is left as it is; the run fails all the same, and the thread is free."""
    go_on = anyio.Event()
    store = Damaged(**where, error=error)
    async with world([[Wait(go_on), Say("It is"), Call("f")]], store=store) as w:
        run, other = await w.start("Hello"), await w.start("Hello")
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
    """Told by the store's words, if it has some, with what had been begun ended."""
    store = Damaged(reading=["history"], error=error)
    async with world([Say("Hello")], store=store, max_active_runs=1) as w:
        first = await w.start()
        await w.until("run.completed", first)
        run = await w.again(first)
        store.hurt.add(run.id)
        failed = await w.until("run.failed", run)
        assert failed.last_error.message == message
        assert w.names(run.id)[-2:] == ["run.in_progress", "run.failed"]


@pytest.mark.parametrize("kind", [[Run], [Run, RunState]], ids=str)
async def test_a_run_that_cannot_even_be_ended(kind, caplog):
    """It is let go of: logged, its thread and its place are free, and an engine that comes later is not hindered."""
    go_on = anyio.Event()
    kept = {"store": Damaged(reading=kind), "clock": ManualClock()}
    store = kept["store"]
    async with world([[Wait(go_on), Say("Hello")]], max_active_runs=1, **kept) as w:
        run = await w.start("Hello")
        await w.until("run.in_progress", run)
        store.hurt.add(run.id)
        go_on.set()
        await w.settle()
        assert f"run {run.id} cannot be ended" in caplog.text
        await w.until("run.completed", await w.again(run))
        w.clock.advance(600)  # and its deadline is forgotten
        await w.settle()
    caplog.clear()
    async with world([Say("Hello")], **kept) as w:
        assert f"run {run.id} cannot be resumed" in caplog.text
        await w.until("run.completed", await w.again(run))
        store.hurt.clear()  # repaired, say: whoever asks for its end gets it
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        assert await store.unfinished() == []


async def test_a_message_that_cannot_be_ended():
    """It stays as it was begun, with its step: the run ends all the same."""
    store, go_on = Damaged(writing=[Message]), anyio.Event()
    async with world([[Say("It is"), Wait(go_on), Call("f")]], store=store) as w:
        run = await w.start("Hello")
        await w.until("message.delta", run, 2)
        store.hurt.add(run.id)
        go_on.set()
        await w.until("run.failed", run)
        assert [step.status for step in await w.steps(run)] == ["in_progress"]
        assert await store.unfinished() == []


async def test_a_waiting_run_that_cannot_be_ended(caplog):
    """Its deadline comes to nothing, but its thread is free."""
    store = Damaged(reading=[Run])
    async with world([Call("f")], store=store) as w:
        run = await w.start("Hello")
        await w.until("run.requires_action", run)
        store.hurt.add(run.id)
        w.clock.advance(600)
        await w.settle()
        assert f"run {run.id} cannot be ended" in caplog.text
        await w.until("run.requires_action", await w.again(run))


async def test_a_store_that_is_not_available_at_a_start():
    """That is not the fault of one run: the engine does not start, and forgets none."""
    kept = {"store": Damaged(reading=[Run], error=StoreUnavailableError("no disk")), "clock": ManualClock()}
    async with world([Wait()], **kept) as w:
        run = await w.start("Hello")
    kept["store"].hurt.add(run.id)
    with pytest.raises(StoreUnavailableError):
        async with world([Say("Hello")], **kept):
            pytest.fail("started")
    kept["store"].hurt.clear()
    async with world([Say("Hello")], **kept) as w:
        await w.until("run.completed", run)


async def test_a_run_that_expires_though_it_is_damaged():
    """Its deadline is kept with what can be read of it."""
    store = Damaged(reading=[RunStep])
    async with world([Call("f")], store=store) as w:
        run = await w.start()
        await w.until("run.requires_action", run)
        store.hurt.add(run.id)
        w.clock.advance(600)
        await w.until("run.expired", run)


async def test_a_thread_is_deleted_though_its_run_is_damaged():
    """Whatever is wrong with the run, it goes with the thread."""
    store = Damaged(reading=[Run])
    async with world([Wait()], store=store) as w:
        run = await w.start()
        await w.until("run.in_progress", run)
        store.hurt.add(run.id)
        await w.engine.threads.delete("", run.thread_id)
        await w.settle()
        assert (w.engine.runs.pending, await store.unfinished()) == (0, [])


async def test_a_start_with_damage(caplog):
    """A run whose state cannot be read fails; one that has ended loses its state; the others go on."""

    class Store(Damaged):
        async def unfinished(self):
            found = await super().unfinished()
            return [
                Unreadable("", record.value.id, "It is damaged.") if record.value.id in self.hurt else record
                for record in found
            ]

    kept = {"store": Store(reading=[RunState]), "clock": ManualClock()}
    store = kept["store"]
    async with world([Wait()], **kept) as w:
        damaged, lost, over, good = [await w.start() for _ in range(4)]
        await w.settle()
    store.hurt.add(damaged.id)
    await store.commit([Delete(Run, lost.id), Record("", evolve(over, status=RunStatus.COMPLETED))])
    async with world([Say("Hello")], **kept) as w:
        assert f"run {lost.id} cannot be resumed" in caplog.text
        await w.until("run.completed", good)
        failed = await w.until("run.failed", damaged)
        assert failed.last_error.message == "It is damaged."
        await w.settle()
        assert [record.value.id for record in await store.unfinished()] == [lost.id]
        assert (await w.engine.runs.retrieve("", over.thread_id, over.id)).status == "completed"


async def test_two_unfinished_runs_in_one_thread(caplog):
    """A store that somebody has mended by hand, say: one goes on, and the other is left."""
    kept = {"store": MemoryStore(), "clock": ManualClock()}
    async with world([Wait()], **kept) as w:
        one = await w.start()
        w.engine._executor._active.clear()
        other = await w.again(one)
    async with world([Say("Hello")], **kept) as w:
        await w.until("run.completed", one)
        assert f"run {other.id} cannot be resumed" in caplog.text


async def test_a_subscriber_that_raises(caplog):
    """What has happened has happened: the run does not notice, and the log does."""

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


async def test_a_deadline_of_which_nothing_comes(caplog):
    """The others are kept."""
    async with world([Call("f")]) as w:
        one, other = await w.start(), await w.start()
        await w.until("run.requires_action", other)
        w.engine._executor._active.pop(one.thread_id)
        w.clock.advance(600)
        await w.until("run.expired", other)
        assert f"the deadline of {one.thread_id} could not be handled" in caplog.text


async def test_a_backend_that_cannot_be_told_to_abandon(caplog):
    """Not even one that raises what is no `Exception`."""

    class Stubborn(ModelBackend):
        async def respond(self, request):
            yield Detached("resp_1")
            await anyio.sleep_forever()

        async def abandon(self, handle):
            raise asyncio.CancelledError

    async with world(Stubborn()) as w:
        run = await w.start()
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.settle()
        assert f"run {run.id} has ended, but its model call could not be stopped at the endpoint" in caplog.text


async def test_a_backend_that_fails_as_it_is_stopped(caplog):
    """An engine that stops is no reason for a run to fail, nor for the log to say so: it goes on at the next start."""

    class Sore(ModelBackend):
        async def respond(self, request):
            yield TextChunk("Well")
            try:
                await anyio.sleep_forever()
            except asyncio.CancelledError:
                raise RuntimeError("how rude") from None

    kept = {"store": MemoryStore(), "clock": ManualClock()}
    async with world(Sore(), **kept) as w:
        run = await w.start()
        await w.until("message.delta", run)
    assert "failed" not in caplog.text
    async with world([Say("Well, well.")], **kept) as w:
        assert (await w.get(run)).status == "in_progress"
        await w.until("run.completed", run)


def test_a_loop_that_ends(caplog):
    """It cancels all tasks at once, in any order, the engine's too: that is no failure, and its runs go on later."""
    kept = {"store": MemoryStore(), "clock": ManualClock()}
    runs = []

    async def program(started):
        async with world([[Say("It"), Wait()]], **kept) as w:
            runs.extend([await w.start() for _ in range(20)])
            for run in runs:
                await w.until("message.delta", run)
            started.set()
            await anyio.sleep_forever()

    async def main():
        started = asyncio.Event()
        task = asyncio.create_task(program(started))
        await started.wait()
        assert not task.done()

    async def later():
        async with world([Say("It is.")], **kept) as w:
            for run in runs:
                await w.until("run.completed", run)

    asyncio.run(main())
    assert caplog.text == ""
    asyncio.run(later())


# What `supervise` lets out


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(3), BaseExceptionGroup("both", [KeyError(0), KeyboardInterrupt()])],
    ids=repr,
)
async def test_the_process_s_own(error):
    """Who stops the process stops it."""

    async def work():
        raise error

    with pytest.raises(type(error)):
        await supervise(pytest.fail, work)


async def test_cancellation_by_a_scope_gets_out():
    """It is no failure of the work's."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await supervise(pytest.fail, anyio.sleep_forever)
        pytest.fail("not cancelled")
    assert scope.cancelled_caught


def test_a_coroutine_that_is_closed():
    """Without a loop, by whoever collects it: that is no failure either."""

    async def work():
        await asyncio.Event().wait()

    async def begin():
        steps = supervise(pytest.fail, work)
        steps.send(None)
        return steps

    asyncio.run(begin()).close()
