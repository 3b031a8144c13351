"""A faulty network between a client and a real server: an HTTP proxy that breaks what it is told to break."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from anyio import AsyncContextManagerMixin
from attrs import define, field, frozen

from openai_runs._wire.idempotency import HEADER, SUPPORTED
from openai_runs.session import Session
from tests.stub import Reply, error, read_message, reply, reset


@frozen
class Instead:
    """The server is not asked; the client gets this response."""

    reply: Reply


@frozen
class Cut:
    """The server does what was asked; its response breaks after so many bytes, head included."""

    at: int
    then: Literal["close", "reset", "hang"] = "close"


@frozen
class WrongLength:
    """The server's response with a Content-Length that is wrong by so many bytes, and then the connection closes."""

    by: int


@frozen
class Unframed:
    """The server's response without a length, so that its end is the connection's, after so many bytes of the body."""

    at: int


#: What may happen to an exchange. A `Reply`: the server does what was asked, and the client gets this response.
#: ``late``: the client is cut off, and its request arrives just before the next like it. ``very late``: it arrives at
#: `Proxy.heal`. ``refuse``: the request is lost, and for a while connections are refused. ``stall``: the request is
#: lost, and the client hears nothing. ``trickle``: the response comes byte by byte.
Fate: TypeAlias = (
    Literal["lose request", "lose answer", "late", "very late", "refuse", "stall", "trickle"]
    | Reply
    | Instead
    | Cut
    | WrongLength
    | Unframed
)

#: A request's header by which a client names it, so that its fault can be looked up.
REQUEST_NAME: Final = "X-Name-Of-Request"
#: Turns of the event loop for which connections are refused: several attempts, but not all retries of a request.
_REFUSED_FOR = 6


@define
class FaultyNetwork:
    """Chooses a fate for a share of all exchanges, by a seed."""

    seed: int | str
    share: float = 0.2
    may_stall: Callable[[str, str], bool] = lambda method, path: True
    chosen: Counter[str] = field(factory=Counter, init=False)  #: how often each kind of fault was
    faults: dict[str, str] = field(factory=dict, init=False)  #: those of the requests that have a `REQUEST_NAME`
    _chance: random.Random = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> Fate | None:
        chance = self._chance
        if chance.random() >= self.share:
            return None
        at = chance.choice((chance.randrange(300), chance.randrange(1500), chance.randrange(6000)))
        kinds: dict[str, Fate] = {
            "refused": "refuse",
            "reset before": Instead(Reply(b"", "reset")),
            "lost before": "lose request",
            "reset after": Cut(0, "reset"),
            "lost after": "lose answer",
            "cut": Cut(at),
            "reset within": Cut(at, "reset"),
            "trickle": "trickle",
            "429": Instead(error(429)),
            "429 Retry-After": Instead(error(429, "slowly", retry_after="0")),
            "500 before": Instead(error(500)),
            "500 after": error(500),
            "502 HTML before": Instead(reply(b"<html>Bad Gateway</html>", 502, content_type="text/html")),
            "502 HTML after": reply(b"<html>Bad Gateway</html>", 502, content_type="text/html"),
            "503": Instead(error(503)),
            "503 Retry-After": Instead(error(503, "later", retry_after="0")),
            "200 HTML after": reply(b"<html>Sign in to this network</html>", content_type="text/html"),
            "too long": WrongLength(chance.randrange(1, 50)),
            "too short": WrongLength(-chance.randrange(1, 50)),
            "unframed": Unframed(at),
        }
        if method == "POST":
            kinds |= {"late": "late", "very late": "very late"}
        if self.may_stall(method, path):
            kinds |= {"stall": "stall", "stall within": Cut(at, "hang")}
        kind = chance.choice(list(kinds))
        self.chosen[kind] += 1
        self.faults[headers.get(REQUEST_NAME.lower(), "")] = kind
        return kinds[kind]


@define
class _Mishap:
    method: str
    end: str  #: of the path
    fate: Fate


