"""Streams a run's events as server-sent events, as they happen.

The engine never waits for a reader, and a connection may be slow, so an `Outbox` stands between them. Frames are bytes
that go straight to the connection: a library would encode text and write each event by itself.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Protocol

import anyio
from aiohttp import hdrs, web
from attrs import define, field

from openai_runs import _wire
from openai_runs._http.sse import DONE, HEADERS, KEEP_ALIVE, frame
from openai_runs.engine import ApiEvent, Subscriber
from openai_runs.engine.api_events import TextPiece
from openai_runs.models.run import Run, RunStatus
from openai_runs.server.exchange import ENGINE, IS_REPLAYED, REQUEST_ID, RESHAPING, Reshape, run_response

_logger = logging.getLogger("openai_runs.server")

_MESSAGE_DELTA: Final = "thread.message.delta"
#: A stream ends after one of these, since the run has ended or waits for tool outputs.
_FINAL_EVENTS: Final = frozenset(
    f"thread.run.{status}" for status in RunStatus if status.is_terminal or status is RunStatus.REQUIRES_ACTION
)

#: Seconds between two keep-alives: a quarter of the idle timeout that is common among proxies.
HEARTBEAT: Final = 15.0
#: Heartbeats without progress after which a reader counts as gone. Only what the operating system does not buffer can
#: be seen, and it buffers megabytes.
_MAX_STALLED: Final = 20
#: Seconds after which a piece of a text is sent without waiting for others that could be joined to it: it comes alone,
#: as the tokens of a shared model do. Waking a task for each would cost more than encoding and sending it.
_APART: Final = 0.005
#: Bytes of frames to join into one write. About as many may be in the connection's own buffer.
_WRITE_SIZE: Final = 64 * 1024

#: The open streams, which are aborted when the server stops.
STREAMS: Final = web.AppKey("streams", set["_Connection"])


class Queue(Protocol):
    """The frames of one stream that are not sent yet."""

    @property
    def taken(self) -> int:
        """How many times `take` has returned frames."""
        ...

    def put(self, frame: bytes) -> None:
        """Put in a frame."""

    async def take(self) -> bytes:
        """Wait for frames, and take out as many as one write should have; empty at the end of the stream."""
        ...


@define(eq=False)
class Outbox:
    """The queue of one stream: a run's events that are not sent yet, in order.

    It needs no limit: it holds at most what a run writes in one model call, and of a text only a pointer to each piece
    that the engine keeps anyway. So a reader that stops reading delays nobody and costs little memory until its
    connection is aborted. If it reads on before that, it gets everything.
    """

    _encode: Callable[[Any], bytes] = _wire.encode  # `Engine.json`: the store has most objects as they are shown
    _pending: deque[ApiEvent | str | bytes] = field(factory=deque, init=False)
    # Done when something is put into an empty queue. An event of asyncio or anyio costs several times as much.
    _arrival: asyncio.Future[None] | None = field(default=None, init=False)
    _is_complete: bool = field(default=False, init=False)  # the final event is in
    _is_broken: bool = field(default=False, init=False)
    # Consecutive pieces of one text are kept as mere strings, behind the first of them.
    _text_in: object = field(default=None, init=False)  # which text the latest piece put in belongs to
    _delta_out: Mapping[str, Any] = field(factory=dict, init=False)  # the latest delta taken out
    _prefix: bytes = field(default=b"", init=False)  # the frame of a piece after that delta, up to the piece itself
    _object_out: object = field(
        default=None, init=False
    )  # the latest object taken out: the next event may have it, too
    _text_out: bytes = field(default=b"", init=False)  # its JSON
    taken: int = field(default=0, init=False)  #: how many times frames have been taken out
    #: Sends a frame at once, if nothing stands between it and the reader; returns whether it has.
    send_now: Callable[[bytes], bool] | None = field(default=None, init=False)
    reshape: Reshape | None = field(default=None, init=False)  #: changes the objects before they are sent

    def receive(self, events: Sequence[ApiEvent]) -> None:
        """Put in events of the run. Those after the stream's final event are ignored."""
        for event in events:
            if self._is_complete:
                return
            data = event.data
            if data.__class__ is TextPiece:
                if data.source is self._text_in:
                    self._pending.append(data.value)
                    continue
                self._text_in = data.source
            else:
                self._text_in = None
            self._pending.append(event)
            if event.name in _FINAL_EVENTS:
                self._pending.append(DONE)
                self._is_complete = True
        self._wake()

    def break_off(self) -> None:
        """End without the final event."""
        self._is_broken = not self._is_complete
        self._wake()

    def put(self, frame: bytes) -> None:
        """Put in a frame that is not an event of the run."""
        self._pending.append(frame)
        self._wake()

    def _wake(self) -> None:
        arrival = self._arrival
        if arrival is None or arrival.done():
            return
        pending = self._pending
        if self.send_now is not None and len(pending) == 1 and pending[0].__class__ is str:
            frame = self._encoded(pending.popleft())
            if self.send_now(frame):
                self.taken += 1
                return
            pending.append(frame)
        arrival.set_result(None)

    async def take(self) -> bytes:
        """Wait for frames, and take out as many as one write should have; empty after the end of the stream.

        Raises:
            ConnectionError: It ends without its final event.
        """
        if self._pending:
            await asyncio.sleep(0)  # a long queue must not keep other tasks from running
        while not self._pending:
            if self._is_complete:
                return b""
            if self._is_broken:
                raise ConnectionAbortedError("the run goes on at another server")
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        self.taken += 1
        frames, size = [], 0
        while self._pending and size < _WRITE_SIZE:
            frames.append(self._encoded(self._pending.popleft()))
            size += len(frames[-1])
        return b"".join(frames)

    def _encoded(self, item: ApiEvent | str | bytes) -> bytes:
        if isinstance(item, str):
            if not self._prefix:
                self._prefix = _prefix_after(self._delta_out)
            return b"%b%b}}]}}\n\n" % (self._prefix, _wire.encode_plain(item))
        if isinstance(item, bytes):
            return item
        data = item.data
        if data.__class__ is TextPiece:
            data = data.json()
        if self.reshape is not None:
            data = self.reshape(dict(data) if isinstance(data, Mapping) else _wire.dump(data))
        if isinstance(data, Mapping):
            if item.name == _MESSAGE_DELTA:
                self._delta_out, self._prefix = data, b""
            return frame(item.name, _wire.encode_plain(data))
        if data is not self._object_out:
            self._object_out, self._text_out = data, self._encode(data)
        return frame(item.name, self._text_out)


