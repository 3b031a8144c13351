"""`EndpointObjects`: whose the files and vector stores are that the model's endpoint keeps.

The endpoint knows one key, and so no owners. Where there are several, an owner may use what it has created here.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs._wire.paths import VECTOR_STORE
from openai_runs.engine.errors import ApiError, not_found
from openai_runs.engine.files_endpoint import FilesEndpoint
from openai_runs.engine.ingestion import PATIENCE
from openai_runs.engine.ledger import Ledger
from openai_runs.errors import UnknownCursorError
from openai_runs.models.message import Attachment, Message
from openai_runs.models.run_step import RunStep
from openai_runs.models.tool import CodeInterpreterTool, FileSearchTool, Tool, ToolResources
from openai_runs.stores.records import Change, Delete, EndpointObject, PageQuery, Record
from openai_runs.stores.store import part_for

FILE: Final = "file"
STORE: Final = "vector_store"
BATCH: Final = "vector_store.files_batch"
STORE_FILE: Final = "vector_store.file"  #: belongs to whom its vector store belongs to, and is not kept here

_NAMES: Final = {FILE: "file", STORE: "vector store", BATCH: "file batch"}
_MOST: Final = 10_000  # IDs that are read at a time
_MOST_UNREAD: Final = 10_000  # vector stores for which a run would wait
_POLL: Final = 1.0  # seconds between two looks whether files have been read


@define(eq=False)
class EndpointObjects:
    """The list of what each owner has created at the endpoint, and what follows from it."""

    _ledger: Ledger
    endpoint: FilesEndpoint
    has_one_owner: bool  #: then everything at the endpoint is its own, whoever has created it
    _unread: set[str] = field(factory=set, init=False)  # vector stores that have got files a moment ago

    async def check(self, owner: str, kind: str, id: str) -> None:
        """Check that an owner may use an object.

        Raises:
            ApiError: 404: it is somebody else's, or there is none.
        """
        if not await self.is_usable(owner, kind, id):
            raise (
                ApiError(404, f"No such File object: {id}", param="id") if kind == FILE else not_found(_NAMES[kind], id)
            )

    async def is_usable(self, owner: str, kind: str, id: str) -> bool:
        """Whether an owner may use an object; the endpoint need not have it still."""
        if self.has_one_owner:
            return True
        record = await self._ledger.store.get(EndpointObject, id)
        return record is not None and record.owner == owner and record.value.kind == kind

    async def check_files(self, owner: str, value: Any) -> None:
        """Check all files that a body names, wherever it does.

        Raises:
            ApiError: 404: one of them is somebody else's.
        """
        for id in dict.fromkeys(_file_ids(value)):
            await self.check(owner, FILE, id)

    async def ids(self, owner: str, kind: str) -> set[str]:
        """The IDs of all objects of a kind that an owner has created."""
        return {record.value.id async for record in self._of_part(owner, kind)}

    async def has_cursor(self, owner: str, kind: str, id: str) -> bool:
        """Whether an owner's list can start at an object, which may have been deleted a moment ago."""
        query = PageQuery(limit=1, after=id)
        try:
            await self._ledger.store.page(EndpointObject, owner, query, part=part_for(owner, kind))
        except UnknownCursorError:
            return False
        return True

    async def add(
        self, owner: str, kind: str, id: str, vector_store_id: str | None = None, changes: Iterable[Change] = ()
    ) -> None:
        """Note whose a new object is.

        Args:
            owner: Who has created it.
            kind: Its ``object``.
            id: Its ID.
            vector_store_id: Of a batch.
            changes: What is to be stored in the same commit.

        Raises:
            ApiError: 502: it is somebody else's already.
        """
        new: list[Change] = []
        if kind != STORE_FILE:
            known = await self._ledger.store.get(EndpointObject, id)
            if known is not None and known.owner != owner:  # whoever could provoke that would take it over
                text = "The model's endpoint has created an object with the ID of one that it has already."
                raise ApiError(502, text, type="server_error")
            new.append(Record(owner, EndpointObject(id=id, kind=kind, vector_store_id=vector_store_id)))
        if all_changes := [*new, *changes]:
            await self._ledger.commit(all_changes)

    async def forget(self, owner: str, kind: str, id: str, *, was_there: bool = True) -> None:
        """Note that an object was deleted; with a vector store, its batches.

        Args:
            owner: Who has deleted it.
            kind: Its ``object``.
            id: Its ID.
            was_there: Whether the endpoint had it still.
        """
        within = [record.value.id async for record in self._of_part(owner, f"{BATCH} in {id}")]
        gone = [id, *within] if kind == STORE else [id]
        note = partial(self._ledger.note_deletion, owner, kind, id) if was_there else None
        await self._ledger.commit([Delete(EndpointObject, each) for each in gone], then=note)
        self._unread.discard(id)

    async def _of_part(self, owner: str, name: str) -> AsyncGenerator[Record[EndpointObject]]:
        query, more = PageQuery(limit=_MOST, order="asc"), True
        while more:
            part = part_for(owner, name)
            records, more = await self._ledger.store.page(EndpointObject, owner, query, part=part)
            for record in records:
                yield record
                query = evolve(query, after=record.value.id)

    def note_files(self, vector_store_id: str) -> None:
        """Note that a vector store has got files: the next run that searches it waits until they have been read."""
        if len(self._unread) >= _MOST_UNREAD:  # most are never searched by a run
            self._unread.pop()
        self._unread.add(vector_store_id)

    async def use_in_run(self, owner: str, tools: Iterable[Tool], resources: ToolResources | None) -> None:
        """Check what the tools of a run use, and wait until the files have been read, or until `PATIENCE` has ended.

        Raises:
            ApiError: 404: a vector store or a file is somebody else's.
        """
        kinds = {type(tool) for tool in tools}
        search = resources.file_search if resources is not None and FileSearchTool in kinds else None
        code = resources.code_interpreter if resources is not None and CodeInterpreterTool in kinds else None
        stores = () if search is None else search.vector_store_ids
        for id in stores:
            await self.check(owner, STORE, id)
        for id in () if code is None else code.file_ids:
            await self.check(owner, FILE, id)
        end = self._ledger.clock.now() + PATIENCE
        for id in self._unread.intersection(stores):
            await self._wait_for(id, end)

    async def _wait_for(self, vector_store_id: str, end: float) -> None:
        clock = self._ledger.clock
        while await self._is_being_read(vector_store_id) and clock.now() < end:
            await clock.sleep_until(clock.now() + _POLL)
        self._unread.discard(vector_store_id)

    async def _is_being_read(self, vector_store_id: str) -> bool:
        try:
            store = await self.endpoint.request("GET", VECTOR_STORE, vector_store_id=vector_store_id)
        except ApiError:  # the run itself will say what is wrong
            return False
        counts = store.get("file_counts")
        return isinstance(counts, Mapping) and bool(counts.get("in_progress"))

    async def usable(self, owner: str, items: Sequence[Message | RunStep]) -> Sequence[Message | RunStep]:
        """A conversation without attachments that are not for the endpoint.

        Files for file search are in the thread's vector store. Somebody else's are left out, and those that were
        deleted, since the conversation has to go on.
        """
        return [await self._usable(owner, item) for item in items]

    async def _usable(self, owner: str, item: Message | RunStep) -> Message | RunStep:
        if not isinstance(item, Message) or not item.attachments:
            return item
        kept: list[Attachment] = []
        for attachment in item.attachments:
            tools = tuple(tool for tool in attachment.tools if not isinstance(tool, FileSearchTool))
            if tools and attachment.file_id and await self.is_usable(owner, FILE, attachment.file_id):
                kept.append(evolve(attachment, tools=tools))
        return evolve(item, attachments=tuple(kept))


def _file_ids(value: Any) -> Iterable[str]:
    """The IDs of files in a body, but not what only describes files."""
    if isinstance(value, list):
        for each in value:
            yield from _file_ids(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in ("file_id", "file_ids"):
                yield from (id for id in (each if isinstance(each, list) else [each]) if isinstance(id, str))
            elif name not in ("attributes", "metadata", "filters"):
                yield from _file_ids(each)
