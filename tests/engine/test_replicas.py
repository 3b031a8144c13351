"""`Replicas`: engines on one store execute each run once, and whoever asks one of them sees what another one does."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import psycopg
import pytest

from openai_runs.backends import Call, Say, ScriptedBackend
from openai_runs.backends.model_backend import Finished, ModelBackend, TextChunk
from openai_runs.engine import ApiEvent, Engine
from openai_runs.engine.errors import ApiError
from openai_runs.engine.executor import Executor
from openai_runs.engine.idempotency import IdempotencyKey
from openai_runs.engine.run_telemetry import RunTelemetry
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.run import Run, RunStatus
from openai_runs.server.metrics import Metrics
from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.records import RunState
from openai_runs.telemetry import Telemetry
from tests.engine.world import ALL, TIME
from tests.postgres import Postgres

pytestmark = pytest.mark.anyio

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}


class Steps(ModelBackend):
    """Says a word each time it is told to, and ends when it has said all."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.calls = 0
        self.stopped = 0
        self._may: dict[int, anyio.Event] = {}

    def allow(self, number: int) -> None:
        """Let it say so many words."""
        self._event(number).set()

    def _event(self, number: int) -> anyio.Event:
        return self._may.setdefault(number, anyio.Event())

    async def respond(self, request: Any) -> AsyncIterator[Any]:
        self.calls += 1
        try:
            for number, word in enumerate(self.words, 1):
                await self._event(number).wait()
                yield TextChunk(word)
        except BaseException:
            self.stopped += 1
            raise
        yield Finished("stop")


class Reader:
    """A subscriber that keeps what it receives."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.text = ""
        self.is_broken = False

    def receive(self, events: Any) -> None:
        for event in events:
            assert isinstance(event, ApiEvent)
            self.names.append(event.name.removeprefix("thread."))
            if event.name == "thread.message.delta":
                self.text += event.data["delta"]["content"][0]["text"].get("value", "")

    def break_off(self) -> None:
        self.is_broken = True


class Watcher:
    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.is_broken = False

    def note(self, run: Run) -> None:
        self.statuses.append(str(run.status))

    def break_off(self) -> None:
        self.is_broken = True


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


def execute(url: str, sql: str, *parameters: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


class Replica:
    def __init__(self, url: str, folder: Path, backend: Any, **options: Any) -> None:
        self.store = SharedPostgresStore(url, folder=folder)
        self.backend = ScriptedBackend(backend) if isinstance(backend, list) else backend
        self.engine = Engine(store=self.store, backend=self.backend, **options)

    async def start(self, assistant: str, **options: Any) -> Run:
        thread = await self.engine.threads.create("", HELLO)
        return await self.engine.runs.create("", thread.id, {"assistant_id": assistant}, **options)

    async def get(self, run: Run) -> Run:
        return await self.engine.runs.retrieve("", run.thread_id, run.id)

    async def until(self, run: Run, *statuses: RunStatus) -> Run:
        with anyio.fail_after(30):
            while (found := await self.get(run)).status not in statuses:  # noqa: ASYNC110  # nothing tells of it here
                await anyio.sleep(0.01)
        return found

    async def texts(self, run: Run) -> list[str]:
        page = await self.engine.messages.list("", run.thread_id, ALL)
        return [part.text.value for message in page.data for part in message.content if part.type == "text"]

    @property
    def active(self) -> int:
        return len(self.engine._executor._active)


@asynccontextmanager
async def replicas(url: str, folder: Path, *backends: Any, **options: Any) -> AsyncIterator[list[Replica]]:
    async with AsyncExitStack() as stack:
        made = [Replica(url, folder, backend, **options) for backend in backends]
        for each in made:
            await stack.enter_async_context(each.engine)
        yield made


async def assistant(replica: Replica, **body: Any) -> str:
    return (await replica.engine.assistants.create("", {"model": "m", **body})).id


async def until(condition: Any) -> None:
    with anyio.fail_after(30):
        while not condition():  # noqa: ASYNC110  # nothing tells of it
            await anyio.sleep(0.01)


async def bury(url: str, dead: Replica, other: Replica) -> None:
    """End a server as if it had not renewed its lease for long."""
    other.store._lease._steady_since = 0.0
    execute(url, "UPDATE openai_runs_servers SET renewed_at = now() - interval '1h' WHERE epoch = %s", dead.store.epoch)
    assert await other.store.bury()


def said(replica: Replica) -> Steps:
    assert isinstance(replica.backend, Steps)
    return replica.backend


# Where a run is executed


async def test_who_accepts_a_run_executes_it(url: str, tmp_path: Path):
    """If there is room; the others see it as it goes, and do not execute it."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        run = await a.start(await assistant(b))
        await b.until(run, RunStatus.IN_PROGRESS)
        with pytest.raises(ApiError, match=f"already has an active run {run.id}"):
            await b.engine.runs.create("", run.thread_id, {"assistant_id": run.assistant_id})
        with pytest.raises(ApiError, match="while a run"):
            await b.engine.messages.create("", run.thread_id, {"role": "user", "content": "x"})
        said(a).allow(1)
        await b.until(run, RunStatus.COMPLETED)
        assert await b.texts(run) == ["Hello", "Hi"]
        await until(lambda: a.active == 0)
        assert (said(a).calls, said(b).calls, b.active) == (1, 0, 0)
        again = await b.engine.runs.create("", run.thread_id, {"assistant_id": run.assistant_id})
        said(b).allow(1)
        await a.until(again, RunStatus.COMPLETED)
        assert said(b).calls == 1


