"""`Engine`: entering, leaving, misuse."""

import asyncio

import anyio
import anyio.lowlevel
import pytest

from openai_runs import _wire
from openai_runs.backends import Say, ScriptedBackend, Wait
from openai_runs.engine import Engine
from openai_runs.errors import StoreUnavailableError
from openai_runs.lifecycle import MOVES, moved
from openai_runs.models.run import RunStatus
from openai_runs.stores import MemoryStore
from openai_runs.stores.records import PageQuery
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.world import world

pytestmark = pytest.mark.anyio


class Watched:
    """A store or a backend that logs when it is entered and left."""

    def __init__(self, log, name, of):
        self.__dict__.update(log=log, name=name, of=of)

    def __getattr__(self, name):
        return getattr(self.of, name)

    async def __aenter__(self):
        self.log.append(f"open {self.name}")
        return self

    async def __aexit__(self, *_):
        self.log.append(f"close {self.name}")


async def test_store_and_backend_are_opened_and_closed():
    """The store is entered before the backend, and left after it."""
    log = []
    backend = Watched(log, "backend", ScriptedBackend())
    async with Engine(store=Watched(log, "store", MemoryStore()), backend=backend) as engine:
        await engine.threads.create("", {})
        log.append("used")
    assert log == ["open store", "open backend", "used", "close backend", "close store"]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_the_text_of_an_object(store, tmp_path):
    """It is what encoding makes of it, whether the store has it at hand or not."""
    store = MemoryStore() if store == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with Engine(store=store, backend=ScriptedBackend()) as engine:
        thread = await engine.threads.create("", {"messages": [{"role": "user", "content": "Tea, 茶?"}]})
        page = await engine.messages.list("", thread.id, PageQuery())
        assert engine.json(page.data[0]) == _wire.encode(page.data[0])
        changed = await engine.messages.update("", thread.id, page.data[0].id, {"metadata": {"a": "b"}})
        assert engine.json(changed) == _wire.encode(changed) != engine.json(page.data[0])


class Away(MemoryStore):
    """A store whose commits wait, once it is away, until nobody wants to wait any more."""

    def __init__(self):
        super().__init__()
        self.is_away, self.waiting, self.given_up = False, anyio.Event(), anyio.Event()

    def stop_waiting(self):
        self.given_up.set()

    async def commit(self, changes):
        if self.is_away:
            self.waiting.set()
            await self.given_up.wait()
            raise StoreUnavailableError("It is not known whether the change was made.")
        await super().commit(changes)


async def test_left_while_the_store_is_away():
    """What a run commits is not waited for."""
    store, go_on = Away(), anyio.Event()
    async with world([[Wait(go_on), Say("Hello")]], store=store) as w:
        await w.start("Hi")
        store.is_away = True
        go_on.set()
        await store.waiting.wait()
    assert store.given_up.is_set()


async def test_only_while_it_is_open():
    """Outside of ``async with`` nothing is stored, since no run would be executed."""
    engine = Engine(store=MemoryStore(), backend=ScriptedBackend())
    with pytest.raises(RuntimeError, match="async with Engine"):
        await engine.threads.create("", {})
    async with engine:
        await engine.threads.create("", {})
    with pytest.raises(RuntimeError, match="async with Engine"):
        await engine.threads.create("", {})
    with pytest.raises(RuntimeError, match="an engine can be entered once"):
        await engine.__aenter__()


async def test_an_error_inside_comes_out_as_it_is():
    """It is not wrapped in an exception group, which would show how the engine works inside."""

    async def program():
        async with world([Wait()]) as w:
            await w.start()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await program()


async def test_a_task_group_of_the_caller_s_that_fails():
    """Its error is raised, though Python 3.11 leaves an uncounted cancellation in the caller's task."""

    async def fail():
        await anyio.lowlevel.checkpoint()
        raise KeyError("mine")

    async def program():
        async with world([Wait()]) as w:
            await w.start()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.create_task(program())
    assert caught.group_contains(KeyError, match="mine")


async def test_a_store_that_fails_at_once():
    """The store's error is raised as it is, not in an exception group."""

    class Broken(MemoryStore):
        async def unfinished(self):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        async with Engine(store=Broken(), backend=ScriptedBackend()):
            pytest.fail("opened")


async def test_the_system_s_clock():
    """It is the default."""
    completed = anyio.Event()

    class Listening:
        def receive(self, events):
            if events[-1].name == "thread.run.completed":
                completed.set()

    backend = ScriptedBackend([Say("Hello")])
    async with Engine(store=MemoryStore(), backend=backend) as engine:
        assistant = await engine.assistants.create("", {"model": "m"})
        run = await engine.threads.create_and_run("", {"assistant_id": assistant.id}, Listening())
        with anyio.fail_after(20):
            await completed.wait()
        assert (await engine.runs.retrieve("", run.thread_id, run.id)).status == "completed"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_active_runs": 0}, "max_active_runs must be at least 1"),
        ({"owner_share": 0}, "owner_share must be at least 1"),
        ({"expires_after": 0}, "expires_after must be more than 0 seconds"),
        ({"expires_after": 1e300}, "expires_after must be at most 3,153,600,000 seconds, a hundred years: got 1e"),
        ({"expires_after": float("inf")}, "expires_after must be at most .* got inf"),
        ({"expires_after": "600"}, "expires_after must be a number of seconds: got '600'"),
        ({"store": "runs.db"}, r"store must be an object, such as SQLiteStore\(path\): got 'runs.db'"),
        ({"backend": "scripted"}, r"backend must be an object, such as ScriptedBackend\(\): got 'scripted'"),
    ],
)
def test_invalid_arguments(options, name):
    """They are refused before anything is opened."""
    with pytest.raises((TypeError, ValueError), match=name):
        Engine(**{"store": MemoryStore(), "backend": ScriptedBackend(), **options})


async def test_moves():
    """The engine makes no move that is not in `MOVES`."""
    async with world([Wait()]) as w:
        run = await w.start()
        for to in RunStatus:
            if to in MOVES[run.status]:
                assert moved(run, to).status == to
            else:
                with pytest.raises(RuntimeError, match=f"cannot go from queued to {to}"):
                    moved(run, to)
