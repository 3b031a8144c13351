"""Threads are emptied in steps, alike in every store."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import psycopg
import pytest

from openai_runs.errors import StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores import emptying
from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.postgres import emptying as postgres_emptying
from openai_runs.stores.records import Delete, PageQuery, RunState
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.postgres import Postgres
from tests.stores.objects import message, run, state, step, thread

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
    if request.param == "memory":
        store: Store = MemoryStore()
    elif request.param == "sqlite":
        store = SQLiteStore(tmp_path / "runs.db")
    else:
        store = PostgresStore(request.getfixturevalue("postgres_server").store_url(), folder=tmp_path)
    async with store:
        yield store


async def steps_of(store: Store, thread_id: str) -> list[Counter[str]]:
    """What each step deletes, until nothing is left."""
    found = []
    while some := await store.empty_some(thread_id):
        found.append(some)
    assert some == Counter()
    return found


async def test_owners(store: Store):
    """Each owner of threads once, one without a label too; who has other objects only is none of them."""
    assert await store.owners_of_threads() == []
    await store.commit([message("m", "t", "bob"), *(thread(f"t{n}", owner) for n, owner in enumerate(["", "al", ""]))])
    assert sorted(await store.owners_of_threads()) == ["", "al"]
    await store.commit([Delete(Thread, "t0"), Delete(Thread, "t2")])
    assert sorted(await store.owners_of_threads()) == ["al"]


async def test_everything_in_a_thread_goes(store: Store):
    """The oldest first, so many at a time; the thread stays, and so does what is in others."""
    await store.commit(
        [thread("1"), thread("2"), message("other", "2"), run("other", "2"), step("other", "other", "2")]
    )
    await store.commit([message(f"m{n}", "1") for n in range(450)])
    await store.commit([run(f"r{n}", "1") for n in range(25)])
    await store.commit([step(f"s{n}", f"r{n // 2}", "1", tools=n % 2 == 0) for n in range(50)])
    for kind, id in (Message, "m0"), (Run, "r0"), (RunStep, "s0"):  # what is cached must go, too
        assert await store.get(kind, id) is not None
    assert await steps_of(store, "1") == [
        Counter(message=200, run=20, run_step=40),
        Counter(message=200, run=5, run_step=10),
        Counter(message=50),
    ]
    for kind, id in (Message, "m0"), (Run, "r0"), (RunStep, "s0"), (RunStep, "s49"):
        assert await store.get(kind, id) is None
    assert await store.page(Message, "1", PageQuery()) == ([], False)
    assert await store.count_messages("1", 1) == 0
    assert await store.get(Thread, "1") == thread("1")
    for kind in Message, Run, RunStep:
        assert await store.get(kind, "other") is not None


async def test_large_messages(store: Store, monkeypatch: pytest.MonkeyPatch):
    """A step ends soon after the bytes of its messages reach a limit, but takes at least one."""
    await store.commit([thread("1"), *(message(f"m{n}", "1", text="x" * 2**19) for n in range(6))])
    sizes = [some["message"] for some in await steps_of(store, "1")]
    assert sum(sizes) == 6
    assert max(sizes) <= (6 if isinstance(store, MemoryStore) else 3)


async def test_a_thread_in_use(store: Store):
    """Nothing is deleted while a run is unfinished, nor where there is no such thread; its ID may be any text."""
    await store.commit([thread("1"), message("m", "1"), run("r0", "1"), run("r1", "1"), state("r1", "1")])
    assert await store.empty_some("1") is None
    assert await store.get(Message, "m") is not None
    for id in "2", "\0", "\ud800":
        assert await store.empty_some(id) is None


async def test_an_earlier_run_that_could_not_be_ended(store: Store):
    """Its state goes with it, and is not counted."""
    await store.commit([thread("1"), run("r0", "1"), state("r0", "1"), run("r1", "1")])
    assert await store.empty_some("1") == Counter(run=2)
    assert await store.unfinished() == []
    assert await store.get(RunState, "r0") is None


async def test_two_processes(postgres_server: Postgres, tmp_path: Path):
    """What another process has locked at the moment is left to it, and not waited for: neither refuses the other."""
    url = postgres_server.store_url()
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([thread("1"), *(message(f"m{n}", "1") for n in range(3))])
        async with await psycopg.AsyncConnection.connect(url) as other:
            lock = "SELECT FROM openai_runs_objects WHERE kind = %s AND id = %s FOR UPDATE"
            with anyio.fail_after(20):
                await other.execute(lock, ("thread", "1"))
                assert await store.empty_some("1") is None
                await other.rollback()
                await other.execute(lock, ("message", "m0"))
                assert await store.empty_some("1") == Counter(message=2)
        assert await store.empty_some("1") == Counter(message=1)


async def test_both_at_once(postgres_server: Postgres, tmp_path: Path):
    """Two processes that empty one thread together delete each object once."""
    url = postgres_server.store_url()
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([thread("1"), *(message(f"m{n}", "1") for n in range(1000))])
        gone: list[str] = []

        async def empty() -> None:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                while await store.count_messages("1", 1):
                    found = await connection.execute(
                        postgres_emptying.EMPTY, {**emptying.stepping("1"), "version": None}
                    )
                    gone.extend(id for _, id in await found.fetchall() if id is not None)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(empty)
            tasks.start_soon(empty)
        assert sorted(gone) == sorted(f"m{n}" for n in range(1000))


async def test_an_outage(postgres_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It may have been done: nothing that was cached is trusted any more."""
    async with PostgresStore(postgres_server.store_url(), folder=tmp_path) as store:
        await store.commit([thread("1"), message("m", "1")])
        read = PostgresStore._read

        async def lose(self: PostgresStore, sql: str, parameters: object) -> None:
            await read(self, sql, parameters)
            raise StoreUnavailableError("lost")

        with monkeypatch.context() as patched:
            patched.setattr(PostgresStore, "_read", lose)
            with pytest.raises(StoreUnavailableError):
                await store.empty_some("1")
        assert await store.get(Message, "m") is None
