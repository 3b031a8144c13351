"""The feed of a page: that runs have changed, and not which or how; the page then reads itself again.

The events of `openai_runs.server.run_changes` have whole runs, with instructions and tools, which no page uses.
"""

from typing import Final

import anyio
from aiohttp import web
from attrs import define, field

from openai_runs._http.sse import frame
from openai_runs.models.run import Run
from openai_runs.server.exchange import ENGINE, OWNER
from openai_runs.server.sse_response import send_all

_CHANGED: Final = frame(None, b"changed")


@define(eq=False)
class ChangeNotices:
    """The queue of one feed. However many runs change before it is read, there is one notice."""

    _frames: list[bytes] = field(factory=list, init=False)
    _arrival: anyio.Event = field(factory=anyio.Event, init=False)
    taken: int = field(default=0, init=False)  #: how many times `take` has returned frames

    def note(self, run: Run) -> None:  # noqa: ARG002  # as `Watcher` has it
        """Put in that a run has changed."""
        self.break_off()

    def break_off(self) -> None:
        """Put in that something may have changed."""
        if _CHANGED not in self._frames:
            self.put(_CHANGED)

    def put(self, frame: bytes) -> None:
        """Put in a frame, such as a keep-alive."""
        self._frames.append(frame)
        self._arrival.set()

    async def take(self) -> bytes:
        """Wait for frames, and take them out."""
        while not self._frames:
            self._arrival = anyio.Event()
            await self._arrival.wait()
        self.taken += 1
        text = b"".join(self._frames)
        self._frames.clear()
        return text


async def changes(request: web.Request) -> web.StreamResponse:
    """Tell a page that the owner's runs have changed, until it is closed."""
    notices, runs, owner = ChangeNotices(), request.app[ENGINE].runs, request[OWNER]
    try:
        await runs.watch(owner, notices)
        return await send_all(request, notices)
    finally:
        runs.unwatch(owner, notices)
