"""`Guard`: refuses what goes beyond an owner's limits."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Final

from attrs import define, field

from openai_runs.engine.errors import ApiError
from openai_runs.engine.limits import OwnerLimits
from openai_runs.engine.use import Use, size_of
from openai_runs.models.message import Message
from openai_runs.models.thread import Thread

#: Messages per thread; the limit of the hosted API.
MAX_MESSAGES: Final = 100_000

#: Seconds after which whoever has too many active runs may try again: nobody knows when one ends.
_NEXT_RUN: Final = 1.0

_FREE: Final[AbstractAsyncContextManager[None]] = nullcontext()


@define(eq=False)
class Guard:
    """Compares what owners use, and what they ask for, with their limits."""

    _limits: OwnerLimits
    _use: Use
    _starting: Counter[str] = field(factory=Counter, init=False)  # runs that are being created, by owner

    def new_run(self, owner: str) -> AbstractAsyncContextManager[None]:
        """A context in which a run is created.

        Raises:
            ApiError: 429, on entry: the owner has too many runs, or they have used too many tokens.
        """
        limits = self._limits.of(owner)
        if limits.active_runs is None and limits.tokens_per_day is None:
            return _FREE
        return self._starting_run(owner, limits.active_runs, limits.tokens_per_day)

    @asynccontextmanager
    async def _starting_run(self, owner: str, runs: int | None, tokens: int | None) -> AsyncGenerator[None]:
        if tokens is not None and (used := await self._use.tokens(owner)) >= tokens:
            raise _too_many_tokens(tokens, used, self._use.rest_of_day)
        # Those that are being created count, too: else many requests at once would all find room.
        self._starting[owner] += 1
        try:
            if runs is not None:
                before = self._starting[owner] - 1
                if (active := await self._use.active_runs(owner) + before) >= runs:
                    raise _too_many_runs(runs, active)
            yield
        finally:
            self._starting[owner] -= 1
            if not self._starting[owner]:
                del self._starting[owner]

    def most_messages(self, owner: str) -> int:
        """How many messages a thread may have."""
        most = self._limits.of(owner).messages_per_thread
        return MAX_MESSAGES if most is None else min(most, MAX_MESSAGES)

    def check_messages(self, owner: str, number: int, param: str) -> None:
        """Check how many messages a new thread begins with.

        Raises:
            ApiError: 400: there are too many.
        """
        if number > (most := self.most_messages(owner)):
            raise too_many_messages(number, most, param)

    async def check_bytes(self, owner: str, values: Sequence[Thread | Message]) -> None:
        """Check that there is room for a thread or messages, which are about to be stored.

        Raises:
            ApiError: 403: there is none.
        """
        most = self._limits.of(owner).stored_bytes
        if most is None or not values:
            return
        added, of_files = sum(map(size_of, values)), self._use.file_bytes(owner)
        used = of_files + await self._use.thread_bytes(owner, most - of_files - added + 1)
        if used + added > most:
            raise _too_many_bytes(most, used)

    async def room_for_files(self, owner: str) -> int | None:
        """How many bytes the files of an owner may have together; ``None``: any number."""
        most = self._limits.of(owner).stored_bytes
        if most is None:
            return None
        return max(most - await self._use.thread_bytes(owner, 1), 0)  # how large the file will be is not known


def _too_many_tokens(most: int, used: int, wait: float) -> ApiError:
    text = (
        f"Token limit reached: your runs may use {most} tokens a day, and those that were created today (UTC) "
        f"have used {used}. Please try again in {shown(wait)}, when the next day begins."
    )
    return ApiError(429, text, type="tokens", code="tokens_per_day_exceeded", retry_after=wait)


def _too_many_runs(most: int, active: int) -> ApiError:
    text = (
        f"Run limit reached: at most {most} of your runs may be active, which is until they end, and {active} are. "
        f"Please try again in {shown(_NEXT_RUN)}, or when one of them has ended."
    )
    return ApiError(429, text, type="runs", code="active_runs_exceeded", retry_after=_NEXT_RUN)


def too_many_messages(number: int, most: int, param: str | None, thread_id: str = "") -> ApiError:
    """The error for a thread that would have more messages than it may."""
    what = f"Invalid '{param}'" if param else f"Can't add messages to {thread_id}"
    text = f"too many messages. Expected a thread with at most {most} messages, but got {number} instead."
    return ApiError(400, f"{what}: {text}", param=param, code="array_above_max_length")


def _too_many_bytes(most: int, used: int) -> ApiError:
    """No 429: to wait is of no use."""
    text = (
        f"Your threads, messages and files would have more than {most} bytes together, the limit; they have {used}. "
        "Delete some first."
    )
    return ApiError(403, text, code="storage_quota_exceeded")


def shown(seconds: float) -> str:
    """A duration as OpenAI's headers have it, such as ``1h2m3s`` or ``120ms``."""
    if seconds < 1:
        return f"{max(round(seconds * 1000), 0)}ms"
    minutes, rest = divmod(-int(-seconds // 1), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
