"""`run_batch`: one result per job, at most `workers` runs at once, and nothing left behind when it is left early."""

import asyncio
import contextlib
import json
import logging
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import load
from openai_runs.backends.model_backend import ModelRequest
from openai_runs.backends.scripted import Fail, Say, ScriptedBackend, Turn, Wait
from openai_runs.batch import Batch, BatchResult, JobRetries, RunJob, run_batch
from openai_runs.batch.attempt import OpenJob
from openai_runs.errors import (
    BadRequestError,
    NotFoundError,
    RateLimitError,
    RunActionRequiredError,
    RunDeadlineError,
    RunFailedError,
    RunIncompleteError,
    ServerError,
    ToolError,
    TransportError,
)
from openai_runs.following.polling import Polling
from openai_runs.models.run import Run
from openai_runs.pacing.sending import told
from openai_runs.server import LocalServer
from openai_runs.services.runs import MARKER
from openai_runs.session import Session
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.toolbox import Toolbox
from tests.proxy import Instead, Proxy
from tests.samples import EXAMPLES
from tests.serving import serving
from tests.stub import NEVER, Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)
#: A run for each job and no other requests, as doubles of a session have it.
ONCE: Any = {"retries": None, "fetch_messages": False}
RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())


def behave(request: ModelRequest) -> Turn:
    """A model that acts on the run's instructions."""
    match request.instructions:
        case "fail":
            return Fail()
        case "wait":
            return Wait()
    return Say("Done.")


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[LocalServer]:
    async with LocalServer(backend=ScriptedBackend(behave)) as server:
        yield server


@pytest.fixture
async def session(server: LocalServer) -> AsyncIterator[Session]:
    async with server.session() as session:
        yield session


@pytest.fixture
async def assistant_id(session: Session) -> str:
    return (await session.assistants.create(model="scripted", instructions="say")).id


class Odd(BaseException):
    """Neither an `Exception` nor an end of the process."""


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


async def collect(batch: Batch) -> list[BatchResult]:
    return sorted([result async for result in batch], key=lambda result: result.index)


