"""`Replicas`: an engine among others on a shared store: which runs it executes, and what the engines tell each other.

Whatever is told is a hint: the store has the truth, and whoever misses a message finds it there, by a refused commit or
by looking each second. So nothing is lost with a message but time.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import anyio
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from openai_runs import _wire
from openai_runs.engine.api_events import ApiEvent, TextPiece
from openai_runs.engine.endings import end_unfinished
from openai_runs.engine.ledger import Ledger
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.run import Run, RunStatus
from openai_runs.stores.records import Change, Claim
from openai_runs.stores.sharing import ClaimedRun, Sharing

_logger = logging.getLogger("openai_runs.engine")

#: Seconds between two looks for runs that nobody executes, unless a message tells of some.
_INTERVAL: Final = 1.0
_MOST_DUE: Final = 100  # runs that expire at a time
_MOST_TOLD: Final = 10_000  # runs of which it is remembered that they were told


def waiting(run_id: str) -> Claim:
    """What belongs to the commit by which a run begins to wait for tool outputs."""
    return Claim(id=run_id, is_waiting=True, reads=False)


@frozen
class Follow:
    """What a change of a run brings with it."""

    changes: Sequence[Change]  #: in the same commit
    then: Callable[[], object]  #: in memory, afterwards


class Execution(Protocol):
    """What executes runs here; it is the `Executor`."""

    @property
    def room(self) -> int:
        """How many runs more can execute now."""
        ...

    @property
    def run_ids(self) -> Collection[str]:
        """The IDs of the runs that are executed here."""
        ...

    def executes(self, thread_id: str) -> bool:
        """Whether the run of a thread is executed here."""
        ...

    async def take(self, claimed: ClaimedRun) -> None:
        """Execute a run that was claimed. Called under the lock of the thread."""

    def look_again(self, thread_id: str) -> None:
        """Have the run of a thread looked at: another server has changed it."""

    def let_go(self, thread_id: str) -> None:
        """Stop the run of a thread, if it is executed here: another server goes on with it."""

    def let_all_go(self) -> Sequence[str]:
        """Stop all that is executed here: other servers go on with it. Returns the threads that were executed."""


@define(eq=False)
class Replicas:
    """Claims runs, and hears and tells what concerns other engines. It is the `Listener` of the store."""

    _ledger: Ledger
    _sharing: Sharing
    _execution: Execution
    _news: anyio.Event = field(factory=anyio.Event, init=False)
    _is_leaving: bool = field(default=False, init=False)
    _has_more: bool = field(default=False, init=False)  # whether there may be runs that nobody executes
    _readers: dict[str, int] = field(factory=dict, init=False)  # who sends the events of a run, which is executed here
    _changed: dict[str, None] = field(factory=dict, init=False)  # runs that others have changed, in order
    _change: anyio.Event = field(factory=anyio.Event, init=False)
    _reading: str = field(default="", init=False)  # one of them
    _is_old: bool = field(default=False, init=False)  # whether what is read of it may be older than what was told
    tells: int = field(default=0, init=False)  #: how often runs have been told here that others have changed
    _told: OrderedDict[str, int] = field(factory=OrderedDict, init=False)  # when that was, by run, the latest last

    def start(self, tasks: TaskGroup) -> None:
        """Begin to claim runs, and to hear of others."""
        self._ledger.relay = self
        self._sharing.listen(self)
        tasks.start_soon(self._claim_all)
        tasks.start_soon(self._tell_changes)

    # What the executor asks

    def active_run(self, thread_id: str) -> str | None:
        """The ID of a thread's unfinished run, if it has one. Called under the lock of the thread."""
        found = self._sharing.active_run(thread_id)
        return None if found is None else found.run_id

    def has_claim(self, thread_id: str, run_id: str) -> bool:
        """Whether this server is to execute a run. Called under the lock of the thread."""
        found = self._sharing.active_run(thread_id)
        return found is not None and found.run_id == run_id and found.server == self._sharing.epoch

    async def unfinished_of(self, owner: str) -> Sequence[str]:
        """The IDs of an owner's unfinished runs, the oldest first."""
        return await self._sharing.active_of(owner)

    def queueing(self, run: Run, admit: Callable[[], object], *, is_read: bool) -> Follow:
        """Queue a run: here, if there is room, and otherwise for whoever has some."""
        is_mine = self._sharing.is_valid and self._room > 0
        claim = Claim(id=run.id, is_mine=is_mine, reads=is_read)
        return Follow((claim,), partial(self._admit_mine, self._sharing.epoch, admit) if is_mine else self._offer)

    @property
    def _room(self) -> int:
        return 0 if self._is_leaving else self._execution.room

    def _may_execute(self, epoch: int) -> bool:
        """Whether this server may execute what was claimed under an epoch; otherwise others have it, or soon will."""
        return not self._is_leaving and self._sharing.is_valid and self._sharing.epoch == epoch

    def _admit_mine(self, epoch: int, admit: Callable[[], object]) -> None:
        if self._may_execute(epoch):
            admit()

    def _cancel_mine(self, epoch: int, cancel: Callable[[], object]) -> None:
        if self._may_execute(epoch):
            cancel()
        else:  # all was let go while this was stored: whoever goes on with the run finds that it is to be ended
            self._offer()

    def _offer(self) -> None:
        self._has_more = True
        self._sharing.broadcast(["work"])

    def cancelling(self, run: Run, cancel: Callable[[], object]) -> Follow:
        """Stop a run, wherever it is executed; if nowhere, it is ended here."""
        found = self._sharing.active_run(run.thread_id)
        if found is None:
            return Follow((), cancel)
        if self._execution.executes(run.thread_id):
            return Follow((), partial(self._cancel_mine, self._sharing.epoch, cancel))
        if found.server is None and self._sharing.is_valid:
            claim = Claim(id=run.id, is_mine=not self._is_leaving)
            then = self._offer if self._is_leaving else partial(self._admit_mine, self._sharing.epoch, cancel)
            return Follow((claim,), then)
        return Follow((), partial(self._stop, found.server, run.thread_id))

    def _stop(self, server: int | None, thread_id: str) -> None:
        if server is not None:
            self._sharing.send(server, ["look", thread_id])

    async def end_now(self, owner: str, thread_id: str) -> None:
        """Cancel the run of a thread, if it has one that is not executed here. Called under the lock of the thread."""
        if (found := self._sharing.active_run(thread_id)) is None:
            return
        await end_unfinished(self._ledger, owner, found.run_id, RunStatus.CANCELLED)
        self._stop(found.server, thread_id)

    async def hand_over(self) -> None:
        """Execute nothing any more, and let others do it, since this server is about to stop."""
        self._is_leaving = True
        threads = self._execution.let_all_go()
        await self._ledger.settled(threads)  # no commit begins any more, and all that were decided have begun
        try:
            await self._sharing.hand_over()
        except StoreUnavailableError:  # they are handed over with the store
            _logger.warning("the runs that were executed here cannot be handed over now")

    def note_release(self, run_id: str) -> None:
        """A run is not executed here any more."""
        self._readers.pop(run_id, None)

    def note_room(self) -> None:
        """A place has become free."""
        if self._has_more:
            self._wake()

    def _wake(self) -> None:
        self._news.set()

    # What the ledger tells: this is its `Relay`

    def publish(self, run_id: str, events: Sequence[ApiEvent]) -> None:
        """Pass events on to the server whose client reads them."""
        if (reader := self._readers.get(run_id)) is not None and self._sharing.is_valid:
            self._sharing.send(reader, ["events", run_id, [(event.name, _plain(event.data)) for event in events]])

    def changed(self, owner: str, run: Run) -> None:
        """Tell all servers that a run has changed."""
        self._sharing.broadcast(["changed", owner, run.id, run.thread_id])
        self._is_old |= run.id == self._reading

    def was_told(self, run_id: str, since: int) -> bool:
        """Whether a run was told here that others have changed, after so many; then it is read and told again."""
        if self._told.get(run_id, 0) <= since:
            return False
        self._note_change(run_id)
        return True

    # What other servers tell: this is a `Listener`

    def lost(self) -> None:
        """Stop all, since the lease has run out."""
        self._execution.let_all_go()
        for run_id in self._ledger.subscribed_runs:
            self._ledger.break_off(run_id)
        self._readers.clear()
        self.missed(None)

    def heard(self, sender: int, message: Any) -> None:  # noqa: ARG002  # as `Listener` has it
        """Do what a message says."""
        match message:
            case ["work"]:
                self._has_more = True
                self._wake()
            case ["changed", str(owner), str(run_id), str(thread_id)]:
                if not self._execution.executes(thread_id):
                    self._ledger.note_left(run_id)
                if self._ledger.is_watched(owner, run_id):
                    self._note_change(run_id)
            case ["look", str(thread_id)]:
                self._execution.look_again(thread_id)
            case ["events", str(run_id), list(events)]:
                self._ledger.receive(run_id, [ApiEvent(name, data) for name, data in events])
            case ["gone", str(run_id)]:
                self._ledger.break_off(run_id)
            case ["jobs", _] | ["done"]:  # see `SharedJobs`
                pass
            case _:  # of a later version
                _logger.warning("another server has sent a message that this one does not know: update this one")

    def missed(self, sender: int | None) -> None:  # noqa: ARG002  # whoever it was, any run may be concerned
        """Have all who may have missed something begin anew."""
        own = self._execution.run_ids
        for run_id in self._ledger.subscribed_runs:
            if run_id not in own:
                self._ledger.break_off(run_id)
        self._ledger.break_off_feeds()
        for run_id in self._ledger.watched_runs:
            self._note_change(run_id)
        self._has_more = True
        self._wake()

    # Tasks

    async def _claim_all(self) -> None:
        while True:
            try:
                await self._claim()
            except StoreUnavailableError:  # which is logged where the lease is renewed
                pass
            except Exception:  # it must not stop the engine: the others' runs are left to the others
                _logger.exception("no runs can be claimed now")
            with anyio.move_on_after(_INTERVAL):
                await self._news.wait()
            self._news = anyio.Event()

    async def _claim(self) -> None:
        await self._sharing.bury()
        while (room := self._room) > 0:
            claimed = await self._sharing.claim(room)
            self._has_more = len(claimed) >= room
            await self._take_all(claimed)
            if not self._has_more or self._execution.room >= room:  # nothing was new
                break
        await self._take_all(await self._sharing.claim_due(self._ledger.clock.now(), _MOST_DUE))

    async def _take_all(self, claimed: Sequence[ClaimedRun]) -> None:
        """At once, since what each of them reads from the store is read together."""
        async with anyio.create_task_group() as tasks:
            for each in claimed:
                tasks.start_soon(self._take, each)

    async def _take(self, claimed: ClaimedRun) -> None:
        try:
            await self._ledger.retry_until_stored(partial(self._take_claimed, claimed))
        except Exception:  # a damaged run must not keep the others from being executed
            _logger.exception("run %s cannot be resumed, and is left as it is", claimed.run_id)

    async def _take_claimed(self, claimed: ClaimedRun) -> None:
        async with self._ledger.lock(claimed.thread_id):
            epoch = self._sharing.epoch
            if not self.has_claim(claimed.thread_id, claimed.run_id) or self._execution.executes(claimed.thread_id):
                return
            run = await self._ledger.get(Run, claimed.run_id)
            if claimed.reader is not None:
                self._serve_reader(run, claimed.reader)
            await self._execution.take(claimed)
            if not self._may_execute(epoch):  # it was not there yet when all that is executed here was stopped
                self._execution.let_go(claimed.thread_id)

    def _serve_reader(self, run: Run, reader: int) -> None:
        """Let the client that reads the events of a run have them, if it has missed none."""
        if reader == self._sharing.epoch:
            if run.status is not RunStatus.QUEUED:
                self._ledger.break_off(run.id)
        elif run.status is RunStatus.QUEUED:
            self._readers[run.id] = reader
        else:
            self._sharing.send(reader, ["gone", run.id])

    def _note_change(self, run_id: str) -> None:
        self._changed[run_id] = None
        self._change.set()

    async def _tell_changes(self) -> None:
        """Tell watchers what the runs are now that others have changed."""
        while True:
            while self._changed:
                run_id = next(iter(self._changed))
                del self._changed[run_id]
                try:
                    await self._tell_change(run_id)
                except Exception:  # a damaged run must not keep the others from being told
                    _logger.exception("run %s cannot be told to those who watch it", run_id)
            self._change = anyio.Event()
            await self._change.wait()

    async def _tell_change(self, run_id: str) -> None:
        self._reading, self._is_old = run_id, False
        record = await self._ledger.retry_until_stored(partial(self._ledger.store.get, Run, run_id))
        self._reading = ""
        if self._is_old:  # it has changed here meanwhile
            self._note_change(run_id)
        elif record is not None:
            self.tells += 1
            self._told[run_id] = self.tells
            self._told.move_to_end(run_id)
            if len(self._told) > _MOST_TOLD:
                self._told.popitem(last=False)
            self._ledger.tell(record.owner, record.value)


def _plain(data: Any) -> Any:
    if isinstance(data, TextPiece):
        return data.json()
    return data if isinstance(data, Mapping) else _wire.dump(data)
