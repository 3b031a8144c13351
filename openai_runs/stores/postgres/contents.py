"""`PostgresContents`: the contents of files in the database of a `PostgresStore`, in pieces.

So neither an upload nor a download has more in memory than a piece, and all servers that share the store have all
contents. A draft is a content without a file. One that is never kept, since its server died, is deleted by whoever
begins a draft a day later.
"""

import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from openai_runs._finishing import finish
from openai_runs.errors import StoreError, StoreUnavailableError
from openai_runs.stores.content_folder import ContentFolder
from openai_runs.stores.file_contents import Draft, pieces

_logger = logging.getLogger("openai_runs.stores")

_PIECE: Final = 2**18  # bytes in a row
#: Executes a statement, which may be repeated if its answer was lost, and returns its rows. Raises `StoreError`.
Execute: TypeAlias = Callable[[str, Mapping[str, Any]], Coroutine[Any, Any, list[Any]]]

_NEW: Final = "INSERT INTO openai_runs_contents DEFAULT VALUES RETURNING key"
#: A draft that has got nothing for a day is nobody's: an upload that is silent has been given up before.
_DELETE_FORGOTTEN: Final = """
    DELETE FROM openai_runs_contents WHERE file IS NULL AND written_at < now() - interval '1 day' RETURNING key
"""
#: Likewise, contents whose file was not committed, or whose deletion was not finished.
_DELETE_FORGOTTEN_KEPT: Final = """
    DELETE FROM openai_runs_contents c WHERE file IS NOT NULL AND written_at < now() - interval '1 day'
        AND NOT EXISTS (SELECT FROM openai_runs_objects o WHERE o.kind = 'file' AND o.id = c.file)
    RETURNING key
"""
_WRITE: Final = """
    WITH alive AS (
        UPDATE openai_runs_contents SET size = %(end)s, written_at = now() WHERE key = %(key)s RETURNING key
    ), written AS (
        INSERT INTO openai_runs_pieces (content, number, data) SELECT key, %(number)s, %(data)b FROM alive
        ON CONFLICT DO NOTHING
    )
    SELECT key FROM alive
"""
_KEEP: Final = """
    WITH replaced AS (
        DELETE FROM openai_runs_contents WHERE file = %(file)s AND key <> %(key)s RETURNING key
    )
    UPDATE openai_runs_contents SET file = %(file)s, written_at = now()
    WHERE key = %(key)s AND (SELECT count(*) FROM replaced) >= 0  -- first of all
    RETURNING key
"""
_DISCARD: Final = "DELETE FROM openai_runs_contents WHERE key = %(key)s AND file IS NULL RETURNING key"
_FIND: Final = "SELECT key, size FROM openai_runs_contents WHERE file = %(file)s"
_READ: Final = "SELECT data FROM openai_runs_pieces WHERE content = %(key)s AND number = %(number)s"
_DELETE: Final = "DELETE FROM openai_runs_contents WHERE file = %(file)s RETURNING key"
_SWEEP: Final = "DELETE FROM openai_runs_contents WHERE file IS NULL OR NOT file = ANY(%(files)s) RETURNING key"
_KEPT: Final = "SELECT file FROM openai_runs_contents WHERE file IS NOT NULL"
_FILES: Final = "SELECT id FROM openai_runs_objects WHERE kind = 'file'"


def _key(id: str) -> str:
    """An ID as text that PostgreSQL has. One that is changed is no file's: the database could not have it either."""
    return id.replace("\0", "\\x00").encode(errors="surrogatepass").decode(errors="backslashreplace")


