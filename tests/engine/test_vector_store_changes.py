"""Changes of one vector store are one commit: what is counted, and what the index is to do."""

import pytest

from openai_runs.engine.new_vector_stores import new_vector_store
from openai_runs.engine.vector_store_changes import VectorStoreChanges, forget_all
from openai_runs.file_search import Chunking
from openai_runs.stores.records import Delete, FileUse, IndexJob, VectorStoreEntry
from tests.engine.shelves import shelves

pytestmark = pytest.mark.anyio


async def test_what_is_committed():
    """The store, the entry, the way back from the file, and the job; jobs under one ID have different numbers."""
    async with shelves() as (w, _):
        now = w.clock.now()
        changes = VectorStoreChanges(w.engine._ledger, "ann", new_vector_store({}, now), now)
        entry = await changes.attach("file-1", Chunking(), None)
        kinds = [type(change.value).__name__ for change in changes.changes]
        assert kinds == ["VectorStore", "IndexJob", "FileUse", "VectorStoreEntry"]
        assert {change.owner for change in changes.changes} == {"ann"}
        await changes.detach(entry)
        assert [job.is_ingestion for job in changes.jobs] == [True, False]
        assert len({job.number for job in changes.jobs}) == 2
        assert changes.changes[-2:] == [Delete(VectorStoreEntry, entry.id), Delete(FileUse, entry.id)]
        assert changes.store.file_counts.total == 0


def test_the_job_after_a_deletion():
    """It names no file."""
    job = forget_all("vs_1")
    assert (job.id, job.vector_store_id, job.file_id, job.is_ingestion) == ("vs_1", "vs_1", None, False)
    assert isinstance(job, IndexJob)
