"""Everything that is DBOS: the workflow, its steps, the queue, and one executor in this process.

DBOS executes: it hands workflows to workers within their limits, stores the outcomes of steps, and refuses those of a
worker that has lost its workflow to another. There is one DBOS in a process, and it adopts the event loop that launches
it: workflows run in the same loop as the caller's session and tools.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import anyio
import sqlalchemy as sa
from attrs import define, field
from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer, EnqueueOptions, WorkflowSerializationFormat

from openai_runs._finishing import finish
from openai_runs.batch.durable.database import Database, in_thread
from openai_runs.batch.durable.job_runner import JobRunner

_logger = logging.getLogger("openai_runs.batch")
# With a handler, DBOS adds none of its own, which would write to the terminal.
logging.getLogger("dbos").addHandler(logging.NullHandler())

_APPLICATION: Final = "openai-runs"
#: Of the workflow below: a worker leaves workflows of another version alone. It changes when the steps do.
_VERSION: Final = "1"
_QUEUE: Final = "openai_runs_jobs"
_WORKFLOW: Final = "openai_runs_run_jobs"
#: Seconds between two looks into the queue.
_QUEUE_POLLING: Final = 0.2
#: Seconds for workflows to end whose jobs have ended, when the process stops.
_ENDING: Final = 2.0
_JSON: Final = DBOSPortableJSONSerializer()


@define(eq=False)
class Execution:
    """What runs in this process."""

    runner: JobRunner
    #: Tasks of workflows: DBOS's part, too, which goes on for a moment when the jobs have ended.
    running: set[asyncio.Task[Any]] = field(factory=set, init=False)
    ending: set[asyncio.Task[Any]] = field(factory=set, init=False)

    async def run(self, workflow_id: str) -> None:
        """Run the jobs of a workflow in the current task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # for the type checker
        self.running.add(task)
        try:
            await self.runner.run(workflow_id, _Steps())
            self.ending.add(task)
            task.add_done_callback(self.ending.discard)
        finally:
            self.running.discard(task)

    def halt(self) -> None:
        """Stop all workflows, whose jobs stay where they are, and begin no more."""
        self.runner.is_leaving = True
        for task in self.running:
            task.cancel()

    async def stop(self) -> None:
        """Stop all workflows, and wait for that; let those end that are at their end."""
        self.halt()
        await asyncio.gather(*self.running, return_exceptions=True)
        with anyio.move_on_after(_ENDING):
            await asyncio.gather(*self.ending, return_exceptions=True)


#: DBOS finds workflows by name, and there is one DBOS in a process; so there is one of these.
_execution: Execution | None = None


class _Steps:
    """Steps of the current workflow."""

    async def run(self, name: str, step: Callable[[], Awaitable[Any]], *, preemptible: bool = False) -> Any:
        """See `Steps`."""

        async def work() -> Any:  # DBOS recognizes coroutine functions, not callables that return awaitables
            return await step()

        return await DBOS.run_step_async({"name": name, "preemptible": preemptible}, work)


async def _run_here(workflow_id: str | None) -> None:
    if _execution is None or _execution.runner.is_leaving or workflow_id is None:
        raise asyncio.CancelledError  # it was taken from the queue while the process stops; somebody takes it over
    await _execution.run(workflow_id)


@DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
async def _run_jobs() -> None:
    await _run_here(DBOS.workflow_id)


@define(eq=False)
class Queue:
    """DBOS's queue in one database, for those who enqueue workflows, hand them over or cancel them."""

    _database: Database
    _client: DBOSClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = DBOSClient(
            system_database_engine=self._database.engine,
            serializer=_JSON,
            application_name=_APPLICATION,
            lazy=True,
        )

    def limit(self, workers: int, at_once: int | None) -> None:
        """Set how many workflows may run at once in each process, and in all together; ``None`` for no limit."""
        self._client.register_queue(
            _QUEUE,
            worker_concurrency=workers,
            global_concurrency=at_once,
            polling_interval_sec=_QUEUE_POLLING,
            on_conflict="always_update",
        )

    def enqueue(self, connection: sa.Connection, workflows: Sequence[tuple[str, int]]) -> None:
        """Enqueue workflows in a transaction, each with its ID and its place in the queue."""
        if not workflows:
            return
        if self._database.is_sqlite:
            (first, place), *others = workflows
            self._client.enqueue_in_transaction(connection, _options(first, place))
            # For each of the others DBOS would prepare its two statements anew, which takes ten times as long.
            for table in ("workflow_status", "workflow_input"):
                _copy_rows(connection, table, first, others)
        else:
            ids, places = [id for id, _ in workflows], [place for _, place in workflows]
            connection.execute(_ENQUEUE, {"ids": ids, "places": places})

    def hand_over(self, executors: Sequence[str] | None) -> int:
        """Put the workflows of lost executors back into the queue, where they come first; how many there were.

        Args:
            executors: Their IDs; ``None`` if all executors are lost.
        """
        lost = self._client.list_workflows(
            status="PENDING",
            name=_WORKFLOW,
            executor_id=None if executors is None else list(executors),
            load_input=False,
            load_output=False,
        )
        # Without the queue's name they would be executed at once, outside of its limits.
        self._client.resume_workflows([workflow.workflow_id for workflow in lost], queue_name=_QUEUE)
        return len(lost)

    def cancel(self, workflow_ids: Sequence[str]) -> None:
        """Cancel workflows: those that wait never start, the others stop within seconds."""
        for some in _in_pieces(workflow_ids):
            self._client.cancel_workflows(some)

    def delete(self, workflow_ids: Sequence[str]) -> None:
        """Delete what is stored of workflows that have ended."""
        for some in _in_pieces(workflow_ids):
            self._client.delete_workflows(some)


