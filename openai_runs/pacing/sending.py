"""`Sending`: how whoever makes a request learns that it goes out. Until then it waits for its turn, and for a token.

As long as nothing was sent, there is nothing that could be in doubt, and what it waits for is not the endpoint's delay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

import anyio
from attrs import define, field

#: Who is to be told about the requests of the current task; nobody, as a rule.
told: Final[ContextVar["Sending | None"]] = ContextVar("told", default=None)


class Sending(Protocol):
    """Is told about a request, each time that it is sent."""

    async def begin(self) -> None:
        """The request goes out now, unless this raises."""

    def settle(self) -> None:
        """It was refused without any effect; if it is repeated, it takes another turn."""


@define
class FirstSent:
    """When a request was first sent."""

    at: float  #: the time; before it was sent, when somebody began to make it
    _is_sent: bool = field(default=False, init=False)

    async def begin(self) -> None:
        """Note the time, unless it was sent before."""
        if not self._is_sent:
            self._is_sent, self.at = True, anyio.current_time()

    def settle(self) -> None:
        """It was sent all the same."""


@define
class _Both:
    """Whoever was told already, and whoever is told in an inner block."""

    _outer: Sending
    _inner: Sending

    async def begin(self) -> None:
        await self._outer.begin()
        await self._inner.begin()

    def settle(self) -> None:
        self._outer.settle()
        self._inner.settle()


@contextmanager
def tell(sending: Sending) -> Iterator[None]:
    """Tell ``sending`` about the requests that are made in this block, after those who are told around it."""
    outer = told.get()
    token = told.set(sending if outer is None else _Both(outer, sending))
    try:
        yield
    finally:
        told.reset(token)
