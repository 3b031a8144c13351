# ruff: noqa: ASYNC240  # a test may wait for its disk
"""`schema`: which files are opened as stores, and how they are left."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import pytest

from openai_runs.errors import StoreFileError
from openai_runs.models.message import Message
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Delete
from openai_runs.stores.sqlite import SQLiteStore, schema
from tests.stores.objects import message, thread

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


async def refusal(path: Path) -> str:
    """The error for a file that is refused; the file is not changed."""
    before = path.read_bytes()
    with pytest.raises(StoreFileError) as caught:
        await SQLiteStore(path).__aenter__()
    assert path.read_bytes() == before
    message = str(caught.value)
    assert message.startswith(f"cannot open the store {path}: ")
    return message.removeprefix(f"cannot open the store {path}: ")


# The file


async def test_the_file_is_private(path: Path):
    """No other user can read the file or its journal, whatever the umask."""
    before = os.umask(0)
    try:
        async with SQLiteStore(path) as store:
            await store.commit([thread("thread_1")])
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == ["runs.db", "runs.db-wal"]
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


async def test_a_closed_store_is_one_file(path: Path):
    """It can be copied, and has all commits."""
    async with SQLiteStore(path) as store:
        await store.commit([thread("thread_1")])
    assert [file.name for file in path.parent.iterdir()] == ["runs.db"]
    async with SQLiteStore(path.rename(path.with_name("copy.db"))) as store:
        assert await store.get(Thread, "thread_1") == thread("thread_1")


async def test_a_file_that_is_there_keeps_its_mode(path: Path):
    """An existing empty file is used, and its access rights are kept."""
    path.touch()
    path.chmod(0o640)
    async with SQLiteStore(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_commits_survive_a_power_cut(path: Path):
    """Each commit is synchronised with the disk: in WAL mode, only ``synchronous = FULL`` does so at every commit."""
    path.touch()
    db, _ = await schema.prepare(path)
    try:
        settings = {
            name: [value async for (value,) in await db.execute(f"PRAGMA {name}")]
            for name in ("journal_mode", "synchronous", "secure_delete")
        }
    finally:
        await db.close()
    assert settings == {"journal_mode": ["wal"], "synchronous": [2], "secure_delete": [1]}


async def test_what_is_deleted_is_overwritten(path: Path):
    """The text of a deleted message is not in the file any more; that of the others is."""
    kept, deleted = "kept for later " * 40, "a secret to forget " * 40
    async with SQLiteStore(path) as store:
        await store.commit([thread("thread_1")])
        await store.commit([message("msg_1", "thread_1", text=kept), message("msg_2", "thread_1", text=deleted)])
    assert b"a secret to forget" in path.read_bytes()
    async with SQLiteStore(path) as store:
        await store.commit([Delete(Message, "msg_2")])
    left = path.read_bytes()
    assert b"kept for later" in left
    assert b"secret" not in left
    assert b"to forget" not in left


async def test_the_journal_does_not_grow_for_ever(path: Path):
    """Journal pages that were copied into the file are reused."""
    largest = 0
    async with SQLiteStore(path) as store:
        for number in range(400):
            await store.commit([message("msg_1", "thread_1", text=str(number) * 40_000)])
            largest = max(largest, path.with_name("runs.db-wal").stat().st_size)
    assert 10 * 2**20 < largest < 20 * 2**20
    assert path.stat().st_size < 2**20


async def test_killed_while_creating_the_file(path: Path):
    """A file without tables, as a kill at the start leaves it, becomes a store."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    async with SQLiteStore(path) as store:
        await store.commit([thread("thread_1")])


async def test_migrations(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file of an earlier version is migrated, once."""
    async with SQLiteStore(path) as store:
        await store.commit([thread("thread_1")])
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (id);", "DROP TABLE more;"))
    for _ in range(2):
        async with SQLiteStore(path) as store:
            assert await store.get(Thread, "thread_1") is not None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)


async def test_a_failed_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    """A migration is applied completely or not at all."""
    async with SQLiteStore(path) as store:
        await store.commit([thread("thread_1")])
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (id); nonsense;"))
        assert await refusal(path) == 'near "nonsense": syntax error'
    async with SQLiteStore(path) as store:
        assert await store.get(Thread, "thread_1") is not None


# Files that are refused


async def test_another_programs_file(path: Path):
    """An SQLite file of another program is not changed."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url)")
    assert await refusal(path) == "it is an SQLite file, but another program's"


