"""What a request sends, and what each kind of response raises or returns."""

import asyncio
import copy
import gzip
import json
import logging
import pickle
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import aiohttp
import anyio
import pytest
import stamina
from yarl import URL

from openai_runs._http import byte_stream
from openai_runs._http import response as response_reader
from openai_runs._http.response import Response
from openai_runs._http.transport import Transport
from openai_runs._wire import dump
from openai_runs.errors import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OpenAIRunsError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ResponseError,
    ServerError,
    TransportError,
    UnsupportedEndpointError,
)
from openai_runs.following.polling import Polling
from openai_runs.following.streaming import RunStream
from openai_runs.pacing import RateLimits
from openai_runs.pacing.pace import Pace, Taken, Turn
from openai_runs.pacing.turns import Turns
from openai_runs.session import Session
from tests.following.story import CREATED, EMPTY, IDS, framed, run, stream
from tests.samples import EXAMPLES
from tests.shown import shown
from tests.stub import CUT, NEVER, RESET, Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
THREAD = json.loads((EXAMPLES / "objects/ThreadObject.json").read_text())
KEY = "sk-proj-very/secret+key=="


async def retrieve(stub: Stub, **options: Any) -> Any:
    async with stub.session(**options) as session:
        return await session.runs.retrieve(thread_id="thread_1", run_id="run_1")


class TestRequests:
    async def test_get(self) -> None:
        """A request has the headers that the API requires, and no others."""
        async with Stub(reply(RUN)) as stub:
            run = await retrieve(stub, api_key=KEY, organization="org-1", project="proj_1")
        (request,) = stub.requests
        assert (request.method, request.target, request.body) == ("GET", "/v1/threads/thread_1/runs/run_1", b"")
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["openai-beta"] == "assistants=v2"
        assert request.headers["openai-organization"] == "org-1"
        assert request.headers["openai-project"] == "proj_1"
        assert "cookie" not in request.headers
        assert run.id == RUN["id"]

    async def test_post(self) -> None:
        """A body is JSON; the content type is JSON without a body, too."""
        async with Stub(reply(THREAD), reply(RUN)) as stub, stub.session() as session:
            await session.threads.create(metadata={"ключ": "\ud83d"})
            await session.runs.cancel(thread_id="thread_1", run_id="run_1")
        create, cancel = stub.requests
        assert create.headers["content-type"] == "application/json"
        assert create.json == {"metadata": {"ключ": "\ud83d"}}
        assert cancel.target == "/v1/threads/thread_1/runs/run_1/cancel"
        assert (cancel.headers["content-length"], cancel.body) == ("0", b"")
        assert cancel.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(
        ("given", "segment"),
        [
            ("../x", "..%2Fx"),
            ("a/b", "a%2Fb"),
            ("...", "..."),
            (" ", "%20"),
            ("%2e%2e", "%252e%252e"),
            ("a%2Fb", "a%252Fb"),
            ("ключ", "%D0%BA%D0%BB%D1%8E%D1%87"),
            ("a?b#c&d", "a%3Fb%23c%26d"),
            ("a\r\nHost: evil", "a%0D%0AHost%3A%20evil"),
            ("{run_id}", "%7Brun_id%7D"),
            ("\x00", "%00"),
        ],
    )
    async def test_an_id_stays_one_segment(self, given: str, segment: str) -> None:
        """Whatever characters an ID has, it stays one path segment."""
        async with Stub(reply(RUN), reply(RUN)) as stub, stub.session() as session:
            await session.runs.retrieve(thread_id=given, run_id=given)
            await session.runs.cancel(thread_id=given, run_id=given)
        assert [request.target for request in stub.requests] == [
            f"/v1/threads/{segment}/runs/{segment}",
            f"/v1/threads/{segment}/runs/{segment}/cancel",
        ]

    @pytest.mark.parametrize("given", ["", ".", "..", "\ud800", None, 7])
    async def test_what_is_no_id(self, given: Any) -> None:
        """IDs that would change the path are refused before anything is sent; the error names the parameter."""
        async with Stub() as stub, stub.session() as session:
            for name, call in {
                "thread_id": lambda: session.threads.retrieve(given),
                "run_id": lambda: session.runs.update(thread_id="thread_1", run_id=given or "", metadata={}),
                "step_id": lambda: session.run_steps.retrieve(
                    thread_id="thread_1", run_id="run_1", step_id=given or ""
                ),
                "assistant_id": lambda: session.assistants.delete(given),
                "message_id": lambda: session.messages.delete(thread_id="thread_1", message_id=given or ""),
            }.items():
                with pytest.raises((ValueError, TypeError), match=rf"^{name} must be .*: got .*; nothing was sent$"):
                    await call()
            with pytest.raises((ValueError, TypeError), match=r"^thread_id must be "):
                session.messages.list(given)
        assert stub.requests == []

    async def test_queries(self) -> None:
        """Queries are appended to the default query; without either there is no `?`."""
        path = "/v1/threads/thread_1/runs/run_1/steps/step_1"
        step = (EXAMPLES / "objects/RunStepObject.json").read_bytes()
        both = ["step_details.tool_calls[*].file_search.results[*].content", "x&y"]
        encoded = "include%5B%5D=step_details.tool_calls%5B%2A%5D.file_search.results%5B%2A%5D.content"
        async with Stub(*[reply(step)] * 4) as stub:
            async with stub.session() as session:
                await session.run_steps.retrieve(thread_id="thread_1", run_id="run_1", step_id="step_1")
                await session.run_steps.retrieve(thread_id="thread_1", run_id="run_1", step_id="step_1", include=both)
            async with stub.session(default_query={"api-version": "v1", "a b": "ü"}) as session:
                await session.run_steps.retrieve(thread_id="thread_1", run_id="run_1", step_id="step_1")
                await session.run_steps.retrieve(thread_id="thread_1", run_id="run_1", step_id="step_1", include=both)
        assert [request.target for request in stub.requests] == [
            path,
            f"{path}?{encoded}&include%5B%5D=x%26y",
            f"{path}?api-version=v1&a+b=%C3%BC",
            f"{path}?api-version=v1&a+b=%C3%BC&{encoded}&include%5B%5D=x%26y",
        ]

    async def test_an_action_keeps_the_default_query(self) -> None:
        """The default query, such as Azure's version, is part of every request."""
        async with Stub(reply(RUN)) as stub, stub.session(default_query={"api-version": "v1"}) as session:
            await session.runs.cancel(thread_id="thread_1", run_id="run_1")
        assert stub.requests[0].target == "/v1/threads/thread_1/runs/run_1/cancel?api-version=v1"

    async def test_default_headers_win(self) -> None:
        """The caller's headers replace ours whatever the case of their names, Authorization included."""
        mine = {"openai-beta": "assistants=v9", "AUTHORIZATION": "Basic 123", "api-key": "azure"}
        for api_key in ("sk-other", fresh):
            async with Stub(reply(RUN)) as stub:
                await retrieve(stub, default_headers=mine, api_key=api_key)
            raw = stub.requests[0].raw.lower()
            assert raw.count(b"openai-beta:") == raw.count(b"authorization:") == 1
            assert stub.requests[0].headers["openai-beta"] == "assistants=v9"
            assert stub.requests[0].headers["authorization"] == "Basic 123"
            assert stub.requests[0].headers["api-key"] == "azure"

    async def test_connections_are_kept_and_bounded(self) -> None:
        """Sequential requests share one connection; concurrent ones use at most max_connections."""
        async with Stub(lambda _: reply(RUN)) as stub, stub.session(max_connections=3) as session:
            for _ in range(5):
                await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            assert stub.connections == 1
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(partial(session.runs.retrieve, thread_id="thread_1", run_id="run_1"))
            assert stub.connections <= 3
        await stub.disconnected()


