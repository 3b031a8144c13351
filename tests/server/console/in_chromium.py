"""The console in a real browser, by ``nox -s browser``: Debian's ``chromium`` has to be there, or the tests fail.

What a page says is tested beside this file without one. Here is what only a browser does: scripts, policies, layout.
"""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from attrs import define, field
from playwright.async_api import Browser, Page, Route, expect

from openai_runs import Session
from openai_runs.backends import Call, Say, ScriptedBackend, Wait
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Turn
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.server import LocalServer
from tests.chromium import browser  # noqa: F401  # a fixture

pytestmark = pytest.mark.anyio

HOSTILE = "<script>document.title = 'x'</script><img src=x onerror=alert(1)> [bold]x[/bold] \u202eevil\u202c"
SHOWN = "<script>document.title = 'x'</script><img src=x onerror=alert(1)> [bold]x[/bold] [U+202E]evil[U+202C]"


@define
class Console:
    """A server, a program that uses it, and a page in a browser that looks at it."""

    session: Session
    page: Page
    origin: str
    gate: anyio.Event
    next_gate: anyio.Event
    problems: list[str] = field(factory=list)  #: what the browser complains about

    async def start(self, text: str) -> Run:
        assistants = [assistant async for assistant in self.session.assistants.list()]
        assistant = assistants[0] if assistants else await self.session.assistants.create(model="x", name=HOSTILE)
        thread = {"messages": [{"role": "user", "content": text}]}
        return await self.session.threads.create_and_run(assistant_id=assistant.id, thread=thread)

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.origin + path)


@asynccontextmanager
async def console_in(browser: Browser, width: int = 1280, **options: object) -> AsyncIterator[Console]:  # noqa: F811
    gate, next_gate = anyio.Event(), anyio.Event()

    def script(request: ModelRequest) -> Turn:
        said = next(item.text for item in reversed(request.items) if isinstance(item, Message))
        if said == "wait":
            return [Say("One moment. "), Wait(gate), Say("Done.")]
        if said == "write":
            call = Call("ask", {"question": HOSTILE})
            return [Say("One moment. "), Wait(gate), Say(HOSTILE), Wait(next_gate), call, Wait()]
        if said == "call" and isinstance(request.items[-1], Message):
            return Call("ask", {"question": HOSTILE})
        return Say(said)

    async with (
        LocalServer(backend=ScriptedBackend(script), **options) as server,
        server.session() as session,
        await browser.new_context(viewport={"width": width, "height": 800}) as context,
    ):
        page = await context.new_page()
        console = Console(session, page, server.url.removesuffix("/v1"), gate, next_gate)
        page.on("pageerror", lambda error: console.problems.append(str(error)))
        page.on("dialog", lambda dialog: console.problems.append(dialog.message))
        page.on("console", lambda said: console.problems.append(said.text) if said.type == "error" else None)
        page.on(
            "request", lambda sent: None if sent.url.startswith(console.origin) else console.problems.append(sent.url)
        )
        yield console


Opening = Callable[..., AbstractAsyncContextManager[Console]]


@pytest.fixture
def opened(browser: Browser) -> Opening:  # noqa: F811  # the fixture
    return partial(console_in, browser)


async def test_runs_appear_and_change(opened: Opening):
    """The list follows what happens, and tells a screen reader of it."""
    async with opened() as console:
        await console.open()
        await expect(console.page.get_by_text("No runs yet")).to_be_visible()
        run = await console.start("wait")
        row = console.page.locator(f"#row-{run.id}")
        await expect(row).to_contain_text("in progress")
        console.gate.set()
        await expect(row).to_contain_text("completed")
        await expect(console.page.get_by_role("status")).to_have_text(f"{run.id}: completed")
        await row.get_by_role("link", name=run.id).click()
        await expect(console.page.locator("h1")).to_contain_text(run.id)
        assert not console.problems


async def test_a_run_as_it_goes_on(opened: Opening):
    """Its page follows, and what the reader has closed or typed stays as it is."""
    async with opened() as console:
        run = await console.start("call")
        await console.open(f"/console/runs/{run.id}")
        output = console.page.get_by_role("textbox")
        await output.fill("so fa")
        call = console.page.locator("details.call")
        await call.locator("summary").click()
        await expect(call).not_to_have_attribute("open", "")
        for _ in range(2):  # it has read itself again
            async with console.page.expect_response(f"**/console/runs/{run.id}"):
                pass
        await expect(output).to_have_value("so fa")
        await expect(call).not_to_have_attribute("open", "")
        await output.press_sequentially("r")
        await expect(output).to_have_value("so far")
        (pending,) = (await console.session.runs.retrieve(run)).pending_tool_calls
        await console.session.runs.submit_tool_outputs(run, [{"tool_call_id": pending.id, "output": "x"}])
        await expect(console.page.locator(".heading .badge")).to_have_text("completed")
        await expect(output).to_have_count(0)
        assert not console.problems


