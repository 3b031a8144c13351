"""`TurnLedger`: the ledger as a turn sees it, in which several transitions of a run are one commit.

A turn holds what it has decided for as long as nobody waits: the start of the run, and the steps and messages that it
has begun. The next commit has it all, and so has one before the turn waits for its model. Until then it is not told
either, and a crash, or another one who ends the run, leaves nothing of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.engine.api_events import ApiEvent
from openai_runs.engine.ledger import Ledger
from openai_runs.lifecycle import moved
from openai_runs.models.message import Message
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.stores.records import Change, Claim, Delete, Record, RunState, Stored

T = TypeVar("T", bound=Stored)


def _key_of(change: Change) -> tuple[type[Any], str]:
    if isinstance(change, Record):
        return type(change.value), change.value.id
    return (change.kind if isinstance(change, Delete) else Claim), change.id


@define(eq=False)
class TurnLedger:
    """Reads and commits of one turn, with what it holds."""

    _ledger: Ledger
    _owner: str
    _run_id: str
    _check: Callable[[], None] = lambda: None  # raises if the turn was abandoned
    _began_at: datetime = field(init=False)
    is_stored: bool = field(default=True, init=False)  #: whether there is nothing to commit
    # New ones only: nobody else can know them, or have changed them.
    _held: dict[tuple[type[Any], str], Change] = field(factory=dict, init=False)
    _events: list[ApiEvent] = field(factory=list, init=False)
    # What follows from the latest `read`.
    _changes: Sequence[Change] = field(default=(), init=False)
    _first_events: Sequence[ApiEvent] = field(default=(), init=False)

    def __attrs_post_init__(self) -> None:
        self._began_at = self._ledger.now()

    def now(self) -> datetime:
        """See `Ledger.now`."""
        return self._ledger.now()

    def now_in(self, run: Run) -> datetime:
        """See `Ledger.now_in`."""
        return self._ledger.now_in(run)

    async def get(self, kind: type[T], id: str) -> T:
        """Read an object that must exist, or is held."""
        if isinstance(held := self._held.get((kind, id)), Record):
            value: T = held.value
            return value
        return await self._ledger.get(kind, id)

    def holds(self, kind: type[Message] | type[RunStep], id: str) -> bool:
        """Whether an object is held, and not in the store."""
        return (kind, id) in self._held

    async def read(self) -> tuple[Run, RunState]:
        """Read the run and its state, as they are with what is held. To be called under the lock of the thread."""
        run, state = await self._ledger.get(Run, self._run_id), await self._ledger.get(RunState, self._run_id)
        changes: list[Change] = []
        events: list[ApiEvent] = []
        if run.status is RunStatus.QUEUED:  # otherwise it has begun, or this is the retry of an interrupted call
            run = moved(run, RunStatus.IN_PROGRESS, started_at=self._began_at)
            changes.append(Record(self._owner, run))
            events.append(ApiEvent("thread.run.in_progress", run))
        if steps := tuple(id for kind, id in self._held if kind is RunStep):
            state = evolve(state, steps=(*state.steps, *steps))
            changes.append(Record(self._owner, state))
        self._changes, self._first_events = changes, events
        self.is_stored = not (changes or self._held)
        return run, state

    def hold(self, changes: Iterable[Change], events: Iterable[ApiEvent]) -> None:
        """Hold new steps and messages, or changes of such that are held, with the events that tell of them."""
        self._held.update((_key_of(change), change) for change in changes)
        self._events += events
        self.is_stored = False

    async def commit(
        self,
        changes: Sequence[Change],
        run_id: str,
        events: Sequence[ApiEvent],
        *,
        then: Callable[[], object] | None = None,
    ) -> None:
        """Commit changes with all that is held; see `Ledger.commit`. `read` has been called under the same lock."""
        self._check()  # once more: what was read for this may have taken a while
        joined = {_key_of(change): change for change in (*self._changes, *self._held.values(), *changes)}
        told = [*self._first_events, *self._events, *events]
        await self._ledger.commit(list(joined.values()), run_id, told, then=partial(self._note_stored, then))

    def _note_stored(self, then: Callable[[], object] | None) -> None:
        self._held.clear()
        self._events.clear()
        self.is_stored = True
        if then is not None:
            then()

    def publish(self, name: str, delta: Mapping[str, Any]) -> None:
        """Tell a delta, after what is to be told before it."""
        event = ApiEvent(name, delta)
        if self.is_stored:
            self._ledger.publish(self._run_id, [event])
        else:
            self._events.append(event)
