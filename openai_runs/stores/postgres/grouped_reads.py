"""`GroupedReads`: reads of single rows that are wanted at the same time go in one statement, as commits do.

A statement costs a database's client more than the rows that it brings. While one is under way, the next reads wait,
and are one statement then: so each read begins after it was asked for, and sees all that was committed before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from openai_runs._finishing import wait_until_done
from openai_runs.errors import StoreUnavailableError

KeyT = TypeVar("KeyT", bound=Hashable)
RowT = TypeVar("RowT")

_MOST_AT_ONCE: Final = 2  # statements
_MOST_KEYS: Final = 200  # of a statement


class GroupedReads(Generic[KeyT, RowT]):
    """Reads rows by their keys."""

    def __init__(self, read: Callable[[Sequence[KeyT]], Awaitable[Mapping[KeyT, RowT]]]) -> None:
        """Create it.

        Args:
            read: Reads the rows of some keys, as far as they exist.
        """
        self._read = read
        self._waiting: dict[KeyT, list[asyncio.Future[RowT | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._running = 0  # of these, those that look for what waits: a task is there for a moment after its last look

    async def read(self, key: KeyT) -> RowT | None:
        """Read a row; ``None`` if it does not exist.

        Raises:
            Exception: What reading it raises.
        """
        found: asyncio.Future[RowT | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(found)
        if self._running < _MOST_AT_ONCE:
            self._running += 1
            task = asyncio.create_task(self._read_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await found

    async def close(self) -> None:
        """Wait until nothing is read any more."""
        while self._tasks:
            await wait_until_done(next(iter(self._tasks)))

    async def _read_waiting(self) -> None:
        try:
            await self._read_groups()
        finally:
            self._running -= 1

    async def _read_groups(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[:_MOST_KEYS]
            group = {key: self._waiting.pop(key) for key in keys}
            try:
                rows = await self._read(keys)
            except Exception as error:  # whatever it is, those who wait must get it
                # What is away is so for all of them: each would find that out by itself, one after the other.
                if len(keys) == 1 or isinstance(error, StoreUnavailableError):
                    for waiting in group.values():
                        _settle(waiting, error=error)
                else:
                    await self._read_each(group)
            else:
                for key, waiting in group.items():
                    _settle(waiting, rows.get(key))

    async def _read_each(self, group: Mapping[KeyT, Sequence[asyncio.Future[RowT | None]]]) -> None:
        """Read rows one by one, so that a damaged one does not fail the others."""
        for key, waiting in group.items():
            try:
                rows = await self._read([key])
            except Exception as error:  # likewise
                _settle(waiting, error=error)
            else:
                _settle(waiting, rows.get(key))


def _settle(
    waiting: Sequence["asyncio.Future[RowT | None]"], row: RowT | None = None, *, error: Exception | None = None
) -> None:
    for found in waiting:
        if found.done():  # the waiting task was cancelled
            continue
        if error is None:
            found.set_result(row)
        else:
            found.set_exception(error)
