"""`session.vector_stores`: each operation, each parameter."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from openai_runs.errors import BadRequestError, NotFoundError
from openai_runs.server import LocalServer
from openai_runs.session import Session
from tests.engine.index import WordIndex
from tests.stub import Stub
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[LocalServer]:
    async with LocalServer(files=WordIndex()) as server:
        yield server


async def test_create_with_everything(session: Session) -> None:
    """Every parameter arrives, and comes back in the same shape."""
    file = await session.files.create(b"one", purpose="assistants")
    sizes: Any = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 10}
    made = await session.vector_stores.create(
        file_ids=[file.id],
        name="Menu",
        description="What there is",
        expires_after={"anchor": "last_active_at", "days": 3},
        chunking_strategy={"type": "static", "static": sizes},
        metadata={"a": "b"},
        idempotency_key="k",
    )
    assert (made.name, made.description, made.metadata) == ("Menu", "What there is", {"a": "b"})
    assert (made.expires_after.days, (made.expires_at - made.last_active_at).days) == (3, 3)
    assert made.file_counts.total == 1
    read = await session.vector_stores.files.poll(vector_store_id=made.id, file_id=file.id, polling=QUICK)
    assert read.chunking_strategy.static.chunk_overlap_tokens == 10
    assert (await session.vector_stores.retrieve(made.id)).status == "completed"


async def test_update(session: Session) -> None:
    """A parameter that is given changes its field, one left out keeps it, and null removes it."""
    made = await session.vector_stores.create(name="Menu", metadata={"a": "b"})
    changed = await session.vector_stores.update(made.id, expires_after={"anchor": "last_active_at", "days": 3})
    assert (changed.name, changed.metadata, changed.expires_after.days) == ("Menu", {"a": "b"}, 3)
    changed = await session.vector_stores.update(made.id, name="Other", metadata=None, expires_after=None)
    assert (changed.name, changed.metadata, changed.expires_after, changed.expires_at) == ("Other", {}, None, None)


async def test_list(session: Session) -> None:
    """Newest first, over any number of pages."""
    ids = [(await session.vector_stores.create(name=str(number))).id for number in range(5)]
    assert [found.id async for found in session.vector_stores.list(limit=2)] == ids[::-1]
    page = await session.vector_stores.list(limit=2, order="asc", after=ids[0], before=ids[4]).page()
    assert [found.id for found in page.data] == ids[1:3]


async def test_delete(session: Session) -> None:
    """Deleting a second time raises NotFoundError."""
    made = await session.vector_stores.create()
    word = await session.vector_stores.delete(made.id)
    assert (word.id, word.object, word.deleted) == (made.id, "vector_store.deleted", True)
    for call in session.vector_stores.retrieve, session.vector_stores.delete:
        with pytest.raises(NotFoundError):
            await call(made.id)


async def test_search(session: Session) -> None:
    """What is found comes with its file, its score and its attributes."""
    store = await session.vector_stores.create()
    for text, year in ("blue sky", 2025), ("blue sea", 2026):
        file = await session.files.create(text.encode(), filename=f"{year}.txt", purpose="assistants")
        created = session.vector_stores.files.create_and_poll
        await created(store.id, file_id=file.id, attributes={"year": year}, polling=QUICK)
    page = await session.vector_stores.search(store.id, query="blue sea", max_num_results=5)
    assert [(found.filename, found.content[0].text) for found in page.data] == [
        ("2026.txt", "blue sea"),
        ("2025.txt", "blue sky"),
    ]
    assert (page.data[0].score, page.data[0].attributes, page.search_query) == (1, {"year": 2026}, ("blue sea",))
    page = await session.vector_stores.search(
        store.id,
        query=["blue"],
        rewrite_query=False,
        filters={"type": "and", "filters": [{"type": "lt", "key": "year", "value": 2026}]},
        ranking_options={"ranker": "none", "score_threshold": 0.1},
    )
    assert [found.filename for found in page.data] == ["2025.txt"]
    with pytest.raises(BadRequestError):
        await session.vector_stores.search(store.id, query=[str(number) for number in range(30)])


@pytest.mark.parametrize(
    ("params", "kind", "text"),
    [
        ({}, TypeError, "missing parameter 'query'"),
        ({"query": "x", "max_num_results": 51}, ValueError, "must be 1 to 50"),
        ({"query": "x", "filters": {"key": "a"}}, TypeError, "missing parameter 'filters.type'"),
        ({"query": "x", "filters": {"type": "eq", "key": "a"}}, TypeError, "missing parameter 'filters.value'"),
        ({"query": "x", "filters": {"type": "and", "filters": [{"type": "eq"}]}}, TypeError, "missing parameter"),
        ({"query": "x", "ranking_options": {"score_threshold": 2}}, ValueError, "must be 0 to 1"),
    ],
)
async def test_misuse(params: Any, kind: type[Exception], text: str) -> None:
    """It is refused before anything is sent."""
    async with Stub() as stub, stub.session() as session:
        with pytest.raises(kind, match=text):
            await session.vector_stores.search("vs_1", **params)
    assert stub.requests == []
