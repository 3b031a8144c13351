"""`JobRunner`: a job that is taken again, after whatever moment its worker died at, has one run and one result."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import anyio
import pytest

from openai_runs import JobRetries, Polling, Session, Toolbox
from openai_runs.backends.scripted import Fail, Say, ScriptedBackend, Wait
from openai_runs.batch.durable import starting
from openai_runs.batch.durable.job_runner import JobRunner
from openai_runs.batch.durable.job_table import JobTable
from openai_runs.batch.durable.options import WorkSettings
from openai_runs.batch.durable.outcomes import Outcome, load_outcome
from openai_runs.batch.durable.shared_limits import BucketTable, SharedPace
from openai_runs.batch.durable.starting import Start
from openai_runs.batch.endpoint_pause import EndpointPause
from openai_runs.errors import (
    BadRequestError,
    OpenAIRunsError,
    PermissionDeniedError,
    RunDeadlineError,
    RunFailedError,
    ServerError,
    ToolError,
    TransportError,
)
from openai_runs.models.run import Run
from openai_runs.server import LocalServer
from openai_runs.services.runs import MARKER
from tests.samples import EXAMPLES
from tests.stub import CUT, NEVER, Reply, Request, Stub, error, reply

pytestmark = pytest.mark.anyio

QUICK = Polling(first=0.001, longest=0.01)
NO_PATIENCE = Polling(first=0.001, outage=0.0)
RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
THREAD = json.loads((EXAMPLES / "objects/ThreadObject.json").read_text())


class Died(BaseException):
    """The worker is gone."""


class StoredSteps:
    """Stores outcomes of steps, as DBOS does; the worker dies once around each step of the name that is given."""

    def __init__(self) -> None:
        self.outcomes: dict[int, str] = {}
        self.dies: tuple[str, str] | None = None
        self.number = 0
        self.died: set[int] = set()
        self.is_ending = asyncio.Event()

    async def run(self, name: str, step: Callable[[], Awaitable[Any]], *, preemptible: bool = False) -> Any:
        self.number += 1
        if (stored := self.outcomes.get(self.number)) is None:
            self._die(name, "before")
            if preemptible:
                self.is_ending.set()
            outcome = json.dumps(await step())
            self._die(name, "after")
            stored = self.outcomes[self.number] = outcome
        return json.loads(stored)

    def _die(self, *moment: str) -> None:
        if self.dies == moment and self.number not in self.died:
            self.died.add(self.number)
            raise Died


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(lambda request: {"fail": Fail(), "wait": Wait()}.get(request.instructions or "", Say("Hi.")))


@pytest.fixture
async def assistant_id(session: Session) -> str:
    return (await session.assistants.create(model="scripted")).id


def add(table: JobTable, *jobs: dict[str, Any]) -> list[str]:
    """The workflows of jobs."""
    enqueued: list[tuple[str, int]] = []
    batch = table.begin_batch(None)
    threads = [job.get("thread_id") for job in jobs]
    table.add(batch, 0, [json.dumps(job) for job in jobs], threads, lambda _, workflows: enqueued.extend(workflows))
    return [workflow for workflow, _ in enqueued]


def outcome(table: JobTable, workflow: str, position: int = 0) -> Outcome:
    row = table.rows(workflow.rpartition("-")[0], [position])[position]
    return load_outcome(row)


def runner(session: Session, table: JobTable, /, pace: Any = None, **settings: Any) -> JobRunner:
    options = {"retries": JobRetries(attempts=1), "polling": QUICK, **settings}
    return JobRunner(session, table, WorkSettings(**options), pace or SharedPace(BucketTable(table.database), {}))


async def all_runs(server: LocalServer) -> list[Run]:
    return [record.value async for record in server.engine._ledger.store.everything(Run)]


MOMENTS = [(name, when) for name in ("thread", "create", "end") for when in ("before", "after")]


class TestDying:
    @pytest.mark.parametrize("moment", MOMENTS, ids="-".join)
    @pytest.mark.parametrize("honours_keys", [True, False], ids=["keys", "no keys"])
    async def test_at_any_moment(
        self,
        server: LocalServer,
        session: Session,
        table: JobTable,
        assistant_id: str,
        moment: tuple[str, str],
        honours_keys: bool,
        request: pytest.FixtureRequest,
    ):
        """Whoever takes the job over finds its run, whether or not the endpoint honours idempotency keys."""
        if not honours_keys:
            request.getfixturevalue("keyless")
        (workflow,) = add(table, {"assistant_id": assistant_id, "thread": {"messages": []}, "metadata": {"a": "b"}})
        steps = StoredSteps()
        steps.dies = moment
        with pytest.raises(Died):
            await runner(session, table).run(workflow, steps)
        steps.number, steps.dies = 0, None
        await runner(session, table).run(workflow, steps)
        (run,) = await all_runs(server)
        ended = outcome(table, workflow)
        assert ended.error is None
        assert ended.run is not None
        assert (ended.run.id, ended.run.status) == (run.id, "completed")

    @pytest.mark.parametrize("count", [1, 3])
    async def test_on_a_thread_of_the_callers(
        self, keyless: None, server: LocalServer, session: Session, table: JobTable, assistant_id: str, count: int
    ):
        """On a thread that has other runs, the job's is found by its marker; other jobs of the thread wait for it."""
        thread = await session.threads.create()
        other = await session.runs.create(thread.id, assistant_id=assistant_id)
        await session.runs.complete(other, polling=QUICK)
        (workflow,) = add(table, *[{"assistant_id": assistant_id, "thread_id": thread.id}] * count)
        steps = StoredSteps()
        steps.dies = ("create", "after")
        with pytest.raises(Died):
            await runner(session, table).run(workflow, steps)
        steps.number, steps.dies = 0, None
        await runner(session, table).run(workflow, steps)
        runs = await all_runs(server)
        assert len(runs) == count + 1
        recorded = [outcome(table, workflow, position).run for position in range(count)]
        assert {run.id for run in recorded if run is not None} == {run.id for run in runs} - {other.id}

    async def test_after_everything(self, session: Session, table: JobTable, assistant_id: str):
        """A workflow of which only the last word is missing sends no request."""
        (workflow,) = add(table, {"assistant_id": assistant_id})
        steps = StoredSteps()
        await runner(session, table).run(workflow, steps)
        before = outcome(table, workflow)
        steps.number = 0
        async with Session("http://127.0.0.1:9", max_retries=0) as nowhere:
            await runner(nowhere, table).run(workflow, steps)
        assert outcome(table, workflow) == before

    async def test_recorded_and_not_stored(self, session: Session, table: JobTable, assistant_id: str):
        """If only the table knows of the end, the run is not looked at again."""
        (workflow,) = add(table, {"assistant_id": assistant_id})
        steps = StoredSteps()
        steps.dies = ("end", "after")
        with pytest.raises(Died):
            await runner(session, table).run(workflow, steps)
        steps.number, steps.dies = 0, None
        async with Session("http://127.0.0.1:9", max_retries=0) as nowhere:
            await runner(nowhere, table).run(workflow, steps)
        assert outcome(table, workflow).error is None

    async def test_a_job_that_is_added_late(self, session: Session, table: JobTable, assistant_id: str):
        """A job that comes while its thread's workflow is about to end is run by it."""
        thread = await session.threads.create()
        job = {"assistant_id": assistant_id, "thread_id": thread.id}
        (workflow,) = add(table, job)
        batch = workflow.rpartition("-")[0]

        class LateTable(JobTable):
            def close_chain(self, workflow_id: str, after: int) -> bool:
                if self.progress(batch).added == 1:
                    table.add(batch, 1, [json.dumps(job)], [thread.id], lambda _, workflows: None)
                return super().close_chain(workflow_id, after)

        await runner(session, LateTable(table.database)).run(workflow, StoredSteps())
        assert table.progress(batch).completed == 2


