"""`SharedPostgresStore`: several servers commit to one store, and none undoes what another one has done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from openai_runs.errors import ChangedElsewhereError, StoreFileError, StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.stores.postgres import PostgresStore, SharedPostgresStore, schema
from openai_runs.stores.postgres import session as postgres_session
from openai_runs.stores.records import Claim, Delete, PageQuery, RunState
from openai_runs.stores.sharing import ActiveRun
from tests.postgres import Postgres
from tests.stores.objects import assistant, message, run, state, thread, used_key, vector_store

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_session, "_LOCK_TIMEOUT", 100)


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@asynccontextmanager
async def servers(url: str, folder: Path, number: int = 2, **options: Any) -> AsyncIterator[list[SharedPostgresStore]]:
    async with AsyncExitStack() as stack:
        stores = [SharedPostgresStore(url, folder=folder, **options) for _ in range(number)]
        yield [await stack.enter_async_context(store) for store in stores]


@pytest.fixture
async def pair(url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[list[SharedPostgresStore]]:
    async with servers(url, tmp_path) as stores:
        yield stores


def execute(url: str, sql: str, *parameters: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def other_state(id: str) -> Any:
    return message(id, "t", text="changed")


# Versions


async def test_what_one_commits_the_other_reads(pair: list[SharedPostgresStore]):
    """At once, whatever it has read before."""
    a, b = pair
    await a.commit([thread("t"), message("m", "t")])
    assert await b.get(Message, "m") == message("m", "t")
    await a.commit([other_state("m")])
    assert await b.get(Message, "m") == other_state("m")
    found, _ = await b.page(Message, "t", PageQuery())
    assert found == [other_state("m")]
    await a.commit([Delete(Message, "m")])
    assert await b.get(Message, "m") is None


async def test_a_commit_that_rests_on_something_old(pair: list[SharedPostgresStore]):
    """It is refused, and nothing of it is stored; once it is decided again, it is taken."""
    a, b = pair
    await a.commit([thread("t"), message("m", "t")])
    await b.pin("t")
    await a.commit([other_state("m")])
    with pytest.raises(ChangedElsewhereError):
        await b.commit([message("n", "t"), used_key("k")])
    assert await a.get(Message, "n") is None
    assert not b.is_pinned("t")
    await b.pin("t")
    await b.commit([message("n", "t"), used_key("k")])
    await b.commit([message("o", "t")])  # its own commits are no one else's
    assert [record.value.id for record in (await a.page(Message, "t", PageQuery()))[0]] == ["o", "n", "m"]


@pytest.mark.parametrize(
    ("made", "changed"),
    [
        (thread("x"), thread("x", metadata={"a": "b"})),
        (assistant("x"), assistant("x", name="new")),
        (vector_store("x"), vector_store("x", "another")),
    ],
)
async def test_what_has_a_version(pair: list[SharedPostgresStore], made: Any, changed: Any):
    """Threads, assistants and vector stores: no change of one is lost."""
    a, b = pair
    await a.commit([made])
    await a.pin("x")
    await b.pin("x")
    await b.commit([changed])
    with pytest.raises(ChangedElsewhereError):
        await a.commit([Delete(type(made.value), "x")])
    assert await a.get(type(made.value), "x") == changed


async def test_a_thread_that_was_deleted(pair: list[SharedPostgresStore]):
    """Nothing is put into it any more."""
    a, b = pair
    await a.commit([thread("t")])
    await b.pin("t")
    await a.commit([Delete(Thread, "t")])
    with pytest.raises(ChangedElsewhereError):
        await b.commit([message("m", "t")])
    await b.pin("t")
    assert b.active_run("t") is None
    assert await b.get(Message, "m") is None


async def test_one_stale_commit_of_a_group(pair: list[SharedPostgresStore]):
    """The others of its group are stored."""
    a, b = pair
    await a.commit([thread("t"), thread("u")])
    await b.pin("t")
    await b.pin("u")
    await a.commit([message("m", "t")])
    outcomes = await asyncio.gather(
        b.commit([message("n", "t")]), b.commit([message("o", "u")]), b.commit([thread("v")]), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [ChangedElsewhereError, type(None), type(None)]
    assert await a.get(Message, "o") == message("o", "u")


async def test_what_is_known(pair: list[SharedPostgresStore]):
    """What was read after a pin need not be read again, until another server has changed the thread."""
    a, b = pair
    await a.commit([thread("t"), message("m", "t")])
    await b.pin("t")
    assert await b.known(Message, "m") == message("m", "t")
    await a.commit([other_state("m")])
    assert await b.known(Message, "m") == message("m", "t")
    await b.pin("t")
    assert await b.known(Message, "m") == other_state("m")
    await b.commit([message("m", "t", text="mine")])
    assert await b.known(Message, "m") == message("m", "t", text="mine")


async def test_an_old_state_that_is_read_late(pair: list[SharedPostgresStore], monkeypatch: pytest.MonkeyPatch):
    """A read that began before a pin does not make it known."""
    a, b = pair
    await a.commit([thread("t"), message("m", "t")])
    read = b._read_object
    may_return = anyio.Event()

    async def slow(kind: str, id: str) -> Any:
        found = await read(kind, id)
        await may_return.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(b, "_read_object", slow)
        late = asyncio.create_task(b.get(Message, "m"))
        await anyio.lowlevel.checkpoint()
        await a.commit([other_state("m")])
    await b.pin("t")
    may_return.set()
    await late
    assert await b.known(Message, "m") == other_state("m")


@pytest.mark.parametrize("number", [0, 3, 5])
async def test_counting(pair: list[SharedPostgresStore], number: int):
    """Of the messages of others, too; exactly where it matters."""
    a, b = pair
    await a.commit([thread("t"), *(message(f"m{each}", "t") for each in range(number))])
    assert await b.count_messages("t", 3) == number


# Who executes a run


def queued(id: str, owner: str = "", **claim: Any) -> list[Any]:
    return [thread(f"t_{id}", owner), run(id, f"t_{id}", owner), state(id, f"t_{id}", owner), Claim(id=id, **claim)]


async def test_a_run_that_is_claimed_at_once(pair: list[SharedPostgresStore]):
    """In the commit that makes it: nobody else gets it. It is the thread's run until it has ended."""
    a, b = pair
    await a.commit(queued("r", is_mine=True, reads=True))
    assert await b.claim(10) == []
    await b.pin("t_r")
    assert b.active_run("t_r") == ActiveRun("r", a.epoch, a.epoch)
    assert await b.active_of("") == ["r"]
    await a.commit([Delete(RunState, "r")])
    await b.pin("t_r")
    assert b.active_run("t_r") is None


