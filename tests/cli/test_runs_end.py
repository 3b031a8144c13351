"""`openai-runs runs end`."""

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from openai_runs.backends.model_backend import Detached, ModelBackend
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.stores.records import RunState
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run_in_thread
from tests.cli.saved import left_unfinished
from tests.engine.world import world
from tests.serving import serving
from tests.stores.faulty import damage

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_run_is_ended_by_hand(tmp_path: Path, status: str):
    """The run ends with its step and message, and has the reason; the next start has nothing to resume."""
    store_file = tmp_path / "runs.db"
    run_id, step_id, message_id = await left_unfinished(store_file)
    output = await run_in_thread(
        "runs", "end", run_id, "--store", store_file, "--status", status, "--reason", "It hung."
    )
    assert f"is {status} now" in output
    async with SQLiteStore(store_file) as store:
        ended, step = (await store.get(Run, run_id)).value, (await store.get(RunStep, step_id)).value
        assert (ended.status, step.status) == (status, status)
        assert (ended.last_error and ended.last_error.message) == ("It hung." if status == "failed" else None)
        assert (await store.get(Message, message_id)).value.incomplete_details.reason == f"run_{status}"
        assert await store.unfinished() == []
    output = await run_in_thread("runs", "end", run_id, "--store", store_file, exit_code=1)
    assert f"has ended already, and was not changed: its status is {status}" in output


async def test_a_damaged_run_is_ended_by_hand(tmp_path: Path):
    """Damaged records are listed and not changed; a run whose own record is damaged is not resumed any more."""
    store_file = tmp_path / "runs.db"
    run_id, step_id, message_id = await left_unfinished(store_file)
    damage(store_file, message_id)
    damage(store_file, run_id, kind="run_state")
    output = await run_in_thread("runs", "end", run_id, "--store", store_file)
    assert f"the message of step {step_id}" in output
    assert "its state" in output
    assert "Traceback" not in output
    async with SQLiteStore(store_file) as store:
        assert (await store.get(RunStep, step_id)).value.status == "failed"
        assert await store.unfinished() == []
    other, _, _ = await left_unfinished(tmp_path / "other.db")
    damage(tmp_path / "other.db", other, kind="run")
    output = await run_in_thread("runs", "end", other, "--store", tmp_path / "other.db", exit_code=1)
    assert "cannot be read or written, and stays as it is. No server will resume it" in output
    async with SQLiteStore(tmp_path / "other.db") as store:
        assert await store.unfinished() == []


async def test_a_call_that_may_go_on_is_named(tmp_path: Path):
    """A model call that may still run at the endpoint is named, since the command does not cancel it."""

    class Background(ModelBackend):
        async def respond(self, request):
            yield Detached("resp_1")
            await anyio.sleep_forever()

    async with world(Background(), store=SQLiteStore(tmp_path / "runs.db")) as w:
        of = await w.start()
        while not (await w.store.get(RunState, of.id)).value.handle:
            await anyio.lowlevel.checkpoint()
    assert "its model call may still run at the endpoint, as resp_1" in await run_in_thread(
        "runs", "end", of.id, "--store", tmp_path / "runs.db"
    )


async def test_no_run_to_end(tmp_path: Path):
    """No such run, no such store, a store in use: each error says what to do."""
    store_file = tmp_path / "runs.db"
    assert "there is no store" in await run_in_thread("runs", "end", "run_1", "--store", store_file, exit_code=2)
    async with SQLiteStore(store_file):
        pass
    assert "openai-runs export --store" in await run_in_thread(
        "runs", "end", "run_1", "--store", store_file, exit_code=1
    )
    with serving(store_file):
        output = await run_in_thread("runs", "end", "run_1", "--store", store_file, exit_code=1)
        assert "it is in use, and one process at a time can have it: stop the other one first" in output
