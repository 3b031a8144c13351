"""The claims of index jobs, by several servers on one database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_runs.stores.postgres import PostgresStore, SharedPostgresStore
from openai_runs.stores.records import Delete, IndexJob, PageQuery, Record
from tests.postgres import Postgres, execute

pytestmark = pytest.mark.anyio


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@pytest.fixture
async def store(url: str, anyio_backend: str) -> AsyncIterator[SharedPostgresStore]:
    async with SharedPostgresStore(url, lease=30.0) as store:
        yield store


@pytest.fixture
async def other(url: str, anyio_backend: str) -> AsyncIterator[SharedPostgresStore]:
    async with SharedPostgresStore(url, lease=30.0) as store:
        yield store


def job(shelf: str, file: str, owner: str = "") -> Record[IndexJob]:
    return Record(owner, IndexJob(id=f"{shelf}/{file}", vector_store_id=shelf, file_id=file, number="1"))


async def test_one_server_has_a_vector_store(store: SharedPostgresStore, other: SharedPostgresStore):
    """The oldest is first; what one has no other gets, until it lets go or has no more to do."""
    await store.commit([job("vs_1", "a"), job("vs_1", "b"), job("vs_2", "a")])
    assert await store.claim_jobs(()) == "vs_1"
    assert await other.claim_jobs(()) == "vs_2"
    assert await other.claim_jobs(["vs_2"]) is None
    await store.commit([Delete(IndexJob, "vs_1/a")])
    await store.release_jobs("vs_1")
    assert await other.claim_jobs(["vs_2"]) == "vs_1"
    assert await store.claim_jobs(()) is None
    await store.release_jobs("vs_1")  # which is not its own any more
    assert await store.claim_jobs(()) is None
    await store.commit([Delete(IndexJob, "vs_1/b"), Delete(IndexJob, "vs_2/a")])
    assert await other.claim_jobs(()) is None


async def test_a_claim_may_be_made_again(store: SharedPostgresStore, other: SharedPostgresStore):
    """By the same server, which may not have heard of it."""
    await store.commit([job("vs_1", "a")])
    for _ in range(2):
        assert await store.claim_jobs(()) == "vs_1"
        assert await other.claim_jobs(()) is None
    assert await store.claim_jobs(["vs_1"]) is None


async def test_owners_take_turns(store: SharedPostgresStore, other: SharedPostgresStore):
    """Whoever has fewer vector stores that are worked for is next."""
    await store.commit([job(f"vs_{number}", "a", "ann") for number in range(5)])
    assert await other.claim_jobs(()) == "vs_0"
    await store.commit([job(f"vs_{number}", "a", "bob") for number in range(5, 8)])
    claimed: list[str] = []
    while (id := await store.claim_jobs(claimed)) is not None:
        claimed.append(id)
    assert claimed == ["vs_5", "vs_1", "vs_6", "vs_2", "vs_7", "vs_3", "vs_4"]


async def test_several_at_once(store: SharedPostgresStore, other: SharedPostgresStore):
    """No two get the same one."""
    await store.commit([job(f"vs_{number}", "a") for number in range(30)])
    for _ in range(10):
        claimed: dict[SharedPostgresStore, list[str]] = {store: [], other: []}

        async def claim_all(each: SharedPostgresStore, ids: list[str]) -> None:
            while (id := await each.claim_jobs(ids)) is not None:
                ids.append(id)

        await asyncio.gather(*(claim_all(each, ids) for each, ids in claimed.items()))
        assert len(claimed[store]) + len(claimed[other]) >= 25  # whoever has lost a race looks again later
        assert not set(claimed[store]) & set(claimed[other])
        await asyncio.gather(*(each.release_jobs(id) for each, ids in claimed.items() for id in ids))


async def test_the_claims_of_a_server_that_is_over(url: str, store: SharedPostgresStore, other: SharedPostgresStore):
    """They are free, and gone with the next release; the server itself gets nothing any more."""
    await store.commit([job("vs_1", "a"), job("vs_2", "a")])
    assert [await other.claim_jobs(()), await other.claim_jobs(["vs_1"])] == ["vs_1", "vs_2"]
    execute(url, "UPDATE openai_runs_servers SET is_over = true WHERE epoch = %s", other.epoch)
    assert await other.claim_jobs(()) is None
    assert await store.claim_jobs(()) == "vs_1"
    await store.release_jobs("vs_1")
    assert execute(url, "SELECT count(*) FROM openai_runs_indexing") == [(0,)]
    other._lease.is_valid = False
    assert await other.claim_jobs(()) is None


async def test_jobs_of_an_earlier_version(url: str, tmp_path: Path):
    """They had no part, by which they are found now."""
    async with PostgresStore(url, folder=tmp_path) as store:
        await store.commit([job("vs_1", "a"), Record("", IndexJob(id="vs_2", vector_store_id="vs_2", number="1"))])
    execute(url, "DROP TABLE openai_runs_pieces, openai_runs_contents, openai_runs_indexing, openai_runs_use")
    execute(url, "ALTER TABLE openai_runs_store DROP COLUMN oldest, DROP COLUMN secret")
    execute(url, "UPDATE openai_runs_objects SET part = NULL; UPDATE openai_runs_store SET version = 2")
    execute(
        url, "INSERT INTO openai_runs_objects (kind, id, owner, list, body) VALUES ('index_job', 'vs_3', '', '', '{')"
    )
    async with PostgresStore(url, folder=tmp_path) as store:
        for shelf, id in ("vs_1", "vs_1/a"), ("vs_2", "vs_2"):
            records, _ = await store.page(IndexJob, "", PageQuery(), part=shelf)
            assert [record.value.id for record in records] == [id]
    assert execute(url, "SELECT part FROM openai_runs_objects WHERE id = 'vs_3'") == [("vs_3",)]
