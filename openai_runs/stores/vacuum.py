"""Writes the files of a store anew, without the space of what was deleted."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import anyio.to_thread
from attrs import frozen

from openai_runs._finishing import finish
from openai_runs.errors import StoreFileError
from openai_runs.stores.sqlite import SQLiteStore


@frozen
class Vacuumed:
    """A file that was written anew."""

    path: Path
    before: int  #: bytes
    after: int


async def vacuum_store(path: Path, begin: Callable[[Path], object]) -> Sequence[Vacuumed]:
    """Write the file of a store that nobody uses anew, and its index, if there is one.

    Args:
        path: The store's file.
        begin: Told the name of each file before it is written.

    Raises:
        StoreFileError: A file is in use, damaged or another program's, or there is no room for a second one.
    """
    async with SQLiteStore(path):  # it checks all that, and takes in what a crash has left in a second file
        pass
    found = []
    for each in path, path.with_name(f"{path.name}-index"):
        if await anyio.Path(each).exists():
            begin(each)
            found.append(await finish(anyio.to_thread.run_sync(_vacuum, each)))
    return found


def _vacuum(path: Path) -> Vacuumed:
    before = path.stat().st_size
    # Where SQLite puts the new file, until it takes the place of the old one: beside it, and not into memory.
    os.environ.setdefault("SQLITE_TMPDIR", str(path.parent.absolute()))
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as db:
            db.execute("PRAGMA locking_mode = EXCLUSIVE").close()
            db.execute("PRAGMA secure_delete = ON").close()
            if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'words'").fetchone()[0]:
                db.execute("INSERT INTO words (words) VALUES ('optimize')").close()  # drops words of deleted texts
            db.execute("VACUUM").close()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    except sqlite3.Error as error:
        raise StoreFileError(f"cannot write {path} anew: {error}") from error
    return Vacuumed(path, before, path.stat().st_size)
