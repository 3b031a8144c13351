"""An event loop whose time is a number: whoever waits only for time to pass does not wait."""

import asyncio
import heapq


class ClockLoop(asyncio.SelectorEventLoop):
    """When nothing else is to be done, it is the time of the next timer."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__()

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0].when())
        super()._run_once()


class NetworkClockLoop(ClockLoop):
    """The same where both ends of connections are on this loop: what has been sent arrives before time passes."""

    def _run_once(self) -> None:
        if not self._ready:
            # What is sent through the loopback interface is there at once; the time is for a slow machine.
            self._process_events(self._selector.select(0.01))
        super()._run_once()
