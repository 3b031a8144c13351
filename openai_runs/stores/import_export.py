"""Bring saved objects of the API into a store, and write a store's objects out in the same form."""

from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from attrs import define, evolve, field

from openai_runs import _wire
from openai_runs.errors import ProtocolError
from openai_runs.models.assistant import Assistant
from openai_runs.models.message import Message, MessageIncompleteDetails, MessageStatus
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep, RunStepStatus
from openai_runs.models.thread import Thread
from openai_runs.stores.records import Record
from openai_runs.stores.sqlite import SQLiteStore
from openai_runs.stores.store import Store

ApiObject: TypeAlias = Assistant | Thread | Message | Run | RunStep
_Found: TypeAlias = dict[type[ApiObject], dict[str, Any]]  # by ID

#: What an object calls itself, and what it becomes. In this order they are stored: what others belong to comes first.
_KINDS: Final[dict[str, type[Any]]] = {
    "assistant": Assistant,
    "thread": Thread,
    "thread.message": Message,
    "thread.run": Run,
    "thread.run.step": RunStep,
}
_COMMIT: Final = 500  # objects: enough that a commit's cost is shared, few enough that others are not kept waiting


@define
class ImportReport:
    """What became of the objects that were to be imported."""

    added: dict[str, int] = field(factory=lambda: dict.fromkeys(_KINDS, 0))  #: by what objects call themselves
    there_already: int = 0  #: with the same ID; left as they were
    ended: int = 0  #: runs that were unfinished when they were saved, and are stored as ``expired``
    made_threads: int = 0  #: threads that something belongs to and nobody saved
    problems: list[str] = field(factory=list)  #: ``FILE:LINE: what is wrong``; the rest was imported


def parse(name: str, data: bytes, report: ImportReport) -> Iterator[ApiObject]:
    """Read the objects of one file: a single object, an array, a list of the API, or one of these a line.

    What is wrong is added to the report's problems, with its place, and passed over.
    """
    for line, value in _values(name, data, report):
        for item in _items(value):
            found = item.get("object") if isinstance(item, dict) else None
            kind = _KINDS.get(found) if isinstance(found, str) else None
            if kind is None:
                what = f"object {found!r}" if isinstance(item, dict) else type(item).__name__
                report.problems.append(f"{name}:{line}: not an assistant, thread, message, run or run step: {what}")
                continue
            try:
                loaded = _wire.load(item, kind)
            except ProtocolError as error:
                report.problems.append(f"{name}:{line}: {error}")
                continue
            if (bad := _unstorable_id(loaded)) is None:
                yield loaded
            else:
                report.problems.append(f"{name}:{line}: not an ID: {bad!r}")


def _unstorable_id(item: ApiObject) -> str | None:
    """An ID by which the object could not be found: empty, or with half a surrogate pair, say, in it."""
    ids = [getattr(item, name, None) for name in ("id", "thread_id", "run_id")]
    return next((id for id in ids if id is not None and not (id and id.isprintable())), None)


def _values(name: str, data: bytes, report: ImportReport) -> Iterator[tuple[int, Any]]:
    """The JSON values of a file and the lines they begin in."""
    try:
        value = _wire.decode(data)
    except ProtocolError:  # more than one value, or none: a value a line
        yield from _values_of_lines(name, data, report)
    else:
        yield 1, value


def _values_of_lines(name: str, data: bytes, report: ImportReport) -> Iterator[tuple[int, Any]]:
    # As bytes, and at line feeds alone: a text has other line breaks, which JSON allows inside its strings.
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
    # The API lists the newest first; a store wants the oldest first, and a second has room for many objects.
    newest_first = len(numbers) == len(value) > 1 and numbers[0] > numbers[-1]
    return reversed(value) if newest_first else value


async def import_objects(
    store: Store, objects: Iterable[ApiObject], report: ImportReport, *, owner: str = ""
) -> AsyncGenerator[int, None]:
    """Put objects into a store, with their IDs and times. One whose ID is there already is left as it is.

    Args:
        store: An open store, which no engine uses.
        objects: From `parse`, in any order; within a list, the oldest first.
        report: Is kept up to date.
        owner: Whose the objects become.

    Yields:
        How many objects have been looked at since the last time.
    """
    found: _Found = {kind: {} for kind in _KINDS.values()}
    for item in objects:
        found[type(item)][item.id] = item  # saved more than once: the later one
        report.there_already += 1  # until it turns out to be new
    for thread in await _missing_threads(store, found):
        found[Thread][thread.id] = thread
        report.made_threads += 1
    open_runs = {run.id for run in found[Run].values() if not run.status.is_terminal}
    for name, kind in _KINDS.items():
        items = sorted(found[kind].values(), key=_created_at)  # stable: a second's objects keep their order
        for start in range(0, len(items), _COMMIT):
            some = items[start : start + _COMMIT]
            new = [item for item in some if await store.get(kind, item.id) is None]
            await store.commit([Record(owner, _ended(item, open_runs)) for item in new])
            report.added[name] += len(new)
            report.ended += sum(kind is Run and item.id in open_runs for item in new)
            yield len(some)
    report.there_already -= sum(report.added.values()) - report.made_threads


def _created_at(item: ApiObject) -> datetime:
    return item.created_at


async def _missing_threads(store: Store, found: _Found) -> Sequence[Thread]:
    """Threads that something belongs to and nobody saved: without them, it could not be reached."""
    first: dict[str, datetime] = {}
    for item in (*found[Message].values(), *found[Run].values()):
        first[item.thread_id] = min(first.get(item.thread_id, item.created_at), item.created_at)
    missing = [id for id in first if id not in found[Thread] and await store.get(Thread, id) is None]
    return [Thread(id=id, created_at=first[id], metadata={}, absent=frozenset()) for id in missing]


def _ended(item: ApiObject, open_runs: set[str]) -> ApiObject:
    """An object as it is when the run that it is part of will not be continued."""
    match item:
        case Run(id=id) if id in open_runs:
            return evolve(item, status=RunStatus.EXPIRED, required_action=None, expires_at=None)
        case RunStep(run_id=id, status=RunStepStatus.IN_PROGRESS) if id in open_runs:
            return evolve(item, status=RunStepStatus.EXPIRED, expired_at=item.expires_at or item.created_at)
        case Message(run_id=str(id), status=MessageStatus.IN_PROGRESS) if id in open_runs:
            details = MessageIncompleteDetails(reason="run_expired")
            at = item.created_at
            return evolve(item, status=MessageStatus.INCOMPLETE, incomplete_details=details, incomplete_at=at)
        case _:
            return item


async def export_objects(store: SQLiteStore, *, owner: str = "") -> AsyncGenerator[bytes, None]:
    """Write an owner's objects, one a line, as `parse` takes them.

    Args:
        store: An open store.
        owner: Whose objects; the empty one's are those that were made without a key.

    Yields:
        A line of JSON, with its end.

    Raises:
        StoreUnavailableError: The file cannot be read now.
    """
    for kind in _KINDS.values():
        async for record in store.everything(kind):
            if record.owner == owner:
                yield _wire.encode(record.value) + b"\n"
