"""`PostgresIndex`: chunks in a PostgreSQL database, found by words and vectors, by all servers that share it.

Words are found by PostgreSQL's index of words, and ranked as `SQLiteIndex` ranks them. Vectors are compared here: the
ranking needs the cosines of all chunks, and not only those of the closest ones, which is all that an extension such as
pgvector would find without reading everything.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio.to_thread

from openai_runs._extras import needs
from openai_runs._finishing import cancelled_once, finish
from openai_runs._postgres import CONNECT_ARGS, first_line
from openai_runs._slices import in_slices
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.file_search import postgres_tables as tables
from openai_runs.file_search.by_meaning import BATCH, cosines_with
from openai_runs.file_search.postgres_words import Stems, listed, vectors_of, words_of
from openai_runs.file_search.ranking import best, rarity, telling
from openai_runs.file_search.search_index import Hit, NewFile, Question, Vectors

with needs("files"):
    import numpy as np
with needs("postgres"):
    import psycopg
    import psycopg_pool

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

#: Chunks whose words are looked at more closely, together with what the vectors find.
_CANDIDATES: Final = 200

#: Numbers of vectors in a row; so that what is read at once is at most a little more than intended.
_PART: Final = BATCH // 4

#: A word that so many chunks have is looked up, however little it tells.
_CHEAP: Final = 2000

_PLACE: Final = 24  # bits of a chunk's number
_MOST_CHUNKS: Final = 2**_PLACE  # of a file
_WRITTEN_AT_ONCE: Final = 200  # chunks

_CONNECTIONS: Final = 4
_TIMEOUT: Final = 6.0  # seconds to wait for one of them; connecting takes up to five

#: Classes of SQLSTATE of files that are damaged or too large.
_DATA: Final = ("22", "54", "XX")


class PostgresIndex:
    """Keeps chunks in tables of a PostgreSQL database. Several servers may use them at once."""

    def __init__(self, url: str) -> None:
        """Create the index; nothing is connected yet.

        Args:
            url: ``postgresql://user:password@host/database``, or what else libpq takes as such. The tables, whose names
                begin with ``openai_runs_index``, are created in it.
        """
        self._url = url
        self._stems = Stems()
        self._pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None

    def __repr__(self) -> str:
        return f"<PostgresIndex, {'closed' if self._pool is None else 'open'}>"

    async def __aenter__(self) -> Self:
        """Connect, and make the tables if there are none.

        Raises:
            StoreFileError: A later version has written them.
            StoreUnavailableError: The database cannot be reached.
        """
        if self._pool is not None:
            raise RuntimeError(f"{self!r} is entered already")
        pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] = psycopg_pool.AsyncConnectionPool(
            self._url,
            kwargs={**CONNECT_ARGS, "autocommit": True, "application_name": "openai-runs", "client_encoding": "utf8"},
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=_TIMEOUT,
            configure=_set_up,
            open=False,
            name="openai-runs-index",
        )
        await pool.open()
        self._pool = pool
        try:
            await self._trying(tables.migrate)
        except BaseException:
            await finish(self._close())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close all connections."""
        await finish(self._close())

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        assert pool is not None  # noqa: S101  # for the type checker: it is open
        await pool.close()

    async def add(self, file: NewFile) -> int:
        """Add all chunks of a file or, if that fails, none. A file that is there already is replaced.

        Returns:
            How many bytes it takes: those of the chunks and of the vectors.

        Raises:
            StoreUnavailableError: Nothing was changed; trying again later may help.
            StoreDataError: Nothing was changed, and trying again does not help.
        """
        if len(file.chunks) > _MOST_CHUNKS:
            raise StoreDataError(f"A file can have {_MOST_CHUNKS} chunks, and this one has {len(file.chunks)}.")

        async def change(connection: "psycopg.AsyncConnection[Any]") -> int:
            async with connection.transaction():
                return await _add(connection, file, self._stems)

        return await self._trying(change)

    async def remove(self, store_id: str, file_id: str) -> bool:
        """Remove a file; whether it was there.

        Raises:
            StoreUnavailableError: Nothing was changed; trying again later may help.
        """

        async def change(connection: "psycopg.AsyncConnection[Any]") -> bool:
            async with connection.transaction():
                found = await _rows(connection, tables.LOCK_OLD_STORE, {"store": store_id})
                return bool(found) and await _remove(connection, found[0][0], file_id)

        return await self._trying(change)

    async def remove_store(self, store_id: str) -> None:
        """Remove all files of a vector store, one by one, so that others can be added and removed in between.

        Raises:
            StoreUnavailableError: Some may be left; trying again later may help.
        """
        for file_id in await self.file_ids(store_id):
            await self.remove(store_id, file_id)

        async def change(connection: "psycopg.AsyncConnection[Any]") -> None:
            async with connection.transaction():
                for (key,) in await _rows(connection, tables.LOCK_OLD_STORE, {"store": store_id}):
                    await connection.execute(tables.FORGET_STORE, {"key": key})

        await self._trying(change)

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        """The chunks of a file in their order; none if it is not there.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        for key, count in await self._read(tables.FILE, {"store": store_id, "file": file_id}):
            return [
                text.decode(errors="surrogatepass") for (text,) in await self._read(tables.CHUNKS, _ids(key, count))
            ]
        return []

    async def file_ids(self, store_id: str) -> Sequence[str]:
        """The files of a vector store.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        return [file_id for (file_id,) in await self._read(tables.FILES_OF_STORE, {"store": store_id})]

    async def everything(self) -> AsyncGenerator[NewFile]:
        """All files of all vector stores, as they were added, in that order.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        for store_id, file_id, filename, key in await self._read(tables.EVERYTHING, {}):
            parts = await self._read(tables.VECTORS, {"file": key})
            vectors = None
            for label, numbers, _ in parts[:1]:
                matrix = np.frombuffer(b"".join(part for *_, part in parts), "<f4").reshape(-1, numbers)
                vectors = Vectors(label=label, matrix=matrix)
            yield NewFile(
                store_id=store_id,
                file_id=file_id,
                filename=filename.decode(errors="surrogatepass"),
                chunks=await self.chunks(store_id, file_id),
                vectors=vectors,
            )

    async def search(self, question: Question, *, limit: int, threshold: float = 0.0) -> Sequence[Hit]:
        """The best hits with a score of at least ``threshold``, the best first.

        Raises:
            StoreUnavailableError: The database cannot be read now.
        """
        stores = await self._read(tables.STORES, {"stores": list(question.store_ids)})
        files = await self._chosen(question)
        words = await self._by_words(question.terms, stores, files)
        chunks, cosines = await self._by_meaning(question.vector, [key for key, *_ in stores], files)
        ranked = await anyio.to_thread.run_sync(best, words, chunks, cosines, limit)
        scores = {chunk: score for chunk, score in ranked if score >= threshold}
        hits = {
            chunk: Hit(
                store_id=store_id,
                file_id=file_id,
                filename=filename.decode(errors="surrogatepass"),
                index=chunk % _MOST_CHUNKS,
                text=text.decode(errors="surrogatepass"),
                score=scores[chunk],
            )
            for chunk, store_id, file_id, filename, text in await self._read(tables.HITS, {"chunks": list(scores)})
        }
        return [hits[chunk] for chunk in scores if chunk in hits]  # others were removed a moment ago

    async def _chosen(self, question: Question) -> list[int] | None:
        """The files to search in; ``None``: all of the stores'."""
        if question.file_ids is None:
            return None
        ids = [(store, file) for store in question.store_ids for file in question.file_ids.get(store, ())]
        pairs = {"stores": [store for store, _ in ids], "files": [file for _, file in ids]}
        return [key for (key,) in await self._read(tables.CHOSEN, pairs)]

    async def _by_words(
        self, terms: Sequence[str], stores: Sequence[tuple[int, int, int]], files: list[int] | None
    ) -> dict[int, float]:
        """The scores of the chunks that share words with the query: how much of it they have."""
        here, words = sum(chunks for _, chunks, _ in stores), sum(words for *_, words in stores)
        phrases = [phrase for term in terms if (phrase := words_of(term))]
        if not here or not phrases:
            return {}
        queries = await self._queries(phrases, [key for key, *_ in stores])
        numbers = [number for number, of_term in enumerate(queries) for _ in of_term]
        asked = {"numbers": numbers, "queries": [query for of_term in queries for query in of_term]}
        counts = [int(having) for _, having in await self._read(tables.COUNTS, asked)]
        found = [(rarity(here, having), of_term, having) for of_term, having in zip(queries, counts, strict=True)]
        told = telling([weight for weight, *_ in found])
        found = [one for one in found if one[0] >= told or one[2] <= _CHEAP]
        total = sum(weight for weight, *_ in found)
        weighted = [(query, weight) for weight, of_term, having in found if having for query in of_term]
        if not weighted:
            return {}
        ranked = {
            "queries": [query for query, _ in weighted],
            "rarities": [weight for _, weight in weighted],
            "average": max(words / here, 1.0),
            "files": files,
            "total": total,
            "limit": _CANDIDATES,
        }
        return dict(await self._read(tables.RANKS, ranked))

    async def _queries(self, phrases: Sequence[Sequence[str]], stores: Sequence[int]) -> list[list[str]]:
        """For each term, what is searched for in each store: a word, or a phrase of several."""

        async def find(connection: "psycopg.AsyncConnection[Any]") -> Mapping[str, str]:
            return await self._stems.of(partial(_rows, connection), {word for phrase in phrases for word in phrase})

        stems = await self._trying(find)
        return [[" <-> ".join(f"'{store}/{stems[word]}'" for word in phrase) for store in stores] for phrase in phrases]

    async def _by_meaning(
        self, vector: Vectors | None, stores: list[int], files: list[int] | None
    ) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
        """All chunks that have a vector, and the cosines of their angles with the query's."""
        if vector is None:
            return np.empty(0, np.int64), np.empty(0, np.float32)

        async def matrices_of(parts: list[tuple[int, int, int]]) -> Sequence[tuple[int, bytes]]:
            keys = {"files": [file for file, *_ in parts], "firsts": [first for _, first, _ in parts]}
            return await self._read(tables.MATRICES, keys)

        parameters = {"stores": stores, "label": vector.label, "numbers": vector.matrix.shape[1], "files": files}
        return await cosines_with(vector.matrix[0], await self._read(tables.WITH_VECTORS, parameters), matrices_of)

    async def _read(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        async def read(connection: "psycopg.AsyncConnection[Any]") -> list[Any]:
            return await _rows(connection, sql, parameters)

        return await self._trying(read)

    async def _trying(self, work: "Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]") -> T:
        """Do work on a connection, and once more if that was lost while it was idle; all of it may be repeated."""
        # psycopg has the database give up a statement that is cancelled, and loses the connection if that is disturbed.
        return await cancelled_once(self._tried(work))

    async def _tried(self, work: "Callable[[psycopg.AsyncConnection[Any]], Awaitable[T]]") -> T:
        if self._pool is None:
            raise RuntimeError("the search index is not open: use it in `async with`")
        try:
            try:
                async with self._pool.connection() as connection:
                    return await work(connection)
            except psycopg.OperationalError as error:
                if not _is_lost(error):
                    raise
                await self._pool.check()
                async with self._pool.connection() as connection:
                    return await work(connection)
        except (psycopg.OperationalError, psycopg.DataError, psycopg.InternalError) as error:
            if (error.sqlstate or "").startswith(_DATA) or isinstance(error, psycopg.DataError):
                raise StoreDataError(
                    f"The server's search index is damaged, or this is too large for it: {first_line(error)}."
                ) from error
            raise StoreUnavailableError(f"The server's search index is not available: {first_line(error)}.") from error


async def _set_up(connection: "psycopg.AsyncConnection[Any]") -> None:
    await connection.execute(tables.SET_UP)
    await connection.execute(tables.SET_UP_DURABLE)


def _is_lost(error: psycopg.OperationalError) -> bool:
    state = error.sqlstate or "57P"  # libpq has no code for it, and the server's are of its shutdown
    return state.startswith("57P") and not isinstance(error, psycopg_pool.PoolTimeout)


async def _rows(connection: "psycopg.AsyncConnection[Any]", sql: str, parameters: Mapping[str, Any]) -> list[Any]:
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(sql, parameters)
        return await cursor.fetchall()


async def _add(connection: "psycopg.AsyncConnection[Any]", file: NewFile, stems: Stems) -> int:
    [(store,)] = await _rows(connection, tables.LOCK_STORE, {"store": file.store_id})
    await _remove(connection, store, file.file_id)
    name = file.filename.encode(errors="surrogatepass")
    [(key,)] = await _rows(connection, tables.NEW_FILE, {"store": store, "file": file.file_id, "filename": name})
    size = count = 0
    for start in range(0, len(file.chunks), _WRITTEN_AT_ONCE):
        some = file.chunks[start : start + _WRITTEN_AT_ONCE]
        texts = [text.encode(errors="surrogatepass") for text in some]
        words = await in_slices(listed(file.filename, some))
        found = await stems.of(partial(_rows, connection), {word for of_chunk in words for word in of_chunk})
        lengths = list(map(len, words))
        rows = {"first": (key << _PLACE) + start, "texts": texts, "lengths": lengths}
        await connection.execute(tables.NEW_CHUNKS, {**rows, "words": await in_slices(vectors_of(store, words, found))})
        size += sum(map(len, texts))
        count += sum(lengths)
    if file.vectors is not None:
        size += await _add_vectors(connection, key, file.vectors)
    counts = {"chunks": len(file.chunks), "words": count}
    await connection.execute(tables.COUNT_IN_FILE, {**counts, "key": key})
    await connection.execute(tables.COUNT, {**counts, "key": store})
    return size


async def _add_vectors(connection: "psycopg.AsyncConnection[Any]", key: int, vectors: Vectors) -> int:
    count, numbers = vectors.matrix.shape
    size, step = 0, max(_PART // numbers, 1)
    for first in range(0, count, step):
        part = vectors.matrix[first : first + step]
        matrix = part.astype("<f4").tobytes()
        row = {"file": key, "first": first, "chunks": len(part), "label": vectors.label, "numbers": numbers}
        await connection.execute(tables.NEW_VECTORS, {**row, "matrix": matrix})
        size += len(matrix)
    return size


async def _remove(connection: "psycopg.AsyncConnection[Any]", store: int, file_id: str) -> bool:
    """Remove a file of a store that is locked."""
    found = await _rows(connection, tables.FORGET_FILE, {"store": store, "file": file_id})
    for key, chunks, words in found:
        await connection.execute(tables.FORGET_CHUNKS, _ids(key, chunks))
        await connection.execute(tables.FORGET_VECTORS, {"file": key})
        await connection.execute(tables.COUNT, {"key": store, "chunks": -chunks, "words": -words})
    return bool(found)


def _ids(key: int, count: int) -> Mapping[str, int]:
    """Those of a file's chunks."""
    return {"first": key << _PLACE, "last": (key << _PLACE) + count - 1}
