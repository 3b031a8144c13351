"""`BeforeWaiting`: awaits some work, and does something else first if the work has to wait.

It takes the first step of the work by hand. A result that is there already comes at once; otherwise the work stays at
its first wait until the other thing is done, and then goes on in the same task, as if it had been awaited by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import define

T = TypeVar("T")


@define(eq=False)
class BeforeWaiting(Generic[T]):
    """``await BeforeWaiting(work, first)`` is ``await work``, but awaits ``first()`` where the work begins to wait.

    If ``first`` fails, the work is cancelled and has ended before the error is raised. If ``first`` is cancelled, so is
    the work, and what that makes of it counts: the cancellation may be that of a timeout within the work.
    """

    work: Awaitable[T]
    first: Callable[[], Awaitable[object]]

    def __await__(self) -> Generator[Any, Any, T]:
        """Await the work."""
        steps = self.work.__await__()
        failure: BaseException | None = None
        try:
            waits_for = next(steps)
            try:
                yield from self.first().__await__()
            except BaseException as error:  # of any kind: it is raised once the work has ended
                cancelled = error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError()
                failure = None if cancelled is error else error
                # As `Task.cancel` does: a future tells the work itself, and a mere break (``None``) cannot. By the
                # arguments anyio knows whose cancellation it is.
                if waits_for is None or not waits_for.cancel(*cancelled.args):
                    waits_for = steps.throw(cancelled)
            while True:
                step: Callable[[], Any]
                try:
                    step = partial(steps.send, (yield waits_for))
                except BaseException as error:  # of any kind: it is the work's
                    step = partial(steps.throw, error)
                waits_for = step()
        except StopIteration as end:
            if failure is None:
                result: T = end.value
                return result
        except BaseException:
            if failure is None:
                raise
        raise failure
