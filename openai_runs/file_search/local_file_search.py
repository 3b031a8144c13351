"""`LocalFileSearch`: files in, chunks out; all that an engine has to know of this room."""

import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypedDict

from attrs import evolve, frozen

from openai_runs._arguments import check_count
from openai_runs._extras import needs
from openai_runs._slices import Work, in_slices
from openai_runs.errors import BackendError, FileError
from openai_runs.file_search.chunking import Chunking
from openai_runs.file_search.embeddings import Embedder
from openai_runs.file_search.extraction import ExtractionLimits, Extractor
from openai_runs.file_search.search_index import Hit, NewFile, Question, SearchIndex, Vectors, terms_of
from openai_runs.file_search.tokens import count, shortened

with needs("files"):
    import numpy as np

_logger = logging.getLogger("openai_runs.file_search")

_EMBEDDED_AT_ONCE: Final = 256  # chunks
_LONGEST_NAME: Final = 255  # characters: each chunk is found by it
_MOST_RESULTS: Final = 50
_MOST_QUERIES: Final = 20  # in one search
_LONGEST_QUERY: Final = 4096  # characters; what follows is not searched for


class RankingOptions(TypedDict, total=False):
    """The API's ``ranking_options``."""

    ranker: str  #: there is one ranker, whatever is asked for
    score_threshold: float | None  #: hits with a lower score are left out


@frozen(kw_only=True)
class IngestedFile:
    """A file that can be found now."""

    usage_bytes: int  #: of its chunks, with their overlaps, and their vectors
    chunks: int


