"""`Turnstile`: the requests of an owner who sends many at once do not all come before those of another one.

What an event loop has at hand, it does before it looks for more. A hundred connections of one owner with a request each
would be a hundred handlers in a row, and another owner's request waits for all of them. Here one request of each owner
begins in a few rounds of the event loop; the others wait, and their connections with them, so that not even their next
requests are read. It is about the beginning of requests only: a stream, or a poll that waits, holds nobody back.
"""

import asyncio
from collections import deque
from typing import Final

from attrs import define, field

#: Rounds in which one request of an owner begins. Another owner's takes two or three, from its bytes to its answer.
ROUNDS: Final = 3


@define(eq=False)
class Turnstile:
    """Lets requests begin: at once while there is one owner, else one of each owner after the other."""

    is_shared: bool = False  #: whether there are several owners
    _round: int = field(default=0, init=False)
    _next: dict[str, int] = field(factory=dict, init=False)  # by owner: the round from which on another one may begin
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(factory=dict, init=False)

    def enter(self, owner: str) -> asyncio.Future[None] | None:
        """Begin a request: at once, or when the future is done, which has to be awaited."""
        if not self.is_shared:
            return None
        loop = asyncio.get_running_loop()
        if owner not in self._next:
            if not self._next:
                loop.call_soon(self._begin_round)
            self._next[owner] = self._round + ROUNDS
            return None
        begins = loop.create_future()
        self._waiting.setdefault(owner, deque()).append(begins)
        return begins

    def _begin_round(self) -> None:
        self._round += 1
        if not self._waiting:  # as a rule: then no round is made for its own sake
            self._next.clear()
            return
        for owner in [owner for owner, due in self._next.items() if due <= self._round]:
            if self._let_one_begin(owner):
                self._next[owner] = self._round + ROUNDS
            else:
                del self._next[owner]
        asyncio.get_running_loop().call_soon(self._begin_round)

    def _let_one_begin(self, owner: str) -> bool:
        """Let the next request of an owner begin, if one waits."""
        waiting = self._waiting.get(owner)
        while waiting:
            begins = waiting.popleft()
            if not waiting:
                del self._waiting[owner]
            if not begins.done():  # else whoever has asked is gone
                begins.set_result(None)
                return True
        return False
