"""`Attempts`: what one attempt of a job comes to: the run, the answer, the tokens, the keys."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Fail, Say, ScriptedBackend, Turn
from openai_runs.batch import BatchResult, JobRetries, RunJob, run_batch
from openai_runs.errors import RateLimitError, RunFailedError, ServerError, TransportError
from openai_runs.following.polling import Polling
from openai_runs.models.assistant import Assistant
from openai_runs.server import LocalServer
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from tests.proxy import Instead, Proxy
from tests.samples import EXAMPLES
from tests.stub import CUT, NEVER, Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01, outage=0)  # no patience: each attempt counts
AT_ONCE = JobRetries(first=0)
RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
MESSAGE = json.loads((EXAMPLES / "objects/MessageObject.json").read_text())


class Flaky:
    """A model that fails with the code in the run's instructions, ``code*times``, and answers then."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __call__(self, request: ModelRequest) -> Turn:
        code, _, times = (request.instructions or "").partition("*")
        self.calls[code] += 1
        if times and self.calls[code] <= int(times):
            return Fail(code)  # type: ignore[arg-type]  # one of the API's, as the test says
        return Say("Done.")


@pytest.fixture
def model() -> Flaky:
    return Flaky()


@pytest.fixture
async def server(anyio_backend: str, model: Flaky) -> AsyncIterator[LocalServer]:
    async with LocalServer(backend=ScriptedBackend(model)) as server:
        yield server


@pytest.fixture
async def session(server: LocalServer) -> AsyncIterator[Session]:
    async with server.session() as session:
        yield session


@pytest.fixture
async def assistant(session: Session) -> Assistant:
    return await session.assistants.create(model="scripted")


async def only(session: Session, job: Any, **options: Any) -> BatchResult:
    async with run_batch(session, [job], **{"polling": QUICK, "retries": AT_ONCE, **options}) as batch:
        (result,) = [result async for result in batch]
    return result


class TestResult:
    async def test_all_that_it_carries(self, session: Session, assistant: Assistant) -> None:
        """A result has the job's key, the answer, its messages, tokens, attempts and times."""
        began = datetime.now(UTC)
        thread = {"messages": [{"role": "user", "content": "hi"}]}
        result = await only(session, {"assistant_id": assistant.id, "key": "doc-1", "thread": thread})
        assert (result.key, result.text, result.attempts, result.error) == ("doc-1", "Done.", 1, None)
        assert [(message.role, message.text) for message in result.messages] == [("assistant", "Done.")]
        assert result.usage == result.run.usage
        assert result.usage.total_tokens > 0
        assert began <= result.started_at <= result.ended_at <= datetime.now(UTC)

    async def test_the_key_is_not_sent(self) -> None:
        """The job's key is the caller's own affair."""

        def answer(request: Request) -> Reply:
            return reply(RUN | {"status": "completed"}) if request.method == "POST" else reply({"data": []})

        async with Stub(answer) as stub, stub.session() as session:
            result = await only(session, {"assistant_id": "a", "key": "doc-1"})
        assert result.ok
        assert result.text == ""
        assert "key" not in stub.requests[0].json
        assert b"doc-1" not in stub.requests[0].raw

    @pytest.mark.parametrize("key", [7, None, ["doc"]])
    async def test_a_wrong_key(self, session: Session, assistant: Assistant, key: Any) -> None:
        """A key that is no string is that job's error, before anything is sent."""
        result = await only(session, {"assistant_id": assistant.id, "key": key})
        assert isinstance(result.error, TypeError)
        assert "the key of a job must be a string" in str(result.error)
        assert result.key is None

    async def test_without_messages(self) -> None:
        """The answer can be left out, which saves a request."""
        async with Stub(reply(RUN | {"status": "completed"})) as stub, stub.session() as session:
            result = await only(session, {"assistant_id": "a"}, fetch_messages=False)
        assert result.ok
        assert (result.text, result.messages) == (None, ())
        assert len(stub.requests) == 1

    async def test_one_request_for_the_answer(self) -> None:
        """The answer is one request, and only of a run that completed; other runs' messages do not belong to it."""
        own = MESSAGE | {"role": "assistant", "run_id": RUN["id"]}
        data = [own | {"role": "user", "run_id": None}, own | {"run_id": "run_other"}, own, own | {"run_id": None}]

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return reply(RUN | {"status": "failed" if b"fail" in request.body else "completed"})
            return reply({"data": data, "has_more": False})

        async with Stub(answer) as stub, stub.session() as session:
            result = await only(session, {"assistant_id": "a"})
            assert len(stub.requests) == 2
            assert f"run_id={RUN['id']}" in stub.requests[1].query
            bad = await only(session, {"assistant_id": "a", "instructions": "fail"})
            assert len(stub.requests) == 3
        text = "".join(part["text"]["value"] for part in MESSAGE["content"])
        assert result.text == f"{text}\n\n{text}"
        assert (bad.text, bad.messages) == (None, ())

    async def test_an_answer_that_cannot_be_fetched(self) -> None:
        """The run is in the result; only the answer is fetched again, and never another run started."""

        def answer(request: Request) -> Reply:
            return reply(RUN | {"status": "completed"}) if request.method == "POST" else error(500)

        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            result = await only(session, {"assistant_id": "a"}, retries=JobRetries(first=0, attempts=3))
        assert isinstance(result.error, ServerError)
        assert not result.ok
        assert result.run.status == "completed"
        assert result.usage == result.run.usage  # counted once
        assert result.attempts == 3
        assert [request.method for request in stub.requests] == ["POST", "GET", "GET", "GET"]

    async def test_an_answer_that_is_fetched_later(self) -> None:
        """A passing failure of the last request does not cost the job its success."""
        replies = [reply(RUN | {"status": "completed"}), error(500), reply({"data": [], "has_more": False})]
        async with Stub(*replies) as stub, stub.session(max_retries=0) as session:
            result = await only(session, {"assistant_id": "a"})
        assert result.ok
        assert result.attempts == 2


