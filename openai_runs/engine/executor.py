"""`Executor`: whose turn it is. Starts the legs of runs, and ends runs that are cancelled or out of time.

There is at most one unfinished run in a thread, so a thread's ID stands for its run here.
"""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup
from attrs import define, field

from openai_runs.engine.backends import ModelBackend
from openai_runs.engine.deadlines import Deadlines
from openai_runs.engine.endings import end_run
from openai_runs.engine.errors import ApiError, StoreUnavailableError
from openai_runs.engine.fair_queue import FairQueue
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.leg import Leg, abandon_call
from openai_runs.engine.records import RunState
from openai_runs.engine.requests import model_request
from openai_runs.models.run import Run, RunStatus


@define(eq=False)
class _Active:
    """The unfinished run of a thread."""

    run_id: str
    thread_id: str
    owner: str
    leg: Leg | None = None


@define(eq=False)
class Executor:
    """Executes runs, a limited number at once; the others stay queued, and owners take turns."""

    _ledger: Ledger
    _backend: ModelBackend
    _most: int  # legs at once
    _active: dict[str, _Active] = field(factory=dict, init=False)
    _queue: FairQueue = field(factory=FairQueue, init=False)
    _deadlines: Deadlines = field(init=False)
    _legs: int = field(default=0, init=False)
    _tasks: TaskGroup = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._deadlines = Deadlines(self._ledger.clock, self._expire)

    async def start(self, tasks: TaskGroup) -> None:
        """Take up every unfinished run where it stands, and go on in the tasks of a group."""
        self._tasks = tasks
        for record in await self._ledger.store.unfinished():
            state, run = record.value, await self._ledger.get(Run, record.value.id)
            active = self._active[run.thread_id] = _Active(run.id, run.thread_id, record.owner)
            if run.status is RunStatus.CANCELLING:
                self._end_soon(active, RunStatus.CANCELLED)
            elif state.deadline <= self._ledger.clock.now():
                self._end_soon(active, RunStatus.EXPIRED)
            else:
                self._deadlines.set(run.thread_id, state.deadline)
                if run.status is not RunStatus.REQUIRES_ACTION:
                    self._queue.push(record.owner, run.thread_id)
        tasks.start_soon(self._deadlines.run)
        self._start_legs()

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
        return self._legs + len(self._queue)

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
        self._start_legs()

    def cancel(self, thread_id: str) -> None:
        """Stop the run of a thread, which has been stored as ``cancelling``, and end it soon."""
        active = self._active[thread_id]
        self._queue.discard(active.owner, thread_id)
        if active.leg is not None:  # its backend may take its time to stop: nobody waits for it
            active.leg.abandon()
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

    def _start_legs(self) -> None:
        while self._legs < self._most and self._queue:
            active = self._active[self._queue.pop()]
            active.leg = Leg(
                active.run_id,
                active.thread_id,
                active.owner,
                self._ledger,
                self._backend,
                partial(self._concluded, active),
            )
            self._legs += 1
            self._start(active.leg.carry_out)

    def _concluded(self, active: _Active, status: RunStatus) -> None:
        """Let the next run have the place of one that waits or has ended."""
        if status.is_terminal:
            del self._active[active.thread_id]
            self._deadlines.discard(active.thread_id)
            self._queue.discard(active.owner, active.thread_id)
        if active.leg is not None:
            active.leg = None
            self._legs -= 1
            self._start_legs()

    def _expire(self, thread_id: str) -> None:
        self._end_soon(self._active[thread_id], RunStatus.EXPIRED)

    def _end_soon(self, active: _Active, to: RunStatus) -> None:
        self._start(self._ledger.persist, partial(self._end_unless_ended, active, to))

    def _start(self, function: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
        # If the engine stops, whoever starts next goes on. And a task that comes into a cancelled group from outside
        # may never hear of the cancellation: anyio has stopped telling once all others are shielded from it.
        if not self._tasks.cancel_scope.cancel_called:
            self._tasks.start_soon(function, *arguments)

    async def _end_unless_ended(self, active: _Active, to: RunStatus) -> None:
        async with self._ledger.lock(active.thread_id):
            if self._active.get(active.thread_id) is active:
                await self._end(active, to)

    async def _end(self, active: _Active, to: RunStatus) -> None:
        run = await self._ledger.get(Run, active.run_id)
        state = await self._ledger.get(RunState, active.run_id)
        if run.status is RunStatus.CANCELLING:
            to = RunStatus.CANCELLED
        self._queue.discard(active.owner, active.thread_id)  # or it might get its turn while its end is written
        leg = active.leg
        if leg is not None:
            leg.abandon()
        await end_run(self._ledger, active.owner, run, state, to, progress=None if leg is None else leg.progress)
        if state.handle is not None:
            self._start(abandon_call, self._backend, state.handle)
        self._concluded(active, to)
