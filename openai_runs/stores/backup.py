"""Backs a store in an SQLite file up while it is used: the file, the index, and the contents of files.

They are copied in an order in which the copies fit together: an index that is older than the store lacks files, which
are read again when the copy is served, and a content that is newer belongs to no file, and is swept away.
"""

import shutil
from pathlib import Path
from typing import Final

import anyio.to_thread
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs.errors import StoreFileError
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.copying import copy_sqlite_file
from openai_runs.stores.sqlite import SQLiteStore

_PAGE: Final = 4096  # bytes: SQLite's default


@define
class StoreBackup:
    """One backup of an open store."""

    source: SQLiteStore
    target: Path  #: the copy's file; the rest is beside it, as it is beside the store
    done: int = field(default=0, init=False)  #: bytes that were copied
    total: int = field(default=1, init=False)  #: bytes that are to be copied, about
    contents: int = field(default=0, init=False)  #: of files, that were copied
    has_index: bool = field(default=False, init=False)  #: whether there was an index to copy

    @property
    def result(self) -> dict[str, int | bool]:
        """What was copied, for JSON."""
        return {"bytes": self.done, "contents": self.contents, "has_index": self.has_index}

    async def carry_out(self) -> None:
        """Copy everything, or nothing.

        Raises:
            StoreFileError: Something cannot be read or written, is there already, or another backup is under way.
        """
        source, target = self.source.path, self.target
        await finish(anyio.to_thread.run_sync(self._look))
        is_done = False
        try:
            self.has_index = await copy_sqlite_file(_index(source), _index(target))
            before = self.done = _size(_index(target))
            others = self.total - _size(source) - _size(_index(source)) + before

            def note(pages: int, of: int) -> None:
                self.done = before + pages * _PAGE
                self.total = others + of * _PAGE  # the newest pages of both are in second files

            await self.source.back_up(target, note)
            async for copied in ContentFolder(_contents(source)).copy_to(_contents(target)):
                self.done += copied
                self.contents += 1
            is_done = True
        finally:
            if not is_done:
                await finish(anyio.to_thread.run_sync(self._remove))

    def _look(self) -> None:
        """Refuse what is there already, and find out how much there is to do."""
        if not self.target.parent.is_dir():
            raise StoreFileError(f"cannot back up to {self.target}: there is no such folder; create it first")
        for path in self.target, _index(self.target), _contents(self.target), _wal(self.target):
            if path.exists():
                raise StoreFileError(f"cannot back up to {self.target}: {path} is there already; name a new file")
        folder = _contents(self.source.path)
        contents = sum(map(_size, folder.iterdir())) if folder.is_dir() else 0
        self.total = _size(self.source.path) + _size(_index(self.source.path)) + contents

    def _remove(self) -> None:
        """Leave no half of a backup: what is there is ours, as it was not there before."""
        for path in self.target, _index(self.target):
            path.unlink(missing_ok=True)
        shutil.rmtree(_contents(self.target), ignore_errors=True)


def _index(store: Path) -> Path:
    return store.with_name(f"{store.name}-index")


def _contents(store: Path) -> Path:
    return store.with_name(f"{store.name}-files")


def _wal(store: Path) -> Path:
    return store.with_name(f"{store.name}-wal")


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it is not there, or not any more."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
