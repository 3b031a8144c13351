"""Where a pending tool call stands, and since when: the call's ID alone says neither, and the wire has nothing else.

Some servers count call IDs from ``call_0`` in each run, or in each round of a run. So a call is also told by the run in
whose snapshot it stands, and by whether that snapshot is newer than the acceptance of earlier outputs. A `Run` notes it
when it is made, whether or not somebody reads its calls then. Notes are made about objects, by identity: equality,
hashes and JSON do not see them, and a copied call has none.
"""

import itertools
import weakref
from typing import Final, Generic, TypeVar

from attrs import frozen

NoteT = TypeVar("NoteT")


class Notes(Generic[NoteT]):
    """Notes about objects, each for as long as its object lives."""

    def __init__(self) -> None:
        self._notes: dict[int, tuple[weakref.ref[object], NoteT]] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def add(self, about: object, note: NoteT) -> None:
        """Make a note, in the place of an earlier one about the same object."""
        key = id(about)
        self._notes[key] = weakref.ref(about, lambda _: self._notes.pop(key, None)), note

    def get(self, about: object) -> NoteT | None:
        """The note about an object, or ``None``."""
        reference, note = self._notes.get(id(about), (None, None))
        return note if reference is not None and reference() is about else None


@frozen
class Origin:
    """The run in whose snapshot a call stands, and the `tick` at which that snapshot arrived."""

    run_id: str
    seen_at: int


_counter: Final = itertools.count()
_origins: Final[Notes[Origin]] = Notes()


def tick() -> int:
    """The next of a process-wide sequence of numbers: what happens later has a greater one."""
    return next(_counter)


def note_origin(call: object, run_id: str) -> None:
    """Note that a call stands in a snapshot of a run that has just arrived, unless it stood in an earlier one."""
    if _origins.get(call) is None:
        _origins.add(call, Origin(run_id, tick()))


def origin_of(call: object) -> Origin | None:
    """Where a call stands; ``None`` for one that somebody built."""
    return _origins.get(call)