class TestResults:
    @pytest.mark.parametrize("count", [0, 1, 25])
    async def test_one_a_job(self, session: Session, assistant_id: str, count: int) -> None:
        """Each job has its result, with its position in the source."""
        jobs: list[RunJob] = [{"assistant_id": assistant_id, "metadata": {"n": str(n)}} for n in range(count)]
        async with run_batch(session, jobs, workers=4, polling=QUICK) as batch:
            results = await collect(batch)
        assert [result.index for result in results] == list(range(count))
        assert all(result.ok for result in results)
        assert [result.job for result in results] == jobs
        assert [result.run.metadata["n"] for result in results] == [str(n) for n in range(count)]
        assert (batch.started, batch.finished, batch.left) == (count, count, ())

    async def test_where_jobs_run(self, session: Session, assistant_id: str) -> None:
        """A job runs on the thread that it names, or on a new one with the given messages."""
        thread = await session.threads.create()
        jobs: list[RunJob] = [
            {"assistant_id": assistant_id, "thread_id": thread.id, "additional_instructions": "Be kind."},
            {"assistant_id": assistant_id, "thread": {"messages": [{"role": "user", "content": "hi"}]}},
        ]
        async with run_batch(session, jobs, workers=1, polling=QUICK) as batch:
            on_it, on_new = await collect(batch)
        assert on_it.run.thread_id == thread.id
        texts = [message.text async for message in session.messages.list(on_new.run.thread_id, order="asc")]
        assert texts == ["hi", "Done."]

    async def test_tools(self, session: Session) -> None:
        """Tool calls are answered by the toolbox; without one, a run with tool calls gives a result with an error."""
        toolbox = Toolbox()

        @toolbox.tool
        async def get_weather() -> str:
            return "sunny"

        async with LocalServer() as server, server.session() as session:
            assistant = await session.assistants.create(model="scripted", tools=toolbox.tools)
            jobs: list[RunJob] = [{"assistant_id": assistant.id}] * 3
            async with run_batch(session, jobs, toolbox=toolbox, polling=QUICK) as batch:
                assert [result.ok for result in await collect(batch)] == [True] * 3
            async with run_batch(session, jobs, polling=QUICK) as batch:
                for result in await collect(batch):
                    assert isinstance(result.error, RunActionRequiredError)
                    assert result.run.status == "requires_action"

            failing = Toolbox(on_error="raise")

            @failing.tool(name="get_weather")
            async def fail() -> str:
                raise LookupError

            async with run_batch(session, jobs, toolbox=failing, polling=QUICK) as batch:
                for result in await collect(batch):
                    assert isinstance(result.error, ToolError)
                    assert result.run is not None

    async def test_bad_ones(self, session: Session, assistant_id: str) -> None:
        """A job with wrong parameters, a refused request and a failed run each give a result with an error."""
        jobs: list[Any] = [
            {"assistant_id": assistant_id},
            {"assistant_id": assistant_id, "instructions": "fail"},
            {"assistant_id": "asst_none"},
            {"assistant_id": assistant_id, "temperature": 3},
            {"assistant_id": assistant_id, "thread_id": ".."},
            {"assistant_id": assistant_id, "thread_id": "thread_none"},
            {"assistant_id": assistant_id, "thread_id": None},
            {"assistant": assistant_id},
            {},
            None,
            {"assistant_id": assistant_id, "instructions": object()},
            {
                "assistant_id": assistant_id,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": object()}}],
            },
            {"assistant_id": assistant_id, "tools": [{"type": "teleport"}]},
            {"assistant_id": assistant_id, "max_completion_tokens": 256, "instructions": "x"},
            {"assistant_id": assistant_id, "instructions": "wait"},
        ]
        async with run_batch(session, jobs, workers=3, deadline=0.7, polling=QUICK, retries=None) as batch:
            results = await collect(batch)
        assert [type(result.error) for result in results] == [
            type(None),
            RunFailedError,
            NotFoundError,
            ValueError,
            ValueError,
            NotFoundError,
            TypeError,
            TypeError,
            TypeError,
            TypeError,
            TypeError,
            TypeError,
            BadRequestError,
            type(None),
            RunDeadlineError,
        ]
        assert [result.ok for result in results] == [result.error is None for result in results]
        assert results[1].run.status == "failed"
        assert results[2].run is None
        assert results[-1].run.status == "in_progress"

    async def test_results_cross_processes(self, session: Session, assistant_id: str) -> None:
        """A result with its run and its error can be pickled."""
        jobs: list[RunJob] = [
            {"assistant_id": assistant_id},
            {"assistant_id": assistant_id, "instructions": "fail"},
            {"assistant_id": "asst_none"},
        ]
        async with run_batch(session, jobs, polling=QUICK, retries=None) as batch:
            for result in await collect(batch):
                again = pickle.loads(pickle.dumps(result))
                assert (again.index, again.job, again.run, str(again.error)) == (
                    result.index,
                    result.job,
                    result.run,
                    str(result.error),
                )

    @pytest.mark.usefixtures("keyless")
    async def test_an_outage(self, server: LocalServer, assistant_id: str) -> None:
        """A run that may have been started gives a result whose error says so; the other jobs continue."""
        async with Proxy(server.url) as proxy, proxy.session() as session:
            proxy.plan("POST", "/threads/runs", "lose answer")
            jobs: list[RunJob] = [{"assistant_id": assistant_id}] * 3
            async with run_batch(session, jobs, workers=1, polling=QUICK) as batch:
                results = await collect(batch)
        assert [result.ok for result in results] == [False, True, True]
        assert isinstance(results[0].error, TransportError)
        assert results[0].error.maybe_done

    async def test_a_closed_session(self, server: LocalServer) -> None:
        """A mistake of the program's is each job's result, too: the batch goes on."""
        async with server.session() as session:
            pass
        jobs: list[RunJob] = [{"assistant_id": "a"}] * 5
        async with run_batch(session, jobs, workers=2) as batch:
            results = await collect(batch)
        assert [type(result.error) for result in results] == [RuntimeError] * 5
        assert all("this Session is closed" in str(result.error) for result in results)

    @pytest.mark.parametrize("raised_by", ["api_key", "start", "following"])
    @pytest.mark.parametrize(
        "failure",
        [
            ZeroDivisionError("odd"),
            UnreadableError(),
            KeyError(0),
            asyncio.CancelledError(),
            GeneratorExit(),
            Odd("odd"),
        ],
        ids=lambda failure: type(failure).__name__,
    )
    async def test_an_odd_failure(
        self, server: LocalServer, assistant_id: str, failure: BaseException, raised_by: str
    ) -> None:
        """Whatever is raised in one job, by whomever, is the error of that job; the others complete."""
        started = 0

        async def api_key() -> str:
            if raised_by == "api_key" and not batch.finished:
                raise failure
            return "key"

        class OddSession:
            """A session with a bug that shows once."""

            class threads:  # noqa: N801  # stands for an attribute of a session
                @staticmethod
                async def create_and_run(**params: Any) -> Run:
                    nonlocal started
                    started += 1
                    if raised_by == "start" and started == 1:
                        raise failure
                    return await session.threads.create_and_run(**params)

            class runs:  # noqa: N801  # stands for an attribute of a session
                @staticmethod
                async def complete(run: Run, **options: Any) -> Run:
                    if raised_by == "following" and started == 1:
                        raise failure
                    return await session.runs.complete(run, **options)

        jobs: list[RunJob] = [{"assistant_id": assistant_id}] * 3
        async with (
            Session(server.url, api_key) as session,
            run_batch(OddSession(), jobs, workers=1, polling=QUICK, **ONCE) as batch,  # type: ignore[arg-type]  # a double of a session
        ):
            first, *others = await collect(batch)
        assert isinstance(first.error, Exception)
        assert not first.ok
        assert failure in (first.error, first.error.__cause__)
        assert (first.run is None) == (raised_by != "following")
        assert [result.ok for result in others] == [True, True]

    async def test_a_leftover_cancellation(self, server: LocalServer, assistant_id: str) -> None:
        """A cancellation that the caller's `api_key` left in its task (Python 3.11, 3.12) fails that job at most."""

        async def fail() -> None:
            await anyio.lowlevel.checkpoint()
            raise LookupError

        async def api_key() -> str:
            if not batch.finished:
                with contextlib.suppress(ExceptionGroup):
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(fail())
            return "key"

        jobs: list[RunJob] = [{"assistant_id": assistant_id, "instructions": "wait"}, {"assistant_id": assistant_id}]
        async with (
            Session(server.url, api_key) as session,
            run_batch(session, jobs, workers=1, polling=QUICK, deadline=0.3) as batch,
        ):
            first, second = await collect(batch)
        assert first.error is not None
        assert second.ok

    async def test_a_job_with_a_key(self, session: Session, assistant_id: str) -> None:
        """A job with a key of its own that is run again, in another batch even, starts no second run."""
        thread = await session.threads.create()
        jobs: list[RunJob] = [
            {"assistant_id": assistant_id, "idempotency_key": "job-1"},
            {"assistant_id": assistant_id, "idempotency_key": "job-2", "thread_id": thread.id},
        ]
        found = []
        for _ in range(2):
            async with run_batch(session, jobs, polling=QUICK) as batch:
                found.append({(result.index, result.run and result.run.id) for result in await collect(batch)})
        assert found[0] == found[1]

    @pytest.mark.unmeasured
    async def test_a_killed_server(self, tmp_path: Path) -> None:
        """`kill -9` under a batch, and a restart: a result for each job, and a run for each result."""
        store = tmp_path / "runs.db"
        jobs: list[RunJob] = [{"assistant_id": "", "metadata": {"job": str(number)}} for number in range(60)]
        polling = Polling(first=0.01, longest=0.2, outage=60)
        with ExitStack() as servers, stamina.set_testing(False):
            url, process = servers.enter_context(serving(store, "--no-access-log"))
            async with Session(url, "key", max_retries=40) as session:
                assistant_id = (await session.assistants.create(model="scripted")).id
                for job in jobs:
                    job["assistant_id"] = assistant_id
                async with run_batch(session, jobs, workers=20, polling=polling) as batch:
                    results = []
                    async for result in batch:
                        results.append(result)
                        if len(results) == 15:
                            process.kill()
                            process.wait()
                            again = serving(store, "--no-access-log", "--port", str(urlsplit(url).port))
                            await anyio.to_thread.run_sync(servers.enter_context, again)
        assert [result.error for result in results] == [None] * len(jobs)
        async with SQLiteStore(store) as opened:
            stored = [record.value async for record in opened.everything(Run)]
        assert {run.id: run.metadata for run in stored} == {r.run.id: r.job["metadata"] for r in results if r.run}
        assert len(stored) == len(jobs)

    async def test_lost_while_followed(self) -> None:
        """If following fails, the result still has the run that was started."""
        started = reply(RUN | {"status": "queued"})
        async with Stub(started, error(500)) as stub, stub.session(max_retries=0) as session:
            jobs: list[RunJob] = [{"assistant_id": "a"}]
            async with run_batch(session, jobs, polling=Polling(first=0.001, outage=0), on_exit="leave") as batch:
                (result,) = await collect(batch)
        assert isinstance(result.error, ServerError)
        assert result.run.id == RUN["id"]


