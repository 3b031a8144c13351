"""Watches the tasks of one operation: counts their waiting points, cancels at one of them, finds what is left."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from attrs import define, field

_watch: ContextVar["Watch | None"] = ContextVar("_watch", default=None)


@define(eq=False)
class Watch:
    """What the tasks do that were started within `watching`, by whatever code.

    Servers in the same event loop are not watched if they were started before: a task inherits its creator's context.
    """

    #: Called at each waiting point, with its number from 1 and what is awaited there.
    at_point: Callable[[int, Any], None] = lambda number, awaited: None
    points: int = field(default=0, init=False)
    tasks: list[asyncio.Task[Any]] = field(factory=list, init=False)

    def reached(self, awaited: Any) -> None:
        self.points += 1
        self.at_point(self.points, awaited)

    async def left(self) -> set[asyncio.Task[Any]]:
        """The tasks that do not end, though they may end what they are doing."""
        pending = {task for task in self.tasks if not task.done()}
        if pending:
            _, pending = await asyncio.wait(pending, timeout=2)
        return pending


@define
class _Steps:
    """Drives a coroutine; the watch hears of each point at which it waits."""

    watch: Watch
    coroutine: Coroutine[Any, Any, Any]

    def __await__(self) -> Generator[Any, Any, Any]:
        error: BaseException | None = None
        while True:
            try:
                awaited = self.coroutine.send(None) if error is None else self.coroutine.throw(error)
            except StopIteration as end:
                return end.value
            self.watch.reached(awaited)
            error = None
            try:
                yield awaited
            except BaseException as thrown:  # cancellation, or the task's end: for the coroutine to see
                error = thrown


async def _stepped(watch: Watch, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await _Steps(watch, coroutine)


def _new_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    watch = _watch.get()
    if watch is None:
        return asyncio.Task(coroutine, loop=loop, **options)
    task = asyncio.Task(_stepped(watch, coroutine), loop=loop, **options)
    # A task that is cancelled before its first step never got to it.
    task.add_done_callback(lambda _: coroutine.close())
    watch.tasks.append(task)
    return task


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Watch the tasks that are created meanwhile, and those that these create."""
    loop = asyncio.get_running_loop()
    factory = loop.get_task_factory()
    loop.set_task_factory(_new_task)
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)
        loop.set_task_factory(factory)
