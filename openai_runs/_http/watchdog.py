"""`Watchdog`: one timer that watches over all requests of a session, in place of a timer for each."""

import asyncio
from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

#: How long the timer takes, as a share of what it watches for, and at most so many seconds.
_SHARE: Final = 1 / 16
_LONGEST: Final = 1.0


@define
class Watchdog:
    """Ends requests for which nothing comes.

    aiohttp has a timer for each request, and sets it anew for each piece that comes. Nearly all requests are over long
    before: only one that is still under way when this timer fires gets aiohttp's own, which ends it with aiohttp's own
    error. So a silence may last a sixteenth longer, and a second at most.
    """

    _seconds: float  # without a byte, after which a request fails
    _under_way: dict["ResponseHandler", "Connection"] = field(factory=dict, init=False)  # by what outlives a request
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    def watch(self, connection: "Connection", protocol: "ResponseHandler") -> None:
        """Watch over a request that was sent just now."""
        if protocol.read_timeout != self._seconds:  # it has a limit of its own, or none
            protocol.start_timeout()
            return
        protocol.read_timeout = None
        self._under_way[protocol] = connection
        if self._timer is None:
            delay = min(self._seconds * _SHARE, _LONGEST)
            self._timer = asyncio.get_running_loop().call_later(delay, self._hand_over)

    def _hand_over(self) -> None:
        """Give aiohttp's timers to those that are still under way. The next request starts this one again."""
        for protocol, connection in self._under_way.items():
            if connection.protocol is protocol:
                protocol.read_timeout = self._seconds
                protocol.start_timeout()
        self._under_way.clear()
        self._timer = None

    def end(self) -> None:
        """Watch over nothing any more."""
        self._under_way.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
