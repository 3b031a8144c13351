"""`WritingSession`: one process at a time has the store; each commit is made once, whatever becomes of connections."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest

from openai_runs.errors import KeyUsedError, StoreFileError, StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.thread import Thread
from openai_runs.stores.postgres import PostgresStore, SharedPostgresStore, schema
from openai_runs.stores.postgres import session as postgres_session
from openai_runs.stores.records import Delete, UsedKey
from tests.postgres import Postgres, execute, kill_sessions, until, with_parameters
from tests.stores.cutting import Cutter, cutting, through
from tests.stores.objects import message, thread, used_key

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@pytest.fixture(autouse=True)
def _refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_session, "_LOCK_TIMEOUT", 100)


async def threads(store: PostgresStore) -> list[str]:
    return [record.value.id async for record in store.everything(Thread)]


# Who has it


async def test_another_process_is_refused(url: str, tmp_path: Path):
    """While one has the store no other gets it, and is told so; afterwards it does."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([thread("1")])
        with pytest.raises(StoreFileError, match=r"it is in use by another process, since .*stop the other one first"):
            async with PostgresStore(url, folder=tmp_path):
                pass
        await store.commit([thread("2")])
    async with PostgresStore(url, folder=tmp_path) as store:
        assert await threads(store) == ["1", "2"]


async def test_two_that_start_at_once(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On an empty database, too: one makes the tables and has the store, the other is refused."""
    stores = [PostgresStore(url, folder=tmp_path) for _ in range(2)]
    outcomes = await asyncio.gather(*(store.__aenter__() for store in stores), return_exceptions=True)
    assert sorted(type(outcome) for outcome in outcomes if isinstance(outcome, Exception)) == [StoreFileError]
    for outcome in outcomes:
        if isinstance(outcome, PostgresStore):
            await outcome.commit([thread("1")])
            await outcome.__aexit__(None, None, None)


async def test_stores_beside_each_other(postgres_server: Postgres, tmp_path: Path):
    """Two schemas of one database are two stores, each with its own lock."""
    first = PostgresStore(postgres_server.store_url(), folder=tmp_path / "1")
    second = PostgresStore(postgres_server.store_url(), folder=tmp_path / "2")
    async with first, second:
        await first.commit([thread("1")])
        assert await threads(second) == []


async def test_who_was_taken_over(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A process whose session ended, and whose store another has opened, neither writes nor reads any more."""
    async with PostgresStore(url, folder=tmp_path) as old:
        await old.commit([thread("1")])
        kill_sessions(url)
        async with PostgresStore(url, folder=tmp_path) as new:
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="has to be started anew"):
                    await old.commit([thread("2")])
                for reading in old.get(Thread, "1"), old.history("1"):
                    with pytest.raises(StoreUnavailableError, match="has to be started anew"):
                        await reading
            await new.commit([thread("3")])
            assert await threads(new) == ["1", "3"]
    assert caplog.text.count("another process has opened the store") == 1


async def test_who_was_taken_over_meanwhile(url: str, tmp_path: Path):
    """The database refuses a process that is over, even if its session were still there."""
    async with PostgresStore(url, folder=tmp_path) as store:
        execute(url, "UPDATE openai_runs_servers SET is_over = true")
        with pytest.raises(StoreUnavailableError, match="has to be started anew"):
            await store.commit([thread("1")])
        with pytest.raises(StoreUnavailableError, match="has to be started anew"):
            await threads(store)