async def failure(call: Awaitable[Any]) -> Exception | None:
    try:
        await call
    except Exception as error:
        return error
    return None


async def read(stream: RunStream) -> None:
    """Read a stream to its end, and what it has merged."""
    async with stream as events:
        async for _ in events:
            assert events.messages is not None
            assert events.steps is not None


async def fresh() -> str:
    return "tok"


class TestTokens:
    async def test_asked_at_each_request(self) -> None:
        """An api_key function is called for each request, retries included."""
        tokens = iter(["token-one", "token-two", "token-three"])

        async def provide() -> str:
            return next(tokens)

        async with Stub(reply(RUN), error(503), reply(THREAD)) as stub, stub.session(api_key=provide) as session:
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            await session.threads.create()
        sent = [request.headers["authorization"] for request in stub.requests]
        assert sent == ["Bearer token-one", "Bearer token-two", "Bearer token-three"]
        assert stub.requests[2].headers["content-type"] == "application/json"

    async def test_its_own_error_gets_out(self) -> None:
        """What the api_key function raises reaches the caller; nothing is sent."""

        async def provide() -> str:
            raise LookupError("no login")

        async with Stub() as stub, stub.session(api_key=provide) as session:
            with pytest.raises(LookupError, match="no login"):
                await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        assert stub.requests == []

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionResetError("reset"),
            TimeoutError("late"),
            aiohttp.ClientPayloadError("cut"),
            TransportError("lost"),
            ServerError("busy", status=500),
            ProtocolError("odd", status=200),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_its_error_is_no_lost_connection(self, error: Exception) -> None:
        """Whatever the api_key function raises is the caller's: not taken for the endpoint's, and not repeated."""
        asked = []

        async def provide() -> str:
            asked.append(1)
            raise error

        async with Stub() as stub, stub.session(api_key=provide) as session:
            for call in (
                session.runs.create("thread_1", assistant_id="asst_1"),
                session.runs.stream("thread_1", assistant_id="asst_1").__aenter__(),
                session.threads.delete("thread_1"),
            ):
                assert await failure(call) is error
        assert error.__notes__ == ["Raised by api_key(); the request was not sent."]
        assert len(asked) == 3
        assert stub.requests == []

    @pytest.mark.parametrize("looks", [0, 1])
    async def test_its_error_leaves_a_doubt(self, looks: int) -> None:
        """If the api_key function fails after a lost response, the error still says that the run may exist."""
        tokens = iter(["token-one", *["token-two"] * looks])

        async def provide() -> str:
            if (token := next(tokens, None)) is None:
                raise LookupError("no login")
            return token

        empty = reply({"object": "list", "data": [], "has_more": False})
        async with Stub(CUT, empty) as stub, stub.session(api_key=provide) as session:
            with pytest.raises(TransportError) as caught:
                await session.runs.create("thread_1", assistant_id="asst_1")
        assert caught.value.maybe_done
        assert any("LookupError" in note for note in caught.value.__notes__)
        assert len(stub.requests) == 1 + looks

    @pytest.mark.parametrize("token", ["", "tok\n", " tok", None, b"tok"])
    async def test_a_useless_token(self, token: Any) -> None:
        """A token that cannot be a header is refused without being shown."""

        async def provide() -> Any:
            return token

        async with Stub() as stub, stub.session(api_key=provide) as session:
            with pytest.raises(
                (ValueError, TypeError), match=r"^the token that api_key\(\) returned must be"
            ) as caught:
                await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            assert "tok\n" not in str(caught.value)
        assert stub.requests == []

    async def test_a_function_that_is_not_async(self) -> None:
        """The error for a bad token names `api_key`."""
        async with Stub() as stub, stub.session(api_key=lambda: "tok") as session:
            with pytest.raises(TypeError, match="api_key must be a string or an async function: it returned str"):
                await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
        assert stub.requests == []


