"""Imports saved objects of the API into a store, and exports a store's objects in the same form."""

import base64
import binascii
import time
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from openai_runs import _wire
from openai_runs._evolving import evolve
from openai_runs.errors import ProtocolError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message, MessageIncompleteDetails, MessageStatus
from openai_runs.models.model import Model
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFile
from openai_runs.stores.file_contents import pieces
from openai_runs.stores.import_vector_stores import VectorStoreImport
from openai_runs.stores.records import Record, VectorStoreEntry
from openai_runs.stores.store import Store

ApiObject: TypeAlias = Assistant | Thread | Message | Run | RunStep | File
_Found: TypeAlias = dict[tuple[type[ApiObject], str], ApiObject]  # by kind and ID

#: The value of ``object``, and its model.
_KINDS: Final[dict[str, type[Any]]] = {
    "assistant": Assistant,
    "thread": Thread,
    "thread.message": Message,
    "thread.run": Run,
    "thread.run.step": RunStep,
    "file": File,
    "vector_store": VectorStore,
    "vector_store.file": VectorStoreFile,
}
#: What a store keeps of each.
_STORED: Final = tuple(VectorStoreEntry if kind is VectorStoreFile else kind for kind in _KINDS.values())
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_CONTENT: Final = "file.content"
_PIECE: Final = 3 * 2**18  # bytes of a content in one line, where they take a third more
_COMMIT_SIZE: Final = 500  # objects: enough to share the cost of a commit, few enough not to block other tasks


@frozen(kw_only=True, repr=False)
class FilePiece(Model):
    """A part of a file's content, in a line of its own: the API has no object for it."""

    object: str = _CONTENT
    file_id: str
    data: str  #: base64

    @property
    def content(self) -> bytes:
        """The bytes.

        Raises:
            ValueError: They are not base64.
        """
        return base64.b64decode(self.data, validate=True)


#: What files of an import have.
Parsed: TypeAlias = ApiObject | FilePiece | VectorStore | VectorStoreFile


@define
class ImportReport:
    """The result of an import."""

    added: dict[str, int] = field(factory=lambda: dict.fromkeys(_KINDS, 0))  #: by the value of ``object``
    already_present: int = 0  #: objects whose ID was in the store already; they were not changed
    ended: int = 0  #: runs that were saved unfinished, and are stored as ``expired``
    created_threads: int = 0  #: threads that were missing in the files, though objects in them belong to them
    #: ``FILE:LINE: what is wrong``, or which objects belong to another owner; everything else was imported
    problems: list[str] = field(factory=list)


def parse(name: str, data: bytes, report: ImportReport) -> Iterator[Parsed]:
    """Read the objects of one file: a single object, an array, a list of the API, or one of these per line.

    Invalid values are skipped, and added to the report's problems with their line.
    """
    for line, value in _values(name, data, report):
        for item in _items(value):
            found = item.get("object") if isinstance(item, dict) else None
            kind = (FilePiece if found == _CONTENT else _KINDS.get(found)) if isinstance(found, str) else None
            if kind is None:
                what = f"object {found!r}" if isinstance(item, dict) else type(item).__name__
                known = "an assistant, thread, message, run, run step, file or vector store"
                report.problems.append(f"{name}:{line}: not {known}: {what}")
                continue
            try:
                loaded = _checked(_wire.load(_dated(item, kind), kind))
            except (ProtocolError, binascii.Error) as error:
                report.problems.append(f"{name}:{line}: {error}")
                continue
            if (bad := _invalid_id(loaded)) is None:
                yield loaded
            else:
                report.problems.append(f"{name}:{line}: not an ID: {bad!r}")


def _dated(item: Any, kind: type[Any]) -> Any:
    """Have an assistant or a thread without a time made now: people write them by hand, and need no order."""
    if kind not in (Assistant, Thread) or item.get("created_at") is not None:
        return item
    return {**item, "created_at": int(time.time())}


def _checked(item: Parsed) -> Parsed:
    """Take the hosted API's defaults for unset: it shows them in every assistant, and some models refuse them.

    Raises:
        binascii.Error: A part of a content is not base64.
    """
    if isinstance(item, FilePiece):
        _ = item.content
    if not isinstance(item, Assistant):
        return item
    return evolve(
        item,
        temperature=None if item.temperature == 1 else item.temperature,
        top_p=None if item.top_p == 1 else item.top_p,
    )


def _invalid_id(item: Parsed) -> str | None:
    """Return an ID by which the object could not be found: an empty one, or one with a lone surrogate, say."""
    ids = [getattr(item, name, None) for name in ("id", "thread_id", "run_id", "file_id", "vector_store_id")]
    return next((id for id in ids if id is not None and not (id and id.isprintable())), None)


def _values(name: str, data: bytes, report: ImportReport) -> Iterator[tuple[int, Any]]:
    """The JSON values of a file, with the lines in which they begin."""
    try:
        value = _wire.decode(data)
    except ProtocolError:  # not a single value: then one value per line
        yield from _values_of_lines(name, data, report)
    else:
        yield 1, value