async def test_a_run_for_whoever_has_room(pair: list[SharedPostgresStore]):
    """It is claimed once, and whoever claims it hears who reads its events."""
    a, b = pair
    await a.commit(queued("r", "me", reads=True))
    [both, neither] = sorted(await asyncio.gather(a.claim(5), b.claim(5)), key=len, reverse=True)
    assert [(each.run_id, each.thread_id, each.owner, each.reader) for each in both] == [("r", "t_r", "me", a.epoch)]
    assert neither == []


async def test_owners_in_rotation(pair: list[SharedPostgresStore]):
    """Whoever has many runs does not keep others waiting; those that execute count."""
    a, b = pair
    for number in range(4):
        await a.commit(queued(f"a{number}", "many"))
    await a.commit(queued("b0", "few"))
    await a.commit(queued("b1", "few"))
    assert [each.run_id for each in await b.claim(3)] == ["a0", "a1", "b0"]
    assert [each.run_id for each in await a.claim(2)] == ["a2", "b1"]


async def test_a_run_that_waits_for_outputs(pair: list[SharedPostgresStore]):
    """Nobody executes it; when it has to expire, somebody takes it."""
    a, b = pair
    await a.commit(queued("r", is_mine=True, reads=True))
    await a.commit([state("r", "t_r"), Claim(id="r", is_waiting=True, reads=False)])
    assert await b.claim(10) == []
    await b.pin("t_r")
    assert b.active_run("t_r") == ActiveRun("r", None, None)
    assert await b.claim_due(1.0, 10) == []
    assert [each.run_id for each in await b.claim_due(2.0, 10)] == ["r"]
    assert await a.claim_due(2.0, 10) == []


async def test_a_claim_whose_answer_is_lost(pair: list[SharedPostgresStore], monkeypatch: pytest.MonkeyPatch):
    """The runs are not lost with it: nobody else takes them, and this server hears of them by its next claim."""
    a, b = pair
    await a.commit(queued("r", is_mine=True))
    await a.commit(queued("s"))
    execute_all = b._lease._execute

    async def lose(sql: str, parameters: Any) -> list[Any]:
        await execute_all(sql, parameters)
        raise StoreUnavailableError("lost")

    with monkeypatch.context() as patch:
        patch.setattr(b._lease, "_execute", lose)
        with pytest.raises(StoreUnavailableError, match="lost"):
            await b.claim(5)
    assert await a.claim(5) == []
    assert [each.run_id for each in await b.claim(5)] == ["s"]
    monkeypatch.setattr(b._lease, "_in_doubt_until", 0.0)
    assert await b.claim(5) == []


