"""The apps on FastAPI and aiohttp, which do the same, started as their page says and used over HTTP."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientSession
from anyio import to_thread

from openai_runs import Session
from tests.examples.programs import Program, program
from tests.serving import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", params=["fastapi", "aiohttp"])
def running(request: pytest.FixtureRequest, endpoint: str) -> Iterator[Program]:
    """The app, which knows the endpoint by a variable."""
    if request.param == "fastapi":
        command, arguments, port = "uvicorn --app-dir docs/examples/fastapi_app app:app", ["--port=0"], {}
    else:
        command, arguments, port = "python docs/examples/aiohttp_app/app.py", [], {"PORT": str(free_port())}
    with program(command, *arguments, OPENAI_BASE_URL=endpoint, **port) as running:
        yield running


@pytest.fixture(scope="module")
def app(running: Program) -> str:
    """Its URL."""
    return running.wait_for(r"http://127\.0\.0\.1:\d+")[0]


@pytest.fixture
async def browser(anyio_backend: str, app: str) -> AsyncIterator[ClientSession]:
    async with ClientSession(app) as browser:
        yield browser


async def test_the_page_is_served(browser: ClientSession):
    """It is one page without anything from elsewhere, and it puts what a model writes into itself as text."""
    async with browser.get("/") as response:
        page = await response.text()
    assert response.content_type == "text/html"
    assert 'new EventSource("/ask/stream?question="' in page
    assert 'fetch("/ask"' in page
    assert page.count('state.textContent = "asked"') == 2  # at once, whichever button it was
    assert "innerHTML" not in page
    assert "http" not in page


async def test_a_question_is_answered(browser: ClientSession):
    """The answer comes when the run has completed, tool calls included."""
    async with browser.post("/ask", json={"question": "When do you open?"}) as response:
        assert response.status == 200
        assert await response.json() == {"answer": "opening_hours answered: 9 to 18 h"}


async def test_an_answer_is_streamed(browser: ClientSession):
    """The browser gets the run's status and its text in pieces, then `done`."""
    async with browser.get("/ask/stream", params={"question": "When do you open?"}) as response:
        assert response.content_type == "text/event-stream"
        frames = [frame.partition("\n") for frame in (await response.text()).strip().split("\n\n")]
    events = [(name.removeprefix("event: "), data.removeprefix("data: ")) for name, _, data in frames]
    texts = [json.loads(data)["text"] for name, data in events if name == "text"]
    assert len(texts) > 1
    assert "".join(texts) == "opening_hours answered: 9 to 18 h"
    statuses = [json.loads(data)["status"] for name, data in events if name == "status"]
    assert statuses[0] == "queued"
    assert "requires_action" in statuses
    assert statuses[-1] == "completed"
    assert events[-1] == ("done", "[DONE]")


@pytest.mark.parametrize("question", ["", "x" * 4001, None, 1])
async def test_an_odd_question_is_refused(browser: ClientSession, question: object):
    """Nobody pays for a run without a question, or with an endless one."""
    async with browser.post("/ask", json={"question": question}) as response:
        assert response.status in {400, 422}
    if isinstance(question, str):
        async with browser.get("/ask/stream", params={"question": question}) as response:
            assert response.status in {400, 422}


@pytest.mark.parametrize("body", [b"{", b"[]"])
async def test_an_odd_body_is_refused(browser: ClientSession, body: bytes):
    """What is no JSON object is the client's mistake."""
    async with browser.post("/ask", data=body, headers={"Content-Type": "application/json"}) as response:
        assert response.status in {400, 422}


async def test_pages_of_other_sites_are_refused(browser: ClientSession):
    """They could have their visitors ask, at our costs."""
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with browser.post("/ask", json={"question": "When?"}, headers=headers) as response:
        assert response.status == 403
    async with browser.get("/ask/stream", params={"question": "When?"}, headers=headers) as response:
        assert response.status == 403


async def test_a_failure_before_the_first_event_has_a_status(browser: ClientSession, running: Program, endpoint: str):
    """Why is in the log, and not in the browser. The last test of this app: its assistant is gone."""
    async with Session(endpoint) as session:
        async for assistant in session.assistants.list():
            await session.assistants.delete(assistant.id)
    async with browser.post("/ask", json={"question": "When?"}) as response:
        assert response.status == 502
        assert "asst_" not in await response.text()
    await to_thread.run_sync(running.wait_for, r"/ask was not answered: .*asst_")
    async with browser.get("/ask/stream", params={"question": "When?"}) as response:
        assert response.status == 502
        assert "asst_" not in await response.text()
