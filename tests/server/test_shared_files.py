"""Files where several servers share a store in PostgreSQL: whatever is done at one is there at the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from openai_runs import Session
from openai_runs.file_search import PostgresIndex
from openai_runs.file_search.search_index import NewFile
from openai_runs.models.vector_store import VectorStore
from openai_runs.server import LocalServer
from openai_runs.stores.postgres import SharedPostgresStore
from openai_runs.stores.postgres.lease import LEASE
from tests.file_search.pdfs import pdf
from tests.postgres import Postgres, execute

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]


@pytest.fixture
def url(postgres_server: Postgres) -> str:
    return postgres_server.store_url()


@asynccontextmanager
async def serving(url: str, lease: float = 30.0) -> AsyncIterator[tuple[LocalServer, Session]]:
    async with LocalServer(store=SharedPostgresStore(url, lease=lease)) as server, server.session() as session:
        yield server, session


async def found(session: Session, shelf: VectorStore, query: str) -> list[str]:
    page = await session.vector_stores.search(shelf.id, query=query)
    return [hit.content[0].text for hit in page.data]


async def until(session: Session, shelf: VectorStore, completed: int) -> None:
    with anyio.fail_after(60):
        while (await session.vector_stores.retrieve(shelf.id)).file_counts.completed < completed:
            await anyio.lowlevel.checkpoint()


async def test_a_file_of_another_server(url: str):
    """Uploaded at one, in a vector store of another; read once, searched, answered from, and downloaded at both."""
    async with serving(url) as (_, here), serving(url) as (_, there):
        file = await here.files.create(
            pdf("The kettle holds 1.7 litres of water."), filename="kettle.pdf", purpose="assistants"
        )
        shelf = await there.vector_stores.create(file_ids=[file.id])
        await until(here, shelf, 1)
        for session in here, there:
            assert await found(session, shelf, "How many litres?") == ["The kettle holds 1.7 litres of water."]
            assert await session.files.content(file.id).read() == pdf("The kettle holds 1.7 litres of water.")
            assistant = await session.assistants.create(
                model="m",
                tools=[{"type": "file_search"}],
                tool_resources={"file_search": {"vector_store_ids": [shelf.id]}},
            )
            thread = await session.threads.create(
                messages=[{"role": "user", "content": "How many litres of water does the kettle hold?"}]
            )
            await session.runs.complete(await session.runs.create(thread.id, assistant_id=assistant.id))
            [answer, _] = [message async for message in session.messages.list(thread.id)]
            assert answer.text.startswith("The kettle holds 1.7 litres of water.")
        await here.files.delete(file.id)
        assert await found(there, shelf, "How many litres?") == []
    assert execute(url, "SELECT count(*) FROM openai_runs_contents") == [(0,)]


async def test_the_server_that_reads_is_killed(url: str, monkeypatch: pytest.MonkeyPatch):
    """Half-way through a file, by the cancellation of all of its tasks: another one reads it from the beginning."""
    is_adding, add, killed = anyio.Event(), PostgresIndex.add, []

    async def add_half(index: PostgresIndex, file: NewFile) -> int:
        if not killed:
            is_adding.set()
            await anyio.sleep_forever()
        return await add(index, file)

    monkeypatch.setattr(PostgresIndex, "add", add_half)
    made: list[Any] = []

    async def first() -> None:
        async with serving(url, lease=3.0) as (_, session):
            file = await session.files.create(b"Tea is hot.", filename="tea.md", purpose="assistants")
            made.append(await session.vector_stores.create(file_ids=[file.id]))
            await anyio.sleep_forever()

    task = asyncio.create_task(first())
    with anyio.fail_after(60):
        await is_adding.wait()
        while not made:
            await anyio.lowlevel.checkpoint()
    async with serving(url, lease=3.0) as (_, session):
        killed.append(True)
        task.cancel()
        await asyncio.wait([task])
        await until(session, made[0], 1)
        assert await found(session, made[0], "tea") == ["Tea is hot."]


async def test_a_server_that_was_stopped_in_a_change(url: str):
    """What it has half changed in the index is undone before others take over, and it cannot end it later."""
    async with PostgresIndex(url) as index:
        setting = "SELECT setting::integer FROM pg_settings WHERE name = %(name)s"
        [(timeout,)] = await index._read(setting, {"name": "idle_in_transaction_session_timeout"})
    assert 0 < timeout < LEASE * 1000 * 2 / 3  # the lease was renewed a third of it ago, at most
