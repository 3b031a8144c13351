"""What `PostgresIndex` promises beyond every index: servers share it, and what is away is told from what is bad."""

import asyncio
import random

import anyio
import anyio.to_thread
import psycopg
import psycopg_pool
import pytest

from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.file_search import PostgresIndex, SQLiteIndex, by_meaning, postgres_index, postgres_words
from tests.file_search.test_every_index import file, ids, search, sound
from tests.postgres import execute, kill_sessions

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres_server):
    return postgres_server.store_url()


@pytest.fixture
async def index(url, anyio_backend):
    async with PostgresIndex(url) as index:
        yield index


async def test_words_that_all_have_are_not_looked_up(index, monkeypatch):
    """In a large store they would take the most time; a query of nothing else is answered."""
    monkeypatch.setattr(postgres_index, "_CHEAP", 5)
    await index.add(file(*[f"kettle number{number}" for number in range(30)]))
    assert await ids(index, "kettle number7") == [("file-1", 7)]
    assert len(await ids(index, "kettle")) == 20


async def test_vectors_are_read_a_few_at_a_time(index, monkeypatch):
    """However many there are, also in one file."""
    monkeypatch.setattr(by_meaning, "BATCH", 16)
    monkeypatch.setattr(postgres_index, "_PART", 4)
    for number, chunks in enumerate([1, 2, 9, 1, 1]):
        row = [(1 - (number / 5) ** 2) ** 0.5, number / 5]
        await index.add(file(*["text"] * chunks, id=f"file-{number}", rows=[row] * chunks))
    assert len(await ids(index, "", vector=[1, 0], limit=50)) == 14
    assert (await ids(index, "", vector=[0, 1]))[0] == ("file-4", 0)


async def test_scores_are_those_of_the_other_index(index, tmp_path):
    """How often a word comes, and how long a chunk is, counts as it does in SQLite: so does a threshold."""
    dice = random.Random(5)
    words = ["kettle", "lime", "acid", "boil", "water", "bridge"]
    chunks = [" ".join(dice.choices(words, [1, 2, 4, 8, 16, 32], k=dice.randrange(1, 700))) for _ in range(200)]
    async with SQLiteIndex(tmp_path / "index.db") as other:
        for each in index, other:
            await each.add(file(*chunks, "kettle " * 300))
        for query in "kettle", "kettle acid", "lime boil acid bridge":
            hits, expected = [await search(each, query, limit=50) for each in (index, other)]
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-3)


async def test_servers_at_once(url, index):
    """Several add to one vector store, one replaces what another one has added, and remove it: nothing is left half."""
    async with PostgresIndex(url) as other:
        for _ in range(3):
            added = [
                each.add(file("kettle", str(number), id=f"file-{number % 5}"))
                for number in range(10)
                for each in (index, other)
            ]
            await asyncio.gather(*added)
            assert sorted(await other.file_ids("vs_1")) == [f"file-{number}" for number in range(5)]
            assert sound(index)
            again = other.add(file("kettle", id="file-9"))
            await asyncio.gather(index.remove_store("vs_1"), other.remove_store("vs_1"), again)
            assert await index.file_ids("vs_1") in (["file-9"], [])
            assert sound(index)
            await index.remove("vs_1", "file-9")


async def test_made_by_several_at_once(url):
    """The tables are made once, whoever comes first."""
    indexes = [PostgresIndex(url) for _ in range(4)]
    await asyncio.gather(*(each.__aenter__() for each in indexes))
    await indexes[0].add(file("kettle"))
    assert await ids(indexes[3], "kettle") == [("file-1", 0)]
    await asyncio.gather(*(each.__aexit__(None, None, None) for each in indexes))


async def test_all_or_nothing(index, monkeypatch):
    """If a file cannot be added completely, nothing of it is there, and the one that it should replace still is."""
    await index.add(file("kettle"))
    monkeypatch.setattr(postgres_index.tables, "COUNT", "SELECT 1 / 0")
    with pytest.raises(StoreDataError, match="division by zero"):
        await index.add(file("bridge", rows=[[1, 0]]))
    monkeypatch.undo()
    assert await index.chunks("vs_1", "file-1") == ["kettle"]
    assert await ids(index, "kettle bridge") == [("file-1", 0)]
    assert sound(index)


