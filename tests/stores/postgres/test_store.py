"""What `PostgresStore` promises beyond `Store`: no commit is lost, and what is damaged or away is told apart."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import psycopg_pool
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs._slices import at_once
from openai_runs.backends import Say, Wait
from openai_runs.errors import (
    ChangedElsewhereError,
    KeyUsedError,
    StoreDataError,
    StoreFileError,
    StoreUnavailableError,
)
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.file_contents import whole
from openai_runs.stores.postgres import PostgresStore, schema
from openai_runs.stores.postgres import store as postgres_store
from openai_runs.stores.postgres.session import translated
from openai_runs.stores.records import Delete, PageQuery, Record, RunState, Unreadable
from openai_runs.stores.table_rows import index_and_bodies, row_of
from tests.engine.world import world
from tests.postgres import Postgres, execute, kill_sessions
from tests.samples import MODELS
from tests.stores.cutting import cutting, through
from tests.stores.objects import assistant, file, message, run, shelf, state, step, thread, used_key, vector_store
from tests.stores.sqlite.test_store import SIZES, check_lines, commit_all, commit_until_killed, without_nul
from tests.strategies import bodies

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@pytest.fixture
async def store(url: str, tmp_path: Path, anyio_backend: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(url, folder=tmp_path) as store:
        yield store


class Gate:
    """Stands between a store and its database: counts reads, and delays them or writes."""

    def __init__(self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_write, self.may_return = anyio.Event(), anyio.Event()
        self.may_write.set()
        self.may_return.set()
        self.writes: list[int] = []
        self.reads = 0
        write, read = store._write_rows, store._read

        async def write_rows(index: str, bodies: bytes, commits: Any, era: int) -> None:
            self.writes.append(sum(map(len, commits)))
            await self.may_write.wait()
            await write(index, bodies, commits, era)

        async def read_rows(sql: str, parameters: Any) -> Any:
            self.reads += sql != schema.HIGHEST_PLACE
            found = await read(sql, parameters)
            await self.may_return.wait()
            return found

        monkeypatch.setattr(store, "_write_rows", write_rows)
        monkeypatch.setattr(store, "_read", read_rows)


# Objects as they were


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", ["AssistantObject", "ThreadObject", "MessageObject", "RunObject", "RunStepObject"])
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    max_examples=settings().max_examples // 2,
)
@given(data=st.data())
def test_objects_come_back_as_they_were(name: str, url: str, tmp_path: Path, data: st.DataObject):
    """Every object that the API's schema allows survives, with unknown and absent fields."""
    found = data.draw(st.lists(bodies(name), max_size=5))
    models = [_wire.load({**body, "id": str(number)}, MODELS[name]) for number, body in enumerate(found)]

    async def there_and_back() -> None:
        async with PostgresStore(url, folder=tmp_path, cache_size=0) as store:
            left = [record.value.id async for record in store.everything(MODELS[name])]  # by the example before
            await store.commit([Delete(MODELS[name], id_) for id_ in left])
            for model in models:
                await store.commit([Record("ann ☂", without_nul(model))])
            records = [await store.get(MODELS[name], model.id) for model in models]
            assert [_wire.dump(r.value) for r in records if r] == [_wire.dump(without_nul(model)) for model in models]
            assert [record async for record in store.everything(MODELS[name])] == records

    anyio.run(there_and_back)


