"""A proxy that breaks each connection after a given number of bytes from the server."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

from anyio import AsyncContextManagerMixin

from openai_runs.session import Session


class Cutter(AsyncContextManagerMixin):
    """Passes bytes on in both directions.

    Args:
        url: Of the server.
        budgets: Of each connection in turn, after how many bytes from the server it breaks; then, none does.
    """

    def __init__(self, url: str, budgets: Iterable[int]) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._path = urlsplit(url).path
        self._budgets = iter(budgets)
        self.cuts = 0
        self.port = 0

    def session(self, **options: Any) -> Session:
        return Session(f"http://127.0.0.1:{self.port}{self._path}", "sk-of-the-tests", **options)

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
        budget = next(self._budgets, None)
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        there = asyncio.create_task(self._there(reader, server_writer))
        try:
            while chunk := await server_reader.read(65536):
                if budget is not None and len(chunk) >= budget:
                    writer.write(chunk[:budget])
                    self.cuts += 1
                    break
                budget = budget and budget - len(chunk)
                writer.write(chunk)
        finally:
            there.cancel()
            server_writer.close()
            writer.close()

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()
