"""The contents of files in a folder: what is on the disk when, and what happens if the disk does not take it."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs.errors import StoreFileError, StoreUnavailableError
from openai_runs.stores import content_folder
from openai_runs.stores.content_folder import ContentFolder
from tests.stores.test_file_contents import keep, read

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db-files"


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def entries(path: Path) -> list[Path]:
    return list(path.iterdir())


def modes(path: Path) -> list[int]:
    return [stat.S_IMODE(each.stat().st_mode) for each in (path, *path.iterdir())]


@pytest.fixture
def folder(path: Path) -> ContentFolder:
    return ContentFolder(path)


async def test_nobody_else_may_read(folder: ContentFolder, path: Path):
    """The folder and the contents are their owner's only."""
    assert repr(folder) == f"<ContentFolder '{path}'>"
    await keep(folder, "file-1", b"one")
    assert modes(path) == [0o700, 0o600]


async def test_under_its_name_a_content_is_whole(folder: ContentFolder, path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is on the disk before it gets its name, and the name is, before anybody hears of it."""
    calls: list[str] = []

    def noting(name: str) -> None:
        original = getattr(os, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return original(*arguments)

        monkeypatch.setattr(os, name, call)

    noting("fsync")
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    await keep(folder, "file-1", b"one")
    assert calls == ["fsync", "replace", "fsync"]


async def test_a_large_content_is_synced_on_the_way(folder: ContentFolder, monkeypatch: pytest.MonkeyPatch):
    """So that the last sync, which everybody on the disk may wait for, is short."""
    monkeypatch.setattr(content_folder, "_SYNC_STEP", 2 * content_folder._STEP)
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_size), fsync(file)))
    await keep(folder, "file-1", *[b"x" * content_folder._STEP] * 5)
    assert synced[:3] == [2 * content_folder._STEP, 4 * content_folder._STEP, 5 * content_folder._STEP]


@pytest.mark.parametrize("when", ["at once", "later", "when it is kept"])
async def test_a_full_disk(folder: ContentFolder, path: Path, monkeypatch: pytest.MonkeyPatch, when: str):
    """Nothing is left of what did not fit, and the error says that trying again later may help."""
    await keep(folder, "file-1", b"one")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_: Any) -> None:
        raise full

    async with folder.drafting() as draft:
        if when != "at once":
            await draft.write(b"x" * content_folder._STEP)
        monkeypatch.setattr(os if when == "when it is kept" else content_folder._FileDraft, _STEPS[when], fail)
        if when == "when it is kept":
            with pytest.raises(StoreUnavailableError, match=r"No space left on device\. Nothing was changed"):
                await draft.keep("file-2")
        else:
            with pytest.raises(StoreUnavailableError, match=r"No space left on device\. Nothing was changed"):
                await draft.write(b"x" * content_folder._STEP)
    monkeypatch.undo()
    assert len(entries(path)) == 1
    assert await read(folder, "file-1") == b"one"


_STEPS = {"at once": "_write_waiting", "later": "_write_waiting", "when it is kept": "fsync"}


async def test_a_disk_that_is_really_full(folder: ContentFolder, path: Path):
    """Bytes that the kernel refuses when the file is closed are no second error."""
    async with folder.drafting() as draft:
        await draft.write(b"x" * content_folder._STEP)
        draft._file.close()  # type: ignore[attr-defined]
        draft._file = Path("/dev/full").open("wb")  # type: ignore[attr-defined]  # noqa: ASYNC230, SIM115
        await draft.write(b"x")
        with pytest.raises(StoreUnavailableError, match="No space left on device"):
            await draft.keep("file-1")
    assert entries(path) == []


async def test_a_folder_that_cannot_be_made(tmp_path: Path):
    """A missing parent is an error of the store, like a full disk."""
    async with ContentFolder(tmp_path / "none" / "files").drafting() as draft:
        with pytest.raises(StoreUnavailableError, match="No such file or directory"):
            await draft.keep("file-1")


async def test_whoever_is_cancelled_leaves_nothing(folder: ContentFolder, path: Path):
    """The draft of an upload that is cancelled is removed."""
    with anyio.CancelScope() as scope:
        async with folder.drafting() as draft:
            await draft.write(b"x" * content_folder._STEP)
            assert len(entries(path)) == 1
            scope.cancel()
            await draft.write(b"x" * content_folder._STEP)
            await anyio.lowlevel.checkpoint()
    assert entries(path) == []


async def test_a_sweep_after_a_crash(folder: ContentFolder, path: Path):
    """Drafts and contents of nobody go; what somebody else has put into the folder stays."""
    await keep(folder, "file-1", b"one")
    await keep(folder, "file-2", b"two")
    put(path / f"draft-{'0' * 32}", b"half")
    put(path / "README", b"mine")
    assert await folder.sweep(["file-1"]) == []
    assert await read(folder, "file-1") == b"one"
    assert sorted(entry.stat().st_size for entry in entries(path)) == [3, 4]


async def test_a_missing_folder(folder: ContentFolder, path: Path):
    """Files whose contents are all missing are not given up without being asked: a backup may have them."""
    assert await folder.sweep([]) == []
    with pytest.raises(StoreFileError, match="the store has 2 files, but the folder with their contents is missing"):
        await folder.sweep(["file-1", "file-2"])
    await anyio.Path(path).mkdir()
    assert await folder.sweep(["file-1", "file-2"]) == ["file-1", "file-2"]


async def test_a_folder_that_is_none(folder: ContentFolder, path: Path):
    """What cannot be read is an error at the start, and not a loss."""
    put(path, b"a file")
    with pytest.raises(StoreFileError, match="cannot open the contents of files in"):
        await folder.sweep(["file-1"])


async def test_a_content_that_cannot_be_deleted(folder: ContentFolder, caplog: pytest.LogCaptureFixture, path: Path):
    """Its file is gone already, so that is only logged; the next sweep deletes it."""
    await keep(folder, "file-1", b"one")
    [content] = entries(path)
    await anyio.Path(content).unlink()
    await anyio.Path(content).mkdir()
    await folder.delete("file-1")
    assert "the content of file-1 cannot be deleted before the next start" in caplog.text
