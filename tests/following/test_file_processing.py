"""Waiting for files to be read: as often as is said, and no longer than is said."""

from datetime import UTC, datetime

import pytest
from attrs import evolve

from openai_runs.following.file_processing import until_processed
from openai_runs.following.polling import Polling
from openai_runs.models.vector_store import VectorStoreFile, VectorStoreFileStatus
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

FILE = VectorStoreFile(
    id="file-1",
    created_at=datetime.now(UTC),
    vector_store_id="vs_1",
    usage_bytes=0,
    status=VectorStoreFileStatus.IN_PROGRESS,
)
DONE = evolve(FILE, status=VectorStoreFileStatus.COMPLETED)


async def test_until_it_is_done(monkeypatch: pytest.MonkeyPatch):
    """Delays grow while nothing changes, and begin anew after a change."""
    answers = iter([FILE, FILE, evolve(FILE, usage_bytes=1), evolve(FILE, usage_bytes=1), DONE])
    delays: list[int] = []
    polling = Polling()
    monkeypatch.setattr(Polling, "delay", lambda _, unchanged: delays.append(unchanged) or 0)

    async def retrieve() -> VectorStoreFile:
        return next(answers)

    assert await until_processed(retrieve, None, polling, None) == DONE
    assert delays == [0, 1, 0, 1]


async def test_what_is_done_is_not_fetched():
    """It is known already."""

    async def retrieve() -> VectorStoreFile:
        raise AssertionError

    assert await until_processed(retrieve, DONE, QUICK, 5) == DONE


@pytest.mark.parametrize("first", [FILE, None])
async def test_a_deadline(first: VectorStoreFile | None):
    """The error says what was waited for; nothing is changed by it."""

    async def retrieve() -> VectorStoreFile:
        return FILE

    with pytest.raises(TimeoutError, match=r"vector_store\.file file-1 was still in progress after 0\.05 seconds"):
        await until_processed(retrieve, first, QUICK, 0.05)


async def test_a_deadline_before_the_first_answer():
    """Then there is nothing to name."""
    import anyio

    async def retrieve() -> VectorStoreFile:
        await anyio.sleep_forever()
        raise AssertionError

    with pytest.raises(TimeoutError, match=r"^it was still in progress"):
        await until_processed(retrieve, None, QUICK, 0.05)
