"""The API's operations on runs, on the server's side of `openai_runs.services.runs`."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

import anyio
from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs._slices import in_slices
from openai_runs.engine.api_events import ApiEvent, Subscriber, Watcher
from openai_runs.engine.deciding import decided
from openai_runs.engine.endings import end_calls
from openai_runs.engine.errors import ApiError
from openai_runs.engine.executor import Executor
from openai_runs.engine.guard import Guard
from openai_runs.engine.idempotency import IdempotencyKey, used_by
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.new_objects import Body, new_messages, new_run, with_metadata, with_new_window
from openai_runs.engine.resources.messages import check_message_limit
from openai_runs.engine.thread_stores import ThreadStores, changes_with, in_turn, then_of
from openai_runs.engine.turn_output import with_calls
from openai_runs.engine.writing import Writing
from openai_runs.lifecycle import CANCELLABLE, moved
from openai_runs.models.assistant import Assistant
from openai_runs.models.page import Page
from openai_runs.models.run import Run, RunStatus
from openai_runs.models.run_step import RunStep
from openai_runs.models.thread import Thread
from openai_runs.stores.records import NO_USAGE, Change, PageQuery, Record, RunState
from openai_runs.stores.store import ALL_RUNS, part_for

_MAX_OUTPUT_BYTES: Final = 512 * 1024  #: all tool outputs together must be smaller

_MAX_SHOWN_CHARACTERS: Final = 10_000  #: of call IDs in an error message


@define
class Runs:
    """The runs of each thread; at most one of them is active.

    A ``subscriber`` receives a run's events, from that operation until `unsubscribe`. A run has one at a time.
    """

    _ledger: Ledger
    _executor: Executor
    _stores: ThreadStores
    _guard: Guard
    _expires_after: float

    @property
    def pending(self) -> int:
        """How many runs execute or are queued; those that wait for tool outputs do not count."""
        return self._executor.pending

    def active_since(self, run: Run) -> float | None:
        """When a run was last queued, started or cancelled, in Unix time; ``None`` if it is not active."""
        return self._executor.active_since(run)

    @decided
    async def create(
        self,
        owner: str,
        thread_id: str,
        body: Body,
        subscriber: Subscriber | None = None,
        *,
        shows_search_content: bool = False,
        key: IdempotencyKey | None = None,
    ) -> Run:
        """Operation ``createRun``. Refused while another run is active, as the hosted API does."""
        async with self._guard.new_run(owner), self._ledger.lock(thread_id):
            thread = (await self._ledger.find(Thread, owner, thread_id)).value
            assistant = (await self._ledger.find(Assistant, owner, body["assistant_id"])).value
            if (run_id := self._executor.active_run(thread_id)) is not None:
                raise ApiError(400, f"Thread {thread_id} already has an active run {run_id}.")
            now = self._ledger.clock.now()
            added = body.get("additional_messages") or ()
            most = self._guard.most_messages(owner)
            await check_message_limit(self._ledger, thread_id, len(added), most, "additional_messages")
            messages = await in_slices(new_messages(added, thread_id, now))
            await self._guard.check_bytes(owner, messages)
            thread, store = await self._stores.for_messages(owner, thread, added)
            run, state = new_run(
                body, thread, assistant, now, self._expires_after, shows_search_content=shows_search_content
            )
            self._executor.refuse_unsupported(run, state)
            queue = self._executor.queueing(owner, run, state, is_read=subscriber is not None)
            created: list[Change] = [Record(owner, value) for value in (*messages, run, state)]
            await self._ledger.commit(
                [*created, *queue.changes, *changes_with(owner, thread, store), *used_by(key, owner, run, now)],
                run.id,
                [ApiEvent("thread.run.created", run), ApiEvent("thread.run.queued", run)],
                subscriber,
                then=partial(in_turn, then_of(store), queue.then),
            )
        return run

    async def retrieve(self, owner: str, thread_id: str, run_id: str, *, unless_in: Collection[str] = ()) -> Run:
        """Operation ``getRun``.

        Args:
            owner: Whose run.
            thread_id: Its thread.
            run_id: The run.
            unless_in: Beyond the API: wait while it has one of these statuses, for as long as that takes.
        """
        run = (await self._ledger.find_in_thread(Run, owner, thread_id, run_id)).value
        if run.status not in unless_in:
            return run
        latest = _Latest()
        self._ledger.watch_run(run_id, latest)
        try:  # it may have changed meanwhile
            run = (await self._ledger.find_in_thread(Run, owner, thread_id, run_id)).value
            while run.status in unless_in:
                run = await latest.take()
        finally:
            self._ledger.unwatch_run(run_id, latest)
        return run

    @decided
    async def update(self, owner: str, thread_id: str, run_id: str, body: Body) -> Run:
        """Operation ``modifyRun``: its metadata."""
        async with self._ledger.lock(thread_id):
            run = with_metadata((await self._ledger.find_in_thread(Run, owner, thread_id, run_id)).value, body)
            await self._ledger.commit([Record(owner, run)])
        return run

    async def list(self, owner: str, thread_id: str, query: PageQuery) -> Page[Run]:
        """Operation ``listRuns``."""
        await self._ledger.find(Thread, owner, thread_id)
        return await self._ledger.page(Run, thread_id, query)

    async def list_all(self, owner: str, query: PageQuery) -> Page[Run]:
        """Beyond the API: the owner's runs on all threads."""
        return await self._ledger.page(Run, "", query, part=part_for(owner, ALL_RUNS))

    async def find(self, owner: str, run_id: str) -> Run:
        """Beyond the API: a run without the ID of its thread."""
        return (await self._ledger.find(Run, owner, run_id)).value

    async def watch(self, owner: str, watcher: Watcher) -> None:
        """Beyond the API: send a watcher the owner's unfinished runs, then each run that changes, until `unwatch`."""
        told = _Told()
        self._ledger.watch(owner, watcher)  # first: what changes meanwhile is not missed
        self._ledger.watch(owner, told)
        try:
            for run_id in await self._executor.unfinished_of(owner):
                record = await self._ledger.store.get(Run, run_id)
                # Its thread may have been deleted meanwhile, or the run been told, which may be newer than this.
                if record is not None and run_id not in told.ids:
                    watcher.note(record.value)
        finally:
            self._ledger.unwatch(owner, told)

    def unwatch(self, owner: str, watcher: Watcher) -> None:
        """Send a watcher nothing more."""
        self._ledger.unwatch(owner, watcher)

    async def watch_run(self, run: Run, watcher: Watcher) -> None:
        """Beyond the API: send a watcher a run as it is now, and whenever it changes, until `unwatch_run`."""
        self._ledger.watch_run(run.id, watcher)  # first, as in `watch`
        record = await self._ledger.store.get(Run, run.id)
        if record is not None:
            watcher.note(record.value)

    def unwatch_run(self, run: Run, watcher: Watcher) -> None:
        """Send a watcher nothing more."""
        self._ledger.unwatch_run(run.id, watcher)

    def writing(self, run: Run) -> Sequence[Writing]:
        """Beyond the API: what the model is writing for a run now, with the beginning; see `Writing`."""
        return self._executor.writing(run)

    @decided
    async def cancel(self, owner: str, thread_id: str, run_id: str) -> Run:
        """Operation ``cancelRun``. The run is returned as ``cancelling``; it becomes ``cancelled`` soon after."""
        async with self._ledger.lock(thread_id):
            run = (await self._ledger.find_in_thread(Run, owner, thread_id, run_id)).value
            if run.status not in CANCELLABLE:
                raise ApiError(400, f"Cannot cancel run with status '{run.status}'.")
            run = moved(run, RunStatus.CANCELLING, required_action=None)
            cancelling = ApiEvent("thread.run.cancelling", run)
            stop = self._executor.cancelling(owner, run)
            await self._ledger.commit([Record(owner, run), *stop.changes], run.id, [cancelling], then=stop.then)
        return run

    @decided
    async def submit_tool_outputs(
        self,
        owner: str,
        thread_id: str,
        run_id: str,
        outputs: Sequence[Body],
        subscriber: Subscriber | None = None,
        *,
        key: IdempotencyKey | None = None,
    ) -> Run:
        """Operation ``submitToolOuputsToRun``: one output for each pending call."""
        async with self._ledger.lock(thread_id):
            run = (await self._ledger.find_in_thread(Run, owner, thread_id, run_id)).value
            if run.status is not RunStatus.REQUIRES_ACTION:
                raise ApiError(400, f'Runs in status "{run.status}" do not accept tool outputs.')
            output_of = _outputs_by_id(outputs, [call.id for call in run.pending_tool_calls])
            state = await self._ledger.get(RunState, run_id)
            step = with_calls(await self._ledger.get(RunStep, state.steps[0]), run.pending_tool_calls, output_of)
            usage = state.step_usage or NO_USAGE
            changes, events = end_calls(self._ledger, owner, step, to=RunStatus.COMPLETED, usage=usage)
            now = self._ledger.clock.now()
            run = moved(run, RunStatus.QUEUED, required_action=None)
            run, state = with_new_window(run, evolve(state, steps=(), step_usage=None), now, self._expires_after)
            queue = self._executor.queueing(owner, run, state, is_read=subscriber is not None)
            await self._ledger.commit(
                [
                    *changes,
                    Record(owner, run),
                    Record(owner, state),
                    *queue.changes,
                    *used_by(key, owner, run, now),
                ],
                run.id,
                [*events, ApiEvent("thread.run.queued", run)],
                subscriber,
                then=queue.then,
            )
        return run

    def unsubscribe(self, run_id: str, subscriber: Subscriber) -> None:
        """Send a subscriber no more events."""
        self._ledger.unsubscribe(run_id, subscriber)


