"""Long work is done in slices; `openai_runs._slices`."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from openai_runs import _slices as slices
from openai_runs._slices import Work, at_once, in_slices
from openai_runs.engine.new_objects import new_messages
from openai_runs.models.message import Message
from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.records import Record
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.stores.objects import message, thread

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def ticker() -> AsyncIterator[Callable[[], int]]:
    """Another task, which counts how often the event loop runs it."""
    count = 0

    async def tick() -> None:
        nonlocal count
        while True:
            await anyio.lowlevel.checkpoint()
            count += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        yield lambda: count
        tasks.cancel_scope.cancel()


def work(steps: int) -> Work[str]:
    for _ in range(steps):
        yield
    return "done"


def broken() -> Work[str]:
    yield
    raise ValueError("broken")


async def test_other_tasks_run_after_each_slice(monkeypatch: pytest.MonkeyPatch):
    """Work that takes longer than a slice is interrupted where it yields; shorter work is not."""
    async with ticker() as runs_of_others:
        monkeypatch.setattr(slices, "_SLICE", 0)
        assert await in_slices(work(100)) == "done"
        after_long = runs_of_others()
        monkeypatch.setattr(slices, "_SLICE", math.inf)
        assert await in_slices(work(100)) == "done"
        assert (after_long >= 99, runs_of_others() - after_long) == (True, 0)


async def test_what_work_raises():
    """An error of the work is raised to the caller, in slices or not."""
    assert at_once(work(3)) == "done"
    with pytest.raises(ValueError, match="broken"):
        at_once(broken())
    with pytest.raises(ValueError, match="broken"):
        await in_slices(broken())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_small_commit_is_not_interrupted(kind: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """It is queued as soon as it is called, however slow the machine is, and shares a write with other commits."""
    monkeypatch.setattr(slices, "_SLICE", 0)
    store: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with store:
        commit = store.commit([message(str(number), "t") for number in range(100)])
        if isinstance(store, SQLiteStore):
            commit.send(None)
            assert [len(write.rows) for write in store._waiting] == [100]
            commit.close()
        else:
            with pytest.raises(StopIteration):
                commit.send(None)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_large_commit_lets_other_tasks_run(kind: str, tmp_path, monkeypatch: pytest.MonkeyPatch):
    """While thousands of messages are made, encoded and stored, other tasks run again and again."""
    monkeypatch.setattr(slices, "_SLICE", 0)
    count = 300
    store: Store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with store, ticker() as runs_of_others:
        body = {"role": "user", "content": "Hi"}
        made = await in_slices(new_messages([body] * count, "t", 0.0))
        assert runs_of_others() >= count - 1
        before = runs_of_others()
        await store.commit([thread("t"), *(Record("", message) for message in made)])
        # Once to encode them; in SQLite's case also to fill the cache. Rows are made two hundred at a time.
        assert runs_of_others() - before >= (count if kind == "memory" else 2 * count)
        assert [record.value.id for record in await store.history("t")] == [message.id for message in made]
        assert await store.get(Message, made[-1].id) == Record("", made[-1])


async def test_closing_waits_for_commits_being_encoded(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A large commit that was called before the store is closed is written."""
    monkeypatch.setattr(slices, "_SLICE", 0)
    async with anyio.create_task_group() as tasks, SQLiteStore(tmp_path / "runs.db") as store:
        tasks.start_soon(store.commit, [message(str(number), "t") for number in range(150)])
        await anyio.lowlevel.checkpoint()
    async with SQLiteStore(tmp_path / "runs.db") as store:
        assert len(await store.history("t")) == 150


async def test_commits_that_are_encoded_at_the_same_time(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """Each reserves its own places, so no two objects get the same one."""
    monkeypatch.setattr(slices, "_SLICE", 0)
    async with SQLiteStore(tmp_path / "runs.db") as store:
        async with anyio.create_task_group() as tasks:
            for group in "ab":
                tasks.start_soon(store.commit, [message(f"{group}{number:03}", group) for number in range(150)])
        for group in "ab":
            assert [record.value.id for record in await store.history(group)] == [f"{group}{n:03}" for n in range(150)]