@pytest.mark.parametrize("is_missed", [False, True])
async def test_who_is_told_of_a_run_before_its_commit_is_answered(
    url: str, tmp_path: Path, is_missed: bool, monkeypatch: pytest.MonkeyPatch
):
    """Whoever has claimed it meanwhile may be quicker: no event is lost, and no loss of one goes unnoticed."""
    async with replicas(url, tmp_path, Steps("Hi", "!"), Steps("Hi", "!"), max_active_runs=1) as [a, b]:
        id, reader, may_return = await assistant(a), Reader(), anyio.Event()
        await a.start(id)
        thread = await a.engine.threads.create("", HELLO)
        commit = a.store.commit

        async def slow(changes: Any) -> None:
            await commit(changes)
            await may_return.wait()

        with monkeypatch.context() as patch:
            patch.setattr(a.store, "commit", slow)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(a.engine.runs.create, "", thread.id, {"assistant_id": id}, subscriber=reader))
                await until(lambda: said(b).calls)
                said(b).allow(1)
                await until(lambda: any(a.engine._ledger._early.values()))
                if is_missed:
                    a.engine._executor._replicas.missed(b.store.epoch)
                may_return.set()
        said(b).allow(2)
        await until(lambda: reader.is_broken if is_missed else "run.completed" in reader.names)
        assert reader.names[:2] == ["run.created", "run.queued"]
        assert is_missed or reader.text == "Hi!"


async def test_a_run_without_a_place(url: str, tmp_path: Path):
    """It goes to whoever has one, and its events to who asked for them, in order and with all that was said."""
    async with replicas(url, tmp_path, Steps("Hi", " there", "!"), Steps("Hi", " there", "!"), max_active_runs=1) as [
        a,
        b,
    ]:
        id = await assistant(a)
        first = await a.start(id)
        reader = Reader()
        second = await a.start(id, subscriber=reader)
        await until(lambda: said(b).calls)
        for number in 1, 2:
            said(b).allow(number)
        await until(lambda: reader.text == "Hi there")
        said(b).allow(3)
        await until(lambda: "run.completed" in reader.names)
        assert reader.text == "Hi there!"
        assert [name for name in reader.names if name != "message.delta"] == [
            "run.created",
            "run.queued",
            "run.in_progress",
            "run.step.created",
            "run.step.in_progress",
            "message.created",
            "message.in_progress",
            "message.completed",
            "run.step.completed",
            "run.completed",
        ]
        assert not reader.is_broken
        for number in 1, 2, 3:
            said(a).allow(number)
        await b.until(first, RunStatus.COMPLETED)
        await a.until(second, RunStatus.COMPLETED)
        assert (said(a).calls, said(b).calls) == (1, 1)