class TestOutcomes:
    async def test_a_thread_with_resources(self, session: Session, table: JobTable, assistant_id: str):
        """What a job says about its thread is in the thread; `key` is the caller's and is not sent."""
        job = {
            "assistant_id": assistant_id,
            "key": "mine",
            "thread": {"messages": [{"role": "user", "content": "hi"}]},
            "tool_resources": {"code_interpreter": {"file_ids": []}},
        }
        (workflow,) = add(table, job)
        recorded = []
        jobs = runner(session, table)
        jobs.on_recorded = lambda: recorded.append(1)
        await jobs.run(workflow, StoredSteps())
        ended = outcome(table, workflow)
        assert ended.run is not None
        texts = [message.text async for message in session.messages.list(ended.run.thread_id, order="asc")]
        assert texts == ["hi", "Hi."]
        assert (await session.threads.retrieve(ended.run.thread_id)).tool_resources is not None
        assert recorded == [1]

    async def test_failures(self, session: Session, table: JobTable, assistant_id: str):
        """A run that fails, a refused run, a refused thread and wrong parameters are each the result of their job."""
        workflows = add(
            table,
            {"assistant_id": assistant_id, "instructions": "fail"},
            {"assistant_id": "asst_none"},
            {"assistant_id": assistant_id, "thread": {"messages": [{"role": "nobody", "content": ""}]}},
            {"assistant_id": assistant_id, "temprature": 1},
        )
        jobs = runner(session, table)
        for workflow in workflows:
            await jobs.run(workflow, StoredSteps())
        ended = [outcome(table, workflow, position) for position, workflow in enumerate(workflows)]
        assert isinstance(ended[0].error, RunFailedError)
        assert ended[0].run is not None
        assert ended[0].error.run == ended[0].run
        assert isinstance(ended[1].error, OpenAIRunsError)
        assert isinstance(ended[2].error, (BadRequestError, OpenAIRunsError))
        assert "temprature" in str(ended[3].error)
        assert [one.run is None for one in ended] == [False, True, True, True]

    async def test_a_tool_that_cancels(self, table: JobTable):
        """What is no `Exception` is an error of its job, and does not stop the worker."""

        async def api_key() -> str:
            raise asyncio.CancelledError

        (workflow,) = add(table, {"assistant_id": "a", "thread_id": "t"})
        async with Session("http://127.0.0.1:9", api_key) as session:
            await runner(session, table).run(workflow, StoredSteps())
        assert "the job was cancelled by code that it called: CancelledError" in str(outcome(table, workflow).error)

    async def test_a_tool_error(self, table: JobTable):
        """A tool's error is the job's; the snapshot of the run is kept with it."""
        toolbox = Toolbox(on_error="raise")

        @toolbox.tool
        async def book(city: str) -> str:
            raise ZeroDivisionError

        async with LocalServer() as server, server.session() as session:
            assistant = await session.assistants.create(model="scripted", tools=toolbox)
            (workflow,) = add(table, {"assistant_id": assistant.id})
            await runner(session, table, toolbox=toolbox).run(workflow, StoredSteps())
        ended = outcome(table, workflow)
        assert isinstance(ended.error, ToolError)
        assert ended.run is not None


