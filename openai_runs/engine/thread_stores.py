"""`ThreadStores`: the vector stores that requests for threads, messages and assistants ask for by the way."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from attrs import define, frozen

from openai_runs._evolving import evolve
from openai_runs.engine.errors import ApiError
from openai_runs.engine.ingestion import Ingestion
from openai_runs.engine.new_objects import Body
from openai_runs.engine.new_vector_stores import THREAD_STORE_DAYS
from openai_runs.engine.vector_store_changes import VectorStoreChanges
from openai_runs.file_search.chunking import Chunking
from openai_runs.models.thread import Thread
from openai_runs.models.tool import FileSearchResources, ToolResources
from openai_runs.stores.records import Change, Record

_EXPIRATION: Mapping[str, Any] = {"anchor": "last_active_at", "days": THREAD_STORE_DAYS}


@frozen
class MadeStore:
    """A new vector store."""

    id: str
    changes: Sequence[Change] = ()  #: what is yet to be committed
    then: Callable[[], object] = lambda: None  #: what follows in memory once that is committed


class StoreMaker(Protocol):
    """Where the vector stores are: in the engine, or at an endpoint."""

    async def make(self, owner: str, spec: Body, attached: Sequence[str]) -> MadeStore:
        """Make a vector store with the files of ``spec`` and with those that are attached to messages.

        Raises:
            ApiError: There is no such file, or the specification is wrong.
        """
        ...

    async def put(self, owner: str, vector_store_id: str, file_ids: Sequence[str]) -> None:
        """Put files into a vector store.

        Raises:
            ApiError: 404: there is no such vector store.
        """
        ...

    async def has(self, owner: str, file_id: str) -> bool:
        """Whether an attachment can be put into a vector store."""
        ...


@define
class OwnStores:
    """Makes vector stores in the engine."""

    _ingestion: Ingestion
    _new: Callable[[str, Body], Awaitable[VectorStoreChanges]]  # see `VectorStores.new`
    _find_file: Callable[[str, str], Awaitable[object]]  # of an owner; raises a 404

    async def make(self, owner: str, spec: Body, attached: Sequence[str]) -> MadeStore:
        """See `StoreMaker`."""
        changes = await self._new(owner, spec)
        for file_id in attached:
            await changes.attach(file_id, Chunking(), None)
        return MadeStore(changes.store.id, changes.changes, partial(self._ingestion.follow, changes))

    async def put(self, owner: str, vector_store_id: str, file_ids: Sequence[str]) -> None:
        """See `StoreMaker`."""
        try:
            async with self._ingestion.using(owner, vector_store_id) as changes:
                for file_id in file_ids:
                    await changes.attach(file_id, Chunking(), None)
        except ApiError as error:
            if error.status != 404:
                raise
            # A store of the model's endpoint, perhaps: the IDs of a thread are not checked.

    async def has(self, owner: str, file_id: str) -> bool:
        """See `StoreMaker`."""
        try:
            await self._find_file(owner, file_id)
        except ApiError:  # of the model's endpoint, perhaps
            return False
        return True


@define
class ThreadStores:
    """Makes vector stores together with a thread or an assistant, and puts the attachments of messages into them.

    What is new is to be committed by the caller, in one commit with the thread or the assistant.
    """

    _maker: StoreMaker

    async def for_assistant(self, owner: str, body: Body) -> tuple[Body, MadeStore | None]:
        """Make the vector store that the body of an assistant asks for.

        Returns:
            The body with the ID of the store in place of its description, and the store.
        """
        spec = _spec(body)
        if spec is None:
            return body, None
        made = await self._maker.make(owner, spec, ())
        return _with_store(body, made.id), made

    async def for_thread(self, owner: str, body: Body) -> tuple[Body, MadeStore | None]:
        """The same for the body of a new thread; files that are attached to its messages are put in, too.

        A body that names a store has the attachments put into that.
        """
        spec, attached = _spec(body), await self._attached(owner, body.get("messages", ()))
        if spec is None and (not attached or await self._attach_to(owner, _store_ids(body), attached)):
            return body, None
        made = await self._maker.make(owner, {"expires_after": _EXPIRATION, **(spec or {})}, attached)
        return _with_store(body, made.id), made

    async def for_messages(self, owner: str, thread: Thread, bodies: Iterable[Body]) -> tuple[Thread, MadeStore | None]:
        """Put files that are attached to new messages into the vector store of a thread, under its lock.

        Returns:
            The thread, and the store that was made because the thread had none: both are to be committed.
        """
        attached = await self._attached(owner, bodies)
        search = None if thread.tool_resources is None else thread.tool_resources.file_search
        ids = () if search is None else search.vector_store_ids
        if not attached or await self._attach_to(owner, ids, attached):
            return thread, None
        made = await self._maker.make(owner, {"expires_after": _EXPIRATION}, attached)
        resources = evolve(
            thread.tool_resources or ToolResources(),
            file_search=FileSearchResources(vector_store_ids=(made.id,)),
        )
        return evolve(thread, tool_resources=resources), made

    async def _attach_to(self, owner: str, ids: Sequence[str], attached: Sequence[str]) -> bool:
        """Put files into the first of some vector stores, and whether there is one."""
        if not ids:
            return False
        await self._maker.put(owner, ids[0], attached)
        return True

    async def _attached(self, owner: str, bodies: Iterable[Body]) -> Sequence[str]:
        """The files that are attached to messages for file search, as far as they are here."""
        ids = dict.fromkeys(
            attachment["file_id"]
            for body in bodies
            for attachment in body.get("attachments") or ()
            if "file_id" in attachment and any(tool["type"] == "file_search" for tool in attachment.get("tools", ()))
        )
        return [id for id in ids if await self._maker.has(owner, id)]


def then_of(made: MadeStore | None) -> Callable[[], object]:
    """What follows in memory once a new store is committed, if there is one."""
    return (lambda: None) if made is None else made.then


def changes_of(made: MadeStore | None) -> Sequence[Change]:
    """What is to be committed."""
    return () if made is None else made.changes


def changes_with(owner: str, thread: Thread, made: MadeStore | None) -> Sequence[Change]:
    """The same with the thread, which has got a vector store."""
    return () if made is None else (Record(owner, thread), *made.changes)


def in_turn(*calls: Callable[[], object]) -> None:
    """Make several calls."""
    for call in calls:
        call()


def _search(body: Body) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (body.get("tool_resources") or {}).get("file_search") or {}
    return found


def _spec(body: Body) -> Body | None:
    """The vector store that a body asks for."""
    specs = _search(body).get("vector_stores")
    return {name: value for name, value in specs[0].items() if value is not None} if specs else None


def _store_ids(body: Body) -> Sequence[str]:
    ids: Sequence[str] = _search(body).get("vector_store_ids", ())
    return ids


def _with_store(body: Body, id: str) -> Body:
    search = {name: value for name, value in _search(body).items() if name != "vector_stores"}
    resources = {**(body.get("tool_resources") or {}), "file_search": {**search, "vector_store_ids": [id]}}
    return {**body, "tool_resources": resources}
