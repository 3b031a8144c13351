"""`in_dedicated_task`: runs a context manager in a task of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")


@asynccontextmanager
async def in_dedicated_task(manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Enter and exit a context manager in a task of its own.

    So its user may enter and exit it in different tasks, as fixtures of pytest-asyncio do; a manager that holds a task
    group does not allow that otherwise. Cancelling the user's task does not cancel the manager's, nor the reverse. If
    the manager's task fails in between, the task that entered it is cancelled, and the error is raised on exit.
    """
    user: asyncio.Task[object] = asyncio.current_task()  # type: ignore[assignment]  # a coroutine runs in a task
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    exiting = asyncio.Event()

    async def hold() -> None:
        async with manager as value:
            entered.set_result(value)
            await exiting.wait()

    def on_end(_: asyncio.Task[None]) -> None:
        if entered.done() and not exiting.is_set():
            user.cancel()

    task = asyncio.create_task(hold(), name=f"{__name__}.hold")
    task.add_done_callback(on_end)
    try:
        await asyncio.wait((task, entered), return_when=asyncio.FIRST_COMPLETED)
        if entered.done():
            yield entered.result()
    except asyncio.CancelledError:
        if not (entered.done() and task.done()) or user.uncancel():
            raise  # somebody else cancelled the user's task
    finally:
        exiting.set()
        if not entered.done():
            task.cancel()
        await _wait_for(task)
    task.result()


async def _wait_for(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, even if the waiting task is cancelled meanwhile."""
    cancelled = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:  # from `task.cancel()`, which no shield stops: raised below
                cancelled = error
    if cancelled is not None:
        raise cancelled