async def test_order_survives_a_restart(url: str, tmp_path: Path):
    """New objects come after old ones, cursors of deleted ones included; run states come back."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([message("1", "t"), message("2", "t"), message("3", "t"), state("r", "t", steps=("s",))])
        await store.commit([Delete(Message, "2"), Delete(Message, "3")])
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([message("4", "t")])
        query = PageQuery(after="3", order="asc")
        assert await store.page(Message, "t", query) == ([message("4", "t")], False)
        assert await store.unfinished() == [state("r", "t", steps=("s",))]


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_ids_that_are_not_text(store: PostgresStore, text: str):
    """Text that the database cannot keep unchanged is refused, in an ID or elsewhere in a record."""
    for record in run(text, "t"), run("r", text), run("r", "t", text), message("m", "t", run_id=text):
        with pytest.raises(ValueError, match=r"NUL character|surrogates not allowed"):
            await store.commit([thread("t"), record])
    assert await store.get(Thread, "t") is None


@pytest.mark.parametrize("text", ["\ud83d", "a\0b", "\\u0000"])
async def test_odd_texts(url: str, tmp_path: Path, text: str):
    """JSON can contain them, so a message may."""
    async with PostgresStore(url, folder=tmp_path, cache_size=0) as store:
        await store.commit([message("m", "t", text=text)])
        found = await store.get(Message, "m")
        assert found is not None
        assert found.value.text == text
        assert await store.history("t") == [found]


# Commits


async def test_commits_are_written_in_groups(store: PostgresStore, monkeypatch: pytest.MonkeyPatch):
    """Commits that come while a group is written form the next group."""
    gate = Gate(store, monkeypatch)
    gate.may_write = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.commit, [thread("first")])
        await anyio.wait_all_tasks_blocked()
        for number in range(50):
            tasks.start_soon(store.commit, [thread(str(number)), message(str(number), str(number))])
        await anyio.wait_all_tasks_blocked()
        gate.may_write.set()
    assert gate.writes == [1, 100]
    assert len([record async for record in store.everything(Thread)]) == 51


async def test_a_bad_commit_does_not_fail_its_group(store: PostgresStore):
    """A commit that cannot be written does not fail the others of its group."""
    await store.commit([used_key("9")])
    too_long = assistant("a", random.Random(3).randbytes(20_000).hex())  # an owner that no index takes
    bad: dict[int, Any] = {7: run("\0", "t"), 9: used_key("9"), 11: too_long}
    commits = [[thread(str(n)), bad.get(n, message(str(n), "t"))] for n in range(20)]
    outcomes = await commit_all(store, commits)
    kinds = {7: ValueError, 9: KeyUsedError, 11: StoreDataError}
    assert [type(outcome) for outcome in outcomes] == [kinds.get(number, type(None)) for number in range(20)]
    found = {int(record.value.id) async for record in store.everything(Thread)}
    assert found == {*range(20)} - kinds.keys()


async def test_what_was_committed_survives_a_kill(url: str, tmp_path: Path):
    """Killed at any moment: every reported commit is there, and of the others all changes or none."""
    dice = random.Random(7)
    reported: set[str] = set()
    for _ in range(3):
        lines = dice.randrange(1, 400)
        reported.update(await anyio.to_thread.run_sync(commit_until_killed, lines, url, str(tmp_path)))
        async with PostgresStore(url, folder=tmp_path) as store:
            await check_lines(store, reported)


# Reading


async def test_recently_used_objects_are_read_from_memory(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Polling a run reads the database at most once, and its text is at hand."""
    async with PostgresStore(url, folder=tmp_path) as store:
        gate = Gate(store, monkeypatch)
        await store.commit([run("r", "t")])
        assert await store.get(Run, "r") == run("r", "t")
        assert gate.reads == 0
    async with PostgresStore(url, folder=tmp_path) as store:
        gate = Gate(store, monkeypatch)
        for _ in range(3):
            found = await store.get(Run, "r")
            assert found == run("r", "t")
            assert store.text_of(found.value) == _wire.encode(found.value)
        assert gate.reads == 1


