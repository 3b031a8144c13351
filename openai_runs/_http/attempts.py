"""`Attempts`: stamina's attempts, without its log record of each retry, which says neither what is repeated nor why.

stamina's hooks are the same for all that a process repeats. They stay as the application has set them, and are called:
only the record that the standard one logs is dropped, and only of our retries. Who repeats something logs it.
"""

import logging
from collections.abc import AsyncIterable, AsyncIterator
from contextvars import ContextVar
from typing import Final, Self

import stamina
from attrs import define, field

_is_ours: Final[ContextVar[bool]] = ContextVar("openai_runs_retry", default=False)


def _is_of_others(_: logging.LogRecord) -> bool:
    return not _is_ours.get()


logging.getLogger("stamina").addFilter(_is_of_others)


@define
class Attempts:
    """The attempts of a ``stamina.retry_context``."""

    _attempts: AsyncIterable[stamina.Attempt]
    _iterator: AsyncIterator[stamina.Attempt] = field(init=False)

    def __aiter__(self) -> Self:
        self._iterator = aiter(self._attempts)
        return self

    async def __anext__(self) -> stamina.Attempt:
        # The hooks are called in here, and nothing of what is repeated, which may have retries of the caller's own.
        token = _is_ours.set(True)
        try:
            return await anext(self._iterator)
        finally:
            _is_ours.reset(token)
