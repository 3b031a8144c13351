"""`ContentFolder`: the contents of files in a folder, each in a file of its own.

A content is written to a temporary name, synced to the disk, and then renamed: under its own name it is always whole.
All of it is done in worker threads, a megabyte at a time, so that neither the disk nor hashing holds the event loop.
"""

import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import anyio.to_thread
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs.errors import StoreFileError, StoreUnavailableError
from openai_runs.stores.file_contents import Draft

T = TypeVar("T")

_logger = logging.getLogger("openai_runs.stores")

_STEP: Final = 2**20  # bytes that are written at a time
_SYNC_STEP: Final = 16 * 2**20  # bytes between two syncs: a single one of all would hold up the store's own
_DRAFT: Final = "draft-"  # how temporary names begin


async def _in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do blocking work, to its end even if the caller is cancelled: nobody may close a file that is being written."""
    return await finish(anyio.to_thread.run_sync(work, *arguments))


def _unavailable(error: OSError) -> StoreUnavailableError:
    reason = error.strerror or type(error).__name__
    return StoreUnavailableError(f"The server's store is not available: {reason}. Nothing was changed.")


@define(eq=False)
class _FileDraft:
    _folder: Path
    _name: Callable[[str], str]
    _path: Path = field(init=False)
    _file: BinaryIO | None = field(default=None, init=False)
    _hash: Any = field(factory=partial(hashlib.blake2b, digest_size=24), init=False)
    _waiting: list[bytes] = field(factory=list, init=False)
    _waiting_size: int = field(default=0, init=False)
    _unsynced: int = field(default=0, init=False)
    size: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._path = self._folder / f"{_DRAFT}{secrets.token_hex(16)}"

    async def write(self, piece: bytes) -> None:
        self.size += len(piece)
        self._waiting.append(piece)
        self._waiting_size += len(piece)
        if self._waiting_size >= _STEP:
            await self._trying(self._write_waiting)

    async def fingerprint(self) -> bytes:
        await self._trying(self._write_waiting)
        digest: bytes = self._hash.digest()
        return digest

    async def keep(self, id: str) -> None:
        await self._trying(self._keep, self._folder / self._name(id))

    async def discard(self) -> None:
        await _in_thread(self._discard)

    async def _trying(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            await _in_thread(work, *arguments)
        except OSError as error:
            _logger.error("%s takes no contents: %s", self._folder, error)  # noqa: TRY400  # the traceback adds nothing
            raise _unavailable(error) from error

    def _write_waiting(self) -> None:
        if self._file is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._file = open(self._path, "xb", opener=_private)  # noqa: SIM115  # closed by `_keep` or `_discard`
        pieces, self._waiting, self._waiting_size = self._waiting, [], 0
        for piece in pieces:
            self._hash.update(piece)
            self._file.write(piece)
            self._unsynced += len(piece)
        if self._unsynced >= _SYNC_STEP:
            self._sync(self._file)

    def _sync(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())
        self._unsynced = 0

    def _keep(self, path: Path) -> None:
        self._write_waiting()
        assert self._file is not None  # noqa: S101  # for the type checker: it was opened now, if not before
        self._sync(self._file)
        self._file.close()
        self._path.replace(path)
        _sync_folder(self._folder)

    def _discard(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written cannot be flushed either
                self._file.close()
            with suppress(OSError):  # a sweep removes it, if it is still there
                self._path.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> int | None:
    """Copy a content, and wait for the disk; returns its bytes, or ``None`` if it is not there any more."""
    try:
        with source.open("rb") as old, open(target, "xb", opener=_private) as new:
            shutil.copyfileobj(old, new, _STEP)
            new.flush()
            os.fsync(new.fileno())
            return new.tell()
    except FileNotFoundError:
        return None


def _name_of(id: str) -> str:
    """The name for the content of a file; not the ID itself, since an imported one may be anything."""
    return hashlib.blake2b(id.encode(errors="surrogatepass"), digest_size=24).hexdigest()


_is_ours: Final = re.compile(f"[0-9a-f]{{48}}|{_DRAFT}[0-9a-f]{{32}}").fullmatch


@define(eq=False)
class ContentFolder:
    """Keeps contents in a folder, which is created with the first one. One process at a time may use it."""

    _path: Path

    def __repr__(self) -> str:
        return f"<ContentFolder {str(self._path)!r}>"

    @asynccontextmanager
    async def drafting(self) -> AsyncGenerator[Draft]:
        """Begin a new content; it is deleted at the end unless it is kept."""
        draft = _FileDraft(self._path, _name_of)
        try:
            yield draft
        finally:
            await draft.discard()

    async def source(self, id: str) -> Path:
        """The path of a content.

        Raises:
            LookupError: There is no such content.
        """
        path = self._path / _name_of(id)
        if not await anyio.Path(path).is_file():
            raise LookupError(f"{self!r} has no content of {id}")
        return path

    async def delete(self, id: str) -> None:
        """Delete a content, if there is one. One that cannot be deleted now is left to `sweep`."""
        try:
            await _in_thread(partial((self._path / _name_of(id)).unlink, missing_ok=True))
        except OSError as error:
            _logger.warning("the content of %s cannot be deleted before the next start: %s", id, error)

    async def copy_to(self, target: Path) -> AsyncGenerator[int]:
        """Copy all contents into a new folder, if there are any. One that is deleted meanwhile may be missing.

        Yields:
            The bytes of each, once it is copied and on the disk.

        Raises:
            StoreFileError: Something cannot be read or written, or the new folder is there already.
        """
        try:
            names = await _in_thread(self._names)
            if names is None:
                return
            await _in_thread(target.mkdir, 0o700)
            for name in names:
                if (size := await _in_thread(_copy, self._path / name, target / name)) is not None:
                    yield size
            await _in_thread(_sync_folder, target)
        except OSError as error:
            raise StoreFileError(f"cannot copy the contents of files in {self._path}: {error}") from error

    def _names(self) -> Sequence[str] | None:
        """The names of all contents; ``None`` if there is no folder yet."""
        try:
            return sorted(entry.name for entry in os.scandir(self._path) if not entry.name.startswith(_DRAFT))
        except FileNotFoundError:
            return None

    async def sweep(self, ids: Iterable[str]) -> Sequence[str]:
        """Delete all contents but those of some files, and all drafts.

        Returns:
            The IDs that have no content.

        Raises:
            StoreFileError: The folder is missing although there are files, or it cannot be read or changed.
        """
        try:
            return await _in_thread(self._sweep, list(ids))
        except OSError as error:
            raise StoreFileError(f"cannot open the contents of files in {self._path}: {error}") from error

    def _sweep(self, ids: Sequence[str]) -> Sequence[str]:
        if not self._path.exists():
            if ids:  # deleting the files, too, would take away what a backup may still have
                raise StoreFileError(
                    f"the store has {len(ids)} files, but the folder with their contents is missing: {self._path}. Put "
                    "it back beside the store, or make an empty folder of this name to give the files up"
                )
            return []
        names = {_name_of(id): id for id in ids}
        found = {entry.name for entry in os.scandir(self._path)}
        for name in found - names.keys():
            if _is_ours(name):
                (self._path / name).unlink()
        return [id for name, id in names.items() if name not in found]