class TestRepetition:
    async def test_a_run_that_failed_for_a_while(self, session: Session, assistant: Assistant, model: Flaky) -> None:
        """It is followed by other runs until one completes; the result counts attempts, and the tokens of all."""
        result = await only(session, {"assistant_id": assistant.id, "instructions": "rate_limit_exceeded*2"})
        assert result.ok
        assert (result.attempts, model.calls["rate_limit_exceeded"]) == (3, 3)
        alone = await only(session, {"assistant_id": assistant.id, "instructions": "rate_limit_exceeded*0"})
        assert result.usage.total_tokens >= alone.usage.total_tokens

    async def test_a_run_that_fails_for_good(self, session: Session, assistant: Assistant, model: Flaky) -> None:
        """Where another run would fail alike, there is none."""
        result = await only(session, {"assistant_id": assistant.id, "instructions": "invalid_prompt*9"})
        assert isinstance(result.error, RunFailedError)
        assert (result.attempts, model.calls["invalid_prompt"]) == (1, 1)

    async def test_the_last_attempt(self, session: Session, assistant: Assistant, model: Flaky) -> None:
        """After the last attempt, its failure is the result."""
        result = await only(session, {"assistant_id": assistant.id, "instructions": "server_error*9"})
        assert isinstance(result.error, RunFailedError)
        assert (result.attempts, model.calls["server_error"]) == (4, 4)
        assert result.error.run == result.run

    @pytest.mark.parametrize("on_thread", [False, True])
    async def test_a_key_of_the_callers(
        self, session: Session, assistant: Assistant, model: Flaky, on_thread: bool
    ) -> None:
        """A second run has a key of its own, and the batch that is run again with the same keys gets the same runs."""
        job = {"assistant_id": assistant.id, "instructions": "server_error*1", "idempotency_key": "job-1"}
        if on_thread:
            job["thread_id"] = (await session.threads.create()).id
        first = await only(session, job)
        again = await only(session, job)
        assert first.ok
        assert first.run.id == again.run.id
        assert (first.attempts, again.attempts, model.calls["server_error"]) == (2, 2, 2)

    async def test_a_start_that_was_refused_for_a_while(self) -> None:
        """It is repeated with its key, after the delay that the server asks for."""
        replies = [error(429, retry_after_ms="1"), reply(RUN | {"status": "completed"})]
        async with Stub(*replies) as stub, stub.session(max_retries=0) as session:
            result = await only(session, {"assistant_id": "a"}, fetch_messages=False)
        assert result.ok
        assert result.attempts == 2
        keys = [request.headers["idempotency-key"] for request in stub.requests]
        assert keys[0] == keys[1]

    async def test_a_refusal_that_lasts(self) -> None:
        async with Stub(lambda request: error(429)) as stub, stub.session(max_retries=0) as session:
            result = await only(session, {"assistant_id": "a"}, retries=JobRetries(first=0, attempts=2))
        assert isinstance(result.error, RateLimitError)
        assert result.attempts == len(stub.requests) == 2

    async def test_a_start_in_doubt(self, server: LocalServer, assistant: Assistant) -> None:
        """Where keys are honoured, a start that may have had its effect is repeated, and starts no second run."""
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            await session.assistants.retrieve(assistant.id)  # from here on it is known that keys are honoured
            proxy.plan("POST", "/threads/runs", "lose answer")
            result = await only(session, {"assistant_id": assistant.id})
        assert result.ok
        assert result.attempts == 2