class LocalFileSearch:
    """Reads files, keeps their chunks in an index, and finds them again."""

    def __init__(
        self,
        index: SearchIndex,
        *,
        embedder: Embedder | None = None,
        limits: ExtractionLimits | None = None,
    ) -> None:
        """Create the search.

        Args:
            index: Keeps the chunks, such as `SQLiteIndex`. It is opened and closed here if it has to be.
            embedder: Makes vectors, such as `EmbeddingsEndpoint`. Without one, only words are searched for. Files that
                were added without one, or with another one, are found by their words only.
            limits: What reading one file may take; see `ExtractionLimits`.
        """
        self._index = index
        self._embedder = embedder
        self._extractor = Extractor(limits or ExtractionLimits())
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the index, and the connections to the embedding model.

        Raises:
            StoreFileError: The index cannot be opened.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._extractor.aclose)
            if isinstance(self._index, AbstractAsyncContextManager):
                await stack.enter_async_context(self._index)
            if self._embedder is not None:
                await stack.enter_async_context(self._embedder.opened())
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close what was opened."""
        await self._open.aclose()

    async def ingest(
        self,
        store_id: str,
        file_id: str,
        filename: str,
        content: Path | bytes,
        chunking: Chunking | None = None,
    ) -> IngestedFile:
        """Make a file searchable in a vector store: all of it, or nothing. One that is there already is replaced.

        Args:
            store_id: The vector store.
            file_id: The file.
            filename: Its name: what kind of text it is, and words by which it is found. Of a long one, the last 255
                characters count.
            content: The file, or where it is.
            chunking: How its text is cut; by default into 800 tokens, 400 of which overlap.

        Raises:
            FileError: It cannot be made searchable; ``code`` is the API's.
            StoreError: The index cannot take it.
            OSError: There is no file at this path.
        """
        filename = filename[-_LONGEST_NAME:].encode(errors="replace").decode()  # it may have half a surrogate pair
        chunks = await self._extractor.chunks(content, filename, chunking or Chunking())
        vectors = None
        if self._embedder is not None:
            try:
                vectors = await _embedded(chunks, filename, self._embedder)
            except BackendError as error:
                raise FileError("server_error", f"The file could not be embedded: {error.message}") from error
        size = await self._index.add(
            NewFile(
                store_id=store_id,
                file_id=file_id,
                filename=filename,
                chunks=chunks,
                vectors=vectors,
            )
        )
        return IngestedFile(usage_bytes=size, chunks=len(chunks))

    async def search(
        self,
        store_ids: Sequence[str],
        query: str | Sequence[str],
        *,
        limit: int = 20,
        file_ids: Mapping[str, Collection[str]] | None = None,
        ranking_options: RankingOptions | None = None,
        max_tokens: int | None = None,
    ) -> list[Hit]:
        """Find chunks, the best first.

        If the embedding model cannot be asked, the words decide alone, and a warning is logged.

        Args:
            store_ids: The vector stores; those that have no files are empty, whether they exist or not.
            query: What is searched for. Of several queries, the one that fits a chunk best gives its score.
            limit: How many hits at most, 1 to 50.
            file_ids: By vector store, the files to search in. Unset: all of them.
            ranking_options: Of the API.
            max_tokens: How many tokens all hits may have together, as estimated. What would go beyond is left out; a
                first hit that is too large is shortened.

        Raises:
            ValueError: A limit is invalid, or there are more than 20 queries.
            StoreError: The index cannot be read.
        """
        check_count("limit", limit, least=1)
        if limit > _MOST_RESULTS:
            raise ValueError(f"limit must be at most {_MOST_RESULTS}: got {limit}")
        queries = [query] if isinstance(query, str) else list(query)
        if len(queries) > _MOST_QUERIES:
            raise ValueError(f"there must be at most {_MOST_QUERIES} queries: got {len(queries)}")
        queries = [text[:_LONGEST_QUERY] for text in queries if text.strip()]
        threshold = (ranking_options or {}).get("score_threshold") or 0.0
        best: dict[tuple[str, str, int], Hit] = {}
        for text, vector in zip(queries, await self._vectors(queries), strict=True):
            question = Question(store_ids=store_ids, terms=terms_of(text), vector=vector, file_ids=file_ids)
            for hit in await self._index.search(question, limit=limit, threshold=threshold):
                key = hit.store_id, hit.file_id, hit.index
                if key not in best or best[key].score < hit.score:
                    best[key] = hit
        hits = sorted(best.values(), key=lambda hit: -hit.score)[:limit]
        return hits if max_tokens is None else await in_slices(_fitting(hits, max_tokens))

    async def forget(self, store_id: str, file_id: str) -> bool:
        """Remove a file from a vector store; whether it was there.

        Raises:
            StoreError: Nothing was changed.
        """
        return await self._index.remove(store_id, file_id)

    async def forget_store(self, store_id: str) -> None:
        """Remove all files of a vector store.

        Raises:
            StoreError: Some may be left.
        """
        await self._index.remove_store(store_id)

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        """The chunks of a file in their order; none if it is not in this vector store.

        Raises:
            StoreError: The index cannot be read.
        """
        return await self._index.chunks(store_id, file_id)

    async def file_ids(self, store_id: str) -> Collection[str]:
        """The files that can be found in a vector store.

        Raises:
            StoreError: The index cannot be read.
        """
        return await self._index.file_ids(store_id)

    async def _vectors(self, queries: Sequence[str]) -> Sequence[Vectors | None]:
        if self._embedder is None or not queries:
            return [None] * len(queries)
        try:
            matrix = await self._embedder.embed(queries, are_queries=True)
        except BackendError as error:
            _logger.warning("searching for words only, since the query has no vector: %s", error.message)
            return [None] * len(queries)
        return [Vectors(label=self._embedder.label, matrix=matrix[row : row + 1]) for row in range(len(queries))]


async def _embedded(chunks: Sequence[str], filename: str, embedder: Embedder) -> Vectors:
    rows = []
    for first in range(0, len(chunks), _EMBEDDED_AT_ONCE):
        # With the name: a chunk from the middle of a text often does not say what it is about.
        texts = [f"{filename}\n{chunk}" for chunk in chunks[first : first + _EMBEDDED_AT_ONCE]]
        rows.append(await embedder.embed(texts))
    try:
        return Vectors(label=embedder.label, matrix=np.concatenate(rows))
    except ValueError:  # the endpoint has changed its model meanwhile
        raise BackendError("server_error", "the embedding model's vectors are not all of one length") from None


def _fitting(hits: Sequence[Hit], most: int) -> Work[list[Hit]]:
    """The hits that fit, without gaps: what is left out is worse than what is there."""
    fitted: list[Hit] = []
    left = most
    for hit in hits:
        yield
        tokens = count(hit.text)
        if tokens > left:
            break
        fitted.append(hit)
        left -= tokens
    if not fitted and hits:
        fitted.append(evolve(hits[0], text=shortened(hits[0].text, most)))
    return fitted
