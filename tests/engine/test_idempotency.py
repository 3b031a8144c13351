"""A request with a used idempotency key is not carried out again; old keys are deleted."""

import random

import anyio
import pytest

from openai_runs.engine import ApiError
from openai_runs.engine.idempotency import LIFETIME, IdempotencyKey, used_by
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.thread import Thread
from openai_runs.stores import MemoryStore, PageQuery
from openai_runs.stores.records import UsedKey
from openai_runs.stores.sqlite import SQLiteStore
from tests.engine.world import ALL, world
from tests.stores.faulty import MoodyStore

pytestmark = pytest.mark.anyio


async def key_of(key="k", owner="", operation="POST /assistants", body=b"{}"):
    return await IdempotencyKey.of(key, owner, operation, body)


async def create(w, key, **body):
    """Create an assistant; returns its ID and whether it is new."""

    async def carry_out(key):
        return await w.engine.assistants.create("", {"model": "m", **body}, key=key)

    created, is_new = await w.engine.idempotency.once(key, carry_out)
    return created.id, is_new


async def keys_in(store):
    return [record.value.id async for record in store.everything(UsedKey)]


async def test_what_makes_a_key():
    """It is another key for another owner or operation; the body is its fingerprint."""
    parts = {"key": ("k", "k'"), "owner": ("", "ann"), "operation": ("POST /assistants", "POST /threads")}
    keys = {(await key_of(**{name: value})).id for name, values in parts.items() for value in values}
    assert len(keys) == 4
    assert (await key_of(body=b"1")).id == (await key_of(body=b"2")).id
    assert (await key_of(body=b"1")).fingerprint != (await key_of(body=b"2")).fingerprint
    assert (await key_of("a', 'b", "c")).id != (await key_of("a", "b', 'c")).id
    large = b"x" * 3_000_000
    assert (await key_of(body=large)).fingerprint != (await key_of(body=large[:-1] + b"y")).fingerprint


async def test_no_key_no_record():
    """A request without a key stores none."""
    assert used_by(None, "", Thread, 0.0) == ()


@pytest.mark.parametrize("restart", [False, True])
async def test_once(tmp_path, restart):
    """A repetition returns the object of the first request, also after a restart."""
    key = await key_of()
    async with world(store=SQLiteStore(tmp_path / "runs.db")) as w:
        first, is_new = await create(w, key)
        assert is_new
        if not restart:
            assert await create(w, key) == (first, False)
    async with world(store=SQLiteStore(tmp_path / "runs.db")) as w:
        for _ in range(2):  # once by the store, once by memory
            assert await create(w, key) == (first, False)
        assert [assistant.id for assistant in (await w.engine.assistants.list("", ALL)).data] == [first]


async def test_the_object_as_it_is_now():
    """What has changed since the first request is shown."""
    async with world() as w:
        id, _ = await create(w, await key_of())
        await w.engine.assistants.update("", id, {"name": "other"})
        created, _ = await w.engine.idempotency.once(await key_of(), w.engine.assistants.create)
        assert created == await w.engine.assistants.retrieve("", id)


async def test_another_body():
    """422, whether the first request is under way or done."""
    started, go_on = anyio.Event(), anyio.Event()
    async with world() as w:

        async def slow(key):
            started.set()
            await go_on.wait()
            return await w.engine.assistants.create("", {"model": "m"}, key=key)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(w.engine.idempotency.once, await key_of(), slow)
            await started.wait()
            with pytest.raises(ApiError) as same:
                await create(w, await key_of())
            with pytest.raises(ApiError) as other:
                await create(w, await key_of(body=b"{} "))
            go_on.set()
        with pytest.raises(ApiError) as later:
            await create(w, await key_of(body=b"{} "))
        assert [(e.value.status, e.value.code) for e in (same, other, later)] == [
            (409, "idempotency_key_in_use"),
            (422, "idempotency_key_reused"),
            (422, "idempotency_key_reused"),
        ]
        assert len((await w.engine.assistants.list("", ALL)).data) == 1


async def test_refusals_are_not_remembered():
    """A refused request did nothing, so its key is free."""
    async with world() as w:
        key = await key_of()
        for error in (ApiError(400, "no"), StoreUnavailableError("full"), ValueError("bug")):

            async def refuse(_, error=error):
                raise error

            with pytest.raises(type(error)) as caught:
                await w.engine.idempotency.once(key, refuse)
            assert caught.value is error
        assert (await create(w, key))[1]


