"""What DBOS does in this process: it stops when it is told to, whatever its workflows are doing."""

import asyncio
import logging

import pytest
import sqlalchemy as sa

from openai_runs.batch.durable import execution
from openai_runs.batch.durable.database import Database
from openai_runs.batch.durable.execution import Queue

pytestmark = pytest.mark.anyio


def states(database: Database) -> dict[str, tuple[str, str | None]]:
    with database.engine.connect() as connection:
        query = sa.text("SELECT workflow_uuid, status, queue_name FROM workflow_status")
        return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def test_the_queue(database: Database):
    """What is enqueued in a transaction is there with it; what lost executors had comes back; the rest is cancelled."""
    queue = Queue(database)
    with database.engine.begin() as connection:
        queue.enqueue(connection, [("a", 1), ("b", 2), ("c", 3)])
    with database.engine.begin() as connection:
        queue.enqueue(connection, [("d", 4)])
        connection.rollback()
    assert states(database) == dict.fromkeys("abc", ("ENQUEUED", "openai_runs_jobs"))
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE workflow_status SET status = 'PENDING', executor_id = workflow_uuid"))
    assert queue.hand_over(["a", "none"]) == 1
    assert states(database)["a"] == ("ENQUEUED", "openai_runs_jobs")
    assert states(database)["b"] == ("PENDING", "openai_runs_jobs")
    assert queue.hand_over(None) == 2
    assert queue.hand_over(None) == 0
    queue.cancel(["b"])
    assert {id: state for id, (state, _) in states(database).items()} == {
        "a": "ENQUEUED",
        "b": "CANCELLED",
        "c": "ENQUEUED",
    }
    queue.delete(["b", "c"])
    assert states(database).keys() == {"a"}


def test_each_is_enqueued_alike(database: Database):
    """What is copied from the first one is what DBOS itself writes for each, in all tables."""
    queue = Queue(database)
    with database.engine.begin() as connection:
        queue.enqueue(connection, [])
        for workflow in [("a", 1), ("b", 2), ("c", 3)]:
            queue.enqueue(connection, [workflow])
    alone = contents(database)
    with database.engine.begin() as connection:
        for table in alone:
            if alone[table] and table.startswith("workflow"):
                connection.execute(sa.text(f"DELETE FROM {table}"))
        queue.enqueue(connection, [("a", 1), ("b", 2), ("c", 3)])
    assert contents(database) == alone
    assert [row["priority"] for row in alone["workflow_status"]] == [1, 2, 3]


def contents(database: Database) -> dict[str, list[dict[str, object]]]:
    """All tables, without times and what is random."""
    with database.engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        return {
            table: [
                {
                    name: value
                    for name, value in row._mapping.items()
                    if name not in ("created_at", "updated_at", "creator_xid", "retention_timestamp")
                }
                for row in connection.execute(sa.text(f"SELECT * FROM {table}"))
            ]
            for table in tables
        }


async def test_taken_while_the_process_stops():
    """A workflow that is taken from the queue too late stays begun, for whoever takes it over."""
    with pytest.raises(asyncio.CancelledError):
        await execution._run_here("late")


async def test_stopping():
    """Workflows that are at their end may end; the others are cancelled, and their runner knows why."""
    began, ended = asyncio.Event(), []

    class Runner:
        is_leaving = False

        async def run(self, workflow_id: str, steps: object) -> None:
            if workflow_id == "long":
                began.set()
                await asyncio.Event().wait()

    async def workflow(id: str) -> None:
        await running.run(id)
        await asyncio.to_thread(lambda: None)  # DBOS stores that it has ended
        ended.append(id)

    running = execution.Execution(Runner())  # type: ignore[arg-type]  # a double
    tasks = [asyncio.create_task(workflow(id)) for id in ("short", "long")]
    await began.wait()
    await running.stop()
    assert running.runner.is_leaving
    assert ended == ["short"]
    assert [task.cancelled() for task in tasks] == [False, True]


def test_nothing_on_the_terminal():
    """DBOS adds no handler of its own, which would write to the terminal: what it logs is the program's to show."""
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("dbos").handlers)
    assert execution._execution is None
