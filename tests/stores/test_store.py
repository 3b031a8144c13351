"""What every store promises: `MemoryStore`, `SQLiteStore` and `PostgresStore` return the same."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import anyio
import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openai_runs import _wire
from openai_runs.backends import Say
from openai_runs.errors import HistoryTooLargeError, KeyUsedError, UnknownCursorError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import CalledFunction, FunctionStepCall, RunStep, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFileBatch
from openai_runs.stores import memory as store_module
from openai_runs.stores import table_store, thread_sizes
from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.records import (
    BatchFiles,
    Change,
    Delete,
    FileUse,
    IndexJob,
    PageQuery,
    Record,
    RunState,
    Stored,
    UsedKey,
    VectorStoreEntry,
)
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import ALL_RUNS, Store, part_for
from tests.engine.world import world
from tests.postgres import Postgres
from tests.stores.objects import (
    assistant,
    file,
    index_job,
    message,
    run,
    shelf,
    state,
    step,
    thread,
    used_key,
)

pytestmark = pytest.mark.anyio

KINDS = get_args(Stored)


@pytest.fixture(params=["memory", "sqlite", "sqlite without a cache", "postgres", "postgres without a cache"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
    cache_size = 0 if "without a cache" in request.param else 2**20
    if request.param == "memory":
        store: Store = MemoryStore()
    elif "sqlite" in request.param:
        store = SQLiteStore(tmp_path / "runs.db", cache_size=cache_size)
    else:
        url = request.getfixturevalue("postgres_server").store_url()
        store = PostgresStore(url, folder=tmp_path, cache_size=cache_size)
    async with store:
        yield store


def ids(records: Sequence[Record[Any]]) -> list[str]:
    return [record.value.id for record in records]


async def messages(store: Store, query: PageQuery, **options: Any) -> tuple[list[str], bool]:
    records, more = await store.page(Message, "thread_1", query, **options)
    return ids(records), more


# Numbers of any size


@pytest.mark.parametrize("number", [1, 3, 4, 2**63 - 1, 2**63, 2**64, int(1e300)])
async def test_last_messages_of_any_size(store: Store, number: int):
    """A number that is too large returns all messages."""
    await store.commit([message(str(index), "thread_1") for index in range(3)])
    found = await store.history("thread_1", last_messages=number)
    assert ids(found) == ["0", "1", "2"][-min(number, 3) :]


@pytest.mark.parametrize("number", [2**63, 10**400, 1e300, 300.0])
async def test_a_run_with_numbers_of_any_size(store: Store, number: float):
    """It completes, and shows the numbers of the request, also after a restart."""
    limits = {"max_prompt_tokens": number, "max_completion_tokens": number}
    async with world([Say("Hello")], store=Kept(store)) as w:
        strategy = {"type": "last_messages", "last_messages": number}
        created = await w.start("Hi", truncation_strategy=strategy, **limits)
        await w.until("run.completed", created)
        shown = await w.get(created)
    assert shown.truncation_strategy.last_messages == shown.max_prompt_tokens == number
    assert type(shown.truncation_strategy.last_messages) is type(shown.max_completion_tokens) is int


class Kept:
    """A store that is open already."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None: ...


# Used keys


async def test_a_key_can_be_used_once(store: Store):
    """Nothing of a commit with a used key is stored; commits at the same time are not affected."""
    await store.commit([thread("1"), used_key("k")])
    outcomes = await asyncio.gather(
        store.commit([assistant("2")]),
        store.commit([thread("1", "other"), Delete(Thread, "1"), assistant("3"), used_key("k", "other")]),
        store.commit([assistant("4"), used_key("l")]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), KeyUsedError, type(None)]
    assert await store.get(Thread, "1") == thread("1")
    assert await store.get(UsedKey, "k") == used_key("k")
    found = [await store.get(kind, id) for kind, id in ((Assistant, "2"), (Assistant, "3"), (UsedKey, "l"))]
    assert found == [assistant("2"), None, used_key("l")]


async def test_used_keys_are_deleted_in_order(store: Store):
    """The oldest keys can be listed, and deleted; then they can be used again, and are the newest."""
    await store.commit([thread("1"), *(used_key(f"k{n}") for n in range(3))])
    await store.commit([Delete(Thread, "1"), Delete(UsedKey, "k0")])
    await store.commit([used_key("k0")])
    records, more = await store.page(UsedKey, "", PageQuery(limit=2, order="asc"))
    assert (ids(records), more) == (["k1", "k2"], True)
    await store.commit([Delete(UsedKey, "k1"), Delete(UsedKey, "k2")])
    records, more = await store.page(UsedKey, "", PageQuery(limit=2, order="asc"))
    assert (ids(records), more) == (["k0"], False)