#: Tries a job once; an outage is borne for long, or not.
ONE_TRY: Any = {"polling": Polling(first=0.001, longest=0.01, outage=50), "retries": JobRetries(attempts=1)}
HASTY: Any = {"polling": Polling(first=0.001, longest=0.01, outage=0.05), "retries": JobRetries(attempts=1)}


class Looks(logging.Handler):
    """Waits until a batch has looked so often in vain whether its endpoint is back."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count
        self.done = anyio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.left -= "the batch starts no runs" in record.getMessage()
        if self.left <= 0:
            self.done.set()


@contextlib.contextmanager
def looks(count: int) -> Iterator[Looks]:
    logger, handler = logging.getLogger("openai_runs.following"), Looks(count)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)


class TestOutages:
    """While the endpoint is away, no job is used up."""

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("retries", [JobRetries(attempts=1), None])
    async def test_connections_are_refused(self, server: LocalServer, assistant_id: str, retries: Any) -> None:
        """Nothing more is taken from the source, the jobs that were tried are tried again, and no try counts."""
        jobs: list[RunJob] = [{"assistant_id": assistant_id}] * 20
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            proxy.go_down()
            with looks(5) as looked:
                async with run_batch(session, jobs, workers=4, **ONE_TRY | {"retries": retries}) as batch:
                    await looked.done.wait()
                    assert (batch.started, batch.finished, batch.progress.in_flight) == (4, 0, 0)
                    await proxy.come_back()
                    results = await collect(batch)
        assert [(result.error, result.attempts) for result in results] == [(None, 1)] * 20
        assert proxy.requests.count("POST /v1/threads/runs") == 20

    @pytest.mark.parametrize("status", [502, 503, 504])
    async def test_a_gateway_without_a_server(self, server: LocalServer, assistant_id: str, status: int) -> None:
        """Its answer is an outage, too; one request at a time asks whether it is over."""
        jobs: list[RunJob] = [{"assistant_id": assistant_id}] * 4
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            await session.assistants.list(limit=1).page()  # says that keys are honoured
            proxy.plan("POST", "/threads/runs", Instead(reply(b"<html>", status, content_type="text/html")))
            proxy.plan("GET", "/assistants", Instead(reply(b"<html>", status, content_type="text/html")), times=3)
            async with run_batch(session, jobs, workers=1, **ONE_TRY) as batch:
                results = await collect(batch)
        assert [result.error for result in results] == [None] * 4
        asked = [
            f"{verb} {path.rpartition('/')[2]}" for verb, _, path in (line.partition(" ") for line in proxy.requests)
        ]
        assert asked[1:7] == ["POST runs", *["GET assistants"] * 4, "POST runs"]

    async def test_longer_than_the_patience(self, server: LocalServer) -> None:
        """Then tries count again: each job has its result."""
        jobs: list[RunJob] = [{"assistant_id": "a"}] * 20
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            proxy.go_down()
            async with run_batch(session, jobs, workers=4, **HASTY) as batch:
                results = await collect(batch)
            await proxy.come_back()
        assert [type(result.error) for result in results] == [TransportError] * 20
        assert {result.attempts for result in results} == {1}

    async def test_it_is_over_before_the_patience_is(self, server: LocalServer, assistant_id: str) -> None:
        """A second outage is borne as long as the first was."""
        jobs: list[RunJob] = [{"assistant_id": assistant_id}] * 2
        async with (
            Proxy(server.url) as proxy,
            proxy.session(max_retries=0) as session,
            run_batch(session, jobs, workers=1, **ONE_TRY) as batch,
        ):
            for _ in jobs:
                proxy.plan("POST", "/threads/runs", Instead(error(503)))
                proxy.plan("GET", "/assistants", Instead(error(404)))  # whatever it says, it is back
                assert (await anext(batch)).ok

    async def test_only_one_job_is_refused(self, server: LocalServer, assistant_id: str) -> None:
        """A gateway that fails at one job is borne no longer than another one, and the other jobs go on."""
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            thread = await session.threads.create()
            jobs: list[RunJob] = [{"assistant_id": assistant_id, "thread_id": thread.id}]
            jobs += [{"assistant_id": assistant_id}] * 8
            proxy.plan("POST", f"/{thread.id}/runs", Instead(error(502)), times=1000)
            async with run_batch(session, jobs, workers=2, **HASTY) as batch:
                results = await collect(batch)
        assert [type(result.error) for result in results] == [ServerError, *[type(None)] * 8]

    async def test_the_answer_cannot_be_fetched(self, server: LocalServer, assistant_id: str) -> None:
        """It is fetched again when the endpoint is back, and its run is no other one."""
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            proxy.plan("GET", "/messages", Instead(error(503)), times=3)
            async with run_batch(session, [{"assistant_id": assistant_id}], **ONE_TRY) as batch:
                (result,) = await collect(batch)
        assert (result.error, result.text) == (None, "Done.")
        assert proxy.requests.count("POST /v1/threads/runs") == 1

    async def test_draining(self, server: LocalServer) -> None:
        """The batch is over at once, and the jobs that were never tried are left."""
        jobs: list[RunJob] = [{"assistant_id": "a"}] * 20
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            proxy.go_down()
            with looks(3) as looked:
                async with run_batch(session, jobs, workers=4, **ONE_TRY) as batch:
                    await looked.done.wait()
                    batch.drain()
                    assert await collect(batch) == []
            await proxy.come_back()
        assert [(left.attempts, left.error, left.run) for left in batch.left] == [(0, None, None)] * 4

    async def test_draining_with_a_start_in_doubt(self, server: LocalServer, assistant_id: str) -> None:
        """A job that may have a run has a result that says so."""
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            proxy.plan("POST", "/threads/runs", "lose answer")
            proxy.plan("GET", "/assistants", Instead(error(503)), times=1000)
            with looks(3) as looked:
                async with run_batch(session, [{"assistant_id": assistant_id}], **ONE_TRY) as batch:
                    await looked.done.wait()
                    batch.drain()
                    (result,) = await collect(batch)
        assert isinstance(result.error, TransportError)
        assert (result.error.maybe_done, result.attempts) == (True, 1)

    async def test_leaving(self, server: LocalServer) -> None:
        """A batch that waits for its endpoint can be left."""
        async with Proxy(server.url) as proxy, proxy.session(max_retries=0) as session:
            proxy.go_down()
            with looks(1) as looked:
                async with run_batch(session, [{"assistant_id": "a"}], **ONE_TRY) as batch:
                    await looked.done.wait()
            await proxy.come_back()
        assert [left.attempts for left in batch.left] == [0]

    async def test_code_of_the_callers(self, server: LocalServer) -> None:
        """What it raises while the endpoint is asked for becomes the jobs' results."""
        calls = 0

        async def api_key() -> str:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise Odd
            return "key"

        async with Proxy(server.url) as proxy, Session(proxy.url, api_key, max_retries=0) as session:
            proxy.plan("POST", "/threads/runs", Instead(error(503)))
            async with run_batch(session, [{"assistant_id": "a"}], **ONE_TRY) as batch:
                (result,) = await collect(batch)
        assert "Odd" in str(result.error)


