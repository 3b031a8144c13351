"""What is counted of runs and model calls, and that no label can be made up."""

import pytest

from openai_runs._wire import load
from openai_runs.backends import Call, Fail, Say, Wait
from openai_runs.engine import ManualClock
from openai_runs.models.run import Run
from openai_runs.server.metrics import Metrics
from openai_runs.stores import MemoryStore
from tests.engine.world import TIME, world
from tests.following import story

pytestmark = pytest.mark.anyio


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"openai_runs_{name}", labels)


async def test_a_run_with_a_tool() -> None:
    """Counted are its end, its two waits and calls, the first token once, its tokens and each commit."""
    metrics = Metrics()
    async with world([Call("get_time"), Say("It is noon.")], observers=(metrics,)) as w:
        run = await w.start("When?", tools=[TIME])
        await w.answer(run)
        await w.until("run.completed", run)
        usage = (await w.get(run)).usage
    assert usage is not None
    assert value(metrics, "run_ends_total", status="completed") == 1
    assert value(metrics, "run_ends_total", status="failed") == 0
    assert value(metrics, "run_duration_seconds_count") == 1
    assert value(metrics, "run_queue_seconds_count") == 2
    assert value(metrics, "run_first_token_seconds_count") == 1
    assert value(metrics, "model_call_duration_seconds_count") == 2
    assert value(metrics, "model_call_errors_total", code="server_error") == 0
    assert value(metrics, "tokens_total", kind="prompt") == usage.prompt_tokens
    assert value(metrics, "tokens_total", kind="completion") == usage.completion_tokens
    commits = value(metrics, "store_commit_duration_seconds_count")
    assert commits is not None
    assert commits > 4


async def test_a_failed_call() -> None:
    """Counted by its code, and so is the run."""
    metrics = Metrics()
    async with world([Fail("rate_limit_exceeded")], observers=(metrics,)) as w:
        await w.until("run.failed", await w.start("Hello"))
    assert value(metrics, "model_call_errors_total", code="rate_limit_exceeded") == 1
    assert value(metrics, "run_ends_total", status="failed") == 1


async def test_a_cancelled_run() -> None:
    """Its call has not failed."""
    metrics = Metrics()
    async with world([Wait()], observers=(metrics,)) as w:
        run = await w.start("Hello")
        await w.settle()
        await w.engine.runs.cancel("", run.thread_id, run.id)
        await w.until("run.cancelled", run)
        await w.settle()
    assert value(metrics, "model_call_errors_total", code="server_error") == 0
    assert value(metrics, "run_ends_total", status="cancelled") == 1


async def test_a_run_of_an_earlier_process() -> None:
    """Its end and its calls are counted, and no duration, since its beginning is not known."""
    store, clock, metrics = MemoryStore(), ManualClock(), Metrics()
    async with world([Wait()], store=store, clock=clock, max_active_runs=1) as w:
        runs = [await w.start("Hello"), await w.start("Hello")]
        await w.settle()
    async with world([Say("Hello")], store=store, clock=clock, observers=(metrics,)) as w:
        for run in runs:
            await w.until("run.completed", run)
    assert value(metrics, "run_ends_total", status="completed") == 2
    assert value(metrics, "model_call_duration_seconds_count") == 2
    assert value(metrics, "run_queue_seconds_count") == 1
    assert value(metrics, "run_duration_seconds_count") == 0
    assert value(metrics, "run_first_token_seconds_count") == 0


async def test_a_run_that_was_given_up() -> None:
    """Nothing is known of it any more when it is ended after all."""
    metrics = Metrics()
    metrics.run_changed(load(story.run("cancelled"), Run), None)
    assert value(metrics, "run_ends_total", status="cancelled") == 0


async def test_the_load() -> None:
    """What executes and waits, whenever it is read."""
    metrics = Metrics()
    async with world([Wait()], observers=(metrics,), max_active_runs=1) as w:
        metrics.show_load(w.engine, lambda: 7)
        for _ in range(3):
            await w.start("Hello")
        assert [value(metrics, f"{name}") for name in ("runs_executing", "runs_queued", "streams_open")] == [1, 2, 7]


async def test_labels() -> None:
    """Only those of which all values are known beforehand; a client's texts, names and IDs are in none."""
    metrics = Metrics()
    async with world([Say("secret")], observers=(metrics,)) as w:
        assistant = await w.engine.assistants.create("secret", {"model": "secret", "name": "secret"})
        run = await w.engine.threads.create_and_run("secret", {"assistant_id": assistant.id})
        await w.until("run.completed", run)
    labels = {name for family in metrics.registry.collect() for sample in family.samples for name in sample.labels}
    values = {v for family in metrics.registry.collect() for sample in family.samples for v in sample.labels.values()}
    assert labels == {"status", "code", "kind", "le"}
    assert not {"secret", run.id, run.thread_id} & values