def _prefix_after(delta: Mapping[str, Any]) -> bytes:
    """The start of the frame that adds a piece to the text of ``delta``, up to the piece."""
    [part] = delta["delta"]["content"]
    more = {**delta, "delta": {"content": [{"index": part["index"], "type": "text", "text": {"value": ""}}]}}
    return frame(_MESSAGE_DELTA, _wire.encode_plain(more)).removesuffix(b'""}}]}}\n\n')


async def stream(request: web.Request, start: Callable[[Subscriber], Awaitable[Run]]) -> web.StreamResponse:
    """Start or continue a run, and stream its events until it ends or waits for tool outputs; then ``done``.

    If the reader disconnects, the run goes on. If the request is a repetition by its idempotency key, the response is
    the run as plain JSON: what the stream of the first request has told cannot be told again.

    Args:
        request: The request for the stream.
        start: Makes the engine start or continue the run, with the subscriber for its events.

    Raises:
        ApiError: The engine refuses; nothing was sent.
    """
    engine = request.app[ENGINE]
    outbox, runs = Outbox(engine.json), engine.runs
    run = await start(outbox)
    if IS_REPLAYED in request:
        return run_response(request, run)
    try:
        if (reshaping := request.get(RESHAPING)) is not None:
            outbox.reshape = await reshaping(run)
        return await send_all(request, outbox)
    finally:
        runs.unsubscribe(run.id, outbox)


async def send_all(request: web.Request, queue: Queue) -> web.StreamResponse:
    """Respond with all that a queue has, until it ends or the reader disconnects, and keep-alives in between."""
    return await _Connection(request, queue).send_all()


async def abort_streams(app: web.Application) -> None:
    """Abort all streams, since the server stops. Their runs go on when it starts again, and can be polled."""
    for connection in app[STREAMS].copy():
        connection.abort()


@define(eq=False)
class _Connection:
    """Sends the frames of a queue, and keep-alives in between."""

    _request: web.Request
    queue: Queue
    _sent_at: float = field(default=-math.inf, init=False)  # when `_send_now` has last sent something

    async def send_all(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        streams = self._request.app[STREAMS]
        streams.add(self)
        try:
            async with anyio.create_task_group() as tasks:
                # Not the other way round: each event would wake a task through all middlewares.
                tasks.start_soon(self._send, response, tasks.cancel_scope)
                await self._send_keep_alives()
        finally:
            streams.discard(self)
        return response

    async def _send(self, response: web.StreamResponse, keeping_alive: anyio.CancelScope) -> None:
        try:
            await response.prepare(self._request)
            if isinstance(self.queue, Outbox) and response.headers.get(hdrs.TRANSFER_ENCODING) == "chunked":
                self.queue.send_now = self._send_now
            while frames := await self.queue.take():
                await response.write(frames)
        except ConnectionError:  # the reader has disconnected, or is to take the stream for broken; the run goes on
            self.abort()
        except Exception:  # our own bug: a response that has begun cannot become a 500, so the stream reports it
            _logger.exception("request %s failed: its stream broke off", self._request[REQUEST_ID])
            text = "The server had an error while sending this stream; the run goes on. Its log has the details under"
            error = {"code": None, "message": f"{text} {self._request[REQUEST_ID]}.", "param": None}
            with suppress(ConnectionError):
                await response.write(frame("error", _wire.encode_plain({**error, "type": "server_error"})))
        keeping_alive.cancel()

    def _send_now(self, frames: bytes) -> bool:
        """Send frames without waking `_send`, if it waits for some, and nothing stands between them and the reader."""
        now, transport = monotonic(), self._request.transport
        if now < self._sent_at + _APART or transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size():
            return False
        self._sent_at = now
        transport.write(b"%x\r\n%b\r\n" % (len(frames), frames))
        return True

    async def _send_keep_alives(self) -> None:
        """Send keep-alives while there is nothing to read, and abort the connection if its reader has stalled."""
        clock = self._request.app[ENGINE].clock
        before, stalled = (0, 0), 0
        while stalled < _MAX_STALLED:
            await clock.sleep_until(clock.now() + HEARTBEAT)
            transport = self._request.transport
            unread = 0 if transport is None else transport.get_write_buffer_size()
            now = (unread, self.queue.taken)
            stalled = stalled + 1 if unread and now == before else 0
            before = now
            if not unread:
                self.queue.put(KEEP_ALIVE)
        self.abort()

    def abort(self) -> None:
        """Close the connection without ending the response, so that no client takes the stream for complete."""
        if (transport := self._request.transport) is not None:
            transport.abort()
        self.queue.put(KEEP_ALIVE)  # wakes `_send`, whose next write fails and ends it