async def test_deleted_keys_are_no_cursors(store: Store, monkeypatch: pytest.MonkeyPatch):
    """However many keys are deleted, clients can page on after an object that they have deleted."""
    monkeypatch.setattr(store_module, "_MAX_DELETED", 5)
    await store.commit([*(message(str(n), "thread_1") for n in range(3)), *(used_key(str(n)) for n in range(10_001))])
    await store.commit([Delete(Message, "1")])
    await store.commit([Delete(UsedKey, str(n)) for n in range(10_001)])
    assert await messages(store, PageQuery(after="1", order="asc")) == (["2"], False)
    with pytest.raises(UnknownCursorError):
        await store.page(UsedKey, "", PageQuery(after="1"))


# Objects


async def test_objects_that_were_put_can_be_read(store: Store):
    """An object is read by its kind and ID, with its owner, any number of times."""
    records = [
        assistant("1", "ann"),
        thread("1", "bob"),
        message("1", "1", "cid"),
        run("1", "1", "dan"),
        step("1", "1", "1", "eva"),
        state("1", "1", "fay"),
        used_key("1", "guy"),
    ]
    await store.commit(records)
    for record in records * 2:
        assert await store.get(type(record.value), "1") == record
    assert await store.get(Run, "2") is None


@pytest.mark.parametrize("id", ["", "\0", "\ud800", "é", "run_1' OR 1=1 --", "%"])
async def test_any_text_can_be_asked_for(store: Store, id: str):
    """IDs and cursors come from clients: unusual ones are just not found."""
    await store.commit([run("run_1", "thread_1")])
    assert await store.get(Run, id) is None
    assert await store.page(Run, id, PageQuery()) == ([], False)
    for param in "after", "before":
        with pytest.raises(UnknownCursorError) as caught:
            await store.page(Run, "thread_1", PageQuery(**{param: id}))
        assert caught.value.param == param


async def test_put_again_replaces(store: Store):
    """An object that is put again replaces the old one, and keeps its place in the list."""
    await store.commit([run("run_1", "thread_1"), run("run_2", "thread_1")])
    await store.commit([run("run_1", "thread_1", status=RunStatus.COMPLETED)])
    found = await store.get(Run, "run_1")
    assert found is not None
    assert found.value.status is RunStatus.COMPLETED
    records, _ = await store.page(Run, "thread_1", PageQuery(order="asc"))
    assert [(r.value.id, r.value.status) for r in records] == [("run_1", "completed"), ("run_2", "queued")]


async def test_put_again_elsewhere(store: Store):
    """An object stays in the lists of its first record, whatever thread or run a later record names."""
    await store.commit([thread("1"), thread("2"), message("m", "1", run_id="r")])
    await store.commit([message("m", "2", run_id="other")])
    assert ids((await store.page(Message, "1", PageQuery()))[0]) == ["m"]
    assert ids((await store.page(Message, "1", PageQuery(after="m")))[0]) == []
    await store.commit([Delete(Thread, "2")])
    assert await store.get(Message, "m") is not None
    await store.commit([Delete(Thread, "1")])
    assert await store.get(Message, "m") is None


async def test_changes_of_a_commit_are_done_one_after_the_other(store: Store):
    """If a commit changes an object twice, the last change counts."""
    await store.commit([run("1", "t"), Delete(Run, "1"), run("2", "t"), run("2", "t", model="new"), Delete(Run, "3")])
    await store.commit([Delete(Run, "2"), run("2", "t", model="newest"), run("1", "t"), Delete(Run, "1")])
    assert await store.get(Run, "1") is None
    found = await store.get(Run, "2")
    assert found is not None
    assert found.value.model == "newest"
    await store.commit([])


async def test_deleted_objects_are_gone(store: Store):
    """A deleted object is not found; deleting one that does not exist is no error."""
    await store.commit([run("run_1", "thread_1"), state("run_1", "thread_1")])
    await store.commit([Delete(RunState, "run_1"), Delete(RunState, "run_2")])
    assert await store.get(RunState, "run_1") is None
    assert await store.get(Run, "run_1") is not None
    assert await store.unfinished() == []


async def test_a_thread_goes_with_all_that_is_in_it(store: Store):
    """Everything in a deleted thread is gone, and other threads are not changed."""
    for t in "12":
        await store.commit(
            [thread(t), message("m" + t, t), run("r" + t, t), state("r" + t, t), step("s" + t, "r" + t, t)]
        )
    await store.commit([Delete(Thread, "1")])
    for kind in (Thread, Message, Run, RunStep, RunState):
        left = [record.value.id async for record in store.everything(kind)]
        assert [id[-1] for id in left] == ["2"], kind
    assert ids(await store.unfinished()) == ["r2"]
    assert await store.history("1") == []
    assert ids(await store.history("2")) == ["m2", "s2"]
    for kind, group in (Message, "1"), (Run, "1"), (RunStep, "r1"):
        assert await store.page(kind, group, PageQuery()) == ([], False)
    for kind, id in (Thread, "1"), (Message, "m1"), (Run, "r1"), (RunStep, "s1"), (RunState, "r1"):
        assert await store.get(kind, id) is None


