"""`GroupedReads`: what is wanted at the same time is one statement, and each gets its own row, or its own error."""

import asyncio
from collections.abc import Mapping, Sequence

import anyio
import pytest

from openai_runs.errors import StoreUnavailableError
from openai_runs.stores.postgres import grouped_reads
from openai_runs.stores.postgres.grouped_reads import GroupedReads

pytestmark = pytest.mark.anyio


class Table:
    def __init__(self, *, is_slow: bool = False) -> None:
        self.statements: list[list[str]] = []
        self.damaged: set[str] = set()
        self.may_answer = anyio.Event()
        if not is_slow:
            self.may_answer.set()

    async def read(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.statements.append(list(keys))
        await self.may_answer.wait()
        if self.damaged.intersection(keys):
            raise ValueError("damaged")
        return {key: key.upper() for key in keys if key != "none"}


async def test_rows():
    """One that does not exist is none."""
    reads = GroupedReads(Table().read)
    assert (await reads.read("a"), await reads.read("none")) == ("A", None)
    await reads.close()


async def test_what_waits_is_one_statement(monkeypatch: pytest.MonkeyPatch):
    """Of so many keys at most, each once; those asked for later are not in a statement that has begun."""
    monkeypatch.setattr(grouped_reads, "_MOST_AT_ONCE", 1)
    monkeypatch.setattr(grouped_reads, "_MOST_KEYS", 3)
    table = Table(is_slow=True)
    reads = GroupedReads(table.read)
    first = asyncio.create_task(reads.read("a"))
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    others = [asyncio.create_task(reads.read(key)) for key in "abcdb"]
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    table.may_answer.set()
    assert await asyncio.gather(first, *others) == ["A", "A", "B", "C", "D", "B"]
    assert table.statements == [["a"], ["a", "b", "c"], ["d"]]
    await reads.close()


async def test_a_damaged_row(monkeypatch: pytest.MonkeyPatch):
    """It does not fail the others."""
    monkeypatch.setattr(grouped_reads, "_MOST_AT_ONCE", 1)
    table = Table()
    table.damaged.add("b")
    reads = GroupedReads(table.read)
    found = await asyncio.gather(*(reads.read(key) for key in "abc"), return_exceptions=True)
    assert found[::2] == ["A", "C"]
    assert isinstance(found[1], ValueError)
    with pytest.raises(ValueError, match="damaged"):
        await reads.read("b")
    await reads.close()


async def test_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch):
    """All who want rows are told after one attempt, and not one after the other."""
    monkeypatch.setattr(grouped_reads, "_MOST_AT_ONCE", 1)
    statements: list[int] = []

    async def read(keys: Sequence[str]) -> Mapping[str, str]:
        statements.append(len(keys))
        raise StoreUnavailableError("away")

    reads = GroupedReads(read)
    found = await asyncio.gather(*(reads.read(key) for key in "abc"), return_exceptions=True)
    assert [type(each) for each in found] == [StoreUnavailableError] * 3
    assert statements == [3]
    await reads.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_who_is_cancelled(fails: bool):
    """The others who want the same row get it, or the error."""
    table = Table(is_slow=True)
    if fails:
        table.damaged.add("a")
    reads = GroupedReads(table.read)
    gone, there = (asyncio.create_task(reads.read("a")) for _ in range(2))
    await anyio.lowlevel.checkpoint()
    gone.cancel()
    table.may_answer.set()
    if fails:
        with pytest.raises(ValueError, match="damaged"):
            await there
    else:
        assert await there == "A"
    with pytest.raises(asyncio.CancelledError):
        await gone
    await reads.close()


async def test_what_is_wanted_as_a_statement_ends(monkeypatch: pytest.MonkeyPatch):
    """Whoever gets a row wants the next one before the task that has read it is gone."""
    monkeypatch.setattr(grouped_reads, "_MOST_AT_ONCE", 1)
    reads = GroupedReads(Table().read)
    with anyio.fail_after(10):
        assert [await reads.read(key) for key in "abc"] == ["A", "B", "C"]
    await reads.close()


async def test_closing():
    """It waits for what is being read."""
    table = Table(is_slow=True)
    reads = GroupedReads(table.read)
    reading = asyncio.create_task(reads.read("a"))
    await anyio.lowlevel.checkpoint()
    closing = asyncio.create_task(reads.close())
    await anyio.lowlevel.checkpoint()
    assert not closing.done()
    table.may_answer.set()
    await closing
    assert await reading == "A"
