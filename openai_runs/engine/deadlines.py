"""All deadlines of the engine in one heap with one waiting task; a task for each run would cost too much memory."""

import logging
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import anyio
from attrs import define, field

from openai_runs.engine.clock import Clock

_logger = logging.getLogger("openai_runs.engine")


@define
class Deadlines:
    """Calls ``on_due`` with a name when the deadline of that name has come."""

    _clock: Clock
    _on_due: Callable[[str], None]
    _when: dict[str, float] = field(factory=dict, init=False)
    _heap: list[tuple[float, str]] = field(factory=list, init=False)  # also has entries of discarded deadlines
    _wait: anyio.CancelScope | None = field(default=None, init=False)

    def __len__(self) -> int:
        return len(self._when)

    def set(self, name: str, when: float) -> None:
        """Set the deadline of a name, in Unix seconds."""
        if self._when.get(name) == when:  # each entry of the heap costs memory
            return
        self._when[name] = when
        heappush(self._heap, (when, name))
        self._compact()
        if self._heap[0] == (when, name) and self._wait is not None:
            self._wait.cancel()  # wakes `run`, which is waiting for a later deadline

    def discard(self, name: str) -> None:
        """Remove the deadline of a name, if it has one."""
        self._when.pop(name, None)
        self._compact()

    def _compact(self) -> None:
        """Drop the entries of deadlines that were discarded or set anew, before they cost much memory."""
        if len(self._heap) > 2 * len(self._when) + 1000:
            self._heap = [(when, name) for name, when in self._when.items()]
            heapify(self._heap)

    async def run(self) -> None:
        """Wait for deadlines until cancelled."""
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
                        self._on_due(name)
                    except Exception:  # a failure for one name must not stop the other deadlines
                        _logger.exception("the deadline of %s could not be handled", name)
