"""`LocalFileSearch`: from a file to hits, as an engine uses it."""

from collections.abc import Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from openai_runs import file_search
from openai_runs.errors import BackendError, FileError
from openai_runs.file_search import Chunking, IngestedFile, LocalFileSearch, SQLiteIndex, local_file_search
from openai_runs.file_search.search_index import Hit, NewFile
from openai_runs.file_search.tokens import count

pytestmark = pytest.mark.anyio

KETTLE = b"Boil the kettle once.\n\nClean the kettle with acid."


class Embedder:
    """Knows two meanings: tea, and everything else."""

    label = "two meanings"

    def __init__(self):
        self.texts, self.fails, self.is_open = [], False, False

    @asynccontextmanager
    async def opened(self):
        self.is_open = True
        yield
        self.is_open = False

    async def embed(self, texts: Sequence[str], *, are_queries: bool = False):
        if self.fails:
            raise BackendError("server_error", "no model")
        self.texts.append((*texts, are_queries))
        return np.array([[1, 0] if "kettle" in text or "tea" in text else [0, 1] for text in texts], np.float32)


@pytest.fixture
def embedder():
    return Embedder()


@pytest.fixture
async def files(anyio_backend, tmp_path, embedder):
    async with LocalFileSearch(SQLiteIndex(tmp_path / "index.db"), embedder=embedder) as files:
        yield files


@pytest.fixture
async def words(anyio_backend, tmp_path):
    async with LocalFileSearch(SQLiteIndex(tmp_path / "words.db")) as files:
        yield files


async def test_a_file_is_found(words, tmp_path):
    """From its bytes, or a path, to a hit; and then it is forgotten."""
    path = tmp_path / "upload"
    path.write_bytes(KETTLE)
    assert await words.ingest("vs_1", "file-1", "tea.md", KETTLE) == IngestedFile(usage_bytes=len(KETTLE), chunks=1)
    await words.ingest("vs_1", "file-2", "other.md", path)
    [first, second] = await words.search(["vs_1"], "clean the kettle")
    assert {first.file_id, second.file_id} == {"file-1", "file-2"}
    assert await words.chunks("vs_1", "file-2") == [KETTLE.decode()] == [first.text]
    assert "file-2" in await words.file_ids("vs_1")
    [hit] = await words.search(["vs_1"], "kettle", file_ids={"vs_1": ["file-2"]})
    assert hit.file_id == "file-2"
    assert await words.forget("vs_1", "file-1")
    assert not await words.forget("vs_1", "file-1")
    assert [hit.file_id for hit in await words.search(["vs_1"], "kettle")] == ["file-2"]
    await words.forget_store("vs_1")
    assert await words.search(["vs_1"], "kettle") == []


@pytest.mark.parametrize("name", ["", "\0", "half \ud800", "x" * 300_000 + ".html", "../../a b.html"])
async def test_any_name(words, name):
    """A file may have any name, however long."""
    await words.ingest("vs_1", "file-1", name, b"<p>kettle</p>")
    [hit] = await words.search(["vs_1"], "kettle")
    assert hit.filename == name[-255:].replace("\ud800", "?")
    assert hit.text == ("kettle" if name.endswith("html") else "<p>kettle</p>")


async def test_chunking(words):
    """A file is cut as asked."""
    text = b"word " * 1000
    assert (await words.ingest("vs_1", "file-1", "a.txt", text)).chunks == 2
    assert (await words.ingest("vs_1", "file-1", "a.txt", text, Chunking(100, 0))).chunks == 10


async def test_meaning(files, embedder):
    """Chunks and queries get vectors; the name of the file is part of what a chunk means."""
    await files.ingest("vs_1", "file-1", "tea.md", KETTLE)
    await files.ingest("vs_1", "file-2", "a.md", b"A bridge.")
    hits = await files.search(["vs_1"], "hot tea")
    assert [(hit.file_id, hit.score > 0.5) for hit in hits] == [("file-1", True), ("file-2", False)]
    assert embedder.texts == [
        (f"tea.md\n{KETTLE.decode()}", False),
        ("a.md\nA bridge.", False),
        ("hot tea", True),
    ]
    assert embedder.is_open


async def test_a_large_file_is_embedded_in_parts(files, embedder, monkeypatch):
    """So that its text is not in memory once more."""
    monkeypatch.setattr(local_file_search, "_EMBEDDED_AT_ONCE", 4)
    await files.ingest("vs_1", "file-1", "a.md", b"word " * 1000, Chunking(100, 0))
    assert [len(texts) for *texts, _ in embedder.texts] == [4, 4, 2]
    assert len(await files.search(["vs_1"], "bridge", limit=50)) == 10


