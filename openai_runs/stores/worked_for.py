"""For whom the current task works, so that a store does not do much for one owner before it does anything for another.

It is said in the task's context, as operations of a store do not name the owner. Where there is one owner, nothing is
said, and no store holds anything back.
"""

from contextvars import ContextVar
from typing import Final
from weakref import WeakValueDictionary

import anyio
from attrs import define, field

_OWNER: Final = ContextVar("openai_runs.owner", default="")

#: Statements of one owner that wait for the database at once: the second one is there when the first one has ended.
_MOST_STATEMENTS: Final = 2


def work_for(owner: str) -> None:
    """Say for whom the current task works, and what it starts; an empty label for nobody in particular."""
    _OWNER.set(owner)


def worked_for() -> str:
    """The label of the owner for whom the current task works; empty for nobody in particular."""
    return _OWNER.get()


@define(eq=False)
class Lanes:
    """Ways to a database that executes one statement after the other; each owner has its own, which is narrow."""

    # One lasts as long as somebody is in it, or waits for it.
    _lanes: WeakValueDictionary[str, anyio.Semaphore] = field(factory=WeakValueDictionary, init=False)

    def of_caller(self) -> anyio.Semaphore | None:
        """The lane to be in while a statement of the current task is executed; ``None``: it needs none."""
        if not (owner := worked_for()):
            return None
        if (lane := self._lanes.get(owner)) is None:
            lane = self._lanes[owner] = anyio.Semaphore(_MOST_STATEMENTS, fast_acquire=True)
        return lane
