"""Whose work a task does, and what a store makes of it: shown by the order of service, not by time."""

import asyncio
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest

from openai_runs.models.thread import Thread
from openai_runs.stores.commit_groups import MOST_OF_AN_OWNER
from openai_runs.stores.records import Record
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.worked_for import Lanes, work_for, worked_for
from tests.stores.objects import thread

pytestmark = pytest.mark.anyio


def of(owner: str, number: int) -> Record[Thread]:
    return thread(f"thread_{owner}_{number}", owner)


async def test_it_is_said_for_a_task():
    """And for what that task starts, but not for others."""

    async def work(owner: str) -> list[str]:
        work_for(owner)
        return [worked_for(), await asyncio.create_task(asyncio.sleep(0, worked_for()))]

    assert worked_for() == ""
    found = await asyncio.gather(*(asyncio.create_task(work(owner)) for owner in ("a", "b")))
    assert found == [["a", "a"], ["b", "b"]]
    assert worked_for() == ""


async def test_a_lane_for_each_owner():
    """Two of an owner's tasks are in it at once. Other owners do not wait for it, nor does nobody in particular."""
    lanes, inside, may_leave = Lanes(), Counter[str](), asyncio.Event()

    async def pass_through(owner: str) -> None:
        work_for(owner)
        async with lanes.of_caller() or nullcontext():
            inside[owner] += 1
            await may_leave.wait()

    async with asyncio.TaskGroup() as tasks:
        for owner in ("loud",) * 10 + ("",) * 10 + ("quiet",):
            tasks.create_task(pass_through(owner))
        for _ in range(5):
            await asyncio.sleep(0)
        assert inside == {"loud": 2, "": 10, "quiet": 1}
        may_leave.set()
    assert inside == {"loud": 10, "": 10, "quiet": 1}
    assert not lanes._lanes


@pytest.mark.parametrize("loud", ["loud", ""])
async def test_groups_of_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loud: str):
    """An owner has a part of each group only, so that the commits of others are in the next one; one alone has all."""
    store, groups = SQLiteStore(tmp_path / "store.db"), []
    write = store._write

    async def noting(group):
        groups.append([each.owner for each in group])
        return await write(group)

    monkeypatch.setattr(store, "_write", noting)

    async def commit(owner: str, number: int) -> None:
        work_for(owner)
        await store.commit([of(owner, number)])

    async with store, asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(commit(loud, number))
        tasks.create_task(commit("quiet", 0))
    assert sum(map(len, groups)) == 51
    begun = next(number for number, group in enumerate(groups) if "quiet" in group)
    assert begun <= 1
    if loud:
        assert max(map(len, groups)) == MOST_OF_AN_OWNER + 1
    else:
        assert len(groups) <= 2


async def test_a_commit_without_changes(tmp_path: Path):
    """It is made after all that were begun before: a server that hands its runs over has written the last of them."""
    done: list[str] = []

    async def commit(owner: str, number: int | None) -> None:
        work_for(owner)
        await store.commit([] if number is None else [of(owner, number)])
        done.append("" if number is None else owner)

    async with SQLiteStore(tmp_path / "store.db") as store, asyncio.TaskGroup() as tasks:
        for number in range(3 * MOST_OF_AN_OWNER):
            tasks.create_task(commit("loud", number))
        tasks.create_task(commit("", None))
    assert done.index("") == 3 * MOST_OF_AN_OWNER


async def test_reads_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The database has two of an owner's at once, so that one of another owner is not behind all of them."""
    store, reached = SQLiteStore(tmp_path / "store.db", cache_size=0), []
    async with store:
        await store.commit([of("loud", number) for number in range(20)] + [of("quiet", 0)])
        execute = store._execute

        async def noting(sql, parameters):
            reached.append(worked_for())
            return await execute(sql, parameters)

        monkeypatch.setattr(store, "_execute", noting)

        async def read(owner: str, number: int) -> None:
            work_for(owner)
            assert await store.get(Thread, f"thread_{owner}_{number}") == of(owner, number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(read("loud", number))
            tasks.create_task(read("quiet", 0))
    assert reached[:3] == ["loud", "loud", "quiet"]
    assert len(reached) == 21
