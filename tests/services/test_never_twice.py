"""Retries never do anything twice: a real server behind a proxy that loses requests and responses."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from openai_runs.errors import (
    BadRequestError,
    ConflictError,
    NotFoundError,
    ResponseError,
    ServerError,
    TransportError,
)
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.tool import ToolOutput
from openai_runs.server import LocalServer
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from openai_runs.stores import MemoryStore
from openai_runs.toolbox import Toolbox
from tests.proxy import Fate, Proxy
from tests.stub import CUT, Stub, error, reply
from tests.weather import QUICK

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

#: After these the server has done what was asked, and the client does not have the answer.
ANSWER_LOST: list[Fate] = ["lose answer", error(500), error(502), error(503), error(504), error(408)]
THREAD = {"id": "thread_1", "object": "thread", "created_at": 0, "metadata": {}, "tool_resources": None}
LIST = {"object": "list", "data": [], "has_more": False, "first_id": "", "last_id": ""}
UNREADABLE: list[Fate] = [reply(b"{", 200), reply(b"<html>", 200), reply(b"", 204), reply([], 200)]


@pytest.fixture
async def proxy(server: LocalServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
async def shaky(proxy: Proxy) -> AsyncIterator[Session]:
    """A session behind the proxy; `session` goes straight to the server."""
    async with proxy.session() as session:
        yield session


async def runs_of(session: Session, thread: Thread) -> list[Run]:
    return [run async for run in session.runs.list(thread.id)]


@pytest.mark.usefixtures("keyless")
class TestMarker:
    """At an endpoint that ignores idempotency keys, a run is found by its marker."""

    @pytest.mark.parametrize("max_retries", [0, 2])
    @pytest.mark.parametrize("fate", [*ANSWER_LOST, *UNREADABLE])
    async def test_stored_and_cut(
        self, proxy: Proxy, session: Session, assistant: Assistant, thread: Thread, fate: Fate, max_retries: int
    ) -> None:
        """The response is lost after the run was stored: there is one run, and the caller gets it."""
        proxy.plan("POST", "/runs", fate)
        async with proxy.session(max_retries=max_retries) as shaky:
            run = await shaky.runs.create(thread.id, assistant_id=assistant.id, metadata={"mine": "1"})
        assert [found.id for found in await runs_of(session, thread)] == [run.id]
        assert run.metadata["mine"] == "1"
        assert [request.split()[0] for request in proxy.requests] == ["POST", "GET"]

    async def test_not_stored(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """The request is lost: the retry creates the only run."""
        proxy.plan("POST", "/runs", "lose request")
        run = await shaky.runs.create(thread.id, assistant_id=assistant.id)
        assert [found.id for found in await runs_of(session, thread)] == [run.id]
        assert [request.split()[0] for request in proxy.requests] == ["POST", "GET", "POST"]

    async def test_not_stored_and_not_repeated(
        self, proxy: Proxy, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """With max_retries=0 the error says whether the run may exist."""
        proxy.plan("POST", "/runs", "lose request")
        async with proxy.session(max_retries=0) as shaky:
            with pytest.raises(TransportError, match="the request may have taken effect") as caught:
                await shaky.runs.create(thread.id, assistant_id=assistant.id)
        assert caught.value.maybe_done
        assert await runs_of(session, thread) == []

    async def test_late(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """The first attempt arrives just before the retry, which is refused; the first attempt's run is found."""
        proxy.plan("POST", "/runs", "late")
        run = await shaky.runs.create(thread.id, assistant_id=assistant.id)
        assert [found.id for found in await runs_of(session, thread)] == [run.id]
        assert [request.split()[0] for request in proxy.requests] == ["POST", "GET", "POST", "GET"]

    async def test_again_and_again(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """Requests and responses are lost, those that look for the run included."""
        proxy.plan("POST", "/runs", "lose request")
        proxy.plan("POST", "/runs", "lose answer")
        proxy.plan("GET", "/runs", "lose answer")
        async with proxy.session(max_retries=4) as shaky:
            run = await shaky.runs.create(thread.id, assistant_id=assistant.id)
        assert [found.id for found in await runs_of(session, thread)] == [run.id]

    async def test_the_network_stays_away(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """If looking for the run fails as well, the error is the create's, with maybe_done set."""
        proxy.plan("POST", "/runs", "lose answer")
        proxy.plan("GET", "/runs", "lose request", times=10)
        with pytest.raises(TransportError, match=r"^POST /v1/threads/.*/runs at ") as caught:
            await shaky.runs.create(thread.id, assistant_id=assistant.id)
        assert caught.value.maybe_done
        assert "Looking whether it took effect failed as well: GET /v1/threads/" in caught.value.__notes__[0]
        assert len(await runs_of(session, thread)) == 1
        assert "POST" not in [request.split()[0] for request in proxy.requests[1:]]

    async def test_somebody_elses_run(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """A run with another marker is not returned."""
        other = await session.runs.create(thread.id, assistant_id=assistant.id)
        proxy.plan("POST", "/runs", "lose answer")
        with pytest.raises(Exception, match=f"already has an active run {other.id}"):
            await shaky.runs.create(thread.id, assistant_id=assistant.id)
        assert [run.id for run in await runs_of(session, thread)] == [other.id]

    async def test_a_callers_own_key(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """A caller's own key is the marker."""
        proxy.plan("POST", "/runs", "lose answer")
        run = await shaky.runs.create(thread.id, assistant_id=assistant.id, idempotency_key="job-7")
        assert run.metadata == {MARKER: "job-7"}
        assert len(await runs_of(session, thread)) == 1

    async def test_a_copied_marker(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """Metadata of another run says nothing about this one: the old run is never returned as the new one."""
        old = await session.runs.create(thread.id, assistant_id=assistant.id, tools=[])
        await session.runs.complete(old, polling=QUICK)
        proxy.plan("POST", "/runs", "lose request")
        run = await shaky.runs.create(thread.id, assistant_id=assistant.id, metadata=old.metadata)
        assert run.id != old.id
        assert run.metadata.keys() == {MARKER}
        assert run.metadata != old.metadata

    async def test_no_room_for_a_marker(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """Without room for the marker, a create that may have taken effect is not repeated; the error says so."""
        pairs = {str(n): "v" for n in range(16)}
        proxy.plan("POST", "/runs", "lose answer")
        with pytest.raises(TransportError) as caught:
            await shaky.runs.create(thread.id, assistant_id=assistant.id, metadata=pairs)
        assert caught.value.maybe_done
        assert [run.metadata for run in await runs_of(session, thread)] == [pairs]
        assert [request for request in proxy.requests if "/assistants" not in request] == proxy.requests[:1]


def creations(session: Session, assistant: Assistant, thread: Thread, **options: Any) -> dict[str, Any]:
    """Every call that creates something, by the end of its path."""
    return {
        "/assistants": lambda: session.assistants.create(model="scripted", **options),
        "/threads": lambda: session.threads.create(messages=[{"role": "user", "content": "x"}], **options),
        "/messages": lambda: session.messages.create(thread.id, role="user", content="x", **options),
        "/runs": lambda: session.runs.create(thread.id, assistant_id=assistant.id, **options),
        "/threads/runs": lambda: session.threads.create_and_run(assistant_id=assistant.id, **options),
    }


async def stored(server: LocalServer) -> dict[str, int]:
    """How many objects of each kind there are."""
    store = server.engine._ledger.store
    kinds: tuple[type[Any], ...] = (Assistant, Thread, Message, Run)
    return {kind.__name__: len([record async for record in store.everything(kind)]) for kind in kinds}


class TestKeys:
    """Where idempotency keys are honoured, every create is safe to repeat."""

    @pytest.mark.parametrize("has_spoken", [False, True])
    @pytest.mark.parametrize("fate", [*ANSWER_LOST, *UNREADABLE, "lose request", "late"])
    async def test_each_create_once(
        self,
        server: LocalServer,
        proxy: Proxy,
        assistant: Assistant,
        thread: Thread,
        fate: Fate,
        has_spoken: bool,
    ) -> None:
        """Whichever exchange is lost, the first of a session included: one object, and the caller gets it."""
        added = {
            "/assistants": {"Assistant"},
            "/threads": {"Thread", "Message"},
            "/messages": {"Message"},
            "/runs": {"Run"},
            "/threads/runs": {"Thread", "Run"},
        }
        for path, kinds in added.items():
            async with proxy.session() as shaky:
                if has_spoken:
                    await shaky.assistants.retrieve(assistant.id)
                proxy.plan("POST", path, fate)
                before = await stored(server)
                created = await creations(shaky, assistant, thread)[path]()
                after = await stored(server)
                assert {kind for kind in before if after[kind] != before[kind]} - {"Message"} == kinds - {"Message"}
                assert all(after[kind] == before[kind] + 1 for kind in kinds)
                record = await server.engine._ledger.store.get(type(created), created.id)
                assert record is not None

    async def test_one_key_for_a_call(self) -> None:
        """Each call has a new key, which its retries share; a caller's own key is sent as it is."""
        answers = [error(500, idempotency_key_supported="true"), reply(THREAD), reply(THREAD), reply(THREAD)]
        async with Stub(*answers) as stub, stub.session() as session:
            await session.threads.create()
            await session.threads.create()
            await session.threads.create(idempotency_key='my "own"')
        keys = [request.headers["idempotency-key"] for request in stub.requests]
        assert keys[0] == keys[1] != keys[2]
        assert keys[3] == r'"my \"own\""'

    async def test_under_way(self) -> None:
        """While the first request is under way, its repetition is refused with 409, and repeated."""
        supported = {"idempotency_key_supported": "true"}
        under_way = error(409, "under way", **supported)
        async with AsyncExitStack() as stack:
            answers = CUT, reply(LIST, **supported), under_way, under_way, reply(THREAD)
            stub = await stack.enter_async_context(Stub(*answers))
            session = await stack.enter_async_context(stub.session(max_retries=3))
            assert (await session.threads.create()).id == THREAD["id"]
        assert [request.method for request in stub.requests] == ["POST", "GET", "POST", "POST", "POST"]
        async with Stub(CUT, reply(LIST, **supported), under_way) as stub, stub.session(max_retries=1) as session:
            with pytest.raises(ConflictError) as caught:
                await session.threads.create()
        assert caught.value.maybe_done

    async def test_a_callers_own_key(
        self, server: LocalServer, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """Repeated in another session with the same key, a call gives the same object, whatever is known there."""
        ids = [(await call()).id for call in creations(session, assistant, thread, idempotency_key="job-7").values()]
        async with server.session() as other:
            again = creations(other, assistant, thread, idempotency_key="job-7")
            assert [(await call()).id for call in reversed(again.values())] == ids[::-1]
        with pytest.raises(BadRequestError, match="another request body"):
            await session.threads.create(idempotency_key="job-7")

    @pytest.mark.parametrize("key", ["", "x" * 256, "é", 7])
    async def test_a_bad_key(self, session: Session, assistant: Assistant, thread: Thread, key: Any) -> None:
        """It is refused before anything is sent."""
        for call in creations(session, assistant, thread, idempotency_key=key).values():
            with pytest.raises((ValueError, TypeError), match=r"idempotency_key must .* nothing was sent"):
                await call()
        with pytest.raises((ValueError, TypeError), match="idempotency_key"):
            session.runs.stream(thread.id, assistant_id=assistant.id, idempotency_key=key)
        with pytest.raises((ValueError, TypeError), match="idempotency_key"):
            session.threads.stream_run(assistant_id=assistant.id, idempotency_key=key)

    @pytest.mark.parametrize("fate", [*ANSWER_LOST, "late"])
    @pytest.mark.parametrize("new_thread", [False, True])
    async def test_streams(
        self,
        server: LocalServer,
        proxy: Proxy,
        shaky: Session,
        assistant: Assistant,
        thread: Thread,
        fate: Fate,
        new_thread: bool,
    ) -> None:
        """A stream whose opening is lost goes on with the only run."""
        proxy.plan("POST", "/runs", fate)
        options: Any = {"assistant_id": assistant.id, "tools": [], "polling": QUICK}
        opening = shaky.threads.stream_run(**options) if new_thread else shaky.runs.stream(thread.id, **options)
        async with opening as events:
            run = await events.until_done()
        record = await server.engine._ledger.store.get(Run, run.id)
        assert record is not None
        assert record.value.status == "completed"
        assert (await stored(server))["Run"] == 1

    @pytest.mark.parametrize("seed", range(12))
    async def test_never_twice_never_lost(self, seed: int) -> None:
        """Any sequence of lost requests, lost responses and restarts: one object for each key, and one result."""
        chance, store, results = random.Random(seed), MemoryStore(), set[tuple[str, str]]()
        fates: list[Fate] = [*ANSWER_LOST, "lose request", "late"]
        async with AsyncExitStack() as servers:
            server = await servers.enter_async_context(LocalServer(store=store, grace=0))
            port = urlsplit(server.url).port
            assert port is not None
            assistant = await server.engine.assistants.create("", {"model": "scripted"})
            thread = await server.engine.threads.create("", {})
            async with Proxy(server.url) as proxy:
                for _ in range(6):  # times that a caller begins again, with the same keys
                    for end in "/messages", "/threads", "/assistants", "/runs":
                        for _ in range(chance.randrange(3)):
                            proxy.plan("POST", end, chance.choice(fates))
                    proxy.plan("GET", "/assistants", chance.choice(fates), times=chance.randrange(2))
                    async with proxy.session(max_retries=chance.randrange(3)) as session:
                        for name, call in creations(session, assistant, thread, idempotency_key="k").items():
                            with suppress(TransportError, ResponseError):
                                results.add((name, (await call()).id))
                    if chance.random() < 0.5:
                        await servers.aclose()
                        server = LocalServer(store=store, port=port, grace=0)
                        await servers.enter_async_context(server)
                async with server.session() as session:
                    async for run in session.runs.list(thread.id):  # which would refuse a message
                        await session.runs.complete(run, polling=QUICK)
                    for name, call in creations(session, assistant, thread, idempotency_key="k").items():
                        results.add((name, (await call()).id))
            assert len(results) == 5
            assert await stored(server) | {"Message": 0} == {"Assistant": 2, "Thread": 3, "Message": 0, "Run": 2}


class TestOtherPosts:
    @pytest.mark.usefixtures("keyless")
    @pytest.mark.parametrize("fate", ["lose answer", "lose request", error(500), error(502)])
    async def test_in_doubt(
        self, proxy: Proxy, shaky: Session, assistant: Assistant, thread: Thread, fate: Fate
    ) -> None:
        """Where keys are ignored, a request in doubt is not repeated; the endpoint is asked once whether they are."""
        calls: dict[str, Any] = {
            "/messages": lambda: shaky.messages.create(thread.id, role="user", content="x"),
            "/threads": shaky.threads.create,
            "/assistants": lambda: shaky.assistants.create(model="scripted"),
            "/threads/runs": lambda: shaky.threads.create_and_run(assistant_id=assistant.id),
        }
        for path, call in calls.items():
            proxy.plan("POST", path, fate)
            with pytest.raises((TransportError, ServerError)):
                await call()
        assert [request for request in proxy.requests if request.startswith("POST")] == [
            f"POST /v1{path}" for path in (f"/threads/{thread.id}/messages", *list(calls)[1:])
        ]
        assert [request for request in proxy.requests if request.startswith("GET")] == ["GET /v1/assistants"]

    @pytest.mark.parametrize("fate", ["lose answer", "lose request", error(500)])
    async def test_updates(
        self, proxy: Proxy, shaky: Session, assistant: Assistant, thread: Thread, fate: Fate
    ) -> None:
        """Updates are idempotent, so they are repeated."""
        proxy.plan("POST", thread.id, fate)
        assert (await shaky.threads.update(thread.id, metadata={"a": "b"})).metadata == {"a": "b"}
        proxy.plan("POST", assistant.id, fate)
        assert (await shaky.assistants.update(assistant.id, name="n")).name == "n"


class TestDelete:
    @pytest.mark.parametrize("fate", [*ANSWER_LOST, *UNREADABLE, "lose request"])
    async def test_cut(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread, fate: Fate
    ) -> None:
        """An object that is gone was deleted by an earlier attempt; also over a connection that was used before."""
        message = await shaky.messages.create(thread.id, role="user", content="x")
        for id, call in (
            (message.id, lambda: shaky.messages.delete(thread_id=thread.id, message_id=message.id)),
            (thread.id, lambda: shaky.threads.delete(thread.id)),
            (assistant.id, lambda: shaky.assistants.delete(assistant.id)),
        ):
            proxy.plan("DELETE", id, fate)
            word = await call()
            assert (word.id, word.deleted) == (id, True)
            assert word.object.endswith(".deleted")
        with pytest.raises(NotFoundError):
            await session.threads.retrieve(thread.id)

    async def test_a_proxys_404(self, proxy: Proxy, session: Session, thread: Thread) -> None:
        """A 404 that is not the API's says nothing about the object: maybe_done stays set."""
        proxy.plan("DELETE", thread.id, "lose request")
        proxy.plan("GET", thread.id, reply(b"<h1>404</h1>", 404), times=3)
        async with proxy.session() as shaky:
            with pytest.raises(TransportError):
                await shaky.threads.delete(thread.id)
        assert (await session.threads.retrieve(thread.id)).id == thread.id


class TestRunActions:
    @pytest.fixture
    async def waiting(self, session: Session, assistant: Assistant, thread: Thread) -> Run:
        run = await session.runs.create(thread.id, assistant_id=assistant.id)
        async for event in session.runs.follow(run, polling=QUICK):
            if event.status == "requires_action":
                break
        return event.run

    @pytest.mark.parametrize("fate", [*ANSWER_LOST, *UNREADABLE, "lose request", "late"])
    async def test_cancel(self, proxy: Proxy, shaky: Session, session: Session, waiting: Run, fate: Fate) -> None:
        """After a lost response, a run that is cancelling or cancelled counts as cancelled by this request."""
        proxy.plan("POST", "/cancel", fate)
        assert (await shaky.runs.cancel(waiting)).status in ("cancelling", "cancelled")

    @pytest.mark.parametrize("fate", [*ANSWER_LOST, *UNREADABLE, "lose request", "late"])
    async def test_submit(self, proxy: Proxy, shaky: Session, session: Session, waiting: Run, fate: Fate) -> None:
        """Outputs that the run no longer waits for have arrived."""
        outputs = [ToolOutput(tool_call_id=call.id, output="sun") for call in waiting.pending_tool_calls]
        proxy.plan("POST", "/submit_tool_outputs", fate)
        run = await shaky.runs.submit_tool_outputs(waiting, outputs)
        assert (run.id, run.pending_tool_calls) == (waiting.id, ())
        assert (await session.runs.complete(run, polling=QUICK)).status == "completed"

    @pytest.mark.parametrize("fate", [*ANSWER_LOST, *UNREADABLE, "lose request", "late"])
    async def test_a_whole_story(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread, fate: Fate
    ) -> None:
        """One run and one call of the tool, whichever request or response is lost."""
        made = []
        toolbox = Toolbox(on_error="raise")

        @toolbox.tool
        async def get_weather(city: str) -> str:
            made.append(city)
            return "sun"

        proxy.plan("POST", "/runs", fate)
        proxy.plan("POST", "/submit_tool_outputs", fate)
        run = await shaky.runs.create(thread.id, assistant_id=assistant.id)
        done = await shaky.runs.complete(run, toolbox=toolbox, polling=QUICK)
        assert (done.id, done.status, len(made)) == (run.id, "completed", 1)
        assert len(await runs_of(session, thread)) == 1