# Lists


@pytest.mark.parametrize(
    ("query", "expected", "more"),
    [
        (PageQuery(), "543210", False),
        (PageQuery(order="asc"), "012345", False),
        (PageQuery(limit=2), "54", True),
        (PageQuery(limit=2, order="asc"), "01", True),
        (PageQuery(limit=6), "543210", False),
        (PageQuery(after="3"), "210", False),
        (PageQuery(after="3", limit=2), "21", True),
        (PageQuery(after="3", order="asc"), "45", False),
        (PageQuery(before="3"), "54", False),
        (PageQuery(before="3", order="asc"), "012", False),
        (PageQuery(before="1", limit=2), "32", True),  # the two nearest to it, still the newest first
        (PageQuery(before="4", limit=2, order="asc"), "23", True),
        (PageQuery(after="5", before="1"), "432", False),
        (PageQuery(after="5", before="1", limit=2), "43", True),
        (PageQuery(after="1", before="5", order="asc", limit=2), "23", True),
        (PageQuery(after="1", before="5"), "", False),
        (PageQuery(after="0"), "", False),
    ],
)
async def test_a_part_of_a_list(store: Store, query: PageQuery, expected: str, more: bool):
    """Each combination of order, cursors and limit."""
    await store.commit([message(id, "thread_1") for id in "012"])
    await store.commit([message("x", "thread_2"), run("y", "thread_1"), *(message(id, "thread_1") for id in "345")])
    assert await messages(store, query) == (list(expected), more)


async def test_objects_are_listed_by_their_parent(store: Store):
    """Assistants are listed by owner, messages and runs by thread, steps by run."""
    await store.commit([assistant("a1", "ann"), assistant("a2", "bob"), assistant("a3", "ann")])
    await store.commit([run("r1", "t1"), run("r2", "t2"), step("s1", "r1", "t1"), step("s2", "r2", "t2", tools=False)])
    for kind, group, expected in (Assistant, "ann", ["a3", "a1"]), (Run, "t1", ["r1"]), (RunStep, "r2", ["s2"]):
        assert ids((await store.page(kind, group, PageQuery()))[0]) == expected


async def test_messages_of_a_run(store: Store):
    """Only those that the run wrote; any message of the thread can be a cursor; a run of another thread has none."""
    await store.commit([message("1", "thread_1"), message("2", "thread_1", run_id="r"), message("3", "thread_1")])
    await store.commit([message("4", "thread_1", run_id="r"), message("5", "thread_2", run_id="other")])
    assert await messages(store, PageQuery(), part="r") == (["4", "2"], False)
    assert await messages(store, PageQuery(after="3"), part="r") == (["2"], False)
    assert await messages(store, PageQuery(limit=1, order="asc"), part="r") == (["2"], True)
    assert await messages(store, PageQuery(), part="nobody's") == ([], False)
    assert await messages(store, PageQuery(), part="other") == ([], False)


async def test_runs_of_all_threads(store: Store):
    """An owner's runs are listed whatever their threads; only they are cursors, and they go with their threads."""
    await store.commit([thread("t1"), thread("t2"), run("1", "t1"), run("2", "t2"), message("m", "t1")])
    await store.commit([run("3", "t9", "ann"), run("4", "t1"), run("1", "t1", status=RunStatus.COMPLETED)])

    async def runs(owner: str = "", **query: Any) -> tuple[list[str], bool]:
        records, more = await store.page(Run, "", PageQuery(**query), part=part_for(owner, ALL_RUNS))
        return ids(records), more

    assert await runs() == (["4", "2", "1"], False)
    assert await runs("ann") == (["3"], False)
    assert await runs("bob") == ([], False)
    assert await runs(limit=1, after="4") == (["2"], True)
    assert await runs(order="asc", before="4") == (["1", "2"], False)
    for id in "3", "m", "5":
        with pytest.raises(UnknownCursorError):
            await runs(after=id)
    await store.commit([Delete(Thread, "t1")])
    assert await runs() == (["2"], False)