@pytest.mark.parametrize("sql", ["UPDATE openai_runs_servers SET written = 0", "DELETE FROM openai_runs_servers"])
async def test_a_database_that_was_set_back(sql: str, url: str, tmp_path: Path):
    """As by a standby that lacks the latest commits: the process, which knows of them, does not go on."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([thread("1")])
        execute(url, sql)
        kill_sessions(url)
        with pytest.raises(StoreUnavailableError, match="has to be started anew"):
            await store.commit([thread("2")])
    async with PostgresStore(url, folder=tmp_path) as store:
        assert await threads(store) == ["1"]


async def test_who_connects_again_and_was_taken_over(url: str, tmp_path: Path):
    """A commit that begins without a connection finds it out, too."""
    async with PostgresStore(url, folder=tmp_path) as old:
        assert old._session is not None
        await old._session._drop()
        async with PostgresStore(url, folder=tmp_path):
            pass
        with pytest.raises(StoreUnavailableError, match="has to be started anew"):
            await old.commit([thread("1")])


async def test_epochs_grow(url: str, tmp_path: Path):
    """Each process that opens the store has a higher one; those before are over."""
    for _ in range(3):
        async with PostgresStore(url, folder=tmp_path):
            pass
    rows = execute(url, "SELECT epoch, is_over FROM openai_runs_servers ORDER BY epoch")
    assert rows == [(1, True), (2, True), (3, False)]


# Commits once


@pytest.fixture
async def cutter(postgres_server: Postgres, anyio_backend: str) -> AsyncIterator[Cutter]:
    async with cutting(postgres_server) as cutter:
        yield cutter


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_commit_whose_connection_is_cut(lost: Any, url: str, cutter: Cutter, tmp_path: Path):
    """It is made, and made once, whether it was the answer that was lost or already the request."""
    async with PostgresStore(through(cutter, url), folder=tmp_path) as store:
        await store.commit([thread("1"), used_key("1")])
        cutter.cut = lost
        await asyncio.gather(*(store.commit([thread(str(n)), used_key(str(n))]) for n in (2, 3)))
        await store.commit([thread("4")])
        assert cutter.cut is None
        assert await threads(store) == ["1", "2", "3", "4"]
        with pytest.raises(KeyUsedError):
            await store.commit([used_key("2")])


async def test_a_commit_that_is_cut_each_time(url: str, cutter: Cutter, tmp_path: Path):
    """It is refused at the second time, and nothing of it is there: it may be what kills the server."""
    async with PostgresStore(through(cutter, url), folder=tmp_path) as store:
        cutter.cut, cutter.cuts = "request", 2
        with pytest.raises(StoreUnavailableError, match="Nothing was changed"):
            await store.commit([thread("1")])
        await store.commit([thread("2")])
        assert await threads(store) == ["2"]


async def test_a_lock_that_is_not_free_yet(url: str, cutter: Cutter, tmp_path: Path):
    """Who has lost its session waits for the lock, and only then knows what became of its commit."""
    async with PostgresStore(through(cutter, url), folder=tmp_path) as store:
        cutter.cut = "answer"
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
            waiting = asyncio.create_task(other.execute(schema.LOCK))  # of a process that is about to open the store
            await until(lambda: execute(url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            commit = asyncio.create_task(store.commit([thread("1")]))
            await waiting
            with pytest.raises(StoreUnavailableError, match="Nothing was changed"):
                await refused_commit(store)
            assert not commit.done()
        await commit
        assert await threads(store) == ["1"]


async def refused_commit(store: PostgresStore) -> None:
    await until(lambda: store._session is not None and store._session._connection is None)
    await store.commit([thread("2")])


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_commit_in_an_outage(lost: Any, url: str, cutter: Cutter, tmp_path: Path):
    """It waits until its outcome is known, while others are refused at once; and a cached object can be read."""
    async with PostgresStore(through(cutter, url), folder=tmp_path) as store:
        await store.commit([thread("1")])
        cutter.cut, cutter.away_after = lost, True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.commit, [thread("2"), used_key("2")])
            await until(lambda: cutter.is_away)
            for _ in range(3):
                with pytest.raises(StoreUnavailableError, match="Nothing was changed"):
                    await store.commit([thread("3")])
            assert await store.get(Thread, "1") == thread("1")
            cutter.is_away = False
        await store.commit([thread("4")])
        assert await threads(store) == ["1", "2", "4"]


async def test_closed_in_an_outage(url: str, cutter: Cutter, tmp_path: Path):
    """A commit whose outcome cannot be found out says so, and closing does not wait for the database."""
    failures: dict[str, str] = {}
    async with PostgresStore(through(cutter, url), folder=tmp_path) as store:
        cutter.cut, cutter.away_after = "answer", True

        async def commit(id: str) -> None:
            try:
                await store.commit([thread(id), used_key(id)])
            except StoreUnavailableError as error:
                failures[id] = error.message

        tasks = [asyncio.create_task(commit(id)) for id in ("1", "2")]
        await until(lambda: cutter.is_away)
        tasks.append(asyncio.create_task(commit("3")))
        await asyncio.sleep(0)
    await asyncio.wait(tasks)
    for id, is_known in ("1", False), ("2", False), ("3", True):
        assert ("Nothing was changed." in failures[id]) is is_known
        assert ("It is not known whether the change was made." in failures[id]) is not is_known
    async with PostgresStore(url, folder=tmp_path) as store:
        assert await threads(store) == ["1", "2"]


async def test_cut_and_taken_over(url: str, cutter: Cutter, tmp_path: Path):
    """The outcome of the last commit is known, even if another process has the store by then."""
    async with PostgresStore(through(cutter, url), folder=tmp_path) as old:
        cutter.cut, cutter.away_after = "answer", True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(old.commit, [thread("1")])
            await until(lambda: cutter.is_away)
            async with PostgresStore(url, folder=tmp_path) as new:
                cutter.is_away = False
                await until(lambda: old._session is not None and old._session.is_lost)
                assert await threads(new) == ["1"]
        with pytest.raises(StoreUnavailableError, match="has to be started anew"):
            await old.commit([thread("2")])


async def test_a_session_that_the_server_has_not_lost_yet(url: str, tmp_path: Path):
    """The process ends its own old session, which would keep the lock."""
    async with PostgresStore(url, folder=tmp_path) as store:
        assert store._session is not None
        lost, store._session._connection = store._session._connection, None
        await store.commit([thread("1")])
        assert await threads(store) == ["1"]
        assert lost is not None
        await lost.close()


async def test_sessions_that_are_killed(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Whoever commits and reads does not notice it."""
    async with PostgresStore(url, folder=tmp_path, cache_size=0) as store:
        for number in range(3):
            await store.commit([thread(str(number))])
            kill_sessions(url)
            assert await store.get(Thread, str(number)) == thread(str(number))
    assert "takes no commits" not in caplog.text


