"""What tests of vector stores do with an engine."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from openai_runs.models.file import File
from openai_runs.models.vector_store import VectorStore, VectorStoreFile, VectorStoreFileBatch
from tests.engine.index import WordIndex
from tests.engine.world import World, conform, world


@asynccontextmanager
async def shelves(index: WordIndex | None = None, **options: Any) -> AsyncGenerator[tuple[World, WordIndex]]:
    """An engine with an index."""
    index = index or WordIndex()
    async with world(index=index, **options) as w:
        yield w, index


async def upload(w: World, text: str = "some text", owner: str = "", filename: str = "a.txt") -> File:
    async with w.engine.files.uploading(owner) as receiving:
        await receiving.write(text.encode())
        return await w.engine.files.create(owner, {"purpose": "assistants"}, filename, receiving)


async def store_of(w: World, *files: File, owner: str = "", **body: Any) -> VectorStore:
    asked = {"file_ids": [file.id for file in files], **body}
    return conform(await w.engine.vector_stores.create(owner, asked))


async def store_now(w: World, store: VectorStore, owner: str = "") -> VectorStore:
    return conform(await w.engine.vector_stores.retrieve(owner, store.id))


async def file_now(w: World, store: VectorStore, file: File, owner: str = "") -> VectorStoreFile:
    return conform(await w.engine.vector_store_files.retrieve(owner, store.id, file.id))


async def batch_now(w: World, batch: VectorStoreFileBatch, owner: str = "") -> VectorStoreFileBatch:
    return conform(await w.engine.vector_store_file_batches.retrieve(owner, batch.vector_store_id, batch.id))


async def done(w: World) -> None:
    """Wait until the index has no more to do."""
    with anyio.fail_after(20):
        while w.engine._ingestion._jobs:
            await anyio.lowlevel.checkpoint()


def counts(of: VectorStore | VectorStoreFileBatch) -> tuple[int, int, int, int, int]:
    """In progress, completed, failed, cancelled, total."""
    found = of.file_counts
    return found.in_progress, found.completed, found.failed, found.cancelled, found.total