async def test_threads_of_an_owner(store: Store):
    """They are listed in order of creation; a thread that was deleted lately is still a cursor."""
    await store.commit([thread("1", "ann"), thread("2", "bob"), thread("3", "ann"), thread("4", "ann"), thread("5")])
    await store.commit([Delete(Thread, "3")])
    assert ids((await store.page(Thread, "ann", PageQuery()))[0]) == ["4", "1"]
    assert ids((await store.page(Thread, "ann", PageQuery(after="3")))[0]) == ["1"]
    assert ids((await store.page(Thread, "", PageQuery()))[0]) == ["5"]


async def test_cursors_must_be_in_the_list(store: Store):
    """An object of another list, or of none, is no cursor."""
    await store.commit([message("1", "thread_1"), message("2", "thread_2"), run("3", "thread_1")])
    for id in "2", "3", "4":
        for query in PageQuery(after=id), PageQuery(before=id), PageQuery(after=id, before="1"):
            with pytest.raises(UnknownCursorError) as caught:
                await messages(store, query)
            assert caught.value.param == ("before" if query.after is None else "after")


async def test_deleting_while_paging(store: Store):
    """After deleting a page's objects, the last of them can still be the cursor."""
    await store.commit([message(str(number), "thread_1") for number in range(10)])
    found, query = [], PageQuery(limit=3)
    while True:
        page, more = await messages(store, query)
        found += page
        await store.commit([Delete(Message, id) for id in page])
        if not more:
            break
        query = evolve(query, after=page[-1])
    assert found == list("9876543210")
    assert await messages(store, PageQuery(before="5")) == ([], False)


async def test_deleted_cursors_are_limited(store: Store, monkeypatch: pytest.MonkeyPatch):
    """The last 10,000 deleted objects can be cursors, so that a store does not grow by deleting."""
    count = 10_002
    await store.commit([message(str(number), "thread_1") for number in range(count)])
    await store.commit([Delete(Message, str(number)) for number in range(count)])
    for id in "2", str(count - 1):
        assert await messages(store, PageQuery(after=id)) == ([], False)
    with pytest.raises(UnknownCursorError):
        await messages(store, PageQuery(after="1"))


# What the engine reads


async def test_history(store: Store):
    """A thread's messages and steps with tool calls, in order of creation."""
    await store.commit(
        [message("m1", "t"), message("m2", "t"), step("s1", "r", "t"), step("s2", "r", "t", tools=False)]
    )
    await store.commit([message("m3", "t", run_id="r"), message("x", "other"), step("y", "z", "other")])
    assert ids(await store.history("t")) == ["m1", "m2", "s1", "m3"]
    assert ids(await store.history("t", last_messages=1)) == ["m3"]
    assert ids(await store.history("t", last_messages=1, besides_run="r")) == ["m2", "s1", "m3"]
    assert ids(await store.history("t", last_messages=2)) == ["m2", "s1", "m3"]
    assert ids(await store.history("t", last_messages=9)) == ["m1", "m2", "s1", "m3"]
    assert await store.history("nobody's") == []


async def test_messages_are_counted(store: Store):
    """The count is exact from `enough` on and never too low, whatever is changed or deleted meanwhile."""
    assert await store.count_messages("t", 3) == 0
    await store.commit([message("1", "t"), message("2", "t", run_id="r"), message("x", "other"), step("s", "r", "t")])
    assert await store.count_messages("t", 3) == 2
    await store.commit([message("1", "t", text="new"), message("1", "t", text="newer")])
    assert await store.count_messages("t", 3) == 2
    assert 2 <= await store.count_messages("t", 100) < 100
    await store.commit([message("3", "t"), message("4", "t"), Delete(Message, "1")])
    assert await store.count_messages("t", 3) == 3
    await store.commit([Delete(Thread, "t"), Delete(Message, "2"), Delete(Message, "3"), Delete(Message, "4")])
    assert await store.count_messages("t", 0) == 0


@pytest.mark.parametrize(("threads", "messages"), [(200, 1000), (2, 1000), (200, 2), (2, 2), (1, 1)])
async def test_bytes_of_an_owner(store: Store, monkeypatch: pytest.MonkeyPatch, threads: int, messages: int):
    """All threads and messages of an owner count, and nothing else, whatever a piece has room for."""
    monkeypatch.setattr(thread_sizes, "THREADS", threads)
    monkeypatch.setattr(thread_sizes, "MESSAGES", messages)
    for name, sql in {"SQLITE": thread_sizes.SQLITE, "POSTGRES": thread_sizes.POSTGRES}.items():
        limited = sql.replace("LIMIT 200", f"LIMIT {threads}").replace("LIMIT 1000", f"LIMIT {messages}")
        monkeypatch.setattr(thread_sizes, name, limited)
    assert await store.count_bytes("ann") == 0
    mine = [
        *(thread(id, "ann", metadata={"in": "Zürich"}) for id in ("a", "b", "c", "d", "e")),
        *(message(f"b{number}", "b", "ann", text="ü" * number) for number in range(5)),
        *(message(f"d{number}", "d", "ann", text="\N{SNOWMAN}") for number in range(3)),
    ]
    others = [thread("f", "bob"), message("f0", "f", "bob"), run("r", "b", "ann"), assistant("g", "ann")]
    await store.commit([*mine[:3], *others, *mine[3:]])
    assert await store.count_bytes("ann") == sum(len(_wire.encode(record.value)) for record in mine)
    await store.commit([Delete(Thread, "b"), message("d1", "d", "ann", text="x" * 100)])
    left = [record for record in mine if record.value.id[0] != "b" and record.value.id != "d1"]
    left.append(message("d1", "d", "ann", text="x" * 100))
    assert await store.count_bytes("ann") == sum(len(_wire.encode(record.value)) for record in left)


