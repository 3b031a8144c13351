"""`save_results`: the results of a batch into a file."""

import json
from pathlib import Path

import pytest
from attrs import evolve

from openai_runs import load
from openai_runs.backends.scripted import Fail, Say, ScriptedBackend
from openai_runs.batch import BatchResult, JobRetries, RunJob, run_batch
from openai_runs.batch.result_files import open_results
from openai_runs.batch.saving import Saved, resumable, save_results, without_results
from openai_runs.models.run import Run, Usage
from tests.samples import EXAMPLES

pytestmark = pytest.mark.anyio


@pytest.fixture
def run() -> Run:
    return load((EXAMPLES / "objects/RunObject.json").read_bytes(), Run)


@pytest.fixture
def backend() -> ScriptedBackend:
    def turn(request):
        said = request.items[-1].text
        return {"busy": Fail("rate_limit_exceeded"), "bad": Fail("invalid_prompt")}.get(said, Say("Yes."))

    return ScriptedBackend(turn)


def job(assistant, text: str) -> RunJob:
    thread = {"messages": [{"role": "user", "content": text}]}
    return RunJob(key=text, assistant_id=assistant.id, thread=thread)


async def test_results_are_written_and_counted(session, assistant, tmp_path: Path):
    """Each has a line, and failures are counted by their kind."""
    path, saved = tmp_path / "results.jsonl", Saved()
    jobs = [job(assistant, text) for text in ("one", "bad", "two", "busy")]
    with open_results(path) as results:
        async with run_batch(session, resumable(iter(jobs), results), retries=None) as batch:
            await save_results(batch, results, saved, would_repeat=lambda _: True)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert {(line["key"], line["status"], line["text"]) for line in lines} == {
        ("one", "completed", "Yes."),
        ("two", "completed", "Yes."),
        ("bad", "failed", None),
        ("busy", "failed", None),
    }
    assert saved == Saved(completed=2, failed={"RunFailedError": 2})
    assert saved.written == 4


async def test_a_job_that_waits_for_its_repetition(session, assistant, tmp_path: Path):
    """If the batch is stopped meanwhile, it has no line, so that the next process tries it again."""
    path, saved, retries = tmp_path / "results.jsonl", Saved(), JobRetries(first=3600, longest=3600)

    def would_repeat(result):
        return retries.should_repeat(result, keys_honoured=True)

    jobs = [job(assistant, "busy"), job(assistant, "bad")]
    with open_results(path) as results:
        async with run_batch(session, jobs, workers=1, retries=retries) as batch:
            first = await anext(batch)  # the second job: the first one waits
            assert first.key == "bad"
            results.write(first)
            batch.drain()
            await save_results(batch, results, saved, would_repeat=would_repeat)
    assert [json.loads(line)["key"] for line in path.read_bytes().splitlines()] == ["bad"]
    assert saved == Saved(postponed=1)


@pytest.mark.parametrize(
    ("window", "usage", "counted"),
    [("8h", Usage(total_tokens=5), {"8h": 10}), ("8h", None, {}), (None, Usage(total_tokens=5), {})],
)
def test_tokens_by_window(run, window, usage, counted):
    """What counts is the window that the run has: an endpoint may not know of any."""
    saved, job = Saved(), RunJob(assistant_id="x", completion_window="8h")
    for _ in range(2):
        saved.add_tokens(BatchResult(0, job, evolve(run, completion_window=window), usage=usage))
    saved.add_tokens(BatchResult(0, job, None, usage=usage))
    assert saved.tokens == counted


async def test_jobs_with_results_are_left_out(run, tmp_path: Path):
    """One whose result is another job's is refused."""
    path = tmp_path / "results.jsonl"
    with open_results(path) as results:
        results.write(BatchResult(0, RunJob(assistant_id="x"), run, key="a"))
    with open_results(path) as results:
        jobs = [RunJob(key=key, assistant_id="x") for key in "ab"]
        assert [job["key"] for job in without_results(iter(jobs), results)] == ["b"]
        changed = [RunJob(key="a", assistant_id="y")]
        with pytest.raises(ValueError, match="another message, assistant or parameter"):
            list(without_results(iter(changed), results))


async def test_runs_of_failed_jobs(run, tmp_path: Path):
    """A job whose failure is removed gets the run that it had, and another one none."""
    path = tmp_path / "results.jsonl"
    with open_results(path) as results:
        results.write(BatchResult(0, RunJob(assistant_id="x"), run, ValueError("no answer"), key="a"))
    with open_results(path, retry_failed=True) as results:
        jobs = list(resumable(iter([RunJob(key=key, assistant_id="x") for key in "ab"]), results))
    assert [job.get("earlier_run") for job in jobs] == [(run.thread_id, run.id), None]


async def test_keys_are_given_to_jobs(tmp_path: Path):
    """A job that has an idempotency key of its own keeps it."""
    with open_results(tmp_path / "results.jsonl") as results:
        jobs = [RunJob(key="a", assistant_id="x"), RunJob(key="b", assistant_id="x", idempotency_key="mine")]
        keys = [job["idempotency_key"] for job in resumable(iter(jobs), results)]
        assert keys == [results.idempotency_key(jobs[0]), "mine"]
