"""`SQLiteIndex`: files are added and removed completely, and found by words and meaning in their own stores only."""

import sqlite3

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.file_search import sqlite_index
from openai_runs.file_search.search_index import NewFile, Question, Vectors, terms_of
from openai_runs.file_search.sqlite_index import SQLiteIndex
from tests.file_search.recall import fill, measure, vectors

pytestmark = pytest.mark.anyio


@pytest.fixture
async def index(anyio_backend, tmp_path):
    async with SQLiteIndex(tmp_path / "index.db") as index:
        yield index


def file(*chunks, store="vs_1", id="file-1", rows=None, label="m"):
    given = None if rows is None else Vectors(label=label, matrix=np.array(rows, np.float32))
    return NewFile(store_id=store, file_id=id, filename=f"{id}.txt", chunks=chunks, vectors=given)


async def search(index, text, *stores, limit=20, threshold=0.0, vector=None, label="m", **more):
    row = None if vector is None else Vectors(label=label, matrix=np.array([vector], np.float32))
    question = Question(store_ids=stores or ["vs_1"], terms=terms_of(text), vector=row, **more)
    return await index.search(question, limit=limit, threshold=threshold)


async def ids(index, text, *stores, **more):
    return [(hit.file_id, hit.index) for hit in await search(index, text, *stores, **more)]


def sound(index):
    """Whether the words are those of the chunks, as FTS5 itself checks it."""
    db = sqlite3.connect(index._path)
    try:
        db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        db.close()


async def test_a_hit_has_all_that_the_api_shows(index):
    """Where it is, what it says, and how good it is."""
    await index.add(file("Boil the kettle.", "Clean the kettle."))
    [hit, _] = await search(index, "clean the kettle")
    assert (hit.store_id, hit.file_id, hit.filename, hit.index) == ("vs_1", "file-1", "file-1.txt", 1)
    assert hit.text == "Clean the kettle."
    assert 0.9 < hit.score <= 1


async def test_stems(index):
    """A word is found in its other forms."""
    await index.add(file("He cleaned kettles."))
    assert await ids(index, "cleaning kettle") == [("file-1", 0)]


async def test_the_name_of_the_file_counts(index):
    """A chunk often does not say what it is about; the name of its file may."""
    await index.add(file("Fill it halfway.", id="kettle"))
    assert await ids(index, "kettle") == [("kettle", 0)]


async def test_a_word_does_not_make_up_for_another(index):
    """However often or in however short a chunk one of two words comes, both are better, and only both are nearly 1."""
    await index.add(file("kettle " * 50, "kettle", f"{'word ' * 100} kettle limescale", *["other words"] * 20))
    best, *others = await search(index, "kettle limescale")
    assert best.index == 2
    assert {hit.index for hit in others} == {0, 1}
    assert all(hit.score < 0.6 for hit in others)


async def test_nothing_in_common(index):
    """No word of the query, no hit; nor is there one in an empty index."""
    assert await ids(index, "kettle") == []
    await index.add(file("Boil the kettle."))
    assert await ids(index, "bridge") == await ids(index, "?!") == []


async def test_stores_are_apart(index):
    """A search sees the stores that it names, and no others."""
    for store in ("vs_1", "vs_2", "vs_3"):
        await index.add(file("The kettle.", store=store, id=f"file-{store}", rows=[[1, 0]]))
    assert await ids(index, "kettle", "vs_2") == [("file-vs_2", 0)]
    assert await ids(index, "", "vs_2", vector=[1, 0]) == [("file-vs_2", 0)]
    assert sorted(await ids(index, "kettle", "vs_1", "vs_3", vector=[1, 0])) == [("file-vs_1", 0), ("file-vs_3", 0)]
    assert await ids(index, "kettle", "vs_9", vector=[1, 0]) == []


async def test_other_stores_do_not_change_scores(index):
    """What another owner has uploaded cannot be learned from a score, nor does it spoil the order."""
    texts = ["kettle alpha", "kettle beta", "kettle gamma", "alpha alpha", "delta"]
    await index.add(file(*texts))
    before = await search(index, "kettle alpha delta")
    for number in range(20):
        await index.add(file(*["alpha beta"] * 10, store=f"vs_other{number}"))
    after = await search(index, "kettle alpha delta")
    assert [hit.text for hit in after] == [hit.text for hit in before]
    assert [hit.score for hit in after] == pytest.approx([hit.score for hit in before], abs=0.05)  # the average length


async def test_limit_and_threshold(index):
    """The best so many, and none below the threshold."""
    await index.add(file(*[f"kettle number{number}" for number in range(30)]))
    hits = await search(index, "kettle number7", limit=5)
    assert len(hits) == 5
    assert hits[0].text == "kettle number7"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(await search(index, "kettle number7", threshold=0.5)) == 1


async def test_words_that_all_have_are_not_looked_up(index, monkeypatch):
    """In a large store they would take the most time; a query of nothing else is answered."""
    monkeypatch.setattr(sqlite_index, "_CHEAP", 5)
    await index.add(file(*[f"kettle number{number}" for number in range(30)]))
    assert await ids(index, "kettle number7") == [("file-1", 7)]
    assert len(await ids(index, "kettle")) == 20


async def test_meaning(index):
    """Chunks are found by their vectors, without a word in common."""
    await index.add(file("one", "two", "three", rows=[[1, 0], [0.6, 0.8], [0, 1]]))
    assert await ids(index, "", vector=[0, 1], limit=2) == [("file-1", 2), ("file-1", 1)]


