"""``Prefer: wait``: a poll that is answered once there is something to see."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from aiohttp import ClientSession
from attrs import define

from openai_runs import Run, Session
from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.server import LocalServer
from openai_runs.server.waiting import LONGEST, WAITING_POLLS, Preference, WaitingPolls

pytestmark = pytest.mark.anyio

WORKED_ON = {"queued", "in_progress", "cancelling"}


@pytest.mark.parametrize(
    ("header", "seconds", "statuses"),
    [
        ("wait=5", 5, WORKED_ON),
        ("respond-async, wait = 5", 5, WORKED_ON),
        ('WAIT="7" ; While="queued  in_progress", x=1', 7, {"queued", "in_progress"}),
        ("wait=0; while=queued; x", 0, {"queued"}),
        ('wait=1; while=""', 1, set()),
        ("wait=999999999", LONGEST, WORKED_ON),
    ],
)
def test_what_is_understood(header: str, seconds: int, statuses: set[str]) -> None:
    """The grammar of RFC 7240, among other preferences."""
    assert Preference.of({"Prefer": header}) == Preference(seconds, frozenset(statuses))


@pytest.mark.parametrize(
    "header", ["", "wait", "wait=x", "wait=-1", "await=1", "nowait=5", "wait=1 2", "wait=" + "9" * 99]
)
def test_what_is_not(header: str) -> None:
    """A preference that is not understood is none: that is the RFC's rule."""
    assert Preference.of({"Prefer": header}) is None


def test_no_preference() -> None:
    """Nearly all requests have none."""
    assert Preference.of({}) is None


@define
class Place:
    """A run that waits for a word, and how to poll it."""

    server: LocalServer
    session: Session
    run: Run
    go_on: anyio.Event
    _http: ClientSession
    answers: list[tuple[str, str | None]]

    async def poll(self, prefer: str, **headers: str) -> None:
        """Poll the run, and note what is answered: the status, and the preference that was applied."""
        url = f"{self.server.url}/threads/{self.run.thread_id}/runs/{self.run.id}"
        async with self._http.get(url, headers={"Prefer": prefer, **headers}) as response:
            body: Any = await response.json()
            self.answers.append((body["status"], response.headers.get("Preference-Applied")))

    @property
    def polls(self) -> WaitingPolls:
        assert self.server._app is not None
        return self.server._app[WAITING_POLLS]

    async def waiting(self, number: int = 1) -> None:
        """Wait until so many polls wait for the run."""
        watchers = self.server.engine._ledger._run_watchers
        while len(watchers.get(self.run.id, ())) < number:
            await anyio.lowlevel.checkpoint()


@pytest.fixture
async def place(anyio_backend: str) -> AsyncIterator[Place]:
    go_on = anyio.Event()
    async with (
        LocalServer(backend=ScriptedBackend(lambda _: Wait(go_on))) as server,
        server.session() as session,
        ClientSession() as http,
    ):
        assistant = await session.assistants.create(model="scripted")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        while (run := await session.runs.retrieve(run)).status != "in_progress":
            pass
        yield Place(server, session, run, go_on, http, [])
        assert server.engine._ledger._run_watchers == {}


#: A poll of a browser is answered by the application, other ones in front of it.
BOTH = pytest.mark.parametrize("headers", [{}, {"Origin": "https://app.example"}])


@BOTH
async def test_a_change(place: Place, headers: dict[str, str]) -> None:
    """Polls are answered when the run has another status than those in which they were to wait."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: place.poll("wait=20", **headers))
        tasks.start_soon(lambda: place.poll("wait=20; while=in_progress", **headers))
        await place.waiting(2)
        assert place.answers == []
        place.go_on.set()
    assert place.answers == [("completed", "wait")] * 2


@BOTH
async def test_nothing_to_wait_for(place: Place, headers: dict[str, str]) -> None:
    """A run that has another status already is answered at once; so is one that has ended."""
    await place.poll("wait=20; while=queued", **headers)
    await place.poll("wait=0", **headers)
    await place.poll("nothing", **headers)
    assert place.answers == [("in_progress", "wait")] * 2 + [("in_progress", None)]
    place.go_on.set()
    await place.session.runs.complete(place.run)
    await place.poll("wait=20", **headers)
    assert place.answers[-1] == ("completed", "wait")


async def test_the_time_is_over(place: Place) -> None:
    """Then the run is answered as it is."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place.poll, "wait=20")
        await place.waiting()
        [scope] = place.polls._scopes
        assert LONGEST >= scope.deadline - anyio.current_time() > 15
        scope.deadline = anyio.current_time()
    assert place.answers == [("in_progress", "wait")]


async def test_other_changes(place: Place) -> None:
    """A change that leaves the status as it is ends no wait."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place.poll, "wait=20")
        await place.waiting()
        await place.session.runs.update(place.run, metadata={"a": "b"})
        await place.session.runs.cancel(place.run)
    assert place.answers == [("cancelled", "wait")]


async def test_a_server_that_stops(place: Place) -> None:
    """It answers all that wait, and lets nobody wait after that."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place.poll, "wait=20")
        await place.waiting()
        place.polls.stop()
    await place.poll("wait=20")
    assert place.answers == [("in_progress", "wait")] * 2
