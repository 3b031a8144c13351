"""`AdaptiveRate`: how many requests a second an endpoint seems to bear, by its 429 responses. The time is passed in.

The way of TCP: halved when the endpoint refuses, then growing by the same amount each second.
"""

import math
from typing import Final

from attrs import define, field

#: Seconds over which the rate of requests is measured.
_MEASURED: Final = 10.0
#: Seconds after a refusal until the rate is again what it was.
_RECOVERY: Final = 30.0
#: Seconds in which it grows by half of the limit, if that is known. Nothing has to be found out then; and what was
#: measured may be little, if there was little to send.
_RECOVERY_TO_LIMIT: Final = 10.0
#: Requests a second after the first refusal, if nothing has been measured yet.
_FIRST: Final = 1.0
#: Seconds in which that doubles until the endpoint refuses again.
_DOUBLING: Final = 2.0
#: Requests a second; the rate does not fall below that, nor is one found out above that.
_LOWEST: Final = 0.1
_HIGHEST: Final = 2.0**30
#: Seconds; after so many without a request, measuring begins anew: a session that had nothing to send is not slow.
_IDLE: Final = 5.0
#: A session that sent less than this part of what was allowed was not held back, so its rate is not what the endpoint
#: bears. While the rate doubles, what is measured lags behind it.
_USED: Final = 1 / 2
_USED_WHILE_DOUBLING: Final = 1 / 8
#: Seconds; the longest pause after refusals in a row that did not say how long to wait.
_LONGEST_PAUSE: Final = 30.0


@define
class AdaptiveRate:
    """The rate that an endpoint bears; without a limit until it refuses a request."""

    _rate: float = field(default=math.inf, init=False)  # at `_since`
    _since: float = field(default=0.0, init=False)
    _growth: float = field(default=0.0, init=False)  # by how much it grows a second; 0: it doubles
    _refused_at: float = field(default=-math.inf, init=False)  # the latest refusal that counted
    _refusals: int = field(default=0, init=False)  # how many in a row
    _sent: float = field(default=0.0, init=False)  # requests, the older the less they count
    _sent_at: float = field(default=-math.inf, init=False)  # when that was their number
    _measured_from: float = field(default=math.inf, init=False)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self._rate != math.inf

    def at(self, now: float) -> float:
        """Requests a second that may be sent now."""
        if self._rate == math.inf:
            return math.inf
        age = max(now - self._since, 0.0)
        if self._growth == 0.0:
            return min(self._rate * math.pow(2.0, min(age / _DOUBLING, 30.0)), _HIGHEST)
        return self._rate + self._growth * age

    def count(self, now: float) -> None:
        """Count a request that is sent now."""
        if now - self._sent_at > _IDLE:
            self._sent, self._measured_from = 0.0, now
        self._sent = self._sent * math.exp((self._sent_at - now) / _MEASURED) + 1.0
        self._sent_at = now

    def measured(self, now: float) -> float:
        """Requests a second that were sent recently; infinite if none was counted."""
        if self._measured_from == math.inf:
            return math.inf
        sent = self._sent * math.exp((self._sent_at - now) / _MEASURED)
        age = max(now - self._measured_from, 1.0)  # a few requests within milliseconds are no rate
        return sent / (_MEASURED * (1.0 - math.exp(-age / _MEASURED)))

    def accept(self, sent_at: float) -> None:
        """Note that a request was not refused."""
        if sent_at > self._refused_at:
            self._refusals = 0

    def refuse(self, sent_at: float, now: float, ceiling: float) -> float:
        """Note that a request was refused.

        Requests that were under way at the latest refusal say nothing new. Nor do refusals in a row say by how much the
        rate is too high: they lengthen the pause.

        Args:
            sent_at: When it was sent.
            now: The time.
            ceiling: Requests a second that were allowed anyway.

        Returns:
            Seconds in which nothing should be sent, unless the endpoint says how long to wait.
        """
        if sent_at <= self._refused_at:
            return 0.0
        if self._refusals == 0:
            self._lower(now, ceiling)
        pause = min(2.0**self._refusals, _LONGEST_PAUSE)
        self._refused_at, self._refusals = now, min(self._refusals + 1, 10)
        self._since = now
        return pause

    def hold(self, now: float, until: float) -> None:
        """Do not grow until then, but keep what has grown."""
        if until > self._since:
            self._rate, self._since = self.at(now), until

    def lift(self) -> None:
        """Remove the limit, and forget what was measured: nothing is counted from now on."""
        self._rate, self._refused_at, self._refusals = math.inf, -math.inf, 0
        self._sent, self._sent_at, self._measured_from = 0.0, -math.inf, math.inf

    def _lower(self, now: float, ceiling: float) -> None:
        allowed, measured = self.at(now), self.measured(now)
        was = max(min(allowed, measured, ceiling), 2 * _LOWEST)
        if ceiling != math.inf:
            self._rate, self._growth = was / 2, ceiling / 2 / _RECOVERY_TO_LIMIT
        elif was == math.inf:
            self._rate, self._growth = _FIRST, 0.0
        elif self._was_used(allowed, measured):
            self._rate, self._growth = was / 2, was / 2 / _RECOVERY
        else:  # what the endpoint bears has to be found out again
            self._rate, self._growth = max(was / 2, min(_FIRST, allowed / 2)), 0.0

    def _was_used(self, allowed: float, measured: float) -> bool:
        """Whether the session sent about as much as it might."""
        used = _USED_WHILE_DOUBLING if self._growth == 0.0 else _USED
        return allowed == math.inf or measured >= allowed * used
