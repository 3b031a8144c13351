"""`Port`: a port that is taken before anything else is opened, and listens once all of it is.

So a port in use leaves no store behind, nor an index, and a client that comes too early is refused, not kept waiting.
"""

import asyncio
from ipaddress import ip_address
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from attrs import define, field
from yarl import URL

_BACKLOG: Final = 2048  # connections not yet accepted; a client that opens 1,000 at once should not have to wait


@define(eq=False)
class Port:
    """A port of this machine, which is taken in ``async with``.

    Entering it raises `OSError` if the port is in use, or the address is none of this machine's.
    """

    _host: str  #: an address, or a name of this machine
    _number: int  #: 0 picks a free one
    _server: asyncio.Server = field(init=False)
    _runner: web.AppRunner | web.ServerRunner = field(init=False)

    async def __aenter__(self) -> Self:
        create = asyncio.get_running_loop().create_server
        # Not aiohttp's site, which takes the port and listens in one go.
        self._server = await create(
            self._new_connection, self._host, self._number, backlog=_BACKLOG, start_serving=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Free the port."""
        self.close()

    async def listen(self, runner: web.AppRunner | web.ServerRunner) -> None:
        """Accept connections from now on.

        Args:
            runner: Of the application that answers them; it is set up.
        """
        self._runner = runner
        await self._server.start_serving()

    def close(self) -> None:
        """Accept no more; connections that are open stay so."""
        self._server.close()

    def url(self, path: str) -> URL:
        """The URL of a path."""
        host, port, *_ = self._server.sockets[0].getsockname()
        address = ip_address(host)
        if address.is_unspecified:  # 0.0.0.0 and :: are for listening, not for connecting
            host = "127.0.0.1" if address.version == 4 else "::1"
        return URL.build(scheme="http", host=host, port=port, path=path)

    def _new_connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None  # noqa: S101  # the runner is set up
        return server()