async def test_what_a_model_writes(opened: Opening):
    """It is seen as it is written, as text, and what the reader has selected of it stays selected."""
    async with opened() as console:
        run = await console.start("write")
        text = console.page.locator("article.assistant .text")
        await console.open(f"/console/runs/{run.id}")
        await expect(text).to_have_text("One moment.")
        await console.page.route(f"**/console/runs/{run.id}", lambda route: route.abort())  # only the feed is left
        await text.evaluate("text => getSelection().setBaseAndExtent(text.firstChild, 4, text.firstChild, 10)")
        console.gate.set()
        await expect(text).to_have_text(f"One moment. {SHOWN}")
        assert await console.page.evaluate("getSelection().toString()") == "moment"
        await expect(console.page.locator(".heading .badge")).to_have_text("in progress")
        await console.page.unroute_all()
        console.next_gate.set()
        await expect(console.page.get_by_label("Arguments")).to_contain_text('"question": "<script>')
        await expect(console.page.locator(".heading .badge")).to_have_text("in progress")
        await console.page.get_by_role("button", name="Cancel the run").click()
        await expect(console.page.locator(".heading .badge")).to_have_text("cancelled")
        await expect(text).to_have_text(f"One moment. {SHOWN}")
        await expect(console.page.locator("[data-written]")).to_have_count(0)
        assert not [each for each in console.problems if "ERR_FAILED" not in each]


@pytest.mark.parametrize("way", ["feed", "reads"])
async def test_what_the_reader_has_selected(opened: Opening, way: str):
    """It stays selected while the text grows, whether the feed begins with what is shown already or a read has more."""
    async with opened() as console:
        run = await console.start("write")
        selected = anyio.Event()

        async def begin(route: Route) -> None:
            await selected.wait()
            await route.continue_()

        path = f"**/console/runs/{run.id}"
        await console.page.route(f"{path}/changes", begin if way == "feed" else lambda route: route.abort())
        text = console.page.locator("article.assistant .text")
        await console.open(f"/console/runs/{run.id}")
        await expect(text).to_have_text("One moment.")
        if way == "feed":
            await console.page.route(path, lambda route: route.abort())
        await text.evaluate("text => getSelection().setBaseAndExtent(text.firstChild, 4, text.firstChild, 10)")
        selected.set()
        console.gate.set()
        await expect(text).to_have_text(f"One moment. {SHOWN}")
        assert await console.page.evaluate("getSelection().toString()") == "moment"
        await console.page.unroute_all(behavior="ignoreErrors")


async def test_answering_and_cancelling(opened: Opening):
    """By hand, from the keyboard."""
    async with opened() as console:
        run = await console.start("call")
        await console.open(f"/console/runs/{run.id}")
        await console.page.get_by_role("textbox").fill("<b>fine</b>")
        await console.page.keyboard.press("Tab")
        await console.page.keyboard.press("Enter")
        await expect(console.page.locator(".heading .badge")).to_have_text("completed")
        await expect(console.page.get_by_label("Output")).to_have_text("<b>fine</b>")
        run = await console.start("wait")
        await console.open(f"/console/runs/{run.id}")
        await console.page.get_by_role("button", name="Cancel the run").click()
        await expect(console.page.locator(".heading .badge")).to_have_text("cancelled")
        assert not console.problems


async def test_starting(opened: Opening):
    """A form starts a run, and its page follows."""
    async with opened() as console:
        await console.start("Hi")
        await console.open()
        await console.page.get_by_role("link", name="Start a run").click()
        await console.page.get_by_label("Message").fill(HOSTILE)
        await console.page.get_by_role("button", name="Start").click()
        await expect(console.page.locator(".heading .badge")).to_have_text("completed")
        await expect(console.page.locator("article.assistant .text")).to_have_text(SHOWN)
        assert not console.problems


@pytest.mark.parametrize("width", [360, 1280])
async def test_hostile_text(opened: Opening, width: int):
    """It is text on every page, which is no wider than the window."""
    async with opened(width) as console:
        run, waiting = await console.start(HOSTILE), await console.start("call")
        while run.status != "completed":
            run = await console.session.runs.retrieve(run)
        for path in "/", f"/console/runs/{run.id}", f"/console/runs/{waiting.id}", f"/console/threads/{run.thread_id}":
            await console.open(path)
            await expect(console.page.locator("main")).to_contain_text(SHOWN)
            assert await console.page.title() != "x"
            assert await console.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not console.problems