async def test_a_read_beside_a_commit(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was read before a commit, and comes after it, is not taken for what is there now."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([run("r", "t")])
    async with PostgresStore(url, folder=tmp_path) as store:
        gate = Gate(store, monkeypatch)
        gate.may_return = anyio.Event()
        read: list[Any] = []

        async def get() -> None:
            read.append(await store.get(Run, "r"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get)
            await asyncio.sleep(0)
            while not gate.reads:
                await anyio.lowlevel.checkpoint()
            ended = run("r", "t", status=RunStatus.COMPLETED)
            await store.commit([ended])
            gate.may_return.set()
        assert len(read) == 1
        assert await store.get(Run, "r") == ended


@pytest.mark.parametrize(
    ("order", "cursor", "pages"),
    [
        ("asc", "after", ["123", "4", "56", "7", "8"]),
        ("desc", "after", ["8", "7", "65", "4", "321"]),
        ("asc", "before", ["8", "7", "56", "4", "123"]),
        ("desc", "before", ["321", "4", "65", "7", "8"]),
    ],
)
async def test_a_page_has_a_maximum_size(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, order: Any, cursor: str, pages: Any
):
    """Objects beyond the maximum size are on the next page, in either direction; but a page has at least one object."""
    monkeypatch.setattr(postgres_store, "PAGE_BYTES", 2500)
    await store.commit([message("first", "t")])
    await store.commit([message(id, "t", text="x" * size) for id, size in SIZES.items()])
    await store.commit([message("last", "t"), Delete(Message, "first"), Delete(Message, "last")])
    at, found, more = ("first" if (order == "asc") == (cursor == "after") else "last"), [], True
    while more:
        records, more = await store.page(Message, "t", PageQuery(limit=3, order=order, **{cursor: at}))
        found.append("".join(record.value.id for record in records))
        at = found[-1][-1 if cursor == "after" else 0]
    assert found == pages


async def test_large_objects_are_read_one_by_one(store: PostgresStore, monkeypatch: pytest.MonkeyPatch):
    """One read is small, whether there are many objects or large ones."""
    monkeypatch.setattr(postgres_store, "_CHUNK_BYTES", 1000)
    await store.commit([message(str(number), "t", text="x" * 1000 * (number % 2)) for number in range(6)])
    gate = Gate(store, monkeypatch)
    assert [record.value.id for record in await store.history("t")] == list("012345")
    assert gate.reads == 4
    assert [record.value.id async for record in store.everything(Message)] == list("012345")


async def pages_touched(store: PostgresStore, sql: str, parameters: Any) -> int:
    """How many pages of tables and indexes a statement looks at."""
    return touched_in(await store._read(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters))


def touched_in(rows: list[Any]) -> int:
    [(plan,)] = rows
    return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]


async def costs(store: PostgresStore) -> dict[str, int]:
    """Of reading a large thread, of commits to a small one, and of what is looked through at each start."""
    found = {}
    query = {"kind": "message", "list": "large", "part": None, "low": None, "high": None, "limit": 3, "bytes": 10**6}
    for cursors in {}, {"low": "m50"}, {"high": "m50"}, {"low": "m20", "high": "m50"}:
        for from_the_end in False, True:
            sql = schema.page(from_the_end=from_the_end, of_part=False, crosses_lists=False)
            found[f"{cursors} {from_the_end}"] = await pages_touched(store, sql, {**query, **cursors})
    sql = schema.page(from_the_end=True, of_part=True, crosses_lists=False)
    found["part"] = await pages_touched(store, sql, {**query, "part": "r40"})
    start = {"thread_id": "large", "besides_run": "r40", "last_messages": 5}
    found["start of history"] = await pages_touched(store, schema.START_OF_HISTORY, start)
    for changes in (
        [message("s0", "small", text="new"), message("s5", "small"), Delete(Message, "s1")],
        [Delete(Thread, "small"), thread("small")],
        [Delete(VectorStore, "vs_small"), vector_store("vs_small")],
    ):
        await store.commit([thread("small"), *(message(f"s{number}", "small") for number in range(5))])
        await store.commit([run("sr", "small"), state("sr", "small"), step("ss", "sr", "small"), *shelf("vs_small")])
        index, bodies = at_once(index_and_bodies([[row_of(change) for change in changes]]))
        assert store._session is not None
        write = (store._session.epoch, store._session._written + 1, index, bodies, '[["thread", "small", null]]')
        connection = await store._session._ready()
        cursor = await connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {schema.WRITE}", write)
        found[str(changes)] = touched_in(await cursor.fetchall())
    bounds = {"start": 1, "end": 10**9, "limit": 3, "bytes": 10**6, "thread_id": "large"}
    for sql in (
        schema.PIECE_OF_HISTORY,
        schema.PIECE_UNFINISHED,
        *(schema.piece_of_kinds((kind,)) for kind in schema.FEW),
    ):
        found[sql] = await pages_touched(store, sql, bounds)
    found["all"] = await pages_touched(store, schema.piece_of_kinds(("message", "thread")), bounds)
    return found


@pytest.mark.unmeasured
@pytest.mark.parametrize("is_analyzed", [False, True])
async def test_the_cost_does_not_grow(url: str, tmp_path: Path, is_analyzed: bool):
    """Frequent operations read no more because there is more in the store, whatever the planner knows of it."""
    async with PostgresStore(url, folder=tmp_path, cache_size=0) as store:
        await store.commit([thread("large"), run("r", "large"), state("r", "large")])
        await store.commit([message(f"m{number}", "large", run_id=f"r{number // 2}") for number in range(100)])
        small = await costs(store)
        await store.commit([message(f"m{number}", "large", run_id="r999") for number in range(100, 2000)])
        for number in range(100):
            t = f"other{number}"
            await store.commit([thread(t), run(t, t), *(step(f"{t}{n}", t, t) for n in range(20)), message(t, t)])
        if is_analyzed:
            execute(url, "VACUUM ANALYZE openai_runs_objects")
        large = await costs(store)
    for what, touched in large.items():
        assert touched <= small[what] + 30, what  # of some hundred, if it did


# What is away, and what is damaged


async def test_a_database_that_is_away(postgres_server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """New work is refused and nothing is lost; cached objects can be read; afterwards it goes on by itself."""
    async with PostgresStore(postgres_server.store_url(), folder=tmp_path) as store:
        await store.commit([thread("t"), message("m", "t")])
        await anyio.to_thread.run_sync(postgres_server.kill)
        try:
            in_doubt = asyncio.create_task(store.commit([run("r", "t")]))
            while store._session is not None and store._session._connection is not None:  # it has not noticed yet
                await anyio.lowlevel.checkpoint()
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="Nothing was changed"):
                    await store.commit([run("s", "t")])
            assert await store.get(Thread, "t") == thread("t")
        finally:
            await anyio.to_thread.run_sync(postgres_server.start)
        await in_doubt
        assert await store.history("t") == [message("m", "t")]
        assert await store.get(Run, "s") is None
        await store.commit([run("s", "t")])
    assert caplog.text.count("takes no commits") == caplog.text.count("takes commits again") == 1


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_run_in_an_outage(lost: Any, postgres_server: Postgres, tmp_path: Path):
    """An engine that is left in it ends; the next one goes on with what is in the database, and answers once."""
    url, go_on = postgres_server.store_url(), anyio.Event()
    async with cutting(postgres_server) as cutter:
        store = PostgresStore(through(cutter, url), folder=tmp_path)
        async with world([[Wait(go_on), Say("Hello")]], store=store) as w:
            created = await w.start("Hi")
            cutter.cut, cutter.away_after = lost, True
            go_on.set()
            while not cutter.is_away:
                await anyio.lowlevel.checkpoint()
    async with world([Say("Hello")], store=PostgresStore(url, folder=tmp_path)) as w:
        while (ended := await w.get(created)).status is not RunStatus.COMPLETED:
            await anyio.lowlevel.checkpoint()
        assert [message.text for message in await w.messages(ended)] == ["Hi", "Hello"]


async def test_nobody_answers(store: PostgresStore, monkeypatch: pytest.MonkeyPatch):
    """A read that gets no connection says so, and is not repeated."""
    tries = []

    async def none(*_: object) -> Any:
        tries.append(1)
        raise psycopg_pool.PoolTimeout("couldn't get a connection")

    monkeypatch.setattr(store, "_read_once", none)
    with pytest.raises(StoreUnavailableError, match="the database cannot be reached"):
        await store.get(Thread, "t")
    assert len(tries) == 1


async def test_all_connections_are_lost(url: str, tmp_path: Path):
    """However many were idle."""
    async with PostgresStore(url, folder=tmp_path, cache_size=0) as store:
        await store.commit([thread("1")])
        for _ in range(2):
            await asyncio.gather(*(store.get(Thread, "1") for _ in range(20)))
            await anyio.to_thread.run_sync(kill_sessions, url)
            assert await asyncio.gather(*(store.get(Thread, "1") for _ in range(20))) == [thread("1")] * 20


async def test_an_object_that_is_damaged(url: str, tmp_path: Path):
    """Only reading that object fails, with an error that says so; everything else can be read."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([message("1", "t"), message("2", "t"), message("3", "other")])
    execute(url, "UPDATE openai_runs_objects SET body = '{' WHERE id = '2'")
    async with PostgresStore(url, folder=tmp_path) as store:
        for reading in store.get(Message, "2"), store.history("t"), store.page(Message, "t", PageQuery()):
            with pytest.raises(StoreDataError, match="damaged"):
                await reading
        assert await store.get(Message, "1") is not None
        assert len(await store.history("other")) == 1
        await store.commit([message("4", "t")])


async def test_run_states_that_are_damaged(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They do not hide the others: each is returned with its ID; one that is gone meanwhile is not."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([state(f"run_{number}", "t", owner=f"owner of {number}") for number in range(4)])
        execute(url, "UPDATE openai_runs_objects SET body = '[]' WHERE id IN ('run_1', 'run_3')")
        store._cache.clear()
        owner_and_id = store._owner_and_id

        async def deleting(place: int) -> Any:
            await store.commit([Delete(RunState, "run_3")])
            return await owner_and_id(place)

        monkeypatch.setattr(store, "_owner_and_id", deleting)
        found = await store.unfinished()
    assert [(each.owner, each.id) for each in found if isinstance(each, Unreadable)] == [("owner of 1", "run_1")]
    assert [each.value.id for each in found if isinstance(each, Record)] == ["run_0", "run_2"]


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreUnavailableError),  # the disk is full
        ("57P03", StoreUnavailableError),  # it is starting
        ("58030", StoreUnavailableError),  # the disk has an error
        ("25006", StoreUnavailableError),  # it is a standby
        (None, StoreUnavailableError),  # libpq: the connection is lost
        ("XX001", StoreDataError),  # a page is damaged
        ("54000", StoreDataError),  # too large
        (schema.KEY_USED, KeyUsedError),
        (schema.IS_STALE, ChangedElsewhereError),
        ("42P01", psycopg.OperationalError),  # a bug
    ],
)
def test_errors_of_the_database(state: str | None, kind: type[Exception]):
    """Those that may pass, those of objects, and bugs, which are raised as they are."""
    error = psycopg.OperationalError("connection to server at 10.0.0.1\n\tand more")
    error.sqlstate = state
    assert type(translated(error)) is kind
    # Clients hear what the database has said itself, and not where it is.
    assert ("10.0.0.1" in str(translated(error))) == (state not in (None, schema.KEY_USED, schema.IS_STALE))


async def test_a_bug_in_a_statement(store: PostgresStore, monkeypatch: pytest.MonkeyPatch):
    """It is raised as it is, by the commit or the read that it concerns only."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "WRITE", "SELECT nothing(%s, %s, %s, %s, %s)")
        with pytest.raises(psycopg.errors.UndefinedFunction):
            await store.commit([thread("t")])
        patch.setattr(schema, "READ", "SELECT nothing")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            await store.get(Thread, "t")
    await store.commit([thread("t")])


# The folder of earlier versions, and misuse


async def test_contents_in_a_folder(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """What an earlier version has kept there is moved into the database, once; what belongs to no file stays."""
    (tmp_path / "store-id").write_text("\n")
    folder = ContentFolder(tmp_path / "runs-files")
    for id in "file_1", "file_2", "file_3":
        async with folder.drafting() as draft:
            await draft.write(b"hello " + id.encode())
            await draft.keep(id)
    async with PostgresStore(url, folder=tmp_path / "none") as store:
        await store.commit([file("file_1"), file("file_2"), file("file_9")])
        async with store.contents.drafting() as draft:  # as if a start had ended in the middle of it
            await draft.write(b"hello file_2")
            await draft.keep("file_2")
    for _ in range(2):
        async with PostgresStore(url, folder=tmp_path) as store:
            for id in "file_1", "file_2":
                assert await whole(await store.contents.source(id)) == b"hello " + id.encode()
                with pytest.raises(LookupError):
                    await folder.source(id)
            for id in "file_3", "file_9":
                with pytest.raises(LookupError):
                    await store.contents.source(id)
            assert (await folder.source("file_3")).read_bytes() == b"hello file_3"
    assert caplog.text.count("the contents of 2 files were moved from the folder") == 1


async def test_a_folder_of_another_store(url: str, tmp_path: Path):
    """It is refused: the files of this database are elsewhere."""
    (tmp_path / "store-id").write_text("another\n")
    (tmp_path / "runs-files").mkdir()
    with pytest.raises(StoreFileError, match="has the files of another database; name another folder"):
        async with PostgresStore(url, folder=tmp_path):
            pass


async def test_a_closed_store(url: str, tmp_path: Path):
    """Using a store that is not open is an error, as is opening it twice."""
    store = PostgresStore(url, folder=tmp_path)
    assert repr(store).endswith(", closed>")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not open"):
            await store.commit([thread("t")])
        with pytest.raises(RuntimeError, match="not open"):
            await store.get(Thread, "t")
        async with store:
            assert repr(store).endswith(", open>")
            await store.commit([thread("t")])
            with pytest.raises(RuntimeError, match="enter a store once"):
                await store.__aenter__()
        await store.__aexit__(None, None, None)


@pytest.mark.parametrize("url", ["runs.db", "mysql://me:secret@host/db", "postgresql://me:sec%ret@host:port"])
def test_what_is_no_url(url: str):
    """It is refused without being shown, since a password may be in it."""
    with pytest.raises(ValueError, match="a PostgresStore needs a URL such as") as caught:
        PostgresStore(url)
    assert "sec" not in str(caught.value)


def test_names():
    """A database is named without its password."""
    store = PostgresStore("postgresql://me:secret@db.example/runs")
    assert repr(store) == "<PostgresStore 'runs at db.example', closed>"
    assert store.name == "runs at db.example"
    assert PostgresStore("postgres:///runs").name == "runs"


async def test_a_read_that_is_cancelled(store: PostgresStore, url: str, caplog: pytest.LogCaptureFixture):
    """A scope that is cancelled while the database works, as when a server stops, costs no connection."""
    here = "FROM pg_stat_activity WHERE datname = current_database()"
    readers = f"SELECT pid {here} AND application_name = 'openai-runs'"
    working = f"SELECT count(*) {here} AND query = 'SELECT pg_sleep(600)' AND state = 'active'"
    before = execute(url, readers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store._read, "SELECT pg_sleep(600)", {})
        while execute(url, working) != [(1,)]:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert await store.count_objects() == 0
    assert {*before} <= {*execute(url, readers)}  # more may have been opened meanwhile
    assert execute(url, working) == [(0,)]
    assert not [record for record in caplog.records if record.name.startswith("psycopg")]
