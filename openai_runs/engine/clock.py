"""Time, as the engine sees it: the system's, or one that a test moves by hand."""

import time
from typing import Protocol

import anyio
import anyio.lowlevel
from attrs import define, field


class Clock(Protocol):
    """Tells the time, and wakes whoever waits for it."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return once it is ``when``, in Unix seconds, or later."""


class SystemClock:
    """The time of day. It survives a restart, which a monotonic clock does not."""

    def now(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep_until(self, when: float) -> None:
        """Return once it is ``when`` or later; noticing within a minute that the clock was set."""
        await anyio.lowlevel.checkpoint()
        while (left := when - time.time()) > 0:  # noqa: ASYNC110  # no event tells that the clock was set
            await anyio.sleep(min(left, 60))


@define
class ManualClock:
    """A clock that stands still until it is moved: ten minutes pass in no time.

    Example:
        ``clock = ManualClock()``, ``Engine(clock=clock, …)``, then ``clock.advance(600)`` to see runs expire.
    """

    _now: float = 1_800_000_000.0
    _sleepers: list[tuple[float, anyio.Event]] = field(factory=list, init=False)

    def now(self) -> float:
        """Unix seconds."""
        return self._now

    async def sleep_until(self, when: float) -> None:
        """Return once the clock was moved to ``when`` or past it."""
        await anyio.lowlevel.checkpoint()
        if when > self._now:
            sleeper = (when, anyio.Event())
            self._sleepers.append(sleeper)
            try:
                await sleeper[1].wait()
            finally:
                self._sleepers.remove(sleeper)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        for when, event in self._sleepers:
            if when <= self._now:
                event.set()
