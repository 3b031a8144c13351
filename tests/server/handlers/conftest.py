"""The server of these tests has an index; what waits for it is here, too."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from openai_runs.server import LocalServer
from tests.engine.index import WordIndex
from tests.server.api import Api


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[LocalServer]:
    async with LocalServer(files=WordIndex()) as server:
        yield server


@pytest.fixture
def until_completed(api: Api) -> Callable[[str], Awaitable[Any]]:
    """Retrieves something until it is not in progress."""

    async def retrieve(path: str) -> Any:
        while (found := await api("GET", path))["status"] == "in_progress":
            pass
        return found

    return retrieve
