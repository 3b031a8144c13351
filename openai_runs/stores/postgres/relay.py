"""`PostgresRelay`: messages between the servers that share a store in PostgreSQL, by its NOTIFY.

Each server listens to a channel of its own and to one that all have. What is sent within a tick goes in one
transaction, packed into few payloads: each transaction with a NOTIFY takes a lock that a database server has once. The
payloads of a sender are numbered in each channel. So a receiver notices what it has missed, and what comes a second
time because the answer to the first time was lost.
"""

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import anyio
import stamina
from attrs import Factory, define

from openai_runs._extras import needs
from openai_runs._finishing import finish
from openai_runs._postgres import CONNECT_ARGS, first_line
from openai_runs.stores.postgres import schema
from openai_runs.stores.postgres.session import unavailable

with needs("postgres"):
    import psycopg
    from psycopg import sql

_logger = logging.getLogger("openai_runs.stores")

_TICK: Final = 0.01  # seconds between the starts of two transactions
_TICK_SIZE: Final = 2**20  # characters of messages after which a transaction takes no more of them
_MAX_QUEUED: Final = 8 * 2**20  # bytes of messages that wait, unless one alone has more
_MESSAGE_SIZE: Final = 150  # bytes of memory that a message takes beside its text
_CLOSING: Final = 1.0  # seconds that `close` gives to what is queued
_CANCELLING: Final = 0.1  # seconds after which a task is cancelled again

#: Characters of a payload after its head. All are ASCII; PostgreSQL takes less than 8,000 bytes.
_MAX_BODY: Final = 7_900
#: How the body of a payload begins that has a part of a message, and not an array of messages.
_FIRST, _MIDDLE, _LAST = "<-/"

_MAX_SENDERS: Final = 2_000  # channels of senders whose numbers are remembered: of each server, two

#: A commit waits for no disk and no standby: what it has is not stored.
_SET_UP: Final = """
    SELECT set_config('synchronous_commit', 'off', false), to_hex(hashtextextended(current_schema(), 0))
"""
_NOTIFY: Final = "SELECT count(pg_notify(channel, body)) FROM unnest(%b::text[], %b::text[]) AS payload (channel, body)"


