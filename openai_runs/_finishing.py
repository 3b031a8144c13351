"""`finish`: work that must not stop halfway, whatever happens to the task that began it. And `cancelled_once`.

An anyio shield is not enough: it holds off the cancellation of scopes, but not `asyncio.Task.cancel`, which
`asyncio.timeout`, `asyncio.wait_for` and `asyncio.TaskGroup` use. Work in a task of its own is out of reach of both.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Do the work to its end, even if the caller is cancelled meanwhile.

    The caller waits for the end in any case, so locks that it holds cover the work.

    Raises:
        asyncio.CancelledError: The caller was cancelled; the work has ended. Whatever must follow from the work belongs
            into it.
    """
    task = asyncio.create_task(work)
    try:
        await wait_until_done(task)
    except asyncio.CancelledError as cancelled:
        if not task.cancelled() and (failure := task.exception()) is not None:
            cancelled.add_note(f"the work that it interrupted had failed: {failure!r}")
        raise
    return task.result()


async def cancelled_once(work: Coroutine[Any, Any, T], *, within: float = 1.0) -> T:
    """Do work that has something to do when it is cancelled, such as telling a database to give a statement up.

    A cancelled anyio scope cancels each wait in it again, and so that, too. Here the work is cancelled once, and waited
    for.

    Args:
        work: It.
        within: Seconds after which it is cancelled again: what it waits for may be away.

    Raises:
        asyncio.CancelledError: The caller was cancelled; the work has ended, and its result is lost.
    """
    task = asyncio.create_task(work)
    try:
        await _ended(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            while not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task], timeout=within)
        if not task.cancelled():
            task.exception()  # asyncio would log one that nobody has looked at
        raise
    return task.result()


async def wait_until_done(task: "asyncio.Task[Any]") -> None:
    """Wait until a task has ended, even if the waiting task is cancelled; that is raised afterwards."""
    try:
        await _ended(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):  # a cancelled scope would cancel each wait again, at once
            while not task.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([task])
        raise


def _ended(task: "asyncio.Task[Any]") -> "asyncio.Future[None]":
    """A future of its own: cancelling the wait for it does not cancel the task."""
    ended = asyncio.get_running_loop().create_future()

    def end(_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    task.add_done_callback(end)
    return ended
