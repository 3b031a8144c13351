"""`in_dedicated_task`: runs a context manager in a task of its own."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import anyio

from openai_runs._finishing import wait_until_done

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
        with anyio.CancelScope(shield=True):  # once it has ended, there is nothing left that a scope could cancel
            await wait_until_done(task)
    task.result()
