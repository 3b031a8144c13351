"""Rows of a table of objects: of the changes of commits, and back to records. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from openai_runs import _wire
from openai_runs._slices import Work
from openai_runs.errors import ProtocolError, StoreDataError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore, VectorStoreFileBatch
from openai_runs.stores.records import (
    BatchFiles,
    Change,
    Claim,
    Delete,
    EndpointObject,
    FileUse,
    IndexJob,
    Record,
    RunState,
    SpentTokens,
    Stored,
    UsedKey,
    VectorStoreEntry,
)
from openai_runs.stores.store import group_of, part_of

T = TypeVar("T", bound=Stored)

#: What the kinds are called in the table.
KINDS: Final[dict[str, type[Any]]] = {
    "assistant": Assistant,
    "thread": Thread,
    "message": Message,
    "run": Run,
    "run_step": RunStep,
    "file": File,
    "vector_store": VectorStore,
    "vector_store_entry": VectorStoreEntry,
    "file_batch": VectorStoreFileBatch,
    "batch_files": BatchFiles,
    "file_use": FileUse,
    "index_job": IndexJob,
    "endpoint_object": EndpointObject,
    "run_state": RunState,
    "used_key": UsedKey,
    "spent_tokens": SpentTokens,
}
NAMES: Final = {kind: name for name, kind in KINDS.items()}


#: Of a change: kind, ID, owner, list, history (the thread of a message, or of a step with tool calls), and part. A
#: deletion has the first two; a claim has others, see `Claim`.
Columns: TypeAlias = tuple[str, str, str | None, str | None, str | None, str | None]

_FEW: Final = 200  # rows that are encoded without interruption
_encode_rows = msgspec.json.Encoder().encode


#: What is read in pieces: a thread's history, run states, or objects of some kinds.
Walk: TypeAlias = Literal["history", "unfinished", "kinds"]


class ChangedRow(NamedTuple):
    """A change as it is written."""

    change: Change
    columns: Columns
    body: bytes | None  #: JSON; ``None`` of a deletion


class Row(NamedTuple):
    """An object as it was read."""

    kind: str
    id: str
    owner: str
    body: Any  #: JSON, as bytes or decoded


class FoundPage(NamedTuple):
    """Objects of a list between two cursors."""

    low: int | None  #: the place of the lower cursor; ``None`` if it is not in the list
    high: int | None  #: likewise
    more: bool  #: whether the last row was read only to know that there are more
    rows: Iterable[Row]


class Piece(NamedTuple):
    """The next objects of a walk."""

    start: int | None  #: where to continue; ``None`` at the end
    size: int  #: bytes
    rows: Iterable[Row]


def row_of(change: Change) -> ChangedRow:
    """The row of a change."""
    if isinstance(change, Claim):
        reads = None if change.reads is None else "yes" if change.reads else "no"
        flags = ("yes" if change.is_mine else None, "yes" if change.is_waiting else None, reads)
        return ChangedRow(change, ("claim", change.id, *flags, None), None)
    if isinstance(change, Delete):
        return ChangedRow(change, (NAMES[change.kind], change.id, None, None, None, None), None)
    value = change.value
    columns = (
        NAMES[value.__class__],
        value.id,
        change.owner,
        group_of(change),
        history_of(change),
        part_of(change),
    )
    return ChangedRow(change, columns, _wire.encode(value))


def history_of(change: Change) -> str | None:
    """The thread whose history an object is in: messages are, and steps with tool calls."""
    value = change.value if isinstance(change, Record) else None
    if isinstance(value, Message) or (isinstance(value, RunStep) and value.type == "tool_calls"):
        return value.thread_id
    return None


def index_and_bodies(commits: Iterable[Sequence[ChangedRow]]) -> Work[tuple[str, bytes]]:
    """Put the rows of several commits together, so that one statement can take them and no body has to be escaped.

    Returns:
        A JSON array with the columns of each row and, if it is put, the offset of its body, from 1, and its length; and
        all bodies.

    Raises:
        ValueError: An ID or an owner's label has a NUL character.
        UnicodeEncodeError: Likewise, half a surrogate pair.
    """
    parts: list[bytes] = []
    rows: list[tuple[Any, ...]] = []
    bodies: list[bytes] = []
    offset = 1
    for commit in commits:
        for _, columns, body in commit:
            if body is None:
                rows.append(columns)
            else:
                rows.append((*columns, offset, len(body)))
                bodies.append(body)
                offset += len(body)
            if len(rows) == _FEW:
                parts.append(_encode_rows(rows)[1:-1])
                rows.clear()
                yield
    parts.append(_encode_rows(rows)[1:-1])
    text = b"[%b]" % b",".join(filter(None, parts))
    if b"\\u0000" in text:  # SQLite would cut an ID off there, and PostgreSQL has no such text
        raise ValueError("an ID or an owner's label has a NUL character, which the store cannot keep: remove it")
    return text.decode(), b"".join(bodies)


def load_body(body: bytes | Mapping[str, Any], kind: type[T]) -> T:
    """Make an object of its JSON.

    Raises:
        StoreDataError: It is damaged.
    """
    try:
        return _wire.load(body, kind)
    except ProtocolError as error:
        raise undecodable(f"a {NAMES[kind]}") from error


def undecodable(what: str) -> StoreDataError:
    """The error of an object that is damaged."""
    return StoreDataError(f"The server's store has {what} here that is damaged: its JSON cannot be read.")
