"""Imports saved objects of the API into a store, and exports a store's objects in the same form."""

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

#: The value of ``object``, and its model. Objects are stored in this order, so that parents come first.
_KINDS: Final[dict[str, type[Any]]] = {
    "assistant": Assistant,
    "thread": Thread,
    "thread.message": Message,
    "thread.run": Run,
    "thread.run.step": RunStep,
}
_COMMIT_SIZE: Final = 500  # objects: enough to share the cost of a commit, few enough not to block other tasks


@define
class ImportReport:
    """The result of an import."""

    added: dict[str, int] = field(factory=lambda: dict.fromkeys(_KINDS, 0))  #: by the value of ``object``
    already_present: int = 0  #: objects whose ID was in the store already; they were not changed
    ended: int = 0  #: runs that were saved unfinished, and are stored as ``expired``
    created_threads: int = 0  #: threads that were missing in the files, though objects in them belong to them
    problems: list[str] = field(factory=list)  #: ``FILE:LINE: what is wrong``; everything else was imported


def parse(name: str, data: bytes, report: ImportReport) -> Iterator[ApiObject]:
    """Read the objects of one file: a single object, an array, a list of the API, or one of these per line.

    Invalid values are skipped, and added to the report's problems with their line.
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
            if (bad := _invalid_id(loaded)) is None:
                yield loaded
            else:
                report.problems.append(f"{name}:{line}: not an ID: {bad!r}")


def _invalid_id(item: ApiObject) -> str | None:
    """Return an ID by which the object could not be found: an empty one, or one with a lone surrogate, say."""
    ids = [getattr(item, name, None) for name in ("id", "thread_id", "run_id")]
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
    store: Store, objects: Iterable[ApiObject], report: ImportReport, *, owner: str = ""
) -> AsyncGenerator[int, None]:
    """Put objects into a store, with their IDs and times. An object whose ID is in the store already is not changed.

    Args:
        store: An open store, which no engine uses.
        objects: From `parse`, in any order; objects of one list and one second keep their order.
        report: Is updated.
        owner: The owner of the imported objects.

    Yields:
        How many objects were processed since the last yield.
    """
    found: _Found = {kind: {} for kind in _KINDS.values()}
    for item in objects:
        found[type(item)][item.id] = item  # of several with one ID, the last one
        report.already_present += 1  # new ones are subtracted at the end
    for thread in await _missing_threads(store, found):
        found[Thread][thread.id] = thread
        report.created_threads += 1
    open_runs = {run.id for run in found[Run].values() if not run.status.is_terminal}
    for name, kind in _KINDS.items():
        items = sorted(found[kind].values(), key=_created_at)  # stable: a second's objects keep their order
        for start in range(0, len(items), _COMMIT_SIZE):
            some = items[start : start + _COMMIT_SIZE]
            new = [item for item in some if await store.get(kind, item.id) is None]
            await store.commit([Record(owner, _ended(item, open_runs)) for item in new])
            report.added[name] += len(new)
            report.ended += sum(kind is Run and item.id in open_runs for item in new)
            yield len(some)
    report.already_present -= sum(report.added.values()) - report.created_threads


def _created_at(item: ApiObject) -> datetime:
    return item.created_at


async def _missing_threads(store: Store, found: _Found) -> Sequence[Thread]:
    """Make the threads that are missing: without them, their messages and runs could not be reached."""
    first: dict[str, datetime] = {}
    for item in (*found[Message].values(), *found[Run].values()):
        first[item.thread_id] = min(first.get(item.thread_id, item.created_at), item.created_at)
    missing = [id for id in first if id not in found[Thread] and await store.get(Thread, id) is None]
    return [Thread(id=id, created_at=first[id], metadata={}, absent=frozenset()) for id in missing]


def _ended(item: ApiObject, open_runs: set[str]) -> ApiObject:
    """End an object of an unfinished run, which no server will continue."""
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
    """Write an owner's objects as JSON Lines, which `parse` can read.

    Args:
        store: An open store.
        owner: Whose objects to write; objects created without an API key have an empty owner.

    Yields:
        A line of JSON, with its line feed.

    Raises:
        StoreUnavailableError: The file cannot be read now.
    """
    for kind in _KINDS.values():
        async for record in store.everything(kind):
            if record.owner == owner:
                yield _wire.encode(record.value) + b"\n"
