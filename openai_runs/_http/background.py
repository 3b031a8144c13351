"""`Background`: what runs beside the requests of a session until it closes, and what is done before it does."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
from attrs import define, field

from openai_runs._finishing import finish


@define
class Background:
    """The work of one session that no caller waits for."""

    before_closing: set[Callable[[], Awaitable[None]]] = field(factory=set, init=False)  #: what is to be done, once
    _tasks: set["asyncio.Task[None]"] = field(factory=set, init=False)

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do something for as long as the connections are open, at most; then it is cancelled."""
        # Not in the caller's context: its spans and deadlines have nothing to do with it.
        task = asyncio.create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def prepare_closing(self) -> None:
        """Do what is to be done while the connections are still open, whoever is cancelled."""
        if self.before_closing:
            await finish(self._prepare())

    async def _prepare(self) -> None:
        await asyncio.gather(*(prepare() for prepare in self.before_closing))

    async def end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Cancel what still runs, wait until it has ended, and then close the connections.

        Args:
            close: Closes them.
        """
        for task in self._tasks:
            task.cancel()
        # Shielded: closing takes no time, and a cancellation here would leave sockets open.
        with anyio.CancelScope(shield=True):
            if self._tasks:
                await asyncio.wait(self._tasks)
            await close()
