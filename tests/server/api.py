"""A plain HTTP client that checks each response against the published OpenAPI document."""

from io import BytesIO
from typing import Any

from aiohttp import ClientSession, FormData
from attrs import frozen
from multidict import CIMultiDictProxy
from yarl import URL

from tests.conformance.judge import assert_conforms


def form(content: bytes = b"some text", filename: str = "a.txt", **fields: str) -> FormData:
    """The form of an upload. In a field's name, ``__`` stands for brackets: ``expires_after__seconds``."""
    data = FormData(quote_fields=False)  # names as browsers write them
    for name, value in {"purpose": "assistants", **fields}.items():
        first, *others = name.split("__")
        data.add_field("".join([first, *(f"[{other}]" for other in others)]), value)
    data.add_field("file", BytesIO(content), filename=filename)
    return data


@frozen
class Response:
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
        """Send a request whose response must have ``status``; returns the body of the response."""
        response = await self.send(method, path, body, **options)
        assert response.status == status, response.body
        return response.body

    async def send(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        """Send a request whose path is already escaped; returns the whole response."""
        url = URL(self.url + path, encoded=True)
        json = {} if body is None else {"json": body}
        async with self.http.request(method, url, **json, **options) as response:
            received = Response(response.status, response.headers, await response.json())
        assert_conforms(method, path.partition("?")[0], received.status, received.body)
        assert received.headers["x-request-id"].startswith("req_")
        assert received.headers["openai-version"] == "2020-10-01"
        assert int(received.headers["openai-processing-ms"]) >= 0
        assert received.headers["Content-Type"].partition(";")[0] == "application/json"
        return received

    async def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        """Poll a run until it has ended or waits for tool outputs, without sleeping."""
        while run["status"] in ("queued", "in_progress", "cancelling"):
            run = await self("GET", f"/threads/{run['thread_id']}/runs/{run['id']}")
        return run


async def get_status(url: str, **headers: str) -> int:
    """Send a GET with these headers only; returns the status of the response."""
    async with ClientSession() as http, http.get(url, headers=headers) as response:
        return response.status
