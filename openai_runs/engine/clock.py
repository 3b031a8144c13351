"""Time, as the engine sees it: the system's, or one that a test moves by hand."""

from typing import Protocol


class Clock(Protocol):
    """What tells the time, and wakes up when it has come."""

    def now(self) -> float:
        """Unix seconds."""
        raise NotImplementedError

    async def sleep_until(self, when: float) -> None:
        """Return once ``now() >= when``."""
        raise NotImplementedError


class SystemClock:
    """The time of day."""

    def now(self) -> float:
        raise NotImplementedError

    async def sleep_until(self, when: float) -> None:
        raise NotImplementedError
