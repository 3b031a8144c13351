"""The session: its arguments, and when it is open."""

import asyncio
from typing import Any

import anyio
import pytest

from openai_runs.errors import TransportError
from openai_runs.session import Session
from tests.samples import EXAMPLES
from tests.stub import NEVER, Stub, reply

pytestmark = pytest.mark.anyio

THREAD = (EXAMPLES / "objects/ThreadObject.json").read_bytes()
VARIABLES = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class TestArguments:
    def test_no_endpoint(self) -> None:
        """Without an endpoint the error says that OpenAI's is switched off, and names the three alternatives."""
        with pytest.raises(ValueError, match="base_url is not given and OPENAI_BASE_URL is not set") as caught:
            Session()
        for word in ("2026-08-26", "Session(base_url=…)", "openai-runs serve", "openai_runs.server.LocalServer"):
            assert word in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "error", "text"),
        [
            ({"base_url": "localhost:8000"}, ValueError, "base_url must begin with http:// or https:// and a host"),
            ({"base_url": "/v1"}, ValueError, "got '/v1'"),
            ({"base_url": "ftp://host"}, ValueError, "must begin with http"),
            ({"base_url": "http://"}, ValueError, "and a host"),
            ({"base_url": "http://[::1"}, ValueError, "base_url must be a URL: got 'http://\\[::1'"),
            ({"base_url": 7}, ValueError, "base_url must be a URL: got 7"),
            ({"base_url": "http://user:geheim@host"}, ValueError, "must have no user, password, query or fragment"),
            ({"base_url": "ftp://user:geheim@host"}, ValueError, "must have no user, password, query or fragment"),
            ({"base_url": "http://host?key=geheim"}, ValueError, "use api_key and default_query"),
            ({"base_url": "http://host#geheim"}, ValueError, "must have no user, password, query or fragment"),
            ({"api_key": ""}, ValueError, "api_key must not be empty; leave it out if the endpoint needs none"),
            ({"api_key": "geheim\n"}, ValueError, r"api_key must be one line.*strip\(\) it"),
            ({"api_key": " geheim"}, ValueError, "api_key must be one line, with no blanks around it"),
            ({"api_key": b"geheim"}, TypeError, "api_key must be a string or an async function: got bytes"),
            ({"default_headers": {"X": "geheim\r\nHost: evil"}}, ValueError, "header X must be a string of one line"),
            ({"default_headers": {"X": None}}, ValueError, "header X must be a string of one line"),
            (
                {"default_headers": {"X\r\nY": "1"}},
                ValueError,
                "default_headers must have names of HTTP headers: got 'X",
            ),
            ({"default_headers": {1: "1"}}, ValueError, "default_headers must have names of HTTP headers: got 1"),
            ({"default_headers": ["geheim"]}, TypeError, "default_headers must be a dict: got list"),
            ({"default_query": "api-version=v1"}, TypeError, "default_query must be a dict: got str"),
            ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds: got 0"),
            ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 seconds: got nan"),
            ({"timeout": None}, TypeError, "timeout must be a number of seconds: got None"),
            ({"timeout": "60"}, TypeError, "timeout must be a number of seconds: got '60'"),
            ({"max_retries": -1}, ValueError, "max_retries must be at least 0: got -1"),
            ({"max_retries": 1.5}, TypeError, "max_retries must be a whole number: got 1.5"),
            ({"max_retries": None}, TypeError, "max_retries must be a whole number: got None"),
            ({"max_connections": 0}, ValueError, "max_connections must be at least 1: got 0"),
        ],
    )
    def test_wrong(self, options: dict[str, Any], error: type[Exception], text: str) -> None:
        """A wrong argument is refused by the constructor, and a secret in it is not shown."""
        with pytest.raises(error, match=text) as caught:
            Session(**{"base_url": "http://host/v1", **options})
        assert "geheim" not in str(caught.value)

    async def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Missing arguments are read from the environment; given ones win."""
        async with Stub(reply(THREAD), reply(THREAD)) as stub:
            for name, value in zip(VARIABLES, (stub.url, "sk-env", "org-env", "proj-env"), strict=True):
                monkeypatch.setenv(name, value)
            async with Session() as session:
                await session.threads.create()
            async with Session(api_key="sk-given", organization="org-given", project="proj-given") as session:
                await session.threads.create()
        names = ("authorization", "openai-organization", "openai-project")
        assert [[request.headers[name] for name in names] for request in stub.requests] == [
            ["Bearer sk-env", "org-env", "proj-env"],
            ["Bearer sk-given", "org-given", "proj-given"],
        ]

    async def test_empty_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty variable counts as unset; without a key no Authorization is sent."""
        for name in VARIABLES:
            monkeypatch.setenv(name, "")
        with pytest.raises(ValueError, match="no endpoint"):
            Session()
        async with Stub(reply(THREAD)) as stub, stub.session(api_key=None) as session:
            await session.threads.create()
        assert not {"authorization", "openai-organization", "openai-project"} & stub.requests[0].headers.keys()

    @pytest.mark.parametrize("base_url", ["http://host/v1", "http://host/v1/"])
    def test_repr(self, base_url: str) -> None:
        """A session's repr shows the base URL, and nothing else."""
        assert repr(Session(base_url, "sk-secret-key")) == "<Session at http://host/v1>"


