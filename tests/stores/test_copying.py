"""A copy of a store has all that was in it, in the same order, whichever way it goes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openai_runs.errors import StoreDataError, StoreFileError
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.stores.copying import StoreCopy, copy_sqlite_file
from openai_runs.stores.file_contents import whole
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.records import PageQuery, Record
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.table_rows import KINDS
from openai_runs.stores.table_store import TableStore
from tests.postgres import Postgres
from tests.stores.faulty import damage
from tests.stores.objects import (
    assistant,
    file,
    message,
    run,
    shelf,
    state,
    step,
    thread,
    used_key,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sqlite(tmp_path: Path, anyio_backend: str) -> AsyncIterator[SQLiteStore]:
    async with SQLiteStore(tmp_path / "runs.db") as store:
        yield store


@pytest.fixture
async def postgres(postgres_server: Postgres, tmp_path: Path, anyio_backend: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres_server.store_url(), folder=tmp_path / "files") as store:
        yield store


async def fill(store: TableStore) -> None:
    """With objects of nearly all kinds and of several owners, and a file."""
    async with store.contents.drafting() as draft:
        await draft.write(b"x" * (2**20 + 1))
        await draft.keep("file_1")
    await store.commit([assistant("a", "ann"), thread("t", "bob ☂"), run("r", "t", "bob ☂"), used_key("k", "ann")])
    await store.commit([state("r", "t", "bob ☂", steps=("s",)), step("s", "r", "t", "bob ☂"), *shelf("vs", "ann", "f")])
    await store.commit([file("file_1", "ann", bytes=2**20 + 1), file("file_2", "ann")])
    await store.commit([message(str(number), "t", "bob ☂", text="\ud83d") for number in range(1200)])
    await store.commit([message("5", "t", "bob ☂", text="changed")])


async def everything(store: TableStore) -> list[Record[Any]]:
    return [record async for record in store.everything(*KINDS.values())]


@pytest.mark.parametrize("way", [("sqlite", "postgres"), ("postgres", "sqlite")])
async def test_both_ways(way: tuple[str, str], request: pytest.FixtureRequest, sqlite, postgres):
    """All objects and contents arrive; lists, parts and unfinished runs are the same."""
    source, target = (request.getfixturevalue(name) for name in way)
    await fill(source)
    copying = StoreCopy(source, target)
    steps = [step async for step in copying.carry_out()]
    assert len(steps) == 3
    assert sum(steps) == copying.objects == await source.count_objects() == await target.count_objects()
    assert await everything(target) == await everything(source)
    assert await target.unfinished() == await source.unfinished()
    assert await target.history("t") == await source.history("t")
    for query in PageQuery(limit=5), PageQuery(after="7", limit=5, order="asc"):
        assert await target.page(Message, "t", query) == await source.page(Message, "t", query)
    assert (copying.contents, copying.without_content) == (1, ["file_2"])
    assert await whole(await target.contents.source("file_1")) == b"x" * (2**20 + 1)
    assert await target.get(File, "file_2") is not None  # the start of a server deletes it


async def test_into_a_store_that_has_objects(sqlite: SQLiteStore, postgres: PostgresStore):
    """It is refused, and not changed."""
    await fill(sqlite)
    await postgres.commit([thread("t")])
    with pytest.raises(StoreFileError, match="it has objects; name an empty one"):
        await anext(StoreCopy(sqlite, postgres).carry_out())
    assert await everything(postgres) == [thread("t")]


async def test_a_damaged_object(tmp_path: Path, postgres: PostgresStore):
    """It is not left out silently."""
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await store.commit([thread("1"), thread("2")])
    damage(tmp_path / "runs.db", "2", kind="thread")
    async with SQLiteStore(tmp_path / "runs.db") as store:
        with pytest.raises(StoreDataError, match="damaged"):
            await anext(StoreCopy(store, postgres).carry_out())


async def test_an_index(tmp_path: Path):
    """It is copied whole, also where one was left over; one that is damaged is refused, and none is none."""
    old, new = tmp_path / "old", tmp_path / "new"
    assert not await copy_sqlite_file(old, new)
    assert not new.exists()
    async with SQLiteStore(old) as store:
        await store.commit([thread("1")])
    for _ in range(2):
        assert await copy_sqlite_file(old, new)
        async with SQLiteStore(new) as store:
            assert await everything(store) == [thread("1")]
    assert new.stat().st_mode & 0o77 == 0
    old.write_text("This is a text." * 99)
    with pytest.raises(StoreFileError, match="cannot copy"):
        await copy_sqlite_file(old, new)


async def test_a_file_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An index that somebody has for himself is an error, after a while, and no endless wait."""
    monkeypatch.setattr("openai_runs.stores.copying._TIMEOUT", 0.01)
    async with SQLiteStore(tmp_path / "runs.db"):  # it has an exclusive lock
        with pytest.raises(StoreFileError, match=r"cannot copy .*: it is in use"):
            await copy_sqlite_file(tmp_path / "runs.db", tmp_path / "copy.db")
