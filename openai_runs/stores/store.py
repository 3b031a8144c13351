"""`Store`: what the engine asks of whatever keeps its objects."""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.stores.records import Change, PageQuery, Record, RunState, Stored, Unreadable

T = TypeVar("T", bound=Stored)


class Store(Protocol):
    """Keeps objects, in order of creation. One engine at a time owns a store.

    An object that is damaged, or too large, is refused with a `StoreDataError`: it concerns nobody else.

    The engine enters a store before it uses it, and never runs two commits on objects of one thread, or on one
    assistant, at the same time: it holds a lock for each. Commits of different threads do come together, and may be
    written in groups.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    async def commit(self, changes: Sequence[Change]) -> None:
        """Do all of it or nothing, and return when it is safe; until then no read shows any of it.

        A new object goes to the end of its lists; one that is put again stays where it was. The engine never cancels
        a commit.

        Raises:
            StoreUnavailableError: Nothing was done, and later it may work.
            StoreDataError: Nothing was done, and later is no better.
        """

    async def get(self, kind: type[T], id: str) -> Record[T] | None:
        """Find an object."""
        ...

    async def page(
        self, kind: type[T], group: str, query: PageQuery, *, run_id: str | None = None
    ) -> tuple[Sequence[Record[T]], bool]:
        """Read a part of a list, at a cost that does not grow with the list.

        Args:
            kind: What is listed.
            group: The list's ID: the owner for assistants, the thread for messages and runs, the run for run steps.
            query: Which part. With ``before`` alone, the last ``limit`` objects before that one. A cursor may be an
                object that has just been deleted, for programs that delete as they page.
            run_id: Only messages of this run.

        Returns:
            The objects in the order asked for, and whether there are more of them in the direction of paging. Where
            objects have to be read for it, a page that would reach `PAGE_BYTES` has fewer of them, but not none.

        Raises:
            UnknownCursorError: ``after`` or ``before`` is not in the list.
        """
        ...

    async def count_messages(self, thread_id: str, enough: int) -> int:
        """Count the messages of a thread, on which no commit is being done, as exactly as need be.

        Args:
            thread_id: The thread.
            enough: From which number on it matters how many there are.

        Returns:
            How many there are, if it is ``enough`` or more; else less than ``enough``, and no less than there are.
        """
        ...

    async def history(
        self, thread_id: str, *, last_messages: int | None = None, besides_run: str = ""
    ) -> Sequence[Record[Message] | Record[RunStep]]:
        """Read a thread's messages and the steps with tool calls between them, in order of creation.

        Args:
            thread_id: The thread.
            last_messages: Only from the one on that is the so many'th from the end.
            besides_run: Messages of this run are not counted.

        Raises:
            HistoryTooLargeError: They are larger than `MAX_HISTORY`.
        """
        ...

    async def unfinished(self) -> Sequence[Record[RunState] | Unreadable]:
        """List what there is of run states, in order of creation; one that cannot be read hides no other."""
        ...

    def everything(self, kind: type[T]) -> AsyncIterator[Record[T]]:
        """Go through all objects of a kind, in order of creation."""
        ...


def group_of(record: Record[Any]) -> str | None:
    """The ID of the list that an object is in, if it is in one."""
    match record.value:
        case Assistant():
            return record.owner
        case Message(thread_id=thread_id) | Run(thread_id=thread_id):
            return thread_id
        case RunStep(run_id=run_id):
            return run_id
        case _:
            return None