async def test_limits(session: Session, table: JobTable, assistant_id: str):
    """A run waits for its turn before it is started, once, and each request for its own; what it used is charged."""
    told: list[object] = []

    class Pace:
        async def begin_run(self) -> None:
            told.append("run")

        async def end_run(self, tokens: int) -> None:
            told.append(tokens)

        async def give_back_run(self) -> None:
            told.append("no run")

        async def begin(self) -> None:
            told.append("request")

        def settle(self) -> None:
            """Nothing to note."""

    first, second = add(table, {"assistant_id": assistant_id}, {"assistant_id": "asst_none"})
    jobs = runner(session, table, pace=Pace())
    await jobs.run(first, StoredSteps())
    await jobs.run(second, StoredSteps())
    run = outcome(table, first).run
    assert run is not None
    assert run.usage is not None
    first_job = told[: told.index(run.usage.total_tokens) + 1]
    assert first_job[:3] == ["request", "run", "request"]  # the thread, and the run on it
    assert set(first_job[3:-2]) == {"request"}  # polls
    assert told[len(first_job) - 2 :] == ["request", run.usage.total_tokens, "request", "run", "request", "no run"]


async def test_messages_that_cannot_be_fetched(table: JobTable):
    """The run has completed; the job has not, and its error says why."""

    def answer(request: Request) -> Reply:
        if request.path.endswith("/messages"):
            return error(403)
        return reply(RUN | {"status": "completed"})

    (workflow,) = add(table, {"assistant_id": "a", "thread_id": "t"})
    async with Stub(answer) as stub, stub.session() as session:
        await runner(session, table).run(workflow, StoredSteps())
    ended = outcome(table, workflow)
    assert isinstance(ended.error, PermissionDeniedError)
    assert ended.run is not None
    assert ended.run.status == "completed"
    assert ended.messages is None