@define(eq=False)
class _Told:
    """The runs that have changed while somebody begins to watch."""

    ids: set[str] = field(factory=set, init=False)

    def note(self, run: Run) -> None:
        self.ids.add(run.id)

    def break_off(self) -> None:
        """Nothing to do: whoever begins to watch is told so, too."""


@define(eq=False)
class _Latest:
    """The latest snapshot of a run, for one who waits for it."""

    _run: Run | None = field(default=None, init=False)
    _arrival: anyio.Event = field(factory=anyio.Event, init=False)

    def note(self, run: Run) -> None:
        self._run = run
        self._arrival.set()

    def break_off(self) -> None:
        """Nothing to do: who watches one run is told again what that is."""

    async def take(self) -> Run:
        while (run := self._run) is None:
            await self._arrival.wait()
        self._run, self._arrival = None, anyio.Event()
        return run


def _outputs_by_id(outputs: Sequence[Body], expected: Sequence[str]) -> Mapping[str, str]:
    """Check tool outputs, and return them by call ID.

    Raises:
        ApiError: 400: an output is missing, unexpected or duplicated, or they are too large.
    """
    got = [output.get("tool_call_id") or "" for output in outputs]
    if sorted(got) != sorted(expected):
        shown = str(got[: len(expected) + 1])  # enough to see the mistake, however many were sent
        shown = shown if len(shown) <= _MAX_SHOWN_CHARACTERS else f"{shown[:_MAX_SHOWN_CHARACTERS]}…"
        raise ApiError(400, f"Expected tool outputs for call_ids {list(expected)}, got {shown}")
    output_of = {id: output.get("output") or "" for id, output in zip(got, outputs, strict=True)}
    if sum(len(text.encode(errors="surrogatepass")) for text in output_of.values()) >= _MAX_OUTPUT_BYTES:
        message = "'tool_outputs' too large: the combined tool outputs must be less than 512kb."
        raise ApiError(400, message, param="tool_outputs", code="invalid_value")
    return output_of
