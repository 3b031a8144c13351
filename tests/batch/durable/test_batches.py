"""`DurableBatches`: jobs that are stored run to their end, whoever submits, watches, runs or leaves them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from openai_runs import BatchResult, JobRetries, Polling, RunJob, Session, Toolbox
from openai_runs.backends.scripted import Fail, Say, ScriptedBackend, Wait
from openai_runs.batch.durable import DurableBatch, DurableBatches
from openai_runs.batch.durable.file_lock import only_one
from openai_runs.errors import RunFailedError
from openai_runs.models.run import Run
from openai_runs.server import LocalServer

pytestmark = pytest.mark.anyio

POLLING = Polling(first=0.001, longest=0.05)
QUICK: dict[str, Any] = {"polling": POLLING, "retries": JobRetries(attempts=1)}


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(lambda request: {"fail": Fail(), "wait": Wait()}.get(request.instructions or "", Say("Hi.")))


@pytest.fixture
async def assistant_id(session: Session) -> str:
    return (await session.assistants.create(model="scripted")).id


async def collect(batch: DurableBatch) -> list[BatchResult]:
    return sorted([result async for result in batch.results()], key=lambda result: result.index)


async def all_runs(server: LocalServer) -> list[Run]:
    return [record.value async for record in server.engine._ledger.store.everything(Run)]


async def test_from_start_to_end(store: Path, session: Session, assistant_id: str, caplog: pytest.LogCaptureFixture):
    """Each job has one result, which other readers get as well; the loop's threads still work afterwards."""

    async def jobs() -> AsyncIterator[RunJob]:
        for n in range(30):
            yield {"assistant_id": assistant_id, "metadata": {"n": str(n)}, "key": f"job {n}"}
        yield {"assistant_id": assistant_id, "instructions": "fail"}

    caplog.set_level(logging.WARNING)
    async with DurableBatches.open(store, session, workers=16, **QUICK) as batches:
        batch = await batches.submit(jobs(), name="all")
        results = await collect(batch)
        progress = await batch.progress()
        assert [result.index for result in results] == list(range(31))
        assert [result.run.metadata["n"] for result in results[:30]] == [str(n) for n in range(30)]
        assert [result.ok for result in results] == [True] * 30 + [False]
        assert [(result.key, result.text) for result in results[:30]] == [(f"job {n}", "Hi.") for n in range(30)]
        assert (results[30].key, results[30].text, results[30].messages) == (None, None, ())
        assert all(result.attempts == 1 and result.usage == result.run.usage for result in results)
        assert all(result.started_at < result.ended_at for result in results)
        assert isinstance(results[30].error, RunFailedError)
        assert results[30].job == {"assistant_id": assistant_id, "instructions": "fail"}
        assert (progress.total, progress.completed, progress.failed, progress.is_over) == (31, 30, 1, True)
        assert progress.tokens == sum(result.run.usage.total_tokens for result in results)
        assert len(await collect(await batches.find("all"))) == 31
    assert await asyncio.to_thread(lambda: 1) == 1
    assert not caplog.records
    async with DurableBatches.open(store) as reader:
        again = await collect(await reader.find(batch.id))
    assert [(result.index, result.run, result.job) for result in again] == [
        (result.index, result.run, result.job) for result in results
    ]


async def test_going_on(store: Path, server: LocalServer, session: Session, assistant_id: str):
    """A program that is left in the middle, and started again with the same jobs, finishes the same runs."""
    jobs: list[RunJob] = [{"assistant_id": assistant_id}, {"assistant_id": assistant_id, "instructions": "wait"}]
    async with DurableBatches.open(store, session, **QUICK) as batches:
        batch = await batches.submit(jobs, name="x")
        async for result in batch.results():
            assert result.index == 0
            break
        while len(await all_runs(server)) < 2:  # there is no event
            await anyio.lowlevel.checkpoint()
    (before,) = [run for run in await all_runs(server) if run.status != "completed"]
    await session.runs.cancel(before)
    async with DurableBatches.open(store, session, **QUICK) as batches:
        batch = await batches.submit([*jobs, jobs[0]], name="x")
        results = await collect(batch)
    assert [result.ok for result in results] == [True, False, True]
    assert results[1].run.id == before.id
    assert len(await all_runs(server)) == 3


