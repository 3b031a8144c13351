"""`Ledger`: all reads and commits of the engine go through it.

A change is decided under the lock of its thread (or of its assistant), committed, and only then published. So no
subscriber sees a change that a crash could undo, and events come in the order of the changes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from functools import partial
from secrets import token_bytes
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

import anyio
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs.engine.api_events import ApiEvent, Relay, Subscriber, Watcher
from openai_runs.engine.audit import DELETED, Audit, Audited, By
from openai_runs.engine.clock import Clock
from openai_runs.engine.deciding import Deciding
from openai_runs.engine.errors import ApiError, not_found
from openai_runs.engine.exact_times import ExactTimes
from openai_runs.engine.new_objects import timestamp
from openai_runs.engine.observer import Observer
from openai_runs.engine.turnstile import Turnstile
from openai_runs.errors import ChangedElsewhereError, StoreUnavailableError, UnknownCursorError
from openai_runs.models.assistant import Assistant
from openai_runs.models.file import File
from openai_runs.models.message import Message
from openai_runs.models.page import Page
from openai_runs.models.run import Run
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.models.vector_store import VectorStore
from openai_runs.stores.records import Change, Delete, PageQuery, Record, RunState, Stored, UsedKey, VectorStoreEntry
from openai_runs.stores.sharing import Sharing
from openai_runs.stores.store import Store
from openai_runs.stores.worked_for import worked_for

_logger = logging.getLogger("openai_runs.engine")

#: Seconds until a commit that found the store unavailable is repeated.
_RETRY_INTERVAL: Final = 1.0

_SHORTEST_ANSWER: Final = timedelta(seconds=1)  # the API has whole seconds

T = TypeVar("T", bound=Stored)
ResultT = TypeVar("ResultT")
MessageOrRun = TypeVar("MessageOrRun", Message, Run)
PagedT = TypeVar("PagedT", Assistant, Thread, Message, Run, RunStep, File, VectorStore, VectorStoreEntry)

_NAMES: Final[Mapping[type[Any], str]] = {
    Assistant: "assistant",
    Thread: "thread",
    Message: "message",
    Run: "run",
    RunStep: "run step",
    File: "file",
    VectorStore: "vector store",
    VectorStoreEntry: "file",
}


@define
class Ledger:
    """A store, with locks for its objects and subscribers to its runs."""

    store: Store
    clock: Clock
    is_open: bool = field(default=False, kw_only=True)
    observers: Sequence[Observer] = field(default=(), kw_only=True)  #: are told of commits, and of what runs become
    #: Is told what was stored; see `Use`.
    count: Callable[[Sequence[Change]], None] | None = field(default=None, init=False)
    audit: Audit | None = field(default=None, kw_only=True)  #: is told of deletions
    going_on: Turnstile = field(factory=Turnstile, init=False)  #: for work that has waited, if there are several owners
    exact_times: ExactTimes = field(factory=ExactTimes, init=False)  #: of what is stored
    sharing: Sharing | None = field(init=False)  #: with other servers; see `Store`
    _secret: bytes = field(factory=partial(token_bytes, 32), init=False, repr=False)
    #: Whether what is known of a thread is of use later, as its run is executed here.
    keeps: Callable[[str], bool] = field(default=lambda _: False, init=False)
    #: Where else events of runs and changed runs are told.
    relay: Relay | None = field(default=None, init=False)
    _locks: WeakValueDictionary[str, anyio.Lock] = field(factory=WeakValueDictionary, init=False)
    # By run. One each: the subscriber that came with `createRun` is done once the run waits for tool outputs, and the
    # request that submits them brings the next one.
    _subscribers: dict[str, Subscriber] = field(factory=dict, init=False)
    # Likewise, of those whose commit has no answer yet: what others, who have claimed them already, have told of them;
    # ``None`` for the end of that.
    _early: dict[str, list[Sequence[ApiEvent] | None]] = field(factory=dict, init=False)
    _watchers: dict[str, set[Watcher]] = field(factory=dict, init=False)  # by owner
    _run_watchers: dict[str, set[Watcher]] = field(factory=dict, init=False)  # by run

    def __attrs_post_init__(self) -> None:
        self.sharing = self.store.sharing

    def lock(self, id: str, *, is_own: bool = False, is_new: bool = False) -> AbstractAsyncContextManager[object]:
        """The lock of a thread, an assistant, a vector store or a file. It is dropped when it is no longer in use.

        Args:
            id: Of what.
            is_own: Whether it is a thread whose run is executed here. What other servers have changed in it is then
                found out by a commit, and not before.
            is_new: Whether it does not exist yet, so that nobody else knows it.
        """
        if (lock := self._locks.get(id)) is None:
            lock = self._locks[id] = anyio.Lock(fast_acquire=True)
        if self.sharing is None:
            return lock
        if is_new:
            self.sharing.pin_new(id)
        return Deciding(id, lock, self.sharing, self.keeps, is_own or is_new)

    async def settled(self, ids: Iterable[str]) -> None:
        """Wait until what is being decided about these objects is committed."""
        for id in ids:
            if (lock := self._locks.get(id)) is not None:
                async with lock:
                    pass

    async def commit(
        self,
        changes: Sequence[Change],
        run_id: str = "",
        events: Sequence[ApiEvent] = (),
        subscriber: Subscriber | None = None,
        then: Callable[[], object] | None = None,
    ) -> None:
        """Store changes, then publish the events of a run.

        Once begun this is finished, even if the caller is cancelled. So whatever else must follow from the changes
        belongs into ``then``: after this call, a cancelled caller does nothing more.

        Args:
            changes: What to store: all of it or, on an error, nothing.
            run_id: The run that the events belong to.
            events: The events, in order.
            subscriber: Receives these events and all later ones until `unsubscribe`; replaces an earlier subscriber.
                It is dropped if the caller is cancelled.
            then: What changes in memory along with the store; called last, and must not raise.

        Raises:
            StoreUnavailableError: Nothing was stored or published.
            StoreDataError: Likewise, and trying again does not help.
        """
        if not self.is_open:
            raise RuntimeError("the engine is not running: use it as `async with Engine(…) as engine`")
        try:
            await finish(self._commit(changes, run_id, events, subscriber, then))
        except asyncio.CancelledError:
            if subscriber is not None:  # the caller cannot unsubscribe it: it has not heard of the run
                self.unsubscribe(run_id, subscriber)
            raise

    async def check(self) -> None:
        """Commit something that leaves nothing behind, to see whether the store takes commits.

        Raises:
            StoreUnavailableError: It takes none.
            StoreDataError: It takes none, and that will not change.
        """
        probe = UsedKey(id="probe", fingerprint="", used_at=0.0, kind="", object_id="")
        await self.commit([Record("", probe), Delete(UsedKey, probe.id)])

    async def _commit(
        self,
        changes: Sequence[Change],
        run_id: str,
        events: Sequence[ApiEvent],
        subscriber: Subscriber | None,
        then: Callable[[], object] | None,
    ) -> None:
        began = perf_counter() if self.observers else 0.0
        tells = 0 if self.relay is None else self.relay.tells
        early = None if subscriber is None or self.relay is None else self._early.setdefault(run_id, [])
        try:
            await self.store.commit(changes)
            if self.observers:
                self._tell_observers(changes, perf_counter() - began)
            self.exact_times.note(changes, self.clock.now())
            if self.count is not None:  # at once: others can read the changes already
                self.count(changes)
            if owner := worked_for():
                await self.take_turn(owner)
        finally:
            self._early.pop(run_id, None)
        if subscriber is not None:
            self._subscribers[run_id] = subscriber
        self.publish(run_id, events)
        for told in early or ():
            if told is None:
                self.break_off(run_id)
            else:
                self.receive(run_id, told)
        if self._watchers or self._run_watchers or self.relay is not None:
            self._tell_watchers(changes, tells)
        if then is not None:
            then()

    @property
    def secret(self) -> bytes:
        """See `Engine`."""
        return self._secret if self.sharing is None else self.sharing.secret

    async def take_turn(self, owner: str) -> None:
        """Let other owners' work come first, after a wait that may have ended for much of this owner's work at once.

        The caller may hold locks of this owner's objects: nobody else waits for them.
        """
        if (goes_on := self.going_on.enter(owner)) is not None:
            await goes_on

    def _tell_observers(self, changes: Sequence[Change], seconds: float) -> None:
        try:
            values = [change.value for change in changes if isinstance(change, Record)]
            states = {value.id: value for value in values if isinstance(value, RunState)}
            for observer in self.observers:
                observer.committed(seconds)
                for value in values:
                    if isinstance(value, Run):
                        observer.run_changed(value, states.get(value.id))
        except Exception:  # the change is committed already: who only looks on must not fail it
            _logger.exception("a change could not be recorded by an observer")

    def note_left(self, run_id: str) -> None:
        """Tell observers that another server has a run."""
        try:
            for observer in self.observers:
                observer.run_left(run_id)
        except Exception:  # who only looks on must not keep a run from being let go
            _logger.exception("run %s could not be forgotten by an observer", run_id)

    def note_deletion(
        self, owner: str, kind: str, id: str, by: By = By.REQUEST, counts: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """Have it audited that an object was deleted; for the ``then`` of its commit.

        Args:
            owner: The object's.
            kind: Its ``object``.
            id: Its ID.
            by: On whose behalf.
            counts: What has gone with it.
        """
        if self.audit is not None:
            self.audit.note(Audited(action=DELETED, by=by, object=kind, id=id, owner=owner, counts=counts))

    async def retry_until_stored(
        self, transition: Callable[[], Awaitable[ResultT]], *, longest: float = _RETRY_INTERVAL
    ) -> ResultT:
        """Make a transition, and repeat it while the store is unavailable.

        For transitions that no request waits for: there is no caller to whom the error could be raised.

        Args:
            transition: Takes the lock it needs, reads, decides, and commits once, or only reads. It must change nothing
                before the commit, so that it can be repeated.
            longest: Seconds between two attempts; each wait is twice as long as the one before, up to this.
        """
        wait = _RETRY_INTERVAL
        while True:
            try:
                return await transition()
            except ChangedElsewhereError:
                continue
            except StoreUnavailableError:  # not logged here: the store logs it once, not once for each run
                await self.clock.sleep_until(self.clock.now() + wait)
                wait = min(2 * wait, longest)

    def now(self) -> datetime:
        """The current time, as the API shows it."""
        return timestamp(self.clock.now())

    def now_in(self, run: Run) -> datetime:
        """The current time for what a run makes: at least a second after its creation, which nothing waits for.

        Programs select a run's answer by ``message.created_at > run.created_at``, as no model answered within a second.
        """
        return max(self.now(), run.created_at + _SHORTEST_ANSWER)

    def publish(self, run_id: str, events: Sequence[ApiEvent]) -> None:
        """Pass the events of a run to its subscriber."""
        if not events:
            return
        try:
            if (subscriber := self._subscribers.get(run_id)) is not None:
                subscriber.receive(events)
            elif self.relay is not None:
                self.relay.publish(run_id, events)
        except Exception:  # the change is committed already: a broken subscriber must not fail the run
            _logger.exception("run %s: its subscriber failed at %s", run_id, events[0].name)

    def receive(self, run_id: str, events: Sequence[ApiEvent]) -> None:
        """Pass events of a run that is executed elsewhere to its subscriber."""
        if (early := self._early.get(run_id)) is not None:
            early.append(events)
        elif (subscriber := self._subscribers.get(run_id)) is not None:
            subscriber.receive(events)

    def watch(self, owner: str, watcher: Watcher) -> None:
        """Send a watcher each run of an owner whenever it has changed, until `unwatch`."""
        self._watchers.setdefault(owner, set()).add(watcher)

    def unwatch(self, owner: str, watcher: Watcher) -> None:
        """Send a watcher nothing more."""
        _remove(self._watchers, owner, watcher)

    def watch_run(self, run_id: str, watcher: Watcher) -> None:
        """Send a watcher a run whenever it has changed, until `unwatch_run`."""
        self._run_watchers.setdefault(run_id, set()).add(watcher)

    def unwatch_run(self, run_id: str, watcher: Watcher) -> None:
        """Send a watcher nothing more."""
        _remove(self._run_watchers, run_id, watcher)

    def _tell_watchers(self, changes: Sequence[Change], tells: int) -> None:
        for change in changes:
            if isinstance(change, Record) and isinstance(change.value, Run):
                # What another server has changed after this commit may have been told before.
                if self.relay is None or not self.relay.was_told(change.value.id, tells):
                    self.tell(change.owner, change.value)
                if self.relay is not None:
                    self.relay.changed(change.owner, change.value)

    def tell(self, owner: str, run: Run) -> None:
        """Tell watchers what a run is now."""
        for watcher in self._watchers.get(owner, ()):
            watcher.note(run)
        for watcher in self._run_watchers.get(run.id, ()):
            watcher.note(run)

    def is_watched(self, owner: str, run_id: str) -> bool:
        """Whether anybody is told of a run."""
        return owner in self._watchers or run_id in self._run_watchers

    @property
    def watched_runs(self) -> Sequence[str]:
        """The IDs of runs that are watched one by one."""
        return list(self._run_watchers)

    @property
    def subscribed_runs(self) -> Sequence[str]:
        """The IDs of runs whose events somebody receives, or will once their commit is answered."""
        return [*self._subscribers, *self._early]

    def break_off(self, run_id: str) -> None:
        """Tell the subscriber of a run that it misses events from now on."""
        if (early := self._early.get(run_id)) is not None:
            early.append(None)
        elif (subscriber := self._subscribers.pop(run_id, None)) is not None:
            subscriber.break_off()

    def break_off_feeds(self) -> None:
        """Tell all who watch an owner that they have missed changes."""
        for watcher in [watcher for watchers in self._watchers.values() for watcher in watchers]:
            watcher.break_off()

    def unsubscribe(self, run_id: str, subscriber: Subscriber) -> None:
        """Send a subscriber no more events."""
        if self._subscribers.get(run_id) is subscriber:
            del self._subscribers[run_id]

    async def get(self, kind: type[T], id: str) -> T:
        """Read an object that must exist, under its lock if something is decided by it."""
        record = await self.store.known(kind, id)
        if record is None:
            raise LookupError(f"the store has no {kind.__name__} {id}, though other objects refer to it")
        return record.value

    async def find(self, kind: type[T], owner: str, id: str) -> Record[T]:
        """Find an object of an owner.

        Raises:
            ApiError: 404: it does not exist, or belongs to another owner.
        """
        record = await self.store.get(kind, id)
        if record is None or record.owner != owner:
            raise not_found(_NAMES[kind], id)
        return record

    async def find_in_thread(
        self, kind: type[MessageOrRun], owner: str, thread_id: str, id: str
    ) -> Record[MessageOrRun]:
        """Find a message or a run of a thread.

        Raises:
            ApiError: 404: there is no such thread, or no such object in it.
        """
        record = await self.store.get(kind, id)
        if record is None or record.owner != owner or record.value.thread_id != thread_id:
            await self.find(Thread, owner, thread_id)
            raise not_found(_NAMES[kind], id)
        return record

    async def page(self, kind: type[PagedT], group: str, query: PageQuery, *, part: str | None = None) -> Page[PagedT]:
        """Read a page of a list.

        Raises:
            ApiError: 400: a cursor is not in the list. (404 would mean that the list does not exist.)
        """
        try:
            records, more = await self.store.page(kind, group, query, part=part)
        except UnknownCursorError as error:
            id = query.after if error.param == "after" else query.before
            message = f"No {_NAMES[kind]} found with id '{id}' to start '{error.param}'."
            raise ApiError(400, message, param=error.param, code="invalid_value") from None
        data = tuple(record.value for record in records)
        return Page(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=more,
            absent=frozenset(),
        )


def _remove(watchers: dict[str, set[Watcher]], key: str, watcher: Watcher) -> None:
    watchers[key].remove(watcher)
    if not watchers[key]:
        del watchers[key]
