"""What owners use is right, also after a restart and while it changes."""

import anyio
import pytest

from openai_runs.backends import Say
from openai_runs.engine.limits import UNLIMITED, Limits, OwnerLimits
from openai_runs.models.run import Run, Usage
from openai_runs.models.thread import Thread
from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.records import SpentTokens
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.world import TIME, world

pytestmark = pytest.mark.anyio

ANN = Limits(tokens_per_day=10**6, stored_bytes=10**6)
DAY = 86_400.0


def limits() -> OwnerLimits:
    return OwnerLimits(by_owner={"ann": ANN})


async def completed(w, owner: str = "ann", **body) -> tuple[Run, int]:
    """A run that has completed, and its tokens."""
    run = await w.start("Hi", owner=owner, **body)
    usage: Usage = (await w.until("run.completed", run)).usage
    return run, usage.prompt_tokens + usage.completion_tokens


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "runs.db")


async def test_tokens_after_a_restart(store):
    """They are those of before: of all runs of the day, also if their threads were deleted, and of no other."""
    async with world(store=store, limits=limits()) as w:
        await completed(w)
        w.clock.advance(DAY)
        assert await w.engine.use.tokens("ann") == 0
        (kept, first), (deleted, second), _ = await completed(w), await completed(w), await completed(w, "bob")
        await w.engine.runs.update("ann", kept.thread_id, kept.id, {"metadata": {}})  # it does not end again
        await w.engine.threads.delete("ann", deleted.thread_id)
        await w.engine.threads.delete("ann", (await w.engine.threads.create("ann", {})).id)
        assert w.engine.use.tokens_at_hand("ann") == await w.engine.use.tokens("ann") == first + second
    async with world(store=store, clock=w.clock, limits=limits()) as w:
        assert w.engine.use.tokens_at_hand("ann") is None
        assert await w.engine.use.tokens("ann") == first + second
        assert await w.engine.use.tokens("bob") > 0
        w.clock.advance(DAY)
        assert await w.engine.use.tokens("ann") == 0
        assert await store.get(SpentTokens, deleted.thread_id) is None


async def test_many_runs_of_a_day(monkeypatch):
    """All pages of runs are read, and of deleted threads."""
    monkeypatch.setattr("openai_runs.engine.use._PAGE", 2)
    store = MemoryStore()
    async with world(store=store, limits=limits()) as w:
        done = [await completed(w) for _ in range(6)]
        for run, _ in done[:3]:
            await w.engine.threads.delete("ann", run.thread_id)
    async with world(store=store, clock=w.clock, limits=limits()) as w:
        assert await w.engine.use.tokens("ann") == sum(tokens for _, tokens in done)


async def test_a_run_over_midnight():
    """It counts on the day on which it was created."""
    async with world([Say("Hi")], limits=limits()) as w:
        w.clock.advance(DAY - w.clock.now() % DAY - 1)
        run = await w.start("Hi", owner="ann")
        w.clock.advance(2)
        await w.engine.use.tokens("ann")
        await w.until("run.completed", run)
        assert await w.engine.use.tokens("ann") == 0


async def test_runs_that_end_while_others_are_read(monkeypatch):
    """Each counts once."""
    async with world(limits=limits()) as w:
        _, first = await completed(w)
        run = await w.start("Hi", owner="ann", tools=[TIME])
        await w.until("run.requires_action", run)
        page, reading, go_on = MemoryStore.page, anyio.Event(), anyio.Event()

        async def slow(*arguments, **options):
            found = await page(*arguments, **options)
            reading.set()
            await go_on.wait()
            return found

        w.engine.use._tokens.clear()
        monkeypatch.setattr(MemoryStore, "page", slow)
        found = []

        async def ask() -> None:
            found.append(await w.engine.use.tokens("ann"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await reading.wait()
            await w.answer(run, owner="ann")
            usage = (await w.until("run.completed", run)).usage
            go_on.set()
        assert found == [first + usage.prompt_tokens + usage.completion_tokens] * 2


async def test_a_day_that_ends_while_runs_are_read(monkeypatch):
    """What was read of the day before does not count on the new one."""
    async with world(limits=limits()) as w:
        await completed(w)
        w.engine.use._tokens.clear()
        page = MemoryStore.page

        async def over_midnight(*arguments, **options):
            monkeypatch.setattr(MemoryStore, "page", page)
            found = await page(*arguments, **options)
            w.clock.advance(DAY)
            w.engine.use.tokens_at_hand("bob")  # another one has noticed it
            return found

        monkeypatch.setattr(MemoryStore, "page", over_midnight)
        assert await w.engine.use.tokens("ann") == 0


async def bytes_of(w, owner: str = "ann", enough: int = 0) -> int:
    return await w.engine.use.thread_bytes(owner, enough)


async def test_bytes_after_a_restart(store):
    """They are those of what is there, of this owner."""
    async with world(store=store, limits=limits()) as w:
        await completed(w)
        await completed(w, "bob")
        await w.engine.threads.create("ann", {"metadata": {"a": "b"}})
        exact = await store.count_bytes("ann")
    async with world(store=store, clock=w.clock, limits=limits()) as w:
        assert w.engine.use.bytes_at_hand("ann") is None
        assert await bytes_of(w) == w.engine.use.bytes_at_hand("ann") == exact


async def test_bytes_are_counted_again_only_if_that_may_help(monkeypatch):
    """That is: where they are too many, and something was deleted, or changed a minute ago. They are never too few."""
    async with world(limits=limits()) as w:
        counted, count = [], w.store.count_bytes

        async def counting(owner: str) -> int:
            counted.append(owner)
            return await count(owner)

        monkeypatch.setattr(MemoryStore, "count_bytes", lambda _, owner: counting(owner))
        run, _ = await completed(w)
        first = await bytes_of(w, enough=10**6)
        await w.engine.threads.update("ann", run.thread_id, {"metadata": {"a": "b" * 100}})
        changed = await bytes_of(w, enough=10**6)
        assert changed > await count("ann") > first
        assert await bytes_of(w, enough=1) == changed
        assert counted == ["ann"]
        w.clock.advance(60)
        assert await bytes_of(w, enough=1) == await count("ann") < changed
        assert await bytes_of(w, enough=1) < changed
        assert len(counted) == 2
        await w.engine.threads.delete("ann", run.thread_id)
        assert await bytes_of(w, enough=10**6) > 0
        assert await bytes_of(w, enough=1) == 0
        assert len(counted) == 3


async def test_nothing_is_counted_without_limits():
    """An engine without limits notes nothing."""
    async with world() as w:
        run, _ = await completed(w)
        assert w.engine.limits.of("ann") == UNLIMITED
        await w.engine.threads.delete("ann", run.thread_id)
        assert await w.store.get(Thread, run.thread_id) is None
        assert not w.store._records[SpentTokens]
        assert not w.engine.use._bytes
