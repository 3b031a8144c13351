"""Files that are too much for the server, and a disk that is full, as clients see them: each has a clear status.

Others are served meanwhile.
"""

from pathlib import Path
from typing import Any

import anyio
import pytest

from openai_runs.engine import ManualClock
from openai_runs.errors import StoreUnavailableError
from openai_runs.file_search import ExtractionLimits, LocalFileSearch, SQLiteIndex, extraction
from openai_runs.file_search.fork_server import Task
from openai_runs.file_search.search_index import NewFile
from openai_runs.following.polling import Polling
from openai_runs.models.vector_store import VectorStoreFile
from openai_runs.server import LocalServer
from openai_runs.session import Session
from tests.file_search.pdfs import bomb, pdf

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

QUICK = Polling(first=0.01, longest=0.05)
LONG = b"".join(b"The shelf %d has %d books.\n\n" % (number, number * 7) for number in range(2000))


class NotingIndex(SQLiteIndex):
    """Says when it had no room."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.refused = anyio.Event()

    async def limit(self, pages: int) -> None:
        assert self._writer is not None
        await self._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")

    async def add(self, file: NewFile) -> int:
        try:
            return await super().add(file)
        except StoreUnavailableError:
            self.refused.set()
            raise


async def read(session: Session, store_id: str, content: bytes, name: str) -> VectorStoreFile:
    return await session.vector_stores.files.upload_and_poll(store_id, content, filename=name, polling=QUICK)


async def found(session: Session, store_id: str, query: str) -> list[str]:
    return [hit.filename for hit in (await session.vector_stores.search(store_id, query=query)).data]


@pytest.mark.parametrize(
    ("content", "name", "limits", "message"),
    [
        (bomb(100), "bomb.pdf", {"seconds": 1}, "The file takes too long to read."),
        (LONG, "long.txt", {"output": 10_000}, "The file has too much text."),
    ],
    ids=["a PDF that unpacks to gigabytes", "a text that is too long"],
)
async def test_it_fails_alone(tmp_path: Path, content: bytes, name: str, limits: dict[str, Any], message: str):
    """Its status says why; the file beside it in the store is read and found, and the file itself can be had back."""
    search = LocalFileSearch(SQLiteIndex(tmp_path / "index"), limits=ExtractionLimits(**limits))
    async with LocalServer(files=search) as server, server.session() as session:
        store = await session.vector_stores.create()
        bad = await read(session, store.id, content, name)
        assert (bad.status, bad.last_error.code, bad.last_error.message) == ("failed", "invalid_file", message)
        good = await read(session, store.id, pdf("The kettle holds 1.7 litres."), "kettle.pdf")
        assert good.status == "completed"
        assert await found(session, store.id, "kettle") == ["kettle.pdf"]
        counts = (await session.vector_stores.retrieve(store.id)).file_counts
        assert (counts.failed, counts.completed, counts.total) == (1, 1, 2)
        assert await session.files.content(bad.id).read() == content


async def test_others_are_served_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While one file takes forever, another vector store's files are read, searched and deleted; it can be given up."""
    hanging, is_read = "tests.file_search.processes.hanging", anyio.Event()

    def other_task(module: str, argument: str) -> Task:
        is_first = not is_read.is_set()
        is_read.set()
        return Task(hanging if is_first else module, argument)

    monkeypatch.setattr(extraction, "Task", other_task)
    search = LocalFileSearch(SQLiteIndex(tmp_path / "index"))
    async with LocalServer(files=search) as server, server.session() as session:
        slow, quick = [await session.vector_stores.create() for _ in range(2)]
        file = await session.files.create(b"forever", filename="slow.txt", purpose="assistants")
        endless = await session.vector_stores.files.create(slow.id, file_id=file.id)
        await is_read.wait()
        assert (await read(session, quick.id, b"Tea is hot.", "tea.txt")).status == "completed"
        assert await found(session, quick.id, "tea") == ["tea.txt"]
        assert (await session.vector_stores.files.retrieve(endless)).status == "in_progress"
        await session.vector_stores.files.delete(endless)
        assert (await session.vector_stores.retrieve(slow.id)).file_counts.total == 0


async def test_a_full_disk_under_the_index(tmp_path: Path):
    """A file waits as ``in_progress`` until there is room, and is read then; searches go on."""
    index, clock = NotingIndex(tmp_path / "index"), ManualClock()
    async with LocalServer(files=LocalFileSearch(index), clock=clock) as server, server.session() as session:
        store = await session.vector_stores.create()
        assert (await read(session, store.id, b"Tea is hot.", "tea.txt")).status == "completed"
        await index.limit(1)  # as small as it is
        file = await session.files.create(LONG, filename="long.txt", purpose="assistants")
        entry = await session.vector_stores.files.create(store.id, file_id=file.id)
        await index.refused.wait()
        assert (await session.vector_stores.files.retrieve(entry)).status == "in_progress"
        assert await found(session, store.id, "tea") == ["tea.txt"]
        await index.limit(100_000)
        while (entry := await session.vector_stores.files.retrieve(entry)).status == "in_progress":
            clock.advance(60)
        assert entry.status == "completed"
        assert "long.txt" in await found(session, store.id, "books on shelf 1234")
