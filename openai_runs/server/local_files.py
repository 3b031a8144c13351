"""`LocalFiles`: what a server searches files with unless it is told otherwise, an index where its store is."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

import anyio
import anyio.to_thread

from openai_runs._extras import NO_SEARCH, can_search
from openai_runs._finishing import finish
from openai_runs.backends import LocalModelBackend, ResponsesBackend, SearchingBackend
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine.file_index import FileIndex
from openai_runs.errors import MissingExtraError
from openai_runs.server.endpoint_files import EndpointFiles
from openai_runs.stores import MemoryStore
from openai_runs.stores.store import Store

if TYPE_CHECKING:
    from openai_runs.file_search import Chunking, Hit, IngestedFile, LocalFileSearch, RankingOptions
    from openai_runs.file_search.postgres_index import PostgresIndex
    from openai_runs.file_search.sqlite_index import SQLiteIndex

#: A search of your own, the one where the store is, an endpoint that has the files itself, or none: files are kept and
#: not read. ``None``: none if the backend is a `ResponsesBackend`, else the one where the store is.
FileOption: TypeAlias = FileIndex | EndpointFiles | Literal["local", "unread"] | None

_SMALL_MODEL: Final = 1_500  # tokens of what was found; reading more takes it long and helps it little


class LocalFiles:
    """An index in a file beside the store, in its database, or in a temporary folder that is deleted at the end.

    It is opened at once if it is in a file that exists, else when it is used first: most servers have no files to
    search.
    """

    def __init__(self, place: Path | str | None) -> None:
        """Choose the place.

        Args:
            place: The file of the index, or the URL of the database. ``None``: in a temporary folder.
        """
        self._place = place
        self._search: LocalFileSearch | None = None
        self._opening = anyio.Lock()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the index if it exists.

        Raises:
            StoreFileError: It cannot be opened.
        """
        if isinstance(self._place, Path) and await anyio.Path(self._place).exists():
            await self.opened()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Close the index."""
        self._search = None
        await self._open.aclose()

    async def opened(self) -> "LocalFileSearch":
        """The search itself, into which files are put.

        Raises:
            StoreFileError: The index cannot be opened.
            StoreUnavailableError: The database cannot be reached now.
            OSError: It cannot be created.
        """
        async with self._opening:
            if self._search is None:
                from openai_runs.file_search import LocalFileSearch

                index = new_index(self._place or await self._temporary())
                self._search = await self._open.enter_async_context(LocalFileSearch(index))
            return self._search

    async def _temporary(self) -> Path:
        make = partial(TemporaryDirectory[str], prefix="openai-runs-", ignore_cleanup_errors=True)
        folder = await finish(anyio.to_thread.run_sync(make))

        async def remove() -> None:
            await finish(anyio.to_thread.run_sync(folder.cleanup))

        self._open.push_async_callback(remove)
        return Path(folder.name, "index")

    async def ingest(
        self, store_id: str, file_id: str, filename: str, content: Path | bytes, chunking: "Chunking"
    ) -> "IngestedFile":
        """See `FileIndex`."""
        return await (await self.opened()).ingest(store_id, file_id, filename, content, chunking)

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
        """See `FileIndex`."""
        files = await self.opened()
        return await files.search(
            store_ids, query, limit=limit, file_ids=file_ids, ranking_options=ranking_options, max_tokens=max_tokens
        )

    async def chunks(self, store_id: str, file_id: str) -> Sequence[str]:
        """See `FileIndex`."""
        return await (await self.opened()).chunks(store_id, file_id)

    async def file_ids(self, store_id: str) -> Collection[str]:
        """See `FileIndex`."""
        return await (await self.opened()).file_ids(store_id)

    async def forget(self, store_id: str, file_id: str) -> bool:
        """See `FileIndex`."""
        return await (await self.opened()).forget(store_id, file_id)

    async def forget_store(self, store_id: str) -> None:
        """See `FileIndex`."""
        await (await self.opened()).forget_store(store_id)


def chosen_files(option: FileOption, backend: ModelBackend, store: Store) -> FileIndex | None:
    """What reads and searches files here; ``None`` if it is left to the backend.

    Raises:
        ValueError: An index where the store is is asked for, and there is no place; or the option is an unknown word.
        MissingExtraError: Such an index is asked for, and the extra ``files`` is not installed.
    """
    if option == "unread" or isinstance(option, EndpointFiles):
        return None
    if isinstance(option, str) and option != "local":
        raise ValueError(
            f"files must be 'local', 'unread', EndpointFiles(url, key) or a LocalFileSearch: got {option!r}"
        )
    if option is not None and option != "local":
        return option
    if option is None:
        # The extra `files` may be missing: a server that was started without it yesterday starts without it today.
        if not _is_local_unless_told(backend, store) or not can_search():
            return None
    elif not _has_place(store):
        raise ValueError(
            f"files='local' needs a store with a file or a database, which {store!r} has not: pass a LocalFileSearch"
        )
    elif not can_search():
        raise MissingExtraError(f"files='local': {NO_SEARCH}", name="numpy")
    return LocalFiles(index_place(store))


def why_unread(option: FileOption, backend: ModelBackend, store: Store) -> str:
    """What somebody can do so that files are read here, as a sentence; empty if that was somebody's choice."""
    is_wanted = option is None and _is_local_unless_told(backend, store)
    return f"{NO_SEARCH}." if is_wanted and not can_search() else ""


def _is_local_unless_told(backend: ModelBackend, store: Store) -> bool:
    return _has_place(store) and not isinstance(backend, ResponsesBackend | SearchingBackend)


def _has_place(store: Store) -> bool:
    return index_place(store) is not None or isinstance(store, MemoryStore)


def index_place(store: object) -> Path | str | None:
    """Where the index is of a store: in a file beside its own, or in its database; ``None`` if it has neither."""
    if isinstance(path := getattr(store, "path", None), Path):
        return index_beside(path)
    return url if isinstance(url := getattr(store, "url", None), str) else None


def new_index(place: Path | str) -> "SQLiteIndex | PostgresIndex":
    """An index in a file, or in the database of a URL."""
    from openai_runs.file_search import PostgresIndex, SQLiteIndex

    return PostgresIndex(place) if isinstance(place, str) else SQLiteIndex(place)


def index_beside(store: Path) -> Path:
    """Where the index is of a store in this file."""
    return store.with_name(f"{store.name}-index")


async def copy_files_index(source: object, target: object) -> int:
    """Copy the index of a store to where that of another one is. Without it, the files would be read again.

    Returns:
        How many files of vector stores are in it.

    Raises:
        StoreFileError: One of the two cannot be opened.
    """
    old, new = index_place(source), index_place(target)
    if old is None or new is None or not can_search():
        return 0
    if isinstance(old, Path) and not await anyio.Path(old).exists():
        return 0
    from openai_runs.file_search.search_index import copy_index

    async with new_index(old) as from_, new_index(new) as to:
        return await copy_index(from_, to)


def opened(files: object) -> AbstractAsyncContextManager[object]:
    """Open what searches files, if it has to be opened, and close it at the end."""
    return files if isinstance(files, AbstractAsyncContextManager) else nullcontext()


def searching(backend: ModelBackend, files: FileIndex) -> ModelBackend:
    """The backend with a search, unless it has one."""
    if isinstance(backend, SearchingBackend):
        return backend
    if isinstance(backend, LocalModelBackend):
        return SearchingBackend(backend, files, search_first=True, result_tokens=_SMALL_MODEL)
    return SearchingBackend(backend, files)
