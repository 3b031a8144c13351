"""`Turn`: one model call of a run, from ``queued`` to ``requires_action`` or to the run's end.

Whoever changes a run holds the lock of its thread and reads the run anew: clients change its metadata and cancel it,
and its deadline passes. A turn that has lost its run in this way is *over*: it says and changes nothing more, whether
or not its backend has stopped.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Literal, get_args

import anyio
import anyio.lowlevel
from attrs import define, evolve, field

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
    TextChunk,
    ToolCallChunk,
    UsageReport,
)
from openai_runs.engine.api_events import ApiEvent
from openai_runs.engine.endings import Changeset, end_message, end_run, forget
from openai_runs.engine.ledger import Ledger
from openai_runs.engine.model_request import model_request
from openai_runs.engine.turn_output import (
    MessageDraft,
    ToolCallsDraft,
    TurnProgress,
    add_usage,
    begun,
    ended_step,
    hosted_delta,
    new_message_step,
    new_tool_step,
    usage_of,
    with_calls,
)
from openai_runs.errors import BackendError, HistoryTooLargeError, StoreError
from openai_runs.lifecycle import moved
from openai_runs.models.message import Annotation, FileCitation, FilePath
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
from openai_runs.stores.records import NO_USAGE, Change, Record, RunState

_logger = logging.getLogger("openai_runs.engine")


_CODES: Final = ("server_error", "rate_limit_exceeded", "invalid_prompt")
_REASONS: Final = get_args(FinishReason)


class _OverError(Exception):
    """Somebody else has ended the run, or is about to."""


@define(eq=False)
class Turn:
    """One model call of a run."""

    run_id: str
    thread_id: str
    owner: str
    _ledger: Ledger
    _backend: ModelBackend
    _concluded: Callable[[RunStatus], None]  # is told, under the lock, how the turn has left the run
    progress: TurnProgress = field(factory=TurnProgress, init=False)
    _scope: anyio.CancelScope = field(factory=anyio.CancelScope, init=False)
    _over: bool = field(default=False, init=False)
    _handle: str | None = field(default=None, init=False)  # of a call that goes on without us
    _used_ids: set[str] = field(factory=set, init=False)  # of the run's earlier tool calls

    def abandon(self) -> None:
        """Stop: from now on the run is somebody else's."""
        self._over = True
        self._scope.cancel()

    async def carry_out(self) -> None:
        """Do it all. Returns when the run waits, or has ended, or was taken away.

        Raises:
            BaseException: The run is as it was, and has to be ended. Whatever a backend, a store or a subscriber comes
                up with may get out here, a ``CancelledError`` too.
        """
        with self._scope:
            try:
                run, state = await self._ledger.persist(self._begin)
                self._handle = state.handle
                error = await self._call_model(run, state)
                await self._ledger.persist(partial(self._conclude, error))
                if error is not None and self._handle is not None:
                    await abandon_call(self._backend, self._handle)
            except _OverError:
                pass  # whoever took the run away sees to all there is to do

    async def _read(self) -> tuple[Run, RunState]:
        if self._over:  # then the scope is cancelled too; but a backend may have shielded us from that
            raise _OverError
        return await self._ledger.get(Run, self.run_id), await self._ledger.get(RunState, self.run_id)

    async def _begin(self) -> tuple[Run, RunState]:
        async with self._ledger.lock(self.thread_id):
            run, state = await self._read()
            self.progress.remembered = [await self._ledger.get(RunStep, id) for id in state.steps]
            if run.status is RunStatus.QUEUED:  # else it is an interrupted call that is repeated
                run = moved(run, RunStatus.IN_PROGRESS, started_at=self._ledger.now())
                await self._commit([Record(self.owner, run)], ApiEvent("thread.run.in_progress", run))
            return run, state

    async def _call_model(self, run: Run, state: RunState) -> LastError | None:
        try:
            request = await self._request(run, state)
        except HistoryTooLargeError as error:
            return LastError(code="invalid_prompt", message=error.message)
        if request.max_prompt_tokens is not None and request.max_prompt_tokens <= 0:
            self.progress.reason = "max_prompt_tokens"
            return None
        if request.max_completion_tokens is not None and request.max_completion_tokens <= 0:
            self.progress.reason = "max_tokens"
            return None
        try:
            await self._listen(request)
        except BackendError as error:
            # Not all backends are ours: what is no text could be stored, and never be read again.
            code = error.code if error.code in _CODES else "server_error"
            return LastError(code=code, message=str(error.message))
        except (_OverError, StoreError):  # the store's trouble is no failure of the backend
            raise
        except Exception:
            await anyio.lowlevel.checkpoint_if_cancelled()  # then it is how the backend takes being stopped
            # Whatever a backend comes up with, it is the end of this run only.
            _logger.exception("run %s: the model backend failed", run.id)
            return LastError(code="server_error", message="The model backend failed; the server's log says how.")
        return None

    async def _request(self, run: Run, state: RunState) -> ModelRequest:
        last_messages = None if run.truncation_strategy is None else run.truncation_strategy.last_messages
        records = await self._ledger.store.history(run.thread_id, last_messages=last_messages, besides_run=run.id)
        # What an interrupted call has said it is going to say again: it must not find it said.
        unsaid = {id for step in self.progress.remembered for id in (step.id, step.message_id)}
        history = [record.value for record in records if record.value.id not in unsaid]
        request = model_request(run, state, history, self._ledger.clock.now())
        self._used_ids = {call.id for step in request.rounds for call in step.function_calls}
        return request

    async def _listen(self, request: ModelRequest) -> None:
        async with aclosing(self._backend.respond(request)) as events:
            async for event in events:
                await self._take(event)

    async def _take(self, event: BackendEvent) -> None:
        # Looked at closely, since what comes from a backend is stored, and other objects would not be found again.
        match event:
            case TextChunk(str(text)):
                await self._write("text", text)
            case RefusalChunk(str(text)):
                await self._write("refusal", text)
            case AnnotationAdded(FileCitation() | FilePath() | Unknown() as annotation):
                await self._annotate(annotation)
            case ToolCallChunk(int(), str() | None, str() | None, str()):
                await self._call(event)
            case HostedToolCall(CodeInterpreterCall() | FileSearchCall() as call):
                await self._ledger.persist(partial(self._add_hosted, call))
            case Detached(str(handle)):
                await self._ledger.persist(partial(self._keep_handle, handle))
            case UsageReport(int(prompt_tokens), int(completion_tokens)):
                self.progress.usage = usage_of(
                    int(prompt_tokens), int(completion_tokens)
                )  # a bool is no number in JSON
            case Finished(reason) if reason in _REASONS:
                self.progress.reason = reason
            case _:
                raise TypeError(
                    f"this is no event of a backend: {event!r}"
                )  # its author hears of it, and the run fails

    async def _write(self, kind: Literal["text", "refusal"], text: str) -> None:
        if text and (writing := await self._writing()) is not None:
            self._publish_delta("thread.message.delta", writing.add(kind, text))

    async def _annotate(self, annotation: Annotation) -> None:
        if (writing := await self._writing()) is not None:
            self._publish_delta("thread.message.delta", writing.annotate(annotation))

    async def _writing(self) -> MessageDraft | None:
        """The message that is being written, begun if need be; ``None`` if it is in the thread already."""
        if self.progress.writing is None and not self.progress.muted:
            await self._ledger.persist(self._open_message)
        return self.progress.writing

    async def _open_message(self) -> None:
        async with self._ledger.lock(self.thread_id):
            run, state = await self._read()
            if (recalled := self.progress.recall("message_creation")) is not None:
                self.progress.remembered.remove(recalled)
                if recalled.status == RunStepStatus.IN_PROGRESS:
                    self.progress.writing = MessageDraft(recalled.id, recalled.message_id or "")
                else:
                    self.progress.muted = True
                return
            step, message = new_message_step(run, self._ledger.now())
            await self._commit(
                [Record(self.owner, step), Record(self.owner, message), self._with_step(state, step)],
                *begun(step),
                ApiEvent("thread.message.created", message),
                ApiEvent("thread.message.in_progress", message),
            )
            self.progress.writing = MessageDraft(step.id, message.id)

    async def _call(self, delta: ToolCallChunk) -> None:
        if self.progress.calling is None or self.progress.writing is not None:
            await self._ledger.persist(self._open_calls)
        self.progress.muted = False
        if self.progress.calling is not None and (shown := self.progress.calling.add(delta)) is not None:
            self._publish_delta("thread.run.step.delta", shown)

    async def _open_calls(self) -> None:
        """Begin a round of tool calls, or go on with it; either way what was being written is complete."""
        async with self._ledger.lock(self.thread_id):
            run, state = await self._read()
            changes, events = await self._end_writing()
            calling, recalled = self.progress.calling, None
            if calling is None:
                recalled = self.progress.recall("tool_calls", RunStepStatus.IN_PROGRESS)
                step = recalled or new_tool_step(run, self._ledger.now())
                calling = ToolCallsDraft(step.id, run.parallel_tool_calls is not False, self._used_ids)
                if recalled is None:
                    changes += [Record(self.owner, step), self._with_step(state, step)]
                    events += begun(step)
            await self._commit(changes, *events)
            if recalled is not None:
                self.progress.remembered.remove(recalled)
            self.progress.writing, self.progress.calling = None, calling

    async def _add_hosted(self, call: CodeInterpreterCall | FileSearchCall) -> None:
        """Take in a use of one of the endpoint's own tools: a step that is complete at once."""
        async with self._ledger.lock(self.thread_id):
            run, state = await self._read()
            changes, events = await self._end_writing()
            recalled = self.progress.recall("tool_calls", RunStepStatus.COMPLETED)
            if recalled is None:
                step = new_tool_step(run, self._ledger.now())
                ended = evolve(step, step_details=ToolCalls(tool_calls=(call,)))
                ended = ended_step(ended, RunStepStatus.COMPLETED, self._ledger.now(), usage=NO_USAGE)
                changes += [Record(self.owner, ended), self._with_step(state, step)]
                delta = ApiEvent("thread.run.step.delta", hosted_delta(step, call))
                events += [*begun(step), delta, ApiEvent("thread.run.step.completed", ended)]
            await self._commit(changes, *events)
            if recalled is not None:
                self.progress.remembered.remove(recalled)
            self.progress.writing, self.progress.muted = None, False

    async def _end_writing(self) -> Changeset:
        if self.progress.writing is None:
            return [], []
        step = await self._ledger.get(RunStep, self.progress.writing.step_id)
        return await end_message(self._ledger, self.owner, step, self.progress)

    async def _keep_handle(self, handle: str) -> None:
        async with self._ledger.lock(self.thread_id):
            _, state = await self._read()
            await self._commit([Record(self.owner, evolve(state, handle=handle))])
            self._handle = handle

    async def _conclude(self, error: LastError | None) -> None:
        async with self._ledger.lock(self.thread_id):
            run, state = await self._read()
            to, details = self._outcome(run, state, error)
            if self.progress.calling is not None and to is RunStatus.REQUIRES_ACTION:
                await self._ask(run, state, self.progress.calling)
            else:
                await end_run(
                    self._ledger, self.owner, run, state, to, progress=self.progress, error=error, details=details
                )
            self._concluded(to)

    def _outcome(
        self, run: Run, state: RunState, error: LastError | None
    ) -> tuple[RunStatus, RunIncompleteDetails | None]:
        progress, reason = self.progress, None
        if error is not None:
            return RunStatus.FAILED, None
        prompt_tokens = state.usage.prompt_tokens + progress.usage.prompt_tokens
        completion_tokens = state.usage.completion_tokens + progress.usage.completion_tokens
        if progress.reason == "content_filter":
            return RunStatus.INCOMPLETE, RunIncompleteDetails()  # for which the API has no reason
        if progress.reason == "max_tokens" or _is_over(run.max_completion_tokens, completion_tokens):
            reason = "max_completion_tokens"
        elif progress.reason == "max_prompt_tokens" or _is_over(run.max_prompt_tokens, prompt_tokens):
            reason = "max_prompt_tokens"
        if reason is not None:
            return RunStatus.INCOMPLETE, RunIncompleteDetails(reason=reason)
        return RunStatus.COMPLETED if progress.calling is None else RunStatus.REQUIRES_ACTION, None

    async def _ask(self, run: Run, state: RunState, calling: ToolCallsDraft) -> None:
        """Have the run wait for the outputs of calls."""
        used = self.progress.usage
        changes, events = await self._end_writing()
        changes += forget(self.progress.remembered)
        step = with_calls(await self._ledger.get(RunStep, calling.step_id), calling.pending)
        run = moved(
            run,
            RunStatus.REQUIRES_ACTION,
            required_action=RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=calling.pending)),
        )
        state = evolve(state, steps=(step.id,), step_usage=used, usage=add_usage(state.usage, used), handle=None)
        changes += [Record(self.owner, step), Record(self.owner, run), Record(self.owner, state)]
        await self._commit(changes, *events, ApiEvent("thread.run.requires_action", run))

    def _with_step(self, state: RunState, step: RunStep) -> Record[RunState]:
        return Record(self.owner, evolve(state, steps=(*state.steps, step.id)))

    async def _commit(self, changes: list[Change], *events: ApiEvent) -> None:
        await self._ledger.commit(changes, self.run_id, events)

    def _publish_delta(self, name: str, delta: Mapping[str, Any]) -> None:
        if not self._over:
            self._ledger.publish(self.run_id, [ApiEvent(name, delta)])


async def abandon_call(backend: ModelBackend, handle: str) -> None:
    """Tell a backend that nobody waits for a call any more."""
    try:
        await backend.abandon(handle)
    except Exception:
        # It should not raise; if it does, the run has ended all the same.
        _logger.exception("the model backend could not abandon a call")


def _is_over(limit: int | None, used: int) -> bool:
    return limit is not None and used > limit
