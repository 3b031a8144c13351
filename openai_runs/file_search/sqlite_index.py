"""`SQLiteIndex`: chunks in an SQLite file, found by their words (FTS5) and by their vectors (numpy).

What a user writes never becomes FTS5's syntax: a query is taken apart into words, and each is quoted. How rare a word
is, and so what it counts, is said by the stores that are searched, not by those of other owners.
"""

import math
import os
import sqlite3
from asyncio import Lock
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import anyio.to_thread
import msgspec

from openai_runs._extras import needs
from openai_runs._finishing import finish
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.file_search import sqlite_schema as schema
from openai_runs.file_search.by_meaning import cosines_with
from openai_runs.file_search.ranking import best, rarity, telling
from openai_runs.file_search.search_index import Hit, NewFile, Question, Vectors

with needs("files"):
    import numpy as np

if TYPE_CHECKING:
    import aiosqlite
    from numpy.typing import NDArray

#: Chunks whose words are looked at more closely, together with what the vectors find.
_CANDIDATES: Final = 200

#: A word that so many chunks have is looked up, however little it tells.
_CHEAP: Final = 2000

_MOST_CHUNKS: Final = 2**32  # of a store, ever

#: SQLite's errors about the objects in question, which do not pass.
_DATA_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_TOOBIG})


