"""What every index promises: files are added and removed whole, and found by words and meaning in their own stores."""

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_runs.file_search import PostgresIndex, SQLiteIndex
from openai_runs.file_search.search_index import NewFile, Question, Vectors, copy_index, terms_of
from tests.file_search.recall import fill, measure, vectors
from tests.postgres import execute

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgres"])
async def index(request, anyio_backend, tmp_path):
    if request.param == "postgres":
        chosen = PostgresIndex(request.getfixturevalue("postgres_server").store_url())
    else:
        chosen = SQLiteIndex(tmp_path / "index.db")
    async with chosen as index:
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
    """Whether nothing is left of what was removed, and what is counted is there."""
    if isinstance(index, SQLiteIndex):
        from tests.file_search.test_sqlite_index import sound

        return sound(index)
    counts = """
        SELECT (SELECT coalesce(sum(chunks), 0) FROM openai_runs_index_stores),
            (SELECT coalesce(sum(chunks), 0) FROM openai_runs_index_files),
            (SELECT count(*) FROM openai_runs_index_chunks)
    """
    words = """
        SELECT (SELECT coalesce(sum(words), 0) FROM openai_runs_index_stores),
            (SELECT coalesce(sum(words), 0) FROM openai_runs_index_files),
            (SELECT coalesce(sum(length), 0) FROM openai_runs_index_chunks)
    """
    orphans = "SELECT file FROM openai_runs_index_vectors WHERE file NOT IN (SELECT key FROM openai_runs_index_files)"
    same = all(len(set(execute(index._url, sql)[0])) == 1 for sql in (counts, words))
    return same and not execute(index._url, orphans)


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


async def test_words_are_words_in_any_spelling(index):
    """Capitals, accents and underscores do not matter, nor does what is between words; a phrase has its order."""
    await index.add(
        file("Der B\u00c4R schl\u00e4ft.", "wake_up(bear) e\u0301clair", "up and wake", "\u4f60\u597d x86_64 1e5")
    )
    for query, hits in {
        "b\u00e4r": [0],
        "bar": [0],
        "BAR": [0],
        "\u00e9clair": [1],
        "eclair": [1],
        "bear": [1],
        "wake_up": [1],
        "x86_64": [3],
        "1e5": [3],
        "\u4f60\u597d": [3],
    }.items():
        assert [number for _, number in await ids(index, query)] == hits, query


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


async def test_meaning(index):
    """Chunks are found by their vectors, without a word in common."""
    await index.add(file("one", "two", "three", rows=[[1, 0], [0.6, 0.8], [0, 1]]))
    assert await ids(index, "", vector=[0, 1], limit=2) == [("file-1", 2), ("file-1", 1)]


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


async def test_a_copy(index, tmp_path):
    """Another index, of either kind, has the same files afterwards: chunks, names, vectors."""
    for number in range(3):
        await index.add(file("kettle", f"number{number}", id=f"file-{number}", rows=[[1, 0], [0.6, 0.8]]))
    await index.add(file("a bridge \U0001f600", store="vs_2"))
    async with SQLiteIndex(tmp_path / "copy.db") as copy:
        assert await copy_index(index, copy) == 4
        for question in ("kettle number1", None), ("bridge", None), ("number2", [0, 1]):
            searches = [await search(each, question[0], "vs_1", "vs_2", vector=question[1]) for each in (index, copy)]
            assert [[(hit.file_id, hit.text, hit.filename) for hit in hits] for hits in searches[:1]] == [
                [(hit.file_id, hit.text, hit.filename) for hit in hits] for hits in searches[1:]
            ]


async def test_how_many_bytes(index):
    """The size is that of the chunks and of the vectors."""
    assert await index.add(file("f\u00fcr", "x", rows=[[1, 0], [0, 1]])) == 4 + 1 + 16


async def test_cancellation_leaves_no_half_of_a_file(index):
    """An addition that has begun is finished, whoever is cancelled."""
    with anyio.move_on_after(0):
        await index.add(file("kettle", "alpha"))
    assert await index.chunks("vs_1", "file-1") in ([], ["kettle", "alpha"])
    await index.add(file("bridge", id="file-2"))
    assert sound(index)


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


@pytest.mark.unmeasured
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
