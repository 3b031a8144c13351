"""A durable batch's progress for a progress bar, and its results in a file."""

import json
from pathlib import Path

import anyio
import pytest

from openai_runs import Run, load
from openai_runs.batch.durable import DurableBatches, watching
from openai_runs.batch.durable.job_table import JobTable, Progress
from openai_runs.batch.durable.outcomes import Outcome
from openai_runs.batch.durable.watching import WatchedProgress, as_batch_progress, write_results
from openai_runs.batch.progress import BatchProgress
from openai_runs.batch.result_files import open_results
from openai_runs.batch.saving import Saved
from tests.samples import EXAMPLES

pytestmark = pytest.mark.anyio

RUN = json.loads((EXAMPLES / "objects/RunObject.json").read_text())
COMPLETED = Outcome(load({**RUN, "status": "completed"}, Run))


def test_as_a_batchs():
    """What was cancelled counts as failed, as it does in the results."""
    progress = Progress(
        added=20, waiting=7, running=4, completed=5, failed=3, cancelled=1, tokens=99, total=20
    )  # fmt: skip
    assert as_batch_progress(progress, 0.5) == BatchProgress(
        total=20, taken=20, done=9, failed=4, in_flight=4, waiting=7, tokens=99, rate=0.5, seconds_left=22.0
    )


async def test_watching(store: Path, table: JobTable, monkeypatch: pytest.MonkeyPatch):
    """Jobs that end are counted, and those that had ended before are no part of the rate."""
    monkeypatch.setattr(watching, "_LOOK", 0.001)
    async with DurableBatches.open(store) as batches:
        batch = await batches.submit([{"assistant_id": "a"}] * 3)
        table.record(1, COMPLETED)
        watched = await WatchedProgress.of(batch)
        assert (watched.progress.done, watched.progress.rate) == (1, 0.0)
        table.record(2, COMPLETED)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.watch)
            while watched.progress.done < 2:  # it looks by itself
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert watched.progress.rate > 0
        assert watched.progress.in_flight == 0
        assert watched.progress.waiting == 1


async def test_writing(store: Path, table: JobTable, tmp_path: Path):
    """Each result is written once; a job that has no key has its position as one."""
    path, over, saved = tmp_path / "results.jsonl", anyio.Event(), Saved()
    over.set()
    async with DurableBatches.open(store) as batches:
        batch = await batches.submit([{"assistant_id": "a", "key": "first"}, {"assistant_id": "a"}])
        table.record(1, COMPLETED)
        with open_results(path) as file:
            await write_results(batch, file, saved, until=over)
        await batch.cancel()
        with open_results(path) as file:
            await write_results(batch, file, saved)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [(line["key"], line["status"]) for line in lines] == [("first", "completed"), ("1", "failed")]
    assert saved == Saved(completed=1, failed={"OpenAIRunsError": 1})