class PostgresRelay:
    """Messages between the servers of one store: in order, at most once, and a gap is noticed.

    A server is known by its epoch, which no other has had. It has two connections: one listens, one sends. When one is
    lost, it is made anew, and what was queued meanwhile is sent, but for the oldest messages if they were too many.
    """

    def __init__(
        self, url: str, *, on_message: Callable[[int, Any], None], on_gap: Callable[[int | None], None]
    ) -> None:
        """Create the relay; nothing is connected yet.

        Args:
            url: Of the store's database. Two stores in two schemas do not hear each other.
            on_message: Called with the sender's epoch and the message. What it raises is logged.
            on_gap: Called with the sender's epoch when messages of it were lost, and before those after them; with
                ``None`` when messages of anybody may have been lost, because the connection that listens was. What was
                sent before this server heard of a sender for the first time is no gap. What it raises is logged.
        """
        self._url = url
        self._on_message = on_message
        self._on_gap = on_gap
        self._epoch = 0
        self._epochs: set[int] = set()  # all that this server has had: it does not hear its own broadcasts
        self._channel = ""  # that all servers have
        self._listening: psycopg.AsyncConnection[Any] | None = None
        self._sending: psycopg.AsyncConnection[Any] | None = None
        self._is_open = False
        self._tasks: tuple[asyncio.Task[None], asyncio.Task[None]] | None = None
        self._hearing: anyio.CancelScope | None = None
        self._heard_epoch = 0  # to whose channel the connection listens; no server has 0
        self._is_listening = asyncio.Event()  # as the present epoch; set when the relay is closed, too
        self._inbox = _Inbox()
        self._outbox = _Outbox()
        self._is_wanted = asyncio.Event()  # whether there is something to send, or the relay is being closed
        self._payloads: list[_Payload] = []  # of the transaction under way

    def __repr__(self) -> str:
        return f"<PostgresRelay of server {self._epoch}, {'open' if self._is_open else 'closed'}>"

    async def open(self, epoch: int) -> None:
        """Connect, and hear what is sent from now on.

        Args:
            epoch: This server's.

        Raises:
            StoreUnavailableError: The database cannot be reached.
            RuntimeError: The relay is open already.
        """
        if self._is_open:
            raise RuntimeError(f"{self!r} is open already")
        self._epoch = epoch
        self._epochs.add(epoch)
        try:
            await self._listen()
            self._sending = await self._connect()
        except psycopg.Error as error:
            await self._drop()
            raise unavailable(error) from error
        except BaseException:
            await self._drop()
            raise
        self._inbox, self._outbox, self._payloads = _Inbox(), _Outbox(), []
        self._is_wanted.clear()
        self._is_open = True
        self._tasks = asyncio.create_task(self._keep_hearing()), asyncio.create_task(self._keep_sending())

    async def change(self, epoch: int) -> None:
        """Go on under another epoch, and return when what is sent to it is heard; or when the relay is closed.

        What is sent to the one before from then on is not heard. What is queued goes under the one that this server had
        when it was queued.

        Raises:
            RuntimeError: The relay is not open.
        """
        if not self._is_open:
            raise RuntimeError(f"{self!r} has no epoch to change: open it first")
        self._epoch = epoch
        self._epochs.add(epoch)
        self._is_listening.clear()
        if self._hearing is not None:
            self._hearing.cancel()
        await self._is_listening.wait()

    def send(self, to: int, message: Any) -> None:
        """Queue a message for another server.

        Args:
            to: The epoch of that server.
            message: Anything that the ``json`` module writes.

        Raises:
            RuntimeError: The relay is not open.
        """
        self._queue(to, message)

    def broadcast(self, message: Any) -> None:
        """Queue a message for all servers but this one.

        Args:
            message: Anything that the ``json`` module writes.

        Raises:
            RuntimeError: The relay is not open.
        """
        self._queue(None, message)

    def _queue(self, to: int | None, message: Any) -> None:
        if not self._is_open:
            raise RuntimeError(f"{self!r} sends nothing: open it first")
        # ASCII alone, so that a text may be split anywhere, and half a surrogate pair comes through.
        self._outbox.put(_Message(self._epoch, to, json.dumps(message, separators=(",", ":"))))
        self._is_wanted.set()

    async def close(self) -> None:
        """Send what is queued, if that works within a second, and close the connections."""
        await finish(self._close())

    async def _close(self) -> None:
        if self._tasks is None:
            return
        self._is_open = False
        self._is_wanted.set()
        _, sending = self._tasks
        await asyncio.wait([sending], timeout=_CLOSING)
        left: Iterable[asyncio.Task[None]] = self._tasks
        while left:
            for task in left:  # psycopg takes up to ten seconds for a cancelled statement, unless it is cancelled again
                task.cancel()
            _, left = await asyncio.wait(left, timeout=_CANCELLING)
        self._tasks = None
        await self._drop()
        self._is_listening.set()
        if self._payloads or self._outbox:
            _logger.warning("%r has not sent all of its messages: the database is away", self)

    async def _drop(self) -> None:
        await self._drop_listening()
        await self._drop_sending()

    async def _drop_listening(self) -> None:
        connection, self._listening = self._listening, None
        if connection is not None:
            await connection.close()

    async def _drop_sending(self) -> None:
        connection, self._sending = self._sending, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        options: dict[str, Any] = {**CONNECT_ARGS, "application_name": "openai-runs", "client_encoding": "utf8"}
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **options)
        try:
            await connection.execute(schema.SET_UP)
            [(_, store)] = await (await connection.execute(_SET_UP)).fetchall()
        except BaseException:
            await finish(connection.close())
            raise
        self._channel = f"openai_runs_{store}"
        return connection

    # Hearing

    async def _keep_hearing(self) -> None:
        is_lost = False
        while True:
            try:
                await (_again(self._listen) if is_lost else self._listen())
                if is_lost:
                    is_lost = False
                    _logger.warning("%r hears other servers again", self)
                    self._call(self._on_gap, None)
                await self._hear()
            except Exception as error:  # whatever it is, this server must hear again
                await self._drop_listening()
                if not is_lost:
                    is_lost = True
                    _log_outage("%r does not hear other servers: %s", self, error)

    async def _listen(self) -> None:
        """Listen as the server of the present epoch, which may change meanwhile."""
        try:
            if self._listening is None:
                self._listening = await self._connect()
                await self._listening.execute(_on_channel("LISTEN", self._channel))
                self._heard_epoch = 0
            while self._heard_epoch != self._epoch:
                epoch = self._epoch
                await self._listening.execute(_on_channel("LISTEN", self._channel_of(epoch)))
                await self._listening.execute(_on_channel("UNLISTEN", self._channel_of(self._heard_epoch)))
                self._heard_epoch = epoch
        except psycopg.Error:
            await self._drop_listening()
            raise
        self._is_listening.set()

    async def _hear(self) -> None:
        """Hear until the epoch changes, or the connection is lost."""
        assert self._listening is not None  # noqa: S101  # for the type checker
        with anyio.CancelScope() as self._hearing:  # cancelled while it waits: nothing that was received is lost
            async for notify in self._listening.notifies():
                self._take(notify.channel, notify.payload)

    def _take(self, channel: str, payload: str) -> None:
        sender = None
        try:
            epoch, number, body = payload.split(" ", 2)
            sender = int(epoch)
            if sender in self._epochs and channel == self._channel:
                return
            is_gap, messages = self._inbox.take((channel, sender), int(number), body)
        except Exception:  # anybody who may use the database can send anything
            _logger.exception("%r cannot read what was sent to it", self)
            is_gap, messages = True, []
        if is_gap:
            self._call(self._on_gap, sender)
        for message in messages:
            self._call(self._on_message, sender, message)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:  # one message's failure must not cost the others
            _logger.exception("%r could not pass on what was sent to it", self)

    # Sending

    async def _keep_sending(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await self._is_wanted.wait()
            if not self._outbox:
                return
            began = clock()
            self._payloads = self._outbox.pack()
            if self._is_open and not self._outbox:
                self._is_wanted.clear()
            await self._send_payloads()
            await asyncio.sleep(began + _TICK - clock())

    async def _send_payloads(self) -> None:
        is_lost = False
        while self._payloads:
            try:
                await (_again(self._notify) if is_lost else self._notify())
            except Exception as error:  # whatever it is, what comes later must be sent
                if not is_lost:
                    is_lost = True
                    _log_outage("%r cannot send to other servers: %s", self, error)
        if is_lost:
            _logger.warning("%r sends to other servers again", self)
        if dropped := self._outbox.take_dropped():
            _logger.warning("%r has dropped %d messages: too many were waiting", self, dropped)

    async def _notify(self) -> None:
        """Send the payloads in one transaction. If this fails, nobody knows whether it was made; it may be repeated."""
        if self._sending is None:
            self._sending = await self._connect()
        channels = [self._channel if to is None else self._channel_of(to) for to, _ in self._payloads]
        try:
            await self._sending.execute(_NOTIFY, (channels, [text for _, text in self._payloads]))
        except psycopg.Error:
            await self._drop_sending()
            raise
        self._payloads = []

    def _channel_of(self, epoch: int) -> str:
        return f"{self._channel}_{epoch}"


async def _again(work: Callable[[], Awaitable[None]]) -> None:
    """Try again and again. Stamina's hooks get the arguments of what is tried, so it has none: messages are secret."""
    await stamina.AsyncRetryingCaller(attempts=None, timeout=None, wait_initial=0.05, wait_max=2.0).on(Exception)(work)


def _log_outage(text: str, relay: PostgresRelay, error: Exception) -> None:
    _logger.error(text, relay, first_line(error), exc_info=not isinstance(error, psycopg.Error))


def _on_channel(command: str, channel: str) -> "sql.Composed":
    return sql.SQL("{} {}").format(sql.SQL(command), sql.Identifier(channel))


class _Message(NamedTuple):
    """A message that waits."""

    sender: int  #: the epoch under which it goes
    to: int | None  #: the epoch of the receiver; ``None`` for all
    text: str  #: JSON


class _Payload(NamedTuple):
    """What one NOTIFY has."""

    to: int | None
    text: str


class _Outbox:
    """What is to be sent: queued, packed and numbered."""

    def __init__(self) -> None:
        self._queue: deque[_Message] = deque()
        self._size = 0
        self._sent: Counter[tuple[int, int | None]] = Counter()  # the last number, by sender and receiver
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._queue)

    def put(self, message: _Message) -> None:
        """Queue a message, and drop the oldest ones if there are too many."""
        self._queue.append(message)
        self._size += _MESSAGE_SIZE + len(message.text)
        while self._size > _MAX_QUEUED and len(self._queue) > 1:
            sender, to, _ = self._next()
            self._sent[sender, to] += 1  # whose absence tells the receiver
            self._dropped += 1

    def _next(self) -> _Message:
        message = self._queue.popleft()
        self._size -= _MESSAGE_SIZE + len(message.text)
        return message

    def take_dropped(self) -> int:
        """How many messages were dropped since this was asked last."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def pack(self) -> list[_Payload]:
        """The payloads of a transaction, in their order.

        Messages for one server and for all are never in one payload, so each receiver gets them in the order in which
        they were sent.
        """
        payloads: list[_Payload] = []
        size = 0
        while self._queue and size < _TICK_SIZE:
            first = self._queue[0]
            texts: dict[int | None, list[str]] = {}
            while (
                self._queue
                and size < _TICK_SIZE
                and self._queue[0].sender == first.sender
                and (self._queue[0].to is None) is (first.to is None)
            ):
                _, to, text = self._next()
                texts.setdefault(to, []).append(text)
                size += len(text)
            for to, of_one in texts.items():
                for body in _bodies(of_one):
                    self._sent[first.sender, to] += 1
                    payloads.append(_Payload(to, f"{first.sender} {self._sent[first.sender, to]} {body}"))
        return payloads


def _bodies(texts: Iterable[str]) -> Iterator[str]:
    """Arrays of messages; and parts of a message, if it is too long for one."""
    packed: list[str] = []
    size = 1
    for text in texts:
        if packed and size + len(text) + 1 > _MAX_BODY:
            yield f"[{','.join(packed)}]"
            packed, size = [], 1
        if len(text) + 2 > _MAX_BODY:
            yield from _parts(text)
        else:
            packed.append(text)
            size += len(text) + 1
    if packed:
        yield f"[{','.join(packed)}]"


def _parts(text: str) -> Iterator[str]:
    """At least two, since they are shorter than the longest message that is not split."""
    step = _MAX_BODY - 2
    for start in range(0, len(text), step):
        mark = _FIRST if start == 0 else _LAST if start + step >= len(text) else _MIDDLE
        yield mark + text[start : start + step]


@define
class _Heard:
    """What a channel has had of a sender."""

    number: int  #: of the last payload
    parts: list[str] = Factory(list)  #: of a message whose end is still to come


class _Inbox:
    """What was received: in order, each payload once, and joined."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, int], _Heard] = {}  # by channel and sender; the one heard last is the last

    def take(self, key: tuple[str, int], number: int, body: str) -> tuple[bool, list[Any]]:
        """Receive a payload.

        Returns:
            Whether there is a gap before it, and the messages that are complete now.
        """
        heard = self._heard.pop(key, None) or _Heard(number - 1)
        self._heard[key] = heard
        if len(self._heard) > _MAX_SENDERS:
            del self._heard[next(iter(self._heard))]
        if number <= heard.number:  # it was sent again, because nobody knew whether it had arrived
            return False, []
        is_gap = number > heard.number + 1
        heard.number = number
        if is_gap:
            heard.parts = []
        mark, part = body[0], body[1:]
        if mark == "[":
            return is_gap, json.loads(body)
        if mark == _FIRST:
            heard.parts = [part]
        elif heard.parts:  # else the beginning was not heard
            heard.parts.append(part)
            if mark == _LAST:
                text = "".join(heard.parts)
                heard.parts = []
                return is_gap, [json.loads(text)]
        return is_gap, []