def _values_of_lines(name: str, data: bytes, report: ImportReport) -> Iterator[tuple[int, Any]]:
    # Split bytes on \n only: `str.splitlines` would also split on U+2028, say, which may stand inside JSON strings.
    for number, line in enumerate(data.removeprefix(BOM_UTF8).split(b"\n"), 1):
        if line.strip():
            try:
                yield number, _wire.decode(line)
            except ProtocolError as error:
                report.problems.append(f"{name}:{number}: {error}")


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict) and value.get("object") == "list":
        value = value.get("data")
    if not isinstance(value, list):
        return [value]
    times = [item.get("created_at") for item in value if isinstance(item, dict)]
    numbers = [time for time in times if isinstance(time, int | float)]
    # The API lists the newest first, a store wants the oldest first; many objects share a `created_at`.
    newest_first = len(numbers) == len(value) > 1 and numbers[0] > numbers[-1]
    return reversed(value) if newest_first else value


async def import_objects(
    store: Store, objects: Iterable[Parsed], report: ImportReport, *, owner: str = ""
) -> AsyncGenerator[int, None]:
    """Put objects into a store, with their IDs and times. An object whose ID is in the store already is not changed.

    Args:
        store: An open store, which no engine uses.
        objects: From `parse`, in any order; see `_in_order`.
        report: Is updated.
        owner: The owner of the imported objects.

    Yields:
        How many objects were processed since the last yield.
    """
    found: _Found = {}
    pieces: dict[str, list[FilePiece]] = {}  # by the file's ID
    vector_stores = VectorStoreImport(store, owner, report.problems)
    for item in objects:
        if isinstance(item, VectorStore | VectorStoreFile):
            vector_stores.take(item)
            continue
        if isinstance(item, FilePiece):
            pieces.setdefault(item.file_id, []).append(item)
            continue
        found[type(item), item.id] = item  # of several with one ID, the last one
        report.already_present += 1  # all others are subtracted below
    for thread in await _missing_threads(store, found):
        found[Thread, thread.id] = thread
        report.created_threads += 1
        report.already_present += 1
    others = _OthersObjects(store, owner)
    items = _in_order(found.values())
    for start in range(0, len(items), _COMMIT_SIZE):
        some = items[start : start + _COMMIT_SIZE]
        new = [
            item
            for item in some
            if await others.may_add(item)
            and (not isinstance(item, File) or await _keep_content(store, item, pieces.get(item.id, ()), report))
        ]
        await store.commit([Record(owner, _ended(item)) for item in new])
        for item in new:
            report.added[_NAMES[type(item)]] += 1
            report.ended += isinstance(item, Run) and not item.status.is_terminal
        report.already_present -= len(new)
        yield len(some)
    async for processed in vector_stores.carry_out(others.may_add):
        yield processed
    report.added["vector_store"] += vector_stores.added_stores
    report.added["vector_store.file"] += vector_stores.added_files
    report.already_present += vector_stores.already_present - others.refused
    report.problems += others.problems()


_PARENTS: Final = (Assistant, Thread, File)
_SortKey: TypeAlias = tuple[datetime, int, int, datetime, int, int]


def _in_order(items: Iterable[ApiObject]) -> Sequence[ApiObject]:
    """Sort objects by their creation, as far as saved objects show it: a store keeps them in the order it gets them.

    Assistants, threads and files come first, then everything in the threads, by ``created_at``, and within a second as
    they were read. What belongs to a run stays together, since nothing can be added to a thread while a run is active
    in it, and a message has the place of the step that created it: files may have all messages first and then all
    steps.
    """
    numbered = list(enumerate(items))
    starts: dict[str, tuple[datetime, int]] = {}  # of runs
    creators: dict[str, tuple[datetime, int]] = {}  # the steps of messages
    for number, item in numbered:
        if (run_id := _run_id(item)) is not None:
            at, first = starts.get(run_id, (item.created_at, number))
            starts[run_id] = min(at, item.created_at), min(first, number)
        if isinstance(item, RunStep) and item.message_id is not None:
            creators[item.message_id] = item.created_at, number

    def key(numbered_item: tuple[int, ApiObject]) -> _SortKey:
        number, item = numbered_item
        own = item.created_at, number
        if (run_id := _run_id(item)) is None:
            return (*own, 0, *own, 0)
        if isinstance(item, Message) and item.id in creators:
            return (*starts[run_id], 1, *creators[item.id], 1)
        return (*starts[run_id], 0 if isinstance(item, Run) else 1, *own, 0)

    parents = [item for item in numbered if isinstance(item[1], _PARENTS)]
    children = [item for item in numbered if not isinstance(item[1], _PARENTS)]
    return [item for _, item in (*sorted(parents, key=key), *sorted(children, key=key))]


def _run_id(item: ApiObject) -> str | None:
    match item:
        case Run(id=run_id) | RunStep(run_id=run_id) | Message(run_id=run_id):
            return run_id
        case _:
            return None


