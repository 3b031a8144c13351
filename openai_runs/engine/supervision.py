"""A task that may fail without taking all others of its task group with it."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio


async def contained(failed: Callable[[BaseException], None], work: Callable[[], Awaitable[object]]) -> None:
    """Do work, and let no exception of it out: in a task group, it would end all the other tasks.

    What does get out is not the work's own: ``KeyboardInterrupt`` and ``SystemExit``, which end the process, and the
    cancellation of a scope around us. A ``CancelledError`` or ``GeneratorExit`` that somebody merely raises is a
    failure like any other.

    Args:
        failed: Is told of a failure. It must not raise, and what it has done about it belongs into another task: this
            one may have a cancellation pending that nobody takes back.
        work: What to do; to be called in a task of its own.
    """
    task = asyncio.current_task()
    try:
        await work()
    except BaseException as error:  # whose it is decides what becomes of it
        if _is_from_outside(error, task):
            raise
        failed(error)


def _is_from_outside(error: BaseException, task: "asyncio.Task[Any] | None") -> bool:
    match error:
        case KeyboardInterrupt() | SystemExit():
            return True
        case BaseExceptionGroup():
            return error.subgroup((KeyboardInterrupt, SystemExit)) is not None
        case asyncio.CancelledError():
            # `task.cancelling()` is no witness: Python 3.11 and 3.12 leave a request uncounted where a task group of
            # asyncio's has failed, and a backend can cancel the task that it is called by.
            return anyio.current_effective_deadline() == -math.inf
        case GeneratorExit():
            return not _is_current(task)  # then it is our coroutine that is being closed, outside of its loop
        case _:
            return False


def _is_current(task: "asyncio.Task[Any] | None") -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no loop runs
        return False