class Proxy(AsyncContextManagerMixin):
    """Passes HTTP on to a server, responses as they come, except where something else is planned or chosen.

    Args:
        url: The server's.
        choose: The fate of each exchange, by method, path and headers, unless one is planned.
        honours_keys: Whether the server may see, and say, that it honours idempotency keys.

    Attributes:
        requests: Method and path of all that came from clients.
        targets: Path and query of the same.
        cuts: How many responses were cut.
    """

    def __init__(
        self,
        url: str,
        choose: Callable[[str, str, Mapping[str, str]], Fate | None] | None = None,
        *,
        honours_keys: bool = True,
    ) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._path = urlsplit(url).path
        self._choose = choose
        self._hidden = () if honours_keys else (f"{HEADER}:".lower().encode(), f"{SUPPORTED}:".lower().encode())
        self._mishaps: list[_Mishap] = []
        self._late: bytes | None = None
        self._very_late: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._listening = asyncio.Event()
        self.requests: list[str] = []
        self.targets: list[str] = []
        self.cuts = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def session(self, **options: Any) -> Session:
        return Session(self.url, "sk-of-the-tests", **options)

    def plan(self, method: str, end: str, fate: Fate, times: int = 1) -> None:
        """Let something happen to the next request of a kind, or to the next few."""
        self._mishaps += [_Mishap(method, end, fate) for _ in range(times)]

    async def heal(self) -> None:
        """Break nothing from now on; requests that are late arrive."""
        self._choose = None
        self._mishaps.clear()
        late, self._very_late = [*filter(None, (self._late,)), *self._very_late], []
        self._late = None
        for raw in late:
            await self._ask(raw)
        await self._listening.wait()

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        await self._listen()
        try:
            yield self
        finally:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            for server in self._servers:
                server.close()
                await server.wait_closed()

    async def _listen(self) -> None:
        server = await asyncio.start_server(lambda *streams: self._spawn(self._serve(*streams)), "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)
        self._listening.set()

    def go_down(self) -> None:
        """Refuse connections; those that are open stay."""
        self._listening.clear()
        self._servers[-1].close()

    async def come_back(self) -> None:
        """Accept connections again."""
        await self._listen()

    async def _refuse(self) -> None:
        self.go_down()
        try:
            for _ in range(_REFUSED_FOR):
                await asyncio.sleep(0)
        finally:
            await self._listen()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):  # the client left
                while (message := await read_message(reader)) is not None:
                    if not await self._exchange(message, reader, writer):
                        break
        finally:
            writer.close()

    async def _exchange(self, message: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Let a request meet its fate; whether the connection is kept."""
        first, headers, _, raw = message
        method, target, _ = first.split(" ")
        path = target.partition("?")[0]
        self.requests.append(f"{method} {path}")
        self.targets.append(target)
        late, self._late = self._late, None
        if late is not None and late.split(b"\r\n")[0] == raw.split(b"\r\n")[0]:
            await self._ask(late)
        else:
            self._late = late
        then: str | None = None
        match fate := self._fate(method, path, headers):
            case None | "trickle":
                async with aclosing(self._answer(raw)) as pieces:
                    async for piece in pieces:
                        for part in (piece,) if fate is None else (piece[at : at + 1] for at in range(len(piece))):
                            writer.write(part)
                            await (writer.drain() if fate is None else asyncio.sleep(0))
            case Reply():
                await self._ask(raw)
                writer.write(fate.data)
                then = None if fate.then == "keep" else fate.then
            case Instead():
                writer.write(fate.reply.data)
                then = None if fate.reply.then == "keep" else fate.reply.then
            case Cut():
                then = await self._cut(raw, writer, fate.at) and fate.then
            case WrongLength():
                head, body = await self._ask(raw)
                writer.write(_with_length(head, len(body) + fate.by) + body)
                then = "close"
            case Unframed():
                head, body = await self._ask(raw)
                writer.write(_with_length(head, None) + body[: fate.at])
                then = "close"
            case "lose answer":
                await self._ask(raw)
                then = "close"
            case "late":
                self._late = raw
                then = "close"
            case "very late":
                self._very_late.append(raw)
                then = "close"
            case "refuse":
                self._spawn(self._refuse())
                then = "close"
            case "lose request":
                then = "close"
            case "stall":
                then = "hang"
        if then == "hang":
            await reader.read()  # until the client has enough
        if then == "reset":
            reset(writer)
        return not then

    def _fate(self, method: str, path: str, headers: Mapping[str, str]) -> Fate | None:
        for mishap in self._mishaps:
            if mishap.method == method and path.endswith(mishap.end):
                self._mishaps.remove(mishap)
                return mishap.fate
        return None if self._choose is None else self._choose(method, path, headers)

    async def _cut(self, raw: bytes, writer: asyncio.StreamWriter, left: int) -> bool:
        """Pass so many bytes of a response on; whether there were more."""
        async with aclosing(self._answer(raw)) as pieces:
            async for piece in pieces:
                writer.write(piece[:left])
                if len(piece) >= left:
                    self.cuts += 1
                    return True
                left -= len(piece)
        return False

    async def _ask(self, raw: bytes) -> tuple[bytes, bytes]:
        """The whole response to a request: head, and body without the sizes of its chunks."""
        async with aclosing(self._answer(raw, sizes=False)) as pieces:
            head, *body = [piece async for piece in pieces]
        return head, b"".join(body)

    async def _answer(self, raw: bytes, *, sizes: bool = True) -> AsyncGenerator[bytes, None]:
        """The response to a request, head first, as it comes."""
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except OSError as down:  # as if there were no proxy: the client meets a closed port
            raise ConnectionResetError from down
        try:
            head, end, body = raw.partition(b"\r\n\r\n")
            writer.write(_without(head, self._hidden) + end + body)
            with suppress(asyncio.IncompleteReadError):  # the server was killed
                head = _without(await reader.readuntil(b"\r\n\r\n"), self._hidden)
                yield head
                lines = head.decode("latin-1").lower().splitlines()
                headers = dict(line.split(": ", 1) for line in lines[1:] if line)
                if headers.get("transfer-encoding") == "chunked":
                    async for size, piece in _chunks(reader):
                        yield size + piece if sizes else piece[:-2]
                elif body := await reader.readexactly(int(headers.get("content-length", 0))):
                    yield body
                return
            raise ConnectionResetError
        finally:
            writer.close()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bytes]]:
    line = b""
    while line != b"0\r\n":
        line = await reader.readuntil(b"\r\n")
        yield line, await reader.readexactly(int(line, 16) + 2)


def _without(head: bytes, names: tuple[bytes, ...]) -> bytes:
    """The head of a message without these headers."""
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(names))


def _with_length(head: bytes, length: int | None) -> bytes:
    """A response's head with another Content-Length; with none, the end of the connection ends the body."""
    framing = (b"content-length:", b"transfer-encoding:", b"connection:")
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(framing)]
    lines.append(b"Connection: close" if length is None else b"Content-Length: %d" % max(length, 0))
    return b"\r\n".join([*lines, b"", b""])
