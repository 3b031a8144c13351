"""Who gets into the console, and what the API is beside it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientSession

from openai_runs.backends import ScriptedBackend
from openai_runs.engine import ApiError
from openai_runs.errors import StoreError, StoreUnavailableError
from openai_runs.server import LocalServer
from openai_runs.server.console.sessions import Sessions
from openai_runs.stores.postgres import SharedPostgresStore
from tests.server.console.browser import browsing

if TYPE_CHECKING:
    from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

KEYS = {"sk-anna": "anna", "sk-bert": "bert"}


class TestTheApi:
    @pytest.mark.parametrize("accept", ["", "*/*", "application/json"])
    async def test_programs_get_no_page(self, server: LocalServer, accept: str):
        """What asks for no HTML gets the API's answer, as if there were no console."""
        async with ClientSession() as http:
            for method in ("GET", "POST", "HEAD"):
                async with http.request(method, server.url.removesuffix("v1"), headers={"Accept": accept}) as response:
                    assert (response.status, response.content_type) == (404, "application/json")

    async def test_without_the_console(self):
        """`console=False` leaves nothing of it."""
        async with LocalServer(console=False) as server, browsing(server) as browser:
            for path in ("/", "/console/static/console.js", "/console/runs/run_1"):
                error = json.loads(await browser.open(path))["error"]
                assert error["message"] == f"Invalid URL (GET {path})"

    async def test_a_key_is_no_session(self):
        """The API does not take the cookie, and the pages do not take the header."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open("/", Authorization="Bearer sk-anna")
            assert browser.status == 401
            await browser.send("/console/login", {"key": "sk-anna"})
            await browser.open("/v1/runs")
            assert browser.status == 401
            await browser.open("/")
            assert browser.status == 200


class TestSeveralServers:
    async def test_each_takes_each_request(self, postgres_server: "Postgres", tmp_path: Path):
        """A page, its form and the session come from one server, and go to another one."""
        url = postgres_server.store_url()
        async with (
            LocalServer(keys=KEYS, store=SharedPostgresStore(url, folder=tmp_path)) as first,
            LocalServer(keys=KEYS, store=SharedPostgresStore(url, folder=tmp_path)) as second,
            browsing(first) as browser,
        ):
            origins = [server.url.removesuffix("/v1") for server in (first, second)]
            await browser.open("/")
            browser.origin = origins[1]
            await browser.send("/console/login", {"key": "sk-anna"})
            assert (browser.status, "Log in" in browser.shown) == (200, False)
            browser.origin = origins[0]
            await browser.open("/console/start")
            assert (browser.status, "Log in" in browser.shown) == (200, False)
            second.replace_keys({"sk-anna": "anna"})
            browser.origin = origins[1]
            await browser.open("/")
            assert browser.status == 401


class TestLogin:
    @pytest.mark.parametrize("path", ["/", "/console/runs/run_1", "/console/threads/thread_1", "/console/changes"])
    async def test_nothing_without_a_session(self, path: str):
        """Every page asks for a key, whether or not there is what it would show."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open(path)
            assert (browser.status, "Log in" in browser.shown) == (401, True)
            await browser.open(path, Cookie="openai_runs_session=made-up")
            assert browser.status == 401

    async def test_a_session(self):
        """The cookie is kept from scripts and other sites, and neither it nor the page has the key."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open("/")
            async with browser.http.post(
                f"{browser.origin}/console/login",
                data={"key": "sk-anna", "form_token": _token(browser.text), "to": "/"},
                headers={"Origin": browser.origin},
                allow_redirects=False,
            ) as response:
                cookie = response.headers["Set-Cookie"]
            assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} <= {*cookie.split("; ")}
            assert "Secure" not in cookie
            assert "sk-anna" not in cookie
            assert "sk-anna" not in await browser.open("/")
            assert "Log out" in browser.shown

    async def test_over_https(self):
        """The cookie never goes over plain HTTP if the browser has come by HTTPS."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open("/")
            async with browser.http.post(
                f"{browser.origin}/console/login",
                data={"key": "sk-anna", "form_token": _token(browser.text)},
                headers={"Origin": browser.origin.replace("http:", "https:")},
                allow_redirects=False,
            ) as response:
                assert "Secure" in response.headers["Set-Cookie"].split("; ")

    async def test_a_wrong_key(self):
        """It is asked for again."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open("/")
            for key in "sk-eve", "":
                await browser.send("/console/login", {"key": key})
                assert (browser.status, "This is no key of this server." in browser.shown) == (401, True)

    async def test_logging_out(self):
        """The session ends at the server, so that a copy of the cookie is of no use."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open("/")
            await browser.send("/console/login", {"key": "sk-anna"})
            (cookie,) = browser.http.cookie_jar
            await browser.send("/console/logout")
            assert browser.status == 401
            await browser.open("/", Cookie=f"{cookie.key}={cookie.value}")
            assert browser.status == 401

    @pytest.mark.parametrize("to", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", ""])
    async def test_no_way_to_another_site(self, to: str):
        """After the login comes a page of the console."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            await browser.open("/")
            await browser.send("/console/login", {"key": "sk-anna", "to": to})
            assert (browser.status, "No runs yet" in browser.shown) == (200, True)

    async def test_back_to_the_page(self):
        """After the login comes the page that was asked for."""
        async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
            assert 'value="/console/runs/run_1"' in await browser.open("/console/runs/run_1")
            await browser.send("/console/login", {"key": "sk-anna", "to": "/console/runs/run_1"})
            assert (browser.status, "No run found with id 'run_1'" in browser.shown) == (404, True)

    async def test_no_keys_no_login(self, monkeypatch: pytest.MonkeyPatch):
        """There is nothing to log into."""
        monkeypatch.setattr(Sessions, "_signature", lambda *_: "0")
        async with LocalServer() as server, browsing(server) as browser:
            assert "Log" not in await browser.open("/")
            await browser.send("/console/login", {"form_token": "0"})
            assert (browser.status, "No runs yet" in browser.shown) == (200, True)


async def test_owners_are_apart():
    """A page shows the objects of the key's owner, and answers 404 for all others, as the API does."""
    async with LocalServer(keys=KEYS, backend=ScriptedBackend()) as server, browsing(server) as browser:
        async with server.session() as session:
            assistant = await session.assistants.create(model="scripted")
            run = await session.threads.create_and_run(assistant_id=assistant.id)
        for key, status, shown in ("sk-anna", 200, True), ("sk-bert", 404, False):
            browser.http.cookie_jar.clear()
            await browser.open("/")
            await browser.send("/console/login", {"key": key})
            assert (run.id in browser.text) is shown
            for path in f"/console/runs/{run.id}", f"/console/threads/{run.thread_id}":
                await browser.open(path)
                assert browser.status == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
        ("192.0.2.1", 403),
    ],
)
async def test_a_name_of_somebody_else(server: LocalServer, host: str, status: int):
    """A site that has its name resolve to this machine does not get a page of a server without keys."""
    async with browsing(server) as browser:
        await browser.open("/", Host=host)
        assert browser.status == status


async def test_a_name_with_keys():
    """With keys, a proxy may have any name: a stranger's has no session."""
    async with LocalServer(keys=KEYS) as server, browsing(server) as browser:
        await browser.open("/", Host="runs.example.com")
        assert browser.status == 401


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (ApiError(400, "That is <wrong>."), 400, "That is <wrong>."),
        (StoreUnavailableError("the disk is full"), 503, "the disk is full"),
        (StoreError("a page is damaged"), 500, "a page is damaged"),
        (ZeroDivisionError("secret"), 500, "Its log has the details under req_"),
    ],
)
async def test_errors(
    server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    shown: str,
):
    """A page says what went wrong; of a bug, only the log has the details."""

    async def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(server.engine.runs.__class__, "list_all", failing)
    async with browsing(server) as browser:
        await browser.open("/")
        assert (browser.status, shown in browser.shown) == (status, True)
        assert "secret" not in browser.text
    assert ("secret" in caplog.text) == isinstance(error, ZeroDivisionError)


def _token(text: str) -> str:
    return text.partition('name="form_token" value="')[2].partition('"')[0]