async def test_a_deleted_object():
    """The key outlives the object: a late repetition does not create another one."""
    async with world() as w:
        id, _ = await create(w, await key_of())
        await w.engine.assistants.delete("", id)
        with pytest.raises(ApiError, match=f"The assistant {id}, which .* has been deleted") as caught:
            await create(w, await key_of())
        assert caught.value.status == 404


async def test_only_the_recent_keys_are_in_memory(monkeypatch):
    """The other ones are in the store."""
    monkeypatch.setattr("openai_runs.engine.idempotency._MAX_RECENT", 2)
    async with world() as w:
        ids = [(await create(w, await key_of(str(n))))[0] for n in range(4)]
        for n in (0, 3, 2, 1):
            assert await create(w, await key_of(str(n))) == (ids[n], False)
        assert len(w.engine.idempotency._recent) == 2


class TestSweep:
    async def test_old_keys_are_deleted(self, monkeypatch):
        """A key is kept for a day, and deleted a minute later at the latest; a few are deleted in one commit."""
        monkeypatch.setattr("openai_runs.engine.idempotency._STEP", 2)
        async with world() as w:
            for number in range(5):
                await create(w, await key_of(str(number)))
            w.clock.advance(3600)
            await create(w, await key_of("later"))
            w.clock.advance(LIFETIME - 3601)
            await w.settle()
            assert len(await keys_in(w.store)) == 6
            w.clock.advance(61)
            await w.settle()
            assert await keys_in(w.store) == [(await key_of("later")).id]
            assert (await create(w, await key_of("0")))[1]  # the key is free again
            w.clock.advance(LIFETIME - 1)
            await w.settle()
            assert await keys_in(w.store) == [(await key_of("0")).id]
            w.clock.advance(LIFETIME)
            await w.settle()
            assert await keys_in(w.store) == []

    async def test_at_the_start(self, tmp_path):
        """Keys that have become old while no server was running are deleted."""
        async with world(store=SQLiteStore(tmp_path / "runs.db")) as w:
            await create(w, await key_of())
            w.clock.advance(LIFETIME)
            clock = w.clock
        async with world(store=SQLiteStore(tmp_path / "runs.db"), clock=clock) as w:
            while await keys_in(w.store):
                await w.settle()

    @pytest.mark.parametrize("failure", [StoreUnavailableError("full"), StoreDataError("damaged")])
    async def test_the_store_fails(self, failure, caplog):
        """The engine goes on, and tries again; only what the store has not logged itself is logged."""

        class Store(MemoryStore):
            fails = True

            async def page(self, *arguments, **options):
                if self.fails and arguments[0] is UsedKey:
                    raise failure
                return await super().page(*arguments, **options)

        async with world(store=Store()) as w:
            await create(w, await key_of())
            w.clock.advance(LIFETIME)
            await w.settle()
            w.store.fails = False
            assert len(await keys_in(w.store)) == 1
            w.clock.advance(61)
            await w.settle()
            assert await keys_in(w.store) == []
        messages = [record.getMessage() for record in caplog.records]
        assert set(messages) == ({"old idempotency keys cannot be deleted"} & set(messages))
        assert bool(messages) == isinstance(failure, StoreDataError)


@pytest.mark.parametrize("seed", range(10))
async def test_requests_at_the_same_time(seed):
    """Many requests with few keys, a store that is slow and fails: an object per key at most, and one per success."""
    chance = random.Random(seed)
    store = MoodyStore(chance)
    got, refused = {}, set()
    async with world(store=store) as w:

        async def repeat(name):
            for _ in range(10):
                try:
                    id, _ = await create(w, await key_of(name), name=name)
                except (StoreUnavailableError, ApiError) as error:
                    refused.add(getattr(error, "status", 503))
                    await anyio.lowlevel.checkpoint()
                else:
                    got.setdefault(name, set()).add(id)

        store.failing = 0.3
        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(repeat, f"k{number % 3}")
        store.failing = 0.0
        stored = (await w.engine.assistants.list("", PageQuery(limit=100))).data
    assert refused <= {409, 503}
    assert {name: {a.id for a in stored if a.name == name} for name in got} == got
    assert all(len(ids) == 1 for ids in got.values())
