"""`FileIndex`: what the engine asks of whatever reads files and searches in them, such as `LocalFileSearch`.

The engine knows what is in which vector store, and says so; the index has the texts. Each job for it is stored before
it is asked, and given to it again after a crash, so that every method may be called twice.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from openai_runs.file_search.chunking import Chunking

if TYPE_CHECKING:  # it needs an extra
    from openai_runs.file_search import Hit, IngestedFile, RankingOptions


class FileIndex(Protocol):
    """Reads files, cuts them into chunks, and finds chunks.

    It has a place of its own for what it keeps, in which it finds everything again after a restart. Nothing that it
    does may hold the event loop.
    """

    async def ingest(
        self, store_id: str, file_id: str, filename: str, content: Path | bytes, chunking: Chunking
    ) -> "IngestedFile":
        """Read a file, so that it can be searched in a vector store; replaces what was there of it before.

        Raises:
            FileError: It cannot be read; becomes the file's ``last_error``.
        """
        ...

    async def search(
        self,
        store_ids: Sequence[str],
        query: str | Sequence[str],
        *,
        limit: int,
        file_ids: Mapping[str, Collection[str]] | None = None,
        ranking_options: "RankingOptions | None" = None,
        max_tokens: int | None = None,
    ) -> Sequence["Hit"]:
        """Find chunks, the best first.

        Args:
            store_ids: The vector stores.
            query: What is searched for; of several, the one that fits a chunk best counts.
            limit: How many chunks at most.
            file_ids: By vector store, the files to search in; ``None``: all of them.
            ranking_options: Of the API.
            max_tokens: How many tokens all chunks may have together.
        """
        ...

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        """The chunks of a file in their order; none if it is not there."""
        ...

    async def file_ids(self, store_id: str) -> Collection[str]:
        """Which files of a vector store are there. Asked at the start: those that are missing are read again."""
        ...

    async def forget(self, store_id: str, file_id: str) -> object:
        """Delete what was kept of a file in a vector store. There may be nothing."""
        ...

    async def forget_store(self, store_id: str) -> object:
        """Delete what was kept of all files in a vector store. There may be nothing."""
        ...
