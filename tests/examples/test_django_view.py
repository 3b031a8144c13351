"""The Django project of one file, under uvicorn."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientSession
from anyio import to_thread

from openai_runs import Session
from tests.examples.programs import Program, program

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def running(endpoint: str) -> Iterator[Program]:
    with program(
        "uvicorn --app-dir docs/examples/django_view app:app", "--port=0", OPENAI_BASE_URL=endpoint
    ) as running:
        yield running


@pytest.fixture(scope="module")
def app(running: Program) -> str:
    return running.wait_for(r"http://127\.0\.0\.1:\d+")[0]


@pytest.fixture
async def browser(anyio_backend: str, app: str) -> AsyncIterator[ClientSession]:
    async with ClientSession(app) as browser:
        yield browser


async def test_a_question_is_answered(browser: ClientSession):
    """The view awaits the run, in the session that the server's start has opened."""
    async with browser.post("/ask", json={"question": "Why?"}) as response:
        assert response.status == 200
        assert await response.json() == {"answer": "You said: Why?"}


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"1", b"{}", b'{"question": ""}', b'{"question": 1}', json.dumps({"question": "x" * 4001}).encode()],
)
async def test_an_odd_body_is_refused(browser: ClientSession, body: bytes):
    """It is the client's mistake."""
    async with browser.post("/ask", data=body) as response:
        assert response.status == 400


async def test_pages_of_other_sites_are_refused(browser: ClientSession):
    """They could have their visitors ask, at our costs."""
    async with browser.post("/ask", json={"question": "Why?"}, headers={"Sec-Fetch-Site": "cross-site"}) as response:
        assert response.status == 403


async def test_only_posts_are_answered(browser: ClientSession):
    """A link starts no run."""
    async with browser.get("/ask") as response:
        assert response.status == 405


async def test_a_failure_has_a_status(browser: ClientSession, running: Program, endpoint: str):
    """Why is in the log, and not in the browser. The last test of this app: its assistant is gone."""
    async with Session(endpoint) as session:
        async for assistant in session.assistants.list():
            await session.assistants.delete(assistant.id)
    async with browser.post("/ask", json={"question": "Why?"}) as response:
        assert response.status == 502
        assert "asst_" not in await response.text()
    await to_thread.run_sync(running.wait_for, r"/ask was not answered: .*asst_")