async def test_a_history_has_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch):
    """A history that is too large for any model is not read into memory; a part of it can be read."""
    for module in table_store, store_module:
        monkeypatch.setattr(module, "MAX_HISTORY", 20_000)
    call = FunctionStepCall(id="c", function=CalledFunction(name="f", arguments="{}", output="x" * 9000))
    called = step("s", "r", "t")
    called = Record("", evolve(called.value, step_details=ToolCalls(tool_calls=(call,))))
    await store.commit([message("1", "t", text="x" * 9000), called])
    assert ids(await store.history("t")) == ["1", "s"]
    await store.commit([message("2", "t", text="x" * 9000)])
    with pytest.raises(HistoryTooLargeError, match="more than 20000 bytes"):
        await store.history("t")
    assert ids(await store.history("t", last_messages=1)) == ["2"]


async def test_long_histories(store: Store):
    """A history is whole and in order whatever its length."""
    await store.commit([message(str(number), "t") for number in range(450)])
    assert ids(await store.history("t")) == [str(number) for number in range(450)]
    assert ids(await store.history("t", last_messages=250)) == [str(number) for number in range(200, 450)]


async def test_everything(store: Store):
    """All objects of a kind and of all owners, in order of creation."""
    await store.commit([thread(str(number), "ann" if number % 2 else "bob") for number in range(401)])
    await store.commit([thread("7", "ann", metadata={"changed": "yes"}), Delete(Thread, "3")])
    found = [record async for record in store.everything(Thread)]
    assert ids(found) == [str(number) for number in range(401) if number != 3]
    assert {record.owner for record in found} == {"ann", "bob"}
    assert [record async for record in store.everything(Run)] == []


async def test_everything_of_several_kinds(store: Store):
    """The kinds are mixed, as their objects were created."""
    await store.commit([message("1", "t"), thread("t"), step("2", "r", "t"), run("r", "t"), message("3", "t")])
    await store.commit([thread("t", metadata={"changed": "yes"})])
    assert ids([record async for record in store.everything(Message, Thread, RunStep)]) == ["1", "t", "2", "3"]


async def test_unfinished(store: Store):
    """Run states are listed in order of creation; one that is put again keeps its place."""
    await store.commit([state("b", "1"), state("a", "2"), state("c", "3")])
    await store.commit([Delete(RunState, "a"), state("b", "1", steps=("s",))])
    assert await store.unfinished() == [state("b", "1", steps=("s",)), state("c", "3")]


async def test_concurrent_commits(store: Store):
    """Any number of commits at a time, each of its own thread: all are applied, and each list is in order."""
    async with anyio.create_task_group() as tasks:

        async def commit_messages(thread_id: str) -> None:
            for number in range(10):
                await store.commit([message(f"{thread_id}/{number}", thread_id)])
                found = await store.get(Message, f"{thread_id}/{number}")
                assert found is not None

        for number in range(30):
            tasks.start_soon(commit_messages, str(number))
    for number in range(30):
        assert ids(await store.history(str(number))) == [f"{number}/{n}" for n in range(10)]


# All together