async def test_a_place_that_becomes_free(url: str, tmp_path: Path):
    """A run for which there was none is executed then."""
    async with replicas(url, tmp_path, Steps("Hi"), max_active_runs=1) as [a]:
        id = await assistant(a)
        runs = [await a.start(id) for _ in range(4)]
        said(a).allow(1)
        for run in runs:
            await a.until(run, RunStatus.COMPLETED)


async def test_a_server_that_leaves(url: str, tmp_path: Path):
    """Its runs go on at another one, with nothing of what was said before."""
    async with replicas(url, tmp_path, Steps("Hi")) as [b]:
        async with replicas(url, tmp_path, Steps("Bye", "never")) as [a]:
            run = await a.start(await assistant(a))
            said(a).allow(1)
            await a.until(run, RunStatus.IN_PROGRESS)
        await until(lambda: said(b).calls)
        said(b).allow(1)
        await b.until(run, RunStatus.COMPLETED)
        assert await b.texts(run) == ["Hello", "Hi"]


async def test_a_server_that_is_about_to_leave(url: str, tmp_path: Path):
    """Its runs go on elsewhere while it still answers requests, and it executes nothing any more."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        reader = Reader()
        run = await a.start(await assistant(a), subscriber=reader)
        await until(lambda: said(a).calls)
        await a.engine.hand_over()
        assert reader.is_broken
        assert a.active == 0
        await until(lambda: said(b).calls)
        other = await a.start(run.assistant_id)
        said(b).allow(1)
        for each in run, other:
            await a.until(each, RunStatus.COMPLETED)
        assert (said(a).calls, said(b).calls) == (1, 2)


async def test_handing_over_a_run_that_is_just_being_taken(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is claimed here, and not executed yet: nobody but the next server executes it."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        id, get, is_reading, may_return = await assistant(a), a.store.get, anyio.Event(), anyio.Event()

        async def slow(kind: Any, id: str) -> Any:
            found = await get(kind, id)
            if kind is RunState:
                is_reading.set()
                await may_return.wait()
            return found

        monkeypatch.setattr(a.store, "get", slow)
        monkeypatch.setattr(b.engine._executor, "_max_turns", 0)
        monkeypatch.setattr(a.engine._executor, "_max_turns", 0)
        run = await a.start(id)
        monkeypatch.setattr(a.engine._executor, "_max_turns", 1)
        await is_reading.wait()
        await a.engine.hand_over()
        monkeypatch.setattr(b.engine._executor, "_max_turns", 1)
        may_return.set()
        await until(lambda: said(b).calls)
        assert a.active == 0
        said(b).allow(1)
        await a.until(run, RunStatus.COMPLETED)
        assert (said(a).calls, said(b).calls) == (0, 1)


async def test_handing_over_a_run_whose_commit_is_being_answered(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It was made to be executed here, and the next server does that."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        id, commit, is_made, may_return = await assistant(a), a.store.commit, anyio.Event(), anyio.Event()
        thread = await a.engine.threads.create("", HELLO)

        async def slow(changes: Any) -> None:
            await commit(changes)
            if changes:
                is_made.set()
                await may_return.wait()

        monkeypatch.setattr(a.store, "commit", slow)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(a.engine.runs.create, "", thread.id, {"assistant_id": id})
            await is_made.wait()
            await a.engine.hand_over()
            may_return.set()
        await until(lambda: said(b).calls)
        assert (said(a).calls, a.active) == (0, 0)


async def test_handing_over_a_run_that_is_being_cancelled(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its server stores that first, and then does not end the run, which another server has."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        commit, is_made, may_return = a.store.commit, anyio.Event(), anyio.Event()
        ended, end_soon = [], Executor._end_soon
        monkeypatch.setattr(b.engine._executor, "_max_turns", 0)
        run = await a.start(await assistant(a))
        await until(lambda: said(a).calls)

        async def slow(changes: Any) -> None:
            await commit(changes)
            if changes:
                is_made.set()
                await may_return.wait()

        def noting(executor: Executor, *what: Any) -> None:
            ended.append(executor)
            end_soon(executor, *what)

        monkeypatch.setattr(a.store, "commit", slow)
        monkeypatch.setattr(Executor, "_end_soon", noting)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(a.engine.runs.cancel, "", run.thread_id, run.id)
            await is_made.wait()
            monkeypatch.setattr(a.store, "commit", commit)
            tasks.start_soon(a.engine.hand_over)
            await until(lambda: a.active == 0)
            assert a.store.active_run(run.thread_id).server == a.store.epoch  # not handed over yet
            may_return.set()
        monkeypatch.setattr(b.engine._executor, "_max_turns", 1)
        await b.until(run, RunStatus.CANCELLED)
        assert a.engine._executor not in ended


async def test_cancelling_at_a_server_that_leaves(url: str, tmp_path: Path):
    """What nobody executes is ended by another one."""
    async with replicas(url, tmp_path, [Call("get_time", {}), Say("It is late.")], [Say("no")]) as [a, b]:
        run = await a.start(await assistant(a, tools=[TIME]))
        await b.until(run, RunStatus.REQUIRES_ACTION)
        await a.engine.hand_over()
        await a.engine.runs.cancel("", run.thread_id, run.id)
        await a.until(run, RunStatus.CANCELLED)
        assert a.active == 0


async def test_handing_over_without_a_database(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It is left to the end of the store, and said."""
    async with replicas(url, tmp_path, Steps("Hi")) as [a]:
        with patch.object(a.store._lease, "_execute", side_effect=StoreUnavailableError("away")):
            await a.engine.hand_over()
    assert "cannot be handed over now" in caplog.text


