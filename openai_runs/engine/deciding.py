"""Decisions where servers share a store: `Deciding` is the lock around one, and `decided` makes it again.

The lock keeps the tasks of this server apart. The store finds out if another server has changed something between the
decision and its commit: it notes the version of what is decided on, and refuses the commit if that is another one.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import anyio
from attrs import define

from openai_runs.errors import ChangedElsewhereError
from openai_runs.stores.sharing import Sharing

P = ParamSpec("P")
T = TypeVar("T")

_MOST_DECISIONS: Final = 20  # of one request


@define(eq=False)
class Deciding:
    """The lock of a thread, or of another object, in a server that shares its store."""

    _id: str
    _lock: anyio.Lock
    _sharing: Sharing
    _keeps: Callable[[str], bool]  # whether what is known of it is of use later
    _is_own: bool  # whether what is known of it need not be compared with the store: a commit finds out

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            if not (self._is_own and self._sharing.is_pinned(self._id)):
                await self._sharing.pin(self._id)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        if not self._keeps(self._id):
            self._sharing.forget(self._id)
        self._lock.release()


def decided(operation: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Make an operation that reads, decides and commits once do so again if another server came in between."""

    @wraps(operation)
    async def carry_out(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(_MOST_DECISIONS):
            try:
                return await operation(*args, **kwargs)
            except ChangedElsewhereError:  # then the store no longer takes what it knew for true
                continue
        return await operation(*args, **kwargs)

    return carry_out
