"""`RunChanges`: the runs of a session's key as they change, from one connection instead of a poll for each run."""

import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn, Self

import anyio
from attrs import define, field

from openai_runs import _wire
from openai_runs._http.overrides import Overrides
from openai_runs._http.sse import Frame
from openai_runs._http.transport import Transport
from openai_runs._wire.paths import RUN_BY_ID
from openai_runs.errors import NotFoundError, ProtocolError
from openai_runs.following.changes_stream import CURRENT, RUN, ChangesStream
from openai_runs.following.outages import through_outages
from openai_runs.following.polling import Polling
from openai_runs.models.run import Run

_logger = logging.getLogger("openai_runs.following")


@define(repr=False, eq=False)
class RunChanges(anyio.AsyncContextManagerMixin):
    """Runs as they change: ``async with session.runs.changes() as changes``, then ``async for run in changes``.

    First come the runs that have not ended, then each run whenever it has changed, as it is then. A reader that is
    slow, or was cut off, misses states in between, as one who polls does, but never the end of a run that it was told
    of. Waiting for the next one may be cancelled, and begun again.
    """

    _transport: Transport
    _polling: Polling
    _overrides: Overrides | None
    _told: dict[str, Run] = field(factory=dict, init=False)  # the latest of each run that has not ended
    _unseen: set[str] = field(factory=set, init=False)  # of these, those that this connection has not shown yet
    _next: deque[Run] = field(factory=deque, init=False)
    _is_open: bool = field(default=False, init=False)
    _stream: ChangesStream | None = field(default=None, init=False)  # none while the connection is being opened again
    _frames: deque[Frame] = field(factory=deque, init=False)  # that have come, and have not been read

    def __repr__(self) -> str:
        return f"<RunChanges of {self._transport.base_url}: {len(self._told)} runs have not ended>"

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._is_open = True
        try:
            await self._connect()
            yield self
        finally:
            self._is_open = False
            self._close()

    def __await__(self) -> NoReturn:
        raise TypeError("write `async with session.runs.changes() as changes`, then `async for run in changes`")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Run:
        while not self._next:
            await self._read()
        return self._next.popleft()

    async def _connect(self) -> ChangesStream:
        """Open the connection, for as long as the endpoint may be unreachable."""
        transport, overrides = self._transport, self._overrides
        connect = partial(transport.repeat, partial(ChangesStream.open, transport, overrides), overrides)
        self._stream = stream = await through_outages(connect, self._polling, "the changes of all runs")
        self._frames.clear()
        self._unseen = set(self._told)
        return stream

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _read(self) -> None:
        if not self._is_open:
            raise RuntimeError("write `async with session.runs.changes() as changes`, and iterate over it in there")
        stream = self._stream or await self._connect()
        if self._frames:
            await self._take(self._frames[0], stream)
            self._frames.popleft()
        elif (frames := await stream.read()) is not None:
            self._frames += frames
        else:
            _logger.warning("the changes of all runs: %s; connecting again", stream.how_it_ended)
            self._close()

    async def _take(self, frame: Frame, connection: ChangesStream) -> None:
        name, data = frame
        if name == CURRENT:
            for run_id in sorted(self._unseen):  # they have ended while there was no connection, or are gone
                try:
                    self._note(await self._find(run_id))
                except NotFoundError:
                    self._unseen.discard(run_id)
                    del self._told[run_id]
        elif name.startswith(RUN):
            stream = connection.stream
            try:
                run = _wire.load(data, Run, strict=stream.strict)
            except ProtocolError:
                run = None
            if run is None:  # outside the `except` block, whose error has the unredacted data
                raise stream.reader.misfit(data, Run, "an event of the stream")
            self._note(run)

    async def _find(self, run_id: str) -> Run:
        url = self._transport.url(RUN_BY_ID, run_id=run_id)

        async def find() -> Run:
            return await self._transport.request("GET", url, Run, overrides=self._overrides)

        return await through_outages(find, self._polling, f"run {run_id}")

    def _note(self, run: Run) -> None:
        self._unseen.discard(run.id)
        if run == self._told.get(run.id):  # it was told before the connection broke
            return
        if run.status.is_terminal:
            self._told.pop(run.id, None)
        else:
            self._told[run.id] = run
        self._next.append(run)