class TestADoubtBeforeAnyResponse:
    """A start in doubt, of which nobody knows yet whether its key is honoured: that is found out first."""

    async def test_a_new_thread(self, server: LocalServer, assistant: Assistant, session: Session) -> None:
        """Once the endpoint says that it honours keys, the start is repeated, and starts no second run."""
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as shaky:
            proxy.plan("POST", "/threads/runs", "lose answer")
            proxy.plan("GET", "/assistants", Instead(error(503)), times=2)
            result = await only(shaky, {"assistant_id": assistant.id})
        assert (result.error, result.attempts) == (None, 4)
        runs = [run async for run in session.runs.list(result.run.thread_id)]
        assert [run.id for run in runs] == [result.run.id]

    @pytest.mark.parametrize("honours_keys", [True, False])
    async def test_a_known_thread(self, session: Session, assistant: Assistant, honours_keys: bool) -> None:
        """A run that was started is found, whether or not the endpoint honours keys."""
        thread = await session.threads.create()
        async with (
            Proxy(session._transport.base_url, honours_keys=honours_keys) as proxy,
            proxy.session(max_retries=0) as shaky,
        ):
            proxy.plan("POST", "/runs", "lose answer")
            proxy.plan("GET", "/runs", Instead(error(503)))
            result = await only(shaky, {"assistant_id": assistant.id, "thread_id": thread.id})
        assert (result.error, result.attempts) == (None, 2)
        assert [run.id async for run in session.runs.list(thread.id)] == [result.run.id]

    async def test_keys_are_not_honoured(self, server: LocalServer, assistant: Assistant) -> None:
        """Then the start stays in doubt, and is not repeated."""
        async with Proxy(server.url, honours_keys=False) as proxy, proxy.session(max_retries=0) as shaky:
            proxy.plan("POST", "/threads/runs", "lose answer")
            result = await only(shaky, {"assistant_id": assistant.id})
        assert isinstance(result.error, TransportError)
        assert result.error.maybe_done
        assert result.attempts == 2
        assert proxy.requests == ["POST /v1/threads/runs", "GET /v1/assistants"]

    @pytest.mark.parametrize("deadline", [None, 0.05])
    async def test_nobody_responds(self, deadline: float | None) -> None:
        """The doubt is the result, with the reason why it was not settled; a look has as long as an attempt."""
        look = error(503) if deadline is None else NEVER
        async with Stub(lambda r: CUT if r.method == "POST" else look) as stub, stub.session(max_retries=0) as session:
            result = await only(session, {"assistant_id": "a"}, deadline=deadline)
        assert isinstance(result.error, TransportError)
        assert result.error.maybe_done
        assert result.attempts == 4
        (note,) = result.error.__notes__
        assert note.startswith("Looking whether its run was started failed as well: ")
        assert [request.method for request in stub.requests] == ["POST", "GET", "GET", "GET"]

    async def test_left_meanwhile(self) -> None:
        """If the batch is left while that is found out, the attempt was none."""
        async with Stub(lambda r: CUT if r.method == "POST" else NEVER) as stub, stub.session(max_retries=0) as session:
            async with run_batch(session, [{"assistant_id": "a"}], retries=AT_ONCE) as batch:
                await stub.requested(2)
            (left,) = batch.left
        assert left.attempts == 1
        assert isinstance(left.error, TransportError)

    async def test_refused_later(self) -> None:
        """What is refused after a start in doubt may have been started before."""
        replies = [CUT, reply({"object": "list", "data": []}, idempotency_key_supported="true"), *[error(429)] * 3]
        async with Stub(*replies) as stub, stub.session(max_retries=0) as session:
            result = await only(session, {"assistant_id": "a"})
        assert isinstance(result.error, RateLimitError)
        assert result.error.maybe_done
        assert "An earlier attempt may have taken effect" in result.error.__notes__[0]


class TestOneThread:
    async def test_jobs_on_one_thread(self, session: Session, assistant: Assistant) -> None:
        """They run one after another, in their order, and none fails on the thread's lock."""
        thread = await session.threads.create()
        jobs: list[RunJob] = [
            {
                "assistant_id": assistant.id,
                "thread_id": thread.id,
                "additional_messages": [{"role": "user", "content": str(number)}],
            }
            for number in range(6)
        ]
        async with run_batch(session, jobs, workers=4, polling=QUICK) as batch:
            results = [result async for result in batch]
        assert [result.error for result in results] == [None] * 6
        assert [result.index for result in results] == list(range(6))
        said = [message.text async for message in session.messages.list(thread.id, order="asc")]
        assert said == [text for number in range(6) for text in (str(number), "Done.")]