class TestRepeating:
    """A run that failed for a while is followed by another one, also if the worker dies meanwhile."""

    @pytest.fixture
    def backend(self) -> ScriptedBackend:
        failures = 2

        def fail_twice(_: object) -> Fail | Say:
            nonlocal failures
            failures -= 1
            return Fail("rate_limit_exceeded") if failures >= 0 else Say("Hi.")

        return ScriptedBackend(fail_twice)

    def jobs(self, session: Session, table: JobTable, attempts: int = 4) -> JobRunner:
        return runner(session, table, retries=JobRetries(attempts=attempts, first=0))

    @pytest.mark.parametrize("moment", [None, ("create", "after"), ("end", "after")], ids=str)
    @pytest.mark.parametrize("honours_keys", [True, False], ids=["keys", "no keys"])
    async def test_until_it_completes(
        self,
        server: LocalServer,
        session: Session,
        table: JobTable,
        assistant_id: str,
        moment: tuple[str, str] | None,
        honours_keys: bool,
        request: pytest.FixtureRequest,
    ):
        """Each try has one run with a key of its own; the tokens of all are counted."""
        if not honours_keys:
            request.getfixturevalue("keyless")
        (workflow,) = add(table, {"assistant_id": assistant_id, "idempotency_key": "mine"})
        steps = StoredSteps()
        steps.dies = moment
        for _ in range(3 if moment else 0):  # in each try
            with pytest.raises(Died):
                await self.jobs(session, table).run(workflow, steps)
            steps.number = 0
        await self.jobs(session, table).run(workflow, steps)
        runs = await all_runs(server)
        ended = outcome(table, workflow)
        assert ended.error is None
        assert ended.tries == 3
        assert sorted(run.status for run in runs) == ["completed", "failed", "failed"]
        assert {(run.metadata or {})[MARKER] for run in runs} == {"mine", "mine.attempt-2", "mine.attempt-3"}
        assert ended.usage is not None
        assert ended.usage.total_tokens == sum(run.usage.total_tokens for run in runs if run.usage)

    async def test_not_too_often(self, server: LocalServer, session: Session, table: JobTable, assistant_id: str):
        """After the last attempt, the latest failure is the result."""
        (workflow,) = add(table, {"assistant_id": assistant_id})
        await self.jobs(session, table, attempts=2).run(workflow, StoredSteps())
        ended = outcome(table, workflow)
        assert isinstance(ended.error, RunFailedError)
        assert (ended.tries, len(await all_runs(server))) == (2, 2)

    async def test_a_thread_that_is_refused(self, table: JobTable):
        """What was refused leaves no doubt, and is sent again."""
        left = [error(429), reply(THREAD)]

        def answer(request: Request) -> Reply:
            if request.path.endswith("/threads"):
                return left.pop(0)
            is_list = request.path.endswith("/messages")
            return reply({"object": "list", "data": []} if is_list else RUN | {"status": "completed"})

        (workflow,) = add(table, {"assistant_id": "a"})
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            jobs = runner(session, table, polling=NO_PATIENCE, retries=JobRetries(attempts=2, first=0))
            await jobs.run(workflow, StoredSteps())
        assert (outcome(table, workflow).error, outcome(table, workflow).tries) == (None, 2)