async def test_one_thread(store: Path, session: Session, assistant_id: str):
    """Jobs on one thread run one after another, in order, and none fails on the thread's lock."""
    thread = await session.threads.create()
    jobs: list[RunJob] = [
        {
            "assistant_id": assistant_id,
            "thread_id": thread.id,
            "additional_messages": [{"role": "user", "content": str(n)}],
        }
        for n in range(5)
    ]
    async with DurableBatches.open(store, session, fetch_messages=False, **QUICK) as batches:
        results = await collect(await batches.submit(jobs))
    assert all(result.ok and result.text is None for result in results)
    messages = [message async for message in session.messages.list(thread.id, order="asc")]
    assert [message.text for message in messages if message.role == "user"] == list("01234")


async def test_tools(store: Path):
    """Tool calls are answered by the toolbox."""
    toolbox, cities = Toolbox(), []

    @toolbox.tool
    async def book(city: str) -> str:
        cities.append(city)
        return "booked"

    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="scripted", tools=toolbox)
        async with DurableBatches.open(store, session, toolbox=toolbox, **QUICK) as batches:
            results = await collect(await batches.submit([{"assistant_id": assistant.id}] * 3))
    assert all(result.ok for result in results)
    assert len(cities) == 3


async def test_cancelling(store: Path, server: LocalServer, session: Session, assistant_id: str):
    """Jobs that wait never start, and the runs of the others are cancelled."""
    jobs: list[RunJob] = [{"assistant_id": assistant_id, "instructions": "wait"}] * 5
    async with DurableBatches.open(store, session, workers=1, **QUICK) as batches:
        batch = await batches.submit(jobs)
        while not (runs := await all_runs(server)) or runs[0].status != "in_progress":  # there is no event
            await anyio.lowlevel.checkpoint()
        await batch.cancel()
        results = await collect(batch)
        assert [str(result.error) for result in results] == ["the job was cancelled with its batch"] * 5
        assert [result.attempts for result in results] == [1, 0, 0, 0, 0]
        async for event in session.runs.follow(runs[0], polling=POLLING):
            status = event.status
        assert status == "cancelled"
        assert (await batch.progress()).cancelled == 5
    assert len(await all_runs(server)) == 1


async def test_adding_from_elsewhere(store: Path, session: Session, assistant_id: str):
    """Whoever opens a store without a session adds jobs and reads results; another one runs them."""
    async with DurableBatches.open(store, session, **QUICK), DurableBatches.open(store) as client:
        results = await collect(await client.submit([{"assistant_id": assistant_id}] * 3))
        assert all(result.ok for result in results)
        assert repr(client) == f"<DurableBatches in sqlite:///{store}>"


async def test_deleting(store: Path):
    """A batch can be deleted once it is over; then its name is free."""
    async with DurableBatches.open(store) as batches:
        batch = await batches.submit([{"assistant_id": "a"}], name="x")
        unnamed = await batches.submit([])
        assert repr(batch) == f"<DurableBatch 'x', {batch.id}>"
        with pytest.raises(RuntimeError, match="Cancel it first"):
            await batch.delete()
        assert [(one.id, one.name) for one in await batches.list()] == [(unnamed.id, None), (batch.id, "x")]
        await batch.cancel()
        await batch.delete()
        assert [one.id for one in await batches.list()] == [unnamed.id]
        assert (await batches.submit([], name="x")).id != batch.id


