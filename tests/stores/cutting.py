"""A connection to PostgreSQL that is cut where it hurts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from attrs import define, field

from tests.postgres import Postgres, with_parameters

_WRITE = b"openai_runs_write"


@define(eq=False)
class Cutter:
    """Stands between clients and the server.

    Attributes:
        folder: Of its socket.
        cut: What is lost of the next commit, and the connection with it: the answer, or already the request.
        cuts: Of how many commits.
        is_away: Whether new connections are refused, and those that are open are cut as soon as they are used.
        away_after: Whether it is away after the last of these commits.
    """

    folder: Path
    _socket: Path
    cut: Literal["answer", "request"] | None = field(default=None, init=False)
    is_away: bool = field(default=False, init=False)
    away_after: bool = field(default=False, init=False)
    cuts: int = field(default=1, init=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if not self.is_away:
                up, down = await asyncio.open_unix_connection(str(self._socket))
                answers = asyncio.create_task(self._pass_on(up, writer))
                await self._requests(reader, up, down, answers)
                down.close()
        writer.close()

    async def _requests(self, reader, up, down, answers) -> None:
        while (data := await reader.read(2**20)) and not self.is_away:
            if self.cut is not None and _WRITE in data and b"CREATE FUNCTION" not in data:
                cut = self.cut
                self.cuts -= 1
                if not self.cuts:
                    self.cut, self.is_away = None, self.away_after
                answers.cancel()
                with suppress(asyncio.CancelledError):
                    await answers
                if cut == "answer":
                    down.write(data)
                    assert await up.read(1)
                return
            down.write(data)
            await down.drain()
        answers.cancel()

    async def _pass_on(self, up: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await up.read(2**20):
                writer.write(data)
                await writer.drain()
            writer.close()


@asynccontextmanager
async def cutting(server: Postgres) -> AsyncGenerator[Cutter]:
    with TemporaryDirectory(prefix="cut-") as folder:
        cutter = Cutter(Path(folder), server.socket)
        listening = await asyncio.start_unix_server(cutter.serve, Path(folder) / ".s.PGSQL.5432")
        try:
            yield cutter
        finally:
            listening.close()


def through(cutter: Cutter, url: str) -> str:
    """The same database, by way of a cutter."""
    return with_parameters(url, host=str(cutter.folder))
