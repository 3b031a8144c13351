"""All the engine's deadlines in one heap with one waiting task, so that ten thousand waiting runs cost nothing."""

import logging
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import anyio
from attrs import define, field

from openai_runs.engine.clock import Clock

_logger = logging.getLogger("openai_runs.engine")


@define
class Deadlines:
    """Calls ``due`` with a name when its time has come."""

    _clock: Clock
    _due: Callable[[str], None]
    _when: dict[str, float] = field(factory=dict, init=False)
    _heap: list[tuple[float, str]] = field(factory=list, init=False)  # with entries of names that are long gone
    _wait: anyio.CancelScope | None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self._when)

    def set(self, name: str, when: float) -> None:
        """Set the deadline of a name, in Unix seconds."""
        self._when[name] = when
        heappush(self._heap, (when, name))
        if self._heap[0] == (when, name) and self._wait is not None:
            self._wait.cancel()  # wakes `run`, which waits for a later one

    def discard(self, name: str) -> None:
        """Forget the deadline of a name, if it has one."""
        self._when.pop(name, None)
        if len(self._heap) > 2 * len(self._when) + 1000:
            self._heap = [(when, name) for name, when in self._when.items()]
            heapify(self._heap)

    async def run(self) -> None:
        """Wait for deadlines, for ever."""
        while True:
            with anyio.CancelScope() as self._wait:
                if self._heap:
                    await self._clock.sleep_until(self._heap[0][0])
                else:
                    await anyio.sleep_forever()
            now = self._clock.now()
            while self._heap and self._heap[0][0] <= now:
                when, name = heappop(self._heap)
                if self._when.get(name) == when:
                    del self._when[name]
                    try:
                        self._due(name)
                    except Exception:  # of this one: the others have theirs to come
                        _logger.exception("the deadline of %s has come, and nothing came of it", name)