async def test_a_server_that_went_silent(url: str, tmp_path: Path):
    """Another one goes on with its runs; when it wakes it stops, changes nothing, and tells its readers so."""
    async with replicas(url, tmp_path, Steps("Hi", "!"), Steps("Hi", "!")) as [a, b]:
        reader, watcher = Reader(), Watcher()
        await a.engine.runs.watch("", watcher)
        run = await a.start(await assistant(a), subscriber=reader)
        said(a).allow(1)
        await until(lambda: reader.text == "Hi")
        await bury(url, a, b)
        await until(lambda: said(b).calls)
        a.store._lease.check_now()
        await until(lambda: reader.is_broken and watcher.is_broken and said(a).stopped == 1)
        await until(lambda: a.active == 0)
        for number in 1, 2:
            said(a).allow(number)
            said(b).allow(number)
        await a.until(run, RunStatus.COMPLETED)
        assert await a.texts(run) == ["Hello", "Hi!"]
        assert "run.completed" not in reader.names
        a.engine.runs.unwatch("", watcher)
        await until(lambda: a.store.is_valid)
        last = await a.start(run.assistant_id)  # it goes on as another server
        await b.until(last, RunStatus.COMPLETED)


async def test_a_write_of_one_that_was_ended(url: str, tmp_path: Path):
    """It does not know yet that it is over: what it says last is not stored."""
    async with replicas(url, tmp_path, Steps("Hi", "!"), Steps("Hi", "!")) as [a, b]:
        run = await a.start(await assistant(a))
        await until(lambda: said(a).calls)
        with patch.object(a.store._lease, "check_now", lambda: None):
            await bury(url, a, b)
            for number in 1, 2:
                said(a).allow(number)
            await until(lambda: said(b).calls)
            await b.until(run, RunStatus.IN_PROGRESS)
            for number in 1, 2:
                said(b).allow(number)
            await b.until(run, RunStatus.COMPLETED)
        a.store._lease.check_now()
        await until(lambda: a.active == 0)
        assert await b.texts(run) == ["Hello", "Hi!"]


