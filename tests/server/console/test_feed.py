"""`ChangeNotices`, `RunNotices` and their feeds: one notice for all that has changed, and what is written."""

import json

import anyio
import pytest

from openai_runs import Run, load
from openai_runs._http.sse import KEEP_ALIVE
from openai_runs.backends import Say, ScriptedBackend, Wait
from openai_runs.engine import Writing
from openai_runs.server import LocalServer
from openai_runs.server.console import feed
from openai_runs.server.console.feed import ChangeNotices, RunNotices
from tests.following.story import run
from tests.server.console.browser import browsing

pytestmark = pytest.mark.anyio


async def test_many_changes_are_one_notice():
    """A slow reader gets one, and nothing of what the runs are."""
    notices = ChangeNotices()
    for status in ("queued", "in_progress", "completed"):
        notices.note(load(run(status), Run))
    notices.put(KEEP_ALIVE)
    assert await notices.take() == b"data: changed\n\n" + KEEP_ALIVE
    assert notices.taken == 1
    notices.note(load(run("queued"), Run))
    assert await notices.take() == b"data: changed\n\n"


async def test_it_waits():
    """Until a run changes, nothing is sent."""
    notices = ChangeNotices()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(notices.take)
        await anyio.wait_all_tasks_blocked()
        assert notices.taken == 0
        notices.note(load(run("queued"), Run))
    assert notices.taken == 1


async def test_the_feed_of_a_page(server: LocalServer):
    """A new run is told, and whoever closes the page leaves nothing behind."""
    async with server.session() as session, browsing(server) as browser:
        assistant = await session.assistants.create(model="scripted")
        async with browser.http.get(f"{browser.origin}/console/changes") as response:
            assert response.content_type == "text/event-stream"
            await session.threads.create_and_run(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}
            )
            assert await response.content.readuntil(b"\n\n") == b"data: changed\n\n"


class TestOneRun:
    async def test_many_pieces_are_told_together(self, monkeypatch: pytest.MonkeyPatch):
        """However many a model has written since the last look."""
        monkeypatch.setattr(feed, "_PAUSE", 0)
        pieces = ["One "]
        notices = RunNotices(lambda: [Writing("msg_1", 0, "text", pieces)])
        notices.note(load(run("in_progress"), Run))
        assert await notices.take() == b"data: changed\n\n"
        told = [await notices.take()]
        pieces += ["two ", "three"]
        told.append(await notices.take())
        names, data = zip(*[frame.decode().strip().split("\ndata: ") for frame in told], strict=True)
        assert names == ("event: written",) * 2
        assert [json.loads(each) for each in data] == [
            [{"of": "msg_1-0", "text": "One ", "is_start": True}],
            [{"of": "msg_1-0", "text": "two three", "is_start": False}],
        ]
        assert notices.taken == 3

    @pytest.mark.parametrize("status", ["queued", "requires_action", "completed"])
    async def test_it_waits(self, monkeypatch: pytest.MonkeyPatch, status: str):
        """While a run does not execute, nobody looks; what happens then is told at once."""
        monkeypatch.setattr(feed, "_PAUSE", 0)
        looks = []
        notices = RunNotices(lambda: looks.append(1) or ())
        notices.note(load(run(status), Run))
        await notices.take()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(notices.take)
            await anyio.wait_all_tasks_blocked()
            assert (notices.taken, looks) == (1, [])
            notices.put(KEEP_ALIVE)
        assert notices.taken == 2

    async def test_the_feed_of_a_run(self):
        """It begins with all that is written by then, and whoever closes the page leaves nothing behind."""
        more, end = anyio.Event(), anyio.Event()
        script = [[Say("One moment. "), Wait(more), Say("Done."), Wait(end)]]
        async with (
            LocalServer(backend=ScriptedBackend(script)) as server,
            server.session() as session,
            browsing(server) as browser,
        ):
            assistant = await session.assistants.create(model="scripted")
            run = await session.threads.create_and_run(assistant_id=assistant.id)
            async with browser.http.get(f"{browser.origin}/console/runs/{run.id}/changes") as response:
                assert response.content_type == "text/event-stream"
                text = ""
                async for line in response.content:
                    if line.startswith(b"data: ["):
                        text += "".join(each["text"] for each in json.loads(line[6:]))
                    if text == "One moment. ":
                        more.set()
                    if text == "One moment. Done.":
                        break
            end.set()
            while not run.status.is_terminal:
                run = await session.runs.retrieve(run)
            await browser.open("/console/runs/run_nowhere/changes")
            assert browser.status == 404
