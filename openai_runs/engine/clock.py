"""The engine's clock: the system's, or one that a test sets by hand."""

import time
from typing import Protocol

import anyio
import anyio.lowlevel
from attrs import define, field


class Clock(Protocol):
    """The current time, and waiting until a time."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return once it is ``when``, in Unix seconds, or later."""


class SystemClock:
    """The system's time. Deadlines in the store stay valid after a restart; those of a monotonic clock would not."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep_until(self, when: float) -> None:
        """Return once it is ``when`` or later. If the system's clock is set, that is noticed within a minute."""
        await anyio.lowlevel.checkpoint()
        while (left := when - time.time()) > 0:  # noqa: ASYNC110  # there is no event for setting the clock
            await anyio.sleep(min(left, 60))


@define
class ManualClock:
    """A clock that only `advance` moves, so that a test need not wait.

    Example:
        ``clock = ManualClock()``, ``Engine(clock=clock, …)``, then ``clock.advance(600)`` to see runs expire.
    """

    _now: float = 1_800_000_000.0
    _sleepers: list[tuple[float, anyio.Event]] = field(factory=list, init=False)

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    async def sleep_until(self, when: float) -> None:
        """Return once the clock has been advanced to ``when`` or later."""
        await anyio.lowlevel.checkpoint()
        if when > self._now:
            sleeper = (when, anyio.Event())
            self._sleepers.append(sleeper)
            try:
                await sleeper[1].wait()
            finally:
                self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Move the clock forward, and wake the tasks whose time has come."""
        self._now += seconds
        for when, event in self._sleepers:
            if when <= self._now:
                event.set()
