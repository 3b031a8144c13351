"""A proxy that loses things, for a real server behind it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from anyio import AsyncContextManagerMixin
from attrs import define

from openai_runs.session import Session
from tests.stub import Reply, read_message

#: What may happen to an exchange. ``late``: the client is cut off, and its request comes just before the next like it.
Fate: TypeAlias = Literal["lose request", "lose answer", "late"] | Reply


@define
class _Mishap:
    method: str
    end: str  #: of the path
    fate: Fate


class Proxy(AsyncContextManagerMixin):
    """Passes HTTP on to a server, except where a mishap is planned.

    Attributes:
        requests: Method and path of all that came from clients.
        targets: Path and query of the same.
    """

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._path = urlsplit(url).path
        self._mishaps: list[_Mishap] = []
        self._late: bytes | None = None
        self.requests: list[str] = []
        self.targets: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def session(self, **options: Any) -> Session:
        return Session(self.url, "sk-of-the-tests", **options)

    def plan(self, method: str, end: str, fate: Fate, times: int = 1) -> None:
        """Let something happen to the next request of a kind, or to the next few."""
        self._mishaps += [_Mishap(method, end, fate) for _ in range(times)]

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        tasks: set[asyncio.Task[None]] = set()

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            left = list(tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (message := await read_message(reader)) is not None:
                first, _, _, raw = message
                method, target, _ = first.split(" ")
                path = target.partition("?")[0]
                self.requests.append(f"{method} {path}")
                self.targets.append(target)
                late, self._late = self._late, None
                if late is not None and late.split(b"\r\n")[0] == raw.split(b"\r\n")[0]:
                    await self._pass_on(late)
                else:
                    self._late = late
                match fate := self._fate(method, path):
                    case None:
                        writer.write(await self._pass_on(raw))
                    case Reply():
                        await self._pass_on(raw)
                        writer.write(fate.data)
                    case "lose request":
                        return
                    case "lose answer":
                        await self._pass_on(raw)
                        return
                    case "late":
                        self._late = raw
                        return
        finally:
            writer.close()

    def _fate(self, method: str, path: str) -> Fate | None:
        for mishap in self._mishaps:
            if mishap.method == method and path.endswith(mishap.end):
                self._mishaps.remove(mishap)
                return mishap.fate
        return None

    async def _pass_on(self, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(raw)
            answer = await read_message(reader)
            assert answer is not None
            return answer[3]
        finally:
            writer.close()
