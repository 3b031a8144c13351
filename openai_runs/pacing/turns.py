"""`Turns`: whatever a session sends waits here for its turn, in order of arrival.

What goes on with work that has begun comes before what begins new work: a cancellation does not wait behind thousands
of new runs. Polls wait in one line with new work: where requests are scarce, a poll that comes late is a poll saved,
since the run is more likely to have ended. They take half of the requests at most.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import define, field

from openai_runs.pacing.pace import Pace, Taken, Turn
from openai_runs.pacing.rate_limits import RateLimits

if TYPE_CHECKING:  # `Session` stands on this module, and starts without the models
    from openai_runs.models.run import Run

#: Who comes first; among those of one row, who has come first.
_ORDER: Final = ((Turn.RUN,), (Turn.READ, Turn.CONTINUE), (Turn.IDLE_POLL, Turn.POLL, Turn.BEGIN))
#: Seconds after which whoever waits is looked at again: the rate may have grown.
_LOOK_AGAIN: Final = 1.0


def turn_of(method: str, path: str) -> Turn:
    """The turn that a request takes."""
    if method == "GET":
        return Turn.READ
    return Turn.CONTINUE if path.endswith(("/cancel", "/submit_tool_outputs")) else Turn.BEGIN


@define
class Turns:
    """The turns of one session."""

    _limits: RateLimits
    is_active: bool = field(init=False)  #: whether requests have to take turns
    limits_tokens: bool = field(init=False)  #: whether new runs have to
    limits_polls: bool = field(init=False)  #: whether polls have to that are not idle
    _pace: Pace = field(init=False)
    _lines: dict[Turn, OrderedDict[int, asyncio.Future[Taken]]] = field(init=False)
    _arrived: int = field(default=0, init=False)
    waiting: int = field(default=0, init=False)  #: how many wait
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _is_open: bool = field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        self._pace = Pace(self._limits)
        self._lines = {turn: OrderedDict() for turn in Turn}
        self._see_limits()

    async def take(self, turn: Turn) -> Taken:
        """Wait for a turn, and take it."""
        loop, pace = asyncio.get_running_loop(), self._pace
        if not self.waiting:
            now = loop.time()
            if not self._is_open:
                return Taken(turn, now)
            if pace.wait(turn, now) <= 0.0:
                pace.note_free(now)
                self._see_limits()
                return pace.take(turn, now)
        line, number = self._lines[turn], self._arrived
        waiter: asyncio.Future[Taken] = loop.create_future()
        self._arrived += 1
        self.waiting += 1
        line[number] = waiter
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the turn and the cancellation came together
                pace.give_back(waiter.result(), loop.time())
            self._leave(line, number)
            self._serve()
            raise

    def give_back(self, taken: Taken) -> None:
        """Give back a turn that came to nothing, for the next one."""
        self._pace.give_back(taken, asyncio.get_running_loop().time())
        self._serve()

    def open(self) -> None:
        """Begin to hold back those who have to wait."""
        self._is_open = True

    def close(self) -> None:
        """Hold nobody back any more: the session is closed, so whoever waits is to go on, and to fail."""
        self._is_open = False
        now = asyncio.get_running_loop().time()
        for turn, line in self._lines.items():
            for waiter in line.values():
                if not waiter.cancelled():
                    waiter.set_result(Taken(turn, now))
            line.clear()
        self.waiting = 0
        self._serve()

    def note_response(self, taken: Taken | None, headers: Mapping[str, str]) -> None:
        """Learn from the head of a response that is no refusal. See `note_refusal`."""
        now = asyncio.get_running_loop().time()
        self._pace.note_headers(headers, now)
        self._pace.note_success(_sent_at(taken))
        self._see_limits()
        self._serve()

    def note_refusal(
        self, taken: Taken | None, headers: Mapping[str, str], asked: float | None, *, is_final: bool = False
    ) -> None:
        """Learn from a 429 response.

        Args:
            taken: The turn of its request, if that had to take one.
            headers: Its headers.
            asked: Seconds that it asks to wait.
            is_final: Whether repeating is of no use, as when the quota is used up. Then waiting is not either.
        """
        if is_final:
            self.note_response(taken, headers)
            return
        now = asyncio.get_running_loop().time()
        self._pace.note_headers(headers, now)
        self._pace.note_refusal(_sent_at(taken), asked, now)
        self._see_limits()
        self._serve()

    def start_run(self, run: "Run", taken: Taken) -> None:
        """Note that a run was created that had taken a turn."""
        self._pace.costs.start(run.id, taken.tokens, asyncio.get_running_loop().time())

    def see_run(self, run: "Run") -> None:
        """Note a snapshot of a run: if it has ended, its tokens are known."""
        if run.status.is_terminal:
            used = None if run.usage is None else run.usage.total_tokens
            self._pace.settle(run.id, used, asyncio.get_running_loop().time())
            self._serve()

    def _see_limits(self) -> None:
        self.is_active, self.limits_tokens = self._pace.limits_requests, self._pace.limits_tokens
        self.limits_polls = self.is_active or self._limits.polls_per_second is not None

    def _serve(self) -> None:
        """Let all go whose turn it is, and set a timer for the next one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.waiting:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._pace.note_wait(now)
        while (turn := self._next(loop, now)) is not None:
            line = self._lines[turn]
            number, waiter = next(iter(line.items()))
            self._leave(line, number)
            if not waiter.cancelled():
                waiter.set_result(self._pace.take(turn, now))

    def _next(self, loop: asyncio.AbstractEventLoop, now: float) -> Turn | None:
        """The line whose first may go now."""
        soonest = _LOOK_AGAIN
        for row in _ORDER:
            for _, turn in sorted((next(iter(line)), turn) for turn in row if (line := self._lines[turn])):
                wait = self._pace.wait(turn, now)
                if wait <= 0.0:
                    return turn
                soonest = min(soonest, wait)
        if self.waiting:
            self._timer = loop.call_later(soonest, self._serve)
        return None

    def _leave(self, line: OrderedDict[int, asyncio.Future[Taken]], number: int) -> None:
        if line.pop(number, None) is not None:
            self.waiting -= 1


def _sent_at(taken: Taken | None) -> float:
    # Requests without a turn were sent before there were turns: only the first refusal among them counts.
    return -1.0 if taken is None else taken.at
