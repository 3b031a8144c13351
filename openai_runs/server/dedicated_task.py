"""A context manager that lives in a task of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio

T = TypeVar("T")


@asynccontextmanager
async def in_dedicated_task(manager: AbstractAsyncContextManager[T]) -> AsyncGenerator[T]:
    """Enter and leave a context manager in a task of its own.

    Whoever uses it may leave it in another task than that in which it was entered, which task groups do not allow and
    which fixtures of pytest-asyncio do; and what cancels the one is not seen by the other. If something goes wrong
    within the manager meanwhile, the task that entered it is cancelled, and the error comes out at the end.
    """
    user: asyncio.Task[object] = asyncio.current_task()  # type: ignore[assignment]  # a coroutine runs in a task
    entered: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    leave = asyncio.Event()

    async def live() -> None:
        async with manager as value:
            entered.set_result(value)
            await leave.wait()

    def on_end(_: asyncio.Task[None]) -> None:
        if entered.done() and not leave.is_set():
            user.cancel()

    task = asyncio.create_task(live(), name=f"{__name__}.live")
    task.add_done_callback(on_end)
    try:
        await asyncio.wait((task, entered), return_when=asyncio.FIRST_COMPLETED)
        if entered.done():
            yield entered.result()
    except asyncio.CancelledError:
        if not (entered.done() and task.done()) or user.uncancel():
            raise  # it is the user's own
    finally:
        leave.set()
        if not entered.done():
            task.cancel()
        await _end(task)
    task.result()


async def _end(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, whatever happens to us meanwhile."""
    cancelled = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:  # not from a scope: told when there is nothing left to wait for
                cancelled = error
    if cancelled is not None:
        raise cancelled
