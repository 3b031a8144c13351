"""`Sending`: how whoever makes a request learns that it goes out. Until then it waits for its turn, and for a token.

As long as nothing was sent, there is nothing that could be in doubt, and what it waits for is not the endpoint's delay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

#: Who is to be told about the requests of the current task; nobody, as a rule.
told: Final[ContextVar["Sending | None"]] = ContextVar("told", default=None)


class Sending(Protocol):
    """Is told about a request, each time that it is sent."""

    async def begin(self) -> None:
        """The request goes out now, unless this raises."""

    def settle(self) -> None:
        """It was refused without any effect; if it is repeated, it takes another turn."""


@contextmanager
def tell(sending: Sending) -> Iterator[None]:
    """Tell ``sending`` about the requests that are made in this block."""
    token = told.set(sending)
    try:
        yield
    finally:
        told.reset(token)
