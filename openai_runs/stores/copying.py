"""Copies a store: all objects of all owners, what the engine keeps of runs and requests, and the contents of files.

Unlike an import, it changes nothing: unfinished runs go on where the copy is served.
"""

import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs.errors import StoreFileError
from openai_runs.models.file import File
from openai_runs.stores.file_contents import pieces
from openai_runs.stores.records import Record
from openai_runs.stores.table_rows import KINDS
from openai_runs.stores.table_store import TableStore

_COMMIT_SIZE: Final = 500  # objects
_TIMEOUT: Final = 5.0  # seconds to wait for a lock of a file


@define
class StoreCopy:
    """A copy from one open store to another, which has to be empty."""

    source: TableStore
    target: TableStore
    objects: int = field(default=0, init=False)  #: that were copied
    contents: int = field(default=0, init=False)  #: of files, likewise
    #: IDs of files whose content is not there. They are copied, and deleted when the copy is served, as here.
    without_content: list[str] = field(factory=list, init=False)

    async def carry_out(self) -> AsyncGenerator[int, None]:
        """Copy everything, in order of creation.

        Yields:
            How many objects were copied since the last yield.

        Raises:
            StoreFileError: The target is not empty.
            StoreDataError: An object is damaged; those before it were copied.
            StoreUnavailableError: One of the stores is away, or has no room.
        """
        if await self.target.count_objects():
            raise StoreFileError(f"cannot copy into the store {self.target.name}: it has objects; name an empty one")
        batch: list[Record[Any]] = []
        async for record in self.source.everything(*KINDS.values()):
            if isinstance(record.value, File):  # a content is kept before its file
                await self._copy_content(record.value.id)
            batch.append(record)
            if len(batch) == _COMMIT_SIZE:
                await self._commit(batch)
                yield len(batch)
                batch = []
        await self._commit(batch)
        yield len(batch)

    async def _commit(self, batch: list[Record[Any]]) -> None:
        await self.target.commit(batch)
        self.objects += len(batch)

    async def _copy_content(self, id: str) -> None:
        try:
            source = await self.source.contents.source(id)
        except LookupError:
            self.without_content.append(id)
            return
        async with self.target.contents.drafting() as draft:
            async for piece in pieces(source):
                await draft.write(piece)
            await draft.keep(id)
        self.contents += 1


async def copy_sqlite_file(source: Path, target: Path) -> bool:
    """Copy what is in an SQLite file, such as the index of files, that nobody is writing.

    Returns:
        Whether there is such a file.

    Raises:
        StoreFileError: It cannot be read, or not be written.
    """
    if not await anyio.Path(source).exists():
        return False
    await finish(anyio.to_thread.run_sync(_copy, source, target))
    return True


def _give_up(status: int, _left: int, _pages: int) -> None:
    """End a copy whose source somebody has for himself; Python would try again for ever."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("it is in use")


def _copy(source: Path, target: Path) -> None:
    with suppress(FileExistsError):
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        # By SQLite, since a part of it may be in a second file, as after a crash.
        with closing(sqlite3.connect(source, timeout=_TIMEOUT)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new, progress=_give_up)
    except sqlite3.Error as error:
        raise StoreFileError(f"cannot copy {source} to {target}: {error}") from error
