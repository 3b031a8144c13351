"""`MemoryStore`; `test_store` tests what every store promises, with this one too."""

from datetime import UTC, datetime

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.errors import UnknownCursorError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import CreatedMessage, MessageCreation, RunStep, ToolCalls
from openai_runs.models.thread import Thread
from openai_runs.stores.memory import MemoryStore
from openai_runs.stores.records import Delete, PageQuery, Record, RunState

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 31, tzinfo=UTC)


def assistant(id, owner=""):
    return Record(owner, Assistant(id=id, created_at=NOW, model="m"))


def thread(id="thread"):
    return Record("", Thread(id=id, created_at=NOW))


def message(id, thread_id="thread", run_id=None):
    return Record("", Message(id=id, created_at=NOW, thread_id=thread_id, role="user", run_id=run_id))


def run(id, thread_id="thread"):
    return Record("", Run(id=id, created_at=NOW, thread_id=thread_id, assistant_id="a", status="queued"))


def step(id, run_id="run", thread_id="thread", *, calls=True):
    details = ToolCalls(tool_calls=()) if calls else MessageCreation(message_creation=CreatedMessage(message_id="m"))
    return Record(
        "",
        RunStep(
            id=id,
            created_at=NOW,
            thread_id=thread_id,
            run_id=run_id,
            type=details.type,
            status="in_progress",
            step_details=details,
        ),
    )


def state(id, thread_id="thread"):
    return Record("", RunState(id=id, thread_id=thread_id, deadline=1.5))


def ids(records):
    return [record.value.id for record in records]


async def page(store, kind=Message, group="thread", run_id=None, **query):
    records, more = await store.page(kind, group, PageQuery(**query), part=run_id)
    return ids(records), more


async def test_put_get_delete():
    """The last put of an object counts; the same ID in another kind is another object."""
    async with MemoryStore() as store:
        changed = Record("me", Assistant(id="x", created_at=NOW, model="other"))
        await store.commit([assistant("x", "me"), changed, thread("x")])
        assert await store.get(Assistant, "x") == changed
        assert (await store.get(Thread, "x")).value.id == "x"
        await store.commit([Delete(Assistant, "x"), Delete(Assistant, "never was")])
        assert await store.get(Assistant, "x") is None
        assert await store.get(Thread, "x") is not None


async def test_lists():
    """Each object is in the list of its owner, thread or run, in order of creation, and keeps its place."""
    async with MemoryStore() as store:
        await store.commit([assistant("a1"), assistant("b1", "b"), assistant("a2")])
        await store.commit(
            [message("m1"), message("m2", "other"), message("m3"), run("r1"), run("r2"), run("r3", "other")]
        )
        await store.commit([step("s1", "r1"), step("s2", "r2"), step("s3", "r1"), message("m1")])
        assert await page(store, Assistant, "", order="asc") == (["a1", "a2"], False)
        assert await page(store, Assistant, "b") == (["b1"], False)
        assert await page(store, order="asc") == (["m1", "m3"], False)
        assert await page(store, Run) == (["r2", "r1"], False)
        assert await page(store, RunStep, "r1") == (["s3", "s1"], False)
        assert await page(store, group="nobody") == ([], False)


async def test_messages_of_a_run():
    """A thread's messages can be listed by run, and deleted ones disappear from there as well."""
    async with MemoryStore() as store:
        await store.commit([message("m1"), message("m2", run_id="r"), message("m3", run_id="r")])
        assert await page(store, run_id="r") == (["m3", "m2"], False)
        assert await page(store, run_id="other") == ([], False)
        await store.commit([Delete(Message, "m2"), Delete(Message, "m3")])
        assert await page(store, run_id="r") == ([], False)
        assert await page(store) == (["m1"], False)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ("98765", True)),
        ({"order": "asc"}, ("12345", True)),
        ({"after": "5"}, ("4321", False)),
        ({"after": "5", "order": "asc"}, ("6789", False)),
        ({"after": "9"}, ("87654", True)),
        ({"before": "3"}, ("87654", True)),  # the page before the one that begins with 3
        ({"before": "7"}, ("98", False)),
        ({"before": "7", "order": "asc"}, ("23456", True)),
        ({"before": "2", "after": "8"}, ("76543", False)),
        ({"before": "1", "after": "8"}, ("76543", True)),
        ({"before": "8", "after": "2", "order": "asc"}, ("34567", False)),
        ({"before": "9", "after": "1"}, ("", False)),
        ({"limit": 9}, ("987654321", False)),
        ({"limit": 1, "after": "1", "order": "asc"}, ("2", True)),
    ],
)
async def test_pages(query, expected):
    """Cursors in both directions; the result says whether there are more."""
    async with MemoryStore() as store:
        await store.commit([message(str(number)) for number in range(1, 10)])
        found, more = await page(store, **{"limit": 5, **query})
        assert ("".join(found), more) == expected


