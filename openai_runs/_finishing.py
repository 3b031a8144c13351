"""Work that must be finished once it has begun, whatever happens to the task that began it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` in a task of its own, to its end, which must be near; a cancellation is raised after that.

    anyio's shields do not stop ``asyncio.Task.cancel``: that would interrupt the work if it ran in the caller's task.
    """
    task = asyncio.create_task(work)
    cancelled = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        raise cancelled from failure
    raise cancelled
