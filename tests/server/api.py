"""A client without opinions: it sends what it is told, and has each answer judged by the published document."""

from typing import Any

from aiohttp import ClientSession
from attrs import frozen
from multidict import CIMultiDictProxy
from yarl import URL

from tests.conformance.judge import assert_conforms


@frozen
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: Any

    @property
    def error(self) -> dict[str, Any]:
        return self.body["error"]


@frozen
class Api:
    http: ClientSession
    url: str  #: with the prefix, without a slash at the end

    async def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200, **options: Any) -> Any:
        """Send a request; the answer must have the status. Returns its body."""
        answer = await self.send(method, path, body, **options)
        assert answer.status == status, answer.body
        return answer.body

    async def send(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """Send a request whose path is already escaped. Returns all of the answer."""
        url = URL(self.url + path, encoded=True)
        json = {} if body is None else {"json": body}
        async with self.http.request(method, url, **json, **options) as response:
            answer = Answer(response.status, response.headers, await response.json())
        assert_conforms(method, path.partition("?")[0], answer.status, answer.body)
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["openai-version"] == "2020-10-01"
        assert int(answer.headers["openai-processing-ms"]) >= 0
        assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
        return answer

    async def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        """Ask for a run until it has ended, or waits for tool outputs; the event loop's turns are the only waiting."""
        while run["status"] in ("queued", "in_progress", "cancelling"):
            run = await self("GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
        return run