async def test_a_reader_at_a_third_server(url: str, tmp_path: Path):
    """When the server that executes the run is lost, the reader's stream breaks: nobody takes it for complete."""
    async with replicas(url, tmp_path, Steps("a"), Steps("b", "!"), max_active_runs=1) as [a, b]:
        id = await assistant(a)
        await a.start(id)
        reader = Reader()
        run = await a.start(id, subscriber=reader)
        said(b).allow(1)
        await until(lambda: reader.text == "b")
        said(a).allow(1)
        await until(lambda: a.active == 0)
        await bury(url, b, a)
        await until(lambda: reader.is_broken)
        await a.until(run, RunStatus.COMPLETED)
        assert await a.texts(run) == ["Hello", "a"]


async def test_observers_of_runs_that_move(url: str, tmp_path: Path):
    """Whoever counts runs, or has spans of them, keeps none that another server has; each end is counted once."""
    script = [Call("get_time"), Say("Noon")]
    async with replicas(url, tmp_path, script, script) as [a, b]:
        counted = {replica.store.epoch: Metrics() for replica in (a, b)}
        spans = {replica.store.epoch: RunTelemetry(Telemetry(), "test") for replica in (a, b)}
        for replica in a, b:
            replica.engine._ledger.observers = (counted[replica.store.epoch], spans[replica.store.epoch])
        run = await a.start(await assistant(a, tools=[TIME]))
        run = await b.until(run, RunStatus.REQUIRES_ACTION)
        outputs = [{"tool_call_id": call.id, "output": "12"} for call in run.pending_tool_calls]
        await b.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)
        await a.until(run, RunStatus.COMPLETED)
        deleted = await a.start(run.assistant_id)
        await a.until(deleted, RunStatus.REQUIRES_ACTION)
        await b.engine.threads.delete("", deleted.thread_id)
        await until(lambda: not any(each._known for each in counted.values()))
        await until(lambda: not any(each._executions for each in spans.values()))
        ends = [
            metrics.registry.get_sample_value("openai_runs_run_ends_total", {"status": "completed"})
            for metrics in counted.values()
        ]
        assert ends == [0.0, 1.0]


# What is changed at another server


async def test_cancelling_elsewhere(url: str, tmp_path: Path):
    """Whoever executes the run hears of it, and keeps what was said."""
    async with replicas(url, tmp_path, Steps("Hi", "!"), Steps()) as [a, b]:
        reader = Reader()
        run = await a.start(await assistant(a), subscriber=reader)
        said(a).allow(1)
        await until(lambda: reader.text == "Hi")
        assert (await b.engine.runs.cancel("", run.thread_id, run.id)).status is RunStatus.CANCELLING
        await b.until(run, RunStatus.CANCELLED)
        assert await b.texts(run) == ["Hello", "Hi"]
        assert said(a).stopped == 1
        assert reader.names[-1] == "run.cancelled"


