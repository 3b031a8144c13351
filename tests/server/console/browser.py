"""What a browser does at the console, without its display: cookies, forms, headers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape

from aiohttp import ClientSession, CookieJar
from attrs import define

from openai_runs.server import LocalServer


@define
class Browser:
    http: ClientSession
    origin: str
    status: int = 0
    headers: object = None
    text: str = ""  #: of the page, as it came

    async def open(self, path: str, **headers: str) -> str:
        """Open a page; returns its HTML."""
        return await self._send("GET", path, headers)

    async def send(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> str:
        """Send a form of the page that was opened last, with its token."""
        token = re.search(r'name="form_token" value="(\w+)"', self.text)
        form = {**({"form_token": token[1]} if token else {}), **(fields or {})}
        return await self._send("POST", path, {"Origin": self.origin, **headers}, data=form)

    async def _send(self, method: str, path: str, headers: dict[str, str], **options: object) -> str:
        headers = {"Accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = self.origin + path
        async with self.http.request(method, url, headers=headers, allow_redirects=False, **options) as response:
            self.status, self.headers, text = response.status, response.headers, await response.text()
            if response.status == 303:
                return await self.open(response.headers["Location"])
            self.text = text
        return text

    @property
    def shown(self) -> str:
        """The page's text, without tags."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


@asynccontextmanager
async def browsing(server: LocalServer) -> AsyncIterator[Browser]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as http:
        yield Browser(http, server.url.removesuffix("/v1"))
