"""`RunFeed`: many followers are told over one connection; whatever becomes of it, they miss nothing."""

import asyncio
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import define

from openai_runs import Polling, Run, RunEvent, Session, Toolbox, load
from openai_runs._http.sse import KEEP_ALIVE, frame
from openai_runs.backends import ScriptedBackend, Wait
from openai_runs.errors import RunDeadlineError, RunStuckError
from openai_runs.following import run_feed
from openai_runs.following.run_feed import News, RunFeed
from openai_runs.server import LocalServer
from tests.following.story import run
from tests.proxy import Cut, Instead, Proxy
from tests.stub import Reply, Stub, error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

#: How many followers open the feed.
MANY = run_feed._MANY
FEED = "GET /v1/runs/changes"


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what other tasks do."""
    while not is_so():
        await anyio.lowlevel.checkpoint()


@define
class Place:
    """A server whose runs wait for a word, a session that reaches it through a network, and runs in progress."""

    proxy: Proxy
    session: Session
    go_on: anyio.Event
    assistant_id: str

    async def start(self) -> Run:
        return await self.session.threads.create_and_run(assistant_id=self.assistant_id)

    async def started(self, number: int = MANY) -> list[Run]:
        return [await self.start() for _ in range(number)]

    @property
    def feed(self) -> RunFeed:
        return self.session.runs._feed

    async def covered(self, runs: list[Run]) -> None:
        """Wait until the feed has shown these runs to their followers."""
        followers = self.feed._followers
        await until(lambda: all(run.id in followers for run in runs))
        await until(lambda: all(news._is_covered for run in runs for news in followers.get(run.id, ())))

    @property
    def polls(self) -> int:
        return sum("/runs/run_" in request for request in self.proxy.requests if request.startswith("GET"))


@pytest.fixture
async def place(anyio_backend: str) -> AsyncIterator[Place]:
    go_on = anyio.Event()
    async with (
        LocalServer(backend=ScriptedBackend(lambda _: Wait(go_on))) as server,
        Proxy(server.url) as proxy,
        proxy.session() as session,
    ):
        assistant = await session.assistants.create(model="scripted")
        yield Place(proxy, session, go_on, assistant.id)


class TestManyFollowers:
    async def test_nobody_polls(self, place: Place) -> None:
        """Once the feed has shown the runs, it tells their ends, and no request is sent for them."""
        runs, ended = await place.started(), []

        async def complete(started: Run) -> None:
            ended.append(await place.session.runs.complete(started))

        async with anyio.create_task_group() as tasks:
            for started in runs:
                tasks.start_soon(complete, started)
            await place.covered(runs)
            polls = place.polls
            place.go_on.set()
        assert {run.id for run in ended} == {run.id for run in runs}
        assert all(run.status == "completed" and run.usage is not None for run in ended)
        assert place.polls == polls
        assert place.proxy.requests.count(FEED) == 1

    async def test_the_same_events(self, place: Place) -> None:
        """A run that is started while the feed is open tells what it tells to a poll, and is polled not once."""
        runs, told = await place.started(), list[RunEvent]()
        async with anyio.create_task_group() as tasks:
            for started in runs:
                tasks.start_soon(place.session.runs.complete, started)
            await place.covered(runs)
            late = await place.start()
            await until(lambda: late.id in place.feed._unclaimed)
            async for event in place.session.runs.follow(late, polling=Polling(first=60, longest=60)):
                told.append(event)
                place.go_on.set()
        statuses = [str(event.run.status) for event in told if event.run.id == late.id]
        assert statuses[0] == "queued"
        assert statuses[-1] == "completed"
        assert f"GET /v1/threads/{late.thread_id}/runs/{late.id}" not in place.proxy.requests

    async def test_few_wait(self, place: Place) -> None:
        """Few followers are no reason for a connection that tells all runs: each has one poll, which waits."""
        runs, ended = await place.started(MANY - 1), list[Run]()

        async def complete(started: Run) -> None:
            ended.append(await place.session.runs.complete(started))

        async with anyio.create_task_group() as tasks:
            for started in runs:
                tasks.start_soon(complete, started)
            await until(lambda: place.polls == len(runs))
            place.go_on.set()
        assert {str(run.status) for run in ended} == {"completed"}
        assert place.polls == len(runs)
        assert FEED not in place.proxy.requests

    async def test_all_ways_tell_the_same(self, place: Place) -> None:
        """A poll, a poll that waits, and the feed make the same events of the same run."""
        followed = await place.start()
        told = [list[str]() for _ in range(MANY + 2)]

        async def follow(session: Session, events: list[str]) -> None:
            async for event in session.runs.follow(followed):
                events += [f"{type(event).__name__} {event.run.status}"]

        async with (
            place.proxy.session(max_connections=1) as polling,
            place.proxy.session() as waiting,
            anyio.create_task_group() as tasks,
        ):
            for session, events in zip([polling, waiting, *[place.session] * MANY], told, strict=True):
                tasks.start_soon(follow, session, events)
            await until(lambda: all(len(events) == 2 for events in told))
            await place.covered([followed])
            place.go_on.set()
        assert told == [["StatusChanged queued", "StatusChanged in_progress", "RunEnded completed"]] * (MANY + 2)

    async def test_few_that_are_left(self, place: Place) -> None:
        """When most runs have ended, the feed goes on to tell the rest, and no poll waits beside it."""
        runs = await place.started()
        async with anyio.create_task_group() as rest:
            rest.start_soon(place.session.runs.complete, runs[0])
            async with anyio.create_task_group() as most:
                for started in runs[1:]:
                    most.start_soon(place.session.runs.complete, started)
                await place.covered(runs)
                most.cancel_scope.cancel()
            polls = place.polls
            assert place.feed.is_open
            assert not place.feed.is_for_few
            place.go_on.set()
        assert place.polls == polls

    async def test_few_connections(self, place: Place) -> None:
        """A session that may have few connections keeps them for its requests."""
        async with place.proxy.session(max_connections=MANY - 1) as session:
            runs = [await session.threads.create_and_run(assistant_id=place.assistant_id) for _ in range(MANY)]
            async with anyio.create_task_group() as tasks:
                for started in runs:
                    tasks.start_soon(session.runs.complete, started)
                await until(lambda: place.polls >= 3 * MANY)
                place.go_on.set()
        assert FEED not in place.proxy.requests

    async def test_another_endpoint(self) -> None:
        """An endpoint that does not offer it is not asked for it."""

        def answer(request: Any) -> Reply:
            done = len(stub.requests) > 4 * MANY
            return reply(run("completed" if done else "in_progress", id=request.path.rpartition("/")[2]))

        async with Stub(*[answer] * 6 * MANY) as stub, stub.session() as session, anyio.create_task_group() as tasks:
            for number in range(MANY):

                async def complete(id: str = f"run_{number}") -> None:
                    await session.runs.complete(thread_id="thread_1", run_id=id, polling=QUICK)

                tasks.start_soon(complete)
        assert "/v1/runs/changes" not in [request.path for request in stub.requests]


class TestWaitingPolls:
    """What few followers ask for, and what becomes of it at an endpoint that says whatever it likes."""

    async def asked(
        self, answers: list[str], *, outcome: bool = False, timeout: float = 60, **options: Any
    ) -> list[str]:
        """What the polls of a run prefer that is queued at first, and then answered so."""
        window = options.pop("window", None)
        offer = {"idempotency_key_supported": "true", "run_changes_supported": "true"}
        replies = [reply(run(status, completion_window=window), **offer) for status in ["queued", *answers]]
        async with Stub(*replies) as stub, stub.session(timeout=timeout) as session:
            given = {"thread_id": "thread_1", "run_id": "run_1", "polling": QUICK, **options}
            if outcome:
                await session.runs.complete(**given)
            else:
                assert [event async for event in session.runs.follow(**given)]
            return [request.headers.get("prefer", "") for request in stub.requests]

    async def test_a_change(self) -> None:
        """Who follows waits for each change; who completes a run waits for what has to be done about it."""
        found = await self.asked(["in_progress", "completed"])
        assert found == ["", 'wait=20; while="queued"', 'wait=20; while="in_progress"']
        found = await self.asked(["completed"], outcome=True)
        assert found == ["", 'wait=20; while="queued in_progress cancelling"']

    async def test_an_endpoint_that_does_not_wait(self) -> None:
        """It is asked again as soon as any other, and not at once."""
        found = await self.asked(["in_progress", *["in_progress"] * 4, "completed"])
        assert [bool(prefer) for prefer in found] == [False, True, True, False, True, False, True]

    @pytest.mark.parametrize(
        ("timeout", "deadline", "seconds"), [(8, None, 4), (60, 7.5, 7), (1.9, None, 0), (60, 0.9, 0)]
    )
    async def test_how_long(self, timeout: float, deadline: float | None, seconds: int) -> None:
        """Less than a request may take, and than is left until the deadline; below a second, not at all."""
        *_, prefer = await self.asked(["completed"], timeout=timeout, deadline=deadline)
        assert prefer == (f'wait={seconds}; while="queued"' if seconds else "")

    async def test_runs_that_take_hours(self) -> None:
        """No connection is held for a run with a completion window."""
        assert await self.asked(["completed"], window="2h", polling=QUICK) == ["", ""]


class TestToolCalls:
    async def test_each_is_answered_once(self) -> None:
        """The feed may be behind another connection, so calls are answered only after a look at the run."""
        toolbox, called = Toolbox(), list[str]()

        @toolbox.tool
        async def look_up(key: str) -> str:
            """Look a key up."""
            called.append(key)
            return "found"

        async with LocalServer() as server, Proxy(server.url) as proxy, proxy.session() as session:
            assistant = await session.assistants.create(model="scripted", tools=toolbox)
            ended = list[Run]()

            async def live() -> None:
                for _ in range(3):
                    thread = {"messages": [{"role": "user", "content": "Hi"}]}
                    run = await session.threads.create_and_run(assistant_id=assistant.id, thread=thread)
                    ended.append(await session.runs.complete(run, toolbox=toolbox))

            async with anyio.create_task_group() as tasks:
                for _ in range(2 * MANY):
                    tasks.start_soon(live)
            assert len(ended) == len(called) == 6 * MANY
            assert all(run.status == "completed" for run in ended)
            submitted = [request for request in proxy.requests if request.endswith("/submit_tool_outputs")]
            assert len(submitted) == len(ended)
            assert proxy.requests.count(FEED) == 1


class TestLostConnections:
    async def test_polls_take_over(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A feed that breaks is opened again; what ended meanwhile is told by polls."""
        monkeypatch.setattr(run_feed, "_REOPENING", QUICK)
        runs = await place.started()
        place.proxy.plan("GET", "/runs/changes", Cut(3000), times=20)
        ended = list[Run]()

        async def complete(started: Run) -> None:
            ended.append(await place.session.runs.complete(started, polling=QUICK))

        async with anyio.create_task_group() as tasks:
            for started in runs:
                tasks.start_soon(complete, started)
            await until(lambda: place.proxy.cuts >= 5)
            place.go_on.set()
        assert {str(run.status) for run in ended} == {"completed"}
        assert len(ended) == MANY

    async def test_an_endpoint_that_refuses(self, place: Place) -> None:
        """Runs are polled, and the feed is not asked for again; an error of the network is no refusal."""
        place.proxy.plan("GET", "/runs/changes", Instead(error(503)))
        place.proxy.plan("GET", "/runs/changes", Instead(error(403)))
        runs = await place.started()
        async with anyio.create_task_group() as tasks:
            for started in runs:
                tasks.start_soon(place.session.runs.complete, started)
            await until(lambda: place.feed._is_refused)
            polls = place.polls
            await until(lambda: place.polls >= polls + 2 * MANY)
            place.go_on.set()
        assert place.proxy.requests.count(FEED) == 2

    async def test_a_session_that_is_closed(self, place: Place) -> None:
        """Closing the session ends the feed: no task is left, and no connection."""
        before = asyncio.all_tasks()
        async with place.proxy.session() as session:
            runs = [await session.threads.create_and_run(assistant_id=place.assistant_id) for _ in range(MANY)]
            async with anyio.create_task_group() as tasks:
                for started in runs:
                    tasks.start_soon(session.runs.complete, started)
                await until(lambda: FEED in place.proxy.requests)
                tasks.cancel_scope.cancel()
            assert session.runs._feed.is_open
            assert session.runs._feed._followers == {}
        assert not session.runs._feed.is_open
        assert {task for task in asyncio.all_tasks() - before if "RunFeed" in repr(task.get_coro())} == set()