async def test_a_cancellation_that_nobody_was_told_of(url: str, tmp_path: Path):
    """It is found out by the next commit, at the latest."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps()) as [a, b]:
        run = await a.start(await assistant(a))
        await until(lambda: said(a).calls)
        with patch.object(b.store, "send", lambda *_: None):
            await b.engine.runs.cancel("", run.thread_id, run.id)
        said(a).allow(1)
        await b.until(run, RunStatus.CANCELLED)
        await until(lambda: a.active == 0)


async def test_cancelling_what_nobody_executes(url: str, tmp_path: Path):
    """A queued run, or one that waits for outputs, is ended where it is cancelled."""
    script = [Call("get_time")]
    async with replicas(url, tmp_path, script, script) as [a, b]:
        run = await a.start(await assistant(a, tools=[TIME]))
        await b.until(run, RunStatus.REQUIRES_ACTION)
        await until(lambda: a.active == 0)
        await b.engine.runs.cancel("", run.thread_id, run.id)
        await a.until(run, RunStatus.CANCELLED)
        await until(lambda: b.active == 0)


async def test_outputs_that_come_elsewhere(url: str, tmp_path: Path):
    """The run goes on there, and so do its events."""
    script = [Call("get_time"), Say("Noon")]
    async with replicas(url, tmp_path, script, script) as [a, b]:
        run = await a.start(await assistant(a, tools=[TIME]))
        run = await b.until(run, RunStatus.REQUIRES_ACTION)
        reader = Reader()
        outputs = [{"tool_call_id": call.id, "output": "12"} for call in run.pending_tool_calls]
        await b.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs, reader)
        await a.until(run, RunStatus.COMPLETED)
        await until(lambda: reader.names[-1] == "run.completed")
        assert reader.text
        with pytest.raises(ApiError, match="do not accept tool outputs"):
            await a.engine.runs.submit_tool_outputs("", run.thread_id, run.id, outputs)


async def test_metadata_that_changes_elsewhere(url: str, tmp_path: Path):
    """It neither stops the run, nor is it undone by it."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps()) as [a, b]:
        run = await a.start(await assistant(a))
        await until(lambda: said(a).calls)
        await b.engine.runs.update("", run.thread_id, run.id, {"metadata": {"a": "b"}})
        said(a).allow(1)
        run = await b.until(run, RunStatus.COMPLETED)
        assert run.metadata == {"a": "b"}


async def test_a_thread_that_is_deleted_elsewhere(url: str, tmp_path: Path):
    """Its run stops, and whoever reads it hears that there is no more."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps()) as [a, b]:
        reader = Reader()
        run = await a.start(await assistant(a), subscriber=reader)
        await until(lambda: said(a).calls)
        await b.engine.threads.delete("", run.thread_id)
        await until(lambda: reader.is_broken and a.active == 0)
        assert said(a).stopped == 1
        with pytest.raises(ApiError, match="No thread found"):
            await a.get(run)
        assert execute(url, "SELECT count(*) FROM openai_runs_active") == [(0,)]


async def test_a_key_that_comes_to_two(url: str, tmp_path: Path):
    """The request is carried out once, and both answer with what it made."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        id = await assistant(a)
        thread = await a.engine.threads.create("", HELLO)
        made: list[Run] = []

        async def start(replica: Replica) -> None:
            key = await IdempotencyKey.of("k", "", "createRun", b"{}")
            run, _ = await replica.engine.idempotency.once(
                key, lambda key: replica.engine.runs.create("", thread.id, {"assistant_id": id}, key=key)
            )
            made.append(run)

        async with anyio.create_task_group() as tasks:
            for each in a, b:
                tasks.start_soon(start, each)
        assert made[0].id == made[1].id
        assert (await a.engine.runs.list("", thread.id, ALL)).data[0].id == made[0].id


# Who watches


