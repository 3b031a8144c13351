"""`Executor`: schedules the turns of runs, and ends runs that are cancelled or past their deadline.

A thread has at most one unfinished run, so a run is identified by its thread's ID here.

Where servers share the store, the store says which runs are executed here: a run is claimed in the commit that queues
it, if there is a place for it, and otherwise by whoever has one.

A failure ends only the run that it happened in: each task runs under `supervise`, and a run whose turn has failed is
ended by another task. A run that cannot even be ended is given up, so that its thread is free for other runs.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import anyio.lowlevel
from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs._finishing import finish
from openai_runs._supervision import supervise
from openai_runs.backends.capabilities import search_parameter, unserved_window
from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine.deadlines import Deadlines
from openai_runs.engine.endings import end_unfinished, last_error_for
from openai_runs.engine.errors import ApiError
from openai_runs.engine.fair_queue import FairQueue
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.model_request import model_request
from openai_runs.engine.replicas import Follow, Replicas, waiting
from openai_runs.engine.turn import ShowImages, Turn, UseStores, stop_call
from openai_runs.engine.writing import Writing
from openai_runs.errors import StoreDataError, StoreUnavailableError
from openai_runs.models.run import LastError, Run, RunStatus
from openai_runs.stores.records import Record, RunState, Unreadable
from openai_runs.stores.sharing import ClaimedRun

_logger = logging.getLogger("openai_runs.engine")


@define(eq=False)
class _Active:
    """The unfinished run of a thread."""

    run_id: str
    thread_id: str
    owner: str
    since: float  # when it was last queued, started or cancelled
    turn: Turn | None = None
    has_place: bool = False  # whether its turn is one of those that execute at once
    counts: bool = True  # whether it is one of its owner's active runs


@define(eq=False)
class Executor:
    """Executes runs, a limited number at once; the others stay queued, and owners are served in rotation.

    While another owner waits, no owner gets more than its share of the places. The turn of a run with a completion
    window gives its place to others as soon as the endpoint has taken its call: what is left is to wait for hours.
    """

    _ledger: Ledger
    _backend: ModelBackend
    _use_stores: UseStores
    _show_images: ShowImages
    _max_turns: int  # how many turns execute at once
    _share: int  # how many of them one owner may have while another one waits
    _why_no_index: str = ""  # see `Engine`
    _active: dict[str, _Active] = field(factory=dict, init=False)
    _active_runs: Counter[str] = field(factory=Counter, init=False)  # by owner
    _queue: FairQueue = field(init=False)
    _deadlines: Deadlines = field(init=False)
    _running_turns: Counter[str] = field(factory=Counter, init=False)  # by owner
    _tasks: TaskGroup = field(init=False)
    _replicas: Replicas | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self._ledger.sharing is not None:
            self._replicas = Replicas(self._ledger, self._ledger.sharing, self)
            self._ledger.keeps = self._active.__contains__
        self._queue = FairQueue(lambda owner: self._running_turns[owner] >= self._share)
        self._deadlines = Deadlines(self._ledger.clock, self._expire)

    async def start(self, tasks: TaskGroup) -> None:
        """Resume every unfinished run in the store, and start the executor's tasks in ``tasks``."""
        self._tasks, resumed = tasks, 0
        tasks.start_soon(self._deadlines.run)
        if self._replicas is not None:
            self._replicas.start(tasks)
            return
        for found in await self._ledger.store.unfinished():
            run_id = found.id if isinstance(found, Unreadable) else found.value.id
            try:
                await self._resume_stored(found, run_id)
                resumed += 1
            except StoreUnavailableError:  # no fault of this run: the engine does not start without its store
                raise
            except Exception:  # a damaged run must not keep the others from being resumed
                _logger.exception("run %s cannot be resumed, and is left as it is", run_id)
        if resumed:
            _logger.info("resuming %d unfinished run%s", resumed, "" if resumed == 1 else "s")
        self._start_turns()

    # What follows is of use where servers share the store.

    @property
    def room(self) -> int:
        """How many runs more can execute now."""
        return self._max_turns - self.pending

    @property
    def run_ids(self) -> Collection[str]:
        """The IDs of the runs that are executed here."""
        return {active.run_id for active in self._active.values()}

    def executes(self, thread_id: str) -> bool:
        """Whether the run of a thread is executed here."""
        return thread_id in self._active

    async def take(self, claimed: ClaimedRun) -> None:
        """Execute a run that was claimed. Called under the lock of the thread, if the claim holds."""
        found: Record[RunState] | Unreadable | None
        try:
            found = await self._ledger.store.get(RunState, claimed.run_id)
        except StoreDataError as error:
            found = Unreadable(claimed.owner, claimed.run_id, error.message)
        if found is not None and claimed.thread_id not in self._active:
            await self._resume_stored(found, claimed.run_id)
            self._start_turns()

    def look_again(self, thread_id: str) -> None:
        """Have the run of a thread looked at: another server has changed it."""
        if (active := self._active.get(thread_id)) is not None:
            look = partial(self._ledger.retry_until_stored, partial(self._look_again, active))
            self._start(partial(self._give_up, active), look)

    def let_go(self, thread_id: str) -> None:
        """Stop the run of a thread, if it is executed here: another server goes on with it."""
        if (active := self._active.get(thread_id)) is not None:
            self._queue.discard(active.owner, thread_id)
            self._let_go(active)

    def let_all_go(self) -> Sequence[str]:
        """Stop all that is executed here: other servers go on with it. Returns the threads that were executed."""
        everything = list(self._active.values())
        for active in everything:  # first of all: none of them is to take the place of another one
            self._queue.discard(active.owner, active.thread_id)
        for active in everything:
            self._let_go(active)
        return [active.thread_id for active in everything]

    async def hand_over(self) -> None:
        """Let other servers execute what is executed here, if there are any."""
        if self._replicas is not None:
            await self._replicas.hand_over()

    async def _look_again(self, active: _Active) -> None:
        async with self._ledger.lock(active.thread_id):
            if self._active.get(active.thread_id) is not active or self._replicas is None:
                return
            record = await self._ledger.store.get(Run, active.run_id)
            status = None if record is None else record.value.status
            if status is None or status.is_terminal or not self._replicas.has_claim(active.thread_id, active.run_id):
                self._let_go(active)
            elif status is RunStatus.CANCELLING:
                await self._end(active, RunStatus.CANCELLED)

    def _let_go(self, active: _Active) -> None:
        if active.turn is not None:
            active.turn.abandon()
        self._ledger.break_off(active.run_id)
        self._ledger.note_left(active.run_id)
        self._release(active, RunStatus.CANCELLED)

    async def _resume_stored(self, found: Record[RunState] | Unreadable, run_id: str) -> None:
        run = await self._ledger.get(Run, run_id)
        if run.thread_id in self._active:
            raise RuntimeError(f"thread {run.thread_id} has another unfinished run")
        active = self._new_active(run, found.owner)
        for observer in self._ledger.observers:
            observer.run_resumed(run, found.value if isinstance(found, Record) else None)
        if run.status.is_terminal or run.status is RunStatus.CANCELLING:
            self._end_soon(active, RunStatus.CANCELLED)
        elif isinstance(found, Unreadable):
            self._end_soon(active, RunStatus.FAILED, LastError(code="server_error", message=found.reason))
        elif found.value.deadline <= self._ledger.clock.now():
            self._end_soon(active, RunStatus.EXPIRED)
        else:
            self._deadlines.set(run.thread_id, found.value.deadline)
            if run.status is not RunStatus.REQUIRES_ACTION:
                self._queue.push(found.owner, run.thread_id)
            elif self._replicas is not None:
                await self._ledger.commit([waiting(run.id)], then=partial(self._release, active, run.status))

    def refuse_unsupported(self, run: Run, state: RunState) -> None:
        """Ask the backend whether it can execute a run that is about to be created.

        Raises:
            ApiError: 400: it does not support what the run asks for.
        """
        request = model_request(run, state, (), self._ledger.clock.now())
        refusal = unserved_window(run.completion_window, self._backend) or self._backend.refuse(request)
        if refusal is not None:
            hint = f" {self._why_no_index}" if self._why_no_index and refusal.param == search_parameter(request) else ""
            raise ApiError(400, refusal.message + hint, param=refusal.param, code="unsupported_value")

    @property
    def pending(self) -> int:
        """How many runs execute or are queued; those that only wait for a completion window do not count."""
        return self._running_turns.total() + len(self._queue)

    @property
    def load(self) -> tuple[int, int]:
        """The same, apart: how many execute, and how many are queued."""
        return self._running_turns.total(), len(self._queue)

    def active_since(self, run: Run) -> float | None:
        """When a run was last queued, started or cancelled, in Unix time; ``None`` if it is not active."""
        active = self._active.get(run.thread_id)
        return active.since if active is not None and active.run_id == run.id else None

    def writing(self, run: Run) -> Sequence[Writing]:
        """What the model is writing for a run now."""
        active = self._active.get(run.thread_id)
        return () if active is None or active.run_id != run.id or active.turn is None else active.turn.writing

    def _new_active(self, run: Run, owner: str) -> _Active:
        active = self._active[run.thread_id] = _Active(run.id, run.thread_id, owner, self._ledger.clock.now())
        self._active_runs[owner] += 1
        return active

    async def active_runs(self, owner: str) -> int:
        """How many unfinished runs an owner has.

        Raises:
            StoreUnavailableError: Servers share the store, and it cannot be read now.
        """
        if self._replicas is not None:
            return len(await self._replicas.unfinished_of(owner))
        return self._active_runs[owner]

    def active_runs_here(self, owner: str) -> int:
        """The same, as far as this server executes them."""
        return self._active_runs[owner]

    def note_end(self, run: Run) -> None:
        """Count a run no longer that has ended in the store: its owner may know it before all is done here."""
        if (active := self._active.get(run.thread_id)) is not None and active.run_id == run.id:
            self._stop_counting(active)

    def _stop_counting(self, active: _Active) -> None:
        if active.counts:
            active.counts = False
            self._active_runs[active.owner] -= 1
            if not self._active_runs[active.owner]:
                del self._active_runs[active.owner]

    # The six methods below are called under the lock of the thread.

    def active_run(self, thread_id: str) -> str | None:
        """The ID of a thread's unfinished run, if it has one."""
        if self._replicas is not None:
            return self._replicas.active_run(thread_id)
        active = self._active.get(thread_id)
        return None if active is None else active.run_id

    async def unfinished_of(self, owner: str) -> Sequence[str]:
        """The IDs of an owner's unfinished runs, the oldest first."""
        if self._replicas is not None:
            return await self._replicas.unfinished_of(owner)
        return [active.run_id for active in self._active.values() if active.owner == owner]

    def queueing(self, owner: str, run: Run, state: RunState, *, is_read: bool) -> Follow:
        """Queue a run that is new, or has got its tool outputs.

        Args:
            owner: Whose run.
            run: As it is to be stored.
            state: Likewise.
            is_read: Whether somebody receives its events here.

        Returns:
            What belongs to the same commit, and what follows from that.
        """
        admit = partial(self.admit, owner, run, state)
        if self._replicas is not None:
            return self._replicas.queueing(run, admit, is_read=is_read)
        return Follow((), admit)

    def cancelling(self, owner: str, run: Run) -> Follow:
        """Stop a run, which is to be stored as ``cancelling``; see `queueing`."""
        cancel = partial(self._cancel, owner, run)
        return Follow((), cancel) if self._replicas is None else self._replicas.cancelling(run, cancel)

    def admit(self, owner: str, run: Run, state: RunState) -> None:
        """Queue a run here; it must be stored already."""
        if (active := self._active.get(run.thread_id)) is None:
            active = self._new_active(run, owner)
        active.since = self._ledger.clock.now()
        self._deadlines.set(run.thread_id, state.deadline)
        self._queue.push(owner, run.thread_id)
        self._start_turns()

    def _cancel(self, owner: str, run: Run) -> None:
        active = self._active.get(run.thread_id)
        if active is None:  # given up earlier, as it could not be ended or resumed; perhaps now it can
            active = self._new_active(run, owner)
        active.since = self._ledger.clock.now()
        self._queue.discard(active.owner, active.thread_id)
        if active.turn is not None:  # the run ends without waiting for its backend, which may be slow to stop
            active.turn.abandon()
        self._end_soon(active, RunStatus.CANCELLED)

    async def end_now(self, owner: str, thread_id: str) -> None:
        """Cancel the run of a thread, if it has one, without the status ``cancelling`` in between.

        Raises:
            StoreUnavailableError: It is not cancelled yet; a task will do so when the store is available.
        """
        if (active := self._active.get(thread_id)) is not None:
            await finish(self._end_now(active))  # once its turn is abandoned, the run must end
        elif self._replicas is not None:
            await self._replicas.end_now(owner, thread_id)

    async def _end_now(self, active: _Active) -> None:
        try:
            await self._end(active, RunStatus.CANCELLED)
        except StoreUnavailableError:
            self._end_soon(active, RunStatus.CANCELLED)
            raise

    def _start_turns(self) -> None:
        while self._running_turns.total() < self._max_turns and (thread_id := self._queue.pop()) is not None:
            active = self._active[thread_id]
            active.turn = Turn(
                active.run_id,
                active.thread_id,
                active.owner,
                self._ledger,
                self._backend,
                self._use_stores,
                self._show_images,
                partial(self._release, active),
                partial(self._free_place, active),
                partial(self.look_again, active.thread_id),
            )
            active.since = self._ledger.clock.now()
            active.has_place = True
            self._running_turns[active.owner] += 1
            self._start(partial(self._turn_failed, active, active.turn), active.turn.execute)

    def _release(self, active: _Active, status: RunStatus) -> None:
        """After a turn or a run has ended: drop an ended run, and start queued ones in the free places."""
        # Where the store is shared, nobody executes a run that waits for tool outputs.
        is_over = status.is_terminal or self._replicas is not None
        if is_over and self._active.get(active.thread_id) is active:
            del self._active[active.thread_id]
            self._stop_counting(active)
            self._deadlines.discard(active.thread_id)
            self._queue.discard(active.owner, active.thread_id)
            if self._replicas is not None:
                self._replicas.note_release(active.run_id)
        active.turn = None
        self._free_place(active)

    def _free_place(self, active: _Active) -> None:
        """Start queued turns in the place of one that does not need it any more."""
        if active.has_place:
            active.has_place = False
            self._running_turns[active.owner] -= 1
            if not self._running_turns[active.owner]:
                del self._running_turns[active.owner]
        self._start_turns()  # also if there was no place: one owner less may be waiting
        if self._replicas is not None:
            self._replicas.note_room()

    def _expire(self, thread_id: str) -> None:
        self._end_soon(self._active[thread_id], RunStatus.EXPIRED)

    def _end_soon(self, active: _Active, to: RunStatus, error: LastError | None = None) -> None:
        end = partial(self._end_unless_ended, active, to, error)
        self._start(partial(self._give_up, active), partial(self._ledger.retry_until_stored, end))

    def _start(self, on_failure: Callable[[BaseException], None], work: Callable[[], Awaitable[object]]) -> None:
        # Not in an engine that stops: the next one on the store resumes the run. Also, a task added from outside to a
        # cancelled group may never be cancelled: anyio stops delivering once all other tasks are shielded.
        if not self._tasks.cancel_scope.cancel_called:
            self._tasks.start_soon(supervise, on_failure, work)

    def _turn_failed(self, active: _Active, turn: Turn, failure: BaseException) -> None:
        self._start(partial(self._give_up, active), partial(self._fail, active, turn, failure))

    async def _fail(self, active: _Active, turn: Turn, failure: BaseException) -> None:
        """End a run whose turn has failed."""
        # `asyncio.run` cancels all tasks at its end, and not through our scopes. After this checkpoint the engine has
        # been cancelled too, and has cancelled us: the run has not failed, and the next start resumes it.
        await anyio.lowlevel.checkpoint()
        _logger.error("run %s: its execution failed", active.run_id, exc_info=failure)
        end = partial(self._end_unless_ended, active, RunStatus.FAILED, last_error_for(failure), turn)
        await self._ledger.retry_until_stored(end)

    def _give_up(self, active: _Active, failure: BaseException) -> None:
        """Stop managing a run that cannot be ended, so that its thread and its place are free for other runs."""
        text = "run %s cannot be ended, and is left as it is until the next start; its thread accepts other runs"
        _logger.error(text, active.run_id, exc_info=failure)
        if active.turn is not None:
            active.turn.abandon()
        self._release(active, RunStatus.FAILED)

    async def _end_unless_ended(
        self, active: _Active, to: RunStatus, error: LastError | None = None, turn: Turn | None = None
    ) -> None:
        """End a run, unless it has ended. If a turn is given: only while that is the run's current turn."""
        async with self._ledger.lock(active.thread_id):
            if self._active.get(active.thread_id) is active and turn in (None, active.turn):
                await self._end(active, to, error)

    async def _end(self, active: _Active, to: RunStatus, error: LastError | None = None) -> None:
        # Otherwise its next turn might start while its end is being committed.
        self._queue.discard(active.owner, active.thread_id)
        turn = active.turn
        if turn is not None:
            turn.abandon()
        progress = None if turn is None else turn.progress
        try:
            ending = await end_unfinished(self._ledger, active.owner, active.run_id, to, progress=progress, error=error)
        except StoreUnavailableError:  # no fault of this run: the caller tries again
            raise
        except Exception as failure:  # then it concerns the run itself: without that, nothing can be ended
            self._give_up(active, failure)
            return
        if ending.handle is not None:
            self._start(partial(self._stop_call_failed, active), partial(stop_call, self._backend, ending.handle))
        self._release(active, to)

    def _stop_call_failed(self, active: _Active, failure: BaseException) -> None:
        _logger.error(
            "run %s has ended, but its model call could not be stopped at the endpoint", active.run_id, exc_info=failure
        )
