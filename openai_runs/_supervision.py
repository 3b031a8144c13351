"""`supervise`: lets a task fail without cancelling the other tasks of its task group."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio


async def supervise(on_failure: Callable[[BaseException], None], work: Callable[[], Awaitable[object]]) -> None:
    """Await ``work()``, and pass its exception to ``on_failure``: raised in a task group, it would cancel the others.

    Only exceptions from outside of the work are raised: ``KeyboardInterrupt`` and ``SystemExit``, which end the
    process, and the cancellation of an enclosing scope. A ``CancelledError`` or ``GeneratorExit`` that the work itself
    raises is a failure like any other.

    Args:
        on_failure: Called with the exception. It must not raise, and must start a task for anything that awaits: this
            task may have a pending cancellation that is never withdrawn.
        work: What to do. `supervise` must run in a task of its own.
    """
    task = asyncio.current_task()
    try:
        await work()
    except BaseException as error:  # also CancelledError and GeneratorExit, which a backend may raise by mistake
        if _is_from_outside(error, task):
            raise
        on_failure(error)


def _is_from_outside(error: BaseException, task: "asyncio.Task[Any] | None") -> bool:
    match error:
        case KeyboardInterrupt() | SystemExit():
            return True
        case BaseExceptionGroup():
            return error.subgroup((KeyboardInterrupt, SystemExit)) is not None
        case asyncio.CancelledError():
            # `task.cancelling()` cannot tell: Python 3.11 and 3.12 do not count a request where an `asyncio.TaskGroup`
            # has failed, and a backend can cancel the task that calls it.
            return anyio.current_effective_deadline() == -math.inf
        case GeneratorExit():
            return not _is_current(task)  # otherwise our own coroutine is being closed, outside of its loop
        case _:
            return False


def _is_current(task: "asyncio.Task[Any] | None") -> bool:
    try:
        return asyncio.current_task() is task
    except RuntimeError:  # no event loop is running
        return False