class Committing:
    """Commits messages one after the other, and keeps account of them."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.confirmed: set[str] = set()
        self.refused: set[str] = set()
        self.goal = 0
        self.is_reached = anyio.Event()

    async def run(self, name: str) -> None:
        for number in itertools.count():
            id = f"{name}/{number}"
            try:
                await self.store.commit([message(id, name), used_key(id)])  # a second time is a `KeyUsedError`
                self.confirmed.add(id)
            except StoreUnavailableError:
                self.refused.add(id)
            if len(self.confirmed) == self.goal:
                self.is_reached.set()

    async def some(self) -> None:
        """Wait until more are confirmed, at their beginning and at their end there is work under way."""
        self.goal = len(self.confirmed) + 50
        self.is_reached = anyio.Event()
        await self.is_reached.wait()


@pytest.mark.unmeasured
async def test_each_commit_once(postgres_server: Postgres, tmp_path: Path):
    """Sessions are killed and the server crashes: what was confirmed is there, and nothing that was refused."""
    url = postgres_server.store_url()
    async with PostgresStore(url, folder=tmp_path) as store:
        committing = Committing(store)
        tasks = [asyncio.create_task(committing.run(str(number))) for number in range(8)]
        for _ in range(5):
            await committing.some()
            await anyio.to_thread.run_sync(kill_sessions, url)
        await committing.some()
        await anyio.to_thread.run_sync(postgres_server.kill)
        await anyio.to_thread.run_sync(postgres_server.start)
        await committing.some()
        await anyio.to_thread.run_sync(postgres_server.restart)
        await committing.some()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    async with PostgresStore(url, folder=tmp_path) as store:
        stored = {record.value.id async for record in store.everything(Message)}
        keys = {record.value.id async for record in store.everything(UsedKey)}
    assert stored >= committing.confirmed  # and those under way at the end, of whom nobody knows
    assert len(stored) <= len(committing.confirmed) + len(tasks)
    assert not stored & committing.refused
    assert keys == stored


# Versions


async def test_a_later_version(url: str, tmp_path: Path):
    """A database that a later version has written so that this one cannot use it is refused, and not changed."""
    async with PostgresStore(url, folder=tmp_path):
        pass
    execute(url, "UPDATE openai_runs_store SET version = 99, oldest = 98")
    said = "a later version of openai_runs has written it (schema 99, which needs 98; this one knows 4): update openai_"
    assert said in await refusal(url, tmp_path)
    assert said in await refusal(url, tmp_path, SharedPostgresStore)
    assert execute(url, "SELECT max(epoch) FROM openai_runs_servers") == [(1,)]


async def test_an_earlier_version(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is brought up to date, all of it or nothing, and keeps what it has."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([thread("1")])
    add = "ALTER TABLE openai_runs_servers ADD COLUMN note text"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, add, "SELECT nothing"))
    assert 'column "nothing" does not exist' in await refusal(url, tmp_path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], "SELECT 1"))
    for _ in range(2):
        async with PostgresStore(url, folder=tmp_path) as store:
            assert await threads(store) == ["1"]
    assert execute(url, "SELECT version FROM openai_runs_store") == [(6,)]


ADDS = "ALTER TABLE openai_runs_servers ADD COLUMN note text NOT NULL DEFAULT ''"
BREAKS = "ALTER TABLE openai_runs_indexing RENAME TO openai_runs_other"


@contextmanager
def a_later_version(*migrations: str, adding: set[int] = frozenset()) -> Iterator[None]:
    """Of the code: it has other tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *migrations))
        patch.setattr(schema, "ADDING", schema.ADDING | adding)
        yield


