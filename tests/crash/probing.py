"""How long other requests take, while something large or something bad happens to the server."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from statistics import median

import anyio
from aiohttp import ClientSession
from attrs import define, field

_PAUSE = 0.02  # seconds between two requests


@define
class Probe:
    """Times of requests, in seconds."""

    paths: tuple[str, ...]
    times: list[float] = field(factory=list, init=False)
    bad: list[str] = field(factory=list, init=False)  #: what was answered other than with 200

    @asynccontextmanager
    async def running(self, url: str) -> AsyncGenerator[None]:
        """Send requests, one after another."""
        async with ClientSession(url) as http, anyio.create_task_group() as tasks:
            tasks.start_soon(self._ask, http)
            yield
            tasks.cancel_scope.cancel()

    async def _ask(self, http: ClientSession) -> None:
        while True:
            for path in self.paths:
                began = time.perf_counter()
                async with http.get(path) as response:
                    text = await response.text()
                self.times.append(time.perf_counter() - began)
                if response.status != 200:
                    self.bad.append(f"{path}: {response.status} {text[:200]}")
                await anyio.sleep(_PAUSE)

    def __str__(self) -> str:
        usual, longest = median(self.times), max(self.times)
        return f"{len(self.times)} other requests: median {usual * 1e3:.0f} ms, longest {longest * 1e3:.0f} ms"
