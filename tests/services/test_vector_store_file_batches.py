"""`session.vector_stores.file_batches`: each operation, each parameter; a lost response to a cancellation."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_runs.errors import BadRequestError, NotFoundError
from openai_runs.server import LocalServer
from openai_runs.session import Session
from tests.engine.index import WordIndex
from tests.proxy import Fate, Proxy
from tests.stub import error
from tests.weather import QUICK

pytestmark = pytest.mark.anyio


@pytest.fixture
def index() -> WordIndex:
    return WordIndex()


@pytest.fixture
async def server(anyio_backend: str, index: WordIndex) -> AsyncIterator[LocalServer]:
    async with LocalServer(files=index) as server:
        yield server


async def test_a_life(session: Session) -> None:
    """A batch is created, waited for, retrieved by object or IDs, and listed."""
    store = await session.vector_stores.create()
    ids = [(await session.files.create(b"%d" % number, purpose="assistants")).id for number in range(3)]
    batches = session.vector_stores.file_batches
    made = await batches.create(store.id, file_ids=ids, attributes={"a": 1}, idempotency_key="k")
    assert (made.vector_store_id, made.file_counts.total) == (store.id, 3)
    read = await batches.poll(made, polling=QUICK)
    assert (read.status, read.file_counts.completed) == ("completed", 3)
    assert await batches.retrieve(vector_store_id=store.id, batch_id=made.id) == await batches.retrieve(made) == read
    assert [file.id async for file in batches.list_files(read, order="asc", limit=2)] == ids
    assert [file.id async for file in batches.list_files(read, filter="failed")] == []
    with pytest.raises(BadRequestError, match="Cannot cancel file batch with status 'completed'"):
        await batches.cancel(read)
    with pytest.raises(NotFoundError):
        await batches.retrieve(vector_store_id=store.id, batch_id="vsfb_9")
    own = await batches.create_and_poll(
        store.id,
        files=[{"file_id": ids[0], "attributes": {"b": 2}, "chunking_strategy": {"type": "auto"}}],
        polling=QUICK,
    )
    assert own.file_counts.completed == 1


async def test_upload_and_poll(session: Session, tmp_path: Path) -> None:
    """Several files are uploaded, added together with others, and waited for."""
    (tmp_path / "a.txt").write_text("a")
    store = await session.vector_stores.create()
    there = await session.files.create(b"there", purpose="assistants")
    upload = session.vector_stores.file_batches.upload_and_poll
    batch = await upload(store.id, [tmp_path / "a.txt", b"b"], file_ids=[there.id], polling=QUICK, deadline=20)
    assert (batch.status, batch.file_counts.completed) == ("completed", 3)
    assert len([file async for file in session.files.list()]) == 3


LOST: list[Fate] = ["lose answer", error(500), "lose request", "late"]


@pytest.mark.parametrize("fate", LOST)
async def test_a_lost_cancellation(server: LocalServer, session: Session, index: WordIndex, fate: Fate) -> None:
    """The batch tells whether it took effect."""
    index.stop()
    store = await session.vector_stores.create()
    file = await session.files.create(b"x", purpose="assistants")
    batch = await session.vector_stores.file_batches.create(store.id, file_ids=[file.id])
    async with Proxy(server.url) as proxy:
        proxy.plan("POST", "/cancel", fate)
        async with proxy.session() as shaky:
            cancelled = await shaky.vector_stores.file_batches.cancel(batch)
    assert (cancelled.status, cancelled.file_counts.cancelled) == ("cancelled", 1)
    index.go_on()