async def test_a_rolling_update(url: str, tmp_path: Path):
    """Servers of two versions use one store if the later one only adds to the tables, whichever starts first."""
    async with SharedPostgresStore(url, folder=tmp_path) as old:
        await old.commit([thread("1")])
        with a_later_version(ADDS, adding={5}):
            async with SharedPostgresStore(url, folder=tmp_path) as new:
                assert execute(url, "SELECT version, oldest FROM openai_runs_store") == [(5, 3)]
                await old.commit([thread("2")])
                await new.commit([thread("3")])
                assert await threads(old) == await threads(new) == ["1", "2", "3"]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-1])
                    async with SharedPostgresStore(url, folder=tmp_path) as restarted:
                        await restarted.commit([thread("4")])
                        assert await threads(new) == ["1", "2", "3", "4"]
        assert old.is_valid
    async with PostgresStore(url, folder=tmp_path) as alone:
        assert await threads(alone) == ["1", "2", "3", "4"]
    assert execute(url, "SELECT version, oldest FROM openai_runs_store") == [(5, 3)]


def test_what_only_adds():
    """Nothing that servers of the version before use is taken from them, or changed."""
    assert schema.oldest() == 3
    for version in schema.ADDING:
        text = schema.MIGRATIONS[version - 1].upper()
        assert not re.search(r"\b(DROP|RENAME|TYPE|UPDATE|DELETE|TRUNCATE|SET NOT NULL)\b", text)
        assert not re.search(r"ADD COLUMN (?![^;,]*DEFAULT)[^;,]*NOT NULL", text)


async def test_an_update_that_breaks(url: str, tmp_path: Path):
    """It waits until all servers of an earlier version have ended, says so, and then keeps them out."""
    async with SharedPostgresStore(url, folder=tmp_path) as old:
        with a_later_version(BREAKS, ADDS, adding={6}):
            text = await refusal(url, tmp_path, SharedPostgresStore)
            assert "so that servers of an earlier version cannot go on: stop all of those first" in text
        await old.commit([thread("1")])
    execute(url, "INSERT INTO openai_runs_servers DEFAULT VALUES")  # one that was cut off
    with a_later_version(BREAKS, ADDS, adding={6}):
        async with SharedPostgresStore(url, folder=tmp_path) as new:
            assert await threads(new) == ["1"]
            assert "needs 5; this one knows 4" in await refusal_of_the_version_before(url, tmp_path)
            assert execute(url, "SELECT epoch FROM openai_runs_servers WHERE NOT is_over") == [(new.epoch,)]
    assert execute(url, "SELECT version, oldest FROM openai_runs_store") == [(6, 5)]


async def refusal_of_the_version_before(url: str, folder: Path) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:4])
        return await refusal(url, folder, SharedPostgresStore)


