"""Import and export: saved objects are stored unchanged, and written unchanged."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs.backends import Call, Say
from openai_runs.engine import ApiError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores import MemoryStore
from openai_runs.stores.file_contents import whole
from openai_runs.stores.import_export import ApiObject, ImportReport, export_objects, import_objects, parse
from openai_runs.stores.records import PageQuery, Record
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store
from tests.engine.world import ALL, World, world
from tests.stores import objects as made

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
    assert report.added == {
        "assistant": 1,
        "thread": 1,
        "thread.message": 2,
        "thread.run": 0,
        "thread.run.step": 0,
        "file": 0,
        "vector_store": 0,
        "vector_store.file": 0,
    }
    assert await ids(store, Message, "thread_1") == ["msg_1", "msg_2"]
    record = await store.get(Thread, "thread_1")
    assert record is not None
    assert _wire.dump(record.value) == THREAD


async def test_sampling_that_the_hosted_api_shows_by_default_is_unset():
    """Every hosted assistant shows 1.0, asked for or not, and some models refuse a temperature."""
    store = MemoryStore()
    both, one = {"temperature": 1.0, "top_p": 1.0}, {"temperature": 0.2, "top_p": 1}
    await bring(store, lines([ASSISTANT | both, ASSISTANT | one | {"id": "asst_2"}]))
    stored = [(await store.get(Assistant, id)).value for id in ("asst_1", "asst_2")]
    assert [(each.temperature, each.top_p) for each in stored] == [(None, None), (0.2, None)]


async def test_what_is_written_by_hand():
    """An assistant or a thread needs no time, and is made now; what has an order needs it."""
    begin = datetime.now(UTC).replace(microsecond=0)
    texts = [lines([{**each, "created_at": None}]) for each in (ASSISTANT, THREAD)]
    texts += [lines([{k: v for k, v in each.items() if k != "created_at"}]) for each in (ASSISTANT, RUN)]
    async with MemoryStore() as store:
        report = await bring(store, texts[0], texts[1], texts[3])
        for kind, id in ((Assistant, "asst_1"), (Thread, "thread_1")):
            record = await store.get(kind, id)
            assert record is not None
            assert begin <= record.value.created_at <= datetime.now(UTC)
    assert [problem.partition(": ")[2] for problem in report.problems] == [
        "not a Run: missing 'created_at' @ $.created_at"
    ]
    report = ImportReport()
    assert len(list(parse("file", texts[2].encode(), report))) == 1
    assert list(parse("file", b'{"object": "assistant", "id": "asst_1"}', report)) == []
    assert report.problems == ["file:1: not an Assistant: missing 'model' @ $.model"]


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
    everything = [ASSISTANT, THREAD, message(1, content=breaks), RUN, STEP, message(9, 102, run_id="run_1")]
    async with SQLiteStore(tmp_path / "one.db") as store:
        await bring(store, lines(everything))
        exported = [line async for line in export_objects(store)]
    assert [json.loads(line) for line in exported] == everything
    async with SQLiteStore(tmp_path / "two.db") as store:
        report = await bring(store, b"".join(exported))
        assert report.problems == []
        assert [line async for line in export_objects(store)] == exported
        assert await ids(store, Assistant, "") == ["asst_1"]


async def test_nothing_is_imported_unfinished():
    """A message or step that was being written is ended, also if its run is not in the files: nobody would end it."""
    store = MemoryStore()
    half = message(9, status="in_progress", run_id="run_gone", role="assistant")
    await bring(store, lines([THREAD, half, STEP | {"status": "in_progress"}]))
    text, step = await store.get(Message, "msg_9"), await store.get(RunStep, "step_1")
    assert text is not None and step is not None  # noqa: PT018  # for the type checker
    assert (text.value.status, text.value.incomplete_details.reason) == ("incomplete", "run_expired")
    assert step.value.status == "expired"


async def test_threads_of_other_owners():
    """Nothing is added to what belongs to another owner; each reason is a problem that says how much it concerns."""
    store = MemoryStore()
    await store.commit([made.thread("thread_1", "shop"), made.run("run_1", "thread_1", "shop")])
    own = message(3, thread_id="thread_2")
    report = await bring(store, lines([THREAD, message(1), message(2), own, STEP | {"thread_id": "thread_2"}]))
    assert report.problems == [
        "1 not imported, such as thread thread_1: already in the store, of the owner 'shop'",
        "2 not imported, such as thread.message msg_1: in the thread thread_1 of the owner 'shop'",
        "1 not imported, such as thread.run.step step_1: in the run run_1 of the owner 'shop'",
    ]
    assert (report.added["thread"], report.added["thread.message"], report.already_present) == (1, 1, 0)
    assert await store.history("thread_1") == []
    assert ids_of(await store.history("thread_2")) == ["msg_3"]


async def test_export_of_an_unknown_owner():
    """An owner without objects is an error that names those who have some; an empty store has nothing to export."""
    store = MemoryStore()
    assert [line async for line in export_objects(store, owner="shop")] == []
    await store.commit([made.thread("thread_1", "shop"), made.thread("thread_2")])
    with pytest.raises(ValueError, match=r"no objects of the owner 'shp'; the owners in it are '' \(.*\), 'shop'"):
        [line async for line in export_objects(store, owner="shp")]


def ids_of(records: Sequence[Any]) -> list[str]:
    return [record.value.id for record in records]


async def test_tool_calls_stay_where_they_were():
    """All messages first and then all steps, as other programs save them: the calls are still before the answer."""
    asked, answer, later = message(1, 100), message(2, 101, run_id="run_1"), message(3, 101)
    calls = {"type": "tool_calls", "tool_calls": []}
    called = STEP | {"id": "step_0", "created_at": 101, "type": "tool_calls", "step_details": calls}
    wrote = {"type": "message_creation", "message_creation": {"message_id": "msg_2"}}
    store = MemoryStore()
    await bring(
        store,
        lines([THREAD, asked, answer, later]),
        lines([RUN, called, STEP | {"created_at": 101, "step_details": wrote}]),
    )
    assert ids_of(await store.history("thread_1")) == ["msg_1", "step_0", "msg_2", "msg_3"]


TURNS = st.lists(st.lists(st.sampled_from([Say("Well."), Call("f"), Call("g")]), max_size=3), max_size=4)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["say", "run", "run", "answer", "answer", "answer", "wait", "settle", "cancel"]),
        st.integers(0, 1),
    ),
    max_size=25,
)


async def converse(w: World, operation: str, thread_id: str, assistant_id: str) -> None:
    """Do one thing in a conversation; what the API does not allow now is not done."""
    with suppress(ApiError):
        if operation == "say":
            await w.engine.messages.create("", thread_id, {"role": "user", "content": "Hello"})
        elif operation == "run":
            more = [{"role": "user", "content": "More"}]
            body = {"assistant_id": assistant_id, "additional_messages": more}
            await w.engine.runs.create("", thread_id, body)
        elif operation == "wait":
            w.clock.advance(0.4)
        else:
            await w.settle()
        for run in (await w.engine.runs.list("", thread_id, ALL)).data:
            if operation == "cancel":
                await w.engine.runs.cancel("", thread_id, run.id)
            elif operation == "answer" and run.pending_tool_calls:
                outputs = [{"tool_call_id": call.id, "output": "x"} for call in run.pending_tool_calls]
                await w.engine.runs.submit_tool_outputs("", thread_id, run.id, outputs)


@pytest.mark.unmeasured
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@given(turns=TURNS, operations=OPERATIONS)
def test_a_conversation_is_the_same_after_export_and_import(kind: str, turns: Any, operations: list[tuple[str, int]]):
    """The model sees messages, calls and outputs in the order in which they happened, however fast that was."""

    async def test(one: Store, two: Store) -> None:
        async with world(turns, store=one) as w:
            assistant = await w.engine.assistants.create("", {"model": "m"})
            threads = [(await w.engine.threads.create("", {})).id for _ in range(2)]
            for operation, number in operations:
                await converse(w, operation, threads[number], assistant.id)
            await w.settle()
        async with one, two:
            report = await bring(two, b"".join([line async for line in export_objects(one)]))
            assert report.problems == []
            for thread in threads:
                expected = [as_imported(record) for record in await one.history(thread)]
                assert list(map(as_imported, await two.history(thread))) == expected

    with TemporaryDirectory() as folder:
        stores: list[Store] = [MemoryStore(), MemoryStore()]
        if kind == "sqlite":
            stores = [SQLiteStore(Path(folder, name)) for name in ("one.db", "two.db")]
        anyio.run(test, *stores)


def as_imported(record: Record[Any]) -> Any:
    """An object in full, or the ID of one that was saved unfinished and is expired now."""
    return record.value if record.value.status == "completed" else record.value.id


# Files


FILE = {
    "id": "file-1",
    "object": "file",
    "created_at": 98,
    "bytes": 9,
    "filename": "a.txt",
    "purpose": "assistants",
    "status": "processed",
}
PIECES = [{"object": "file.content", "file_id": "file-1", "data": data} for data in ("c29tZSA=", "dGV4dA==")]


async def content(store: Store, id: str) -> bytes:
    return await whole(await store.contents.source(id))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_files_come_with_their_contents(tmp_path: Path, kind: str):
    """What is exported has the contents, in pieces of bounded size, and is imported again."""
    large, empty = bytes(range(256)) * 10_000, b""
    source = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "runs.db")
    async with source:
        for id, data in {"file-1": large, "file-2": empty}.items():
            async with source.contents.drafting() as draft:
                await draft.write(data)
                await draft.keep(id)
            await source.commit([made.file(id, "shop", bytes=len(data))])
        await source.commit([made.file("file-3", "other")])
        exported = [line async for line in export_objects(source, owner="shop")]
    assert max(map(len, exported)) < 1_100_000
    assert [json.loads(line)["object"] for line in exported] == ["file", *["file.content"] * 4, "file"]
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "new.db")
    async with store:
        report = await bring(store, b"".join(exported))
        assert (report.problems, report.added["file"]) == ([], 2)
        assert [await content(store, id) for id in ("file-1", "file-2")] == [large, empty]
        again = await bring(store, b"".join(exported))
        assert (again.problems, again.added["file"], again.already_present) == ([], 0, 2)


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([], "file file-1 not imported: of its content there are 0 of 9 bytes"),
        (PIECES[:1], "file file-1 not imported: of its content there are 5 of 9 bytes"),
        ([PIECES[0], PIECES[1] | {"data": "dGV4=A"}], "file:3: "),
        ([{"object": "file.content", "data": ""}, *PIECES], "file:2: not a FilePiece: missing 'file_id'"),
        ([*PIECES, PIECES[0] | {"file_id": "\u0000"}], "file:4: not an ID: '\\x00'"),
    ],
)
async def test_a_content_that_is_not_whole(pieces: list[Any], problem: str):
    """A file without all of its content is not imported, and reported; everything else is imported."""
    store = MemoryStore()
    report = await bring(store, lines([FILE, *pieces, THREAD]))
    assert report.problems[0].startswith(problem)
    is_whole = sum(piece in pieces for piece in PIECES) == 2
    assert (report.added["file"], report.added["thread"], report.already_present) == (is_whole, 1, 0)
    assert (await store.get(File, "file-1") is not None) == is_whole
    assert list(store.contents._kept) == ["file-1"] * is_whole


async def test_another_owners_file():
    """It is reported, and neither changed nor given another content."""
    store = MemoryStore()
    await bring(store, lines([FILE, *PIECES]))
    report = ImportReport()
    objects = list(parse("file", lines([FILE | {"bytes": 0}]).encode(), report))
    async for _ in import_objects(store, objects, report, owner="other"):
        pass
    assert "already in the store, of nobody" in report.problems[0]
    assert await content(store, "file-1") == b"some text"