async def test_a_login(opened: Opening):
    """The key is neither in the URL nor where scripts could read it; a logout ends it."""
    async with opened(keys={"sk-anna": "anna"}) as console:
        run = await console.start("Hi")
        await console.open(f"/console/runs/{run.id}")
        await console.page.get_by_label("Key").fill("sk-anna")
        await console.page.keyboard.press("Enter")
        await expect(console.page.locator("h1")).to_contain_text(run.id)
        assert console.page.url == f"{console.origin}/console/runs/{run.id}"
        assert await console.page.evaluate("document.cookie") == ""
        (cookie,) = await console.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], "anna" in cookie["value"]) == (True, "Strict", False)
        await console.page.get_by_role("button", name="Log out").click()
        await expect(console.page.get_by_label("Key")).to_be_focused()


async def test_from_the_keyboard(opened: Opening):
    """The first key leads past the head of the page."""
    async with opened() as console:
        await console.open()
        await console.page.keyboard.press("Tab")
        await expect(console.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await console.page.keyboard.press("Enter")
        await expect(console.page.locator("main")).to_be_focused()


async def test_a_server_that_has_gone(opened: Opening):
    """The page says that it is not up to date."""
    async with opened() as console:
        await console.start("wait")
        await console.open()
        await expect(console.page.locator("#connection")).to_be_hidden()
        await console.page.context.set_offline(True)
        await expect(console.page.locator("#connection")).to_be_visible()
        await console.page.context.set_offline(False)
        await expect(console.page.locator("#connection")).to_be_hidden(timeout=20_000)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_has_no_page_now(opened: Opening, status: int):
    """What the page shows stays, and it goes on once there is one again."""
    async with opened() as console:
        run = await console.start("wait")
        await console.open(f"/console/runs/{run.id}")
        path, body = f"**/console/runs/{run.id}", "<main>That did not work</main>"
        await console.page.route(path, lambda sent: sent.fulfill(status=status, content_type="text/html", body=body))
        await expect(console.page.locator("#connection")).to_be_visible()
        await expect(console.page.locator("h1")).to_contain_text(run.id)
        await console.page.unroute(path)
        console.gate.set()
        await expect(console.page.locator(".heading .badge")).to_have_text("completed")
        await expect(console.page.locator("#connection")).to_be_hidden()


async def test_a_read_that_is_not_answered(opened: Opening):
    """It is given up, or what changes later would wait for its end."""
    async with opened() as console:
        await console.page.add_init_script("""AbortSignal.timeout = () => {
            const controller = new AbortController();
            globalThis.giveUp = () => controller.abort();
            return controller.signal;
        }""")
        run = await console.start("wait")
        await console.open(f"/console/runs/{run.id}")
        held, given_up, let_go = anyio.Event(), anyio.Event(), anyio.Event()

        async def hold(route: Route) -> None:
            held.set()
            await given_up.wait()
            await route.abort()
            let_go.set()

        await console.page.route(f"**/console/runs/{run.id}", hold, times=1)
        await held.wait()
        console.gate.set()
        await console.page.evaluate("giveUp()")
        await expect(console.page.locator(".heading .badge")).to_have_text("completed")
        given_up.set()
        await let_go.wait()


async def test_a_hidden_page(opened: Opening):
    """It holds no connection, of which a browser has few, and follows again when it is seen."""
    async with opened() as console:
        await console.open()
        hide = """is => {
            Object.defineProperty(document, "hidden", {value: is, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
        async with console.page.expect_event("requestfailed", lambda sent: sent.url.endswith("/console/changes")):
            await console.page.evaluate(hide, True)
        run = await console.start("Hi")
        await expect(console.page.locator(f"#row-{run.id}")).to_have_count(0)
        await console.page.evaluate(hide, False)
        await expect(console.page.locator(f"#row-{run.id}")).to_contain_text("completed")


async def test_a_feed_that_is_refused(opened: Opening):
    """A proxy answers while the server starts again; the page connects again."""
    async with opened() as console:
        refused = anyio.Event()

        async def answer(route: Route) -> None:
            if refused.is_set():
                await route.continue_()
            else:
                refused.set()
                await route.fulfill(status=502)

        await console.page.route("**/console/changes", answer)
        async with console.page.expect_response(lambda got: got.url.endswith("/console/changes") and got.ok):
            await console.open()
        run = await console.start("Hi")
        await expect(console.page.locator(f"#row-{run.id}")).to_contain_text("completed")
        await expect(console.page.locator("#connection")).to_be_hidden()


async def test_pictures(tmp_path: Path):
    """The script that takes the pictures of the documents works with what they show."""
    command = [sys.executable, Path(__file__).parents[3] / "docs" / "take_pictures.py", tmp_path]
    await anyio.run_process(command, stderr=None)
    taken = {path.name async for path in anyio.Path(tmp_path).iterdir()}
    assert taken == {path.name for path in (Path(__file__).parents[3] / "docs" / "pictures").iterdir()}
