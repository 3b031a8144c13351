"""`openai-runs batch results`."""

import json
from pathlib import Path

import pytest

from openai_runs import Run, load
from openai_runs.batch.durable import DurableBatches
from openai_runs.batch.durable.database import open_database
from openai_runs.batch.durable.job_table import JobTable
from openai_runs.batch.durable.outcomes import Outcome
from tests.cli.batches import Files
from tests.cli.commands import run, run_in_thread, run_without_reader
from tests.samples import EXAMPLES

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
COMPLETED = Outcome(load({**RUN, "status": "completed"}, Run))


@pytest.fixture
def table(files: Files, batches: Path):
    """A batch ``mine`` of two jobs."""
    files.write("one", "two")
    run("batch", "submit", files.jobs, batches, "--name", "mine", "--assistant", "asst_1")
    database = open_database(batches)
    yield JobTable(database)
    database.close()


def test_into_a_file(files: Files, batches: Path, table: JobTable) -> None:
    """What it lacks is added; the exit code tells whether there will be more, and whether all have completed."""
    table.record(1, COMPLETED)
    output = run("batch", "results", batches, "mine", "--out", files.out, exit_code=3)
    assert output.splitlines() == [
        "completed: 1",
        "not all jobs have results, because some have not ended; started again, it goes on",
    ]
    assert list(files.results()) == ["job 0"]
    run("batch", "cancel", batches, "mine")
    output = run("batch", "results", batches, "mine", "--out", files.out, "--wait", exit_code=1)
    assert output.splitlines() == ["completed: 0, failed: 1, completed before: 1", "1 OpenAIRunsError"]
    assert list(files.results()) == ["job 0", "job 1"]


def test_into_a_table(files: Files, batches: Path, table: JobTable) -> None:
    """A spreadsheet would show JSON in one column, so that name is refused."""
    output = run("batch", "results", batches, "mine", "--out", files.out.with_suffix(".csv"), exit_code=2)
    assert "results are JSON lines" in output


def test_to_standard_output(batches: Path, table: JobTable) -> None:
    """Nothing else is printed there."""
    table.record(1, COMPLETED)
    table.record(2, COMPLETED)
    lines = [json.loads(line) for line in run("batch", "results", batches, "mine").splitlines()]
    assert [(line["key"], line["status"]) for line in lines] == [("job 0", "completed"), ("job 1", "completed")]
    assert run_without_reader("batch", "results", batches, "mine") == (0, "")


def test_a_file_of_other_jobs(files: Files, batches: Path, table: JobTable) -> None:
    """Its results are not passed off as the batch's."""
    table.record(1, COMPLETED)
    files.out.write_text('{"key":"job 0","status":"completed","text":"old","fingerprint":"0123456789abcdef"}\n')
    output = run("batch", "results", batches, "mine", "--out", files.out, exit_code=2)
    assert "has the answer of job 'job 0' to another message, assistant or parameter" in output
    assert files.results() == {"job 0": "old"}


def test_without_a_name(files: Files, batches: Path, table: JobTable) -> None:
    """The only batch of a store needs none; if there are several, or none, that is said."""
    table.record(1, COMPLETED)
    (line,) = run("batch", "results", batches, exit_code=3).splitlines()
    assert json.loads(line)["key"] == "job 0"
    run("batch", "submit", files.jobs, batches, "--name", "[other]", "--assistant", "asst_1")
    output = run("batch", "results", batches, exit_code=2)
    assert "no batch is named; the store has '[other]', 'mine'" in output


def test_an_empty_store(batches: Path) -> None:
    """There is nothing to name."""
    assert "the store has no batches" in run("batch", "results", batches, exit_code=2)


@pytest.mark.anyio
async def test_jobs_without_keys(batches: Path) -> None:
    """A program has submitted them: the positions are the keys."""
    async with DurableBatches.open(batches) as opened:
        batch = await opened.submit([{"assistant_id": "asst_1"}] * 2, name="mine")
        await batch.cancel()
    lines = (await run_in_thread("batch", "results", batches, "mine", exit_code=1)).splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["0", "1"]
