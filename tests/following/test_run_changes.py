"""`RunChanges`: runs are told as they change, and no end is missed, whatever becomes of the connection."""

import json
from collections.abc import AsyncIterator

import anyio
import pytest

from openai_runs import Polling, Run, Session
from openai_runs._http.sse import frame
from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.errors import AuthenticationError, NotFoundError, ProtocolError, TransportError
from openai_runs.following.run_changes import RunChanges
from openai_runs.server import LocalServer
from tests.following.story import run
from tests.proxy import Cut, Proxy
from tests.stub import Reply, Stub, error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


class Place:
    """A server whose runs wait for a word, and a session that reaches it through a network with faults."""

    def __init__(self, server: LocalServer, proxy: Proxy, session: Session, go_on: anyio.Event) -> None:
        self.server, self.proxy, self.session, self.go_on = server, proxy, session, go_on
        self.assistant_id = ""

    async def start(self) -> Run:
        """A run that is in progress."""
        made = await self.session.threads.create_and_run(assistant_id=self.assistant_id)
        while (made := await self.session.runs.retrieve(made)).status != "in_progress":
            pass
        return made

    async def ended(self, started: Run) -> Run:
        return await self.session.runs.complete(started, polling=QUICK)


@pytest.fixture
async def place(anyio_backend: str) -> AsyncIterator[Place]:
    go_on = anyio.Event()
    async with (
        LocalServer(backend=ScriptedBackend(lambda _: Wait(go_on))) as server,
        Proxy(server.url) as proxy,
        proxy.session() as session,
    ):
        here = Place(server, proxy, session, go_on)
        here.assistant_id = (await session.assistants.create(model="scripted")).id
        yield here


def feed(*frames: bytes) -> Reply:
    """A feed that breaks off after these events."""
    return reply(b"".join(frames), content_type="text/event-stream")


async def told_until(changes: RunChanges, about: Run, status: str) -> list[tuple[str, str]]:
    """What is told until that run has that status."""
    found: list[tuple[str, str]] = []
    async for seen in changes:
        found.append((seen.id, str(seen.status)))
        if found[-1] == (about.id, status):
            break
    return found


async def test_changes(place: Place) -> None:
    """First the runs that have not ended, then each change, of whatever thread; a run that has ended is not told."""
    first = await place.start()
    async with place.session.runs.changes() as changes:
        assert await told_until(changes, first, "in_progress") == [(first.id, "in_progress")]
        second = await place.start()
        assert {id for id, _ in await told_until(changes, second, "in_progress")} == {second.id}
        place.go_on.set()
        found = await told_until(changes, first, "completed")
        if (second.id, "completed") not in found:
            found += await told_until(changes, second, "completed")
        assert {id for id, _ in found} == {first.id, second.id}
        assert repr(changes) == f"<RunChanges of {place.proxy.url}: 0 runs have not ended>"


async def test_a_connection_that_breaks(place: Place) -> None:
    """It is opened again; what was told is not told again, and an end that came meanwhile is."""
    ends, goes_on = await place.start(), await place.start()
    place.proxy.plan("GET", "/runs/changes", Cut(6000))
    async with place.session.runs.changes() as changes:
        await told_until(changes, ends, "in_progress")
        await told_until(changes, goes_on, "in_progress")
        await place.session.runs.cancel(ends)
        assert await told_until(changes, ends, "cancelled")
        while place.proxy.cuts == 0:  # a run's change is a thousand bytes
            await place.session.runs.update(goes_on, metadata={"n": str(len(place.proxy.requests))})
            await anyio.lowlevel.checkpoint()
        place.go_on.set()
        await place.ended(goes_on)
        found = await told_until(changes, goes_on, "completed")
        assert {id for id, _ in found} == {goes_on.id}
        assert place.proxy.requests.count("GET /v1/runs/changes") == 2


async def test_an_end_while_there_is_no_connection() -> None:
    """A run that was told, and is not among those that have not ended after a break, is looked at."""
    current = b"event: openai_runs.runs.current\ndata: {}\n\n"
    one, two, three = (
        frame("thread.run.in_progress", json.dumps(run("in_progress", id=f"run_{number}")).encode())
        for number in (1, 2, 3)
    )
    replies = [feed(one, two, three, current), feed(three, current), reply(run("failed", id="run_1")), error(404)]
    async with Stub(*replies) as stub, stub.session() as session, session.runs.changes(polling=QUICK) as changes:
        found = [await anext(changes) for _ in range(4)]
        assert [(seen.id, str(seen.status)) for seen in found] == [
            ("run_1", "in_progress"),
            ("run_2", "in_progress"),
            ("run_3", "in_progress"),
            ("run_1", "failed"),
        ]
        assert [request.path for request in stub.requests[:3]] == [
            "/v1/runs/changes",
            "/v1/runs/changes",
            "/v1/runs/run_1",
        ]


async def test_waiting_again(place: Place) -> None:
    """Who gives up waiting may wait again, and misses nothing."""
    waits = await place.start()
    async with place.session.runs.changes() as changes:
        await told_until(changes, waits, "in_progress")
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await anext(changes)
        place.go_on.set()
        assert await told_until(changes, waits, "completed")


async def test_another_endpoint() -> None:
    """An endpoint without it says 404; one that says something else is no endpoint of this kind."""
    async with Stub(error(404)) as stub, stub.session() as session:
        with pytest.raises(NotFoundError):
            async with session.runs.changes():
                pass
    async with (
        Stub(feed(frame("thread.run.queued", b'{"no":"run"}'))) as stub,
        stub.session() as session,
        session.runs.changes() as changes,
    ):
        with pytest.raises(ProtocolError):
            await anext(changes)


async def test_nobody_there() -> None:
    """An endpoint that cannot be reached is an error once the time for outages is over."""
    async with Session("http://127.0.0.1:1/v1", "key", max_retries=0) as session:
        with pytest.raises(TransportError):
            async with session.runs.changes(polling=Polling(first=0.001, longest=0.001, outage=0.01)):
                pass


async def test_a_wrong_key() -> None:
    """The key is checked, as for everything else."""
    async with LocalServer(keys={"k": "ann"}) as server, Session(server.url, "x") as session:
        with pytest.raises(AuthenticationError):
            async with session.runs.changes():
                pass


async def test_wrong_use(place: Place) -> None:
    """Errors say what to write."""
    with pytest.raises(TypeError, match=r"async with session\.runs\.changes"):
        await place.session.runs.changes()  # type: ignore[misc]  # that is what is tested
    changes = place.session.runs.changes()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="in there"):
            await anext(changes)
        async with changes:
            pass
