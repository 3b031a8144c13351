"""`FileContents`: where a store keeps the contents of files; and `MemoryContents`, which keeps them in memory."""

import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import anyio
from attrs import define, field

_PIECE: Final = 2**20  # bytes that are read at a time


class ContentStream(Protocol):
    """A content that is read piece by piece, as often as it is iterated over.

    Whoever reads one that is deleted meanwhile gets a `LookupError`.
    """

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


#: What a content is read from: a file that is not to be changed, the bytes themselves, or a stream.
Source: TypeAlias = Path | bytes | ContentStream


async def pieces(source: Source, size: int = _PIECE) -> AsyncGenerator[bytes]:
    """The bytes of a content, in pieces of ``size`` bytes and a last one that may be smaller.

    Raises:
        LookupError: It was deleted while it was read.
        FileNotFoundError: Likewise.
    """
    if isinstance(source, bytes):
        for start in range(0, len(source), size):
            yield source[start : start + size]
    elif isinstance(source, Path):
        async with await anyio.open_file(source, "rb") as file:
            while piece := await file.read(size):
                yield piece
    else:
        left = bytearray()
        async for piece in source:
            left += piece
            while len(left) >= size:
                yield bytes(left[:size])
                del left[:size]
        if left:
            yield bytes(left)


async def whole(source: Source) -> bytes:
    """All bytes of a content, which has to be known to be small.

    Raises:
        LookupError: It was deleted while it was read.
        FileNotFoundError: Likewise.
    """
    return source if isinstance(source, bytes) else b"".join([piece async for piece in pieces(source)])


@asynccontextmanager
async def at_hand(source: Source) -> AsyncGenerator[Path | bytes]:
    """A content for who needs a file or bytes: a stream is in a temporary file until the end.

    Raises:
        LookupError: It was deleted while it was read.
    """
    if isinstance(source, Path | bytes):
        yield source
        return
    descriptor, name = tempfile.mkstemp(prefix="openai-runs-")
    try:
        async with anyio.wrap_file(open(descriptor, "wb")) as file:  # noqa: ASYNC230, PTH123  # it is open already
            async for piece in source:
                await file.write(piece)
        yield Path(name)
    finally:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108  # it takes no time, and must not be cancelled


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

    async def source(self, id: str) -> Source:
        """What to read a content from; see `pieces`, `whole` and `at_hand`.

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