class TestEarlierRuns:
    """A run that an earlier batch has started is looked at before another one is paid."""

    @pytest.mark.parametrize("status", ["completed", "in_progress"])
    async def test_one_that_is_worth_following(self, status: str) -> None:
        """A completed one is the job's; one that is unfinished is followed to its end."""
        left = [status, "completed"]

        def answer(request: Request) -> Reply:
            if request.path.endswith("/messages"):
                return reply({"data": [MESSAGE | {"role": "assistant", "run_id": RUN["id"]}], "has_more": False})
            return reply(RUN | {"status": left.pop(0)})

        async with Stub(answer) as stub, stub.session() as session:
            result = await only(session, {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")})
        assert (result.ok, result.attempts, result.run.id) == (True, 1, RUN["id"])
        assert {request.method for request in stub.requests} == {"GET"}
        assert stub.requests[0].path == "/v1/threads/thread_1/runs/run_1"

    @pytest.mark.parametrize(
        "found", [reply(RUN | {"status": "failed"}), reply(RUN | {"status": "expired"}), error(404)]
    )
    async def test_one_that_is_not(self, found: Reply) -> None:
        """If it ended otherwise, or is not there, the job gets another run, whose key is another one, too."""
        job = {"assistant_id": "a", "earlier_run": ("thread_1", "run_1"), "idempotency_key": "mine"}
        async with Stub(found, reply(RUN | {"status": "completed"})) as stub, stub.session() as session:
            result = await only(session, job, fetch_messages=False)
        assert result.ok
        assert [request.method for request in stub.requests] == ["GET", "POST"]
        assert "earlier_run" not in stub.requests[1].json
        assert stub.requests[1].headers["idempotency-key"] == '"mine.attempt-2"'

    async def test_it_fails_while_it_is_followed(self) -> None:
        """Then it has become known what it comes to, and another run is started in its place."""
        failure = {"code": "server_error", "message": "no"}
        runs = [{"status": "queued"}, {"status": "failed", "last_error": failure}, {"status": "completed"}]
        job = {"assistant_id": "a", "earlier_run": ("thread_1", "run_1"), "idempotency_key": "mine"}
        async with Stub(*(reply(RUN | run) for run in runs)) as stub, stub.session() as session:
            result = await only(session, job, fetch_messages=False)
        assert (result.ok, result.attempts) == (True, 2)
        assert [request.method for request in stub.requests] == ["GET", "GET", "POST"]
        assert stub.requests[2].headers["idempotency-key"] == '"mine.attempt-2"'

    async def test_it_cannot_be_looked_at(self) -> None:
        """That is tried again like a start; then it is the job's error, and nothing is started."""
        job = {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")}
        async with Stub(lambda request: error(500)) as stub, stub.session(max_retries=0) as session:
            result = await only(session, job, retries=JobRetries(attempts=3, first=0))
        assert isinstance(result.error, ServerError)
        assert [request.method for request in stub.requests] == ["GET"] * 3

    @pytest.mark.parametrize("ids", ["run_1", ("run_1",), ("thread_1", 1), 7])
    async def test_wrong_ids(self, ids: Any) -> None:
        """They are the job's error, before anything is sent."""
        async with Stub() as stub, stub.session() as session:
            result = await only(session, {"assistant_id": "a", "earlier_run": ids})
        assert isinstance(result.error, TypeError)
        assert stub.requests == []

    async def test_leaving_meanwhile(self) -> None:
        """The job was not tried."""
        async with Stub(NEVER) as stub, stub.session() as session:
            async with run_batch(session, [{"assistant_id": "a", "earlier_run": ("thread_1", "run_1")}]) as batch:
                await stub.requested(1)
            (left,) = batch.left
        assert (left.attempts, left.error) == (0, None)


class TestAStartThatWasGivenUp:
    async def test_a_run_that_has_ended(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A run that is found when it has ended is not cancelled."""
        monkeypatch.setattr("openai_runs.batch.attempt._START_GRACE", 0.1)

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return NEVER
            return reply({"data": [RUN | {"status": "completed", "metadata": {MARKER: "m"}}]})

        jobs: list[RunJob] = [{"assistant_id": "a", "thread_id": "thread_1", "idempotency_key": "m"}]
        async with Stub(answer) as stub, stub.session() as session:
            async with run_batch(session, jobs):
                await stub.requested(1)
            assert [request.method for request in stub.requests] == ["POST", "GET"]
        assert "the run that was being started" not in caplog.text
