"""`FileIndex`: what the engine asks of whatever reads files and searches in them.

The engine knows what is in which vector store, and says so; the index has the texts. Each job for it is stored before
it is asked, and given to it again after a crash, so that every method may be called twice.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from attrs import frozen

from openai_runs.errors import OpenAIRunsError


class UnusableFileError(OpenAIRunsError):
    """A file cannot be read, whoever tries and however often; becomes the file's ``last_error``.

    Attributes:
        code: Whether files of this kind cannot be read, or this one cannot.
        message: Why, for the file's owner.
    """

    def __init__(self, code: Literal["unsupported_file", "invalid_file"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@frozen
class Chunking:
    """How long the passages are into which a file is cut, in tokens."""

    size: int = 800
    overlap: int = 400


@frozen
class IngestedFile:
    """A file that can be searched now."""

    bytes: int  #: that the index needs for it
    chunks: int  #: how many passages it has


@frozen
class Hit:
    """A passage that fits a query."""

    vector_store_id: str
    file_id: str
    score: float  #: from 0 to 1
    text: str


class FileIndex(Protocol):
    """Reads files, cuts them into passages, and finds passages.

    It has a place of its own for what it keeps, in which it finds everything again after a restart. Nothing that it
    does may hold the event loop.
    """

    async def ingest(
        self, vector_store_id: str, file_id: str, filename: str, content: Path | bytes, chunking: Chunking
    ) -> IngestedFile:
        """Read a file, so that it can be searched in a vector store; replaces what was there of it before.

        Raises:
            UnusableFileError: It cannot be read.
        """
        ...

    async def search(
        self,
        vector_store_ids: Sequence[str],
        query: str,
        *,
        limit: int,
        file_ids: Mapping[str, Collection[str]] | None = None,
        ranker: str = "auto",
        score_threshold: float = 0.0,
    ) -> Sequence[Hit]:
        """Find the passages that fit a query best.

        Args:
            vector_store_ids: Where to search.
            query: In natural language.
            limit: How many to return at most.
            file_ids: By vector store, the files to search in; unset: all of them.
            ranker: The API's name of a ranker; ``none`` for the quickest.
            score_threshold: Only passages with at least this score.

        Returns:
            The passages, the best first.
        """
        ...

    async def passages(self, vector_store_id: str, file_id: str) -> Sequence[str]:
        """All that was read of a file, in its order and without overlaps."""
        ...

    async def forget(self, vector_store_id: str, file_id: str | None) -> None:
        """Delete what was kept of a file in a vector store; ``None``: of all files in it. There may be nothing."""
