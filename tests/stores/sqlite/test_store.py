"""What `SQLiteStore` promises beyond `Store`: no commit is lost, and it recovers from disk errors."""

import itertools
import logging
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.thread import Thread
from openai_runs.stores import table_store
from openai_runs.stores.records import Change, Delete, PageQuery, Record, RunState, Unreadable
from openai_runs.stores.sqlite import SQLiteStore, schema
from openai_runs.stores.sqlite import store as sqlite_store
from openai_runs.stores.store import Store
from tests.samples import MODELS
from tests.serving import unmeasured
from tests.stores.faulty import damage, damage_page_of
from tests.stores.objects import message, run, state, step, thread
from tests.strategies import bodies

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(path) as store:
        yield store


async def pragma(store: SQLiteStore, text: str) -> Any:
    assert store._db is not None
    return list(await store._db.execute_fetchall(f"PRAGMA {text}"))


class Gate:
    """Stands between a store and its file: records, delays or fails writes."""

    def __init__(self, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = anyio.Event()
        self.is_open.set()
        self.error: Exception | None = None
        self.writes: list[int] = []  # how many changes each group has
        self.reads = 0
        execute = store._execute

        async def gated(sql: str, parameters: Any) -> Any:
            if sql == schema.WRITE:
                self.writes.append(len(_wire.decode(parameters["index"])))
                await self.is_open.wait()
            else:
                self.reads += 1
            if self.error is not None:
                raise self.error
            return await execute(sql, parameters)

        monkeypatch.setattr(store, "_execute", gated)


async def commit_all(store: Store, commits: Sequence[Sequence[Change]]) -> list[Exception | None]:
    """Commit all at the same time. Returns each commit's result."""
    outcomes: list[Exception | None] = [None] * len(commits)

    async def commit(number: int) -> None:
        try:
            await store.commit(commits[number])
        except Exception as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(len(commits)):
            tasks.start_soon(commit, number)
    return outcomes


# Objects as they were


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", ["AssistantObject", "ThreadObject", "MessageObject", "RunObject", "RunStepObject"])
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=settings().max_examples // 2)  # two stores each
@given(data=st.data())
def test_objects_come_back_as_they_were(name: str, data: st.DataObject):
    """Every object that the API's schema allows survives a restart, with unknown and absent fields."""
    found = data.draw(st.lists(bodies(name), max_size=5))
    models = [_wire.load({**body, "id": str(number)}, MODELS[name]) for number, body in enumerate(found)]

    async def there_and_back(path: Path) -> None:
        async with SQLiteStore(path) as store:
            for model in models:
                await store.commit([Record("ann ☂", without_nul(model))])
        async with SQLiteStore(path) as store:
            records = [await store.get(MODELS[name], model.id) for model in models]
            assert [_wire.dump(r.value) for r in records if r] == [_wire.dump(without_nul(model)) for model in models]
            assert [record async for record in store.everything(MODELS[name])] == records

    with tempfile.TemporaryDirectory() as folder:
        anyio.run(there_and_back, Path(folder) / "runs.db")


def without_nul(model: Any) -> Any:
    """IDs with a NUL character are refused."""
    changes = {
        name: getattr(model, name).replace("\0", "0")
        for name in ("thread_id", "run_id")
        if getattr(model, name, None) is not None
    }
    return _wire.load({**_wire.dump(model), **changes}, type(model))


async def test_run_states_come_back(path: Path):
    """The state of an unfinished run survives a restart."""
    record = state("run_1", "thread_1", "ann", temperature=0.5, steps=("step_1", "step_2"))
    async with SQLiteStore(path) as store:
        await store.commit([record])
    async with SQLiteStore(path) as store:
        assert await store.unfinished() == [record]
        assert await store.get(RunState, "run_1") == record


async def test_order_survives_a_restart(path: Path):
    """New objects come after old ones, cursors of deleted ones included."""
    async with SQLiteStore(path) as store:
        await store.commit([message("1", "t"), message("2", "t"), message("3", "t")])
        await store.commit([Delete(Message, "2"), Delete(Message, "3")])
    async with SQLiteStore(path) as store:
        await store.commit([message("4", "t")])
        query = PageQuery(after="3", order="asc")
        assert await store.page(Message, "t", query) == ([message("4", "t")], False)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_ids_that_are_not_text(store: SQLiteStore, text: str):
    """Text that the file cannot keep unchanged is refused, in an ID or elsewhere in a record."""
    for record in run(text, "t"), run("r", text), run("r", "t", text), message("m", "t", run_id=text):
        with pytest.raises(ValueError, match=r"NUL character|surrogates not allowed"):
            await store.commit([thread("t"), record])
    assert await store.get(Thread, "t") is None


async def test_half_a_surrogate_pair_in_a_text(path: Path):
    """JSON can contain it, so a message may."""
    async with SQLiteStore(path) as store:
        await store.commit([message("m", "t", text="\ud83d")])
    async with SQLiteStore(path) as store:
        found = await store.get(Message, "m")
        assert found is not None
        assert found.value.text == "\ud83d"
        assert await store.history("t") == [found]


# Commits in groups


async def test_commits_are_written_in_groups(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """Commits that come while a group is written form the next group."""
    gate = Gate(store, monkeypatch)
    assert await commit_all(store, [[run(str(number), "t")] for number in range(100)]) == [None] * 100
    assert gate.writes == [100]
    gate.is_open = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.commit, [thread("first")])
        await anyio.wait_all_tasks_blocked()
        for number in range(50):
            tasks.start_soon(store.commit, [thread(str(number)), message(str(number), str(number))])
        await anyio.wait_all_tasks_blocked()
        gate.is_open.set()
    assert gate.writes == [100, 1, 100]
    assert len([record async for record in store.everything(Thread)]) == 51


async def test_a_bad_commit_does_not_fail_its_group(store: SQLiteStore):
    """A commit that cannot be written does not fail the others of its group."""
    commits = [[thread(str(number)), run("\0" if number == 7 else str(number), "t")] for number in range(20)]
    outcomes = await commit_all(store, commits)
    assert [type(outcome) for outcome in outcomes] == [
        ValueError if number == 7 else type(None) for number in range(20)
    ]
    assert {record.value.id async for record in store.everything(Thread)} == {str(n) for n in range(20) if n != 7}


async def test_nothing_is_seen_before_it_is_written(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """No way of reading shows a change that a crash could undo."""
    await store.commit([thread("t"), run("r", "t"), state("r", "t"), message("m", "t")])
    gate = Gate(store, monkeypatch)
    gate.is_open = anyio.Event()
    async with anyio.create_task_group() as tasks:
        ended = run("r", "t", status=RunStatus.COMPLETED)
        tasks.start_soon(store.commit, [ended, Delete(RunState, "r"), Delete(Message, "m"), message("n", "t")])
        await anyio.wait_all_tasks_blocked()
        assert await store.get(Run, "r") == run("r", "t")
        assert await store.get(Message, "n") is None
        assert await store.get(Message, "m") == message("m", "t")
        assert await store.unfinished() == [state("r", "t")]
        assert await store.history("t") == [message("m", "t")]
        gate.is_open.set()
    assert await store.get(Run, "r") == ended
    assert await store.unfinished() == []
    assert await store.history("t") == [message("n", "t")]


async def test_cancelled_while_committing(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """The commit is written nevertheless, and the others of its group finish."""
    gate = Gate(store, monkeypatch)
    gate.is_open = anyio.Event()
    async with anyio.create_task_group() as others:
        others.start_soon(store.commit, [thread("1")])
        async with anyio.create_task_group() as tasks:
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(store.commit, [thread("2")])
            others.start_soon(store.commit, [thread("3")])
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        gate.is_open.set()
    assert gate.writes == [1, 2]
    assert [record.value.id async for record in store.everything(Thread)] == ["1", "2", "3"]


async def test_closing_writes_pending_commits(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Even if the user of the store is cancelled, pending commits are written, and the file is closed."""
    async with anyio.create_task_group() as tasks, SQLiteStore(path) as store:
        gate = Gate(store, monkeypatch)
        gate.is_open = anyio.Event()
        tasks.start_soon(store.commit, [thread("1")])
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
        gate.is_open.set()
    assert [file.name for file in path.parent.iterdir()] == ["runs.db"]
    async with SQLiteStore(path) as store:
        assert await store.get(Thread, "1") is not None


# Reading


async def test_recently_used_objects_are_read_from_memory(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Polling a run reads the file at most once: not after it was written, nor from the second poll on."""
    async with SQLiteStore(path) as store:
        gate = Gate(store, monkeypatch)
        await store.commit([run("r", "t")])
        assert await store.get(Run, "r") == run("r", "t")
        assert gate.reads == 0
    async with SQLiteStore(path) as store:
        gate = Gate(store, monkeypatch)
        for _ in range(3):
            assert await store.get(Run, "r") == run("r", "t")
        assert gate.reads == 1
        for record in [message(str(number), "t") for number in range(500)]:
            await store.commit([record])
        assert len(await store.history("t")) == 500
        assert gate.reads == 4  # a few hundred at a time, so that other tasks can run


async def test_recently_used_objects_are_not_made_again(path: Path):
    """What a list or a history has is in memory, too; without the cache it is read, and is equal."""
    async with SQLiteStore(path) as store:
        await store.commit([thread("t"), message("1", "t"), message("2", "t")])
        kept = await store.get(Message, "1")
        [newest, oldest], _ = await store.page(Message, "t", PageQuery())
        history = await store.history("t")
        assert (oldest, newest) == (history[0], history[1])
        assert oldest is history[0] is kept
    async with SQLiteStore(path) as store:
        assert await store.history("t") == history


async def test_the_text_of_an_object(path: Path):
    """It is what is in the file, of the object as it is now."""
    async with SQLiteStore(path) as store:
        before, after = run("r", "t"), run("r", "t", model="other")
        await store.commit([before])
        assert store.text_of(before.value) == _wire.encode(before.value)
        await store.commit([after])
        assert store.text_of(before.value) is None
        assert store.text_of(after.value) == _wire.encode(after.value)
    async with SQLiteStore(path) as store:
        found = await store.get(Run, "r")
        assert found is not None
        assert store.text_of(found.value) == _wire.encode(after.value)


async def test_a_large_commit(path: Path):
    """However many objects a commit has, all are written; what is deleted has no text."""
    ids = [str(number) for number in range(450)]
    async with SQLiteStore(path) as store:
        await store.commit([message(id, "t") for id in ids])
        await store.commit([*(Delete(Message, id) for id in ids[:200]), message("last", "t")])
    async with SQLiteStore(path) as store:
        found = [record.value.id async for record in store.everything(Message)]
        assert found == [*ids[200:], "last"]


async def test_messages_are_counted_once(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """Adding to a thread does not read the file again until there may be too many; few threads are kept in memory."""
    monkeypatch.setattr(table_store, "_MAX_COUNTED_THREADS", 2)
    await store.commit([message("0", "t")])
    gate = Gate(store, monkeypatch)
    for number in range(1, 10):
        assert await store.count_messages("t", 10) == number
        await store.commit([message(str(number), "t")])
    assert gate.reads == 1
    assert await store.count_messages("t", 10) == 10
    assert gate.reads == 2
    for thread_id in "abtab":
        await store.count_messages(thread_id, 100)
    assert gate.reads == 2 + 5


SIZES = {"1": 700, "2": 700, "3": 10, "4": 5000, "5": 10, "6": 1200, "7": 1800, "8": 5000}


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
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch, order: Any, cursor: str, pages: Any
):
    """Objects beyond the maximum size are on the next page, in either direction; but a page has at least one object."""
    monkeypatch.setattr(sqlite_store, "PAGE_BYTES", 2500)
    await store.commit([message("first", "t")])
    await store.commit([message(id, "t", text="x" * size) for id, size in SIZES.items()])
    await store.commit([message("last", "t"), Delete(Message, "first"), Delete(Message, "last")])
    at, found, more = ("first" if (order == "asc") == (cursor == "after") else "last"), [], True
    while more:
        records, more = await store.page(Message, "t", PageQuery(limit=3, order=order, **{cursor: at}))
        found.append("".join(record.value.id for record in records))
        at = found[-1][-1 if cursor == "after" else 0]
    assert found == pages


async def test_large_objects_are_read_one_by_one(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """One read is small, whether there are many objects or large ones."""
    monkeypatch.setattr(sqlite_store, "_CHUNK_BYTES", 1000)
    await store.commit([message(str(number), "t", text="x" * 1000 * (number % 2)) for number in range(6)])
    gate = Gate(store, monkeypatch)
    assert [record.value.id for record in await store.history("t")] == list("012345")
    assert gate.reads == 4
    assert [record.value.id async for record in store.everything(Message)] == list("012345")


class Cost:
    """Counts the steps of SQLite's virtual machine."""

    def __init__(self, store: SQLiteStore) -> None:
        self.steps = 0
        self._store = store

    def _count(self) -> int:
        self.steps += 1
        return 0

    async def __aenter__(self) -> Self:
        assert self._store._db is not None
        await self._store._db.set_progress_handler(self._count, 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._store._db is not None
        await self._store._db.set_progress_handler(None, 0)  # type: ignore[arg-type]  # None removes it


async def costs(store: SQLiteStore) -> dict[str, int]:
    """The cost of operations on a small thread, and at the ends and in the middle of a large one."""
    found: dict[str, int] = {}
    last = (await store.page(Message, "large", PageQuery(limit=1)))[0][0].value.id
    for limit in 1, 5:
        for cursors in {}, {"after": last}, {"before": "m50"}, {"after": "m50", "before": "m30"}, {"after": "m5"}:
            for order in "asc", "desc":
                async with Cost(store) as cost:
                    await store.page(Message, "large", PageQuery(limit=limit, order=order, **cursors))
                found[f"page {limit} {cursors.keys()} {order}"] = cost.steps
    async with Cost(store) as cost:
        await store.page(Message, "large", PageQuery(limit=3), part="r40")
    found["messages of a run"] = cost.steps
    async with Cost(store) as cost:
        await store.history("large", last_messages=5)
    found["history"] = cost.steps
    async with Cost(store) as cost:
        assert len(await store.unfinished()) == 1
    found["unfinished"] = cost.steps
    await store.commit([thread("small"), *(message(f"s{number}", "small") for number in range(5))])
    await store.commit([run("sr", "small"), state("sr", "small"), step("ss", "sr", "small")])
    async with Cost(store) as cost:
        await store.commit([message("s0", "small", text="new"), message("s5", "small"), Delete(Message, "s1")])
    found["commit"] = cost.steps
    async with Cost(store) as cost:
        await store.commit([Delete(Thread, "small")])
    found["delete thread"] = cost.steps
    return found


async def test_the_cost_does_not_grow(path: Path):
    """Frequent operations do not take longer because there is more in the store, or in the list."""
    async with SQLiteStore(path, cache_size=0) as store:
        await store.commit([thread("large"), run("r", "large"), state("r", "large")])
        await store.commit([message(f"m{number}", "large", run_id=f"r{number // 2}") for number in range(100)])
        small = await costs(store)
        await store.commit([message(f"m{number}", "large", run_id="r999") for number in range(100, 2000)])
        for number in range(100):
            t = f"other{number}"
            await store.commit([thread(t), run(t, t), *(step(f"{t}{n}", t, t) for n in range(20)), message(t, t)])
        large = await costs(store)
    for what, steps in large.items():
        assert steps <= small[what] + 20, what


# Disk errors and damage


async def is_as_before(store: SQLiteStore) -> None:
    """Nothing was stored, and the existing objects can be read."""
    assert await store.get(Thread, "t") == thread("t")
    assert await store.get(Run, "r") is None
    assert await store.history("t") == [message("m", "t")]
    assert await store.page(Message, "t", PageQuery()) == ([message("m", "t")], False)


async def refuses_and_recovers(store: SQLiteStore, trouble: Any, text: str) -> None:
    """During a disk error commits are refused, and reading works; afterwards commits work again."""
    await store.commit([thread("t"), message("m", "t")])
    large = [message(str(number), "t", text="x" * 4000) for number in range(500)]
    with trouble:
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match=text) as caught:
                await store.commit([run("r", "t"), *large])
            assert "Nothing was changed" in caught.value.message
            await is_as_before(store)
    await store.commit([run("r", "t"), *large])
    assert await store.get(Run, "r") == run("r", "t")
    assert len(await store.history("t")) == 501


class FileSizeLimit:
    """No file may grow beyond a size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __enter__(self) -> None:
        import resource

        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_: object) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on processes")
async def test_the_file_cannot_grow(path: Path, caplog: pytest.LogCaptureFixture):
    """While the system refuses to write, commits are refused; afterwards they work. Each is logged once."""
    with caplog.at_level(logging.WARNING, "openai_runs.stores"):
        async with SQLiteStore(path, cache_size=0) as store:
            await refuses_and_recovers(store, FileSizeLimit(2**20), "not available: disk I/O error")
    assert [record.getMessage().partition("> ")[2] for record in caplog.records] == [
        "takes no commits: disk I/O error",
        "takes commits again",
    ]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


class Filler:
    """A file that fills the disk."""

    def __init__(self, disk: Path) -> None:
        self.path = disk / "filler"

    def __enter__(self) -> None:
        with suppress(OSError), self.path.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def __exit__(self, *_: object) -> None:
        self.path.unlink()


async def test_a_full_disk(small_disk: Path):
    """On a full disk commits are refused; with free space they work again, also after a restart in between."""
    async with SQLiteStore(small_disk / "runs.db", cache_size=0) as store:
        await refuses_and_recovers(store, Filler(small_disk), "not available: database or disk is full")
    async with SQLiteStore(small_disk / "more.db", cache_size=0) as store:
        await store.commit([thread("t"), message("m", "t")])
    with Filler(small_disk):
        async with SQLiteStore(small_disk / "more.db", cache_size=0) as store:
            await is_as_before(store)
            with pytest.raises(StoreUnavailableError):
                await store.commit([run("r", "t", instructions="x" * 100_000)])
            await is_as_before(store)


async def test_small_commits_on_a_nearly_full_disk(path: Path):
    """A large commit that does not fit does not fail the small ones of its group."""
    async with SQLiteStore(path) as store:
        [(pages,)] = await pragma(store, "page_count")
        await pragma(store, f"max_page_count = {pages + 10}")
        commits = [[thread(str(number))] for number in range(5)]
        commits.insert(2, [thread("5"), message("m", "5", text="x" * 10**6)])
        outcomes = await commit_all(store, commits)
        assert [type(outcome) for outcome in outcomes].count(type(None)) == 5
        assert isinstance(outcomes[2], StoreUnavailableError)
        assert {record.value.id async for record in store.everything(Thread)} == set("01234")
        await pragma(store, "max_page_count = 1000000")
        await store.commit(commits[2])


async def test_a_full_disk_is_not_tried_for_each_commit(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """A thousand runs that wait for free space do not keep the processor busy."""
    gate = Gate(store, monkeypatch)
    gate.error = StoreUnavailableError("full")
    outcomes = await commit_all(store, [[thread(str(number))] for number in range(1000)])
    assert {str(outcome) for outcome in outcomes} == {"full"}
    assert gate.writes == [1000, 1, 1, 1]
    gate.error = None
    assert await commit_all(store, [[thread(str(number))] for number in range(1000)]) == [None] * 1000


async def test_a_read_only_file(path: Path):
    """A file that has become read-only refuses commits, and can still be read."""
    async with SQLiteStore(path, cache_size=0) as store:
        await store.commit([thread("t"), message("m", "t")])
        for _ in range(2):
            await pragma(store, "query_only = ON")
            with pytest.raises(StoreUnavailableError, match="attempt to write a readonly database"):
                await store.commit([run("r", "t")])
            await is_as_before(store)
            await pragma(store, "query_only = OFF")
        await store.commit([run("r", "t")])


async def test_a_file_damaged_while_it_is_open(path: Path):
    """An object that cannot be read is not reported as missing."""
    async with SQLiteStore(path) as store:
        await store.commit([message(str(number), "t", text="x" * 1000) for number in range(100)])
    async with SQLiteStore(path) as store:
        with path.open("r+b") as file:
            file.truncate(5 * 4096)
        with pytest.raises(StoreDataError, match="malformed"):
            await store.history("t")


async def test_an_object_that_is_damaged(path: Path):
    """Only reading that object fails, with an error that says so; everything else can be read."""
    async with SQLiteStore(path) as store:
        await store.commit([message("1", "t"), message("2", "t"), message("3", "other")])
    damage(path, "2")
    async with SQLiteStore(path) as store:
        for reading in store.get(Message, "2"), store.history("t"), store.page(Message, "t", PageQuery()):
            with pytest.raises(StoreDataError, match="damaged"):
                await reading
        assert await store.get(Message, "1") is not None
        assert len(await store.history("other")) == 1
        await store.commit([message("4", "t")])


LONG = " ".join(map(str, range(10_000)))


async def test_a_page_that_is_damaged(path: Path):
    """Reading it is a `StoreDataError`, since trying again does not help."""
    async with SQLiteStore(path) as store:
        await store.commit([thread("t"), message("1", "t", text=LONG), message("2", "other", text="y")])
    damage_page_of(path, "1", "message")
    async with SQLiteStore(path) as store:
        with pytest.raises(StoreDataError, match="malformed"):
            await store.get(Message, "1")
        assert await store.get(Message, "2") is not None


async def test_a_history_that_is_too_large(store: SQLiteStore):
    """SQLite has a limit for the size of a result, and for the size of a parameter."""
    await store.commit([message(str(number), "t", text="x" * 5000) for number in range(10)])
    await store.commit([message("a", "other")])
    assert store._db is not None
    await store._db._execute(store._db._conn.setlimit, sqlite3.SQLITE_LIMIT_LENGTH, 20_000)
    with pytest.raises(StoreDataError, match="too big"):
        await store.history("t")
    with pytest.raises(StoreDataError, match="too big"):
        await store.commit([message("b", "other", text="x" * 30_000)])
    await store.commit([message("c", "other")])
    assert [record.value.id for record in await store.history("other")] == ["a", "c"]


@pytest.mark.parametrize("whole", [True, False])
async def test_run_states_that_are_damaged(path: Path, whole: bool, caplog: pytest.LogCaptureFixture):
    """They do not hide the others: each is returned with its ID; one whose ID cannot be read is logged."""
    names = [f"run_{number}" for number in range(5)]
    async with SQLiteStore(path) as store:
        for name in names:
            await store.commit(
                [state(name, "t", owner=f"owner of {name}", reasoning_effort=name + LONG.replace(" ", name))]
            )
    damage(path, "run_1", body="[]")
    damage_page_of(path, "run_3", "run_state")
    async with SQLiteStore(path) as store:
        if not whole:
            execute = store._execute

            async def unreadable(sql: str, parameters: Any) -> Any:
                if sql == schema.OWNER_AND_ID:
                    raise StoreDataError("malformed")
                return await execute(sql, parameters)

            store._execute = unreadable  # type: ignore[method-assign]  # a store that fails
        found = await store.unfinished()
    ids = [each.id if isinstance(each, Unreadable) else each.value.id for each in found]
    if whole:
        assert ids == names
        assert [each.owner for each in found if isinstance(each, Unreadable)] == ["owner of run_1", "owner of run_3"]
    else:
        assert ids == ["run_0", "run_2", "run_4"]
        assert caplog.text.count("a run state whose run ID cannot be read") == 2


async def test_bugs_are_not_disk_errors(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch):
    """An error that is a bug is raised as it is, by the commit that it concerns only."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "WRITE", "INSERT INTO nowhere SELECT :index, :bodies")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await store.commit([thread("t")])
    gate = Gate(store, monkeypatch)
    gate.error = MemoryError()
    with pytest.raises(MemoryError):
        await store.commit([thread("t")])
    gate.error = None
    await store.commit([thread("t")])


# Misuse


async def test_a_closed_store(path: Path):
    """Using a store that is not open is an error."""
    store = SQLiteStore(path)
    assert repr(store) == f"<SQLiteStore {str(path)!r}, closed>"
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not open"):
            await store.commit([thread("t")])
        with pytest.raises(RuntimeError, match="not open"):
            await store.get(Thread, "t")
        async with store:
            assert repr(store) == f"<SQLiteStore {str(path)!r}, open>"
            await store.commit([thread("t")])
            with pytest.raises(RuntimeError, match="enter a store once"):
                await store.__aenter__()
        await store.__aexit__(None, None, None)


async def test_errors_are_not_wrapped(path: Path):
    """An error raised in the ``async with`` body is not wrapped."""

    async def fail() -> None:
        async with SQLiteStore(path) as store:
            await store.commit([thread("t")])
            raise LookupError

    with pytest.raises(LookupError):
        await fail()


# Killed


def commit_until_killed(lines: int, *store: str) -> list[str]:
    """Have a process commit to a store, and kill it when it has reported so many commits."""
    program = [sys.executable, "-m", "tests.stores.committer", *store]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=unmeasured()) as process:
        assert process.stdout is not None
        reported = list(itertools.islice(process.stdout, lines))
        process.kill()
        reported += process.stdout  # all that it had reported when it was killed
    return [line.strip() for line in reported if line.endswith("\n")]


async def test_what_was_committed_survives_a_kill(path: Path):
    """Killed at any moment: every reported commit is there, and of the others all changes or none."""
    dice = random.Random(7)
    reported: set[str] = set()
    for _ in range(5):
        reported.update(await anyio.to_thread.run_sync(commit_until_killed, dice.randrange(1, 400), str(path)))
        async with SQLiteStore(path) as store:
            await check_lines(store, reported)


async def check_lines(store: Store, reported: set[str]) -> None:
    threads = {record.value.id async for record in store.everything(Thread)}
    runs = {record.value.id: record.value async for record in store.everything(Run)}
    unfinished = {record.value.id for record in await store.unfinished()}
    messages = {record.value.id async for record in store.everything(Message)}
    ended = {id for id, run in runs.items() if run.status is RunStatus.COMPLETED}
    assert threads == runs.keys()
    assert unfinished == threads - ended
    assert messages == threads | {f"{id} answer" for id in ended}
    assert {line.removeprefix("begun ") for line in reported if line.startswith("begun ")} <= threads
    assert {line.removeprefix("ended ") for line in reported if line.startswith("ended ")} <= ended
    assert reported