def _copy_rows(connection: sa.Connection, table: str, workflow_id: str, others: Sequence[tuple[str, int]]) -> None:
    """Copy the row of a workflow, as DBOS has written it to SQLite, for others with their IDs and places."""
    columns = [column["name"] for column in sa.inspect(connection).get_columns(table)]
    own = {"workflow_uuid": "json_extract(other.value, '$[0]')", "priority": "json_extract(other.value, '$[1]')"}
    values = ", ".join(own.get(column, f'model."{column}"') for column in columns)
    names = ", ".join(f'"{column}"' for column in columns)
    copy = (
        f"INSERT INTO {table} ({names}) SELECT {values} "  # noqa: S608  # the names are DBOS's
        f"FROM {table} AS model, json_each(:others) AS other WHERE model.workflow_uuid = :model"
    )
    connection.execute(sa.text(copy), {"model": workflow_id, "others": json.dumps(others)})


def _in_pieces(ids: Sequence[str]) -> Iterator[list[str]]:
    """IDs, so many at a time that they fit into a statement."""
    return (list(ids[start : start + 1000]) for start in range(0, len(ids), 1000))


#: Calls of the function that DBOS has in the database, all in one statement.
_ENQUEUE: Final = sa.text(
    "SELECT count(dbos.enqueue_workflow(workflow_name => :workflow, queue_name => :queue, workflow_id => id, "
    "app_version => :version, priority => place, application_name => :application)) "
    "FROM unnest(CAST(:ids AS text[]), CAST(:places AS integer[])) AS jobs (id, place)"
).bindparams(workflow=_WORKFLOW, queue=_QUEUE, version=_VERSION, application=_APPLICATION)


def _options(workflow_id: str, place: int) -> EnqueueOptions:
    return {
        "workflow_name": _WORKFLOW,
        "queue_name": _QUEUE,
        "workflow_id": workflow_id,
        "app_version": _VERSION,
        "priority": place,
        "application_name": _APPLICATION,
        "serialization_type": WorkflowSerializationFormat.PORTABLE,
    }


def new_executor_id() -> str:
    """An ID that no executor had before."""
    return f"executor-{uuid4().hex}"


@asynccontextmanager
async def executing(database: Database, runner: JobRunner, executor_id: str) -> AsyncGenerator[Execution]:
    """Run workflows in this process.

    Args:
        database: Where the workflows are.
        runner: Runs their jobs.
        executor_id: A new one: what an executor has left behind is recognized by its ID.

    Raises:
        RuntimeError: DBOS is running in this process already.
    """
    global _execution  # noqa: PLW0603  # as DBOS is
    dbos = DBOS(
        config={
            "name": _APPLICATION,
            "system_database_url": database.url,
            "system_database_engine": database.engine if database.is_sqlite else None,
            "application_version": _VERSION,
            "executor_id": executor_id,
            "serializer": _JSON,
            "log_level": "ERROR",  # of each workflow that stops with the process it would warn
            "sys_db_pool_size": 8,  # several workers have to fit into the 100 connections of a PostgreSQL
            "db_engine_kwargs": {"connect_args": dict(database.connect_args)},
        }
    )
    if DBOS.executor_id != executor_id:  # it was there, and the configuration was ignored
        raise RuntimeError("there is one DBOS in a process, and this one runs it already: use a process of its own")
    execution = _execution = Execution(runner)
    loop = asyncio.get_running_loop()
    try:
        dbos.launch()  # here, and not in a thread: it adopts the event loop
        yield execution
    finally:
        _execution = None
        with anyio.CancelScope(shield=True):
            await execution.stop()
            # In a thread: DBOS waits for its own threads, and these may wait for the event loop.
            await finish(in_thread(DBOS.destroy))
        loop.set_default_executor(ThreadPoolExecutor())  # instead of DBOS's, which is shut down