async def test_a_deleted_object_is_a_cursor():
    """A client may delete what it has listed, and continue from there."""
    async with MemoryStore() as store:
        await store.commit([message(str(number)) for number in range(1, 10)])
        await store.commit([Delete(Message, id) for id in "654"])
        assert await page(store, after="4") == (["3", "2", "1"], False)
        assert await page(store, before="5", order="asc") == (["1", "2", "3"], False)


async def test_deleted_cursors_are_limited(monkeypatch):
    """Objects that were deleted long ago take no memory."""
    monkeypatch.setattr("openai_runs.stores.memory._MAX_DELETED", 2)
    async with MemoryStore() as store:
        await store.commit([message(id) for id in "1234"])
        await store.commit([Delete(Message, id) for id in "234"])
        assert (await page(store, after="3"))[0] == ["1"]
        with pytest.raises(UnknownCursorError):
            await page(store, after="2")


@pytest.mark.parametrize("param", ["after", "before"])
@pytest.mark.parametrize("cursor", ["never was", "other", "of another list"])
async def test_unknown_cursor(param, cursor):
    """A cursor of another list is refused."""
    async with MemoryStore() as store:
        await store.commit([message("m"), thread("other"), message("of another list", "other")])
        with pytest.raises(UnknownCursorError) as caught:
            await page(store, **{param: cursor})
        assert caught.value.param == param


@pytest.mark.unmeasured
@given(st.integers(0, 30), st.integers(1, 7), st.sampled_from(["asc", "desc"]), st.data())
def test_paging_sees_everything_once(count, limit, order, data):
    """Whatever the page size, every object is listed once, in order."""
    anyio.run(_paging_sees_everything_once, count, limit, order, data)


async def _paging_sees_everything_once(count, limit, order, data):
    async with MemoryStore() as store:
        await store.commit([message(str(number)) for number in range(count)])
        expected = [str(number) for number in range(count)]
        for id in data.draw(st.sets(st.sampled_from(expected)) if expected else st.just(set())):
            await store.commit([Delete(Message, id)])
            expected.remove(id)
        seen, cursor, more = [], None, True
        while more:
            found, more = await page(store, limit=limit, order=order, after=cursor)
            assert len(found) == limit or not more
            seen += found
            cursor = found[-1] if found else None
        assert seen == (expected if order == "asc" else expected[::-1])


async def test_history():
    """A thread's messages and steps with tool calls, in order of creation."""
    async with MemoryStore() as store:
        assert await store.history("thread") == []
        await store.commit([message("m1"), step("s1"), step("s2", calls=False), message("m2", run_id="run")])
        await store.commit([message("m3"), message("m4", "other"), step("s3", "run2"), message("m5", run_id="run2")])
        assert ids(await store.history("thread")) == ["m1", "s1", "m2", "m3", "s3", "m5"]
        assert ids(await store.history("thread", last_messages=2)) == ["m3", "s3", "m5"]
        assert ids(await store.history("thread", last_messages=2, besides_run="run2")) == ["m2", "m3", "s3", "m5"]
        assert ids(await store.history("thread", last_messages=9)) == ["m1", "s1", "m2", "m3", "s3", "m5"]


async def test_unfinished():
    """Runs with a state, in order of creation."""
    async with MemoryStore() as store:
        await store.commit([run("r1"), state("r1"), run("r2"), state("r2")])
        assert ids(await store.unfinished()) == ["r1", "r2"]
        await store.commit([Delete(RunState, "r1")])
        assert ids(await store.unfinished()) == ["r2"]


async def test_a_thread_goes_with_all_that_is_in_it():
    """Everything in a deleted thread is gone, and nothing else."""
    async with MemoryStore() as store:
        everything = [message("m"), run("r"), state("r"), run("r0"), step("s", "r"), step("t", "r", calls=False)]
        others = [thread("o"), message("om", "o"), run("or", "o"), state("or", "o"), step("os", "or", "o")]
        await store.commit([thread("thread"), *everything, *others])
        await store.commit([Delete(Thread, "thread")])
        for record in (thread(), *everything):
            assert await store.get(type(record.value), record.value.id) is None
        for record in others:
            assert await store.get(type(record.value), record.value.id) == record
        assert await store.history("thread") == []
        assert ids(await store.unfinished()) == ["or"]


async def test_everything():
    """All objects of a kind and of all owners, oldest first."""
    async with MemoryStore() as store:
        await store.commit([assistant("a1"), thread("t"), assistant("a2", "me")])
        assert [record.value.id async for record in store.everything(Assistant)] == ["a1", "a2"]
