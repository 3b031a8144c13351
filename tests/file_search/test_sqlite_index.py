"""`SQLiteIndex`: files are added and removed completely, and found by words and meaning in their own stores only."""

import sqlite3

import pytest

from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.file_search import by_meaning, sqlite_index
from openai_runs.file_search.sqlite_index import SQLiteIndex
from tests.file_search.test_every_index import file, ids

pytestmark = pytest.mark.anyio


@pytest.fixture
async def index(anyio_backend, tmp_path):
    async with SQLiteIndex(tmp_path / "index.db") as index:
        yield index


def sound(index):
    """Whether the words are those of the chunks, as FTS5 itself checks it."""
    db = sqlite3.connect(index._path)
    try:
        db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        db.close()


async def test_words_that_all_have_are_not_looked_up(index, monkeypatch):
    """In a large store they would take the most time; a query of nothing else is answered."""
    monkeypatch.setattr(sqlite_index, "_CHEAP", 5)
    await index.add(file(*[f"kettle number{number}" for number in range(30)]))
    assert await ids(index, "kettle number7") == [("file-1", 7)]
    assert len(await ids(index, "kettle")) == 20


async def test_vectors_are_read_a_few_files_at_a_time(index, monkeypatch):
    """However many there are; a file that is larger than what is read at once is read by itself."""
    monkeypatch.setattr(by_meaning, "BATCH", 8)
    for number, chunks in enumerate([1, 2, 9, 1, 1]):
        row = [(1 - (number / 5) ** 2) ** 0.5, number / 5]
        await index.add(file(*["text"] * chunks, id=f"file-{number}", rows=[row] * chunks))
    assert len(await ids(index, "", vector=[1, 0], limit=50)) == 14
    assert (await ids(index, "", vector=[0, 1]))[0] == ("file-4", 0)
    assert list(by_meaning._batches([(1, 1), (2, 2), (3, 9), (4, 1), (5, 1)], 4)) == [
        [(1, 1), (2, 2)],
        [(3, 9)],
        [(4, 1), (5, 1)],
    ]


async def test_all_or_nothing(index, monkeypatch):
    """If a file cannot be added completely, nothing of it is there, and the one that it should replace still is."""
    await index.add(file("kettle"))
    monkeypatch.setattr(sqlite_index.schema, "COUNT", "UPDATE missing SET x = :store, y = :change")
    with pytest.raises(StoreUnavailableError, match="no such table: missing"):
        await index.add(file("bridge", rows=[[1, 0]]))
    monkeypatch.undo()
    assert await index.chunks("vs_1", "file-1") == ["kettle"]
    assert await ids(index, "kettle bridge") == [("file-1", 0)]
    await index.add(file("bridge", id="file-2"))
    assert sound(index)


async def test_a_full_store(index, monkeypatch):
    """A store that has had too many chunks says so."""
    monkeypatch.setattr(sqlite_index, "_MOST_CHUNKS", 3)
    await index.add(file("one", "two"))
    with pytest.raises(StoreDataError, match="takes no more"):
        await index.add(file("three", "four", id="file-2"))
    assert await index.chunks("vs_1", "file-1") == ["one", "two"]


async def test_it_survives(tmp_path):
    """What was added is there when the file is opened again."""
    index = SQLiteIndex(tmp_path / "index.db")
    assert repr(index).endswith("index.db', closed>")
    async with index:
        assert repr(index).endswith("index.db', open>")
        await index.add(file("kettle", rows=[[1, 0]]))
        with pytest.raises(RuntimeError, match="entered already"):
            await index.__aenter__()
    async with index:
        assert await ids(index, "kettle", vector=[1, 0]) == [("file-1", 0)]


async def test_it_has_to_be_open(tmp_path):
    """A closed index says how to use it."""
    with pytest.raises(RuntimeError, match="in `async with`"):
        await SQLiteIndex(tmp_path / "index.db").chunks("vs_1", "file-1")
    with pytest.raises(RuntimeError, match="in `async with`"):
        await SQLiteIndex(tmp_path / "index.db").remove("vs_1", "file-1")


async def test_half_an_opening_is_undone(tmp_path, monkeypatch):
    """If only one of the two connections can be opened, it is closed again."""
    opened = sqlite_index.schema.opened
    connections = []

    async def open_once(path):
        if connections:
            raise OSError("enough")
        connections.append(await opened(path))
        return connections[0]

    monkeypatch.setattr(sqlite_index.schema, "opened", open_once)
    index = SQLiteIndex(tmp_path / "index.db")
    with pytest.raises(OSError, match="enough"):
        await index.__aenter__()
    assert repr(index).endswith("closed>")


async def test_damage(index, monkeypatch):
    """A damaged file is told from one that is only not available."""
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    async def fail(*_):
        raise error

    monkeypatch.setattr(index._reader, "execute_fetchall", fail)
    with pytest.raises(StoreDataError, match="is damaged"):
        await index.chunks("vs_1", "file-1")
