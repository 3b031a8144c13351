"""`until_processed`: waits until the endpoint has read a file, or the files of a batch."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from openai_runs._arguments import check_seconds
from openai_runs.following.polling import Polling
from openai_runs.models.vector_store import VectorStoreFile, VectorStoreFileBatch, VectorStoreFileStatus

ProcessedT = TypeVar("ProcessedT", VectorStoreFile, VectorStoreFileBatch)


async def until_processed(
    retrieve: Callable[[], Awaitable[ProcessedT]], first: ProcessedT | None, polling: Polling, deadline: float | None
) -> ProcessedT:
    """Fetch a file in a vector store, or a batch, until it is not in progress any more.

    Args:
        retrieve: Fetches it.
        first: What is known of it.
        polling: How often to fetch it.
        deadline: Seconds; ``None``: without limit.

    Raises:
        TimeoutError: The deadline has passed.
    """
    check_seconds("deadline", deadline, none=True)
    latest = first
    with anyio.move_on_after(deadline):
        latest = latest or await retrieve()
        unchanged = 0
        while latest.status is VectorStoreFileStatus.IN_PROGRESS:
            await anyio.sleep(polling.delay(unchanged))
            found = await retrieve()
            unchanged = unchanged + 1 if found == latest else 0
            latest = found
        return latest
    what = "it" if latest is None else f"{latest.object} {latest.id}"
    raise TimeoutError(f"{what} was still in progress after {deadline} seconds; poll() waits further")
