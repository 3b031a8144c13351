"""`Bucket`: a token bucket as a value. The time is passed in, in seconds."""

import math
from typing import Final

from attrs import define, field

#: Seconds; how much may go out at once is what accrues in them. Endpoints often hold a minute's limit second by second.
_BURST: Final = 1.0
#: Seconds; a shorter wait is none, since a timer may fire that much too early.
_INSTANT: Final = 1e-6


@define
class Bucket:
    """What may go out now, which accrues at a rate up to a burst.

    More than there is may be taken: then the level is below 0, and the next one waits until that has been made up for.
    """

    rate: float = field(default=math.inf, init=False)  #: a second; infinite: there is no limit
    _level: float = field(default=0.0, init=False)
    _at: float = field(default=-math.inf, init=False)  # when that was the level; in the future after `drain`

    @property
    def capacity(self) -> float:
        """The highest level: what may go out at once."""
        return max(1.0, self.rate * _BURST)

    def set_rate(self, rate: float, now: float) -> None:
        """Change the rate from now on; the bucket of a new limit is full."""
        if rate == self.rate:
            return
        if self.rate == math.inf:
            self.rate, self._level, self._at = rate, max(1.0, rate * _BURST), now
            return
        self._accrue(now)
        self.rate = rate
        self._level = min(self._level, self.capacity)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken; more than a burst may be taken when there is a burst."""
        if self.rate == math.inf:
            return 0.0
        self._accrue(now)
        seconds = (min(amount, self.capacity) - self._level) / self.rate + max(self._at - now, 0.0)
        return seconds if seconds > _INSTANT else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take ``amount``, whether it is there or not; a negative one is given back."""
        if self.rate == math.inf:
            return
        self._accrue(now)
        self._level = min(self._level - amount, self.capacity)

    def lower(self, level: float, now: float) -> None:
        """Note that there is no more than ``level``."""
        self.take(0.0, now)
        self._level = min(self._level, level)

    def drain(self, until: float) -> None:
        """Leave nothing, and let nothing accrue until then."""
        if self.rate != math.inf:
            self._accrue(until)
            self._level, self._at = min(self._level, 0.0), max(self._at, until)

    def _accrue(self, now: float) -> None:
        if now > self._at:
            self._level = min(self._level + (now - self._at) * self.rate, self.capacity)
            self._at = now
