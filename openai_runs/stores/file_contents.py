"""`FileContents`: where a store keeps the contents of files; and `MemoryContents`, which keeps them in memory."""

import hashlib
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from attrs import define, field


class Draft(Protocol):
    """A content that is being written. It is nobody's before `keep`, and gone if that is not called."""

    @property
    def size(self) -> int:
        """Bytes that were written so far."""
        ...

    async def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            StoreUnavailableError: There is no room for it, for example.
        """

    async def fingerprint(self) -> bytes:
        """A hash of all that was written."""
        ...

    async def keep(self, id: str) -> None:
        """Make it the content of a file, and return when it is durable.

        Raises:
            StoreUnavailableError: It was not kept.
        """


class FileContents(Protocol):
    """Keeps the contents of files, by the files' IDs.

    A content is kept before the file is committed to the store, and deleted after the file. So whatever happens, a file
    has its content; a content without a file may be left, until the next `sweep`.
    """

    def drafting(self) -> AbstractAsyncContextManager[Draft]:
        """Begin a new content, which is deleted at the end unless it is kept."""
        ...

    async def source(self, id: str) -> Path | bytes:
        """What to read a content from: a file that is not to be changed, or the bytes themselves.

        Raises:
            LookupError: There is no such content.
        """
        ...

    async def delete(self, id: str) -> None:
        """Delete a content, if there is one. One that cannot be deleted now is left to `sweep`."""

    async def sweep(self, ids: Iterable[str]) -> Sequence[str]:
        """Delete all contents but those of some files. Nobody else may use the contents meanwhile.

        Returns:
            The IDs among ``ids`` that have no content.

        Raises:
            StoreFileError: The place where they are kept is missing or cannot be read.
        """
        ...


@define
class _MemoryDraft:
    _kept: dict[str, bytes]
    _pieces: list[bytes] = field(factory=list, init=False)
    size: int = field(default=0, init=False)

    async def write(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    async def fingerprint(self) -> bytes:
        hashed = hashlib.blake2b(digest_size=24)
        for piece in self._pieces:
            hashed.update(piece)
        return hashed.digest()

    async def keep(self, id: str) -> None:
        self._kept[id] = b"".join(self._pieces)


@define
class MemoryContents:
    """Keeps contents until the process ends."""

    _kept: dict[str, bytes] = field(factory=dict, init=False)

    @asynccontextmanager
    async def drafting(self) -> AsyncGenerator[Draft]:
        """Begin a new content."""
        yield _MemoryDraft(self._kept)

    async def source(self, id: str) -> bytes:
        """A content."""
        return self._kept[id]

    async def delete(self, id: str) -> None:
        """Delete a content, if there is one."""
        self._kept.pop(id, None)

    async def sweep(self, ids: Iterable[str]) -> Sequence[str]:
        """Delete all contents but those of some files; returns the IDs that have none."""
        wanted = list(ids)
        for id in self._kept.keys() - set(wanted):
            del self._kept[id]
        return [id for id in wanted if id not in self._kept]
