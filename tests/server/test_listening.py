"""`Port`: a port that is taken first, and listens once it is told to."""

import asyncio
import socket

import pytest
from aiohttp import ClientSession, web

from openai_runs.server.listening import Port

pytestmark = pytest.mark.anyio


async def hello(_: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


async def test_taken_and_then_listening():
    """Until all is ready, a client is refused at once; then the URL is that of the application."""
    runner = web.ServerRunner(web.Server(hello))
    await runner.setup()
    async with Port("127.0.0.1", 0) as port:
        url = port.url("/x")
        assert (url.host, url.path) == ("127.0.0.1", "/x")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(url.host, url.port)
        await port.listen(runner)
        async with ClientSession() as http, http.get(url) as response:
            assert await response.text() == "hello"
    await runner.cleanup()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(url.host, url.port)


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")])
async def test_the_url(host: str, shown: str):
    """It is one to connect to."""
    async with Port(host, 0) as port:
        assert port.url("/").host == shown


async def test_a_port_in_use():
    """The error is the system's, and nothing is left of the attempt."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"):
            async with Port("127.0.0.1", number):
                pass  # pragma: no cover
    async with Port("127.0.0.1", number):
        pass