class TestSources:
    """Any iterable can be the source; a job is taken from it only when a worker is free."""

    async def test_async(self, session: Session, assistant_id: str) -> None:
        async def jobs() -> AsyncIterator[RunJob]:
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
                yield {"assistant_id": assistant_id}

        async with run_batch(session, jobs(), workers=3, polling=QUICK) as batch:
            assert len(await collect(batch)) == 5

    async def test_lazy(self, session: Session, assistant_id: str) -> None:
        """No more jobs are taken than workers can run, so memory use does not grow."""
        taken = 0

        def jobs() -> Iterator[RunJob]:
            nonlocal taken
            for _ in range(60):
                taken += 1
                yield {"assistant_id": assistant_id}

        workers, seen = 4, 0
        async with run_batch(session, jobs(), workers=workers, polling=QUICK) as batch:
            async for result in batch:
                assert result.ok
                seen += 1
                for _ in range(20):  # whoever could do something has done it
                    await anyio.lowlevel.checkpoint()
                assert taken <= seen + workers
                assert len(batch.left) <= workers
                assert batch.started == taken
                assert batch.finished == seen
        assert seen == 60

    async def test_the_rest(self, session: Session, assistant_id: str) -> None:
        """A generator that the caller holds stays open when the batch is left: the rest of the jobs is still there."""

        async def numbered() -> AsyncIterator[RunJob]:
            for number in range(10):
                yield {"assistant_id": assistant_id, "key": str(number)}

        jobs = numbered()
        async with run_batch(session, jobs, workers=1, polling=QUICK) as batch:
            await anext(batch)
        started = batch.started
        async with run_batch(session, jobs, workers=1, polling=QUICK) as batch:
            keys = [result.key async for result in batch]
        assert keys == [str(number) for number in range(started, 10)]

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_one_that_raises(self, session: Session, assistant_id: str, asynchronous: bool) -> None:
        """If the source raises, jobs in progress finish first; then the iteration raises that error, each time."""

        def jobs() -> Iterator[RunJob]:
            for _ in range(3):
                yield {"assistant_id": assistant_id}
            raise LookupError("no more")

        async def async_jobs() -> AsyncIterator[RunJob]:
            for job in jobs():
                yield job

        results = []

        async def take(batch: Batch) -> None:
            async for result in batch:
                results.append(result)  # noqa: PERF401  # an error comes in between

        async with run_batch(session, async_jobs() if asynchronous else jobs(), workers=2, polling=QUICK) as batch:
            with pytest.raises(LookupError, match="no more"):
                await take(batch)
            with pytest.raises(LookupError, match="no more"):
                await anext(batch)
        assert [result.ok for result in results] == [True] * 3
        assert batch.left == ()

    async def test_its_error_out_of_the_block(self, session: Session, assistant_id: str) -> None:
        """The caller's own error is raised as it is, not in an exception group."""

        def jobs() -> Iterator[RunJob]:
            yield {"assistant_id": assistant_id}
            raise LookupError("no more")

        with pytest.raises(LookupError, match="no more"):
            async with run_batch(session, jobs(), polling=QUICK) as batch:
                await collect(batch)

    @pytest.mark.parametrize("asynchronous", [False, True])
    @pytest.mark.parametrize("kind", [asyncio.CancelledError, Odd])
    async def test_one_that_raises_anything(
        self, session: Session, assistant_id: str, kind: type[BaseException], asynchronous: bool
    ) -> None:
        """A source that merely raises a cancellation has failed: the batch does not end as if all jobs were done."""

        def jobs() -> Iterator[RunJob]:
            yield {"assistant_id": assistant_id}
            raise kind

        async def async_jobs() -> AsyncIterator[RunJob]:
            for job in jobs():
                yield job

        async with run_batch(session, async_jobs() if asynchronous else jobs(), workers=2, polling=QUICK) as batch:
            with pytest.raises(RuntimeError, match=f"the source of the jobs .*: {kind.__name__}") as caught:
                await collect(batch)
        assert isinstance(caught.value.__cause__, kind)
        assert batch.finished == 1

    async def test_the_cause_of_its_error(self, session: Session) -> None:
        def jobs() -> Iterator[RunJob]:
            raise LookupError("no more") from OSError("disk")
            yield {}

        async with run_batch(session, jobs()) as batch:
            with pytest.raises(LookupError) as caught:
                await collect(batch)
        assert isinstance(caught.value.__cause__, OSError)

    @pytest.mark.parametrize(
        ("jobs", "options", "error", "text"),
        [
            ([], {"workers": 0}, ValueError, "workers must be at least 1: got 0"),
            ([], {"workers": "8"}, TypeError, "workers must be a whole number: got '8'"),
            ([], {"deadline": -1}, ValueError, "deadline must be at least 0 seconds: got -1"),
            ([], {"workers": 4, "window": 3}, ValueError, "window must be at least 4: got 3"),
            ([], {"retries": 3}, TypeError, "retries must be a JobRetries or None: got 3"),
            ([], {"budget_tokens": 0}, ValueError, "budget_tokens must be at least 1: got 0"),
            ([], {"total": -1}, ValueError, "total must be at least 0: got -1"),
            ([], {"on_exit": "stop"}, ValueError, "on_exit must be 'cancel', 'leave' or 'drain': got 'stop'"),
            (None, {}, TypeError, "jobs must be an iterable or async iterable of RunJob: got None"),
            ({"assistant_id": "a"}, {}, TypeError, "jobs must be an iterable or async iterable of RunJob"),
        ],
    )
    async def test_wrong_arguments(
        self, session: Session, jobs: Any, options: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        """Wrong arguments are refused before a run is started."""
        with pytest.raises(error, match=text):
            async with run_batch(session, jobs, **options):
                pytest.fail("opened")


class TestDeadline:
    """A job's deadline counts from its start."""

    async def test_a_slow_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Following has what the start has left of the deadline; the error names the whole."""
        loop = asyncio.get_running_loop()
        time, left = loop.time, []

        class Runs:
            async def create(self, thread_id: str, **params: Any) -> Run:
                monkeypatch.setattr(loop, "time", lambda: time() + 30)
                return load(RUN | {"status": "queued"}, Run)

            async def complete(self, run: Run, *, deadline: float, **options: Any) -> Run:
                left.append(deadline)
                raise RunDeadlineError(f"did not end within the deadline of {deadline} s", run=run)

        class FakeSession:
            runs = Runs()

        jobs: list[RunJob] = [{"assistant_id": "a", "thread_id": "t"}]
        async with run_batch(FakeSession(), jobs, deadline=100, **ONCE) as batch:  # type: ignore[arg-type]  # a double of a session
            (result,) = await collect(batch)
        monkeypatch.setattr(loop, "time", time)
        assert 0 < left[0] <= 70
        assert isinstance(result.error, RunDeadlineError)
        assert str(result.error) == (
            f"run {RUN['id']} did not end within the deadline of 100 s, its start included; "
            "its latest status was queued"
        )

    @pytest.mark.parametrize("on_exit", ["cancel", "leave"])
    async def test_a_start_that_ends_after_it(self, on_exit: Any) -> None:
        """A start that takes longer than the deadline is waited for: the run is known, and can be cancelled."""
        run = RUN | {"status": "queued"}

        def answer(request: Request) -> Reply:
            return reply(run | {"status": "cancelled"} if request.path.endswith("/cancel") else run)

        async with (
            Stub(answer) as stub,
            stub.session() as session,
            run_batch(session, [{"assistant_id": "a"}], deadline=0, on_exit=on_exit) as batch,
        ):
            (result,) = await collect(batch)
        assert isinstance(result.error, RunDeadlineError)
        assert result.run.id == RUN["id"]
        paths = [request.path.rpartition("/")[2] for request in stub.requests]
        last_look = RUN["id"]
        assert paths == ["runs", last_look, *["cancel"] * (on_exit == "cancel")]

    async def test_a_start_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a response, the job fails at its deadline, and the error says that a run may have been started."""
        monkeypatch.setattr("openai_runs.batch.attempt._START_GRACE", 0.01)
        async with (
            Stub(NEVER) as stub,
            stub.session() as session,
            run_batch(session, [{"assistant_id": "a"}], deadline=0.02, retries=None) as batch,
        ):
            (result,) = await collect(batch)
        assert isinstance(result.error, TransportError)
        assert str(result.error).startswith("the run did not start within the deadline of 0.02 s")
        assert result.error.maybe_done


class TestMisuse:
    """What is used without `async with` says what to write."""

    @pytest.mark.parametrize("use", [aiter, iter, asyncio.wait_for], ids=["async for", "for", "await"])
    async def test_without_async_with(self, session: Session, use: Any) -> None:
        batch: Any = run_batch(session, [])
        text = r"write `async with run_batch\(session, jobs\) as results:`, and in it `async for result in results:`"
        with pytest.raises(TypeError, match=text):
            await use(batch, 1) if use is asyncio.wait_for else use(batch)

    async def test_wrong_arguments_at_once(self, session: Session) -> None:
        """Wrong arguments are refused by the call, before `async with`."""
        with pytest.raises(ValueError, match="workers must be at least 1: got 0"):
            run_batch(session, [], workers=0)


class TestOrder:
    async def test_of_the_source(self, session: Session, assistant_id: str) -> None:
        """With `ordered`, results come in the order of the source, and jobs still run side by side."""
        jobs: list[RunJob] = [{"assistant_id": assistant_id, "instructions": "wait"}]
        jobs += [{"assistant_id": assistant_id}] * 5
        async with run_batch(session, jobs, workers=2, deadline=0.5, polling=QUICK, ordered=True) as batch:
            results = [result async for result in batch]
        assert [result.index for result in results] == list(range(6))
        assert [result.ok for result in results] == [False] + [True] * 5

    async def test_a_full_window(self) -> None:
        """While the first job takes its time, no more jobs are taken than the window has room for."""
        stub = Stub(lambda request: reply(RUN | {"status": "queued" if b"slow" in request.body else "completed"}))
        jobs: list[RunJob] = [{"assistant_id": "slow"}, *([{"assistant_id": "a"}] * 20)]
        options: Any = {**ONCE, "polling": Polling(first=1000, longest=1000), "on_exit": "leave"}
        async with (
            stub,
            stub.session() as session,
            run_batch(session, jobs, workers=3, window=7, ordered=True, **options) as batch,
        ):
            while batch.progress.done < 6:  # there is no event
                await anyio.lowlevel.checkpoint()
            for _ in range(50):
                await anyio.lowlevel.checkpoint()
            assert batch.started == len(batch.left) == 7


class TestBudget:
    """Once the tokens of `budget_tokens` are used, no run is started; whatever was started has its result."""

    async def test_used_up(self) -> None:
        usage = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
        taken = 0

        def jobs() -> Iterator[RunJob]:
            nonlocal taken
            for _ in range(60):
                taken += 1
                yield {"assistant_id": "a"}

        async with (
            Stub(lambda request: reply(RUN | {"status": "completed", "usage": usage})) as stub,
            stub.session() as session,
            run_batch(session, jobs(), workers=2, budget_tokens=1000, **ONCE) as batch,
        ):
            results = [result async for result in batch]
        assert 10 <= len(results) == taken <= 12
        assert batch.stopped_by == "budget"
        assert batch.progress.tokens == 100 * len(results)
        assert batch.left == ()

    async def test_on_one_thread(self) -> None:
        """Jobs that were taken and wait for their thread are not started; a failed run is not followed by another."""
        usage = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
        failed = {"status": "failed", "usage": usage, "last_error": {"code": "server_error", "message": "m"}}
        jobs: list[RunJob] = [{"assistant_id": "a", "thread_id": "t", "key": str(number)} for number in range(5)]
        async with (
            Stub(lambda request: reply(RUN | failed)) as stub,
            stub.session() as session,
            run_batch(session, jobs, workers=2, budget_tokens=100) as batch,
        ):
            (result,) = [result async for result in batch]
        assert isinstance(result.error, RunFailedError)
        assert (result.key, result.attempts) == ("0", 1)
        assert [(left.key, left.attempts, left.started_at) for left in batch.left] == [
            (str(number), 0, None) for number in range(1, 5)
        ]

    async def test_not_used_up(self, session: Session, assistant_id: str) -> None:
        """A batch that ends within its budget was not stopped."""
        async with run_batch(session, [{"assistant_id": assistant_id}], budget_tokens=10**9, polling=QUICK) as batch:
            await collect(batch)
        assert batch.stopped_by is None


class TestDrain:
    """`drain` starts no more runs; the iteration yields what was started, and ends."""

    async def test_in_the_middle(self, session: Session, assistant_id: str) -> None:
        def jobs() -> Iterator[RunJob]:
            while True:
                yield {"assistant_id": assistant_id}

        async with run_batch(session, jobs(), workers=3, polling=QUICK) as batch:
            results = [await anext(batch) for _ in range(4)]
            batch.drain()
            batch.drain()
            results += [result async for result in batch]
            assert batch.stopped_by == "drain"
            assert batch.left == ()
        assert len(results) == batch.started <= 7
        assert all(result.ok for result in results)

    async def test_while_the_source_hangs(self, session: Session, assistant_id: str) -> None:
        """A source that has no more for now does not hold the end up; what it still gives is in `left`."""
        go_on = asyncio.Event()

        async def jobs() -> AsyncIterator[RunJob]:
            yield {"assistant_id": assistant_id}
            await go_on.wait()
            yield {"assistant_id": assistant_id, "key": "late"}
            await anyio.sleep_forever()

        async with run_batch(session, jobs(), polling=QUICK) as batch:
            assert (await anext(batch)).ok
            batch.drain()
            assert await anext(batch, None) is None
            go_on.set()
            while batch.started < 2:  # there is no event
                await anyio.lowlevel.checkpoint()
        assert [(left.key, left.attempts) for left in batch.left] == [("late", 0)]

    async def test_while_one_waits_to_be_repeated(self) -> None:
        """A job that waits for its next attempt has the latest one's result."""
        async with (
            Stub(lambda request: error(429)) as stub,
            stub.session(max_retries=0) as session,
            run_batch(session, [{"assistant_id": "a"}], retries=JobRetries(first=1000, longest=1000)) as batch,
        ):
            while not batch.progress.waiting or not stub.requests:  # there is no event
                await anyio.lowlevel.checkpoint()
            assert batch.left[0].attempts == 1
            batch.drain()
            (result,) = [result async for result in batch]
        assert isinstance(result.error, RateLimitError)
        assert result.ended_at is not None
        assert (batch.progress.done, batch.progress.failed) == (1, 1)

    async def test_with_nothing_to_do(self, session: Session) -> None:
        """Draining a batch that has ended changes nothing."""
        async with run_batch(session, []) as batch:
            await collect(batch)
            batch.drain()
        assert batch.stopped_by is None

    @pytest.mark.parametrize("way", ["break", "error"])
    async def test_on_exit(
        self, session: Session, assistant_id: str, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With `on_exit="drain"`, runs in progress are followed to their ends, and their results are in `left`."""

        async def use() -> None:
            async with run_batch(session, jobs(), workers=3, polling=QUICK, on_exit="drain") as batch:
                batches.append(batch)
                await anext(batch)
                if way == "error":
                    raise ZeroDivisionError

        def jobs() -> Iterator[RunJob]:
            while True:
                yield {"assistant_id": assistant_id}

        batches: list[Batch] = []
        if way == "error":
            with pytest.raises(ZeroDivisionError):
                await use()
        else:
            await use()
        (batch,) = batches
        assert batch.left
        assert all(left.ok and left.text == "Done." for left in batch.left)
        assert len(batch.left) + 1 == batch.started
        assert f"left early: {len(batch.left)} of {batch.started} results were not read" in caplog.text

    @pytest.mark.parametrize("way", ["before", "during", "exit"])
    async def test_on_exit_that_is_cancelled(self, session: Session, assistant_id: str, way: str) -> None:
        """Cancellation gets out, and the end of the process does; then the runs in progress are cancelled."""
        batches: list[Batch] = []
        in_progress = asyncio.Event()

        async def use() -> None:
            job: RunJob = {"assistant_id": assistant_id, "instructions": "wait"}
            async with run_batch(session, [job], polling=QUICK, on_exit="drain") as batch:
                batches.append(batch)
                while not batch.left or batch.left[0].run is None:  # there is no event
                    await anyio.lowlevel.checkpoint()
                in_progress.set()
                if way == "exit":
                    raise SystemExit(3)
                if way == "before":
                    await anyio.sleep_forever()

        if way == "exit":
            with pytest.raises(SystemExit):
                await use()
        else:
            task = asyncio.create_task(use())
            await in_progress.wait()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        (left,) = batches[0].left
        assert (await session.runs.retrieve(left.run)).status in ("cancelling", "cancelled")


class TestProgress:
    async def test_counts(self, session: Session, assistant_id: str) -> None:
        """What was taken has ended, runs, or waits; tokens are those of the results."""
        thread = await session.threads.create()
        jobs: list[RunJob] = [
            {"assistant_id": assistant_id},
            {"assistant_id": "asst_none"},
            {"assistant_id": assistant_id, "thread_id": thread.id},
            {"assistant_id": assistant_id, "thread_id": thread.id},
        ]
        async with run_batch(session, jobs, workers=4, polling=QUICK) as batch:
            assert (batch.progress.total, batch.progress.done, batch.progress.seconds_left) == (4, 0, None)
            tokens = 0
            async for result in batch:
                tokens += result.usage.total_tokens if result.usage else 0
                now = batch.progress
                assert now.done + now.in_flight + now.waiting == now.taken
                assert now.tokens >= tokens
        now = batch.progress
        assert (now.taken, now.done, now.failed, now.in_flight, now.waiting) == (4, 4, 1, 0, 0)
        assert now.tokens == tokens > 0
        assert now.rate > 0
        assert now.seconds_left == 0

    @pytest.mark.parametrize(("total", "expected"), [(None, None), (7, 7)])
    async def test_total(self, session: Session, total: int | None, expected: int | None) -> None:
        """A source without a length has the total that the caller knows."""
        async with run_batch(session, iter([]), total=total) as batch:
            assert batch.progress.total == expected

    async def test_read_by_a_bar(self, session: Session, assistant_id: str) -> None:
        """Another thread may read it, as progress bars do."""
        async with run_batch(session, [{"assistant_id": assistant_id}], polling=QUICK) as batch:
            assert (await anyio.to_thread.run_sync(lambda: batch.progress)).total == 1
            await collect(batch)


class TestAtOnce:
    @given(
        count=st.integers(0, 12),
        workers=st.integers(1, 6),
        fails=st.sets(st.integers(0, 11)),
        slow=st.sampled_from([0, 1, 50]),
    )
    def test_bounded(self, count: int, workers: int, fails: set[int], slow: int) -> None:
        """n jobs give n results, with at most as many runs in progress as workers."""
        active = most = 0

        class Runs:
            async def create(self, thread_id: str, **params: Any) -> Run:
                nonlocal active, most
                active += 1
                most = max(most, active)
                await anyio.lowlevel.checkpoint()
                return load(RUN | {"id": thread_id}, Run)

            async def complete(self, run: Run, **options: Any) -> Run:
                nonlocal active
                for _ in range(slow):
                    await anyio.lowlevel.checkpoint()
                active -= 1
                if int(run.id) in fails:
                    raise RunIncompleteError("too long", run=run)
                return load(RUN | {"id": run.id, "status": "completed"}, Run)

        class FakeSession:
            runs = Runs()

        async def main() -> list[BatchResult]:
            jobs: list[Any] = [{"assistant_id": "a", "thread_id": str(n)} for n in range(count)]
            async with run_batch(FakeSession(), jobs, workers=workers, **ONCE) as batch:  # type: ignore[arg-type]  # a double of a session
                return await collect(batch)

        results = anyio.run(main)
        assert [result.index for result in results] == list(range(count))
        assert {result.index for result in results if not result.ok} == fails & set(range(count))
        assert most <= workers
        assert most == min(workers, count) or slow < 50


class TestLeaving:
    """However a batch is left early: no task or connection remains, `on_exit` holds, and `left` lists the rest."""

    async def active(self, session: Session, runs: list[Run | None]) -> list[str]:
        states = [await session.runs.retrieve(run) for run in runs if run is not None]
        for run in states:
            async for event in session.runs.follow(run, polling=QUICK, deadline=5):
                if event.status not in ("queued", "cancelling"):
                    break
        return [(await session.runs.retrieve(run)).status for run in states]

    def jobs(self, assistant_id: str) -> Iterator[RunJob]:
        yield {"assistant_id": assistant_id}
        while True:
            yield {"assistant_id": assistant_id, "instructions": "wait"}

    @pytest.mark.parametrize("on_exit", ["cancel", "leave"])
    @pytest.mark.parametrize("way", ["break", "error", "exit", "cancellation", "scope"])
    async def test_early(
        self, session: Session, assistant_id: str, way: str, on_exit: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        before = asyncio.all_tasks()
        batches: list[Batch] = []

        async def use() -> None:
            async with run_batch(session, self.jobs(assistant_id), workers=3, polling=QUICK, on_exit=on_exit) as batch:
                batches.append(batch)
                assert (await anext(batch)).index == 0
                while sum(begun.run is not None for begun in batch.left) < 3:  # there is no event
                    await anyio.lowlevel.checkpoint()
                match way:
                    case "error":
                        raise ZeroDivisionError
                    case "exit":
                        raise SystemExit(3)
                    case "cancellation":
                        asyncio.current_task().cancel()
                    case "scope":
                        scope.cancel()
                if way in ("cancellation", "scope"):
                    await anext(batch)

        with anyio.CancelScope() as scope:
            match way:
                case "error":
                    with pytest.raises(ZeroDivisionError):
                        await use()
                case "exit":
                    with pytest.raises(SystemExit):
                        await use()
                case "cancellation":
                    with pytest.raises(asyncio.CancelledError):
                        await asyncio.create_task(use())
                case _:
                    await use()
        (batch,) = batches
        assert sorted(begun.index for begun in batch.left) == [1, 2, 3]
        expected = "cancelled" if on_exit == "cancel" else "in_progress"
        assert await self.active(session, [begun.run for begun in batch.left]) == [expected] * 3
        assert not [task for task in asyncio.all_tasks() - before if "batch" in task.get_name()]
        assert "left early: 3 of 4 started jobs have no result" in caplog.text

    async def test_afterwards(self, session: Session, assistant_id: str) -> None:
        """Iterating outside of `async with` raises; the batch's attributes can still be read."""
        async with run_batch(session, [{"assistant_id": assistant_id}] * 3, workers=1, polling=QUICK) as batch:
            await anext(batch)
        with pytest.raises(RuntimeError, match="this batch is closed"):
            await anext(batch)
        assert repr(batch) == f"<Batch at {session}: 1 finished of {batch.started} started>"

    async def test_a_task_group_of_the_callers_that_fails(self, session: Session, assistant_id: str) -> None:
        """A failed TaskGroup's error is raised, although Python 3.11 leaves an uncounted cancellation behind."""

        async def fail() -> None:
            await anyio.lowlevel.checkpoint()
            raise LookupError("mine")

        async def program() -> None:
            async with run_batch(session, self.jobs(assistant_id), polling=QUICK), asyncio.TaskGroup() as tasks:
                tasks.create_task(fail())

        with pytest.raises(ExceptionGroup) as caught:
            await asyncio.create_task(program())
        assert caught.group_contains(LookupError, match="mine")

    async def test_at_once(self, session: Session, assistant_id: str) -> None:
        """A batch that is left at once ends without an error."""
        async with run_batch(session, self.jobs(assistant_id)):
            pass

    @pytest.mark.parametrize("on_exit", ["cancel", "leave"])
    @pytest.mark.parametrize("way", ["break", "scope"])
    async def test_no_start_afterwards(self, way: str, on_exit: Any) -> None:
        """Once a batch is left, no run is started: not by a worker that has just become free, nor by a new task."""
        started, is_left = 0, False

        class Threads:
            async def create_and_run(self, **params: Any) -> Run:
                nonlocal started
                sending = told.get()
                assert sending is not None
                await sending.begin()  # as a session does
                assert not is_left
                started += 1
                await anyio.lowlevel.checkpoint()
                return load(RUN | {"id": str(started), "status": "queued"}, Run)

        class Runs:
            async def complete(self, run: Run, **options: Any) -> Run:
                await go_on.wait()
                return load(RUN | {"id": run.id, "status": "completed"}, Run)

        class FakeSession:
            threads = Threads()
            runs = Runs()

        for ticks in range(12):  # wherever the workers are when it is left
            started, is_left, go_on = 0, False, anyio.Event()
            jobs: list[Any] = [{"assistant_id": "a"}] * 60
            with anyio.CancelScope() as scope:
                async with run_batch(FakeSession(), jobs, workers=8, on_exit=on_exit, **ONCE) as batch:  # type: ignore[arg-type]  # a double of a session
                    await anyio.wait_all_tasks_blocked()
                    go_on.set()
                    async for _ in batch:
                        for _ in range(ticks):
                            await asyncio.sleep(0)
                        is_left = True
                        if way == "scope":
                            scope.cancel()
                        break
            assert all(result.run is not None for result in batch.left if result.attempts)
            assert started == sum(result.attempts for result in batch.left) + batch.finished

    @pytest.mark.parametrize("on_exit", ["cancel", "leave"])
    async def test_while_runs_are_started(self, on_exit: Any) -> None:
        """On leaving, a run that is being started is waited for: its ID is known then, and `on_exit` applies."""
        run = RUN | {"status": "in_progress"}
        go_on = asyncio.Event()

        class Slow(Stub):
            async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await go_on.wait()
                await super()._serve(reader, writer)

        def answer(request: Request) -> Reply:
            return reply(run | {"status": "cancelled"} if request.path.endswith("/cancel") else run)

        async with (
            Slow(answer) as stub,
            stub.session() as session,
            anyio.create_task_group() as tasks,
            run_batch(session, [{"assistant_id": "a"}], on_exit=on_exit) as batch,
        ):
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(self.later, go_on)
        assert [begun.run.id for begun in batch.left] == [run["id"]]
        paths = [request.path.rpartition("/")[2] for request in stub.requests]
        assert paths == (["runs", "cancel"] if on_exit == "cancel" else ["runs"])

    async def later(self, event: asyncio.Event) -> None:
        await anyio.wait_all_tasks_blocked()
        event.set()

    async def test_while_a_start_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A start that takes too long is abandoned; its job is in `left`."""
        monkeypatch.setattr("openai_runs.batch.attempt._START_GRACE", 0.03)
        async with Stub(NEVER) as stub, stub.session() as session:
            async with run_batch(session, [{"assistant_id": "a"}]) as batch:
                await stub.requested(1)
            await stub.disconnected()
        assert [(begun.index, begun.run, begun.error) for begun in batch.left] == [(0, None, None)]

    @pytest.mark.parametrize(
        ("looks", "on_exit", "text"),
        [
            ([[], ["m"]], "cancel", ""),
            ([["m"]], "leave", ""),
            ([], "cancel", "was not found; it may be active"),
            ([error(403)], "cancel", "could not be cancelled: GET /v1/threads/thread_1/runs"),
        ],
    )
    async def test_a_start_that_arrives_late(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        looks: list[Any],
        on_exit: Any,
        text: str,
    ) -> None:
        """A run on a known thread whose start was abandoned is looked for until it is found, and cancelled."""
        # Seconds for the start, and then for the looks; of what is found, a busy machine may need more.
        monkeypatch.setattr("openai_runs.batch.attempt._START_GRACE", 0.1 if text else 1.0)
        monkeypatch.setattr("openai_runs.batch.attempt._LOOK_EVERY", 0.001)
        run = RUN | {"status": "queued", "metadata": {MARKER: "m"}}
        left = list(looks)

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return reply(run | {"status": "cancelling"}) if request.path.endswith("/cancel") else NEVER
            look = left.pop(0) if left else []
            return look if isinstance(look, Reply) else reply({"object": "list", "data": [run for _ in look]})

        jobs: list[RunJob] = [{"assistant_id": "a", "thread_id": "thread_1", "idempotency_key": "m"}]
        async with Stub(answer) as stub, stub.session() as session:
            async with run_batch(session, jobs, on_exit=on_exit):
                await stub.requested(1)
            cancels = [request for request in stub.requests if request.path.endswith("/cancel")]
        assert len(cancels) == (on_exit == "cancel" and not text)
        assert text in caplog.text
        assert ("start" in caplog.text.partition("left early")[0]) is bool(text)

    async def test_no_room_for_a_marker(self, session: Session, assistant_id: str) -> None:
        """A job's own metadata is kept as it is, whether or not there is room for the marker."""
        pairs = {str(n): "v" for n in range(16)}
        threads = [await session.threads.create() for _ in range(2)]
        jobs: list[RunJob] = [
            {"assistant_id": assistant_id, "thread_id": thread.id, "metadata": metadata}
            for thread, metadata in zip(threads, (pairs, {"a": "b"}), strict=True)
        ]
        async with run_batch(session, jobs, polling=QUICK) as batch:
            full, roomy = await collect(batch)
        assert full.run.metadata == pairs
        assert {name: value for name, value in roomy.run.metadata.items() if name != MARKER} == {"a": "b"}

    async def test_results_in_hand(self, session: Session, assistant_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Results that were ready and not read are in `left`."""
        ready, all_ready, run_job = 0, anyio.Event(), Batch._run

        async def run(batch: Batch, job: OpenJob) -> None:
            nonlocal ready
            await run_job(batch, job)
            ready += 1
            if ready == len(jobs):
                all_ready.set()

        monkeypatch.setattr(Batch, "_run", run)
        jobs: list[Any] = [
            {"assistant_id": assistant_id},
            {"assistant_id": "asst_none"},
            {"assistant_id": assistant_id},
        ]
        async with run_batch(session, jobs, workers=3, polling=QUICK) as batch:
            first = await anext(batch)
            await all_ready.wait()
            assert all(begun.ok or begun.error for begun in batch.left)
        left = sorted(batch.left, key=lambda begun: begun.index)
        assert {first.index, *(begun.index for begun in left)} == {0, 1, 2}
        assert [begun.ok for begun in left] == [begun.index != 1 for begun in left]

    async def test_a_source_that_hangs(self, session: Session, assistant_id: str) -> None:
        """Cancellation reaches the source, which can clean up."""
        ended = []

        async def jobs() -> AsyncIterator[RunJob]:
            try:
                yield {"assistant_id": assistant_id}
                await anyio.sleep_forever()
            finally:
                ended.append(True)

        async with run_batch(session, jobs(), workers=2, polling=QUICK) as batch:
            assert (await anext(batch)).ok
        assert ended == [True]
        assert batch.left == ()


async def test_quiet_when_all_went_well(session: Session, assistant_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """A batch that was read to its end logs nothing."""
    caplog.set_level(logging.WARNING, "openai_runs.batch")
    async with run_batch(session, [{"assistant_id": assistant_id}], polling=QUICK) as batch:
        await collect(batch)
    assert "openai_runs.batch" not in {record.name for record in caplog.records}


async def test_the_repr_of_a_batch_that_is_not_open(session):
    """It says how to open it, and has nothing of the jobs."""
    assert repr(run_batch(session, [{"assistant_id": "asst_secret"}])) == (
        "<batch, not open: use it in `async with run_batch(…) as batch`>"
    )
