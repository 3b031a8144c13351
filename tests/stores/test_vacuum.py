"""The space of what was deleted is given back."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from openai_runs.errors import StoreFileError
from openai_runs.file_search import SQLiteIndex
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Delete
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.vacuum import vacuum_store
from tests.stores.objects import message, thread

pytestmark = pytest.mark.anyio


async def test_a_store_and_its_index(tmp_path: Path):
    """Both are smaller, and have all that they had."""
    path, begun = tmp_path / "runs.db", list[Path]()
    async with SQLiteStore(path) as store, SQLiteIndex(tmp_path / "runs.db-index"):
        await store.commit([thread("t"), thread("u"), *(message(f"m{n}", "t", text="x" * 5000) for n in range(500))])
        await store.commit([Delete(Thread, "t")])
    [of_store, of_index] = await vacuum_store(path, begun.append)
    assert begun == [of_store.path, of_index.path] == [path, tmp_path / "runs.db-index"]
    assert of_store.before > 2_000_000
    assert of_store.after == path.stat().st_size < 200_000
    async with SQLiteStore(path) as store:
        assert await store.check() == []
        assert await store.get(Thread, "u") is not None
        await store.commit([thread("v")])
    async with SQLiteIndex(tmp_path / "runs.db-index"):
        pass


async def test_files_in_use(tmp_path: Path):
    """A store that somebody has, and an index that somebody reads, are refused; the store stays as it is."""
    path = tmp_path / "runs.db"
    async with SQLiteStore(path) as store:
        await store.commit([thread("t")])
        with pytest.raises(StoreFileError, match="it is in use"):
            await vacuum_store(path, lambda _: None)
    async with SQLiteIndex(tmp_path / "runs.db-index"):
        with closing(sqlite3.connect(tmp_path / "runs.db-index")) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM stores").fetchall()
            with pytest.raises(StoreFileError, match=r"cannot write .*-index anew: database is locked"):
                await vacuum_store(path, lambda _: None)