class SQLiteIndex:
    """Keeps chunks in an SQLite file of its own."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Create the index; the file is not opened yet.

        Args:
            path: The file. If it does not exist, it is created, readable by its user only.
        """
        self._path = Path(path)
        self._reader: aiosqlite.Connection | None = None
        self._writer: aiosqlite.Connection | None = None
        self._writing = Lock()

    def __repr__(self) -> str:
        return f"<SQLiteIndex {str(self._path)!r}, {'closed' if self._writer is None else 'open'}>"

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            StoreFileError: It is damaged, of another program, or of a later version.
            OSError: It cannot be created.
        """
        if self._writer is not None:
            raise RuntimeError(f"{self!r} is entered already")
        self._writer = await schema.opened(self._path)
        try:
            self._reader = await schema.opened(self._path)
        except BaseException:
            await finish(self._close())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close the file."""
        await finish(self._close())

    async def _close(self) -> None:
        async with self._writing:
            connections, self._reader, self._writer = (self._reader, self._writer), None, None
            for connection in connections:
                if connection is not None:
                    await connection.close()

    async def add(self, file: NewFile) -> int:
        """Add all chunks of a file or, if that fails, none. A file that is there already is replaced.

        Returns:
            How many bytes it takes: those of the chunks and of the vectors.

        Raises:
            StoreUnavailableError: Nothing was changed; trying again later may help.
            StoreDataError: Nothing was changed, and trying again does not help.
        """
        texts = msgspec.json.encode(file.chunks)
        return await finish(self._changing(self._add, file, texts))

    async def remove(self, store_id: str, file_id: str) -> bool:
        """Remove a file; whether it was there.

        Raises:
            StoreUnavailableError: Nothing was changed; trying again later may help.
        """
        return await finish(self._changing(self._remove, store_id, file_id))

    async def remove_store(self, store_id: str) -> None:
        """Remove all files of a vector store, one by one, so that others can be added and removed in between.

        Raises:
            StoreUnavailableError: Some may be left; trying again later may help.
        """
        for file_id in await self.file_ids(store_id):
            await self.remove(store_id, file_id)
        await finish(self._changing(self._write, schema.FORGET_STORE, {"store": store_id}))

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        """The chunks of a file in their order; none if it is not there.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        for _, _, first, count in await self._read(schema.FILE, {"store": store_id, "file": file_id}):
            [(texts,)] = await self._read(schema.CHUNKS, {"first": first, "last": first + count - 1})
            found: list[str] = msgspec.json.decode(texts)
            return found
        return []

    async def file_ids(self, store_id: str) -> Sequence[str]:
        """The files of a vector store.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        [(ids,)] = await self._read(schema.FILES_OF_STORE, {"store": store_id})
        found: list[str] = msgspec.json.decode(ids)
        return found

    async def everything(self) -> AsyncGenerator[NewFile]:
        """All files of all vector stores, as they were added, in that order.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        for store_id, file_id, filename, key in await self._read(schema.EVERYTHING, {}):
            vectors = None
            for label, numbers, data in await self._read(schema.VECTORS, {"file": key}):
                vectors = Vectors(label=label, matrix=np.frombuffer(data, "<f4").reshape(-1, numbers))
            chunks = await self.chunks(store_id, file_id)
            yield NewFile(store_id=store_id, file_id=file_id, filename=filename, chunks=chunks, vectors=vectors)

    async def search(self, question: Question, *, limit: int, threshold: float = 0.0) -> Sequence[Hit]:
        """The best hits with a score of at least ``threshold``, the best first.

        Raises:
            StoreUnavailableError: The file cannot be read now.
        """
        [(stores,)] = await self._read(schema.STORES, {"stores": _json(question.store_ids)})
        files = await self._chosen(question)
        words = await self._by_words(question.terms, stores, files)
        chunks, cosines = await self._by_meaning(question.vector, stores, files)
        ranked = await anyio.to_thread.run_sync(best, words, chunks, cosines, limit)
        scores = {chunk: score for chunk, score in ranked if score >= threshold}
        [(rows,)] = await self._read(schema.HITS, {"chunks": _json(list(scores))})
        hits = [
            Hit(store_id=store_id, file_id=file_id, filename=name, index=index, text=text, score=scores[chunk])
            for chunk, store_id, file_id, name, index, text in msgspec.json.decode(rows)
        ]
        return sorted(hits, key=lambda hit: -hit.score)

    async def _chosen(self, question: Question) -> frozenset[int] | None:
        """The files to search in; ``None``: all of the stores'."""
        if question.file_ids is None:
            return None
        ids = [(store, file) for store in question.store_ids for file in question.file_ids.get(store, ())]
        [(keys,)] = await self._read(schema.CHOSEN, {"files": _json(ids)})
        return frozenset(msgspec.json.decode(keys))

    async def _by_words(self, terms: Sequence[str], stores: str, files: frozenset[int] | None) -> dict[int, float]:
        """The scores of the chunks that share words with the query: how much of it they have."""
        terms = [quoted(term) for term in terms]
        parameters: dict[str, Any] = {"stores": stores, "terms": _json(terms)}
        [(in_all, here, counts)] = await self._read(schema.COUNTS, parameters)
        found = [
            (rarity(here, having_here), term, having_here, having)
            for term, (having, having_here) in zip(terms, msgspec.json.decode(counts), strict=True)
        ]
        told = telling([weight for weight, *_ in found])
        found = [one for one in found if one[0] >= told or one[2] <= _CHEAP]
        total = sum(weight for weight, *_ in found)
        weighted = [
            (term, weight, _rarity_in_fts5(in_all, having))
            for weight, term, having_here, having in found
            if having_here
        ]
        if not weighted:
            return {}
        parameters |= {"terms": _json(weighted), "limit": _CANDIDATES, "total": total}
        if files is None:
            [(rows,)] = await self._read(schema.RANKS, parameters)
        else:
            [(rows,)] = await self._read(schema.RANKS_OF_FILES, {**parameters, "files": _json(list(files))})
        scores: dict[int, float] = dict(msgspec.json.decode(rows))
        return scores

    async def _by_meaning(
        self, vector: Vectors | None, stores: str, files: frozenset[int] | None
    ) -> "tuple[NDArray[np.int64], NDArray[np.float32]]":
        """All chunks that have a vector, and the cosines of their angles with the query's."""
        if vector is None:
            return np.empty(0, np.int64), np.empty(0, np.float32)

        async def matrices_of(parts: list[tuple[int, int]]) -> Sequence[tuple[int, bytes]]:
            return await self._read(schema.MATRICES, {"files": _json([file for file, _ in parts])})

        parameters = {"stores": stores, "label": vector.label, "numbers": vector.matrix.shape[1]}
        [(rows,)] = await self._read(schema.WITH_VECTORS, parameters)
        parts = [row for row in msgspec.json.decode(rows) if files is None or row[0] in files]
        return await cosines_with(vector.matrix[0], parts, matrices_of)

    async def _add(self, file: NewFile, texts: bytes) -> int:
        await self._remove(file.store_id, file.file_id)
        await self._write(schema.NEW_STORE, {"store": file.store_id})
        [(store, next)] = await self._write(schema.STORE, {"store": file.store_id})
        count, first = len(file.chunks), (store << 32) + next
        if next + count > _MOST_CHUNKS:
            raise StoreDataError(f"The vector store has had {_MOST_CHUNKS} chunks, and takes no more: use another one.")
        row = {
            "store": store,
            "id": file.file_id,
            "filename": file.filename,
            "first": first,
            "chunks": count,
        }
        [(key,)] = await self._write(schema.NEW_FILE, row)
        await self._write(schema.NEW_CHUNKS, {"first": first, "file": key, "texts": texts})
        await self._write(schema.NEW_WORDS, {"first": first, "last": first + count - 1})
        [(bytes_of_text,)] = await self._write(schema.BYTES, {"first": first, "last": first + count - 1})
        size = int(bytes_of_text)
        if file.vectors is not None:
            matrix = file.vectors.matrix.astype("<f4").tobytes()
            size += len(matrix)
            numbers = file.vectors.matrix.shape[1]
            row = {"file": key, "label": file.vectors.label, "numbers": numbers, "matrix": matrix}
            await self._write(schema.NEW_VECTORS, row)
        await self._write(schema.COUNT, {"store": store, "change": count})
        return size

    async def _remove(self, store_id: str, file_id: str) -> bool:
        for key, store, first, count in await self._write(schema.FILE, {"store": store_id, "file": file_id}):
            for statement in schema.FORGET:
                await self._write(statement, {"file": key, "first": first, "last": first + count - 1})
            await self._write(schema.COUNT, {"store": store, "change": -count})
            return True
        return False

    async def _changing(self, change: Any, *arguments: Any) -> Any:
        """Make a change completely, or not at all."""
        async with self._writing:
            await self._write("BEGIN IMMEDIATE", {})
            try:
                result = await change(*arguments)
                await self._write("COMMIT", {})
            except BaseException:
                await _open(
                    self._writer
                ).rollback()  # without effect if SQLite has done it by itself, as on a full disk
                raise
            return result

    async def _write(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        return await _execute(self._writer, sql, parameters)

    async def _read(self, sql: str, parameters: Mapping[str, Any]) -> list[Any]:
        return await _execute(self._reader, sql, parameters)


def quoted(term: str) -> str:
    """A term as one of FTS5's strings, in which nothing is syntax."""
    return '"' + term.replace('"', '""') + '"'


def _open(db: "aiosqlite.Connection | None") -> "aiosqlite.Connection":
    if db is None:
        raise RuntimeError("the search index is not open: use it in `async with`")
    return db


async def _execute(db: "aiosqlite.Connection | None", sql: str, parameters: Mapping[str, Any]) -> list[Any]:
    db = _open(db)
    try:
        return list(await db.execute_fetchall(sql, parameters))
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary result code
        if code in _DATA_CODES:
            raise StoreDataError(
                f"The server's search index is damaged, or this is too large for it: {error}."
            ) from error
        raise StoreUnavailableError(f"The server's search index is not available: {error}.") from error


def _rarity_in_fts5(chunks: int, having: int) -> float:
    """The weight with which FTS5's ``rank`` has counted a term: its own formula, which has another lower bound."""
    return max(math.log((chunks - having + 0.5) / (having + 0.5)), 1e-6)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
