"""`JobTable`: jobs are added once, taken in order, and end once, however often something is repeated."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from openai_runs.batch.durable.job_table import JobTable, Progress, TakenJob
from openai_runs.batch.durable.outcomes import Outcome
from openai_runs.errors import TransportError


@pytest.fixture(params=["database", "postgres_database"], ids=["SQLite", "PostgreSQL"])
def table(request: pytest.FixtureRequest) -> JobTable:
    return JobTable(request.getfixturevalue(request.param))


def add(table: JobTable, batch: str, first: int, jobs: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    """Add jobs; the workflows that were enqueued for them, with their places."""
    enqueued: list[tuple[str, int]] = []
    texts = [json.dumps(job) for job in jobs]
    threads = [job.get("thread_id") for job in jobs]
    table.add(batch, first, texts, threads, lambda _, workflows: enqueued.extend(workflows))
    return enqueued


def take(table: JobTable, workflow: str, after: int = -1) -> TakenJob:
    job = table.take(workflow, after)
    assert job is not None
    return job


def jobs(count: int, **params: Any) -> list[dict[str, Any]]:
    return [{"assistant_id": "a", "metadata": {"n": str(n)}, **params} for n in range(count)]


def test_batches(table: JobTable):
    """A name means one batch, and without one each is new; both are found by their ID."""
    named = table.begin_batch("x")
    assert table.begin_batch("x") == named
    assert table.find_batch("x") == table.find_batch(named) == (named, "x")
    assert table.begin_batch(None) != (unnamed := table.begin_batch(None))
    assert table.find_batch(unnamed) == (unnamed, None)
    assert set(table.batches()) >= {(named, "x"), (unnamed, None)}
    assert table.find_batch("y") is None


def test_adding_again(table: JobTable):
    """Jobs that are there are not added or enqueued again, and those that differ are refused by their number."""
    batch = table.begin_batch("x")
    first = add(table, batch, 0, jobs(3))
    assert [id for id, _ in first] == [f"{batch}-{n}" for n in range(3)]
    assert [id for id, _ in add(table, batch, 0, jobs(5))] == [f"{batch}-3", f"{batch}-4"]
    assert add(table, batch, 2, jobs(5)[2:]) == []
    with pytest.raises(ValueError, match=r"was begun with other jobs: job 1 was .* and is now"):
        add(table, batch, 1, jobs(2, model="other")[1:])
    with pytest.raises(ValueError, match="it has 5, and now there are 4"):
        table.end_adding(batch, 4)
    assert table.progress(batch) == Progress(5, 5, 0, 0, 0, 0, 0, None)
    table.end_adding(batch, 5)
    assert table.progress(batch).total == 5


def test_a_job_from_start_to_end(table: JobTable):
    """A job that is taken again keeps its ID and counts its attempts; what was recorded first stays."""
    batch = table.begin_batch(None)
    ((workflow, _),) = add(table, batch, 0, jobs(1))
    table.end_adding(batch, 1)
    taken, again = take(table, workflow), take(table, workflow)
    assert (taken.id, taken.params, taken.attempts, taken.has_ended) == (workflow, jobs(1)[0], 1, False)
    assert (again.id, again.attempts) == (workflow, 2)
    assert table.take(workflow, taken.seq) is None
    assert table.progress(batch).running == 1
    assert not table.is_over(batch)
    table.record(taken.seq, Outcome(error=TransportError("lost")))
    table.record(taken.seq, Outcome())
    progress = table.progress(batch)
    assert (progress.failed, progress.done, progress.is_over) == (1, 1, True)
    assert table.is_over(batch)
    ((position, ended_at),) = table.ended_since(batch, 0)
    assert table.ended_since(batch, ended_at + 1) == []
    assert table.rows(batch, [position])[0].state == "failed"
    assert take(table, workflow).has_ended
    assert table.progress(batch).failed == 1


def test_nothing_is_over_while_jobs_are_added(table: JobTable):
    """A batch without jobs is over once that is certain."""
    batch = table.begin_batch(None)
    assert not table.is_over(batch)
    table.end_adding(batch, 0)
    assert table.is_over(batch)
    assert table.progress(batch).is_over


class TestThreads:
    """Jobs of one thread belong to one workflow, which runs them one after another."""

    def test_one_workflow(self, table: JobTable):
        """The jobs of a thread are taken in their order; other threads and batches have workflows of their own."""
        batch, other = table.begin_batch(None), table.begin_batch(None)
        mixed = [{"thread_id": "t1"}, {"thread_id": "t2"}, {"thread_id": "t1"}, {}]
        enqueued = add(table, batch, 0, mixed)
        assert [id for id, _ in enqueued] == [f"{batch}-0", f"{batch}-1", f"{batch}-3"]
        assert add(table, batch, 4, [{"thread_id": "t1"}]) == []
        assert len(add(table, other, 0, [{"thread_id": "t1"}])) == 1
        taken, latest = [], -1
        while (job := table.take(f"{batch}-0", latest)) is not None:
            taken.append(job.id)
            latest = job.seq
        assert taken == [f"{batch}-{n}" for n in (0, 2, 4)]

    def test_added_at_the_end(self, table: JobTable):
        """A workflow does not end while a job is being added to it; after that, the next job gets a new workflow."""
        batch = table.begin_batch(None)
        ((workflow, first),) = add(table, batch, 0, [{"thread_id": "t"}])
        add(table, batch, 1, [{"thread_id": "t"}])
        assert not table.close_chain(workflow, first)
        second = take(table, workflow, first)
        assert table.close_chain(workflow, second.seq)
        assert table.close_chain(workflow, second.seq)
        assert [id for id, _ in add(table, batch, 2, [{"thread_id": "t"}])] == [f"{batch}-2"]

    def test_a_job_without_a_thread(self, table: JobTable):
        """Nobody can add to its workflow, so that ends."""
        ((workflow, seq),) = add(table, table.begin_batch(None), 0, jobs(1))
        assert table.close_chain(workflow, seq)


def test_deleting(table: JobTable):
    """Nothing is left of a batch, and all of another one."""
    batch, other = table.begin_batch("x"), table.begin_batch("y")
    for id in (batch, other):
        add(table, id, 0, [{"thread_id": "t"}, {"thread_id": "t"}, {}])
    assert sorted(table.workflows(batch)) == [f"{batch}-0", f"{batch}-2"]
    table.delete(batch)
    assert table.find_batch("x") is None
    assert table.workflows(batch) == []
    assert table.progress(other).added == 3
    assert len(add(table, table.begin_batch("x"), 0, [{"thread_id": "t"}])) == 1


def test_cancelling(table: JobTable):
    """What has not ended is cancelled, once; what has ended stays."""
    batch = table.begin_batch(None)
    enqueued = add(table, batch, 0, jobs(3))
    seqs = [seq for _, seq in enqueued]
    table.take(enqueued[0][0], -1)
    table.record(seqs[0], Outcome())
    table.take(enqueued[1][0], -1)
    assert set(table.cancel(batch)) == {enqueued[1][0], enqueued[2][0]}
    assert table.cancel(batch) == []
    assert [table.is_cancelled(seq) for seq in seqs] == [False, True, True]
    progress = table.progress(batch)
    assert (progress.completed, progress.cancelled, progress.is_over) == (1, 2, True)
    table.record(seqs[1], Outcome())
    assert table.is_cancelled(seqs[1])
