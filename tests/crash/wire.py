"""`Wire`: the way of one process to its database, which can be cut."""

import asyncio
from contextlib import suppress
from pathlib import Path

import anyio
from attrs import define, field


@define(eq=False)
class Wire:
    """Passes bytes on between a socket of its own and that of the database.

    Attributes:
        is_cut: Whether nothing passes: it is as silent as a dead network, and nobody is told.
        refuses: Whether new connections are closed meanwhile; otherwise they are as silent as the others.
    """

    target: Path
    path: Path
    is_cut: bool = False
    refuses: bool = True
    _open: set[asyncio.StreamWriter] = field(factory=set, init=False)

    async def serve(self) -> None:
        async with await asyncio.start_unix_server(self._connect, self.path) as server:
            await server.serve_forever()

    def drop(self) -> None:
        """Close all connections, with what was to pass."""
        for writer in self._open:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with suppress(OSError):
            if not self.refuses:
                await self._mended()
            if not self.is_cut:
                up, down = await asyncio.open_unix_connection(self.target)
                self._open.add(down)
                pumps = [self._pump(reader, down), self._pump(up, writer)]
                tasks = list(map(asyncio.create_task, pumps))
                _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in left:
                    task.cancel()
                down.close()
                self._open.discard(down)
        writer.close()
        self._open.discard(writer)

    async def _mended(self) -> None:
        while self.is_cut:  # noqa: ASYNC110  # whoever cuts it only sets a flag
            await anyio.sleep(0.05)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._mended()
                target.write(data)
                await target.drain()
