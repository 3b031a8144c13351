"""`session.vector_stores.files`: each operation, each parameter."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from openai_runs.errors import NotFoundError
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


async def test_a_life(session: Session) -> None:
    """A file is added, waited for, retrieved by object or IDs, changed, shown and taken out."""
    store = await session.vector_stores.create()
    file = await session.files.create(b"one\ntwo", purpose="assistants")
    files = session.vector_stores.files
    made = await files.create(store.id, file_id=file.id, attributes={"a": 1, "b": True}, idempotency_key="k")
    assert (made.id, made.vector_store_id, made.attributes) == (file.id, store.id, {"a": 1, "b": True})
    read = await files.poll(made, polling=QUICK)
    assert (read.status, read.last_error) == ("completed", None)
    assert await files.poll(read) == read  # without a request
    assert await files.retrieve(vector_store_id=store.id, file_id=file.id) == await files.retrieve(made) == read
    assert (await files.update(read, attributes={"c": "d"})).attributes == {"c": "d"}
    assert (await files.update(read, attributes=None)).attributes == {}
    content = await files.content(read)
    assert (content.text, [passage.text for passage in content.data]) == ("one\ntwo", ["one", "two"])
    word = await files.delete(read)
    assert (word.id, word.object) == (file.id, "vector_store.file.deleted")
    for call in files.retrieve, files.delete, files.content:
        with pytest.raises(NotFoundError):
            await call(read)


async def test_upload_and_poll(session: Session) -> None:
    """A file is uploaded, added and waited for, in one call; one that cannot be read says why."""
    store = await session.vector_stores.create()
    upload = session.vector_stores.files.upload_and_poll
    sizes: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    read = await upload(store.id, b"x", filename="a.txt", attributes={"a": 1}, chunking_strategy=sizes, polling=QUICK)
    assert (read.status, read.attributes) == ("completed", {"a": 1})
    assert read.chunking_strategy.static.max_chunk_size_tokens == 100
    uploaded = await session.files.retrieve(read.id)
    assert (uploaded.filename, uploaded.purpose) == ("a.txt", "assistants")
    failed = await upload(store.id, b"x", filename="a.exe", polling=QUICK)
    assert (failed.status, failed.last_error.code) == ("failed", "unsupported_file")
    assert [file.id async for file in session.vector_stores.files.list(store.id, filter="failed")] == [failed.id]
    ids = [file.id async for file in session.vector_stores.files.list(store.id, limit=1, order="asc")]
    assert ids == [read.id, failed.id]


async def test_misuse() -> None:
    """It is refused before anything is sent."""
    async with Stub() as stub, stub.session() as session:
        files = session.vector_stores.files
        with pytest.raises(TypeError, match="give a VectorStoreFile, or vector_store_id=…, file_id=… as keywords"):
            await files.poll(vector_store_id="vs_1")
        with pytest.raises(ValueError, match="deadline must be more than 0 seconds"):
            await files.poll(vector_store_id="vs_1", file_id="file-1", deadline=0)
        wrong: list[tuple[Any, str]] = [
            ({str(n): 1 for n in range(17)}, "at most 16 pairs"),
            ({"a": None}, "must map strings to strings, numbers, True or False"),
            ({"a" * 65: 1}, "keys of at most 64 characters"),
            ({"a": "x" * 513}, "strings of at most 512 characters"),
            ([], "must be a dict"),
        ]
        for attributes, text in wrong:
            with pytest.raises(ValueError, match=text):
                await files.create("vs_1", file_id="file-1", attributes=attributes)
        with pytest.raises(ValueError, match="filter must be 'in_progress' or"):
            files.list("vs_1", filter="lost")  # type: ignore[arg-type]
    assert stub.requests == []
