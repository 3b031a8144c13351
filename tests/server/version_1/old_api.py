"""A plain HTTP client of version 1."""

from typing import Any

from aiohttp import ClientSession
from attrs import frozen

HEADERS = {"OpenAI-Beta": "assistants=v1"}


@frozen
class OldApi:
    http: ClientSession
    url: str

    async def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Send a request whose response must have ``status``; returns the body of the response."""
        json = {} if body is None else {"json": body}
        async with self.http.request(method, self.url + path, headers=HEADERS, **json) as response:
            shown = await response.json()
        assert response.status == status, shown
        return shown

    async def stream(self, path: str, body: Any) -> str:
        """The text of a stream."""
        async with self.http.post(self.url + path, headers=HEADERS, json={**body, "stream": True}) as response:
            return await response.text()

    async def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        """Poll a run until it has ended, without sleeping."""
        while run["status"] in ("queued", "in_progress"):
            run = await self("GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
        return run