async def test_watching_elsewhere(url: str, tmp_path: Path):
    """A feed has the runs of all servers, and a poll that waits is answered at once."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps()) as [a, b]:
        id = await assistant(a)
        run = await a.start(id)
        watcher = Watcher()
        await b.engine.runs.watch("", watcher)
        await until(lambda: watcher.statuses)
        found: list[Run] = []

        async def wait() -> None:
            found.append(await b.engine.runs.retrieve("", run.thread_id, run.id, unless_in=["queued", "in_progress"]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            said(a).allow(1)
        assert [each.status for each in found] == [RunStatus.COMPLETED]
        await until(lambda: watcher.statuses[-1] == "completed")
        b.engine.runs.unwatch("", watcher)


async def test_a_change_of_another_that_overtakes(url: str, tmp_path: Path):
    """A change that was told before an earlier one of our own: that is not told as if it were the latest."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps()) as [a, b]:
        run = await a.start(await assistant(a))
        await a.until(run, RunStatus.IN_PROGRESS)
        watcher = Watcher()
        await a.engine.runs.watch("", watcher)
        told = a.engine._executor._replicas
        assert told is not None
        commit = a.store.commit

        async def slow(changes: Any) -> None:
            await commit(changes)  # and before its answer is handled, another one changes the run
            if any(isinstance(getattr(change, "value", None), Run) for change in changes) and not told.tells:
                await b.engine.runs.update("", run.thread_id, run.id, {"metadata": {"a": "b"}})
                await until(lambda: told.tells)

        with patch.object(a.store, "commit", slow):
            await a.engine.runs.update("", run.thread_id, run.id, {"metadata": {"a": "a"}})
        await until(lambda: told.tells > 1)
        assert watcher.statuses == ["in_progress"] * 3  # the first, b's, and b's again
        said(a).allow(1)
        await a.until(run, RunStatus.COMPLETED)
        await until(lambda: watcher.statuses[-1] == "completed")
        a.engine.runs.unwatch("", watcher)


async def test_messages_that_were_missed(url: str, tmp_path: Path):
    """Who has a feed is to begin anew; a poll that waits looks again."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps()) as [a, b]:
        run = await a.start(await assistant(a))
        await until(lambda: said(a).calls)
        watcher = Watcher()
        await b.engine.runs.watch("", watcher)
        found: list[Run] = []

        async def wait() -> None:
            found.append(await b.engine.runs.retrieve("", run.thread_id, run.id, unless_in=["queued", "in_progress"]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(lambda: b.engine._ledger.watched_runs)
            with patch.object(b.store, "_listeners", []):
                said(a).allow(1)
                await a.until(run, RunStatus.COMPLETED)
                sent = anyio.Event()
                listening = b.store._relay._on_message

                def note(sender: int, message: Any) -> None:
                    if message == ["last"]:
                        sent.set()

                b.store._relay._on_message = note
                a.store.broadcast(["last"])
                await sent.wait()
                b.store._relay._on_message = listening
            b.store._miss(a.store.epoch)
        assert watcher.is_broken
        assert found[0].status is RunStatus.COMPLETED
        b.engine.runs.unwatch("", watcher)


async def test_expiry_of_what_nobody_executes(url: str, tmp_path: Path):
    """Whoever is there ends it."""
    script = [Call("get_time")]
    async with replicas(url, tmp_path, script, script) as [a, b]:
        run = await a.start(await assistant(a, tools=[TIME]))
        await b.until(run, RunStatus.REQUIRES_ACTION)
        execute(url, "UPDATE openai_runs_active SET deadline = 0")
        execute(
            url,
            "UPDATE openai_runs_objects SET body = regexp_replace(body, '\"deadline\":[0-9.]+', '\"deadline\":1.0') "
            "WHERE kind = 'run_state'",
        )
        await b.until(run, RunStatus.EXPIRED)


async def test_a_database_that_is_away(url: str, tmp_path: Path, postgres_server: Postgres):
    """For a moment: the run goes on as if nothing had been."""
    async with replicas(url, tmp_path, Steps("Hi"), Steps("Hi")) as [a, b]:
        run = await a.start(await assistant(a))
        await until(lambda: said(a).calls)
        await anyio.to_thread.run_sync(postgres_server.restart)
        said(a).allow(1)
        said(b).allow(1)

        async def ended() -> bool:
            try:
                return (await b.get(run)).status is RunStatus.COMPLETED
            except StoreUnavailableError:
                return False

        with anyio.fail_after(40):
            while not await ended():  # noqa: ASYNC110  # nothing tells of it
                await anyio.sleep(0.1)
        assert await b.texts(run) == ["Hello", "Hi"]