async def _keep_content(store: Store, file: File, pieces: Sequence[FilePiece], report: ImportReport) -> bool:
    """Keep the content of a file, if all of it is there, and whether it is."""
    size = 0
    async with store.contents.drafting() as draft:
        for piece in pieces:
            content = piece.content
            await draft.write(content)
            size += len(content)
        if size == file.bytes:
            await draft.keep(file.id)
            return True
    report.problems.append(f"file {file.id} not imported: of its content there are {size} of {file.bytes} bytes")
    report.already_present -= 1
    return False


async def _pieces(store: Store, file_id: str) -> AsyncGenerator[FilePiece]:
    async for content in pieces(await store.contents.source(file_id), _PIECE):
        yield FilePiece(file_id=file_id, data=base64.b64encode(content).decode())


@define
class _OthersObjects:
    """Keeps objects of one owner out of the threads and runs of others."""

    _store: Store
    _owner: str
    refused: int = field(default=0, init=False)  #: how many objects were not imported
    _owners: dict[tuple[type[ApiObject], str], str | None] = field(factory=dict, init=False)  # of threads and runs
    _refused: dict[str, tuple[int, str]] = field(factory=dict, init=False)  # by reason: how many, and one of them

    async def may_add(self, item: ApiObject | VectorStore) -> bool:
        """Whether an object is new and belongs to nothing of another owner."""
        present = await self._store.get(type(item), item.id)
        if present is not None:
            if present.owner != self._owner:
                self._refuse(item, f"already in the store, of {_shown(present.owner)}")
            return False
        for kind, id in ((Thread, getattr(item, "thread_id", None)), (Run, getattr(item, "run_id", None))):
            if id is not None and (other := await self._other_owner(kind, id)) is not None:
                self._refuse(item, f"in the {_NAMES[kind].removeprefix('thread.')} {id} of {_shown(other)}")
                return False
        return True

    async def _other_owner(self, kind: type[Thread | Run], id: str) -> str | None:
        if (kind, id) not in self._owners:
            record = await self._store.get(kind, id)
            if record is None:
                return None  # not remembered: it may be imported yet
            self._owners[kind, id] = record.owner
        owner = self._owners[kind, id]
        return None if owner == self._owner else owner

    def _refuse(self, item: ApiObject | VectorStore, reason: str) -> None:
        self.refused += 1
        number, example = self._refused.get(reason, (0, f"{_NAMES[type(item)]} {item.id}"))
        self._refused[reason] = number + 1, example

    def problems(self) -> Sequence[str]:
        """What was refused, in a line for each reason."""
        return [
            f"{number} not imported, such as {example}: {reason}" for reason, (number, example) in self._refused.items()
        ]


def _shown(owner: str) -> str:
    return f"the owner {owner!r}" if owner else "nobody (created without a key)"


async def _missing_threads(store: Store, found: _Found) -> Sequence[Thread]:
    """Make the threads that are missing: without them, their messages and runs could not be reached."""
    first: dict[str, datetime] = {}
    for item in found.values():
        if isinstance(item, Message | Run):
            first[item.thread_id] = min(first.get(item.thread_id, item.created_at), item.created_at)
    missing = [id for id in first if (Thread, id) not in found and await store.get(Thread, id) is None]
    return [Thread(id=id, created_at=first[id], metadata={}, absent=frozenset()) for id in missing]


def _ended(item: ApiObject) -> ApiObject:
    """End an object that was saved unfinished: no server continues it."""
    match item:
        case Run(status=status) if not status.is_terminal:
            return evolve(item, status=RunStatus.EXPIRED, required_action=None, expires_at=None)
        case RunStep(status=RunStepStatus.IN_PROGRESS):
            return evolve(item, status=RunStepStatus.EXPIRED, expired_at=item.expires_at or item.created_at)
        case Message(status=MessageStatus.IN_PROGRESS):
            details = MessageIncompleteDetails(reason="run_expired")
            at = item.created_at
            return evolve(item, status=MessageStatus.INCOMPLETE, incomplete_details=details, incomplete_at=at)
        case _:
            return item


async def export_objects(store: Store, *, owner: str = "") -> AsyncGenerator[bytes, None]:
    """Write an owner's objects as JSON Lines, in order of creation, which `parse` can read.

    Args:
        store: An open store.
        owner: Whose objects to write; objects created without an API key have an empty owner.

    Yields:
        A line of JSON, with its line feed.

    Raises:
        ValueError: All objects in the store belong to other owners; the message names them.
        StoreUnavailableError: The file cannot be read now.
    """
    others: set[str] = set()
    found = False
    async for record in store.everything(*_STORED):
        if record.owner == owner:
            found = True
            shown = record.value.file if isinstance(record.value, VectorStoreEntry) else record.value
            yield _wire.encode(shown) + b"\n"
            if isinstance(record.value, File):
                async for piece in _pieces(store, record.value.id):
                    yield _wire.encode(piece) + b"\n"
        else:
            others.add(record.owner)
    if others and not found:
        names = ", ".join(sorted(repr(other) if other else "'' (created without a key)" for other in others))
        raise ValueError(f"the store has no objects of the owner {owner!r}; the owners in it are {names}")