async def test_a_server_that_comes_back_to_other_tables(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It does not go on with what it does not know, and says what to do."""
    async with SharedPostgresStore(url, folder=tmp_path) as old:
        execute(url, "UPDATE openai_runs_servers SET is_over = true")
        execute(url, "UPDATE openai_runs_store SET version = 5, oldest = 5")
        old._lease.check_now()
        with anyio.fail_after(20):
            while "cannot be renewed now" not in caplog.text:  # noqa: ASYNC110  # nothing tells of it
                await anyio.sleep(0.01)
        assert not old.is_valid
        with pytest.raises(StoreUnavailableError):
            await old.commit([thread("1")])
    assert "needs 5; this one knows 4): update openai_runs" in caplog.text


async def test_an_update_of_tables_that_are_locked(url: str, tmp_path: Path):
    """It does not keep all others waiting behind itself, and nothing is changed."""
    async with SharedPostgresStore(url, folder=tmp_path) as old:
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute("SELECT FROM openai_runs_servers")
            with a_later_version(ADDS, adding={5}):
                text = await refusal(url, tmp_path, SharedPostgresStore)
        assert "its tables cannot be updated now, since something else has them: start again" in text
        await old.commit([thread("1")])
    assert execute(url, "SELECT version, oldest FROM openai_runs_store") == [(4, 3)]


# What cannot be opened


async def refusal(url: str, folder: Path, kind: type[PostgresStore] = PostgresStore) -> str:
    with pytest.raises(StoreFileError) as caught:
        async with kind(url, folder=folder):
            pass
    return str(caught.value)


async def test_a_misspelt_database(postgres_server: Postgres, tmp_path: Path):
    """It is refused at once, and not created."""
    text = await refusal(postgres_server.url("runz"), tmp_path)
    assert 'database "runz" does not exist' in text


async def test_somebody_elses_database(url: str, tmp_path: Path):
    """Whoever does not want to create tables is told that there are none."""
    with pytest.raises(StoreFileError, match=r"it has no tables of a store\. Check its name"):
        async with PostgresStore(url, folder=tmp_path, create=False):
            pass
    async with PostgresStore(url, folder=tmp_path):
        pass
    async with PostgresStore(url, folder=tmp_path, create=False) as store:
        assert await threads(store) == []


async def test_a_wrong_password(postgres_server: Postgres, tmp_path: Path):
    """It is refused at once, and is in no text."""
    with postgres_server.asking_for_passwords("careful"):
        url = with_parameters(postgres_server.url(), user="careful", password="guess")
        text = await refusal(url, tmp_path)
    assert 'password authentication failed for user "careful"' in text
    assert "guess" not in text


async def test_no_room_for_tables(postgres_server: Postgres, tmp_path: Path):
    """Without a schema, or the right to create tables in it, the database's words are passed on."""
    url = with_parameters(postgres_server.url(), options="-csearch_path=nowhere")
    assert "no schema has been selected to create in" in await refusal(url, tmp_path)


async def test_another_encoding(postgres_server: Postgres, tmp_path: Path):
    """It could not keep every text."""
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "its encoding is LATIN1, and must be UTF8" in await refusal(postgres_server.url("latin"), tmp_path)


async def test_an_old_server(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is told which version it has to be."""
    monkeypatch.setattr(postgres_session, "_MIN_VERSION", 10**7)
    assert "and 14 is needed" in await refusal(url, tmp_path)


async def test_no_server(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It is waited for, which is said once, and given up with what came back."""
    url = "postgresql://me:secret@127.0.0.1:9/runs"
    with pytest.raises(StoreUnavailableError, match=r"has not answered for 30 seconds: .*refused") as caught:
        async with PostgresStore(url, folder=tmp_path):
            pass
    assert caplog.text.count("waiting for the store 'runs at 127.0.0.1'") == 1
    assert "secret" not in str(caught.value) + caplog.text


async def test_cancelled_while_opening(url: str, tmp_path: Path):
    """The lock is free again."""
    async with PostgresStore(url, folder=tmp_path):
        with anyio.move_on_after(0.1) as scope:
            await PostgresStore(url, folder=tmp_path).__aenter__()
        assert scope.cancelled_caught
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([thread("1"), Delete(Thread, "1")])
