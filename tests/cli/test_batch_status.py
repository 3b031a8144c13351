"""`openai-runs batch status`."""

from pathlib import Path

from openai_runs.batch.durable.database import open_database
from openai_runs.batch.durable.job_table import JobTable
from openai_runs.batch.durable.outcomes import Outcome
from tests.cli.batches import Files
from tests.cli.commands import run


def test_all_and_one(files: Files, batches: Path) -> None:
    """One batch has an exit code; the list of all has none."""
    files.write("one", "two")
    run("batch", "submit", files.jobs, batches, "--name", "[mine]", "--assistant", "asst_1")
    assert run("batch", "status", batches) == "[mine]: 0/2, 2 waiting\n"
    assert run("batch", "status", batches, "[mine]", exit_code=3) == "[mine]: 0/2, 2 waiting\n"
    run("batch", "cancel", batches, "[mine]")
    assert run("batch", "status", batches, "[mine]", exit_code=1) == "[mine]: 2/2, 2 cancelled\n"


def test_all_have_completed(files: Files, batches: Path) -> None:
    """Then the exit code is 0."""
    files.write("one")
    run("batch", "submit", files.jobs, batches, "--name", "mine", "--assistant", "asst_1")
    database = open_database(batches)
    JobTable(database).record(1, Outcome())
    database.close()
    assert run("batch", "status", batches, "mine") == "mine: 1/1, 1 completed\n"


def test_while_jobs_are_added(batches: Path) -> None:
    """How many there will be is not known yet. A batch without a name is shown by its ID."""
    database = open_database(batches)
    batch_id = JobTable(database).begin_batch(None)
    database.close()
    assert run("batch", "status", batches, batch_id, exit_code=3) == f"{batch_id}: 0/0, not all jobs are added yet\n"
