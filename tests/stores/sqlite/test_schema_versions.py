"""Store files of every version of the schema stay readable: ``samples/stores`` has one of each version.

Each was made by the first code that wrote this schema, such as ``schema-1.db`` with ``python -m
tests.stores.sqlite.test_schema_versions tests/samples/stores/schema-1.db``. Never make a file again: when the schema
changes, add one, made by the code that introduces the new version.
"""

import shutil
import sys
from pathlib import Path

import anyio
import pytest

from openai_runs.backends import Call, Say, ScriptedBackend, Wait
from openai_runs.engine import ManualClock
from openai_runs.models.file import File
from openai_runs.models.run import Run
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFileBatch
from openai_runs.stores import PageQuery
from openai_runs.stores.records import BatchFiles, EndpointObject, FileUse, IndexJob, RunState, VectorStoreEntry
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.sqlite.schema import MIGRATIONS
from openai_runs.stores.store import ALL_RUNS, part_for
from openai_runs.stores.table_rows import KINDS
from tests.engine.endpoint import Endpoint
from tests.engine.world import ALL, WEATHER, conform, world

pytestmark = pytest.mark.anyio

#: Of which `make` makes none.
LATER = (File, VectorStore, VectorStoreEntry, VectorStoreFileBatch, BatchFiles, FileUse, IndexJob, EndpointObject)

STORES = Path(__file__).parents[2] / "samples/stores"


async def make(path: Path) -> None:
    """An assistant with a tool; a completed run with tool calls, one that waits for outputs, and a queued one."""

    def script(request):
        if "wait" in request.metadata:
            return Wait()
        return Say("Sunny, 21 °C.") if request.rounds else [Say("Let me look."), Call("get_weather", {"city": "Oslo"})]

    async with world(script, store=SQLiteStore(path), max_active_runs=1) as w:
        done = await w.start("What is the weather in Oslo?", tools=[WEATHER], metadata={"kept": "yes"}, owner="shop")
        await w.answer(done, '{"sky": "clear"}', owner="shop")
        await w.until("run.completed", done)
        waiting = await w.start("And now?", tools=[WEATHER], owner="shop")
        await w.until("run.requires_action", waiting)
        await w.until("run.in_progress", await w.start("Hold on.", metadata={"wait": "yes"}, owner="shop"))
        await w.start("Your turn.", owner="shop", truncation_strategy={"type": "last_messages", "last_messages": 3})


def test_there_is_one_of_each_version():
    """A change of the schema needs another file."""
    assert sorted(path.name for path in STORES.glob("*.db")) == [
        f"schema-{version}.db" for version in range(1, len(MIGRATIONS) + 1)
    ]


@pytest.fixture(params=sorted(STORES.glob("*.db")), ids=lambda path: path.stem)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copy(request.param, tmp_path))


async def test_everything_can_be_read(copy: Path):
    """Every object can be loaded, and none is missing."""
    async with SQLiteStore(copy) as store:
        found = {kind: [record async for record in store.everything(kind)] for kind in KINDS.values()}
        assert [(kind.__name__, len(records)) for kind, records in found.items()] == [
            *[
                ("Assistant", 4),
                ("Thread", 4),
                ("Message", 7),
                ("Run", 4),
                ("RunStep", 5),
                *((kind.__name__, 0) for kind in LATER),
                ("RunState", 3),
                ("UsedKey", 0),
                ("SpentTokens", 0),
            ]
        ]
        for kind, records in found.items():
            assert {record.owner for record in records} == ({"shop"} if records else set())
            for record in records:
                assert (await store.get(kind, record.value.id)) == record
                if kind is not RunState:
                    conform(record.value)
        runs, _ = await store.page(Run, "", PageQuery(order="asc"), part=part_for("shop", ALL_RUNS))
        threads, _ = await store.page(Thread, "shop", PageQuery(order="asc"))
        assert (runs, threads) == (found[Run], found[Thread])
        done = found[Run][0].value
        history = [record.value for record in await store.history(done.thread_id)]
        assert [item.object for item in history] == [
            "thread.message",
            "thread.message",
            "thread.run.step",
            "thread.message",
        ]
        assert history[2].step_details.tool_calls[0].function.output == '{"sky": "clear"}'
        assert (history[3].text, done.metadata) == ("Sunny, 21 °C.", {"kept": "yes"})


async def test_an_engine_goes_on_with_it(copy: Path):
    """The unfinished runs end: one gets its outputs; the interrupted and the queued one are executed."""
    async with world(ScriptedBackend([Say("Done."), Say("Rain.")]), store=SQLiteStore(copy), clock=ManualClock()) as w:
        runs = [record.value async for record in w.store.everything(Run)]
        done, waiting, interrupted, queued = runs
        assert [run.status for run in (done, waiting)] == ["completed", "requires_action"]
        for run in interrupted, queued:
            await w.until("run.completed", run)
        outputs = [{"tool_call_id": call.id, "output": "rain"} for call in waiting.pending_tool_calls]
        await w.engine.runs.submit_tool_outputs("shop", waiting.thread_id, waiting.id, outputs)
        await w.until("run.completed", waiting)
        assert (await w.messages(waiting, "shop"))[-1].text == "Rain."
        for run in runs:
            assert (await w.get(run, "shop")).status == "completed"
            assert (await w.engine.runs.list("shop", run.thread_id, PageQuery())).data[0].id == run.id
        assert len((await w.engine.assistants.list("shop", ALL)).data) == 4
        again = await w.engine.runs.create("shop", done.thread_id, {"assistant_id": done.assistant_id})
        await w.until("run.completed", again)


async def test_what_is_at_an_endpoint_can_be_noted_in_it(copy: Path):
    """Also beside what was there, and it is found again."""
    for is_new in True, False:
        async with world(store=SQLiteStore(copy), files_endpoint=Endpoint()) as w:
            if is_new:
                await w.engine.endpoint_objects.add("shop", "file", "file-1")
            assert await w.engine.endpoint_objects.ids("shop", "file") == {"file-1"}
            assert await w.engine.endpoint_objects.is_usable("shop", "file", "file-1")
            assert not await w.engine.endpoint_objects.is_usable("other", "file", "file-1")


if __name__ == "__main__":
    anyio.run(make, Path(sys.argv[1]))
