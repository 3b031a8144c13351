"""A backup of a store has all of it, and is served like any other store."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from openai_runs.errors import StoreFileError
from openai_runs.file_search import SQLiteIndex
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.stores import backup as module
from openai_runs.stores.backup import StoreBackup
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.sqlite import SQLiteStore
from tests.stores.test_copying import everything, fill

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await fill(store)
        yield store


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_everything_is_copied(store: SQLiteStore, tmp_path: Path):
    """All objects, the contents of files, and the index, if there is one."""
    async with SQLiteIndex(tmp_path / "runs.db-index"):  # which a server has open
        backup = StoreBackup(store, tmp_path / "copy.db")
        await backup.carry_out()
    assert backup.result == {"bytes": backup.done, "contents": 1, "has_index": True}
    assert 0 < backup.done <= backup.total
    assert (tmp_path / "copy.db-index").exists()
    async with SQLiteStore(tmp_path / "copy.db") as copy:
        assert await everything(copy) == await everything(store)
        source = await copy.contents.source("file_1")
        assert isinstance(source, Path)
        assert source.parent == tmp_path / "copy.db-files"
        assert source.read_bytes() == b"x" * (2**20 + 1)


async def test_without_files(tmp_path: Path):
    """Then the copy is one file."""
    async with SQLiteStore(tmp_path / "runs.db") as store:
        backup = StoreBackup(store, tmp_path / "copy.db")
        await backup.carry_out()
    assert backup.result["contents"] == 0
    assert entries(tmp_path) == ["copy.db", "runs.db"]


async def test_what_changes_meanwhile(store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A content that is deleted meanwhile is missing, and one that is not whole yet is left out."""
    copied = 0
    sync = module.ContentFolder.copy_to

    async def copy_to(self: ContentFolder, target: Path) -> AsyncIterator[int]:
        nonlocal copied
        await store.contents.delete("file_1")
        async with store.contents.drafting() as draft:
            await draft.write(b"x" * 2**21)
            async for size in sync(self, target):
                copied += size
                yield size

    names = ContentFolder._names
    monkeypatch.setattr(ContentFolder, "_names", lambda self: [*(names(self) or []), "0" * 48])
    monkeypatch.setattr(module.ContentFolder, "copy_to", copy_to)
    backup = StoreBackup(store, tmp_path / "copy.db")
    await backup.carry_out()
    assert (copied, backup.contents, entries(tmp_path / "copy.db-files")) == (0, 0, [])


@pytest.mark.parametrize("name", ["copy.db", "copy.db-index", "copy.db-files", "copy.db-wal"])
async def test_what_is_there_already(store: SQLiteStore, tmp_path: Path, name: str):
    """It is not touched, whichever part of a store it looks like."""
    (tmp_path / name).write_text("mine")
    before = entries(tmp_path)
    with pytest.raises(StoreFileError, match=f"{name} is there already; name a new file"):
        await StoreBackup(store, tmp_path / "copy.db").carry_out()
    assert entries(tmp_path) == before
    assert (tmp_path / name).read_text() == "mine"


async def test_failures(store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Half a backup is removed, whether something cannot be written or the caller is cancelled."""
    with pytest.raises(StoreFileError, match="there is no such folder"):
        await StoreBackup(store, tmp_path / "none" / "copy.db").carry_out()
    before = entries(tmp_path)

    async def fail(self: ContentFolder, target: Path) -> AsyncIterator[int]:
        await anyio.Path(target).mkdir()
        scope.cancel()
        await anyio.lowlevel.checkpoint()
        yield 1

    with monkeypatch.context() as patched, anyio.CancelScope() as scope:
        patched.setattr(module.ContentFolder, "copy_to", fail)
        await StoreBackup(store, tmp_path / "copy.db").carry_out()
    assert scope.cancelled_caught
    assert entries(tmp_path) == before
    path = tmp_path / "runs.db-files"
    [content] = path.iterdir()
    content.rename(tmp_path / "elsewhere")
    content.mkdir()
    with pytest.raises(StoreFileError, match="cannot copy the contents of files"):
        await StoreBackup(store, tmp_path / "copy.db").carry_out()
    assert not (tmp_path / "copy.db").exists()
    assert [record.value.id async for record in store.everything(File)] == ["file_1", "file_2"]
    assert await store.get(Message, "1") is not None
