"""`Pace`: when the next request may be sent. All of it is computed from values; `turns` does the waiting."""

import math
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

from attrs import define, field

from openai_runs.pacing.adaptive_rate import AdaptiveRate
from openai_runs.pacing.bucket import Bucket
from openai_runs.pacing.rate_headers import Allowance, read_allowance
from openai_runs.pacing.rate_limits import RateLimits
from openai_runs.pacing.run_costs import RunCosts

#: Seconds; the longest pause that a server's ``Retry-After`` imposes on the whole session: as with polls, a minute.
_LONGEST_PAUSE: Final = 60.0
#: Idle polls a second. With the defaults of `Polling`, 1,000 runs that do not change take as many.
_POLLS: Final = 200.0
#: Seconds in which nobody had to wait, after which a limit that only 429 responses have set is removed.
_QUIET: Final = 60.0
#: Seconds for which a limit holds that a response has named, while others name another one; and how many hold at once.
_SAID_LATELY: Final = 60.0
_MOST_SAID: Final = 16


class Turn(Enum):
    """What waits for its turn."""

    READ = auto()  #: a ``GET``
    CONTINUE = auto()  #: what ends work that has begun: a cancellation, or outputs of tools
    BEGIN = auto()  #: any other request
    RUN = auto()  #: the tokens of a new run; its request takes another turn
    POLL = auto()  #: a poll of a run that is followed; its request takes another turn
    IDLE_POLL = auto()  #: the same, if the poll before has shown no change, and the server has not named a time


class Taken(NamedTuple):
    """A turn that was taken."""

    turn: Turn
    at: float
    tokens: float = 0.0  #: charged for a run


@define
class _Said:
    """The limits that headers have named lately. There are several where each model has its own."""

    _limits: dict[float, tuple[Allowance, float]] = field(factory=dict, init=False)  # and when, the latest last

    def lowest(self, said: Allowance, now: float) -> float:
        """Add what is said now; the lowest rate, a second."""
        before, _ = self._limits.pop(said.limit, (said, now))
        # For how long a limit is shows only after much has been used.
        self._limits[said.limit] = said._replace(window=max(before.window, said.window)), now
        while len(self._limits) > _MOST_SAID or next(iter(self._limits.values()))[1] < now - _SAID_LATELY:
            del self._limits[next(iter(self._limits))]
        return min(allowance.limit / allowance.window for allowance, _ in self._limits.values())


