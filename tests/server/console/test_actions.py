"""What a reader can do by forms: start, answer, cancel."""

import pytest

from openai_runs import Session
from openai_runs.backends import Call, Say, ScriptedBackend
from openai_runs.models.run import Run
from openai_runs.server import LocalServer
from tests.server.console.browser import Browser, browsing

pytestmark = pytest.mark.anyio


async def waiting(session: Session) -> Run:
    """A run that waits for the outputs of its calls."""
    assistant = await session.assistants.create(model="scripted", name="Clerk")
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    run = await session.threads.create_and_run(assistant_id=assistant.id, thread=thread)
    while run.status != "requires_action":
        run = await session.runs.retrieve(run)
    return run


def two_calls() -> ScriptedBackend:
    return ScriptedBackend([[Call("ask", {"who": "Anna"}, id="a<b>"), Call("ask", {"who": "Bert"})], Say("Thanks.")])


async def test_answering():
    """There is a box for each call, and what is written in it becomes the call's output, line by line."""
    async with LocalServer(backend=two_calls()) as server, server.session() as session, browsing(server) as browser:
        run = await waiting(session)
        text = await browser.open(f"/console/runs/{run.id}")
        assert text.count("<textarea") == 2
        assert 'ask({"who": "Anna"})' in browser.shown
        first, second = (call.id for call in run.pending_tool_calls)
        outputs = {f"output.{first}": "<i>yes</i>\r\nfor sure", f"output.{second}": ""}
        await browser.send(f"/console/runs/{run.id}/outputs", outputs)
        assert browser.status == 200
        while run.status != "completed":
            run = await session.runs.retrieve(run)
        (step, _) = [step async for step in session.run_steps.list(run, order="asc")]
        assert [call.function.output for call in step.function_calls] == ["<i>yes</i>\nfor sure", ""]
        await browser.open(f"/console/runs/{run.id}")
        assert "<i>yes</i> for sure" in browser.shown
        assert "<textarea" not in browser.text
        await browser.open("/console/start")
        await browser.send(f"/console/runs/{run.id}/outputs", outputs)
        assert (browser.status, "do not accept tool outputs" in browser.shown) == (400, True)


async def test_an_answer_that_lacks_an_output():
    """Nothing is submitted, and the page says why."""
    async with LocalServer(backend=two_calls()) as server, server.session() as session, browsing(server) as browser:
        run = await waiting(session)
        await browser.open(f"/console/runs/{run.id}")
        await browser.send(f"/console/runs/{run.id}/outputs", {"output.a<b>": "yes"})
        assert (browser.status, "Expected tool outputs for call_ids" in browser.shown) == (400, True)
        assert (await session.runs.retrieve(run)).status == "requires_action"


async def test_cancelling():
    """The run is cancelled, and then there is nothing to cancel."""
    async with LocalServer(backend=two_calls()) as server, server.session() as session, browsing(server) as browser:
        run = await waiting(session)
        await browser.open(f"/console/runs/{run.id}")
        await browser.send(f"/console/runs/{run.id}/cancel")
        assert browser.status == 200
        while run.status != "cancelled":
            run = await session.runs.retrieve(run)
        assert "Cancel the run" not in await browser.open(f"/console/runs/{run.id}")
        await browser.open("/console/start")
        await browser.send(f"/console/runs/{run.id}/cancel")
        assert (browser.status, "Cannot cancel run with status 'cancelled'" in browser.shown) == (400, True)


async def test_starting(server: LocalServer):
    """A run on a new thread, and another one on the same."""
    async with server.session() as session, browsing(server) as browser:
        assert "There is no assistant yet" in await browser.open("/console/start")
        assistant = await session.assistants.create(model="scripted", name="<b>Clerk</b>")
        await browser.open("/console/start")
        assert "<b>Clerk</b> (scripted)" in browser.shown
        await browser.send("/console/start", {"assistant_id": assistant.id, "message": "One\r\ntwo"})
        assert (browser.status, "One two" in browser.shown) == (200, True)
        (run,) = [run async for run in session.runs.list_all()]
        while run.status != "completed":
            run = await session.runs.retrieve(run)
        await browser.open(f"/console/start?thread={run.thread_id}")
        assert f'value="{assistant.id}" selected' in browser.text
        form = {"assistant_id": assistant.id, "message": "Three", "thread_id": run.thread_id}
        await browser.send("/console/start", form)
        assert (browser.status, "Three" in browser.shown) == (200, True)
        said = [message.text async for message in session.messages.list(run.thread_id, order="asc")]
        assert said[0] == "One\ntwo"
        assert "Three" in said


async def test_what_cannot_be_started(server: LocalServer):
    """The page says why, and nothing is created."""
    async with server.session() as session, browsing(server) as browser:
        assistant = await session.assistants.create(model="scripted")
        await browser.open("/console/start")
        page = browser.text
        for form, problem in (
            ({"message": " "}, "The message is empty."),
            ({"assistant_id": "asst_nowhere"}, "No assistant found"),
            ({"thread_id": "thread_nowhere"}, "No thread found"),
        ):
            browser.text = page
            await browser.send("/console/start", {"assistant_id": assistant.id, "message": "Hi", **form})
            assert (browser.status // 100, problem in browser.shown) == (4, True)
        await browser.open("/console/start?thread=thread_nowhere")
        assert browser.status == 404
        assert not [run async for run in session.runs.list_all()]


@pytest.mark.parametrize("path", ["/console/start", "/console/runs/{}/cancel", "/console/runs/{}/outputs"])
async def test_forms_of_other_sites(path: str):
    """They do nothing, even to a server without keys."""
    async with LocalServer(backend=two_calls()) as server, server.session() as session, browsing(server) as browser:
        run = await waiting(session)
        await browser.open(f"/console/runs/{run.id}")
        form = {f"output.{call.id}": "" for call in run.pending_tool_calls} | {"message": "Hi"}
        await browser.send(path.format(run.id), form, Origin="http://evil.example")
        assert browser.status == 403
        await browser.send(path.format(run.id), form | {"form_token": "0"})
        assert browser.status == 403
        assert [(run.id, run.status) async for run in session.runs.list_all()] == [(run.id, "requires_action")]


async def test_without_a_session():
    """With keys, forms need a login, and each owner reaches its own runs only."""
    keys = {"sk-anna": "anna", "sk-bert": "bert"}
    async with LocalServer(backend=two_calls(), keys=keys) as server, server.session() as session:
        run = await waiting(session)
        async with browsing(server) as browser:
            await browser.open("/")
            await browser.send(f"/console/runs/{run.id}/cancel")
            assert browser.status == 401
            await _log_in(browser, "sk-bert")
            await browser.send(f"/console/runs/{run.id}/cancel")
            assert browser.status == 404
            await _log_in(browser, "sk-anna")
            await browser.send(f"/console/runs/{run.id}/cancel")
            assert browser.status == 200


async def _log_in(browser: Browser, key: str) -> None:
    browser.http.cookie_jar.clear()
    await browser.open("/")
    await browser.send("/console/login", {"key": key})