@pytest.mark.parametrize("pragma", ["application_id", "user_version"])
async def test_another_programs_empty_file(path: Path, pragma: str):
    """A file of another program is recognised by its header too."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA {pragma} = 7")
    assert await refusal(path) == "it is an SQLite file, but another program's"


async def test_a_later_versions_file(path: Path):
    """A file that a later version has written is not changed."""
    async with SQLiteStore(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    assert await refusal(path) == (
        "a later version of openai_runs has written it (schema 99; this one knows 3): update openai_runs"
    )


async def test_not_a_database(path: Path):
    """A file that is no SQLite file is refused."""
    path.write_text("assistants: none\n" * 1000)
    assert await refusal(path) == "it is not an SQLite file"


async def test_nowhere_to_put_it(path: Path):
    """Directories are not created: a mistyped path would be noticed late."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        await SQLiteStore(path.parent / "nowhere" / "runs.db").__aenter__()
    with pytest.raises(StoreFileError, match="it is not a file"):
        await SQLiteStore(path.parent).__aenter__()


async def test_a_file_that_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a read-only file system."""
    async with SQLiteStore(path):
        pass
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write whatever chmod says
    assert await refusal(path) == "it cannot be written; to read it, open a copy"


async def test_a_file_damaged_at_the_beginning(path: Path):
    """A file whose tables cannot be read is refused."""
    async with SQLiteStore(path):
        pass
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    assert await refusal(path) == "it is damaged: database disk image is malformed"


async def test_a_file_damaged_in_a_crash(path: Path):
    """After a crash the file is checked before it is used."""
    async with SQLiteStore(path) as store:
        await store.commit([message(str(number), "thread_1", text="x" * 1000) for number in range(100)])
    with path.open("r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xff" * 4096)
    path.with_name("runs.db-wal").touch()
    assert (await refusal(path)).startswith("it is damaged: ")


class Slow:
    """A connection whose check takes until it is interrupted."""

    def __init__(self, error: sqlite3.Error) -> None:
        self.interrupted = asyncio.Event()
        self.error = error

    async def execute_fetchall(self, sql: str) -> list[Any]:
        assert sql == "PRAGMA quick_check(1)"
        await self.interrupted.wait()
        raise self.error

    async def interrupt(self) -> None:
        self.interrupted.set()


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("it ended")
    error.sqlite_errorcode = code
    return error


async def test_a_large_file_is_not_checked_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """After a crash, the server is not away for minutes: the check ends after a few seconds, and the log says so."""
    monkeypatch.setattr(schema, "_CHECK_TIMEOUT", 0)
    await schema._check_integrity(Slow(sqlite_error(sqlite3.SQLITE_INTERRUPT)), path)  # type: ignore[arg-type]
    assert f"openai-runs check --store {path}" in caplog.text
    with pytest.raises(sqlite3.OperationalError, match="it ended"):
        await schema._check_integrity(Slow(sqlite_error(sqlite3.SQLITE_IOERR)), path)  # type: ignore[arg-type]


async def test_cancelled_while_checking(path: Path):
    """The check is interrupted, so that the connection can be closed at once."""
    slow = Slow(sqlite_error(sqlite3.SQLITE_INTERRUPT))
    opening = asyncio.create_task(schema._check_integrity(slow, path))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert slow.interrupted.is_set()


# One at a time


async def test_a_second_process_is_refused(path: Path):
    """While a store is open, no other process can open it; afterwards they can."""
    program = f"""
import anyio
from openai_runs.stores.sqlite import SQLiteStore
anyio.run(SQLiteStore({str(path)!r}).__aenter__)
"""

    async def second() -> str:
        result = await anyio.run_process([sys.executable, "-c", program], check=False, stderr=subprocess.PIPE)
        return result.stderr.decode()

    async with SQLiteStore(path) as store:
        message = f"cannot open the store {path}: it is in use, and one process at a time can have it"
        assert message in await second()
        await store.commit([thread("thread_1")])
        assert message in await second()


async def test_a_second_store_in_this_process_is_refused(path: Path):
    """The attempt does not release the first store's lock."""
    async with SQLiteStore(path) as store:
        for _ in range(2):
            with pytest.raises(StoreFileError, match="in use"):
                await SQLiteStore(path).__aenter__()
        with closing(sqlite3.connect(path, timeout=0)) as db, pytest.raises(sqlite3.OperationalError, match="locked"):
            db.execute("SELECT * FROM objects")
        await store.commit([thread("thread_1")])
    async with SQLiteStore(path) as store:
        assert await store.get(Thread, "thread_1") is not None


async def test_cancelled_while_opening(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is left open: the next store can open the file."""
    async with SQLiteStore(path):
        pass
    reached = anyio.Event()
    execute = aiosqlite.Connection.execute_fetchall

    async def stuck(db: aiosqlite.Connection, sql: str) -> object:
        if "journal_mode" not in sql:
            return await execute(db, sql)
        reached.set()
        return await anyio.sleep_forever()

    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite.Connection, "execute_fetchall", stuck)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(SQLiteStore(path).__aenter__)
            await reached.wait()
            tasks.cancel_scope.cancel()
    async with SQLiteStore(path) as store:
        assert await store.get(Message, "msg_1") is None