async def test_who_is_cancelled_adds_nothing(index):
    """A server that has lost its lease must not go on; wherever it stops, a file is there completely or not at all."""
    for turns in range(0, 60, 3):
        adding = asyncio.create_task(index.add(file("kettle", "alpha", rows=[[1, 0], [0, 1]])))
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        adding.cancel()
        await asyncio.wait([adding])
        assert await index.chunks("vs_1", "file-1") in ([], ["kettle", "alpha"])
        assert sound(index)


async def test_a_file_that_is_too_large(index, monkeypatch):
    """It is refused."""
    monkeypatch.setattr(postgres_index, "_MOST_CHUNKS", 1)
    with pytest.raises(StoreDataError, match="A file can have 1 chunks, and this one has 2"):
        await index.add(file("one", "two"))


async def test_a_chunk_of_many_words(index):
    """As large as the API lets chunks be: its words are all found, and how often they come."""
    await index.add(file(" ".join(f"word{number}" for number in range(20_000)), "word19999 " * 20_000, "other"))
    assert await ids(index, "word19999") == [("file-1", 1), ("file-1", 0)]


async def test_stems_are_known_for_a_while(index, monkeypatch):
    """As many as fit into memory: then it begins anew."""
    monkeypatch.setattr(postgres_words, "_MOST_STEMS", 4)
    for number in range(3):
        await index.add(file("kettles", "boiling", f"word{number}", id=f"file-{number}"))
        assert len(index._stems._known) <= 6
    assert len(await ids(index, "kettle boils")) == 6


@pytest.mark.parametrize("text", ["half \ud800", "a\0b"])
async def test_texts_that_the_database_does_not_have(index, text):
    """They come back as they were, in a chunk or in a name."""
    given = file(text, text + " kettle", id="file-1")
    await index.add(given)
    assert await index.chunks("vs_1", "file-1") == [text, text + " kettle"]
    [hit] = await search(index, "kettle")
    assert hit.text == text + " kettle"


async def test_it_survives(url):
    """What was added is there when it is opened again; it is opened once at a time, and has to be."""
    index = PostgresIndex(url)
    assert repr(index) == "<PostgresIndex, closed>"
    with pytest.raises(RuntimeError, match="in `async with`"):
        await index.chunks("vs_1", "file-1")
    async with index:
        assert repr(index) == "<PostgresIndex, open>"
        await index.add(file("kettle", rows=[[1, 0]]))
        with pytest.raises(RuntimeError, match="entered already"):
            await index.__aenter__()
    async with index:
        assert await ids(index, "kettle", vector=[1, 0]) == [("file-1", 0)]


async def test_connections_are_lost(url, index):
    """Those that were idle are replaced."""
    await index.add(file("kettle"))
    for number in range(2):
        await asyncio.gather(*(ids(index, "kettle") for _ in range(8)))
        await anyio.to_thread.run_sync(kill_sessions, url)
        await index.add(file("kettle", id=f"file-{number + 2}"))
        await anyio.to_thread.run_sync(kill_sessions, url)
        assert len(await ids(index, "kettle")) == number + 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg_pool.PoolTimeout("nobody answers"), StoreUnavailableError),
        (psycopg.errors.DiskFull("no room"), StoreUnavailableError),
        (psycopg.errors.DataCorrupted("bad page"), StoreDataError),
        (psycopg.errors.ProgramLimitExceeded("too large"), StoreDataError),
        (psycopg.errors.UndefinedColumn("a bug"), psycopg.errors.UndefinedColumn),
    ],
)
async def test_errors_of_the_database(index, error, kind, monkeypatch):
    """What may pass, what does not, and bugs, which are raised as they are."""

    async def fail(*_):
        raise error

    monkeypatch.setattr(postgres_index, "_rows", fail)
    with pytest.raises(kind):
        await index.file_ids("vs_1")


async def test_a_later_version(url):
    """Its tables are not touched."""
    async with PostgresIndex(url):
        pass
    execute(url, "UPDATE openai_runs_index SET version = 99")
    with pytest.raises(Exception, match="a later version of openai_runs has written it") as raised:
        await PostgresIndex(url).__aenter__()
    assert type(raised.value).__name__ == "StoreFileError"


async def test_a_statement_that_is_cancelled(index, caplog):
    """A scope that is cancelled while the database works, as when a server stops, costs no connection."""
    reading = anyio.Event()

    async def sleep(connection) -> None:
        reading.set()
        await connection.execute("SELECT pg_sleep(600)")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(index._trying, sleep)
        await reading.wait()
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    await index.add(file("kettle"))
    assert not [record for record in caplog.records if record.name.startswith("psycopg")]
