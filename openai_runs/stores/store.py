"""`Store`: the interface to the storage of the engine's objects."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from operator import attrgetter
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFileBatch
from openai_runs.stores.file_contents import FileContents
from openai_runs.stores.records import (
    BatchFiles,
    Change,
    EndpointObject,
    FileUse,
    IndexJob,
    PageQuery,
    Record,
    RunState,
    SpentTokens,
    Stored,
    Unreadable,
    UsedKey,
    VectorStoreEntry,
)
from openai_runs.stores.sharing import Sharing

T = TypeVar("T", bound=Stored)

#: What an owner's runs are called in `part_for`, whatever their threads.
ALL_RUNS: Final = "runs"


class Store(Protocol):
    """Keeps objects, in order of creation. One engine at a time owns a store, unless it is shared.

    An object that is damaged or too large raises `StoreDataError`; other objects must not be affected.

    The engine enters a store before it uses it. It never runs two commits on objects of one thread, or on one
    assistant, at the same time: it holds a lock for each. Commits of different threads do run concurrently, and may be
    written in groups.
    """

    @property
    def contents(self) -> FileContents:
        """The contents of the files. A file is an object of the store like any other."""
        ...

    @property
    def sharing(self) -> Sharing | None:
        """How servers share the store; ``None`` if one has it alone, as a rule."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    def stop_waiting(self) -> None:
        """End commits that wait for something outside, a database that is away: the store is about to be left."""

    async def commit(self, changes: Sequence[Change]) -> None:
        """Apply all changes or none, and return when they are durable; until then no read shows any of them.

        A new object is appended to its lists; one that is put again keeps its place. The engine never cancels a
        commit.

        Raises:
            KeyUsedError: A `UsedKey` among the changes is in the store already; nothing was stored.
            ChangedElsewhereError: See `Sharing.pin`; nothing was stored.
            StoreUnavailableError: Nothing was stored; trying again later may help.
            StoreDataError: Nothing was stored, and trying again does not help.
        """

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object; ``None`` if it does not exist."""
        ...

    async def known(self, kind: type[T], id: str) -> Record[T] | None:
        """Read an object as this server knows it, to decide something under the lock of its thread.

        It differs from `get` where servers share the store: see `Sharing.pin`.
        """
        ...

    def text_of(self, value: Stored) -> bytes | None:
        """The JSON text of an object that this store has returned or got; ``None`` if it is not at hand."""
        ...

    async def page(
        self, kind: type[T], group: str, query: PageQuery, *, part: str | None = None
    ) -> tuple[Sequence[Record[T]], bool]:
        """Read a page of a list, at a cost that does not grow with the list.

        Args:
            kind: What is listed.
            group: The list's ID, see `group_of`: the owner for assistants, threads, files, what is at the endpoint and
                spent tokens, the thread for messages and runs, the run for run steps, the vector store for its entries;
                empty for used keys and for index jobs, and if the part crosses lists.
            query: Which page. With ``before`` alone, the last ``limit`` objects before that one. A cursor may be an
                object that was deleted recently, for clients that delete while paging; not a used key.
            part: Only this part of the list: a run's messages, by its ID, the files for a purpose, the index jobs of a
                vector store, or one kind of what is at the endpoint; or an owner's runs of all threads; see `part_of`.

        Returns:
            The objects in the requested order, and whether there are more in the direction of paging. A store that has
            to load objects ends a page before it would reach `PAGE_BYTES`, but with at least one object.

        Raises:
            UnknownCursorError: ``after`` or ``before`` is not in the list.
        """
        ...

    async def count_messages(self, thread_id: str, enough: int) -> int:
        """Count the messages of a thread: fewer than ``enough`` need not be counted exactly.

        No commit on the thread may be running.

        Args:
            thread_id: The thread.
            enough: The number from which on the count must be exact.

        Returns:
            The exact number if it is ``enough`` or more; else an upper bound of it that is less than ``enough``.
        """
        ...

    async def count_bytes(self, owner: str) -> int:
        """Count the bytes of an owner's threads and messages, as JSON. What changes meanwhile may or may not count.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """
        ...

    async def history(
        self, thread_id: str, *, last_messages: int | None = None, besides_run: str = ""
    ) -> Sequence[Record[Message] | Record[RunStep]]:
        """Read a thread's messages and the steps with tool calls between them, in order of creation.

        Args:
            thread_id: The thread.
            last_messages: Start at this message, counted from the end.
            besides_run: Messages of this run are not counted.

        Raises:
            HistoryTooLargeError: Together they are larger than `MAX_HISTORY`.
        """
        ...

    async def owners_of_threads(self) -> Sequence[str]:
        """The labels of all owners who have threads."""
        ...

    async def empty_some(self, thread_id: str) -> Counter[str] | None:
        """Delete some of what is in a thread, the oldest first, and return when that is durable.

        It is for a thread that is to be deleted: as it may have very much in it, that goes in steps, each a transaction
        of a few milliseconds. The thread itself stays.

        Returns:
            How many messages, runs and run steps were deleted, by the names ``message``, ``run`` and ``run_step``;
            nothing if the thread is empty. ``None``, and nothing is deleted, if there is no such thread, it has an
            unfinished run, or another process is writing it.

        Raises:
            StoreUnavailableError: Trying again later may help.
        """
        ...

    async def unfinished(self) -> Sequence[Record[RunState] | Unreadable]:
        """List the run states, in order of creation. One that cannot be read must not hide the others."""
        ...

    def everything(self, *kinds: type[T]) -> AsyncIterator[Record[T]]:
        """Iterate over all objects of some kinds, in order of creation."""
        ...


#: Where it is said which list an object is in. What is not here is in none.
_LISTS: Final[Mapping[type[Any], Callable[[Record[Any]], str]]] = {
    **dict.fromkeys((Assistant, Thread, File, VectorStore, EndpointObject, SpentTokens), attrgetter("owner")),
    **dict.fromkeys((Message, Run), attrgetter("value.thread_id")),
    RunStep: attrgetter("value.run_id"),
    **dict.fromkeys((VectorStoreEntry, VectorStoreFileBatch, BatchFiles), attrgetter("value.vector_store_id")),
    FileUse: attrgetter("value.file_id"),
    **dict.fromkeys((UsedKey, IndexJob), lambda _: ""),
}


#: Where it is said which part of its list an object is in, for lists that have parts.
_PARTS: Final[Mapping[type[Any], Callable[[Record[Any]], str | None]]] = {
    Message: attrgetter("value.run_id"),
    File: lambda record: part_for(record.owner, record.value.purpose),
    Run: lambda record: part_for(record.owner, ALL_RUNS),
    EndpointObject: lambda record: part_for(record.owner, _kind_of(record.value)),
    IndexJob: attrgetter("value.vector_store_id"),
}


def _kind_of(value: EndpointObject) -> str:
    return value.kind if value.vector_store_id is None else f"{value.kind} in {value.vector_store_id}"


def group_of(record: Record[Any]) -> str | None:
    """The ID of the list that an object is in, if it is in one."""
    said = _LISTS.get(record.value.__class__)
    return None if said is None else said(record)


def part_of(record: Record[Any]) -> str | None:
    """The part of its list that an object is in, if the list has parts. It never changes."""
    said = _PARTS.get(record.value.__class__)
    return None if said is None else said(record)


def part_for(owner: str, what: str) -> str:
    """The part of an owner's list of what has a purpose or a kind. The owner is in it, since others have such, too."""
    return f"{what} of {owner}"