class TestRefusedTokens:
    """A token that is refused is replaced once, by asking the api_key function again."""

    @staticmethod
    def only(token: str, answer: Reply) -> Callable[[Request], Reply]:
        """Refuse all tokens but one."""

        def check(request: Request) -> Reply:
            return answer if request.headers["authorization"] == f"Bearer {token}" else error(401, "expired")

        return check

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "stream"])
    async def test_any_request(self, method: str) -> None:
        """Any request is repeated, since one that was refused for its token took no effect; retries are not used up."""
        tokens = iter(["token-one", "token-two"])

        async def provide() -> str:
            return next(tokens)

        done = f"event: thread.run.completed\ndata: {json.dumps(RUN | {'status': 'completed'})}\n\n".encode()
        answer = {
            "POST": reply(THREAD),
            "DELETE": reply({"id": "run_1", "object": "thread.deleted", "deleted": True}),
            "stream": reply(done, content_type="text/event-stream"),
        }.get(method, reply(RUN))
        async with (
            Stub(self.only("token-two", answer)) as stub,
            stub.session(api_key=provide, max_retries=0, max_connections=1) as session,
        ):
            calls = {
                "GET": lambda: session.runs.retrieve(thread_id="thread_1", run_id="run_1"),
                "POST": session.threads.create,
                "DELETE": lambda: session.threads.delete("thread_1"),
                "stream": lambda: read(session.runs.stream("thread_1", assistant_id="asst_1")),
            }
            await calls[method]()
        assert len(stub.requests) == 2
        assert stub.requests[0].body == stub.requests[1].body

    async def test_no_better_token(self) -> None:
        """If the fresh token is refused as well, or is the same, the error is the server's."""
        for tokens, sent in ((["token-one", "token-two"], 2), (["token-one", "token-one"], 1)):
            given = iter(tokens)

            async def provide(given: Iterator[str] = given) -> str:
                return next(given)

            async with Stub(self.only("?", reply(RUN))) as stub, stub.session(api_key=provide) as session:
                with pytest.raises(AuthenticationError, match="401: expired"):
                    await session.threads.create()
            assert len(stub.requests) == sent

    async def test_no_token(self) -> None:
        """If the api_key function fails then, the error is the server's, from the function's own."""
        tokens = iter(["token-one"])

        async def provide() -> str:
            if (token := next(tokens, None)) is None:
                raise LookupError("no login")
            return token

        async with Stub(self.only("?", reply(RUN))) as stub, stub.session(api_key=provide) as session:
            with pytest.raises(AuthenticationError) as caught:
                await session.threads.create()
        assert isinstance(caught.value.__cause__, LookupError)
        assert caught.value.__notes__ == ["For a fresh token, api_key() raised LookupError."]
        assert not caught.value.maybe_done

    @pytest.mark.parametrize("login", [True, False])
    async def test_many_share_one(self, login: bool) -> None:
        """Requests that were in progress when the token expired share one fresh token, or its failure."""
        asked: list[str] = []

        async def provide() -> str:
            asked.append("token-new" if len(asked) >= 50 else "token-old")
            if asked[-1] == "token-new":
                await anyio.wait_all_tasks_blocked()
                if not login:
                    raise LookupError("no login")
            return asked[-1]

        failed: list[Exception | None] = []

        async def one() -> None:
            failed.append(await failure(session.runs.retrieve(thread_id="thread_1", run_id="run_1")))

        async with Stub(self.only("token-new", reply(RUN))) as stub, stub.session(api_key=provide) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(one)
            assert len(asked) == 51
            assert [type(error) for error in failed] == [type(None) if login else AuthenticationError] * 50
            assert len(stub.requests) == (100 if login else 50)

    async def test_a_cancelled_renewal(self) -> None:
        """If the request that asks for a fresh token is cancelled, the next one asks."""
        asked = 0

        async def provide() -> str:
            nonlocal asked
            asked += 1
            if asked == 2:
                await anyio.sleep_forever()
            return "token-old" if asked < 4 else "token-new"

        async with Stub(self.only("token-new", reply(RUN))) as stub, stub.session(api_key=provide) as session:
            first = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            while asked < 2:
                await anyio.wait_all_tasks_blocked()
            second = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            await stub.requested(2)
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            assert (await second).id == RUN["id"]
            with pytest.raises(asyncio.CancelledError):
                await first
        assert asked == 4

    async def test_a_fixed_key(self) -> None:
        """A key that is a string, or a header, is not replaced."""
        async with Stub(self.only("?", reply(RUN))) as stub, stub.session() as session:
            with pytest.raises(AuthenticationError):
                await session.threads.create()
        assert len(stub.requests) == 1


class TestAnswers:
    async def test_compressed(self) -> None:
        """A compressed response is read like any other."""
        body = gzip.compress(json.dumps(RUN).encode())
        async with Stub(reply(body, content_encoding="gzip", content_type="application/json")) as stub:
            assert (await retrieve(stub)).id == RUN["id"]

    @pytest.mark.parametrize(
        ("answer", "message", "paths"),
        [
            (reply(b"<html>Welcome to the proxy</html>", content_type="text/html"), "text/html: <html>Welcome", ()),
            (reply(json.dumps(RUN).encode()[:-1]), "not JSON: ", ()),
            (reply(b"\xff\xfe{}"), "not JSON: ", ()),
            (reply(b"", 204), "answered 204 with a body that does not fit the API: ", ()),
            (reply(b"", 204), "It sent an empty body", ()),
            (reply([RUN]), "not a Run: expected object, got list ", None),
            (reply(None), "", ("expected object, got NoneType None @ $",)),
            (reply(b"[" * 100_000), "not JSON", ()),
            (reply(RUN | {"status": 7}), "", ("expected str, got int 7 @ $.status",)),
        ],
    )
    @pytest.mark.parametrize("strict", [False, True])
    async def test_what_the_api_does_not_have(
        self, answer: Reply, message: str, paths: tuple[str, ...] | None, strict: bool
    ) -> None:
        """The error quotes a body that does not fit, and names each wrong place; it is fetched again if not JSON."""
        async with Stub(answer, answer, answer) as stub:
            with pytest.raises(ProtocolError) as caught:
                await retrieve(stub, strict=strict)
        assert message in str(caught.value)
        assert str(caught.value).startswith(stub.url)
        assert caught.value.status in (200, 204)
        assert len(str(caught.value)) < 900
        if paths is not None:
            assert caught.value.paths == paths
        assert len(stub.requests) == (3 if paths == () else 1)

    async def test_a_page_of_a_proxy(self) -> None:
        """What changes nothing is sent again if no JSON came; what may be done is not."""
        page = reply(b"<html>", content_type="text/html")
        async with Stub(page, reply(RUN), page) as stub, stub.session() as session:
            assert (await session.runs.retrieve(thread_id="thread_1", run_id="run_1")).id == RUN["id"]
            with pytest.raises(ProtocolError) as caught:
                await session.threads.create()
        assert caught.value.maybe_done
        assert len(stub.requests) == 3

    async def test_deep_in_a_list(self) -> None:
        """The error for one bad item of a page names its place."""
        page = {"object": "list", "data": [RUN, RUN, RUN | {"usage": {"total_tokens": "7"}}], "has_more": False}
        async with Stub(reply(page)) as stub, stub.session(strict=True) as session:
            with pytest.raises(ProtocolError, match=r"\$\.data\[2\]\.usage\.total_tokens"):
                await session.runs.list("thread_1").page()
        page["data"] = [RUN, RUN, RUN | {"id": 7}]
        async with Stub(reply(page)) as stub, stub.session() as session:
            with pytest.raises(ProtocolError, match=r"expected str, got int 7 @ \$\.data\[2\]\.id"):
                await session.runs.list("thread_1").page()

    async def test_oddities(self) -> None:
        """A response with an oddity is read; a strict session raises an error that names the place."""
        odd = RUN | {"tools": [*RUN["tools"], {"type": "function", "function": {"name": None}}]}
        async with Stub(reply(odd)) as stub:
            run = await retrieve(stub)
        assert run.tools[-1].function.name == ""
        assert dump(run) == odd
        async with Stub(reply(odd)) as stub:
            with pytest.raises(ProtocolError) as caught:
                await retrieve(stub, strict=True)
        place = f"$.tools[{len(RUN['tools'])}].function.name"
        assert caught.value.paths == (f"expected str, got NoneType None @ {place}",)

    async def test_redirects_are_not_followed(self) -> None:
        """The key is sent to the endpoint only: redirects to other hosts are not followed."""
        async with (
            Stub() as other,
            Stub(reply(b"", 307, location=f"{other.url}/threads")) as stub,
            stub.session(api_key=KEY) as session,
        ):
            with pytest.raises(ResponseError, match=rf"307, a redirect to {other.url}/threads, which is not foll"):
                await session.threads.create()
        assert len(stub.requests) == 1
        assert (other.requests, other.connections) == ([], 0)

    async def test_a_redirect_to_nowhere(self) -> None:
        async with Stub(reply(b"", 302)) as stub, stub.session() as session:
            with pytest.raises(ResponseError, match="302, a redirect to nowhere, which is not followed"):
                await session.threads.create()


