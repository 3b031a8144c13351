"""`RateLimits`: what an endpoint allows a session to send."""

from typing import Any

from attrs import field, frozen

from openai_runs._arguments import check_rate
from openai_runs._habits import RATE_LIMITS, explained_init


def _rate(_: object, attribute: Any, value: object) -> None:
    check_rate(f"RateLimits.{attribute.name}", value, none=attribute.name != "tokens_per_run")


@explained_init(RATE_LIMITS)
@frozen(kw_only=True)
class RateLimits:
    """What an endpoint allows, for all tasks of one `Session` together: ``Session(rate_limits=RateLimits(…))``.

    A request that has to wait is sent later, and none fails because of it, unless the session is closed meanwhile; the
    ``deadline`` of a batch's job counts from when its request is sent. The limits are kept at any moment, not only
    over a minute: at most one second's worth goes out at once. Where responses have ``x-ratelimit-*`` headers, the
    lower limit holds.
    """

    #: Requests a minute, polls included. ``None``: as many as the endpoint's headers say, or without a limit.
    requests_per_minute: float | None = field(default=None, validator=_rate)
    #: Tokens a minute that the runs of this session may use. ``None``: as for requests.
    tokens_per_minute: float | None = field(default=None, validator=_rate)
    #: Tokens that a run is expected to use, until this session has seen one end; from then on, it is their mean.
    tokens_per_run: float = field(default=1000.0, validator=_rate)
    #: Whether the endpoint counts ``GET`` requests, which polls are, among the requests a minute.
    counts_reads: bool = field(default=True)
    #: Polls a second, of all runs that are followed together; the more are followed, the longer each waits for its next
    #: poll. While requests are limited and reads count, polls are half of the requests at most. ``None``: 200, of those
    #: polls only that come after one that has shown no change, and has not said when to poll again.
    polls_per_second: float | None = field(default=None, validator=_rate)

    @counts_reads.validator
    def _check_counts_reads(self, _: object, value: object) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"RateLimits.counts_reads must be True or False: got {value!r}")