async def test_handing_over_while_something_is_committed(
    pair: list[SharedPostgresStore], monkeypatch: pytest.MonkeyPatch
):
    """Others get the runs once that is stored, and not before."""
    a, b = pair
    await a.commit(queued("r", is_mine=True))
    may_write, write = anyio.Event(), a._write_rows

    async def slow(*args: Any) -> None:
        await may_write.wait()
        await write(*args)

    monkeypatch.setattr(a, "_write_rows", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(a.commit, [message("m", "t_r")])
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(a.hand_over)
        assert await b.claim(1) == []
        assert await b.claim(1) == []
        may_write.set()
    assert [each.run_id for each in await b.claim(1)] == ["r"]


async def test_a_server_that_leaves(url: str, tmp_path: Path):
    """Its runs are there for others at once."""
    async with servers(url, tmp_path, 1) as [b]:
        async with servers(url, tmp_path, 1) as [a]:
            await a.commit(queued("r", is_mine=True))
            assert await b.claim(1) == []
        assert [each.run_id for each in await b.claim(1)] == ["r"]


# Leases


class Heard:
    def __init__(self) -> None:
        self.losses = 0
        self.messages: list[Any] = []

    def lost(self) -> None:
        self.losses += 1

    def heard(self, sender: int, message: Any) -> None:
        self.messages.append((sender, message))

    def missed(self, sender: int | None) -> None:
        self.messages.append((sender, "missed"))


def silence(url: str, store: SharedPostgresStore) -> None:
    """As if it had not renewed its lease for long."""
    execute(url, "UPDATE openai_runs_servers SET renewed_at = now() - interval '1 hour' WHERE epoch = %s", store.epoch)


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # nothing tells of it
            await anyio.sleep(0.01)


async def bury(url: str, dead: SharedPostgresStore, other: SharedPostgresStore) -> None:
    other._lease._steady_since = 0.0  # it has renewed its own for long
    silence(url, dead)
    assert await other.bury()


async def test_a_server_that_went_silent(url: str, pair: list[SharedPostgresStore]):
    """Another one ends it: nothing that it commits is taken, its runs go on elsewhere; it goes on as another server."""
    a, b = pair
    heard = Heard()
    a.listen(heard)
    await a.commit(queued("r", is_mine=True))
    epoch = a.epoch
    await bury(url, a, b)
    assert [each.run_id for each in await b.claim(1)] == ["r"]
    with pytest.raises(StoreUnavailableError, match="others have taken its work over"):
        await a.commit([message("m", "t_r")])
    await until(lambda: a.is_valid and a.epoch != epoch)
    assert heard.losses == 1
    assert await b.get(Message, "m") is None
    await a.commit([message("m", "t_r")])
    assert await b.get(Message, "m") == message("m", "t_r")


async def test_a_server_that_went_silent_in_a_transaction(url: str, pair: list[SharedPostgresStore]):
    """The others do not wait for what it has locked, and the database ends its session soon."""
    a, b = pair
    b._lease._steady_since = 0.0
    silence(url, a)
    async with await a._connect() as silent:
        [[timeout]] = await (await silent.execute("SHOW idle_in_transaction_session_timeout")).fetchall()
        assert timeout == "5s"
        async with silent.transaction():
            await silent.execute(schema.END_SELF, (a.epoch,))
            assert not await b.bury()
            raise psycopg.Rollback
    silence(url, a)  # it may have renewed its lease since
    assert await b.bury()


async def test_what_was_decided_before_the_end(
    url: str, pair: list[SharedPostgresStore], monkeypatch: pytest.MonkeyPatch
):
    """A commit that waited while the server was ended is refused, although the server goes on."""
    a, b = pair
    may_write = anyio.Event()
    write = a._write_rows

    async def slow(*args: Any) -> None:
        await may_write.wait()
        await write(*args)

    await a.commit([thread("t")])
    epoch = a.epoch
    monkeypatch.setattr(a, "_write_rows", slow)
    late = [asyncio.create_task(a.commit([message(id, "t")])) for id in "mn"]
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    await bury(url, a, b)
    a._lease.check_now()
    await until(lambda: a.is_valid and a.epoch != epoch)
    may_write.set()
    for each in late:
        with pytest.raises(StoreUnavailableError):
            await each
    assert (await b.page(Message, "t", PageQuery()))[0] == []


async def test_after_an_outage_nobody_is_ended(url: str, pair: list[SharedPostgresStore]):
    """All leases have run out while the database was away: whoever comes back first waits for the others."""
    a, b = pair
    silence(url, a)
    assert not await b.bury()
    b._lease._steady_since = None
    assert not await b.bury()


async def test_who_cannot_renew_stops_in_time(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """By its own clock, before others take over; when it can again, it goes on as another server."""
    async with servers(url, tmp_path, 1, lease=0.6) as [a]:
        heard, epoch, connect = Heard(), a.epoch, a._lease._renewals._connect
        a.listen(heard)

        async def away() -> Any:
            raise psycopg.OperationalError("cut")

        monkeypatch.setattr(a._lease._renewals, "_connect", away)
        await a._lease._renewals.close()
        await until(lambda: heard.losses)
        assert not a.is_valid
        assert await a.claim(1) == []
        monkeypatch.setattr(a._lease._renewals, "_connect", connect)
        await until(lambda: a.is_valid)
        assert a.epoch > epoch


async def test_a_claim_that_is_not_answered(url: str, tmp_path: Path):
    """It is given up, and delays no renewal meanwhile; the next one has a new connection."""
    async with servers(url, tmp_path, 1, lease=0.6) as [a], await a._connect() as other:
        await a.commit(queued("r"))
        async with other.transaction():
            await other.execute("LOCK openai_runs_active")
            with pytest.raises(StoreUnavailableError, match="it does not answer"):
                await a.claim(1)
            assert a.is_valid
        assert [each.run_id for each in await a.claim(1)] == ["r"]


async def test_messages(pair: list[SharedPostgresStore]):
    """Each server has its own, and all have the common ones, but for the sender."""
    a, b = pair
    heard = Heard()
    b.send(a.epoch, ["nobody listens yet"])
    a.listen(heard)
    b.send(a.epoch, ["you"])
    b.broadcast(["all"])
    a.broadcast(["others"])
    await until(lambda: (b.epoch, ["all"]) in heard.messages)
    assert [text for _, [text] in heard.messages if text != "nobody listens yet"] == ["you", "all"]


# Beside stores that are not shared


async def test_one_that_has_it_alone(url: str, tmp_path: Path):
    """It keeps those that share it out, and they keep it out."""
    async with PostgresStore(url, folder=tmp_path):
        with pytest.raises(StoreFileError, match="in use by another process"):
            async with servers(url, tmp_path, 1):
                pass
    async with servers(url, tmp_path):
        with pytest.raises(StoreFileError, match="in use by another process"):
            async with PostgresStore(url, folder=tmp_path):
                pass


async def test_two_that_start_at_once(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On an empty database, too: one makes the tables, and the other one waits for that."""
    monkeypatch.setattr(postgres_session, "_LOCK_TIMEOUT", 20_000)
    stores = [SharedPostgresStore(url, folder=tmp_path) for _ in range(2)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    await stores[0].commit([thread("t")])
    assert await stores[1].get(Thread, "t") == thread("t")
    for store in stores:
        await store.__aexit__(None, None, None)


async def test_a_store_of_an_earlier_version(url: str, tmp_path: Path):
    """Its unfinished runs are there to be claimed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(schema.MIGRATIONS[0])
        connection.execute("UPDATE openai_runs_store SET version = 1")
    rows = [("run", "r", "me", "t", "{}"), ("run_state", "r", "me", None, "damaged")]
    for row in rows:
        execute(url, "INSERT INTO openai_runs_objects (kind, id, owner, list, body) VALUES (%s, %s, %s, %s, %s)", *row)
    async with servers(url, tmp_path, 1) as [a]:
        assert [(each.run_id, each.thread_id, each.owner) for each in await a.claim(5)] == [("r", "t", "me")]


async def test_a_database_that_cannot_be_heard(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server that cannot hear the others does not begin, and leaves nothing behind."""
    store = SharedPostgresStore(url, folder=tmp_path)

    async def refuse(epoch: int) -> None:
        raise StoreUnavailableError("no")

    monkeypatch.setattr(store._relay, "open", refuse)
    with pytest.raises(StoreUnavailableError, match="no"):
        async with store:
            pass
    async with PostgresStore(url, folder=tmp_path) as alone:
        assert await alone.get(Run, "r") is None
