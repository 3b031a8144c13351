"""How often a run is polled. Delays are computed as values; nothing here reads a clock or sleeps."""

from typing import Any, Final

from attrs import field, frozen, validators

from openai_runs._arguments import check_seconds
from openai_runs._habits import POLLING, explained_init


def _seconds(_: object, attribute: Any, value: object) -> None:
    name = attribute.name
    check_seconds(f"Polling.{name}", value, zero=name == "outage", none=name == "queued_timeout")


#: Seconds; the bounds of a delay that a server asks for.
_SHORTEST_HINT: Final = 0.02
_LONGEST_HINT: Final = 60.0
#: The longest hint for a run with a completion window, as a share of the window.
_WINDOW_SHARE: Final = 1 / 60


@explained_init(POLLING)
@frozen(kw_only=True)
class Polling:
    """How often to poll. A response's hint, ``openai-poll-after-ms``, overrides it for the next poll.

    The delay is ``first`` seconds after each change of the run, and is multiplied by ``factor`` after each response
    without a change, up to ``longest`` seconds.

    A hint counts as at least 0.02 seconds, and as at most a minute, or ``longest`` if that is more. The same bounds
    hold for the ``Retry-After`` of a poll that failed: it lengthens the delay, and the run is polled again within
    ``outage`` and the deadline, however long the server asks to wait.

    Of a run with a ``completion_window``, a hint may also be a sixtieth of that window: two minutes of two hours.

    These are the delays of one run. If a session follows more runs than it may poll, each waits longer: with N runs at
    most N / `RateLimits.polls_per_second` seconds more.
    """

    first: float = field(default=0.25, validator=_seconds)
    factor: float = field(default=1.5, validator=[validators.ge(1), validators.le(10)])
    longest: float = field(default=5.0, validator=_seconds)
    #: Seconds without interruption that a run may stay ``queued`` before `RunStuckError` is raised. ``None``: no limit.
    #: There is none for a run with a ``completion_window`` either, which has hours.
    queued_timeout: float | None = field(default=600.0, validator=_seconds)
    #: Seconds without interruption that the endpoint may be unreachable before its error is raised, from when the first
    #: request that failed was sent, retries included. A request in progress is not interrupted.
    outage: float = field(default=60.0, validator=_seconds)

    def delay(self, unchanged: int, hint: float | None = None, *, window: float = 0.0) -> float:
        """Seconds until the next poll.

        Args:
            unchanged: How many responses in a row showed no change.
            hint: The server's hint, in seconds.
            window: The run's completion window, in seconds; 0 for a run without one.
        """
        if hint is not None:
            return min(max(hint, _SHORTEST_HINT), max(_LONGEST_HINT, self.longest, window * _WINDOW_SHARE))
        # The exponent is limited too: a run that is polled for days must not overflow a float.
        return min(self.first * self.factor ** min(unchanged, 64), self.longest)