class TestKeys:
    @pytest.mark.parametrize(("headers", "honoured"), [({"idempotency_key_supported": "true"}, True), ({}, False)])
    async def test_whether_they_are_honoured(self, headers: dict[str, str], honoured: bool) -> None:
        """A session knows from the first response whether the endpoint honours idempotency keys."""
        async with Stub(reply(THREAD, 200, **headers)) as stub, stub.session() as session:
            assert session.honours_keys is None
            await session.threads.retrieve("thread_1")
            assert session.honours_keys is honoured


class TestOpening:
    async def test_never_opened(self) -> None:
        """Forgetting `async with` raises an error that says so, for requests, lists and followers."""
        session = Session("http://host/v1")
        for call in (
            session.threads.create(),
            session.assistants.list().page(),
            anext(session.runs.follow(thread_id="thread_1", run_id="run_1")),
        ):
            with pytest.raises(RuntimeError, match=r"this Session is not open: use it in `async with`"):
                await call

    async def test_closed(self) -> None:
        """The error for a closed session differs from the one for a session not opened yet."""
        async with Session("http://host/v1") as session:
            pass
        with pytest.raises(RuntimeError, match="this Session is closed"):
            await session.threads.create()

    async def test_opened_twice(self) -> None:
        """One opening at a time; after it has been closed, a session can be opened again."""
        async with Stub(reply(THREAD)) as stub, stub.session() as session:
            with pytest.raises(RuntimeError, match="already been entered"):
                async with session:
                    pass
            await session.threads.create()
        async with Stub(reply(THREAD)) as stub:
            session = stub.session()
            async with session:
                pass
            async with session:
                await session.threads.create()

    async def test_closed_under_way(self) -> None:
        """Closing makes requests in progress fail, and does not wait for them."""
        async with Stub(NEVER) as stub:
            async with stub.session() as session:
                task = asyncio.create_task(session.threads.retrieve("thread_1"))
                await stub.requested(1)
            with pytest.raises((TransportError, RuntimeError)):
                await task
            await stub.disconnected()

    async def test_cancelled(self) -> None:
        """Cancellation closes the session."""
        async with Stub(reply(THREAD), NEVER) as stub:
            with anyio.CancelScope() as scope:
                async with stub.session() as session, anyio.create_task_group() as tasks:
                    await session.threads.create()
                    tasks.start_soon(session.threads.create)
                    await stub.requested(2)
                    scope.cancel()
            assert scope.cancelled_caught
            await stub.disconnected()
            with pytest.raises(RuntimeError, match="this Session is closed"):
                await session.threads.create()
