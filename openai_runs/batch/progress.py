"""`BatchProgress`: how far a batch has come, as a value. The clock is read elsewhere: times are passed in."""

from typing import Final

from attrs import define, field, frozen

#: Seconds over which the rate is measured.
_WINDOW: Final = 60


@frozen(kw_only=True)
class BatchProgress:
    """How far a batch has come."""

    total: int | None  #: how many jobs there are, if that is known
    taken: int  #: jobs taken from the source
    done: int  #: jobs that have ended, whether or not their results have been read
    failed: int  #: of these, the ones that are not ``ok``
    in_flight: int  #: jobs that run
    waiting: int  #: jobs that were taken and wait for a worker, for their thread, or to be tried again
    tokens: int  #: used by the runs that have ended, as far as the server has told
    rate: float  #: jobs that ended, per second, over the last minute
    seconds_left: float | None  #: until all have ended, at this rate; ``None`` if that cannot be told


@define
class RecentRate:
    """How many jobs have ended a second, over the last minute.

    Its memory is of a fixed size, and reading it changes nothing, so that another thread may do it.
    """

    _began: float  # seconds, of any clock
    _counts: list[int] = field(init=False, factory=lambda: [0] * _WINDOW)  # by second
    _latest: int = field(default=0, init=False)  # the second of the latest count, from the beginning

    def add(self, now: float) -> None:
        """Count a job that ends now."""
        second = int(now - self._began)
        for passed in range(max(self._latest + 1, second - _WINDOW + 1), second + 1):
            self._counts[passed % _WINDOW] = 0
        self._latest = max(self._latest, second)
        self._counts[self._latest % _WINDOW] += 1

    def per_second(self, now: float) -> float:
        """Jobs a second."""
        elapsed = now - self._began
        first = max(int(elapsed) - _WINDOW + 1, 0)
        count = sum(self._counts[second % _WINDOW] for second in range(first, self._latest + 1))
        return count / min(elapsed, _WINDOW) if elapsed > 0 else 0.0


def seconds_left(total: int | None, done: int, rate: float) -> float | None:
    """Seconds until all of ``total`` jobs have ended, at ``rate`` jobs a second; ``None`` if that cannot be told."""
    if total is None:
        return None
    left = max(total - done, 0)
    if left == 0:
        return 0.0
    return left / rate if rate > 0 else None
