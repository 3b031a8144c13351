"""`ChangeNotices` and its feed: that something has changed, once for all that has."""

import anyio
import pytest

from openai_runs import Run, load
from openai_runs._http.sse import KEEP_ALIVE
from openai_runs.server import LocalServer
from openai_runs.server.console.feed import ChangeNotices
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
