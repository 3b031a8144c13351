"""Several servers on one store behind a proxy that gives each request to the next one."""

import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from attrs import frozen
from multidict import CIMultiDict

from openai_runs.server import LocalServer
from openai_runs.session import Session
from openai_runs.stores.postgres import SharedPostgresStore

#: Of one connection, and not of the message.
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length")


@frozen
class Replicas:
    """The servers, and the proxy before them."""

    url: str  #: of the proxy
    servers: list[LocalServer]

    def session(self, **options: Any) -> Session:
        return Session(self.url, "key", **options)


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept


@asynccontextmanager
async def replicas(
    url: str, folder: Path, number: int = 3, *, make: Callable[..., LocalServer] = LocalServer
) -> AsyncGenerator[Replicas]:
    """Servers on a store in PostgreSQL.

    Args:
        url: Of the store.
        folder: For the contents of files.
        number: How many servers.
        make: Makes one with a ``store``.
    """
    async with AsyncExitStack() as stack:
        servers = [make(store=SharedPostgresStore(url, folder=folder)) for _ in range(number)]
        for server in servers:
            await stack.enter_async_context(server)
        connector = TCPConnector(limit=0)
        http = await stack.enter_async_context(ClientSession(connector=connector, auto_decompress=False))
        turns = itertools.cycle(servers)

        async def pass_on(request: web.BaseRequest) -> web.StreamResponse:
            origin = next(turns).url.removesuffix("/v1")
            body = await request.read()
            headers = _end_to_end(request.headers)
            async with http.request(
                request.method, f"{origin}{request.raw_path}", data=body, headers=headers, allow_redirects=False
            ) as answer:
                passed = web.StreamResponse(status=answer.status, reason=answer.reason)
                passed.headers.clear()
                passed.headers.update(_end_to_end(answer.headers))
                if "Content-Length" in answer.headers:
                    passed.content_length = int(answer.headers["Content-Length"])
                await passed.prepare(request)
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
                await passed.write_eof()
                return passed

        runner = web.ServerRunner(web.Server(pass_on), shutdown_timeout=1.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        [address] = runner.addresses
        yield Replicas(f"http://127.0.0.1:{address[1]}/v1", servers)
