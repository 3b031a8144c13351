"""`Gate`: how many requests an owner may send, and the headers that say what is left, as OpenAI sends them.

Requests are counted in memory: after a restart, a minute's worth may come at once again. Servers that share a store
tell each other how many have come, within a second: see `UseElsewhere`.
"""

from collections import Counter
from typing import Final

from aiohttp import web
from attrs import define, field

from openai_runs.engine import ApiError, Engine
from openai_runs.engine.guard import shown
from openai_runs.engine.turnstile import Turnstile
from openai_runs.engine.use_elsewhere import MINUTE, Counted
from openai_runs.server.exchange import ALLOWANCE, IS_COUNTED
from openai_runs.stores.worked_for import work_for

#: Seconds within which news of other servers come, as a rule: until then, nobody has got anything back.
_NEWS_WITHIN: Final = 10.0
#: The codes of refusals that are counted.
CODES: Final = (
    "requests_per_minute_exceeded",
    "active_runs_exceeded",
    "tokens_per_day_exceeded",
    "storage_quota_exceeded",
)


@define
class _Left:
    """How many requests an owner may send at once; that grows all the time, up to its limit."""

    number: float
    at: float  # when that was their number

    def grow(self, most: int, now: float) -> None:
        # The clock may have been set back.
        self.number = min(self.number + max(now - self.at, 0.0) * most / MINUTE, most)
        self.at = now

    def take(self, most: int, since: float, number: int) -> None:
        """Count requests of a window that began at ``since``; of what is old news, a part has been got back."""
        got_back = max(self.at - (since + MINUTE + _NEWS_WITHIN), 0.0) * most / MINUTE
        self.number -= max(number - got_back, 0.0)


@define(eq=False)
class Gate:
    """Lets the requests of owners in, or not."""

    _engine: Engine
    _left: dict[str, _Left] = field(factory=dict, init=False)
    turnstile: Turnstile = field(factory=Turnstile, init=False)
    refused: Counter[tuple[str, str]] = field(factory=Counter, init=False)  #: by owner and code

    def __attrs_post_init__(self) -> None:
        self._engine.use.elsewhere.on(Counted.REQUESTS, self._count_elsewhere)

    @property
    def is_used(self) -> bool:
        """Whether any owner has a limit, or there are several owners."""
        return self.turnstile.is_shared or self._engine.limits.are_set

    @property
    def has_several_owners(self) -> bool:
        """Whether there are several owners, who have to take turns."""
        return self.turnstile.is_shared

    @has_several_owners.setter
    def has_several_owners(self, several: bool) -> None:
        self.turnstile.is_shared = self._engine.has_several_owners = several

    async def admit(self, request: web.BaseRequest, owner: str) -> None:
        """Let a request begin when it is its turn, count it, once, and note the headers of its response.

        Raises:
            ApiError: 429: it is one too many.
            StoreError: What the owner has used cannot be read.
        """
        if IS_COUNTED in request:  # in front of the application, which has been left to answer it
            return
        if self.turnstile.is_shared:
            work_for(owner)
            if (begins := self.turnstile.enter(owner)) is not None:
                await begins
        limits = self._engine.limits.of(owner)
        requests, tokens = limits.requests_per_minute, limits.tokens_per_day
        if requests is None and tokens is None:
            request[IS_COUNTED] = True
            return
        headers: dict[str, str] = {}
        request[ALLOWANCE] = headers
        if tokens is not None:
            use = self._engine.use
            used = known if (known := use.tokens_at_hand(owner)) is not None else await use.tokens(owner)
            headers["x-ratelimit-limit-tokens"] = str(tokens)
            headers["x-ratelimit-remaining-tokens"] = str(max(tokens - used, 0))
            headers["x-ratelimit-reset-tokens"] = shown(use.rest_of_day)
        if requests is not None:
            left = self._left_of(owner, requests)
            is_one_too_many = left.number < 1.0
            if not is_one_too_many:
                left.number -= 1.0
                self._engine.use.elsewhere.tell(Counted.REQUESTS, owner, 1)
            headers["x-ratelimit-limit-requests"] = str(requests)
            headers["x-ratelimit-remaining-requests"] = str(max(int(left.number), 0))
            headers["x-ratelimit-reset-requests"] = shown((requests - left.number) * MINUTE / requests)
            if is_one_too_many:
                raise _too_many_requests(requests, (1.0 - left.number) * MINUTE / requests)
        request[IS_COUNTED] = True

    def _left_of(self, owner: str, most: int) -> _Left:
        now = self._engine.clock.now()
        if (left := self._left.get(owner)) is None:
            left = self._left[owner] = _Left(most, now)
            for since, number in self._engine.use.elsewhere.before(Counted.REQUESTS, owner).items():
                left.take(most, since, number)
            left.number = max(left.number, 0.0)
        left.grow(most, now)
        return left

    def _count_elsewhere(self, owner: str, since: float, number: int) -> None:
        most = self._engine.limits.of(owner).requests_per_minute
        if most is not None and owner in self._left:  # else they are counted with the first one here
            self._left_of(owner, most).take(most, since, number)

    def requests(self, owner: str, most: int) -> int:
        """How many requests of its limit an owner has used, and not got back yet."""
        return most - int(self._left_of(owner, most).number)

    def note_refusal(self, owner: str, code: str | None) -> None:
        """Count a request that was refused, if it was because of a limit."""
        if code in CODES:
            self.refused[owner, code] += 1


GATE: Final = web.AppKey("gate", Gate)


def _too_many_requests(most: int, wait: float) -> ApiError:
    text = (
        f"Rate limit reached: you may send {most} requests a minute, and have used all of them. "
        f"Please try again in {shown(wait)}."
    )
    return ApiError(429, text, type="requests", code="requests_per_minute_exceeded", retry_after=wait)
