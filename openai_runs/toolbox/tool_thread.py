"""`ToolThread`: one call of a synchronous tool, in a thread of its own."""

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import Any


class ToolThread:
    """A call in a thread, which starts at once.

    A thread cannot be stopped. Waiting for it would delay timeouts, deadlines and Ctrl-C, so whoever waits may be
    cancelled, and the thread goes on; another task can then wait for the same thread.
    """

    def __init__(self, tool: str, call: Callable[[], Any]) -> None:
        self._is_awaited = self._is_abandoned = False
        self._future: Future[Any] = Future()
        self._future.set_running_or_notify_cancel()  # so that cancelling a waiting task does not cancel the future
        # A daemon, unlike the threads of asyncio and anyio, which the interpreter waits for when it exits.
        Thread(
            target=copy_context().run, args=(_run_into, self._future, call), name=f"tool {tool}", daemon=True
        ).start()

    async def result(self) -> Any:
        """Wait for what the call returns or raises; one task at a time."""
        self._is_awaited = True
        try:
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            self._is_awaited = False
            self._close_if_abandoned()
            raise

    def abandon(self) -> None:
        """Nobody will ask for the result from now on; a coroutine that comes nevertheless is closed."""
        self._is_abandoned = True
        self._close_if_abandoned()

    def _close_if_abandoned(self) -> None:
        if self._is_abandoned and not self._is_awaited:
            self._future.add_done_callback(_close)


def _run_into(future: "Future[Any]", call: Callable[[], Any]) -> None:
    """Make a call in the current thread, and store its result or exception in ``future``."""
    try:
        try:
            result = call()
        except (StopIteration, GeneratorExit) as error:  # which a future cannot pass on: a coroutine is ended by them
            raise RuntimeError(f"the tool raised {type(error).__name__}") from error
    except BaseException as error:  # raised again where the future is awaited
        future.set_exception(error)
    else:
        future.set_result(result)


def _close(future: "Future[Any]") -> None:
    if future.exception() is None and inspect.iscoroutine(result := future.result()):
        result.close()  # or Python warns that it was never awaited
