"""Counting, chunking and filters, by value."""

from datetime import UTC, datetime
from typing import Any

import pytest

from openai_runs import _wire
from openai_runs.engine.new_vector_stores import (
    changed_vector_store,
    chunking_again,
    chunking_of,
    counted_batch,
    matches,
    new_batch,
    new_vector_store,
    recounted,
    shown_chunking,
    shown_vector_store,
    used,
    with_expiry,
)
from openai_runs.file_search import Chunking
from openai_runs.models.vector_store import FileCounts, OtherChunkingShown, VectorStore, VectorStoreFileStatus

NOW = 1_800_000_000.0


def test_counts():
    """A file that is new, changes or goes is counted once."""
    counts = recounted(FileCounts(), None, "in_progress")
    assert (counts.in_progress, counts.total) == (1, 1)
    counts = recounted(counts, "in_progress", "failed")
    assert (counts.in_progress, counts.failed, counts.total) == (0, 1, 1)
    assert recounted(counts, "failed", "failed") == counts
    assert recounted(counts, "failed", None) == FileCounts()


def test_the_status_of_a_batch():
    """It is in progress while a file is; what is cancelled stays so."""
    batch = new_batch("vs_1", NOW)
    batch = counted_batch(counted_batch(batch, None, "completed"), None, "in_progress")
    assert batch.status == "in_progress"
    batch = counted_batch(batch, "in_progress", "failed")
    assert batch.status == "completed"
    assert counted_batch(new_batch("vs_1", NOW), None, "failed").status == "failed"
    from attrs import evolve

    cancelled = evolve(batch, status=VectorStoreFileStatus.CANCELLED)
    assert counted_batch(cancelled, None, "completed").status == "cancelled"


def test_chunking():
    """What is asked for is shown, and read again from what is shown; without a wish it is the default."""
    sizes = {"max_chunk_size_tokens": 300.0, "chunk_overlap_tokens": 150.0}
    for body, chunking in [
        (None, Chunking(800, 400)),
        ({"type": "auto"}, Chunking(800, 400)),
        ({"type": "static", "static": sizes}, Chunking(300, 150)),
    ]:
        assert chunking_of(body) == chunking
        assert chunking_again(shown_chunking(chunking)) == chunking
    assert chunking_again(OtherChunkingShown()) == chunking_again(None) == Chunking()


def test_uses():
    """Uses within a minute are one; a store without a last use is used now."""
    from attrs import evolve

    store = new_vector_store({"expires_after": {"anchor": "last_active_at", "days": 1.0}}, NOW)
    assert used(store, NOW + 59) is None
    later = used(store, NOW + 60)
    assert (later.expires_at - store.expires_at).total_seconds() == 60
    never = evolve(store, last_active_at=None)
    assert used(never, NOW).last_active_at == datetime.fromtimestamp(NOW, UTC)
    assert with_expiry(never).expires_at is None
    assert shown_vector_store(store, NOW + 86400).status == "expired"
    assert (
        shown_vector_store(changed_vector_store(store, {"expires_after": None}, NOW), NOW + 1e9).status == "completed"
    )


def condition(type: str, value: Any, key: str = "a") -> dict[str, Any]:
    return {"type": type, "key": key, "value": value}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (condition("eq", 5), True),
        (condition("eq", 5.0), True),
        (condition("eq", "5"), False),
        (condition("ne", 5), False),
        (condition("ne", 6), True),
        (condition("gt", 4.5), True),
        (condition("gt", 5), False),
        (condition("gte", 5), True),
        (condition("lt", 6), True),
        (condition("lte", 4), False),
        (condition("gt", "4"), False),
        (condition("gt", [4]), False),
        (condition("in", [4, 5]), True),
        (condition("in", 5), True),
        (condition("nin", [4, 5]), False),
        (condition("nin", ["5"]), True),
        (condition("eq", True, "yes"), True),
        (condition("eq", 1, "yes"), False),
        (condition("lt", "b", "word"), True),
        (condition("lt", 1, "word"), False),
        (condition("eq", 5, "other"), False),
        (condition("gt", 5, "other"), False),
        (condition("ne", 5, "other"), True),
        (condition("nin", [5], "other"), True),
        ({"type": "and", "filters": [condition("eq", 5), condition("eq", "a", "word")]}, True),
        ({"type": "and", "filters": [condition("eq", 5), condition("eq", "b", "word")]}, False),
        ({"type": "or", "filters": [condition("eq", 6), condition("eq", "a", "word")]}, True),
        ({"type": "or", "filters": [{"type": "and", "filters": [condition("eq", 6)]}]}, False),
    ],
)
def test_filters(filter: dict[str, Any], expected: bool):
    """Values are compared with those of their own kind; an attribute that is not there is like no value."""
    assert matches({"a": 5, "yes": True, "word": "a"}, filter) is expected


def test_no_expiry_of_one_that_was_stored():
    """It is shown as one that never had any: the API has no null there."""
    made = new_vector_store({"expires_after": {"anchor": "last_active_at", "days": 1.0}}, NOW)
    stored = _wire.load(_wire.encode(made), VectorStore)
    assert "expires_after" not in _wire.dump(changed_vector_store(stored, {"expires_after": None}, NOW))
