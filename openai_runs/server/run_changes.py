"""Streams the changes of all runs of an owner, as server-sent events: one feed instead of a poll for each run.

An event has the name and the data of the run's own stream, such as ``thread.run.completed`` with the run. First come
the runs that have not ended, then ``openai_runs.runs.current``, and then each change. The API has nothing like it.
"""

from collections.abc import Callable
from typing import Final

import anyio
from aiohttp import web
from attrs import define, field

from openai_runs._http.sse import frame
from openai_runs.models.run import Run
from openai_runs.server.exchange import ENGINE, OWNER
from openai_runs.server.sse_response import send_all

#: Ends the runs that a feed begins with.
CURRENT: Final = frame("openai_runs.runs.current", b"{}")
#: Runs whose changes a reader may leave unread. One that reads so slowly is to begin anew.
_MOST_UNREAD: Final = 10_000
#: Runs to join into one write.
_WRITE_RUNS: Final = 50


@define(eq=False)
class RunChanges:
    """The queue of one feed: runs that have changed since the reader was last sent something, each as it is now.

    A run that changes again before it is sent is sent once. So a slow reader misses states, as one who polls does, and
    never the last one.
    """

    _encode: Callable[[Run], bytes]  # `Engine.json`: the store has most of them as they are shown
    _runs: dict[str, Run] = field(factory=dict, init=False)
    _frames: list[bytes] = field(factory=list, init=False)
    _arrival: anyio.Event = field(factory=anyio.Event, init=False)
    taken: int = field(default=0, init=False)  #: how many times `take` has returned frames
    _is_over: bool = field(default=False, init=False)

    def note(self, run: Run) -> None:
        """Put in a run that has changed."""
        self._runs[run.id] = run
        if len(self._runs) > _MOST_UNREAD:
            self.break_off()
        self._arrival.set()

    def break_off(self) -> None:
        """End the feed: its reader is to begin anew."""
        self._runs.clear()
        self._is_over = True
        self._arrival.set()

    def put(self, frame: bytes) -> None:
        """Put in a frame that is no run; it is sent after the runs that have changed before."""
        self._frames.append(frame)
        self._arrival.set()

    async def take(self) -> bytes:
        """Wait for changes, and take out as many as one write should have; empty if the reader is too slow."""
        while not (self._runs or self._frames or self._is_over):
            self._arrival = anyio.Event()
            await self._arrival.wait()
        if self._is_over:
            return b""
        self.taken += 1
        runs = [self._runs.pop(id) for id in list(self._runs)[:_WRITE_RUNS]]
        frames = [frame(f"thread.run.{run.status}", self._encode(run)) for run in runs]
        if not self._runs:
            frames += self._frames
            self._frames.clear()
        return b"".join(frames)


async def stream_changes(request: web.Request) -> web.StreamResponse:
    """Respond with the changes of the owner's runs, until the reader disconnects."""
    engine, owner = request.app[ENGINE], request[OWNER]
    changes, runs = RunChanges(engine.json), engine.runs
    try:
        await runs.watch(owner, changes)
        changes.put(CURRENT)
        return await send_all(request, changes)
    finally:
        runs.unwatch(owner, changes)
