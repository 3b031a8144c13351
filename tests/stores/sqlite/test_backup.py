"""The online backup of an SQLite file: it is the store as it is at the end, and nobody has to wait for it."""

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from threading import Event

import anyio
import pytest

from openai_runs.errors import StoreFileError
from openai_runs.models.message import Message
from openai_runs.models.thread import Thread
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.sqlite import backup as sqlite_backup
from openai_runs.stores.sqlite import store as sqlite
from openai_runs.stores.sqlite.backup import OnlineBackup
from tests.stores.objects import message, thread, used_key

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch):
    """A store of a few hundred pages, backed up one by one."""
    monkeypatch.setattr(sqlite, "PAGES", 1)
    async with SQLiteStore(tmp_path / "runs.db", cache_size=0) as store:
        await store.commit([thread("t"), *(message(f"m{n}", "t", text="x" * 2000) for n in range(300))])
        yield store


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Holds a backup whose ``note`` waits for it in its first step, until it is set, or the backup is stopped."""
    event, stop = Event(), OnlineBackup.stop

    def stop_and_release(backup: OnlineBackup) -> None:
        stop(backup)
        event.set()

    monkeypatch.setattr(OnlineBackup, "stop", stop_and_release)
    return event


async def begun(store: SQLiteStore) -> None:
    while store._backup is None:
        await anyio.lowlevel.checkpoint()


async def test_a_copy(store: SQLiteStore, tmp_path: Path):
    """It is told how far it is; the copy is a store like any other, without damage, for its user only."""
    told: list[tuple[int, int]] = []
    await store.back_up(tmp_path / "copy.db", lambda *numbers: told.append(numbers))
    assert told[-1][0] == told[-1][1] == len(told) > 100
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    async with SQLiteStore(tmp_path / "copy.db") as copy:
        assert await copy.check() == []
        assert await copy.count_objects() == await store.count_objects() == 301


async def test_use_meanwhile(store: SQLiteStore, tmp_path: Path, held: Event):
    """Reads and commits are executed between the steps, and what is committed then is in the copy."""
    backup = asyncio.create_task(store.back_up(tmp_path / "copy.db", lambda *_: held.wait(20)))
    await begun(store)
    asyncio.get_running_loop().call_soon(held.set)
    number, during = 0, 0
    while store._backup is not None:
        await store.commit([thread(f"during {number}"), message(f"m{number % 300}", "t", text="changed")])
        number += 1
        assert await store.get(Thread, "during 0") is not None
        if store._backup is not None:
            during = number
    await backup
    async with SQLiteStore(tmp_path / "copy.db") as copy:
        assert await copy.check() == []
        found = [record.value.id async for record in copy.everything(Thread)]
        assert 1 <= max(during, 1) <= len(found) - 1 <= number
        changed = [r for r in [r async for r in copy.everything(Message)] if r.value.content[0].text.value == "changed"]
        assert len(changed) == len(found) - 1


async def test_errors_reach_who_has_asked(store: SQLiteStore, tmp_path: Path, held: Event):
    """A key that was used is refused as ever, also between two steps, and no other commit is."""
    await store.commit([used_key("k")])
    backup = asyncio.create_task(store.back_up(tmp_path / "copy.db", lambda *_: held.wait(20)))
    await begun(store)
    asyncio.get_running_loop().call_soon(held.set)
    outcomes = await asyncio.gather(
        store.commit([used_key("k")]), store.commit([thread("u")]), store.get(Thread, "t"), return_exceptions=True
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["KeyUsedError", "NoneType", "Record"]
    await backup


async def test_it_ends_with_its_caller(store: SQLiteStore, tmp_path: Path, held: Event):
    """A backup that is cancelled leaves no copy, and the store goes on."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.back_up, tmp_path / "copy.db", lambda *_: held.wait(20))
        await begun(store)
        tasks.cancel_scope.cancel()
    assert not (tmp_path / "copy.db").exists()
    await store.commit([thread("u")])
    assert await store.get(Thread, "u") is not None
    await store.back_up(tmp_path / "copy.db")


async def test_it_ends_with_the_store(tmp_path: Path, held: Event, monkeypatch: pytest.MonkeyPatch):
    """A store that is closed does not wait for a backup: that is given up, with a reason."""
    monkeypatch.setattr(sqlite, "PAGES", 1)
    async with SQLiteStore(tmp_path / "other.db") as other:
        await other.commit([message(f"m{n}", "t", text="x" * 2000) for n in range(300)])
        backup = asyncio.create_task(other.back_up(tmp_path / "copy.db", lambda *_: held.wait(20)))
        await begun(other)
    with pytest.raises(StoreFileError, match=r"cannot back up to .*: the store is being closed"):
        await backup
    assert not (tmp_path / "copy.db").exists()


async def test_refusals(store: SQLiteStore, tmp_path: Path, held: Event):
    """A file that is there, a folder that is not, a second backup at the same time; none harms what is there."""
    (tmp_path / "there").write_text("mine")
    with pytest.raises(StoreFileError, match=r"cannot back up to .*there: File exists"):
        await store.back_up(tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(StoreFileError, match="No such file"):
        await store.back_up(tmp_path / "none" / "copy.db")
    backup = asyncio.create_task(store.back_up(tmp_path / "first.db", lambda *_: held.wait(20)))
    await begun(store)
    with pytest.raises(StoreFileError, match="another backup"):
        await store.back_up(tmp_path / "second.db")
    held.set()
    await backup
    assert not (tmp_path / "second.db").exists()
    closed = SQLiteStore(tmp_path / "runs.db")
    with pytest.raises(RuntimeError, match="is not open"):
        await closed.back_up(tmp_path / "second.db")


async def test_a_full_disk(store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The error says where; there is no half copy, and the store goes on."""

    def small(path: Path) -> sqlite3.Connection:
        copy = sqlite_backup.new_copy(path)
        copy.execute("PRAGMA max_page_count = 20")
        return copy

    monkeypatch.setattr(sqlite, "new_copy", small)
    with pytest.raises(StoreFileError, match=r"cannot back up to .*copy.db: .*full"):
        await store.back_up(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
    await store.commit([thread("u")])


async def test_what_comes_after_the_last_step(store: SQLiteStore):
    """It is executed nevertheless, and an error reaches who has asked."""
    good, bad = sqlite_backup.Statement("SELECT 1", ()), sqlite_backup.Statement("SELECT no_such_column", ())
    for statement in good, bad:
        await store._execute_left(store._opened(), statement)
    assert await good.done == [(1,)]
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        await bad.done


async def test_who_gave_up_waiting(store: SQLiteStore, tmp_path: Path, held: Event):
    """A statement whose task was cancelled is executed, and nobody is told."""
    backup = asyncio.create_task(store.back_up(tmp_path / "copy.db", lambda *_: held.wait(20)))
    await begun(store)
    asyncio.get_running_loop().call_soon(held.set)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store._execute("SELECT 1", ())
    await backup
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT count(*) FROM objects").fetchall() == [(301,)]
