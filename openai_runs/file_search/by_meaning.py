"""A query's vector against those of all chunks of a vector store, read in batches and compared in a thread."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import anyio.to_thread

from openai_runs._extras import needs
from openai_runs.file_search.ranking import cosines_of

with needs("files"):
    import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PartT = TypeVar("PartT", bound=Sequence[int])

#: Numbers of vectors that are in memory at once, for each search; 16 MB.
BATCH: Final = 2**22


async def cosines_with(
    vector: "NDArray[np.float32]",
    parts: Sequence[PartT],
    matrices_of: Callable[[list[PartT]], Awaitable[Sequence[tuple[int, bytes]]]],
) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
    """Compare the vectors of chunks with that of a question.

    Args:
        vector: That of the question; all have the length 1.
        parts: Those of the index that have vectors; the last number of each says how many chunks it has.
        matrices_of: Reads the vectors of some parts: the first chunk of each, and their bytes.

    Returns:
        The chunks, and their cosines.
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.float32))]
    found += [
        await anyio.to_thread.run_sync(cosines_of, await matrices_of(batch), vector)
        for batch in _batches(parts, BATCH // len(vector))
    ]
    chunks, cosines = zip(*found, strict=True)
    return np.concatenate(chunks), np.concatenate(cosines)


def _batches(parts: Sequence[PartT], most: int) -> Iterator[list[PartT]]:
    """Groups of parts that have at most so many chunks together, or of a single one."""
    batch: list[PartT] = []
    size = 0
    for part in parts:
        if batch and size + part[-1] > most:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += part[-1]
    if batch:
        yield batch
