"""A server, and clients of both versions."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from openai_runs.server import LocalServer
from tests.engine.index import WordIndex
from tests.server.api import Api, form
from tests.server.version_1.old_api import OldApi

Upload = Callable[[str], Awaitable[str]]


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[LocalServer]:
    async with LocalServer(files=WordIndex()) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as http:
        yield http


@pytest.fixture
def api(server: LocalServer, http: ClientSession) -> Api:
    """A client of version 2."""
    return Api(http, server.url)


@pytest.fixture
def old(server: LocalServer, http: ClientSession) -> OldApi:
    """A client of version 1."""
    return OldApi(http, server.url)


@pytest.fixture
def upload(api: Api) -> Upload:
    """Uploads a text, and returns the ID of the file."""

    async def upload(text: str) -> str:
        file: dict[str, Any] = await api("POST", "/files", data=form(text.encode()))
        return str(file["id"])

    return upload