async def test_vectors_are_read_a_few_files_at_a_time(index, monkeypatch):
    """However many there are; a file that is larger than what is read at once is read by itself."""
    monkeypatch.setattr(sqlite_index, "_BATCH", 8)
    for number, chunks in enumerate([1, 2, 9, 1, 1]):
        row = [(1 - (number / 5) ** 2) ** 0.5, number / 5]
        await index.add(file(*["text"] * chunks, id=f"file-{number}", rows=[row] * chunks))
    assert len(await ids(index, "", vector=[1, 0], limit=50)) == 14
    assert (await ids(index, "", vector=[0, 1]))[0] == ("file-4", 0)
    assert list(sqlite_index._batches([(1, 1), (2, 2), (3, 9), (4, 1), (5, 1)], 4)) == [[1, 2], [3], [4, 5]]


async def test_vectors_of_another_model(index):
    """They are not compared: such a file is found by its words."""
    await index.add(file("kettle", rows=[[1, 0]], label="old"))
    await index.add(file("kettle", id="file-2", rows=[[1, 0, 0]]))
    await index.add(file("kettle", id="file-3"))
    assert await ids(index, "", vector=[1, 0]) == []
    assert len(await ids(index, "kettle", vector=[1, 0])) == 3


async def test_some_files_only(index):
    """They are searched by their words and by their vectors, each in the store that it was named for."""
    await index.add(file("kettle", rows=[[1, 0]]))
    await index.add(file("kettle", id="file-2", rows=[[1, 0]]))
    await index.add(file("kettle", store="vs_2", rows=[[1, 0]]))
    chosen = {"vs_1": ["file-2", "file-9"], "vs_2": [], "vs_3": ["file-1"]}
    for text, vector in (("kettle", None), ("", [1, 0])):
        assert await ids(index, text, "vs_1", "vs_2", vector=vector, file_ids=chosen) == [("file-2", 0)]
        assert await ids(index, text, "vs_2", vector=vector, file_ids=chosen) == []
        assert await ids(index, text, vector=vector, file_ids={}) == []


async def test_chunks_are_read_back(index):
    """In their order, as they were added; none of a file that is not there."""
    texts = [f"chunk {number} \U0001f600" for number in range(300)]
    await index.add(file(*texts))
    assert await index.chunks("vs_1", "file-1") == texts
    assert await index.chunks("vs_1", "file-9") == await index.chunks("vs_9", "file-1") == []
    assert await index.file_ids("vs_1") == ["file-1"]
    assert await index.file_ids("vs_9") == []


async def test_removal(index):
    """What is removed is not found, and leaves nothing behind."""
    await index.add(file("kettle one", rows=[[1, 0]]))
    await index.add(file("kettle two", id="file-2", rows=[[1, 0]]))
    assert await index.remove("vs_1", "file-1")
    assert not await index.remove("vs_1", "file-1")
    assert not await index.remove("vs_9", "file-2")
    assert await ids(index, "kettle", vector=[1, 0]) == [("file-2", 0)]
    assert await index.chunks("vs_1", "file-1") == []
    assert sound(index)


async def test_a_store_is_removed(index):
    """With all of its files; another that is made under its ID has none of them."""
    for number in range(3):
        await index.add(file("kettle", id=f"file-{number}"))
    await index.add(file("kettle", store="vs_2"))
    await index.remove_store("vs_1")
    await index.remove_store("vs_1")
    assert await ids(index, "kettle", "vs_1", "vs_2") == [("file-1", 0)]
    await index.add(file("kettle again"))
    assert await ids(index, "kettle") == [("file-1", 0)]
    assert sound(index)


async def test_a_file_is_replaced(index):
    """Adding it again replaces all of it: chunks, words, vectors."""
    await index.add(file("kettle", "alpha", rows=[[1, 0], [0, 1]]))
    await index.add(file("bridge"))
    assert await ids(index, "kettle") == await ids(index, "", vector=[1, 0]) == []
    assert await index.chunks("vs_1", "file-1") == ["bridge"]
    assert sound(index)


async def test_how_many_bytes(index):
    """The size is that of the chunks and of the vectors."""
    assert await index.add(file("f\u00fcr", "x", rows=[[1, 0], [0, 1]])) == 4 + 1 + 16


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


async def test_cancellation_leaves_no_half_of_a_file(index):
    """An addition that has begun is finished, whoever is cancelled."""
    with anyio.move_on_after(0):
        await index.add(file("kettle", "alpha"))
    assert await index.chunks("vs_1", "file-1") in ([], ["kettle", "alpha"])
    await index.add(file("bridge", id="file-2"))
    assert sound(index)


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


SYNTAX = [
    '"',
    "'",
    "*",
    "(",
    ")",
    "AND",
    "OR",
    "NOT",
    "NEAR(a b, 2)",
    "text:",
    "-",
    "^",
    "{",
    "+",
    "\x00",
    "a",
    "\ud800",
    ";--",
    " ",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # the index is filled again in the same way
@given(query=st.lists(st.sampled_from(SYNTAX)).map("".join) | st.text())
async def test_no_query_is_syntax(index, query):
    """Whatever is searched for, it is words to FTS5."""
    await index.add(file("a near and or not text"))
    await search(index, query)


@pytest.mark.parametrize(
    ("words", "meaning", "paraphrases", "keywords"),
    [(True, False, 0.15, 0.95), (False, True, 0.9, 0.95), (True, True, 0.9, 1.0)],
)
async def test_recall(index, words, meaning, paraphrases, keywords):
    """Answers are among the first five: by words for keywords, by meaning for paraphrases, and for all by both."""
    matrix = vectors()
    await fill(index, matrix=matrix if meaning else None)
    found = await measure(index, words=words, meaning=meaning)
    assert found["paraphrase"].five >= paraphrases
    assert found["keywords"].five >= keywords
    assert found["inflected"].five >= 0.95
