"""Forms are taken from the session's own pages, and from nowhere else."""

from io import BytesIO

import pytest

from openai_runs.server import LocalServer
from tests.server.console.browser import Browser, browsing

pytestmark = pytest.mark.anyio
KEYS = {"sk-anna": "anna"}


async def logged_in(browser: Browser) -> None:
    await browser.open("/")
    await browser.send("/console/login", {"key": "sk-anna"})
    assert browser.status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this machine
        {"Sec_Fetch_Site": "none"},
    ],
)
async def test_other_sites(headers: dict[str, str]):
    """A form of another site is refused, even if it has somehow learnt the token."""
    async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
        await logged_in(browser)
        await browser.send("/console/logout", **headers)
        assert browser.status == 403
        await browser.open("/")
        assert browser.status == 200


async def test_a_form_without_an_origin():
    """Browsers always tell it."""
    async with (
        LocalServer(keys=KEYS) as server,
        browsing(server) as browser,
        browser.http.post(f"{browser.origin}/console/login", data={"key": "sk-anna"}) as response,
    ):
        assert response.status == 403


@pytest.mark.parametrize("token", ["", "0" * 64, "\ud7ff"])
async def test_the_token(token: str):
    """Without that of the session, nothing happens."""
    async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
        await logged_in(browser)
        await browser.send("/console/logout", {"form_token": token})
        assert browser.status == 403
        assert "Reload the page" in browser.shown
        await browser.open("/")
        assert browser.status == 200


async def test_malformed_forms(server: LocalServer):
    """Other types, and more fields than a page has, are refused before they are read."""
    async with browsing(server) as browser:
        url, headers = f"{browser.origin}/console/login", {"Origin": browser.origin}
        async with browser.http.post(url, json={}, headers=headers) as response:
            assert response.status == 415
        type = {"Content-Type": "application/x-www-form-urlencoded"}
        async with browser.http.post(url, data="a=&" * 1_001, headers=headers | type) as response:
            assert response.status == 400
        async with browser.http.post(url, data=BytesIO(b"a" * 17_000_000), headers=headers | type) as response:
            assert response.status == 413
