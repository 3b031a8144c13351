"""`Turn`: one model call of a run, from ``queued`` to ``requires_action`` or to the run's end.

Every change of a run is made under the lock of its thread, after reading the run again: in between, a client may have
changed its metadata or cancelled it, or it may have expired. A turn whose run was ended like that is *abandoned*: it
publishes and changes nothing more, even if its backend continues.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

import anyio
import anyio.lowlevel
from attrs import define, field

from openai_runs._evolving import evolve
from openai_runs.backends.capabilities import unserved_window
from openai_runs.backends.model_backend import (
    AnnotationAdded,
    BackendEvent,
    Detached,
    Finished,
    FinishReason,
    HostedToolCall,
    ModelBackend,
    ModelRequest,
    RefusalChunk,
    Replay,
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.backends.replay import with_replay, without_replay
from openai_runs.engine.api_events import ApiEvent
from openai_runs.engine.before_waiting import BeforeWaiting
from openai_runs.engine.endings import Changeset, deletions_of_unused, end_message, end_run
from openai_runs.engine.errors import AbandonedError, ApiError
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.model_request import model_request
from openai_runs.engine.observer import error_code, executing, model_call
from openai_runs.engine.replicas import waiting
from openai_runs.engine.turn_ledger import TurnLedger
from openai_runs.engine.turn_output import (
    MessageDraft,
    ToolCallsDraft,
    TurnProgress,
    add_usage,
    ended_step,
    hosted_delta,
    new_message_step,
    new_tool_step,
    shown_step,
    started_events,
    usage_of,
    with_calls,
)
from openai_runs.engine.writing import Writing
from openai_runs.errors import BackendError, HistoryTooLargeError, StoreError, StoreUnavailableError
from openai_runs.lifecycle import moved
from openai_runs.models.message import Annotation, FileCitation, FilePath, Message
from openai_runs.models.model import Unknown
from openai_runs.models.run import (
    LastError,
    RequiredAction,
    Run,
    RunIncompleteDetails,
    RunStatus,
    SubmitToolOutputs,
)
from openai_runs.models.run_step import CodeInterpreterCall, FileSearchCall, RunStep, RunStepStatus, ToolCalls
from openai_runs.models.tool import Tool, ToolResources
from openai_runs.stores.records import NO_USAGE, Change, Record, RunState
from openai_runs.stores.worked_for import work_for

_logger = logging.getLogger("openai_runs.engine")


_FINISH_REASONS: Final = get_args(FinishReason)
_EXECUTING: Final = (RunStatus.QUEUED, RunStatus.IN_PROGRESS)


#: Checks the vector stores that a run of an owner searches with its tools; see `Ingestion.use_in_run`.
UseStores: TypeAlias = Callable[[str, Iterable[Tool], ToolResources | None], Awaitable[None]]


class ShowImages(Protocol):
    """Puts the uploaded images of an owner into a conversation; see `Images.shown`."""

    async def __call__(
        self, owner: str, items: Sequence[Message | RunStep], /, *, endpoint_has_files: bool
    ) -> Sequence[Message | RunStep]:
        """See `Images.shown`."""
        ...


@define(eq=False)
class Turn:
    """One model call of a run."""

    run_id: str
    thread_id: str
    owner: str
    _ledger: Ledger
    _backend: ModelBackend
    _use_stores: UseStores
    _show_images: ShowImages
    _on_finished: Callable[[RunStatus], None]  # called under the lock, with the run's new status
    _on_waiting: Callable[[], None]  # called under the lock, once there is only to wait for a completion window
    _on_changed: Callable[[], None]  # called once another server has cancelled the run, or ended it
    _lock: AbstractAsyncContextManager[object] = field(
        init=False
    )  # of the thread; held on to, or each transition would make it anew
    _own: TurnLedger = field(init=False)
    _run: Run = field(init=False)  # as it was at the start; only what never changes of it is used
    progress: TurnProgress = field(factory=TurnProgress, init=False)
    _scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    _is_abandoned: bool = field(default=False, init=False)
    _has_waited: bool = field(default=False, init=False)  # for the model, while there are several owners
    _handle: str | None = field(default=None, init=False)  # of a call that continues at the endpoint without us
    _used_ids: set[str] = field(factory=set, init=False)  # of the run's earlier tool calls

    def __attrs_post_init__(self) -> None:
        self._lock = self._ledger.lock(self.thread_id, is_own=True)
        self._own = TurnLedger(self._ledger, self.owner, self.run_id, self._check)

    @property
    def writing(self) -> Sequence[Writing]:
        """What the model is writing, unless nobody has been told of that yet."""
        drafts = self.progress.message_draft, self.progress.calls_draft
        return [each for draft in drafts if draft is not None and self._own.is_stored for each in draft.writing]

    def abandon(self) -> None:
        """Stop the turn: it publishes and changes nothing more. The run is left to the caller."""
        self._is_abandoned = True
        self._scope.cancel()

    async def execute(self) -> None:
        """Execute the turn. Returns when the run requires action, has ended, or the turn was abandoned.

        Raises:
            BaseException: The turn failed, and the caller must end the run. Any exception of a backend, a store or a
                subscriber may be raised here, ``CancelledError`` too.
        """
        # Not for whoever has started it, which may be somebody whose run has ended.
        work_for(self.owner if self._ledger.going_on.is_shared else "")
        with executing(self._ledger.observers, self.run_id), self._scope:
            try:
                run, state = await self._ledger.retry_until_stored(self._start)
                self._handle = state.handle
                error = await self._call_model(run, state)
                await self._ledger.retry_until_stored(partial(self._finish, error))
                if error is not None and self._handle is not None:
                    await stop_call(self._backend, self._handle)
            except AbandonedError:
                pass  # the run is left to the caller of `abandon`

    def _check(self) -> None:
        if self._is_abandoned:  # needed although the scope is cancelled: a backend may have shielded us from that
            raise AbandonedError

    async def _read(self) -> tuple[Run, RunState]:
        self._check()
        if self._ledger.sharing is None:
            return await self._own.read()
        try:
            run, state = await self._own.read()
        except LookupError:  # it has ended, or its thread was deleted
            run = None
        if run is None or run.status not in _EXECUTING:
            self._on_changed()
            raise AbandonedError
        return run, state

    async def _start(self) -> tuple[Run, RunState]:
        async with self._lock:
            self._run, state = await self._read()
            self.progress.reusable_steps = [await self._ledger.get(RunStep, id) for id in state.steps]
            return self._run, state

    async def _store(self) -> None:
        """Store what is held, since the turn has to wait now."""
        if not self._own.is_stored:
            await self._ledger.retry_until_stored(self._commit_held)

    async def _commit_held(self) -> None:
        async with self._lock:
            await self._read()
            await self._commit([])

    async def _call_model(self, run: Run, state: RunState) -> LastError | None:
        # Refused when a run is created; here a server with another backend has taken over a run of the one before.
        if (refusal := unserved_window(run.completion_window, self._backend)) is not None:
            return LastError(code="invalid_prompt", message=refusal.message)
        try:
            request = await self._ledger.retry_until_stored(partial(self._read_request, run, state))
        except (ApiError, HistoryTooLargeError) as error:
            return LastError(code="invalid_prompt", message=error.message)
        if request.max_prompt_tokens is not None and request.max_prompt_tokens <= 0:
            self.progress.reason = "max_prompt_tokens"
            return None
        if request.max_completion_tokens is not None and request.max_completion_tokens <= 0:
            self.progress.reason = "max_tokens"
            return None
        try:
            await self._read_events(request)
        except BackendError as error:
            return LastError(code=error_code(error), message=str(error.message))
        except (AbandonedError, StoreError):  # these are not failures of the backend
            raise
        except Exception:
            # If we are cancelled, the error is only the backend's reaction to that.
            await anyio.lowlevel.checkpoint_if_cancelled()
            # Any other exception of a backend is a bug in it, and fails this run only.
            _logger.exception("run %s: the model backend failed", run.id)
            return LastError(code="server_error", message="The model backend failed; the server's log says why.")
        return None

    async def _read_request(self, run: Run, state: RunState) -> ModelRequest:
        try:
            return await self._request(run, state)
        except StoreUnavailableError:
            await self._store()
            raise

    async def _request(self, run: Run, state: RunState) -> ModelRequest:
        await BeforeWaiting(self._use_stores(self.owner, run.tools, state.tool_resources), self._store)
        last_messages = None if run.truncation_strategy is None else run.truncation_strategy.last_messages
        records = await self._ledger.store.history(run.thread_id, last_messages=last_messages, besides_run=run.id)
        # The retry of an interrupted call must not see the output of its first attempt: it will produce it again.
        first_attempt = {id for step in self.progress.reusable_steps for id in (step.id, step.message_id)}
        history = [record.value for record in records if record.value.id not in first_attempt]
        request = model_request(run, state, history, self._ledger.clock.now())
        showing = self._show_images(self.owner, request.items, endpoint_has_files=self._backend.has_files)
        items = await BeforeWaiting(showing, self._store)
        if items is not request.items:
            request = evolve(request, items=tuple(items))
        self._used_ids = {call.id for step in request.rounds for call in step.function_calls}
        return request

    async def _read_events(self, request: ModelRequest) -> None:
        if not (observers := self._ledger.observers):
            await self._apply_all(self._backend.respond(request))
            return
        with model_call(observers, request, self.progress) as observed:
            await self._apply_all(observed(self._backend.respond(request)))

    async def _apply_all(self, answer: AsyncGenerator[BackendEvent]) -> None:
        progress, own, going_on = self.progress, self._own, self._ledger.going_on
        async with aclosing(answer) as events:
            while True:
                try:
                    if own.is_stored and not going_on.is_shared:
                        event = await anext(events)
                    else:
                        event = await BeforeWaiting(anext(events), self._before_waiting)
                except StopAsyncIteration:
                    return
                if self._has_waited:
                    self._has_waited = False
                    await self._ledger.take_turn(self.owner)
                # Nearly every event is a piece of a text that has begun.
                if event.__class__ is TextChunk and progress.message_draft is not None and event.text.__class__ is str:
                    self._publish_text(progress.message_draft, "text", event.text)
                else:
                    await self._apply(event)

    async def _before_waiting(self) -> None:
        self._has_waited = self._ledger.going_on.is_shared
        await self._store()

    async def _apply(self, event: BackendEvent) -> None:
        # Types are checked because a backend's values are stored, and values of other types could not be loaded again.
        match event:
            case TextChunk(str(text)):
                self._add_text("text", text)
            case RefusalChunk(str(text)):
                self._add_text("refusal", text)
            case AnnotationAdded(FileCitation() | FilePath() | Unknown() as annotation):
                self._add_annotation(annotation)
            case ToolCallChunk(int(), str() | None, str() | None, str()):
                await self._add_call_chunk(event)
            case HostedToolCall(CodeInterpreterCall() | FileSearchCall() as call):
                await self._ledger.retry_until_stored(partial(self._add_hosted_call, call))
            case Replay(str(), tuple()):
                self.progress.replay = event
            case Detached(str(handle)):
                await self._ledger.retry_until_stored(partial(self._store_handle, handle))
            case UsageReport(int(prompt_tokens), int(completion_tokens)):
                # int(), since a bool is an int in Python but no number in JSON.
                self.progress.usage = usage_of(int(prompt_tokens), int(completion_tokens))
            case Finished(reason) if reason in _FINISH_REASONS:
                self.progress.reason = reason
            case _:
                raise TypeError(
                    f"the backend yielded {event!r}, which is no event of openai_runs.backends.model_backend"
                )

    def _add_text(self, kind: Literal["text", "refusal"], text: str) -> None:
        if text and (message_draft := self._open_message_draft()) is not None:
            self._publish_text(message_draft, kind, text)

    def _publish_text(self, message_draft: MessageDraft, kind: Literal["text", "refusal"], text: str) -> None:
        if text and not self._is_abandoned:
            self._own.publish("thread.message.delta", message_draft.add(kind, text))

    def _add_annotation(self, annotation: Annotation) -> None:
        if (message_draft := self._open_message_draft()) is not None:
            self._publish_delta("thread.message.delta", message_draft.annotate(annotation))

    def _open_message_draft(self) -> MessageDraft | None:
        """Return the draft of the message, started if necessary; ``None`` if the text must be dropped."""
        if self.progress.message_draft is None and not self.progress.drops_text:
            self._start_message()
        return self.progress.message_draft

    def _start_message(self) -> None:
        self._check()
        if (reused := self.progress.reusable_step("message_creation")) is not None:
            self.progress.reusable_steps.remove(reused)
            if reused.status == RunStepStatus.IN_PROGRESS:
                self.progress.message_draft = MessageDraft(reused.id, reused.message_id or "")
            else:
                self.progress.drops_text = True
            return
        step, message = new_message_step(self._run, self._ledger.now_in(self._run))
        self._own.hold(
            [Record(self.owner, step), Record(self.owner, message)],
            [
                *started_events(step),
                ApiEvent("thread.message.created", message),
                ApiEvent("thread.message.in_progress", message),
            ],
        )
        self.progress.begin_message(MessageDraft(step.id, message.id))

    async def _add_call_chunk(self, delta: ToolCallChunk) -> None:
        if self.progress.calls_draft is None or self.progress.message_draft is not None:
            await self._ledger.retry_until_stored(self._start_calls)
        self.progress.drops_text = False
        if self.progress.calls_draft is not None and (shown := self.progress.calls_draft.add(delta)) is not None:
            self._publish_delta("thread.run.step.delta", shown)

    async def _start_calls(self) -> None:
        """Start a step of tool calls, or continue it. A message before it is complete now."""
        message_draft = self.progress.message_draft
        if message_draft is None or self._own.holds(Message, message_draft.message_id):
            self._check()
            changes, events, begin, _ = await self._with_calls()
            self._own.hold(changes, events)
            begin()
            return
        async with self._lock:
            _, state = await self._read()
            changes, events, begin, new = await self._with_calls()
            if new is not None:
                changes.append(self._with_step(state, new))
            await self._commit(changes, *events, then=begin)

    async def _with_calls(self) -> tuple[list[Change], list[ApiEvent], Callable[[], None], RunStep | None]:
        """The changes and events of tool calls that begin, what follows from them in memory, and a new step."""
        changes, events = await self._complete_message()
        calls_draft, reused, new = self.progress.calls_draft, None, None
        if calls_draft is None:
            reused = self.progress.reusable_step("tool_calls", RunStepStatus.IN_PROGRESS)
            step = reused or new_tool_step(self._run, self._ledger.now_in(self._run))
            calls_draft = ToolCallsDraft(step.id, self._run.parallel_tool_calls is not False, self._used_ids)
            if reused is None:
                new = step
                changes.append(Record(self.owner, step))
                events += started_events(step)
        return changes, events, partial(self.progress.begin_calls, calls_draft, reused), new

    async def _add_hosted_call(self, call: CodeInterpreterCall | FileSearchCall) -> None:
        """Add a call of one of the endpoint's own tools, as a step that is complete at once."""
        async with self._lock:
            run, state = await self._read()
            changes, events = await self._complete_message()
            reused = self.progress.reusable_step("tool_calls", RunStepStatus.COMPLETED)
            if reused is None:
                step = new_tool_step(run, self._ledger.now_in(run))
                ended = evolve(step, step_details=ToolCalls(tool_calls=(call,)))
                ended = ended_step(ended, RunStepStatus.COMPLETED, step.created_at, usage=NO_USAGE)
                kept = with_replay(ended, self.progress.replay)
                changes += [Record(self.owner, kept), self._with_step(state, step)]
                shown = shown_step(ended, shows_search_content=state.shows_search_content)
                delta = ApiEvent("thread.run.step.delta", hosted_delta(shown))
                events += [*started_events(step), delta, ApiEvent("thread.run.step.completed", shown)]
            else:  # the interrupted call may have found other things than this one, on which the answer rests
                again = evolve(reused, step_details=ToolCalls(tool_calls=(call,)))
                changes.append(Record(self.owner, with_replay(without_replay(again), self.progress.replay)))
            await self._commit(changes, *events, then=partial(self.progress.end_message, reused))

    async def _complete_message(self) -> Changeset:
        if self.progress.message_draft is None:
            return [], []
        step = await self._own.get(RunStep, self.progress.message_draft.step_id)
        return await end_message(self._own, self.owner, step, self.progress)

    async def _store_handle(self, handle: str) -> None:
        async with self._lock:
            run, state = await self._read()

            def note() -> None:
                self._handle = handle
                if run.completion_window is not None:
                    self._on_waiting()

            await self._commit([Record(self.owner, evolve(state, handle=handle))], then=note)

    async def _finish(self, error: LastError | None) -> None:
        async with self._lock:
            run, state = await self._read()
            to, details = self._outcome(run, state, error)
            if self.progress.calls_draft is not None and to is RunStatus.REQUIRES_ACTION:
                await self._require_action(run, state, self.progress.calls_draft)
            else:
                await end_run(
                    self._own,
                    self.owner,
                    run,
                    state,
                    to,
                    progress=self.progress,
                    error=error,
                    details=details,
                    then=partial(self._on_finished, to),
                )

    def _outcome(
        self, run: Run, state: RunState, error: LastError | None
    ) -> tuple[RunStatus, RunIncompleteDetails | None]:
        progress, reason = self.progress, None
        if error is not None:
            return RunStatus.FAILED, None
        prompt_tokens = state.usage.prompt_tokens + progress.usage.prompt_tokens
        completion_tokens = state.usage.completion_tokens + progress.usage.completion_tokens
        if progress.reason == "content_filter":
            return RunStatus.INCOMPLETE, RunIncompleteDetails()  # the API has no reason for it
        if progress.reason == "max_tokens" or _exceeds(run.max_completion_tokens, completion_tokens):
            reason = "max_completion_tokens"
        elif progress.reason == "max_prompt_tokens" or _exceeds(run.max_prompt_tokens, prompt_tokens):
            reason = "max_prompt_tokens"
        if reason is not None:
            return RunStatus.INCOMPLETE, RunIncompleteDetails(reason=reason)
        return RunStatus.COMPLETED if progress.calls_draft is None else RunStatus.REQUIRES_ACTION, None

    async def _require_action(self, run: Run, state: RunState, calls_draft: ToolCallsDraft) -> None:
        """Make the run wait for the outputs of its tool calls."""
        used = self.progress.usage
        changes, events = await self._complete_message()
        changes += deletions_of_unused(self.progress.reusable_steps)
        step = with_calls(await self._own.get(RunStep, calls_draft.step_id), calls_draft.pending)
        step = with_replay(step, self.progress.replay)
        run = moved(
            run,
            RunStatus.REQUIRES_ACTION,
            required_action=RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=calls_draft.pending)),
        )
        state = evolve(
            state,
            steps=(step.id,),
            step_usage=used,
            usage=add_usage(state.usage, used),
            handle=None,
            previous=state.handle,
        )
        changes += [Record(self.owner, step), Record(self.owner, run), Record(self.owner, state)]
        if self._ledger.sharing is not None:
            changes.append(waiting(run.id))
        asks = ApiEvent("thread.run.requires_action", run)
        await self._commit(changes, *events, asks, then=partial(self._on_finished, run.status))

    def _with_step(self, state: RunState, step: RunStep) -> Record[RunState]:
        return Record(self.owner, evolve(state, steps=(*state.steps, step.id)))

    async def _commit(self, changes: list[Change], *events: ApiEvent, then: Callable[[], object] | None = None) -> None:
        await self._own.commit(changes, self.run_id, events, then=then)

    def _publish_delta(self, name: str, delta: Mapping[str, Any]) -> None:
        if not self._is_abandoned:
            self._own.publish(name, delta)


async def stop_call(backend: ModelBackend, handle: str) -> None:
    """Have a backend stop a call that continues at the endpoint."""
    try:
        await backend.abandon(handle)
    except Exception:
        # `abandon` should not raise; if it does, the run has ended anyway.
        _logger.exception("the model backend could not stop a call at the endpoint")


def _exceeds(limit: int | None, used: int) -> bool:
    return limit is not None and used > limit
