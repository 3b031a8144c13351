"""A run's events as server-sent events, while they happen.

Between the engine, which never waits for a reader, and a connection, which may be slow, is an `Outbox`. Frames are
bytes that go straight to the connection: a library for it would write each event by itself, and from text.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.lowlevel
from aiohttp import web
from attrs import define, field

from openai_runs import _wire
from openai_runs._http.sse import DONE, HEADERS, KEEP_ALIVE, frame
from openai_runs.engine import ApiEvent, Subscriber
from openai_runs.models.run import Run, RunStatus
from openai_runs.server.exchange import ENGINE, REQUEST_ID

_logger = logging.getLogger("openai_runs.server")

_TEXT: Final = "thread.message.delta"
#: With these the story is told, as far as it goes.
_LAST: Final = frozenset(
    f"thread.run.{status}" for status in RunStatus if status.is_terminal or status is RunStatus.REQUIRES_ACTION
)

#: Seconds between two signs of life: a quarter of what proxies commonly give a connection on which nothing moves.
HEARTBEAT: Final = 15.0
#: Heartbeats during which a reader may take nothing of what is sent, as far as the system lets us see: it buffers
#: megabytes. Then the reader is as good as gone.
_PATIENCE: Final = 20
#: Bytes after which a write is large enough. About as many may be in the connection's own buffer.
_ENOUGH: Final = 64 * 1024

#: What can be hung up when the server stops.
STREAMS: Final = web.AppKey("streams", set["_Connection"])


@define(eq=False)
class Outbox:
    """What has happened to a run and is not sent yet: the engine puts in, a connection takes out.

    It has no limit of its own: it holds what a run has written in one model call, at most, and of a text only the
    engine's own pieces, a pointer each. So a reader that stops reading slows nobody, costs next to nothing beyond what
    the run itself holds until it is let go, and finds all of it if it reads on before that.
    """

    _waiting: deque[ApiEvent | str | bytes] = field(factory=deque, init=False)
    _news: anyio.Event | None = field(default=None, init=False)
    _is_complete: bool = field(default=False, init=False)  # nothing more is going to come
    _text_in: object = field(default=None, init=False)  # the text that the latest piece put in belongs to
    _text_out: Mapping[str, Any] = field(factory=dict, init=False)  # the delta that the latest piece taken out follows
    _head: bytes = field(default=b"", init=False)  # of one more such piece, once there is one
    taken: int = field(default=0, init=False)  #: how often something was taken out

    def receive(self, events: Sequence[ApiEvent]) -> None:
        """Put in what has happened. After the last event of a stream nothing is put in any more."""
        for event in events:
            if self._is_complete:
                return
            text, piece = _piece_of(event)
            if piece is not None and text == self._text_in:
                self._waiting.append(piece)
                continue
            self._text_in = text
            self._waiting.append(event)
            if event.name in _LAST:
                self._waiting.append(DONE)
                self._is_complete = True
        self._wake()

    def put(self, frame: bytes) -> None:
        """Put in something that is no event of the run."""
        self._waiting.append(frame)
        self._wake()

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()

    async def take(self) -> bytes:
        """Take out whole frames, as soon as there are some; nothing when all has been taken."""
        if self._waiting:
            await anyio.lowlevel.checkpoint()  # so much at once: let others have their turn
        while not self._waiting:
            if self._is_complete:
                return b""
            self._news = anyio.Event()
            await self._news.wait()
        self.taken += 1
        frames, size = [], 0
        while self._waiting and size < _ENOUGH:
            frames.append(self._encoded(self._waiting.popleft()))
            size += len(frames[-1])
        return b"".join(frames)

    def _encoded(self, item: ApiEvent | str | bytes) -> bytes:
        if isinstance(item, str):
            if not self._head:
                self._head = _head_of(self._text_out)
            return b"%b%b}}]}}\n\n" % (self._head, _wire.encode_plain(item))
        if isinstance(item, bytes):
            return item
        if isinstance(item.data, Mapping):
            if item.name == _TEXT:
                self._text_out, self._head = item.data, b""
            return frame(item.name, _wire.encode_plain(item.data))
        return frame(item.name, _wire.encode(item.data))


def _piece_of(event: ApiEvent) -> tuple[object, str | None]:
    """Which text a delta is about; and the piece itself, if it adds nothing but that."""
    if event.name != _TEXT or not isinstance(event.data, Mapping):
        return None, None
    [part] = event.data["delta"]["content"]
    text = part.get("text")
    if text is None:
        return None, None
    return (event.data["id"], part["index"]), text["value"] if text.keys() == {"value"} else None


def _head_of(delta: Mapping[str, Any]) -> bytes:
    """All but the piece itself of a delta that adds one to the text of another delta."""
    [part] = delta["delta"]["content"]
    more = {**delta, "delta": {"content": [{"index": part["index"], "type": "text", "text": {"value": ""}}]}}
    return frame(_TEXT, _wire.encode_plain(more)).removesuffix(b'""}}]}}\n\n')


async def stream(request: web.Request, start: Callable[[Subscriber], Awaitable[Run]]) -> web.StreamResponse:
    """Let a run go on, and send its events until it ends or waits for tool outputs; then ``done``.

    The run is not the reader's: it goes on if the reader leaves.

    Args:
        request: The request for it.
        start: Has the engine start the run, or go on with it.

    Raises:
        ApiError: The engine refuses; nothing was sent.
    """
    connection, runs = _Connection(request), request.app[ENGINE].runs
    run = await start(connection.outbox)
    try:
        return await connection.send_all()
    finally:
        runs.unsubscribe(run.id, connection.outbox)


async def hang_up_all(app: web.Application) -> None:
    """End all streams, since the server stops. Their runs go on some day, and can be asked for."""
    for connection in app[STREAMS].copy():
        connection.hang_up()


@define(eq=False)
class _Connection:
    """Sends what is in an outbox."""

    _request: web.Request
    outbox: Outbox = field(factory=Outbox, init=False)

    async def send_all(self) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        streams = self._request.app[STREAMS]
        streams.add(self)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                await self._send(response)
                tasks.cancel_scope.cancel()
        finally:
            streams.discard(self)
        return response

    async def _send(self, response: web.StreamResponse) -> None:
        try:
            await response.prepare(self._request)
            while frames := await self.outbox.take():
                await response.write(frames)
        except ConnectionError:
            pass  # nobody reads any more, which is no concern of the run's
        except Exception:  # our own bug, as in an answer that is no stream
            _logger.exception("request %s failed: its stream broke off", self._request[REQUEST_ID])
            text = "The server had an error while sending this stream; the run goes on. Its log has more under"
            error = {"code": None, "message": f"{text} {self._request[REQUEST_ID]}.", "param": None}
            with suppress(ConnectionError):
                await response.write(frame("error", _wire.encode_plain({**error, "type": "server_error"})))

    async def _watch(self) -> None:
        """Show a reader that has nothing to read that we are there; hang up on one that does not read."""
        clock = self._request.app[ENGINE].clock
        before, stuck = (0, 0), 0
        while stuck < _PATIENCE:
            await clock.sleep_until(clock.now() + HEARTBEAT)
            transport = self._request.transport
            unread = 0 if transport is None else transport.get_write_buffer_size()
            now = (unread, self.outbox.taken)
            stuck = stuck + 1 if unread and now == before else 0
            before = now
            if not unread:
                self.outbox.put(KEEP_ALIVE)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection without an end: so no client takes what it has got for all there is."""
        if (transport := self._request.transport) is not None:
            transport.abort()
        self.outbox.put(KEEP_ALIVE)  # which cannot be sent, and that ends it