@define(eq=False)
class _RowDraft:
    _execute: Execute
    _key: int | None = field(default=None, init=False)
    _number: int = field(default=0, init=False)  # of the next piece
    _written: int = field(default=0, init=False)  # bytes
    _waiting: bytearray = field(factory=bytearray, init=False)
    _hash: Any = field(factory=partial(hashlib.blake2b, digest_size=24), init=False)
    size: int = field(default=0, init=False)

    async def write(self, piece: bytes) -> None:
        self.size += len(piece)
        self._hash.update(piece)
        self._waiting += piece
        while len(self._waiting) >= _PIECE:
            await finish(self._write_piece())

    async def fingerprint(self) -> bytes:
        digest: bytes = self._hash.digest()
        return digest

    async def keep(self, id: str) -> None:
        await finish(self._keep(id))

    async def _keep(self, id: str) -> None:
        if self._waiting:
            await self._write_piece()
        key = await self._begun()
        if not await self._execute(_KEEP, {"file": _key(id), "key": key}):
            raise _was_forgotten()

    async def discard(self) -> None:
        if self._key is not None:
            try:
                await finish(self._execute(_DISCARD, {"key": self._key}))
            except StoreError as error:
                _logger.warning("what was received of a file is deleted a day later: %s", error)

    async def _begun(self) -> int:
        if self._key is None:
            await self._execute(_DELETE_FORGOTTEN, {})
            [(self._key,)] = await self._execute(_NEW, {})
        return self._key

    async def _write_piece(self) -> None:
        key, data = await self._begun(), bytes(self._waiting[:_PIECE])
        end = self._written + len(data)
        if not await self._execute(_WRITE, {"key": key, "number": self._number, "data": data, "end": end}):
            raise _was_forgotten()
        del self._waiting[:_PIECE]
        self._number += 1
        self._written = end


def _was_forgotten() -> StoreUnavailableError:
    return StoreUnavailableError("The file has come too slowly, and was not kept: upload it again.")


@frozen
class _Rows:
    """A content, as `ContentStream` has it."""

    _execute: Execute
    _key: int
    size: int

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(-(-self.size // _PIECE)):
            found = await self._execute(_READ, {"key": self._key, "number": number})
            if not found:
                raise LookupError("the content was deleted while it was read")
            yield found[0][0]


@define(eq=False)
class PostgresContents:
    """Keeps contents in the tables of a store's database."""

    _execute: Execute

    @asynccontextmanager
    async def drafting(self) -> AsyncGenerator[Draft]:
        """Begin a new content; it is deleted at the end unless it is kept."""
        draft = _RowDraft(self._execute)
        try:
            yield draft
        finally:
            await draft.discard()

    async def source(self, id: str) -> _Rows:
        """A content, to be read piece by piece.

        Raises:
            LookupError: There is no such content.
            StoreUnavailableError: The database cannot be read now.
        """
        found = await self._execute(_FIND, {"file": _key(id)})
        if not found:
            raise LookupError(f"the database has no content of {id}")
        [(key, size)] = found
        return _Rows(self._execute, key, size)

    async def delete(self, id: str) -> None:
        """Delete a content, if there is one. One that cannot be deleted now is left to the next start."""
        try:
            await finish(self._execute(_DELETE, {"file": _key(id)}))
        except StoreError as error:
            _logger.warning("the content of %s cannot be deleted now: %s", id, error)

    async def sweep(self, ids: Iterable[str]) -> Sequence[str]:
        """Delete all contents but those of some files, and all drafts.

        Returns:
            The IDs that have no content.

        Raises:
            StoreUnavailableError: The database cannot be read or written now.
        """
        files = {_key(id): id for id in ids}
        await finish(self._execute(_SWEEP, {"files": list(files)}))
        kept = {file for (file,) in await self._execute(_KEPT, {})}
        return [id for file, id in files.items() if file not in kept]

    async def delete_forgotten(self) -> None:
        """Delete what was kept for files that were never committed, also while others use the contents."""
        await self._execute(_DELETE_FORGOTTEN_KEPT, {})

    async def move_from(self, folder: ContentFolder) -> int:
        """Move the contents of this database's files here, out of the folder where earlier versions kept them.

        Each is deleted there once it is here, so that whatever stops this, the next start goes on with it.

        Returns:
            How many were moved.
        """
        kept = {file for (file,) in await self._execute(_KEPT, {})}
        moved = 0
        for (id,) in await self._execute(_FILES, {}):
            try:
                source = await folder.source(id)
                if id not in kept:
                    async with self.drafting() as draft:
                        async for piece in pieces(source):
                            await draft.write(piece)
                        await draft.keep(id)
            except (LookupError, FileNotFoundError):  # it is here, or another server has just moved it
                continue
            await folder.delete(id)
            moved += 1
        return moved