class Stores(RuleBasedStateMachine):
    """Whatever is done, another store returns what `MemoryStore` returns, also after it was closed and opened again."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.numbers = itertools.count()
        self.threads: dict[str, str] = {}  # the owner of each existing thread
        self.runs: dict[str, str] = {}  # the thread of each run
        self.seen: dict[type[Any], list[str]] = {kind: ["unheard-of"] for kind in KINDS}

    @initialize(cache_size=st.sampled_from([0, 2_000, 2**20]))
    def open(self, cache_size: int) -> None:
        self.memory = MemoryStore()
        self.other = self.new_store(cache_size)
        self.runner.run(self.other.__aenter__())

    def new_store(self, cache_size: int) -> SQLiteStore | PostgresStore:
        return SQLiteStore(Path(self.folder.name) / "runs.db", cache_size=cache_size)

    def teardown(self) -> None:
        self.runner.run(self.other.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()

    @rule()
    def restart(self) -> None:
        self.runner.run(self.other.__aexit__(None, None, None))
        self.runner.run(self.other.__aenter__())

    def new_id(self, kind: type[Any], data: st.DataObject) -> str:
        """The ID of a new, an existing or a deleted object."""
        id = data.draw(st.sampled_from(self.seen[kind]) | st.none(), "id") if kind in (Assistant, Message) else None
        if id is None or id == "unheard-of":
            id = f"{kind.__name__}{next(self.numbers)}"
            self.seen[kind].append(id)
        return id

    def change(self, data: st.DataObject, threads: Sequence[str]) -> list[Change]:
        """A change that is valid for the objects that exist."""
        runs = [id for id, thread_id in self.runs.items() if thread_id in threads]
        kinds: list[str] = ["thread", "assistant", "delete"]
        kinds += ["message", "run", "delete thread"] * bool(threads) + ["step", "state", "update run"] * bool(runs)
        owner = data.draw(st.sampled_from(["ann", "bob ☂"]), "owner")
        match data.draw(st.sampled_from(kinds), "what"):
            case "assistant":
                return [assistant(self.new_id(Assistant, data), "ann")]
            case "thread":
                id = self.new_id(Thread, data)
                self.threads[id] = owner
                return [thread(id, owner)]
            case "message":
                return self.message(data, data.draw(st.sampled_from(threads), "thread"), runs)
            case "run":
                id, thread_id = self.new_id(Run, data), data.draw(st.sampled_from(threads), "thread")
                self.runs[id] = thread_id
                self.seen[RunState].append(id)
                return [run(id, thread_id), state(id, thread_id, owner)]
            case "update run":
                id = data.draw(st.sampled_from(runs), "run")
                return [run(id, self.runs[id], owner, status=data.draw(st.sampled_from(RunStatus)))]
            case "state":
                id = data.draw(st.sampled_from(runs), "run")
                return [state(id, self.runs[id], steps=("s",))]
            case "step":
                run_id = data.draw(st.sampled_from(runs), "run")
                id = self.new_id(RunStep, data)
                return [step(id, run_id, self.runs[run_id], owner, tools=data.draw(st.booleans(), "tools"))]
            case "delete thread":
                id = data.draw(st.sampled_from(threads), "thread")
                del self.threads[id]
                self.runs = {run_id: thread_id for run_id, thread_id in self.runs.items() if thread_id != id}
                return [Delete(Thread, id)]
            case _:
                kind = data.draw(st.sampled_from([Assistant, Message, RunStep, RunState, UsedKey]), "kind")
                return [Delete(kind, data.draw(st.sampled_from(self.seen[kind]), "id"))]

    def message(self, data: st.DataObject, thread_id: str, runs: Sequence[str]) -> list[Change]:
        mine = [id for id in runs if self.runs[id] == thread_id]
        run_id = data.draw(st.none() | st.sampled_from(mine)) if mine else None
        id = self.new_id(Message, data)
        old = self.runner.run(self.memory.get(Message, id))
        if old is not None:  # a message stays in its thread, and its run's
            thread_id, run_id = old.value.thread_id, old.value.run_id
        text = data.draw(st.text(max_size=5), "text")
        return [message(id, thread_id, text=text, run_id=run_id)]

    @rule(data=st.data(), size=st.integers(1, 5))
    def commit(self, data: st.DataObject, size: int) -> None:
        changes: list[Change] = []
        for _ in range(size):
            changes += self.change(data, list(self.threads))
        self.runner.run(self.memory.commit(changes))
        self.runner.run(self.other.commit(changes))

    @rule(id=st.sampled_from(["k1", "k2", "k3"]), owner=st.sampled_from(["ann", "bob ☂"]))
    def use_key(self, id: str, owner: str) -> None:
        """A commit with a used key stores nothing."""
        self.seen[UsedKey].append(id)
        self.seen[Assistant].append(f"of {id}")
        changes = [assistant(f"of {id}", owner, name=str(next(self.numbers))), used_key(id, owner)]

        def is_stored(store: Store) -> bool:
            try:
                self.runner.run(store.commit(changes))
            except KeyUsedError:
                return False
            return True

        assert is_stored(self.memory) == is_stored(self.other)

    @precondition(lambda self: len(self.threads) > 1)
    @rule(data=st.data())
    def commit_together(self, data: st.DataObject) -> None:
        """Commits of different threads, which do not depend on each other."""
        commits: list[list[Change]] = []
        for thread_id in list(self.threads):
            mine = [id for id, owner in self.runs.items() if owner == thread_id]
            commits.append(self.message(data, thread_id, mine) if data.draw(st.booleans()) else [])
        commits = list({c[0].value.id: c for c in commits if c}.values())
        for changes in commits:
            self.runner.run(self.memory.commit(changes))

        async def together() -> None:
            async with asyncio.TaskGroup() as tasks:
                for changes in commits:
                    tasks.create_task(self.other.commit(changes))

        self.runner.run(together())

    @rule(data=st.data())
    def empty(self, data: st.DataObject) -> None:
        """The same is deleted in both, if there is a thread without an unfinished run."""
        thread_id = data.draw(st.sampled_from(self.seen[Thread]), "thread")
        gone = self.runner.run(self.memory.empty_some(thread_id))
        assert self.runner.run(self.other.empty_some(thread_id)) == gone
        if gone is not None:
            self.runs = {id: of for id, of in self.runs.items() if of != thread_id}
        owners = [sorted(self.runner.run(store.owners_of_threads())) for store in (self.memory, self.other)]
        assert owners[0] == owners[1] == sorted(set(self.threads.values()))

    @rule(data=st.data(), kind=st.sampled_from([Assistant, Thread, Message, Run, RunStep]))
    def page(self, data: st.DataObject, kind: type[Any]) -> None:
        parent = {Message: Thread, Run: Thread, RunStep: Run}.get(kind)
        group = data.draw(st.sampled_from(self.seen[parent] if parent else ["ann", "bob ☂"]), "group")
        cursors = st.none() | st.sampled_from(self.seen[kind])
        query = PageQuery(
            limit=data.draw(st.integers(1, 5), "limit"),
            order=data.draw(st.sampled_from(["asc", "desc"]), "order"),
            after=data.draw(cursors, "after"),
            before=data.draw(cursors, "before"),
        )
        part = data.draw(st.none() | st.sampled_from(self.seen[Run]), "run") if kind is Message else None
        if kind is Run and data.draw(st.booleans(), "of all threads"):
            group, part = "", part_for(data.draw(st.sampled_from(["", "ann", "bob ☂"]), "owner"), ALL_RUNS)
        assert self.answer(self.other, kind, group, query, part) == self.answer(self.memory, kind, group, query, part)

    def answer(self, store: Store, kind: type[Any], group: str, query: PageQuery, part: str | None) -> Any:
        try:
            records, more = self.runner.run(store.page(kind, group, query, part=part))
        except UnknownCursorError as error:
            return error.param
        return list(records), more

    @rule(data=st.data(), last=st.none() | st.integers(1, 4))
    def history(self, data: st.DataObject, last: int | None) -> None:
        thread_id = data.draw(st.sampled_from(self.seen[Thread]), "thread")
        besides = data.draw(st.sampled_from(["", *self.seen[Run]]), "besides")
        expected = self.runner.run(self.memory.history(thread_id, last_messages=last, besides_run=besides))
        assert self.runner.run(self.other.history(thread_id, last_messages=last, besides_run=besides)) == expected

    @rule(owner=st.sampled_from(["ann", "bob ☂"]))
    def count_bytes(self, owner: str) -> None:
        assert self.runner.run(self.other.count_bytes(owner)) == self.runner.run(self.memory.count_bytes(owner))

    @rule(data=st.data(), kind=st.sampled_from(KINDS))
    def get(self, data: st.DataObject, kind: type[Any]) -> None:
        id = data.draw(st.sampled_from(self.seen[kind]), "id")
        assert self.runner.run(self.other.get(kind, id)) == self.runner.run(self.memory.get(kind, id))

    @invariant()
    def all_is_there(self) -> None:
        async def everything(store: Store) -> list[Any]:
            return [await store.unfinished(), *[[r async for r in store.everything(kind)] for kind in KINDS]]

        assert self.runner.run(everything(self.other)) == self.runner.run(everything(self.memory))


TestStoresAgree = pytest.mark.unmeasured(Stores.TestCase)
TestStoresAgree.settings = settings(stateful_step_count=30)


class StoresOnPostgres(Stores):
    """The same with a `PostgresStore`."""

    server: ClassVar[Postgres]

    def new_store(self, cache_size: int) -> PostgresStore:
        return PostgresStore(self.server.store_url(), folder=self.folder.name, cache_size=cache_size)


@pytest.mark.unmeasured
class TestStoresAgreeOnPostgres(StoresOnPostgres.TestCase):
    settings = settings(stateful_step_count=30, max_examples=settings().max_examples // 2)

    @pytest.fixture(autouse=True)
    def _server(self, postgres_server: Postgres):
        StoresOnPostgres.server = postgres_server


# Vector stores


async def test_a_vector_store_takes_all_along(store: Store):
    """Its entries, batches, uses of files and jobs go with it, also from the cache; those of others stay."""
    await store.commit([*shelf("vs_1", "ann", "f1", "f2"), *shelf("vs_2", "ann", "f1")])
    for kind, id in ((VectorStoreEntry, "vs_1/f1"), (IndexJob, "vs_1/f1"), (FileUse, "vs_1/f1")):
        assert await store.get(kind, id) is not None
    last = index_job("vs_1", None, "ann")
    await store.commit([Delete(VectorStore, "vs_1"), last])
    kinds = (VectorStore, VectorStoreEntry, VectorStoreFileBatch, BatchFiles, FileUse, IndexJob)
    left = {kind: [record.value.id async for record in store.everything(kind)] for kind in kinds}
    assert left == {
        VectorStore: ["vs_2"],
        VectorStoreEntry: ["vs_2/f1"],
        VectorStoreFileBatch: ["b of vs_2"],
        BatchFiles: ["b of vs_2"],
        FileUse: ["vs_2/f1"],
        IndexJob: ["vs_2/f1", "vs_1"],
    }
    for kind, id in ((VectorStoreEntry, "vs_1/f1"), (FileUse, "vs_1/f1"), (IndexJob, "vs_1/f1")):
        assert await store.get(kind, id) is None
    assert await store.get(IndexJob, "vs_1") == last


async def test_what_clients_do_not_page_through(store: Store, monkeypatch: pytest.MonkeyPatch):
    """However many jobs and uses of files are deleted, clients can page on after an object that they have deleted."""
    monkeypatch.setattr(store_module, "_MAX_DELETED", 5)
    await store.commit([*(message(str(n), "thread_1") for n in range(3)), Delete(Message, "1")])
    await store.commit([record for n in range(4) for record in shelf(f"vs_{n}", "ann", "f1", "f2")])
    for kind in IndexJob, FileUse, BatchFiles:
        found = [record.value.id async for record in store.everything(kind)]
        await store.commit([Delete(kind, id) for id in found])
    assert await messages(store, PageQuery(after="1", order="asc")) == (["2"], False)


async def test_everything_of_one_kind(store: Store):
    """Files have an index of their own, and come in their order, as all others do."""
    await store.commit([file("1"), thread("t"), file("2", "bob"), *shelf("vs_1", "", "1"), file("1", filename="b")])
    assert [record.value.id async for record in store.everything(File)] == ["1", "2"]
    assert [record.value.id async for record in store.everything(File, Thread)] == ["1", "t", "2"]


async def test_lists_of_vector_stores(store: Store):
    """Stores are listed by owner, entries by store, uses by file."""
    await store.commit([*shelf("vs_1", "ann", "f1", "f2"), *shelf("vs_2", "ann", "f1"), *shelf("vs_3", "bob")])
    found = {
        (kind, group): ids((await store.page(kind, group, PageQuery(order="asc")))[0])
        for kind, group in [(VectorStore, "ann"), (VectorStoreEntry, "vs_1"), (FileUse, "f1"), (FileUse, "f2")]
    }
    assert list(found.values()) == [["vs_1", "vs_2"], ["vs_1/f1", "vs_1/f2"], ["vs_1/f1", "vs_2/f1"], ["vs_1/f2"]]
    await store.commit([Delete(VectorStoreEntry, "vs_1/f1"), Delete(FileUse, "vs_1/f1")])
    records, _ = await store.page(VectorStoreEntry, "vs_1", PageQuery(order="asc", after="vs_1/f1"))
    assert ids(records) == ["vs_1/f2"]


# Files


async def test_files_by_purpose(store: Store):
    """The files for a purpose are a part of their owner's list."""
    records = [file(str(number), owner, purpose=purpose) for number, (owner, purpose) in enumerate(FILES)]
    await store.commit(records)
    for owner, purpose, expected in [
        ("ann", "vision", ["0", "3"]),
        ("ann", "batch", ["1"]),
        ("bob", "vision", ["2"]),
        ("bob", "evals", []),
    ]:
        found, more = await store.page(File, owner, PageQuery(order="asc"), part=part_for(owner, purpose))
        assert (ids(found), more) == (expected, False)
    found, more = await store.page(File, "ann", PageQuery(limit=1, after="3"), part=part_for("ann", "vision"))
    assert (ids(found), more) == (["0"], False)
    assert ids((await store.page(File, "ann", PageQuery(limit=10_000)))[0]) == ["3", "1", "0"]


FILES = [("ann", "vision"), ("ann", "batch"), ("bob", "vision"), ("ann", "vision")]
