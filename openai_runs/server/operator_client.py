"""Asks a running server for what only it can do with its store: see `operator_site`."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import anyio
from attrs import define
from yarl import URL

from openai_runs.errors import StoreFileError

_CONNECT: Final = 5.0  # seconds: it is this machine


@define
class OperatorClient:
    """A connection to the server that has a store."""

    _http: aiohttp.ClientSession
    _url: URL

    @asynccontextmanager
    async def asking(self, method: str, *path: str, **options: Any) -> AsyncGenerator[aiohttp.StreamReader]:
        """Make a request, and read its answer, as lines or as it comes.

        Args:
            method: Its method.
            *path: The segments of its path.
            **options: See `aiohttp.ClientSession.request`.

        Raises:
            StoreFileError: The server refuses it, and says why; or it has ended before its answer did.
        """
        try:
            async with self._http.request(method, self._url.joinpath(*path), **options) as response:
                if response.status != 200:
                    raise StoreFileError((await response.json())["error"])
                yield response.content
        except aiohttp.ClientError as error:
            raise StoreFileError(f"the server that has the store has gone away: {error}") from error

    async def answer(self, method: str, *path: str, **options: Any) -> dict[str, Any]:
        """Make a request whose answer is one JSON object.

        Raises:
            StoreFileError: As above.
        """
        async with self.asking(method, *path, **options) as lines:
            found: dict[str, Any] = json.loads(b"".join([line async for line in lines]))
        return found


@asynccontextmanager
async def reaching(file: Path | None) -> AsyncGenerator[OperatorClient | None]:
    """Connect to the server that has a store.

    Args:
        file: Its ``operator_file``; ``None`` if it has none.

    Returns:
        The connection; ``None`` if there is no such server: it has ended, or was killed and has left the file.
    """
    if file is None:
        yield None
        return
    try:
        said = json.loads(await anyio.Path(file).read_text())
        url, headers = URL(said["url"]), {"Authorization": f"Bearer {said['secret']}"}
    except (OSError, ValueError, KeyError, TypeError):
        yield None
        return
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
        client = OperatorClient(http, url)
        yield client if await _is_there(client) else None


async def _is_there(client: OperatorClient) -> bool:
    try:
        await client.answer("GET")
    except (StoreFileError, ValueError, KeyError):  # nobody, or another program, which has the port now
        return False
    return True