class TestOutages:
    async def test_it_passes(self, table: JobTable):
        """While the endpoint cannot be reached, starting is repeated; a run whose response was lost is found."""
        failed: set[str] = set()

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                if request.path not in failed:
                    failed.add(request.path)
                    return error(503)
                return reply(THREAD)
            if request.path.endswith("/messages"):
                return reply({"object": "list", "data": []})
            runs = [RUN] if len(failed) == 2 else []
            is_list = request.path.endswith("/runs")
            return reply({"object": "list", "data": runs} if is_list else RUN | {"status": "completed"})

        (workflow,) = add(table, {"assistant_id": "a"})
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            await runner(session, table).run(workflow, StoredSteps())
        assert outcome(table, workflow).error is None
        posts = [request.path.rpartition("/")[2] for request in stub.requests if request.method == "POST"]
        assert posts == ["threads", "threads", "runs"]

    async def test_a_run_that_cannot_be_looked_for(self, table: JobTable):
        """That it may have been started stays known, so that no other one is."""

        def answer(request: Request) -> Reply:
            if request.path.endswith("/assistants"):
                return reply({"object": "list", "data": []})
            if request.method == "GET":
                return error(503)
            return CUT if request.path.endswith("/runs") else reply(THREAD)

        (workflow,) = add(table, {"assistant_id": "a"})
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            patience = Polling(first=0.001, longest=0.001, outage=0.5)
            await runner(session, table, polling=patience, retries=JobRetries(first=0)).run(workflow, StoredSteps())
        ended = outcome(table, workflow)
        assert isinstance(ended.error, ServerError)
        assert ended.error.maybe_done
        assert [request.path for request in stub.requests if request.method == "POST"][1:] == [stub.requests[1].path]
        assert stub.requests[-1].method == "GET"

    async def test_an_earlier_run_that_cannot_be_looked_for(self, table: JobTable):
        """A worker that died may have started it: the job's error says so."""

        def answer(request: Request) -> Reply:
            if request.method == "GET":
                return error(503)
            return reply(RUN if request.path.endswith("/runs") else THREAD)

        (workflow,) = add(table, {"assistant_id": "a"})
        steps = StoredSteps()
        steps.dies = "create", "after"
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            with pytest.raises(Died):
                await runner(session, table).run(workflow, steps)
            steps.number = 0
            await runner(session, table, polling=NO_PATIENCE, retries=JobRetries(first=0)).run(workflow, steps)
        ended = outcome(table, workflow)
        assert isinstance(ended.error, ServerError)
        assert ended.error.maybe_done
        assert sum(request.path.endswith("/runs") for request in stub.requests if request.method == "POST") == 1

    async def test_all_pause(self, table: JobTable):
        """While one job's requests find the endpoint away, others are not begun; afterwards, each was tried once."""
        is_away = True

        def answer(request: Request) -> Reply:
            if is_away:
                return error(503)
            if request.method == "POST":
                return reply(RUN | {"status": "completed"} if request.path.endswith("/runs") else THREAD)
            return reply({"object": "list", "data": []})

        workflows = add(table, {"assistant_id": "a"}, {"assistant_id": "b"})
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            jobs = runner(session, table)
            first = asyncio.create_task(jobs.run(workflows[0], StoredSteps()))
            await stub.requested(3)
            second = asyncio.create_task(jobs.run(workflows[1], StoredSteps()))
            await stub.requested(8)
            batch = workflows[0].rpartition("-")[0]
            assert (table.progress(batch).running, table.progress(batch).waiting) == (1, 1)
            is_away = False
            await asyncio.gather(first, second)
        asked = [request.path.rpartition("/")[2] for request in stub.requests]
        assert set(asked[1:8]) == {"assistants"}
        for position in 0, 1:
            ended = outcome(table, workflows[0], position)
            assert (ended.error, ended.tries) == (None, 1)

    async def test_draining_meanwhile(self, table: JobTable):
        """A job that was not begun is not begun afterwards either."""
        is_away = True

        def answer(request: Request) -> Reply:
            if is_away:
                return error(503)
            if request.method == "POST":
                return reply(RUN | {"status": "completed"} if request.path.endswith("/runs") else THREAD)
            return reply({"object": "list", "data": []})

        workflows = add(table, {"assistant_id": "a"}, {"assistant_id": "b"})
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            jobs = runner(session, table)
            first = asyncio.create_task(jobs.run(workflows[0], StoredSteps()))
            await stub.requested(3)
            second = asyncio.create_task(jobs.run(workflows[1], StoredSteps()))
            drained = asyncio.create_task(jobs.drain())
            await stub.requested(8)
            is_away = False
            await drained
            await first
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
        progress = table.progress(workflows[0].rpartition("-")[0])
        assert (progress.completed, progress.waiting) == (1, 1)

    async def test_the_deadline_counts_anew(self, table: JobTable):
        """An outage takes nothing of the time that a run has from its start."""
        seen: list[float] = []

        def answer(request: Request) -> Reply:
            if request.path.endswith("/assistants"):
                seen.append(anyio.current_time())
                return error(503 if len(seen) < 3 else 404)
            if request.method == "GET":
                return reply({"object": "list", "data": []})
            return reply(RUN) if seen else error(503)

        (workflow,) = add(table, {"assistant_id": "a", "thread_id": "t"})
        job = table.take(workflow, -1)
        assert job is not None
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            settings = WorkSettings(deadline=3600.0, polling=QUICK)
            pace = SharedPace(BucketTable(table.database), {})
            start = Start(session, settings, pace, EndpointPause(session, QUICK, "jobs"), job, "t", 0)
            await start.run()
        assert start.ends_at >= seen[-1] + 3600.0

    async def test_it_does_not(self, table: JobTable):
        """An outage that is too long is the job's error."""
        (workflow,) = add(table, {"assistant_id": "a"})
        async with Stub(error(503)) as stub, stub.session(max_retries=0) as session:
            await runner(session, table, polling=NO_PATIENCE).run(workflow, StoredSteps())
        assert isinstance(outcome(table, workflow).error, ServerError)


