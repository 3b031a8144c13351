"""The feed of a page: that runs have changed, and not which or how; the page then reads itself again.

The events of `openai_runs.server.run_changes` have whole runs, with instructions and tools, which no page uses. The
feed of a run's page also has what the model writes, as it is written.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import anyio
from aiohttp import web
from attrs import define, field

from openai_runs import _wire
from openai_runs._http.sse import frame
from openai_runs.engine import Writing
from openai_runs.models.run import Run, RunStatus
from openai_runs.server.console.writing import WrittenPieces
from openai_runs.server.exchange import ENGINE, OWNER
from openai_runs.server.sse_response import send_all

_CHANGED: Final = frame(None, b"changed")
#: Seconds between two looks at what a model has written: however fast it is, a page is told ten times a second.
_PAUSE: Final = 0.1


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
        return self._all()

    def _all(self) -> bytes:
        self.taken += 1
        text = b"".join(self._frames)
        self._frames.clear()
        return text


@define(eq=False)
class RunNotices(ChangeNotices):
    """The queue of the feed of one run: that it has changed, and what its model writes.

    It looks at what is written, and so the model's call does nothing for it. It looks once what it had before is sent.
    """

    _look: Callable[[], Sequence[Writing]]
    _pieces: WrittenPieces = field(factory=WrittenPieces, init=False)
    _is_executing: bool = field(default=False, init=False)

    def note(self, run: Run) -> None:
        """Put in that the run has changed."""
        self._is_executing = run.status is RunStatus.IN_PROGRESS
        super().note(run)

    async def take(self) -> bytes:
        """Wait for frames, and take them out."""
        while not self._frames:
            self._arrival = anyio.Event()
            with anyio.move_on_after(_PAUSE if self._is_executing else None):
                await self._arrival.wait()
            if texts := self._pieces.new(self._look()):
                self.put(frame("written", _wire.encode_plain(texts)))
        return self._all()


async def changes(request: web.Request) -> web.StreamResponse:
    """Tell a page that the owner's runs have changed, until it is closed."""
    notices, runs, owner = ChangeNotices(), request.app[ENGINE].runs, request[OWNER]
    try:
        await runs.watch(owner, notices)
        return await send_all(request, notices)
    finally:
        runs.unwatch(owner, notices)


async def run_changes(request: web.Request) -> web.StreamResponse:
    """Tell the page of a run that it has changed, and what its model writes, until the page is closed."""
    runs = request.app[ENGINE].runs
    run = await runs.find(request[OWNER], request.match_info["run_id"])
    notices = RunNotices(partial(runs.writing, run))
    try:
        await runs.watch_run(run, notices)
        return await send_all(request, notices)
    finally:
        runs.unwatch_run(run, notices)