async def test_the_model_fails_at_a_file(files, embedder):
    """Then the file is not added at all, and the error says what the API shows."""
    embedder.fails = True
    with pytest.raises(FileError, match="could not be embedded: no model") as raised:
        await files.ingest("vs_1", "file-1", "tea.md", KETTLE)
    assert raised.value.code == "server_error"
    assert await files.chunks("vs_1", "file-1") == []


async def test_the_model_changes(files, embedder, monkeypatch):
    """Vectors of different lengths cannot be kept: the file is not added."""
    monkeypatch.setattr(local_file_search, "_EMBEDDED_AT_ONCE", 1)
    lengths = iter([2, 3])

    async def embed(texts):
        return np.zeros((len(texts), next(lengths)), np.float32)

    monkeypatch.setattr(embedder, "embed", embed)
    with pytest.raises(FileError, match="not all of one length"):
        await files.ingest("vs_1", "file-1", "a.md", b"word " * 150, Chunking(100, 0))


async def test_the_model_fails_at_a_query(files, embedder, caplog):
    """Then the words decide alone, and a warning says so."""
    await files.ingest("vs_1", "file-1", "tea.md", KETTLE)
    embedder.fails = True
    assert len(await files.search(["vs_1"], "kettle")) == 1
    assert await files.search(["vs_1"], "hot drinks") == []
    assert "searching for words only" in caplog.text


async def test_a_file_that_is_refused(words):
    """The reason is an error with the API's code, and nothing is added."""
    with pytest.raises(FileError) as raised:
        await words.ingest("vs_1", "file-1", "a.png", b"\x89PNG\x00")
    assert raised.value.code == "unsupported_file"
    assert await words.chunks("vs_1", "file-1") == []


async def test_several_queries(words):
    """Each chunk has the score of the query that fits it best, and is there once."""
    await words.ingest("vs_1", "file-1", "a.md", b"kettle and stove")
    await words.ingest("vs_1", "file-2", "b.md", b"bridge")
    hits = await words.search(["vs_1"], ["kettle of the bridge", "bridge", "kettle stove", "stove of the bridge", "  "])
    assert sorted(hit.file_id for hit in hits) == ["file-1", "file-2"]
    [alone] = await words.search(["vs_1"], "bridge")
    assert next(hit.score for hit in hits if hit.file_id == "file-2") == alone.score
    assert await words.search(["vs_1"], " ") == await words.search(["vs_1"], []) == []


async def test_limit_and_threshold(words):
    """As many as asked for, and none below the threshold; ``null`` is none."""
    chunks = [f"kettle number{number}" for number in range(25)]
    await words._index.add(NewFile(store_id="vs_1", file_id="file-1", filename="a.md", chunks=chunks))
    assert len(await words.search(["vs_1"], "kettle number7")) == 20
    assert len(await words.search(["vs_1"], "kettle number7", limit=50)) == 25
    assert len(await words.search(["vs_1"], ["kettle", "number7"], limit=3)) == 3
    options = {"ranker": "auto", "score_threshold": 0.5}
    assert len(await words.search(["vs_1"], "kettle number7", ranking_options=options)) == 1
    assert len(await words.search(["vs_1"], "kettle", ranking_options={"score_threshold": None})) == 20


async def test_hits_fit_into_a_budget(words):
    """The best that fit, without gaps; the first one is shortened if it does not fit by itself."""
    await words.ingest("vs_1", "file-1", "a.md", b"kettle " * 500, Chunking(100, 0))
    assert [count(hit.text) for hit in await words.search(["vs_1"], "kettle", max_tokens=250)] == [100, 100]
    [hit] = await words.search(["vs_1"], "kettle", max_tokens=30)
    assert hit.text == ("kettle " * 30).strip()
    assert await words.search(["vs_1"], "bridge", max_tokens=30) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be at least 1"),
        ({"limit": 51}, "limit must be at most 50"),
        ({"query": ["x"] * 21}, "at most 20 queries: got 21"),
    ],
)
async def test_what_is_refused(words, options, message):
    """The API's limits hold."""
    with pytest.raises(ValueError, match=message):
        await words.search(["vs_1"], **{"query": "x", **options})


async def test_an_index_of_somebody_else(embedder):
    """Any object with the methods of `SearchIndex` will do; one that has nothing to open is not opened."""

    class Index:
        async def search(self, question, *, limit, threshold):
            return [Hit(store_id="s", file_id="f", filename="n", index=0, text="t", score=1.0)]

    async with LocalFileSearch(Index()) as files:
        assert len(await files.search(["s"], "x")) == 1


async def test_names():
    """The room's names are there when they are used, and no others."""
    for name in file_search.__all__:
        assert getattr(file_search, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        file_search.Nothing  # noqa: B018  # loading is what is tested