class TestEarlierRuns:
    """A run that another batch has started is looked at before another one is paid."""

    @pytest.mark.parametrize("status", ["completed", "in_progress"])
    @pytest.mark.parametrize("moment", [None, ("earlier", "before"), ("earlier", "after"), ("end", "before")])
    async def test_one_that_is_worth_following(self, table: JobTable, status: str, moment: tuple[str, str] | None):
        """A completed one is the job's; one that is unfinished is followed, also by who takes the job over."""
        looks = 0

        def answer(request: Request) -> Reply:
            nonlocal looks
            if request.path.endswith("/messages"):
                return reply({"object": "list", "data": []})
            looks += 1
            return reply(RUN | {"status": status if looks < 3 else "completed"})

        (workflow,) = add(table, {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")})
        steps = StoredSteps()
        steps.dies = moment
        async with Stub(answer) as stub, stub.session() as session:
            if moment is not None:
                with pytest.raises(Died):
                    await runner(session, table).run(workflow, steps)
                steps.number = 0
            await runner(session, table).run(workflow, steps)
        ended = outcome(table, workflow)
        assert (ended.error, ended.tries, ended.run and ended.run.id) == (None, 1, RUN["id"])
        assert {request.method for request in stub.requests} == {"GET"}
        assert stub.requests[0].path == "/v1/threads/thread_1/runs/run_1"

    @pytest.mark.parametrize(
        "found", [reply(RUN | {"status": "failed"}), reply(RUN | {"status": "expired"}), error(404)]
    )
    async def test_one_that_is_not(self, table: JobTable, found: Reply):
        """If it ended otherwise, or is not there, the job gets another run, whose key is another one, too."""
        job = {"assistant_id": "a", "earlier_run": ("thread_1", "run_1"), "idempotency_key": "mine", "thread_id": "t"}
        (workflow,) = add(table, job)
        async with Stub(found, reply(RUN | {"status": "completed"})) as stub, stub.session() as session:
            await runner(session, table, fetch_messages=False).run(workflow, StoredSteps())
        assert (outcome(table, workflow).error, outcome(table, workflow).tries) == (None, 1)
        assert [request.path for request in stub.requests] == ["/v1/threads/thread_1/runs/run_1", "/v1/threads/t/runs"]
        assert "earlier_run" not in stub.requests[1].json
        assert stub.requests[1].headers["idempotency-key"] == '"mine.attempt-2"'

    async def test_limits(self, table: JobTable):
        """It was started under those of another batch, and its tokens change nothing about ours."""
        usage = {"prompt_tokens": 1, "completion_tokens": 500, "total_tokens": 501}
        (workflow,) = add(table, {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")})
        ended = reply(RUN | {"status": "completed", "usage": usage})
        pace = mock.create_autospec(SharedPace, instance=True)
        async with Stub(lambda _: ended) as stub, stub.session() as session:
            await runner(session, table, pace, fetch_messages=False).run(workflow, StoredSteps())
        assert pace.begin.await_count == len(stub.requests)
        pace.begin_run.assert_not_awaited()
        pace.end_run.assert_not_awaited()

    async def test_it_fails_while_it_is_followed(self, table: JobTable):
        """Then another run is started in its place, on a thread of its own."""
        failure = {"code": "server_error", "message": "no"}
        runs = [reply(RUN | {"status": "queued"}), reply(RUN | {"status": "failed", "last_error": failure})]
        replies = [*runs, reply(THREAD), reply(RUN | {"status": "completed"})]
        (workflow,) = add(table, {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")})
        async with Stub(*replies) as stub, stub.session() as session:
            jobs = runner(session, table, retries=JobRetries(first=0), fetch_messages=False)
            await jobs.run(workflow, StoredSteps())
        assert (outcome(table, workflow).error, outcome(table, workflow).tries) == (None, 2)
        made = [request.path for request in stub.requests if request.method == "POST"]
        assert made == ["/v1/threads", f"/v1/threads/{THREAD['id']}/runs"]

    async def test_it_cannot_be_looked_at(self, table: JobTable):
        """That is tried again like a start; then it is the job's error, and nothing is started."""
        (workflow,) = add(table, {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")})
        async with Stub(lambda _: error(500)) as stub, stub.session(max_retries=0) as session:
            jobs = runner(session, table, polling=NO_PATIENCE, retries=JobRetries(attempts=3, first=0))
            await jobs.run(workflow, StoredSteps())
        assert isinstance(outcome(table, workflow).error, ServerError)
        assert [request.method for request in stub.requests] == ["GET"] * 3

    @pytest.mark.parametrize("ids", ["run_1", ["run_1"], ["thread_1", 1], 7])
    async def test_wrong_ids(self, table: JobTable, ids: Any):
        """They are the job's error, before anything is sent."""
        (workflow,) = add(table, {"assistant_id": "a", "earlier_run": ids})
        async with Stub() as stub, stub.session() as session:
            await runner(session, table).run(workflow, StoredSteps())
        assert "the earlier run of a job must be the IDs of thread and run" in str(outcome(table, workflow).error)
        assert stub.requests == []

    async def test_its_job_is_cancelled(self, table: JobTable):
        """So is the run that is followed."""
        (workflow,) = add(table, {"assistant_id": "a", "earlier_run": ("thread_1", "run_1")})
        steps = StoredSteps()
        async with Stub(lambda _: reply(RUN | {"status": "in_progress"})) as stub, stub.session() as session:
            task = asyncio.create_task(runner(session, table).run(workflow, steps))
            await steps.is_ending.wait()
            table.cancel(workflow.rpartition("-")[0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert stub.requests[-1].path == "/v1/threads/thread_1/runs/run_1/cancel"


class TestDeadlines:
    """An attempt has its time from when its run is started, whoever goes on with it."""

    @pytest.fixture
    async def waiting(self, session: Session, table: JobTable, assistant_id: str) -> str:
        (workflow,) = add(table, {"assistant_id": assistant_id, "instructions": "wait"})
        return workflow

    async def test_a_run_that_does_not_end(self, server: LocalServer, session: Session, table: JobTable, waiting: str):
        """Its job fails, and it is cancelled."""
        await runner(session, table, deadline=0.1).run(waiting, StoredSteps())
        ended = outcome(table, waiting)
        assert isinstance(ended.error, RunDeadlineError)
        assert "did not end within the deadline of 0.1 s, its start included" in str(ended.error)
        (run,) = await all_runs(server)
        assert ended.run is not None
        assert ended.run.id == run.id
        events = [event.status async for event in session.runs.follow(run, polling=QUICK)]
        assert events[-1] == "cancelled"

    async def test_a_run_that_ends(self, session: Session, table: JobTable, assistant_id: str):
        """In time."""
        (workflow,) = add(table, {"assistant_id": assistant_id})
        await runner(session, table, deadline=3600.0).run(workflow, StoredSteps())
        assert outcome(table, workflow).error is None

    async def test_another_worker(self, session: Session, table: JobTable, waiting: str):
        """Whoever takes over does not begin to count anew."""
        steps = StoredSteps()
        steps.dies = ("end", "before")
        with pytest.raises(Died):
            await runner(session, table, deadline=3600.0).run(waiting, steps)
        created = json.loads(steps.outcomes[2])
        assert 3500 < created["ends_at"] - table.now() <= 3600
        steps.outcomes[2] = json.dumps(created | {"ends_at": table.now() - 1})
        steps.number, steps.dies = 0, None
        await runner(session, table, deadline=3600.0).run(waiting, steps)
        assert isinstance(outcome(table, waiting).error, RunDeadlineError)

    async def test_a_run_that_was_started_without_one(self, session: Session, table: JobTable, waiting: str):
        """It has the time of a whole attempt."""
        steps = StoredSteps()
        steps.dies = ("end", "before")
        with pytest.raises(Died):
            await runner(session, table).run(waiting, steps)
        steps.number, steps.dies = 0, None
        await runner(session, table, deadline=0.1).run(waiting, steps)
        assert isinstance(outcome(table, waiting).error, RunDeadlineError)

    @pytest.mark.parametrize("what", ["found", "not found", "refused"])
    async def test_a_start_that_hangs(
        self, table: JobTable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
    ):
        """A run whose start was given up is looked for; if it is not seen, that is in doubt."""
        is_found = what == "found"
        monkeypatch.setattr(starting, "_LOOK_EVERY", 0.001)
        if not is_found:
            monkeypatch.setattr(starting, "_FIND_TIMEOUT", 0.1)
        looks = 0

        def answer(request: Request) -> Reply:
            nonlocal looks
            if request.path.endswith("/threads"):
                return reply(THREAD)
            if request.method == "POST":
                return NEVER
            if request.path.endswith("/runs"):
                looks += 1
                if what == "refused":
                    return error(403)
                return reply({"object": "list", "data": [RUN] if is_found and looks > 1 else []})
            if request.path.endswith("/messages"):
                return reply({"object": "list", "data": []})
            return reply(RUN | {"status": "completed"})

        (workflow,) = add(table, {"assistant_id": "a"})
        async with Stub(answer) as stub, stub.session() as session:
            await runner(session, table, deadline=0.05).run(workflow, StoredSteps())
        ended = outcome(table, workflow)
        if is_found:
            assert ended.error is None
            assert looks == 2
        else:
            assert isinstance(ended.error, TransportError)
            assert "the run did not start within the deadline of 0.05 s" in str(ended.error)
            assert ended.error.maybe_done
            assert ("could not be looked for" in caplog.text) is (what == "refused")

    async def test_a_request_that_has_to_wait(self, table: JobTable):
        """After a 429 response that asks to wait, nothing has been started, so the time counts anew."""
        left = [error(429), reply(RUN)]

        def answer(request: Request) -> Reply:
            if request.method == "POST":
                return left.pop(0)
            is_list = request.path.endswith(("/messages", "/runs"))
            return reply({"object": "list", "data": []} if is_list else RUN | {"status": "completed"})

        (workflow,) = add(table, {"assistant_id": "a", "thread_id": "t"})
        async with Stub(answer) as stub, stub.session(max_retries=0) as session:
            await runner(session, table, deadline=3600.0).run(workflow, StoredSteps())
        assert outcome(table, workflow).error is None


class TestCancelling:
    @pytest.fixture
    async def waiting(self, session: Session, table: JobTable, assistant_id: str) -> str:
        (workflow,) = add(table, {"assistant_id": assistant_id, "instructions": "wait"})
        return workflow

    @pytest.mark.parametrize("why", ["job", "worker", "owner"])
    async def test_while_it_runs(self, server: LocalServer, session: Session, table: JobTable, waiting: str, why: str):
        """The run of a cancelled job is cancelled; one whose worker stops, or has lost it, is left to the next."""
        jobs = runner(session, table)
        steps = StoredSteps()
        task = asyncio.create_task(jobs.run(waiting, steps))
        await steps.is_ending.wait()
        if why == "job":
            table.cancel(waiting.rpartition("-")[0])
        jobs.is_leaving = why == "worker"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (run,) = await all_runs(server)
        if why == "job":
            events = [event.status async for event in session.runs.follow(run, polling=QUICK)]
            assert events[-1] == "cancelled"
        else:
            assert not run.status.is_terminal

    async def test_while_it_starts(self, server: LocalServer, session: Session, table: JobTable, waiting: str):
        """A run whose start is not stored, since the job was cancelled meanwhile, is cancelled, too."""

        class CancelledSteps(StoredSteps):
            def _die(self, *moment: str) -> None:
                if moment == ("create", "after"):
                    table.cancel(waiting.rpartition("-")[0])
                super()._die(*moment)

        steps = CancelledSteps()
        steps.dies = ("create", "after")
        with pytest.raises(Died):
            await runner(session, table).run(waiting, steps)
        (run,) = await all_runs(server)
        events = [event.status async for event in session.runs.follow(run, polling=QUICK)]
        assert events[-1] == "cancelled"

    async def test_a_run_that_has_ended(self, table: JobTable, caplog: pytest.LogCaptureFixture):
        """That its run cannot be cancelled is logged, and nothing more."""
        caplog.set_level(logging.WARNING, "openai_runs.batch")

        def answer(request: Request) -> Reply:
            return error(400) if request.path.endswith("/cancel") else reply(RUN | {"status": "in_progress"})

        (workflow,) = add(table, {"assistant_id": "a", "thread_id": "t"})
        async with Stub(answer) as stub, stub.session() as session:
            task = asyncio.create_task(runner(session, table).run(workflow, StoredSteps()))
            await stub.requested(2)
            table.cancel(workflow.rpartition("-")[0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert "could not be cancelled" in caplog.text

    async def test_before_it_starts(self, server: LocalServer, session: Session, table: JobTable, assistant_id: str):
        """A job that was cancelled sends no request, and its result stays."""
        (workflow,) = add(table, {"assistant_id": assistant_id})
        table.cancel(workflow.rpartition("-")[0])
        await runner(session, table).run(workflow, StoredSteps())
        assert await all_runs(server) == []
