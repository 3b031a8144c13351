"""`Executor`: whose turn it is. Starts the turns of runs, and ends runs that are cancelled or out of time.

There is at most one unfinished run in a thread, so a thread's ID stands for its run here.

What goes wrong with a run is that run's end and nobody else's: each task is `contained`, and a run whose turn has
failed is ended by a task of its own. One that cannot even be ended is let go of, so that its thread is free.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs.backends.model_backend import ModelBackend
from openai_runs.engine.deadlines import Deadlines
from openai_runs.engine.endings import end_unfinished, error_of
from openai_runs.engine.errors import ApiError
from openai_runs.engine.fair_queue import FairQueue
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.model_request import model_request
from openai_runs.engine.supervision import contained
from openai_runs.engine.turn import Turn, abandon_call
from openai_runs.errors import StoreUnavailableError
from openai_runs.models.run import LastError, Run, RunStatus
from openai_runs.stores.records import Record, RunState, Unreadable

_logger = logging.getLogger("openai_runs.engine")


@define(eq=False)
class _Active:
    """The unfinished run of a thread."""

    run_id: str
    thread_id: str
    owner: str
    turn: Turn | None = None


@define(eq=False)
class Executor:
    """Executes runs, a limited number at once; the others stay queued, and owners take turns."""

    _ledger: Ledger
    _backend: ModelBackend
    _most: int  # turns at once
    _active: dict[str, _Active] = field(factory=dict, init=False)
    _queue: FairQueue = field(factory=FairQueue, init=False)
    _deadlines: Deadlines = field(init=False)
    _turns: int = field(default=0, init=False)
    _tasks: TaskGroup = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = Deadlines(self._ledger.clock, self._expire)

    async def start(self, tasks: TaskGroup) -> None:
        """Take up every unfinished run where it stands, and go on in the tasks of a group."""
        self._tasks = tasks
        for found in await self._ledger.store.unfinished():
            run_id = found.id if isinstance(found, Unreadable) else found.value.id
            try:
                await self._take_up(found, run_id)
            except StoreUnavailableError:
                raise
            except Exception:  # of this one: the others go on
                _logger.exception("run %s cannot be taken up: it is left as it is", run_id)
        tasks.start_soon(self._deadlines.run)
        self._start_turns()

    async def _take_up(self, found: Record[RunState] | Unreadable, run_id: str) -> None:
        run = await self._ledger.get(Run, run_id)
        if run.thread_id in self._active:
            raise RuntimeError(f"thread {run.thread_id} has another unfinished run")
        active = self._active[run.thread_id] = _Active(run.id, run.thread_id, found.owner)
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

    def refuse_unsupported(self, run: Run, state: RunState) -> None:
        """Have the backend look at a run that is about to be created.

        Raises:
            ApiError: 400: it cannot do what the run asks for.
        """
        refusal = self._backend.refuse(model_request(run, state, (), self._ledger.clock.now()))
        if refusal is not None:
            raise ApiError(400, refusal.message, param=refusal.param, code="unsupported_value")

    @property
    def pending(self) -> int:
        """How many runs execute, or wait for their turn."""
        return self._turns + len(self._queue)

    # The five below are called under the lock of the thread.

    def active_run(self, thread_id: str) -> str | None:
        """The ID of a thread's unfinished run."""
        active = self._active.get(thread_id)
        return None if active is None else active.run_id

    def admit(self, owner: str, run: Run, state: RunState) -> None:
        """Queue a new run, which has been stored."""
        self._active[run.thread_id] = _Active(run.id, run.thread_id, owner)
        self._deadlines.set(run.thread_id, state.deadline)
        self.resume(owner, run.thread_id)

    def resume(self, owner: str, thread_id: str) -> None:
        """Queue the run of a thread again, whose tool outputs have been stored."""
        self._queue.push(owner, thread_id)
        self._start_turns()

    def cancel(self, owner: str, run: Run) -> None:
        """Stop a run, which has been stored as ``cancelling``, and end it soon."""
        active = self._active.get(run.thread_id)
        if active is None:  # let go of, since it could not be ended or taken up; perhaps now it can
            active = self._active[run.thread_id] = _Active(run.id, run.thread_id, owner)
        self._queue.discard(active.owner, active.thread_id)
        if active.turn is not None:  # its backend may take its time to stop: nobody waits for it
            active.turn.abandon()
        self._end_soon(active, RunStatus.CANCELLED)

    async def end_now(self, thread_id: str) -> None:
        """Cancel the run of a thread, if there is one, without the way through ``cancelling``.

        Raises:
            StoreUnavailableError: It is not cancelled yet, but it is going to be.
        """
        if (active := self._active.get(thread_id)) is not None:
            try:
                with anyio.CancelScope(shield=True):  # what is taken out of its turn has to end
                    await self._end(active, RunStatus.CANCELLED)
            except StoreUnavailableError:
                self._end_soon(active, RunStatus.CANCELLED)
                raise

    def _start_turns(self) -> None:
        while self._turns < self._most and self._queue:
            active = self._active[self._queue.pop()]
            active.turn = Turn(
                active.run_id,
                active.thread_id,
                active.owner,
                self._ledger,
                self._backend,
                partial(self._concluded, active),
            )
            self._turns += 1
            self._start(partial(self._leg_failed, active, active.turn), active.turn.carry_out)

    def _concluded(self, active: _Active, status: RunStatus) -> None:
        """Let the next run have the place of one that waits or has ended."""
        if status.is_terminal and self._active.get(active.thread_id) is active:
            del self._active[active.thread_id]
            self._deadlines.discard(active.thread_id)
            self._queue.discard(active.owner, active.thread_id)
        if active.turn is not None:
            active.turn = None
            self._turns -= 1
            self._start_turns()

    def _expire(self, thread_id: str) -> None:
        self._end_soon(self._active[thread_id], RunStatus.EXPIRED)

    def _end_soon(self, active: _Active, to: RunStatus, error: LastError | None = None) -> None:
        end = partial(self._end_unless_ended, active, to, error)
        self._start(partial(self._let_go, active), partial(self._ledger.persist, end))

    def _start(self, failed: Callable[[BaseException], None], work: Callable[[], Awaitable[object]]) -> None:
        # If the engine stops, whoever starts next goes on. And a task that comes into a cancelled group from outside
        # may never hear of the cancellation: anyio has stopped telling once all others are shielded from it.
        if not self._tasks.cancel_scope.cancel_called:
            self._tasks.start_soon(contained, failed, work)

    def _leg_failed(self, active: _Active, turn: Turn, failure: BaseException) -> None:
        self._start(partial(self._let_go, active), partial(self._fail, active, turn, failure))

    async def _fail(self, active: _Active, turn: Turn, failure: BaseException) -> None:
        """End a run whose turn has failed."""
        # A loop that ends cancels all tasks at once, ours without a word to our scopes: let that reach the engine,
        # which then stops us, and the run goes on at the next start.
        await anyio.lowlevel.checkpoint()
        _logger.error("run %s: its execution broke off", active.run_id, exc_info=failure)
        end = partial(self._end_unless_ended, active, RunStatus.FAILED, error_of(failure), turn)
        await self._ledger.persist(end)

    def _let_go(self, active: _Active, failure: BaseException) -> None:
        """Have no more to do with a run that cannot be ended: its thread is free, and its place somebody else's."""
        text = "run %s cannot be ended, and is left as it is until the next start; its thread takes other runs"
        _logger.error(text, active.run_id, exc_info=failure)
        if active.turn is not None:
            active.turn.abandon()
        self._concluded(active, RunStatus.FAILED)

    async def _end_unless_ended(
        self, active: _Active, to: RunStatus, error: LastError | None = None, turn: Turn | None = None
    ) -> None:
        """End a run, unless it has ended; with a turn, unless the run has gone on from that one."""
        async with self._ledger.lock(active.thread_id):
            if self._active.get(active.thread_id) is active and turn in (None, active.turn):
                await self._end(active, to, error)

    async def _end(self, active: _Active, to: RunStatus, error: LastError | None = None) -> None:
        self._queue.discard(active.owner, active.thread_id)  # or it might get its turn while its end is written
        turn = active.turn
        if turn is not None:
            turn.abandon()
        progress = None if turn is None else turn.progress
        try:
            ending = await end_unfinished(self._ledger, active.owner, active.run_id, to, progress=progress, error=error)
        except StoreUnavailableError:
            raise
        except Exception as failure:  # with the run itself, then: there is nothing that it could be ended with
            self._let_go(active, failure)
            return
        if ending.handle is not None:
            self._start(partial(self._not_abandoned, active), partial(abandon_call, self._backend, ending.handle))
        self._concluded(active, to)

    def _not_abandoned(self, active: _Active, failure: BaseException) -> None:
        _logger.error("run %s has ended, but its model call could not be abandoned", active.run_id, exc_info=failure)
