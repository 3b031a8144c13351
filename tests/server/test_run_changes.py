"""`RunChanges`: one feed of all of an owner's runs, which loses no end, however slowly it is read."""

import anyio
import pytest
from aiohttp import ClientPayloadError, ClientSession

from openai_runs import Run, Session, _wire, load
from openai_runs._http.sse import KEEP_ALIVE, Decoder
from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.server import LocalServer, run_changes
from openai_runs.server.run_changes import CURRENT, RunChanges
from tests.following.story import run

pytestmark = pytest.mark.anyio


def a_run(id: str = "run_1", status: str = "in_progress") -> Run:
    return load(run(status, id=id), Run)


def seen(text: bytes) -> list[tuple[str, str]]:
    """What a reader is told, and about which run."""
    decoder = Decoder()
    frames = decoder.feed(text) + decoder.end()
    return [(name.decode(), "" if data == b"{}" else load(data, Run).id) for name, data in frames]


class TestTheQueue:
    async def test_a_run_that_changes_again(self):
        """What has not been sent yet is sent as it is now, once."""
        changes = RunChanges(_wire.encode)
        for value in a_run(), a_run("run_2"), a_run(status="completed"):
            changes.note(value)
        assert seen(await changes.take()) == [("thread.run.completed", "run_1"), ("thread.run.in_progress", "run_2")]
        changes.note(a_run("run_2", "failed"))
        assert seen(await changes.take()) == [("thread.run.failed", "run_2")]
        assert changes.taken == 2

    async def test_frames_of_other_kinds(self):
        """They come after the runs that were there before, in however many writes."""
        changes = RunChanges(_wire.encode)
        for number in range(run_changes._WRITE_RUNS + 1):
            changes.note(a_run(f"run_{number}"))
        changes.put(CURRENT)
        changes.put(KEEP_ALIVE)
        first, second = await changes.take(), await changes.take()
        assert len(seen(first)) == run_changes._WRITE_RUNS
        assert seen(second)[1:] == [("openai_runs.runs.current", "")]
        assert second.endswith(KEEP_ALIVE)

    async def test_waiting(self):
        """A reader waits until something has changed."""
        changes = RunChanges(_wire.encode)
        async with anyio.create_task_group() as tasks:
            texts = []

            async def read() -> None:
                texts.append(await changes.take())

            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert texts == []
            changes.note(a_run())
        assert seen(texts[0]) == [("thread.run.in_progress", "run_1")]

    async def test_a_reader_that_is_too_slow(self, monkeypatch: pytest.MonkeyPatch):
        """With too much unread the feed ends, and the reader begins anew: memory has a bound, and no end is lost."""
        monkeypatch.setattr(run_changes, "_MOST_UNREAD", 3)
        changes = RunChanges(_wire.encode)
        for number in range(5):
            changes.note(a_run(f"run_{number}"))
        assert await changes.take() == b""


async def test_a_feed():
    """It begins with the runs that have not ended; then each change is told, of every thread, and to nobody else."""
    go_on = anyio.Event()
    keys = {"ann's": "ann", "bob's": "bob"}
    backend = ScriptedBackend([Wait(go_on)])
    async with (
        LocalServer(backend=backend, keys=keys) as server,
        ClientSession() as http,
        Session(server.url, "ann's") as ann,
        Session(server.url, "bob's") as bob,
    ):
        assistant = await ann.assistants.create(model="scripted")
        other = await bob.assistants.create(model="scripted")
        first = await ann.threads.create_and_run(assistant_id=assistant.id)
        await bob.threads.create_and_run(assistant_id=other.id)
        async with http.get(f"{server.url}/runs/changes", headers={"Authorization": "Bearer ann's"}) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            text = await response.content.readuntil(CURRENT)
            assert {id for _, id in seen(text)} == {first.id, ""}
            second = await ann.threads.create_and_run(assistant_id=assistant.id)
            go_on.set()
            text = b""
            while text.count(b"event: thread.run.completed") < 2:
                text += await response.content.readuntil(b"\n\n")
            told = seen(text)
            assert {id for _, id in told} == {first.id, second.id}
            for id in first.id, second.id:
                assert [name for name, of in told if of == id][-1] == "thread.run.completed"
        watchers = server.engine._ledger._watchers
        while watchers:  # the server notices that the reader has left when it has something to say
            await ann.threads.create_and_run(assistant_id=assistant.id)


async def test_a_feed_needs_a_key():
    """As everything else does."""
    async with (
        LocalServer(keys={"k": "ann"}) as server,
        ClientSession() as http,
        http.get(f"{server.url}/runs/changes") as response,
    ):
        assert response.status == 401


async def test_the_server_stops():
    """A feed does not keep the server from stopping."""
    async with ClientSession() as http:
        async with LocalServer() as server:
            response = await http.get(f"{server.url}/runs/changes")
            await response.content.readuntil(CURRENT)
        with pytest.raises(ClientPayloadError):  # it does not look complete
            await response.content.read()
        response.close()
