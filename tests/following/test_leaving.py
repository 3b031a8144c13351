"""`Leaving`: runs that are given up are cancelled, also when their session is closed at the same moment."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest
from attrs import define

from openai_runs import Run, Session
from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.errors import TransportError
from openai_runs.server import LocalServer
from tests.weather import QUICK, WEATHER

pytestmark = pytest.mark.anyio


@define
class Place:
    """A server whose runs never end by themselves, and a session that looks at them."""

    url: str
    session: Session

    async def start(self, session: Session) -> Run:
        assistant = await session.assistants.create(model="scripted")
        return await session.threads.create_and_run(assistant_id=assistant.id)

    async def status(self, run: Run) -> str:
        """What the run is in the end; it may still be on the way there."""
        while (status := (await self.session.runs.retrieve(run)).status) == "cancelling":
            pass
        return str(status)


@pytest.fixture
async def place(anyio_backend: str) -> AsyncIterator[Place]:
    async with (
        LocalServer(backend=ScriptedBackend(lambda _: Wait())) as server,
        Session(server.url, "key") as session,
    ):
        yield Place(server.url, session)


async def test_a_task_that_was_just_cancelled(place: Place) -> None:
    """Whoever shuts down cancels tasks and closes the session: the runs are cancelled before it is closed."""
    async with Session(place.url, "key") as session:
        run = await place.start(session)
        following = asyncio.create_task(session.runs.complete(run, on_exit="cancel"))
        while not session._transport.before_closing:
            await anyio.lowlevel.checkpoint()
        following.cancel()
    assert await place.status(run) == "cancelled"
    with pytest.raises(asyncio.CancelledError):
        await following
    assert session._transport.before_closing == set()


async def test_a_task_that_goes_on(place: Place) -> None:
    """A run that somebody still follows is cancelled, too, and one that is to be left is left."""
    async with Session(place.url, "key") as session:
        run = await place.start(session)
        following = asyncio.create_task(session.runs.complete(run, on_exit="cancel", polling=QUICK))
        left = await place.start(session)
        leaving = asyncio.create_task(session.runs.complete(left, polling=QUICK))
        while not session._transport.before_closing:
            await anyio.lowlevel.checkpoint()
    assert await place.status(run) == "cancelled"
    with pytest.raises(Exception, match=r"is closed|ended cancelled"):
        await following
    with pytest.raises((RuntimeError, TransportError), match=r"closed|broken|connection"):
        await leaving
    assert await place.status(left) == "in_progress"


async def test_an_open_stream(place: Place) -> None:
    """The same holds for a stream."""
    session = Session(place.url, "key")
    async with session:
        assistant = await session.assistants.create(model="scripted")
        stream = session.threads.stream_run(assistant_id=assistant.id, on_exit="cancel")
        reading = asyncio.create_task(_read(stream))
        while not reading.done() and stream._follower.run is None:
            await anyio.lowlevel.checkpoint()
        run = stream.run
    assert await place.status(run) == "cancelled"
    await asyncio.wait([reading])  # it has heard of the end, or that the session is closed
    assert session._transport.before_closing == set()


async def _read(stream: object) -> None:
    async with stream as events:  # type: ignore[attr-defined]  # a RunStream
        async for _ in events:
            pass


async def test_a_stream_that_another_one_continues() -> None:
    """A run that waits for outputs was not given up by who has read its stream to the end."""
    async with LocalServer() as server, Session(server.url, "key") as watching:
        async with Session(server.url, "key") as session:
            assistant = await session.assistants.create(model="scripted", tools=[WEATHER])
            thread = {"messages": [{"role": "user", "content": "The weather in Paris?"}]}
            async with session.threads.stream_run(assistant_id=assistant.id, thread=thread, on_exit="cancel") as stream:
                async for _ in stream:
                    pass
            assert session._transport.before_closing == set()
        assert (await watching.runs.retrieve(stream.run)).status == "requires_action"