class TestTime:
    async def test_the_deadline(self, place: Place) -> None:
        """It holds for a run that the feed covers."""
        runs = await place.started()
        async with anyio.create_task_group() as tasks:
            for started in runs:
                tasks.start_soon(place.session.runs.complete, started)
            await place.covered(runs)
            with pytest.raises(RunDeadlineError):
                await place.session.runs.complete(runs[0], deadline=0.05)
            place.go_on.set()

    async def test_a_run_that_stays_queued(self) -> None:
        """A covered run is found stuck as a polled one is."""
        queued = run("queued")
        async with opened(hanging(snapshot(queued)), *[reply(queued)] * 3) as (feed, _, session):
            polling = Polling(first=9, longest=9, queued_timeout=0.05)
            with pytest.raises(RunStuckError):
                async for _ in session.runs.follow(thread_id="thread_1", run_id="run_1", polling=polling):
                    pass
            assert feed.is_open

    async def test_nobody_follows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The feed stays open for a while without a follower, and then no longer."""
        monkeypatch.setattr(run_feed, "_LINGER", 0.01)
        async with opened(hanging(KEEP_ALIVE), reply(KEEP_ALIVE)) as (feed, news, _):
            await until(lambda: feed.is_open)
            for one in news:
                feed.leave("run_1", one)
            monkeypatch.setattr(run_feed, "_REOPENING", QUICK)
        assert not feed.is_open


class TestOddFeeds:
    async def test_a_snapshot_that_does_not_fit(self) -> None:
        """It is left to a poll, which says what is wrong, if anything is."""
        odd = frame("thread.run.queued", b'{"id":"run_1","status":7}')
        async with opened(hanging(odd), *[reply(run("completed"))] * 2) as (_, _, session):
            followed = session.runs.follow(loaded(run("in_progress")), polling=Polling(first=60, longest=60))
            events = [event async for event in followed]
            assert str(events[-1].run.status) == "completed"

    @pytest.mark.parametrize("data", [b"[]", b'{"no":"run"}', b"{", b"\xff"])
    async def test_an_event_that_is_no_run(self, data: bytes) -> None:
        """What says such things is no feed; it is not opened again."""
        async with opened(hanging(frame("thread.run.queued", data))) as (feed, news, _):
            await until(lambda: feed._is_refused)
            assert not feed.is_open
            assert not any(one._is_covered for one in news)

    async def test_runs_of_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of runs that nobody follows, the latest few are kept in mind, for followers who come late."""
        monkeypatch.setattr(run_feed, "_MOST_UNCLAIMED", 2)
        ids = "run_a", "run_b", "run_a", "run_c"
        async with opened(hanging(*(snapshot(run("queued", id=id)) for id in ids))) as (feed, _, _):
            await until(lambda: "run_c" in feed._unclaimed)
            assert list(feed._unclaimed) == ["run_a", "run_c"]
            assert feed.join("run_a")._is_covered
            assert not feed.join("run_b")._is_covered
            assert list(feed._unclaimed) == ["run_c"]


