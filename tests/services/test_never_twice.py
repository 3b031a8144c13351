"""Retries never do anything twice: a real server behind a proxy that loses requests and responses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from openai_runs.errors import NotFoundError, ServerError, TransportError
from openai_runs.models.assistant import Assistant
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.tool import ToolOutput
from openai_runs.server import LocalServer
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from openai_runs.toolbox import Toolbox
from tests.proxy import Fate, Proxy
from tests.stub import error, reply
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

#: After these the server has done what was asked, and the client does not have the answer.
ANSWER_LOST: list[Fate] = ["lose answer", error(500), error(502), error(503), error(504), error(408)]
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


class TestCreate:
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

    async def test_a_callers_own_marker(
        self, proxy: Proxy, shaky: Session, session: Session, assistant: Assistant, thread: Thread
    ) -> None:
        """A caller who sets the marker finds the run by it, also in a later process."""
        proxy.plan("POST", "/runs", "lose answer")
        run = await shaky.runs.create(thread.id, assistant_id=assistant.id, metadata={MARKER: "job-7"})
        assert run.metadata == {MARKER: "job-7"}
        assert len(await runs_of(session, thread)) == 1

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
        assert len(proxy.requests) == 1


class TestOtherPosts:
    """A request whose effect cannot be looked up is not repeated if it may have taken effect."""

    @pytest.mark.parametrize("fate", ["lose answer", "lose request", error(500), error(502)])
    async def test_in_doubt(
        self, proxy: Proxy, shaky: Session, assistant: Assistant, thread: Thread, fate: Fate
    ) -> None:
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
        assert len(proxy.requests) == len(calls)

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
