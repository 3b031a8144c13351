"""Copies an SQLite file by SQLite's online backup, while the connection that has its lock goes on being used.

Nobody else can open the file, so the copy is made by that connection itself, a few pages at a time. Between two such
steps it executes what the store wants; what that changes in pages that were copied already, SQLite changes in the copy,
too. So the copy is what the file is at the end.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from attrs import define, field

from openai_runs.errors import StoreFileError

#: Pages of one step, half a megabyte: a statement waits a millisecond or two for it.
PAGES: Final = 128


class BackupStoppedError(Exception):
    """Ends a backup from within."""


@define(eq=False)
class OnlineBackup:
    """One backup, and the statements that are executed between its steps.

    It is called by SQLite after each step, in the connection's thread.
    """

    _note: Callable[[int, int], object]  # told how many pages were copied, and of how many
    connection: sqlite3.Connection | None = field(default=None, init=False)
    ended: asyncio.Event = field(factory=asyncio.Event, init=False)
    _waiting: "SimpleQueue[Statement]" = field(factory=SimpleQueue, init=False)
    _is_stopped: bool = field(default=False, init=False)

    async def execute(self, sql: str, parameters: Any) -> list[Any]:
        """Execute a statement after the step that is being made."""
        statement = Statement(sql, parameters)
        self._waiting.put(statement)
        return await statement.done

    def __call__(self, _: int, left: int, pages: int) -> None:
        """Execute what is waiting.

        Raises:
            BackupStoppedError: `stop` was called.
        """
        self.execute_waiting()
        self._note(pages - left, pages)
        if self._is_stopped:
            raise BackupStoppedError

    def execute_waiting(self) -> None:
        """Execute what is waiting now, and not what comes meanwhile: the backup has to get on."""
        assert self.connection is not None  # noqa: S101  # for the type checker: a step has been made
        for _ in range(self._waiting.qsize()):
            self._waiting.get_nowait().execute(self.connection)

    def stop(self) -> None:
        """End after the step that is being made, without a copy."""
        self._is_stopped = True

    def left(self) -> "Statement | None":
        """A statement that came after the last step."""
        with suppress(Empty):
            return self._waiting.get_nowait()
        return None


@define(eq=False)
class Statement:
    """A statement that waits for its turn, and its result."""

    sql: str
    parameters: Any
    done: "asyncio.Future[list[Any]]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.done = asyncio.get_running_loop().create_future()

    def execute(self, connection: sqlite3.Connection) -> None:
        """Execute it, in the connection's thread."""
        result: list[Any] | Exception
        try:
            result = connection.execute(self.sql, self.parameters).fetchall()
        except Exception as error:  # whatever it is, the task that waits must get it
            result = error
        self.done.get_loop().call_soon_threadsafe(self.settle, result)

    def settle(self, result: list[Any] | Exception) -> None:
        """Tell the task that waits, unless it was cancelled."""
        if self.done.done():
            return
        if isinstance(result, Exception):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)


class StoreConnection(sqlite3.Connection):
    """A connection that shows itself to its `OnlineBackup`."""

    def backup(
        self,
        target: sqlite3.Connection,
        *,
        pages: int = -1,
        progress: Callable[[int, int, int], object] | None = None,
        name: str = "main",
        sleep: float = 0.25,
    ) -> None:
        """Copy all pages, in the connection's thread."""
        assert isinstance(progress, OnlineBackup)  # noqa: S101  # for the type checker: nobody else asks for one
        progress.connection = self
        super().backup(target, pages=pages, progress=progress, name=name, sleep=sleep)


def new_copy(path: Path) -> sqlite3.Connection:
    """Make the file that becomes the copy, readable by its user only.

    Raises:
        StoreFileError: It cannot be made, or is there already.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreFileError(f"cannot back up to {path}: {error.strerror}") from error
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # It is synced at the end, by `synced`: SQLite would do so in the thread of the store.
    connection.execute("PRAGMA synchronous = OFF").close()
    connection.execute("PRAGMA journal_mode = OFF").close()
    return connection


def synced(path: Path) -> None:
    """Wait until a file is on the disk, with its name."""
    for each, flags in (path, os.O_RDWR), (path.parent, os.O_RDONLY):
        descriptor = os.open(each, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
