"""`Turnstile`: the work of an owner who has much at once does not all come before that of another one.

What an event loop has at hand, it does before it looks for more. A hundred connections of one owner with a request
each would be a hundred handlers in a row, and another owner's request waits for all of them; and so it is with a
hundred runs of one owner whose commits were written as one group. Here one piece of work of an owner is let through in
each round of the event loop, or in a few rounds while there is another owner, and the others wait.

There are two turnstiles. At one requests begin: those that wait keep their connections waiting, so that not even their
next requests are read. At the other, work goes on that has waited for the store or for a model. Such work may hold
locks of its own owner's objects, and a turnstile waits for nothing but the event loop, so it is never part of a
deadlock. A stream, or a poll that waits for a change, holds nobody back.
"""

import asyncio
from collections import deque
from typing import Final

from attrs import define, field

#: Rounds in which one piece of an owner's work is let through while there is another owner, whose request takes two or
#: three rounds from its bytes to its answer.
ROUNDS: Final = 3


@define(eq=False)
class Turnstile:
    """Lets work through: at once while there is one owner, else one piece of each owner after the other."""

    is_shared: bool = False  #: whether there are several owners
    _round: int = field(default=0, init=False)
    _next: dict[str, int] = field(factory=dict, init=False)  # by owner: the round that lets the next one through
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(factory=dict, init=False)

    def enter(self, owner: str) -> asyncio.Future[None] | None:
        """Let work through: at once, or when the future is done, which has to be awaited."""
        if not self.is_shared:
            return None
        loop = asyncio.get_running_loop()
        if owner not in self._next:
            if not self._next:
                loop.call_soon(self._begin_round)
            self._note(owner)
            return None
        is_let_through = loop.create_future()
        self._waiting.setdefault(owner, deque()).append(is_let_through)
        return is_let_through

    def _note(self, owner: str) -> None:
        """Note that a piece of work was let through."""
        is_alone = len(self._next) == (owner in self._next)
        self._next[owner] = self._round + (1 if is_alone else ROUNDS)

    def _begin_round(self) -> None:
        self._round += 1
        if not self._waiting:  # as a rule: then no round is made for its own sake
            self._next.clear()
            return
        for owner in [owner for owner, due in self._next.items() if due <= self._round]:
            if self._let_one_through(owner):
                self._note(owner)
            else:
                del self._next[owner]
        asyncio.get_running_loop().call_soon(self._begin_round)

    def _let_one_through(self, owner: str) -> bool:
        """Let the next piece of an owner's work through, if one waits."""
        waiting = self._waiting.get(owner)
        while waiting:
            is_let_through = waiting.popleft()
            if not waiting:
                del self._waiting[owner]
            if not is_let_through.done():  # else whoever has asked is gone
                is_let_through.set_result(None)
                return True
        return False