class TestHugeResponses:
    """What is read of a response is bounded, after decompression, and while it is read."""

    @pytest.fixture(autouse=True)
    def megabyte(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (response_reader, byte_stream):
            monkeypatch.setattr(module, "MAX_BODY", 1_000_000)

    @pytest.fixture
    def bomb(self) -> bytes:
        return gzip.compress(b" " * 200_000_000, compresslevel=1)

    async def peak(self, call: Awaitable[Any]) -> tuple[Exception, int]:
        """The error that a call raises, and the most memory that it took."""
        tracemalloc.start()
        try:
            error = await failure(call)
            assert error is not None
            return error, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    async def test_a_bomb(self, bomb: bytes) -> None:
        """A compressed response is not decompressed beyond the limit, which the error names; it is not repeated."""
        answer = reply(bomb, content_encoding="gzip", content_type="application/json")
        async with Stub(answer, answer) as stub, stub.session() as session:
            error, memory = await self.peak(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            assert isinstance(error, ProtocolError)
            assert str(error).endswith("answered 200 with a body of more than 1000000 bytes, the limit")
            assert memory < 20_000_000
            await stub.disconnected()
        assert len(stub.requests) == 1

    async def test_a_refusal(self, bomb: bytes) -> None:
        """An error status is reported as itself, whatever the size of its body."""
        async with Stub(reply(bomb, 400, content_encoding="gzip")) as stub, stub.session() as session:
            error, memory = await self.peak(session.threads.create())
        assert isinstance(error, BadRequestError)
        assert memory < 20_000_000

    @pytest.mark.parametrize("bad", [b"data: %b", b"event: thread.run.queued\ndata: {}%b\n\n"])
    async def test_a_stream(self, bad: bytes) -> None:
        """A compressed stream has the decoder's limit for an event, and takes no more memory."""
        bomb = gzip.compress(bad % (b" " * 200_000_000), compresslevel=1)
        async with (
            Stub(reply(bomb, content_encoding="gzip", content_type="text/event-stream")) as stub,
            stub.session() as session,
        ):
            error, memory = await self.peak(read(session.runs.stream("thread_1", assistant_id="asst_1")))
            assert isinstance(error, ProtocolError)
            assert "more than 16777216 bytes" in str(error)
            assert memory < 80_000_000
            await stub.disconnected()

    @pytest.mark.parametrize("size", [0, 1, 999_999, 1_000_000])
    async def test_up_to_the_limit(self, size: int) -> None:
        """A body of the size of the limit is read, in as many pieces as it comes, and its connection is used again."""
        body = json.dumps(RUN).encode()
        plain = reply(body + b" " * max(size - len(body), 0), content_type="application/json")
        packed = reply(gzip.compress(body.ljust(size)), content_encoding="gzip")
        async with Stub(plain, packed, plain) as stub, stub.session() as session:
            for _ in range(3):
                assert (await session.runs.retrieve(thread_id="thread_1", run_id="run_1")).id == RUN["id"]
        assert stub.connections == 1


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "cls"),
        [
            (400, BadRequestError),
            (401, AuthenticationError),
            (403, PermissionDeniedError),
            (404, NotFoundError),
            (409, ConflictError),
            (413, ResponseError),
            (422, BadRequestError),
            (429, RateLimitError),
            (500, ServerError),
            (503, ServerError),
        ],
    )
    async def test_the_tree(self, status: int, cls: type[ResponseError]) -> None:
        """A status becomes an error class, whose attributes hold the server's error fields, also when pickled."""
        async with Stub(error(status, "Sorry.", X_Request_Id="req_1", X_Thing="y")) as stub:
            with pytest.raises(ResponseError) as caught:
                await retrieve(stub, max_retries=0)
        assert type(caught.value) is cls
        for refusal in (caught.value, pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
            assert (refusal.status, refusal.message, refusal.request_id) == (status, "Sorry.", "req_1")
            assert (refusal.type, refusal.param, refusal.code) == ("invalid_request_error", "p", "c")
            assert refusal.headers["x-thing"] == "y"
            assert json.loads(refusal.body)["error"]["message"] == "Sorry."
            text = f"GET /v1/threads/thread_1/runs/run_1 at {stub.url}: {status}: Sorry."
            assert str(refusal).startswith(text)
            assert str(refusal).removeprefix(text) == " (request req_1)" or status == 401  # which says more

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (reply(b"<h1>Bad gateway</h1>", 502, content_type="text/html"), ": 502: <h1>Bad gateway</h1>"),
            (reply(b"", 500), ": 500: no body"),
            (reply(b"\xff\xfe", 400), ": 400: \ufffd\ufffd"),
            (reply({"message": "bare"}, 400), ": 400: bare"),
            (reply({"error": "just text"}, 400), ': 400: {"error": "just text"}'),
            (reply({"error": {"message": ["?"]}}, 400), ': 400: {"error": {"message": ["?"]}}'),
            (reply(["?"], 400), ': 400: ["?"]'),
            (reply({"error": {"message": "m", "code": 7, "type": None}}, 400), ": 400: m"),
        ],
    )
    async def test_other_bodies(self, answer: Reply, text: str) -> None:
        """A body without the API's error, such as a proxy's, is shown."""
        async with Stub(answer) as stub:
            with pytest.raises(ResponseError) as caught:
                await retrieve(stub, max_retries=0)
        assert str(caught.value).endswith(text)

    async def test_a_huge_body_is_cut(self) -> None:
        """Messages have a bounded length; the API's message is cut later than a proxy's page."""
        async with (
            Stub(reply(b"x" * 3_000_000, 500), error(400, "y" * 3_000_000)) as stub,
            stub.session(max_retries=0) as session,
        ):
            with pytest.raises(ServerError, match=r"x{300}… \(3000000 characters\)$") as caught:
                await session.threads.create()
            assert len(str(caught.value)) < 500
            assert len(caught.value.body) < 2100
            with pytest.raises(BadRequestError, match=r"y{2000}… \(3000000 characters\)$"):
                await session.threads.create()

    @pytest.mark.parametrize(
        "answer",
        [
            reply(b"404 page not found", 404),
            reply(b"", 404),
            reply({"detail": "Not Found"}, 404),
            error(404, "Not Found"),
            error(404, "File Not Found"),
            error(404, "Resource not found"),
            error(404, "Invalid URL (GET /v1/threads/thread_1/runs/run_1)"),
        ],
    )
    async def test_no_such_path(self, answer: Reply) -> None:
        """An endpoint without this API raises another error than an object that does not exist."""
        async with Stub(answer) as stub:
            with pytest.raises(
                UnsupportedEndpointError, match="does not speak the Assistants API, or base_url is wrong"
            ):
                await retrieve(stub)

    async def test_no_such_object(self) -> None:
        """A 404 with the API's message is about the object."""
        async with Stub(error(404, "No run found with id 'run_1'.")) as stub:
            with pytest.raises(NotFoundError) as caught:
                await retrieve(stub)
        assert type(caught.value) is NotFoundError

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"detail": "No thread with this ID"}, "No thread with this ID"),
            ({"detail": {"message": "No thread", "code": "gone"}}, "No thread"),
            ({"detail": {"error": {"message": "No thread"}}}, "No thread"),
            ({"error": "No thread"}, '{"error": "No thread"}'),
            ({"type": "about:blank", "title": "No thread"}, '"title": "No thread"'),
        ],
    )
    async def test_no_such_object_elsewhere(self, body: Any, words: str) -> None:
        """A 404 in another web framework's form, with words of its own, is about the object; they are shown."""
        async with Stub(reply(body, 404)) as stub:
            with pytest.raises(NotFoundError) as caught:
                await retrieve(stub)
        assert type(caught.value) is NotFoundError
        assert words in str(caught.value)

    @pytest.mark.parametrize(
        "body", [{"detail": "Not Found"}, {"error": {"message": "not found."}}, {"error": "Not Found"}]
    )
    async def test_words_that_could_mean_anything(self, body: Any) -> None:
        """Where a framework's own words leave it open, an endpoint that has spoken the API lacks the object."""
        async with Stub(reply(THREAD), reply(body, 404), reply(body, 404)) as stub, stub.session() as session:
            await session.threads.create()
            with pytest.raises(NotFoundError, match=r"(?i)not found") as caught:
                await session.threads.retrieve("thread_2")
            assert type(caught.value) is NotFoundError
            assert "does not speak" not in str(caught.value)
        async with Stub(reply(body, 404)) as stub:
            with pytest.raises(UnsupportedEndpointError, match=r"base_url is wrong .* Or there is no such object\."):
                await retrieve(stub)

    async def test_a_proxys_page_later(self) -> None:
        """A 404 that is not JSON says nothing about the object, also where the API has been spoken before."""
        async with Stub(reply(THREAD), reply(b"<h1>404</h1>", 404)) as stub, stub.session() as session:
            await session.threads.create()
            with pytest.raises(UnsupportedEndpointError, match=r"no such object, or .* It responded: <h1>404</h1>$"):
                await session.threads.retrieve("thread_2")

    async def test_the_hosted_api(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error for OpenAI's own endpoint says that it is switched off, and what to do."""
        async with Stub(error(404, "Invalid URL (GET /v1/threads/thread_1/runs/run_1)")) as stub:
            monkeypatch.setenv("http_proxy", stub.url.removesuffix("/v1"))
            async with Session("http://api.openai.com/v1", KEY) as session:
                with pytest.raises(
                    UnsupportedEndpointError, match="switched its hosted Assistants API off on 2026-08-26"
                ):
                    await session.runs.retrieve(thread_id="thread_1", run_id="run_1")


class TestSecrets:
    """The key is in no message, `repr`, attribute, traceback or log."""

    @staticmethod
    def echo(request: Request) -> dict[str, str]:
        return dict(request.headers) | {"quoted": request.headers.get("authorization", "").replace("/", "\\/")}

    @pytest.mark.parametrize("provided", [False, True])
    async def test_echoed(self, provided: bool, caplog: pytest.LogCaptureFixture) -> None:
        """A key that the server echoes is hidden."""
        caplog.set_level(logging.DEBUG)

        async def provide() -> str:
            return KEY

        def nonsense(request: Request) -> Reply:
            return reply({"id": self.echo(request)} | {"padding": "x" * 1000})

        def html(request: Request) -> Reply:
            return reply(b"x" * 292 + request.raw, 502)  # the place where messages are cut is in the key

        def own_words(request: Request) -> Reply:
            key = request.headers["authorization"]
            body = {"error": {"message": f"Incorrect key {key}", "code": key, "type": key, "param": key}}
            return reply(body, 401, x_request_id=key, x_echo=key)

        def elsewhere(request: Request) -> Reply:
            return reply(b"", 302, location=f"http://x.invalid/?{request.headers['authorization']}")

        for answer in (nonsense, html, own_words, elsewhere):
            api_key = provide if provided else KEY
            async with Stub(answer) as stub, stub.session(api_key=api_key, max_retries=1) as session:
                assert KEY not in repr(session) + repr(session.runs) + repr(session._transport)
                with pytest.raises(OpenAIRunsError) as caught:
                    await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            assert KEY not in shown(caught.value)
            assert "***" in shown(caught.value)
        assert KEY not in caplog.text + "".join(str(vars(record)) for record in caplog.records)

    @pytest.mark.unmeasured
    @pytest.mark.parametrize(  # each two of the three in each way
        ("before", "strict", "provided"),
        [
            *[(0, False, False), (0, True, True), (45, False, True), (45, True, False)],
            *[(285, False, False), (285, True, True), (1985, False, True), (1985, True, False)],
        ],
    )
    async def test_echoed_where_it_is_cut(
        self, provided: bool, strict: bool, before: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Wherever a text is cut, and whatever is wrong with it, no part of the key remains."""
        caplog.set_level(logging.DEBUG)

        async def provide() -> str:
            return KEY

        padding = "x" * before
        wire = json.dumps(padding + KEY)

        def events(*texts: str) -> Reply:
            text = "".join(texts).encode()
            return Reply(reply(text, content_type="text/event-stream", connection="close").data, "close")

        def event(name: str, data: str) -> str:
            return f"event: {name}\ndata: {data}\n\n"

        created = event("thread.run.created", json.dumps(RUN | {"status": "queued"}))
        message = json.loads((EXAMPLES / "objects/MessageObject.json").read_text()) | {"status": "in_progress"}
        opened = created + event("thread.message.created", json.dumps(message | {"content": []}))
        wrong = [{"index": 0, "type": "text", "text": {"value": [padding + KEY]}}]
        change = {"id": message["id"], "object": "thread.message.delta", "delta": {"content": wrong}}
        chunked = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n%b%b\r\n"
        bad_chunk = (padding + KEY).encode()
        answers = {
            "a value": reply(RUN | {"status": [padding + KEY]}),
            "a key": reply([{padding + KEY: 1}]),
            "not JSON": reply(f"{padding}{KEY}".encode(), content_type="text/plain"),
            "cut JSON": reply(wire.encode()[:-1]),
            "a list": reply({"data": [padding + KEY], "has_more": False}),
            "content type": reply(b"?", content_type=padding + KEY),
            "an error": error(400, padding + KEY),
            "a proxy's page": reply(f"{padding}{KEY}".encode(), 502),
            "escaped": reply(f"{padding}{KEY}".replace("/", "\\/").encode(), 502),
            "encoded": reply(f"{padding}{quote(KEY, '')}".encode(), 502),
            "no such path": reply(f"{padding}{KEY}".encode(), 404),
            "a header": reply(b"", 307, location=padding + KEY, x_request_id=padding + KEY),
            "status line": Reply(f"HTTP/1.1 {padding}{KEY}\r\n\r\n".encode(), "close"),
            "chunk": Reply(chunked % (b"text/plain", b"", bad_chunk), "close"),
            "event": events(event("thread.run.created", json.dumps(RUN | {"status": [padding + KEY]}))),
            "event name": events(event(f"thread.run.{padding}{KEY}", "{"), event("error", "{")),
            "event of no JSON": events(event("thread.run.created", padding + KEY)),
            "error event": events(event("error", json.dumps({"message": padding + KEY, "code": KEY}))),
            "other error event": events(event("error", wire)),
            "deltas": events(opened, event("thread.message.delta", json.dumps(change))),
            "merged": events(
                opened, event("thread.message.delta", json.dumps(change)), event("thread.message.in_progress", "[7]")
            ),
            "deltas that do not merge": events(
                opened,
                event("thread.message.delta", json.dumps({**change, "delta": {"created_at": padding + KEY}})),
            ),
            "only the key is wrong": reply(RUN | {"object": KEY, "usage": {KEY: 1}, "tools": KEY}),
            "chunk of a stream": Reply(chunked % (b"text/event-stream", b"", bad_chunk), "close"),
        }
        for name, answer in answers.items():
            async with (
                Stub(lambda _, answer=answer: answer) as stub,
                stub.session(api_key=provide if provided else KEY, max_retries=1, strict=strict) as session,
            ):
                stream = session.runs.stream("thread_1", assistant_id="asst_1", polling=Polling(outage=0))
                found = [await failure(call) for call in (
                    session.runs.retrieve(thread_id="thread_1", run_id="run_1"),
                    session.runs.create("thread_1", assistant_id="asst_1"),
                    session.threads.delete("thread_1"),
                    session.runs.list("thread_1").page(),
                    read(stream),
                    session.runs.complete(thread_id="thread_1", run_id="run_1", polling=Polling(outage=0)),
                )]  # fmt: skip
                lost = name in ("status line", "chunk", "chunk of a stream")
                if strict:  # otherwise some of it is read as an oddity, and the stream is followed by polling
                    assert isinstance(found[4], TransportError if lost else ProtocolError | ResponseError), name
                for one in filter(None, found):
                    assert isinstance(one, OpenAIRunsError)
                    assert KEY[:9] not in shown(one), name
                    assert KEY[:9] not in shown(pickle.loads(pickle.dumps(one))), name
        assert KEY[:9] not in caplog.text + "".join(str(vars(record)) for record in caplog.records)

    @pytest.mark.parametrize("before", [0, 270, 290])
    @pytest.mark.parametrize(
        ("api_key", "options"),
        [
            (KEY, {}),
            ("sk-other", {"extra_headers": {"X-Api-Key": KEY}}),
            ("sk-other", {"extra_query": {"token": KEY}}),
        ],
        ids=["session", "header", "query"],
    )
    async def test_echoed_in_deltas(self, before: int, api_key: str, options: dict[str, Any]) -> None:
        """Nor is it in the error for deltas that do not merge, whether they are read or only polled over."""
        created = {"id": "msg_1", **IDS, "role": "assistant", "status": "in_progress", "content": []}
        change = {"id": "msg_1", "delta": {"thread_id": ["x" * before + KEY]}}
        events = (CREATED, ("thread.message.created", created), ("thread.message.delta", change))
        answers = (
            stream(*framed(*events)),
            reply(run("completed")),
            EMPTY,
            reply({"data": [created], "has_more": False}),
        )
        async with (
            Stub(*answers) as stub,
            stub.session(api_key=api_key) as session,
            session.runs.stream("thread_1", assistant_id="asst_1", **options) as seen,
        ):
            with pytest.raises(ProtocolError, match=r"thread_id") as caught:
                async for _ in seen:
                    pass
            assert KEY[:9] not in shown(caught.value)
            with pytest.raises(ProtocolError, match=r"thread_id") as caught:
                assert seen.messages
            assert KEY[:9] not in shown(caught.value)

    async def test_a_key_that_is_what_is_wrong(self) -> None:
        """The error shows no key where the body would fit without it, nor if the key is a word of the API."""
        key = 'sk-with"a-quote'
        body = json.dumps(RUN)[:-1] + f', "echo": "{key}"}}'
        async with Stub(reply(body.encode())) as stub:
            with pytest.raises(ProtocolError, match=r"the API: a secret is in the wrong place\. It") as caught:
                await retrieve(stub, api_key=key)
        assert "sk-with" not in shown(caught.value)
        async with Stub(reply(RUN | {"tools": "code_interpreter"})) as stub:
            with pytest.raises(ProtocolError) as caught:
                await retrieve(stub, api_key="code_interpreter", strict=True)
        assert "code_interpreter" not in str(caught.value) + repr(vars(caught.value))

    async def test_an_old_token(self) -> None:
        """The token of a slow request is hidden however many others came after it."""
        tokens = iter(f"token-of-{number:03}-{number}" for number in range(100))

        async def provide() -> str:
            return next(tokens)

        def answer(request: Request) -> Reply:
            return reply(request.raw, 400) if request.target.endswith("/slow") else reply(RUN)

        async with Stub(answer) as stub, stub.session(api_key=provide) as session:
            slow = session._transport._sender._begin("GET", session._transport.url("/slow"), None, None)
            response, _ = await slow
            for _ in range(20):
                await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            body, sent = await response.read(), response.request_info.headers
        refusal = session._transport._sender.reader.refusal(Response(400, {}, body, sent), "GET", response.url)
        assert "token-of-000" in body.decode()
        assert "token-of" not in shown(refusal)

    async def test_the_default_query(self) -> None:
        """Secrets in the default query are hidden, too."""
        query = {"subscription-key": "azure/secret"}
        async with Stub(lambda request: reply(request.raw, 400)) as stub:
            with pytest.raises(BadRequestError) as caught:
                await retrieve(stub, default_query=query)
        assert "azure" not in shown(caught.value)

    async def test_other_secrets(self) -> None:
        """Keys in other headers are hidden, too; short values are not taken for keys."""
        headers = {"api-key": "azure-secret", "X-Auth": "123", "Cookie": "session=abcdef"}
        async with Stub(lambda request: reply(request.raw, 400)) as stub:
            with pytest.raises(BadRequestError) as caught:
                await retrieve(stub, default_headers=headers, api_key=None)
        assert "azure-secret" not in shown(caught.value)
        assert "abcdef" not in shown(caught.value)
        assert "/v1/threads/" in caught.value.body
        assert "X-Auth: 123" in caught.value.body

    async def test_not_http(self) -> None:
        """aiohttp's errors that hold the request's headers are not chained."""
        async with Stub(Reply(b"HTTP/9.9 what\r\n\r\n", "close")) as stub:
            with pytest.raises(TransportError) as caught:
                await retrieve(stub, api_key=KEY, max_retries=0)
        assert KEY not in shown(caught.value)


class TestLostConnections:
    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (CUT, "Server disconnected"),
            (RESET, ""),
            (reply(RUN).cut(5), ""),
            (Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "close"), ""),
            (Reply(b"HTTP/1.1 2", "close"), ""),
            (reply(b"no gzip", content_encoding="gzip"), "Can not decode content-encoding: gzip"),
        ],
    )
    async def test_in_the_middle(self, answer: Reply, text: str) -> None:
        """A GET whose connection broke is repeated; with max_retries=0 the error says what may have happened."""
        async with Stub(answer, answer, reply(RUN)) as stub:
            assert (await retrieve(stub)).id == RUN["id"]
        async with Stub(*[answer] * 8) as stub, stub.session(max_retries=1) as session:
            with pytest.raises(TransportError, match=f"^GET /v1/threads/.*{text}.*; nothing was changed$") as caught:
                await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            assert not caught.value.maybe_done
            with pytest.raises(TransportError, match=r"; the request may have taken effect(\n|$)"):
                await session.threads.create()
        await stub.disconnected()

    @pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
    async def test_in_the_middle_without_a_length(self, part: float) -> None:
        """A body that ends with the connection, and is no whole JSON, was cut off: the request is repeated."""
        head, body = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", json.dumps(RUN).encode()
        whole = Reply(head + body, "close")
        async with Stub(Reply(head + body[: int(len(body) * part)], "close"), whole) as stub, stub.session() as session:
            assert (await session.runs.retrieve(thread_id="thread_1", run_id="run_1")).id == RUN["id"]
        assert len(stub.requests) == 2
        for text in (b"<html>", b"[]", b"[" * 100_000):  # whole, and not the API's
            async with Stub(*[Reply(head + text, "close")] * 3) as stub:
                with pytest.raises(ProtocolError):
                    await retrieve(stub)
        async with Stub(*[Reply(head + body[:5], "close")] * 3) as stub:
            with pytest.raises(TransportError, match="the connection broke within the body; nothing was changed"):
                await retrieve(stub)

    @pytest.mark.parametrize(
        ("answer", "maybe_done"),
        [
            (CUT, True),
            (error(500), True),
            (error(503), True),
            (error(408), True),
            (reply([]), True),
            (reply(b"", 204), True),
            (error(400), False),
            (error(401), False),
            (error(409), False),
            (error(429), False),
            (reply(b"", 302), False),
        ],
    )
    async def test_doubt(self, answer: Reply, maybe_done: bool) -> None:
        """Whatever the failure, one attribute says whether the request may have taken effect."""
        full = {str(n): "" for n in range(16)}  # no room for the marker by which the run would be found
        async with Stub(*[answer] * 2) as stub, stub.session(max_retries=0) as session:
            for call in (
                session.threads.create(),
                session.runs.stream("thread_1", assistant_id="a", metadata=full).__aenter__(),
            ):
                error = await failure(call)
                assert isinstance(error, OpenAIRunsError)
                assert error.maybe_done is maybe_done
                assert pickle.loads(pickle.dumps(error)).maybe_done is maybe_done

    @pytest.mark.parametrize("answer", [CUT, error(500), error(408), reply([]), reply(b"<html>")])
    @pytest.mark.parametrize("max_retries", [0, 1])
    async def test_no_doubt(self, answer: Reply, max_retries: int) -> None:
        """A request that only reads leaves nothing in doubt, however it fails."""
        async with Stub(*[answer] * 2) as stub, stub.session(max_retries=max_retries) as session:
            error = await failure(session.threads.retrieve("thread_1"))
            assert isinstance(error, OpenAIRunsError)
            assert not error.maybe_done

    async def test_silence(self) -> None:
        """A server that accepts the request and sends nothing times out."""
        async with Stub(NEVER, NEVER) as stub:
            with pytest.raises(TransportError, match=r"nothing came for 0\.3 s; nothing was changed$"):
                await retrieve(stub, timeout=0.3, max_retries=1)
            assert len(stub.requests) == 2
            await stub.disconnected()

    async def test_refused(self) -> None:
        """A refused connection took no effect, so a POST is repeated as well."""
        async with Stub() as stub:
            pass
        async with stub.session(max_retries=1) as session:
            with pytest.raises(TransportError, match=r"Cannot connect to host 127\.0\.0\.1:\d+ \[") as caught:
                await session.threads.create()
        assert not caught.value.maybe_done
        assert str(caught.value).endswith("; nothing was changed. Is the server running, and is this its URL?")
        for again in (pickle.loads(pickle.dumps(caught.value)), copy.deepcopy(caught.value)):
            assert (str(again), again.maybe_done) == (str(caught.value), False)

    async def test_no_such_host(self) -> None:
        """A name that does not resolve is a TransportError like the others."""
        async with Session("http://does-not-exist.invalid/v1", max_retries=0) as session:
            with pytest.raises(TransportError, match=r"does-not-exist\.invalid:80 \[.*this its URL\?$") as caught:
                await session.threads.create()
        assert not caught.value.maybe_done

    async def test_no_tls_where_some_was_expected(self) -> None:
        """A TLS failure is not transient, so it is not retried."""
        connections = []

        def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)
            writer.write(reply(b"", 400).data)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1")
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, Session(url) as session:
            with pytest.raises(TransportError, match=r"(?i)ssl") as caught:
                await session.threads.create()
        assert not caught.value.maybe_done
        assert "Is the server running" not in str(caught.value)  # it is
        assert len(connections) == 1

    async def test_nobody_listens_where_tls_was_expected(self) -> None:
        """Only there, the message speaks of TLS."""
        async with Stub() as stub:
            pass
        url = stub.url.replace("http:", "https:")
        async with Session(url, max_retries=0) as session:
            with pytest.raises(TransportError, match=r"ssl:default .*Is the server running"):
                await session.threads.create()


class TestCancellation:
    @pytest.mark.parametrize("answer", [NEVER, Reply(reply(RUN).data[:-5], "hang"), Reply(b"HTTP/1.1 200", "hang")])
    async def test_in_the_middle_of_a_request(self, answer: Reply) -> None:
        """A cancelled request leaves no connection behind, and the session still works."""
        async with Stub(answer, reply(RUN)) as stub, stub.session(max_connections=1) as session:
            task = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            await stub.requested(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await stub.disconnected()
            assert (await session.runs.retrieve(thread_id="thread_1", run_id="run_1")).id == RUN["id"]

    async def test_while_waiting_for_a_connection(self) -> None:
        """A request cancelled while it waits for a connection does not occupy one."""
        async with Stub(NEVER, reply(RUN)) as stub, stub.session(max_connections=1) as session:
            first = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            await stub.requested(1)
            second = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            third = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
            await anyio.lowlevel.checkpoint()
            second.cancel()
            first.cancel()
            assert (await third).id == RUN["id"]
            await asyncio.gather(first, second, return_exceptions=True)

    async def test_in_a_backoff(self) -> None:
        """The delay before a retry can be cancelled."""
        with stamina.set_testing(False):
            async with Stub(error(429, retry_after="100")) as stub, stub.session() as session:
                task = asyncio.create_task(session.runs.retrieve(thread_id="thread_1", run_id="run_1"))
                await stub.requested(1)
                await anyio.wait_all_tasks_blocked()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert len(stub.requests) == 1


class TestProxies:
    @pytest.fixture(autouse=True)
    def no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)

    @pytest.fixture
    async def proxy(self, anyio_backend: str) -> AsyncIterator[Stub]:
        async with Stub(lambda _: reply(RUN)) as stub:
            yield stub

    async def ask(self, url: str) -> None:
        async with Session(url, KEY, max_retries=0) as session:
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")

    @pytest.mark.parametrize("scheme", ["http://", ""])
    async def test_the_environments(self, proxy: Stub, monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
        """HTTP_PROXY is used, with its password, which is sent to the proxy only."""
        monkeypatch.setenv("HTTP_PROXY", f"{scheme}user:pass-word@127.0.0.1:{proxy.port}")
        await self.ask("http://endpoint.invalid/v1")
        (request,) = proxy.requests
        assert request.target == "http://endpoint.invalid/v1/threads/thread_1/runs/run_1"
        assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYXNzLXdvcmQ="

    async def test_not_for_these(self, proxy: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
        """NO_PROXY is respected, and this machine's own servers are reached directly."""
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "example.com,.invalid")
        with pytest.raises(TransportError):
            await self.ask("http://endpoint.invalid/v1")
        async with Stub(reply(RUN), reply(RUN)) as stub:
            await self.ask(stub.url)
            await self.ask(stub.url.replace("127.0.0.1", "localhost"))
            assert len(stub.requests) == 2
        assert proxy.requests == []

    async def test_a_proxy_that_refuses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tunnel that the proxy refuses: nothing was done, and the error hides the password."""
        async with Stub(reply(b"", 407)) as stub:
            monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass-word@127.0.0.1:{stub.port}")
            with pytest.raises(TransportError) as caught:
                await self.ask("https://endpoint.invalid/v1")
        assert not caught.value.maybe_done
        assert stub.requests[0].method == "CONNECT"
        assert "pass-word" not in shown(caught.value)

    async def test_a_tunnel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy that makes a tunnel is told where to, and no header of the requests that go through it."""
        async with Stub(lambda _: reply(b"", 407)) as stub:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{stub.port}")
            with pytest.raises(TransportError):
                await self.ask("https://endpoint.invalid/v1")
        (connect,) = stub.requests
        assert connect.target == "endpoint.invalid:443"
        assert connect.headers.keys() <= {"host", "accept", "accept-encoding", "user-agent"}

    async def test_a_proxy_that_echoes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy's own error page may show its password, which is hidden."""
        async with Stub(lambda request: reply(request.raw, 502)) as stub:
            monkeypatch.setenv("HTTP_PROXY", f"http://user:pass-word@127.0.0.1:{stub.port}")
            with pytest.raises(ServerError) as caught:
                await self.ask("http://endpoint.invalid/v1")
        assert "Proxy-Authorization: " in caught.value.body
        assert "dXNlcjpwYXNzLXdvcmQ=" not in shown(caught.value)

    async def test_not_http(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxies other than HTTP ones are refused."""
        monkeypatch.setenv("HTTP_PROXY", "socks5://user:pass-word@127.0.0.1:1")
        with pytest.raises(
            ValueError, match=r"only http:// proxies are supported: the environment has one with socks5://$"
        ):
            await self.ask("http://endpoint.invalid/v1")

    async def test_a_proxy_that_is_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the proxy, without its password."""
        async with Stub() as stub:
            pass
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pass-word@127.0.0.1:{stub.port}")
        with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{stub.port}") as caught:
            await self.ask("http://endpoint.invalid/v1")
        assert "Is the server running" not in str(caught.value)  # nobody knows: it is the proxy that is down
        assert not caught.value.maybe_done
        assert "pass-word" not in shown(caught.value)


def test_addresses_are_values() -> None:
    """URLs are made without a connection."""
    options = {"headers": {}, "query": {}, "timeout": 1.0, "max_retries": 0, "max_connections": 1}
    endpoint = Transport("http://host/", None, **options)
    url = endpoint.url("/threads/{thread_id}", thread_id="a b")
    assert url == URL("http://host/threads/a%20b", encoded=True)
    assert str(endpoint.below(url, "runs")) == "http://host/threads/a%20b/runs"


class TestTurns:
    """What is sent while the endpoint has limits; `tests/pacing/` has the limits themselves."""

    @pytest.fixture
    def taken(self, monkeypatch: pytest.MonkeyPatch) -> list[Turn]:
        """The turns that are taken."""
        taken, take = [], Turns.take

        async def recorded(turns: Turns, turn: Turn) -> Taken:
            taken.append(turn)
            return await take(turns, turn)

        monkeypatch.setattr(Turns, "take", recorded)
        return taken

    async def test_without_limits(self, taken: list[Turn]) -> None:
        """A session whose endpoint has no limits takes no turns."""
        async with Stub(reply(RUN)) as stub:
            await retrieve(stub)
        assert taken == []

    async def test_limits_in_headers(self, taken: list[Turn]) -> None:
        """Once a response has said that there are limits, every attempt takes a turn."""
        limited = reply(THREAD, x_ratelimit_limit_requests="60000", x_ratelimit_remaining_requests="100")
        replies = limited, error(500), reply(RUN), reply(RUN), reply(THREAD)
        async with Stub(*replies) as stub, stub.session() as session:
            await session.threads.create()
            await session.runs.retrieve(thread_id="thread_1", run_id="run_1")
            await session.runs.cancel(thread_id="thread_1", run_id="run_1")
            await session.threads.update("thread_1", metadata={})
        assert taken == [Turn.READ, Turn.READ, Turn.CONTINUE, Turn.BEGIN]

    async def test_a_refusal_concerns_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A 429 response is noted for the whole session, with the seconds that it asks to wait; others are not."""
        refusals: list[float | None] = []
        monkeypatch.setattr(Pace, "note_refusal", lambda pace, sent_at, asked, now: refusals.append(asked))
        replies = error(429, retry_after="7"), error(503, retry_after="9"), error(429), reply(RUN)
        async with Stub(*replies) as stub:
            await retrieve(stub, max_retries=3)
        assert refusals == [7.0, None]

    async def test_what_was_not_sent_does_not_count(self, taken: list[Turn]) -> None:
        """A request that certainly was not sent gives its turn back, so that the next one does not wait."""
        async with Stub() as stub:
            session = stub.session(rate_limits=RateLimits(requests_per_minute=1), max_retries=0)
        async with session:
            for _ in range(3):
                with pytest.raises(TransportError):
                    await session.threads.create()
        assert taken == [Turn.BEGIN] * 3

    async def test_unreachable_without_limits(self) -> None:
        """Without limits there is nothing to give back."""
        async with Stub() as stub:
            session = stub.session(max_retries=0)
        async with session:
            with pytest.raises(TransportError):
                await session.threads.create()
