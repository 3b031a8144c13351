"""The page of the apps in a real browser, by ``nox -s browser``; see `tests/server/console/in_chromium.py`."""

from contextlib import ExitStack
from functools import partial

import anyio
import pytest
from anyio import to_thread
from playwright.async_api import Browser, Request, expect

from openai_runs.backends import Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Turn
from openai_runs.server import LocalServer
from tests.chromium import browser  # noqa: F401  # a fixture
from tests.examples.programs import Program, program
from tests.serving import free_port

pytestmark = pytest.mark.anyio

HOSTILE = "<script>document.title = 'x'</script><img src=x onerror=alert(1)> &amp; \u2028 done"


def start(exit_stack: ExitStack, app: str, endpoint: str) -> str:
    """Start one of the apps; returns its URL."""
    if app == "fastapi":
        started = program("uvicorn --app-dir docs/examples/fastapi_app app:app", "--port=0", OPENAI_BASE_URL=endpoint)
    else:
        started = program("python docs/examples/aiohttp_app/app.py", OPENAI_BASE_URL=endpoint, PORT=str(free_port()))
    running: Program = exit_stack.enter_context(started)
    return running.wait_for(r"http://127\.0\.0\.1:\d+")[0]


@pytest.mark.parametrize("app", ["fastapi", "aiohttp"])
async def test_an_answer_is_shown_as_text(browser: Browser, app: str):  # noqa: F811  # the fixture
    """What a model writes is never HTML, whether it comes in pieces or as a whole; the page says how far it is."""

    def repeat(request: ModelRequest) -> Say:
        return Say(request.items[-1].text)

    problems: list[str] = []
    with ExitStack() as exit_stack:
        async with LocalServer(backend=ScriptedBackend(repeat)) as server:
            url = await to_thread.run_sync(start, exit_stack, app, server.url)
            async with await browser.new_context() as context:
                page = await context.new_page()
                page.on("pageerror", lambda error: problems.append(str(error)))
                page.on("dialog", lambda dialog: problems.append(dialog.message))
                await page.goto(url)
                for button in "Ask, and watch", "Ask, and wait":
                    await page.locator("#question").fill(HOSTILE)
                    await page.get_by_role("button", name=button).click()
                    await expect(page.locator("#state")).to_have_text("completed")
                    await expect(page.locator("#answer p")).to_have_text(HOSTILE)
            await to_thread.run_sync(exit_stack.close)
    assert not problems


@pytest.mark.parametrize("app", ["fastapi", "aiohttp"])
async def test_a_question_before_the_answer(browser: Browser, app: str):  # noqa: F811  # the fixture
    """What is shown answers the latest question: whatever would still come for the one before is left."""

    gate = anyio.Event()

    def script(request: ModelRequest) -> Turn:
        said = request.items[-1].text
        return [Say("One moment. "), Wait(gate)] if said == "first" else Say(said)

    with ExitStack() as exit_stack:
        async with LocalServer(backend=ScriptedBackend(script)) as server:
            url = await to_thread.run_sync(start, exit_stack, app, server.url)
            async with await browser.new_context() as context:
                page = await context.new_page()
                await page.goto(url)
                for button, path, state in (
                    ("Ask, and watch", f"{url}/ask/stream", "in_progress"),
                    ("Ask, and wait", f"{url}/ask", "asked"),
                ):
                    await page.locator("#question").fill("first")
                    await page.get_by_role("button", name=button).click()
                    await expect(page.locator("#state")).to_have_text(state)
                    await page.locator("#question").fill("second")
                    async with page.expect_event("requestfailed", partial(is_for, path)):
                        await page.get_by_role("button", name=button).click()
                    await expect(page.locator("#state")).to_have_text("completed")
                    await expect(page.locator("#answer p")).to_have_text("second")
            gate.set()  # an app finishes what it was asked
            await to_thread.run_sync(exit_stack.close)


def is_for(path: str, sent: Request) -> bool:
    return sent.url.startswith(path)


@pytest.mark.parametrize("app", ["fastapi", "aiohttp"])
async def test_an_endpoint_that_is_away(browser: Browser, app: str):  # noqa: F811  # the fixture
    """The page says in a sentence that there is no answer now, whichever way it has asked."""
    with ExitStack() as exit_stack:
        endpoint = f"http://127.0.0.1:{free_port()}/v1"
        url = await to_thread.run_sync(start, exit_stack, app, endpoint)
        async with await browser.new_context() as context:
            page = await context.new_page()
            await page.goto(url)
            for button in "Ask, and watch", "Ask, and wait":
                await page.reload()
                await page.get_by_role("button", name=button).click()
                sentence = "There is no answer now. Ask again in a minute."
                await expect(page.locator("#state")).to_have_text(sentence, timeout=15_000)
        await to_thread.run_sync(exit_stack.close)