async def test_more_than_is_stored_at_a_time(store: Path, monkeypatch: pytest.MonkeyPatch):
    """Jobs are stored in pieces, and each is there once."""
    monkeypatch.setattr("openai_runs.batch.durable.batches._ADDED", 2)
    async with DurableBatches.open(store) as batches:
        batch = await batches.submit([{"assistant_id": str(n)} for n in range(5)])
        progress = await batch.progress()
    assert (progress.added, progress.waiting, progress.total) == (5, 5, 5)


class TestMisuse:
    async def test_two_that_run(self, store: Path, session: Session):
        """A process that would run the jobs of a file beside another one is refused; so is a second one in here."""
        with only_one(f"{store}-worker"), pytest.raises(RuntimeError, match="another process runs the jobs"):
            async with DurableBatches.open(store, session):
                pass
        async with DurableBatches.open(store, session):
            with pytest.raises(RuntimeError, match="there is one DBOS in a process"):
                async with DurableBatches.open(store.with_name("other.db"), session):
                    pass

    async def test_arguments(self, store: Path, session: Session):
        """Wrong arguments say so."""
        with pytest.raises(ValueError, match="workers must be at least 1"):
            async with DurableBatches.open(store, session, workers=0):
                pass
        with pytest.raises(ValueError, match="at_once must be at least 8"):
            async with DurableBatches.open(store, session, at_once=1):
                pass
        async with DurableBatches.open(store) as batches:
            with pytest.raises(TypeError, match="jobs must be an iterable"):
                await batches.submit({"assistant_id": "a"})  # type: ignore[arg-type]  # it is one job
            with pytest.raises(LookupError, match="there is no batch 'x'"):
                await batches.find("x")
            batch = await batches.submit([], name="none")
            assert await collect(batch) == []
            assert repr(await batches.submit([])).startswith("<DurableBatch batch_")


class TestDraining:
    async def test_jobs_that_run(self, store: Path):
        """They end, and no others are begun, on their threads either; opened again, the others run."""
        gate, asked = anyio.Event(), anyio.Event()

        def turn(request: Any) -> Any:
            asked.set()
            return [Wait(gate), Say("Hi.")]

        async with LocalServer(backend=ScriptedBackend(turn)) as server, server.session() as session:
            assistant, thread = await session.assistants.create(model="m"), await session.threads.create()
            jobs: list[RunJob] = [{"assistant_id": assistant.id, "thread_id": thread.id}] * 2
            jobs += [{"assistant_id": assistant.id}] * 2
            async with DurableBatches.open(store, session, workers=1, **QUICK) as batches:
                batch = await batches.submit(jobs, name="all")
                await asked.wait()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(batches.drain)
                    await anyio.lowlevel.checkpoint()
                    gate.set()
                assert (await batch.progress()).completed == 1
                over = anyio.Event()
                over.set()
                assert [result.index async for result in batch.results(until=over)] == [0]
            async with DurableBatches.open(store, session, workers=2, **QUICK) as batches:
                assert [result.text for result in await collect(await batches.find("all"))] == ["Hi."] * 4

    async def test_nothing_runs_here(self, store: Path):
        """Without a session there is nothing to wait for."""
        async with DurableBatches.open(store) as batches:
            await batches.drain()


async def test_a_run_of_another_batch(store: Path, server: LocalServer, session: Session, assistant_id: str):
    """It is looked at before another one is paid; whoever reads the result finds it there."""
    run = await session.threads.create_and_run(assistant_id=assistant_id)
    jobs: list[RunJob] = [{"assistant_id": assistant_id, "earlier_run": (run.thread_id, run.id)}]
    async with DurableBatches.open(store, session, **QUICK) as batches:
        (result,) = await collect(await batches.submit(jobs))
    assert (result.error, result.text, result.attempts) == (None, "Hi.", 1)
    assert (result.row()["thread_id"], result.row()["run_id"]) == (run.thread_id, run.id)
    assert len(await all_runs(server)) == 1
