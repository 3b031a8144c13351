"""Import and export: saved objects are stored unchanged, and written unchanged."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from openai_runs import _wire
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores import MemoryStore
from openai_runs.stores.import_export import ApiObject, ImportReport, export_objects, import_objects, parse
from openai_runs.stores.records import PageQuery
from openai_runs.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


def message(number: int, at: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "object": "thread.message",
        "created_at": at,
        "thread_id": "thread_1",
        "role": "user",
        "content": [{"type": "text", "text": {"value": str(number), "annotations": []}}],
        "metadata": {},
        **more,
    }


THREAD = {"id": "thread_1", "object": "thread", "created_at": 99, "metadata": {"a": "b"}, "from_the_future": [1]}
ASSISTANT = {"id": "asst_1", "object": "assistant", "created_at": 1, "model": "gpt-4o", "tools": [], "metadata": {}}
RUN = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": 101,
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "completed",
    "tools": [],
}
STEP = {
    "id": "step_1",
    "object": "thread.run.step",
    "created_at": 102,
    "thread_id": "thread_1",
    "run_id": "run_1",
    "type": "message_creation",
    "status": "completed",
    "step_details": {"type": "message_creation", "message_creation": {"message_id": "msg_9"}},
}


def lines(values: Iterable[Any]) -> str:
    return "\n".join(map(json.dumps, values))


async def bring(store: Any, *texts: str | bytes, report: ImportReport | None = None) -> ImportReport:
    report = report or ImportReport()
    files = [text.encode() if isinstance(text, str) else text for text in texts]
    objects: list[ApiObject] = [item for file in files for item in parse("file", file, report)]
    assert sum([count async for count in import_objects(store, objects, report)]) >= report.already_present
    return report


async def ids(store: Any, kind: Any, group: str) -> list[str]:
    records, _ = await store.page(kind, group, PageQuery(limit=100, order="asc"))
    return [record.value.id for record in records]


@pytest.mark.parametrize(
    "text",
    [
        lines([ASSISTANT, THREAD, message(1), message(2, 101)]),
        json.dumps([ASSISTANT, THREAD, message(1), message(2, 101)]),
        lines([ASSISTANT, THREAD, {"object": "list", "data": [message(2, 101), message(1)]}]),
        lines([message(2, 101), message(1), THREAD, ASSISTANT]) + "\n\n",
    ],
    ids=["JSON lines", "an array", "a list, newest first", "any order"],
)
async def test_objects_keep_their_ids_and_times(text: str):
    """Whatever form they were saved in, objects are imported unchanged, in order of creation."""
    store = MemoryStore()
    report = await bring(store, text)
    assert report.problems == []
    assert report.added == {"assistant": 1, "thread": 1, "thread.message": 2, "thread.run": 0, "thread.run.step": 0}
    assert await ids(store, Message, "thread_1") == ["msg_1", "msg_2"]
    record = await store.get(Thread, "thread_1")
    assert record is not None
    assert _wire.dump(record.value) == THREAD


async def test_a_list_in_one_second_keeps_its_order():
    """Objects of one second keep the order in which they were saved."""
    store = MemoryStore()
    await bring(store, json.dumps([message(n) for n in (1, 2, 3)]))
    assert await ids(store, Message, "thread_1") == ["msg_1", "msg_2", "msg_3"]


async def test_importing_twice_changes_nothing():
    """An object whose ID is in the store already is not changed, even if the second file differs."""
    store = MemoryStore()
    await bring(store, lines([THREAD, message(1)]))
    report = await bring(store, lines([THREAD, message(1, metadata={"changed": "yes"})]))
    assert sum(report.added.values()) == 0
    assert report.already_present == 2
    record = await store.get(Message, "msg_1")
    assert record is not None
    assert record.value.metadata == {}


async def test_a_bad_line_is_reported_and_skipped():
    """The problem has file, line and reason; objects of other kinds and values that are no objects are bad as well."""
    text = "\n".join(
        [
            "{",
            json.dumps(message(1) | {"role": 5}),
            json.dumps({"object": "file"}),
            "7",
            json.dumps(message(3) | {"id": "msg\0"}),
            json.dumps(message(3) | {"id": "\ud800"}),
            json.dumps(message(3) | {"thread_id": "thread\0"}),
            json.dumps(message(3) | {"run_id": ""}),
            json.dumps({"object": ["thread"]}),
            "[" * 100_000,
            '{"id": "\udcff"}',  # not UTF-8
            json.dumps(message(2)),
        ]
    )
    report = await bring(MemoryStore(), text.encode(errors="surrogateescape"))
    assert [problem.split(": ")[0] for problem in report.problems] == [f"file:{line}" for line in range(1, 12)]
    assert "$.role" in report.problems[1]
    assert report.added["thread.message"] == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
async def test_files_of_other_systems(mark: str, end: str):
    """A byte order mark and CRLF are accepted; other Unicode line breaks do not end a line."""
    text = "One\u2028two\u2029three\u0085four"
    said = [message(n, content=[{"type": "text", "text": {"value": text, "annotations": []}}]) for n in range(3)]
    store = MemoryStore()
    saved = end.join(json.dumps(item, ensure_ascii=False) for item in (THREAD, *said))
    report = await bring(store, mark + saved + end, mark + json.dumps(ASSISTANT))
    assert report.problems == []
    record = await store.get(Message, "msg_2")
    assert record is not None
    assert record.value.text == text
    assert await store.get(Assistant, "asst_1") is not None


@pytest.mark.parametrize("text", ["", "\n \n", "[]"])
async def test_an_empty_file(text: str):
    """An empty file is no problem."""
    assert await bring(MemoryStore(), text) == ImportReport()


async def test_a_missing_thread_is_created():
    """Without it, its messages could not be reached."""
    store = MemoryStore()
    report = await bring(store, lines([message(1, 105), message(2, 103)]))
    record = await store.get(Thread, "thread_1")
    assert record is not None
    assert record.value.created_at.timestamp() == 103
    assert (report.created_threads, report.added["thread"], report.already_present) == (1, 1, 0)


async def test_an_unfinished_run_expires():
    """No server would finish it, and an unfinished run would block its thread."""
    waiting = RUN | {
        "status": "requires_action",
        "expires_at": 700,
        "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}},
    }
    half = message(9, status="in_progress", run_id="run_1", role="assistant")
    store = MemoryStore()
    report = await bring(store, lines([waiting, STEP | {"status": "in_progress"}, half]))
    assert report.ended == 1
    run, step, text = [await store.get(k, i) for k, i in ((Run, "run_1"), (RunStep, "step_1"), (Message, "msg_9"))]
    assert run is not None and step is not None and text is not None  # noqa: PT018  # for the type checker
    assert (run.value.status, run.value.required_action, run.value.expires_at) == ("expired", None, None)
    assert step.value.status == "expired"
    assert (text.value.status, text.value.incomplete_details.reason) == ("incomplete", "run_expired")


async def test_export_writes_what_import_reads(tmp_path):
    """Exported from one store and imported into another, everything is unchanged."""
    breaks = [{"type": "text", "text": {"value": "One\u2028two\u2029three\u0085four\x0bfive\nsix", "annotations": []}}]
    everything = [ASSISTANT, THREAD, message(1, content=breaks), message(9, 102, run_id="run_1"), RUN, STEP]
    async with SQLiteStore(tmp_path / "one.db") as store:
        await bring(store, lines(everything))
        exported = [line async for line in export_objects(store)]
        assert [line async for line in export_objects(store, owner="somebody else")] == []
    assert [json.loads(line) for line in exported] == everything
    async with SQLiteStore(tmp_path / "two.db") as store:
        report = await bring(store, b"".join(exported))
        assert report.problems == []
        assert [line async for line in export_objects(store)] == exported
        assert await ids(store, Assistant, "") == ["asst_1"]