class TestNews:
    async def test_only_the_outcome(self) -> None:
        """Who needs no more is told nothing before something has to be done about the run, and need not poll either."""
        news = News(only_outcome=True)
        for status in b"queued", b"in_progress", b"cancelling":
            news.tell(b"thread.run." + status, b"{}")
        assert await news.take(poll_after=0, until=anyio.current_time() + 0.001) is None
        news.tell(b"thread.run.requires_action", b"[]")
        assert await news.take(poll_after=0, until=math.inf) == b"[]"

    async def test_a_poll_is_due(self) -> None:
        """Nothing was told, and the run is not covered."""
        assert await News().take(poll_after=0.001, until=math.inf) is None

    async def test_a_wait_that_is_cancelled(self) -> None:
        """What was told meanwhile is there for the next wait."""
        news = News()
        with anyio.move_on_after(0.001):
            await news.take(poll_after=60, until=math.inf)
        news.tell(b"thread.run.queued", b"{}")
        news.tell(b"thread.run.queued", b"[]")
        assert await news.take(poll_after=60, until=math.inf) == b"[]"

    async def test_a_connection_that_is_lost(self) -> None:
        """From then on it is time for a poll as soon as without it."""
        news = News()
        news.tell(b"thread.run.queued", b"{}")
        assert await news.take(poll_after=0, until=math.inf) == b"{}"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(news.take, poll_after=0, until=math.inf))
            await until(lambda: news._waiting is not None)
            news.uncover()
            news.uncover()

    async def test_the_end_of_time(self) -> None:
        """A covered run is waited for no longer than it may be."""
        news = News()
        news.tell(b"thread.run.queued", b"{}")
        assert await news.take(poll_after=0, until=math.inf) == b"{}"
        assert await news.take(poll_after=0, until=anyio.current_time() + 0.001) is None


def loaded(run: Mapping[str, Any]) -> Run:
    return load(json.dumps(run).encode(), Run)


def snapshot(run: Mapping[str, Any]) -> bytes:
    """An event of the feed."""
    return frame(f"thread.run.{run['status']}", json.dumps(run).encode())


def hanging(*frames: bytes) -> Reply:
    """A feed with these events that stays open."""
    body = b"".join(frames)
    head = reply(b"", content_type="text/event-stream", content_length=str(len(body) + 1000))
    return Reply(head.data + body, "hang")


@asynccontextmanager
async def opened(*replies: Reply) -> AsyncGenerator[tuple[RunFeed, list[News], Session]]:
    """A feed that says this to many followers of run_1; further replies are for other requests."""
    async with Stub(*replies) as stub, stub.session() as session:
        feed = session.runs._feed
        session._transport._sender.tells_changes = True
        news = [feed.join("run_1") for _ in range(MANY)]
        await stub.requested(1)
        yield feed, news, session