@define
class Pace:
    """What the limits of a session leave at a moment."""

    _limits: RateLimits
    costs: RunCosts = field(init=False)
    _requests: Bucket = field(factory=Bucket, init=False)
    _tokens: Bucket = field(factory=Bucket, init=False)
    _polls: Bucket = field(factory=Bucket, init=False)
    _adaptive: AdaptiveRate = field(factory=AdaptiveRate, init=False)
    _ceiling: dict[str, float] = field(init=False)  # a second, of requests and of tokens
    _said: dict[str, _Said] = field(init=False)  # of requests and of tokens
    _are_polls_limited: bool = field(default=False, init=False)  # those, too, that are not idle
    _closed_until: float = field(default=-math.inf, init=False)
    _waited_at: float = field(default=-math.inf, init=False)

    def __attrs_post_init__(self) -> None:
        limits = self._limits
        self.costs = RunCosts(limits.tokens_per_run)
        self._ceiling = {
            "requests": (limits.requests_per_minute or math.inf) / 60,
            "tokens": (limits.tokens_per_minute or math.inf) / 60,
        }
        self._said = {what: _Said() for what in self._ceiling}

    @property
    def limits_requests(self) -> bool:
        """Whether requests have to take turns."""
        return self._ceiling["requests"] != math.inf or self._adaptive.is_limited

    @property
    def limits_tokens(self) -> bool:
        """Whether runs have to take turns."""
        return self._ceiling["tokens"] != math.inf

    def wait(self, turn: Turn, now: float) -> float:
        """Seconds until this turn may be taken, if nobody else takes one; 0: now."""
        self._set_rates(now)
        wait = self._closed_until - now
        if turn is Turn.RUN:
            wait = max(wait, self._tokens.wait(self.costs.estimate, now))
        elif self._counts(turn):
            wait = max(wait, self._bucket(turn).wait(1.0, now))
            if self._limits.counts_reads:  # a poll that goes now has its request wait, ahead of those who came before
                wait = max(wait, self._requests.wait(1.0, now))
        return max(wait, 0.0)

    def take(self, turn: Turn, now: float) -> Taken:
        """Take a turn."""
        if turn is Turn.RUN:
            self._tokens.take(self.costs.estimate, now)
            return Taken(turn, now, self.costs.estimate)
        if self._counts(turn):
            # Only while all that count take turns: a rate that was measured in part is too low.
            if (bucket := self._bucket(turn)) is self._requests and self.limits_requests:
                self._adaptive.count(now)
            bucket.take(1.0, now)
        return Taken(turn, now)

    def give_back(self, taken: Taken, now: float) -> None:
        """Give back a turn that came to nothing."""
        if taken.turn is Turn.RUN:
            self._tokens.take(-taken.tokens, now)
        elif self._counts(taken.turn):
            self._bucket(taken.turn).take(-1.0, now)

    def note_wait(self, now: float) -> None:
        """Note that somebody has to wait for a turn."""
        self._waited_at = now

    def note_free(self, now: float) -> None:
        """Note that nobody waits: a limit that only refusals have set is removed once it is of no use any more."""
        if self._adaptive.is_limited and now - self._waited_at > _QUIET:
            self._adaptive.lift()

    def note_headers(self, headers: Mapping[str, str], now: float) -> None:
        """Learn from the headers of a response what the endpoint allows."""
        for what, bucket, ours in (
            ("requests", self._requests, self._limits.requests_per_minute),
            ("tokens", self._tokens, self._limits.tokens_per_minute),
        ):
            said = read_allowance(headers, what)
            if said is None:
                continue
            self._ceiling[what] = min((ours or math.inf) / 60, self._said[what].lowest(said, now))
            self._set_rates(now)
            bucket.lower(said.remaining, now)

    def note_success(self, sent_at: float) -> None:
        """Note that a request was not refused, and when it was sent."""
        self._adaptive.accept(sent_at)

    def note_refusal(self, sent_at: float, asked: float | None, now: float) -> None:
        """Learn from a 429 response: nothing is sent for a while, and then less.

        Args:
            sent_at: When its request was sent.
            asked: Seconds that the response asks to wait.
            now: The time.
        """
        pause = self._adaptive.refuse(sent_at, now, self._ceiling["requests"])
        pause = pause if asked is None else min(asked, _LONGEST_PAUSE)
        self._closed_until = max(self._closed_until, now + pause)
        self._waited_at = max(self._waited_at, self._closed_until)
        self._adaptive.hold(now, self._closed_until)
        self._set_rates(now)
        for bucket in (self._requests, self._tokens):  # what accrues meanwhile would go out in a burst
            bucket.drain(self._closed_until)

    def settle(self, run_id: str, used: float | None, now: float) -> None:
        """Charge what a run that has ended used beyond what was charged, or give the rest back."""
        self._tokens.take(self.costs.end(run_id, used), now)

    def _bucket(self, turn: Turn) -> Bucket:
        return self._polls if turn in (Turn.IDLE_POLL, Turn.POLL) else self._requests

    def _counts(self, turn: Turn) -> bool:
        """Whether such a turn counts towards a limit."""
        if turn is Turn.READ:
            return self._limits.counts_reads
        # Others are as few as the runs' changes, or as many as the server wants.
        return turn is not Turn.POLL or self._are_polls_limited

    def _set_rates(self, now: float) -> None:
        limits, requests = self._limits, min(self._ceiling["requests"], self._adaptive.at(now))
        self._requests.set_rate(requests, now)
        self._tokens.set_rate(self._ceiling["tokens"], now)
        shared = requests / 2 if limits.counts_reads else math.inf  # the other half is for what polls wait for
        self._polls.set_rate(min(limits.polls_per_second or _POLLS, shared), now)
        self._are_polls_limited = limits.polls_per_second is not None or shared != math.inf
