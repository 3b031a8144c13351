"""Builds the output of one model call from deltas: its message and its step of tool calls. No I/O."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from attrs import define, field

from openai_runs import _wire
from openai_runs._evolving import evolve
from openai_runs.backends.model_backend import FinishReason, Replay, ToolCallChunk
from openai_runs.backends.replay import without_replay
from openai_runs.engine.api_events import ApiEvent, TextPiece
from openai_runs.engine.ids import new_id
from openai_runs.engine.new_objects import ALL_SHOWN
from openai_runs.engine.writing import Writing
from openai_runs.models.message import (
    Annotation,
    Content,
    Message,
    MessageIncompleteDetails,
    MessageRole,
    MessageStatus,
    RefusalContent,
    Text,
    TextContent,
)
from openai_runs.models.run import LastError, Run, Usage
from openai_runs.models.run_step import (
    CalledFunction,
    CreatedMessage,
    FileSearchCall,
    FunctionStepCall,
    MessageCreation,
    RunStep,
    RunStepStatus,
    StepToolCall,
    ToolCalls,
)
from openai_runs.models.tool import FunctionCall, FunctionToolCall
from openai_runs.stores.records import NO_USAGE

StepType: TypeAlias = Literal["message_creation", "tool_calls"]


def usage_of(prompt_tokens: int, completion_tokens: int) -> Usage:
    """Make the API's usage, with the total."""
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


def add_usage(one: Usage, other: Usage) -> Usage:
    """Add the usage of two calls."""
    return usage_of(one.prompt_tokens + other.prompt_tokens, one.completion_tokens + other.completion_tokens)


@define
class _Part:
    kind: Literal["text", "refusal"]
    texts: list[str] = field(factory=list)
    annotations: list[Annotation] = field(factory=list)

    @property
    def content(self) -> Content:
        text = "".join(self.texts)
        if self.kind == "refusal":
            return RefusalContent(refusal=text)
        return TextContent(text=Text(value=text, annotations=tuple(self.annotations)))


@define
class MessageDraft:
    """The message that the assistant is writing."""

    step_id: str
    message_id: str
    _parts: list[_Part] = field(factory=list, init=False)

    def add(self, kind: Literal["text", "refusal"], text: str) -> Mapping[str, Any]:
        """Append text or a refusal, and return the API's delta for it."""
        parts = self._parts
        is_new = not parts or parts[-1].kind != kind
        if is_new:
            parts.append(_Part(kind))
        last, index = parts[-1], len(parts) - 1
        last.texts.append(text)
        if kind == "refusal":
            return self._delta({"index": index, "type": kind, "refusal": text})
        if is_new:
            return self._delta({"index": index, "type": kind, "text": {"value": text, "annotations": []}})
        return TextPiece(self.message_id, index, text, last)

    def annotate(self, annotation: Annotation) -> Mapping[str, Any]:
        """Add an annotation to the last text, and return the API's delta for it."""
        index = next((index for index in reversed(range(len(self._parts))) if self._parts[index].kind == "text"), None)
        if index is None:
            index = len(self._parts)
            self._parts.append(_Part("text"))
        annotations = self._parts[index].annotations
        annotations.append(annotation)
        shown = {"index": len(annotations) - 1, **_wire.dump(annotation)}
        # With a value, which the API's schema does not require: programs append it, whatever the delta brings.
        return self._delta({"index": index, "type": "text", "text": {"value": "", "annotations": [shown]}})

    def _delta(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"id": self.message_id, "object": "thread.message.delta", "delta": {"content": [part]}}

    @property
    def content(self) -> tuple[Content, ...]:
        """The content so far."""
        return tuple(part.content for part in self._parts)

    @property
    def writing(self) -> Sequence[Writing]:
        """The texts of its parts."""
        return [Writing(self.message_id, index, part.kind, part.texts) for index, part in enumerate(self._parts)]


@define
class _Call:
    position: int
    id: str
    name: str
    arguments: list[str] = field(factory=list)


@define
class ToolCallsDraft:
    """The tool calls that the model is making."""

    step_id: str
    _parallel: bool
    _used_ids: set[str]  # of the run's earlier calls too: some models number calls from call_0 in each turn
    _calls: dict[int, _Call] = field(factory=dict, init=False)

    def add(self, delta: ToolCallChunk) -> Mapping[str, Any] | None:
        """Add a chunk of a call, and return the API's delta for it; ``None`` for a call that is dropped."""
        call = self._calls.get(delta.index)
        is_new = call is None
        if call is None:
            # A client that turned parallel tool calls off may rely on that, so further calls are dropped: the model
            # can make them again once it has seen the first one's output.
            if self._calls and not self._parallel:
                return None
            id = delta.id if delta.id and delta.id not in self._used_ids else new_id("call")
            self._used_ids.add(id)
            call = self._calls[delta.index] = _Call(len(self._calls), id, delta.name or "")
        call.arguments.append(delta.arguments)
        shown: dict[str, Any] = {"index": call.position, "type": "function"}
        if is_new:
            shown["id"] = call.id
            shown["function"] = {"name": call.name, "arguments": delta.arguments, "output": None}
        else:
            shown["function"] = {"arguments": delta.arguments}
        details = {"type": "tool_calls", "tool_calls": [shown]}
        return {"id": self.step_id, "object": "thread.run.step.delta", "delta": {"step_details": details}}

    @property
    def pending(self) -> tuple[FunctionToolCall, ...]:
        """The calls, in the form of the run's ``required_action``."""
        return tuple(
            FunctionToolCall(id=call.id, function=FunctionCall(name=call.name, arguments="".join(call.arguments)))
            for call in self._calls.values()
        )

    @property
    def writing(self) -> Sequence[Writing]:
        """The arguments of its calls."""
        return [
            Writing(self.step_id, call.position, "call", call.arguments, call.id, call.name)
            for call in self._calls.values()
        ]


@define
class TurnProgress:
    """The progress of one model call."""

    usage: Usage = NO_USAGE  #: as the backend last reported it
    reason: FinishReason = "stop"  #: why the model stopped
    message_draft: MessageDraft | None = None
    calls_draft: ToolCallsDraft | None = None
    replay: Replay | None = None  #: for the next step of tool calls
    #: Whether text is dropped: it repeats a message that an interrupted call had already completed.
    drops_text: bool = False
    #: Steps of an interrupted call that its retry has not used yet.
    reusable_steps: list[RunStep] = field(factory=list)

    def reusable_step(self, kind: StepType, status: RunStepStatus | None = None) -> RunStep | None:
        """Find a step of the interrupted call for the retry to use in place of a new one."""
        return next((s for s in self.reusable_steps if s.type == kind and status in (None, s.status)), None)

    def begin_message(self, draft: MessageDraft) -> None:
        """Note that a message has been started."""
        self.message_draft = draft

    def begin_calls(self, draft: ToolCallsDraft, reused: RunStep | None) -> None:
        """Note that a step of tool calls has been started or continued, and the message before it completed."""
        self._use(reused)
        self.message_draft, self.calls_draft = None, draft

    def end_message(self, reused: RunStep | None) -> None:
        """Note that a step of an endpoint's own tool has been added, and the message before it completed."""
        self._use(reused)
        self.message_draft, self.replay, self.drops_text = None, None, False

    def _use(self, reused: RunStep | None) -> None:
        if reused is not None:
            self.reusable_steps.remove(reused)


def new_message_step(run: Run, now: datetime) -> tuple[RunStep, Message]:
    """Make a new message of the run's assistant, and its step."""
    message = Message(
        id=new_id("msg"),
        created_at=now,
        thread_id=run.thread_id,
        status=MessageStatus.IN_PROGRESS,
        role=MessageRole.ASSISTANT,
        assistant_id=run.assistant_id,
        run_id=run.id,
        attachments=(),
        metadata={},
        absent=ALL_SHOWN,
    )
    return _new_step(run, now, MessageCreation(message_creation=CreatedMessage(message_id=message.id))), message


def new_tool_step(run: Run, now: datetime) -> RunStep:
    """Make a new step of tool calls."""
    return _new_step(run, now, ToolCalls(tool_calls=()))


def _new_step(run: Run, now: datetime, details: MessageCreation | ToolCalls) -> RunStep:
    return RunStep(
        id=new_id("step"),
        created_at=now,
        assistant_id=run.assistant_id,
        thread_id=run.thread_id,
        run_id=run.id,
        type=details.type,
        status=RunStepStatus.IN_PROGRESS,
        step_details=details,
        expires_at=run.expires_at,
        metadata={},
        absent=ALL_SHOWN,
    )


def shown_step(step: RunStep, *, shows_search_content: bool = False) -> RunStep:
    """The step as clients see it: without what its endpoint wants back, and without found passages if not asked for."""
    step = without_replay(step)
    if shows_search_content or not any(isinstance(call, FileSearchCall) for call in step.tool_calls):
        return step
    return evolve(step, step_details=ToolCalls(tool_calls=tuple(map(_without_search_content, step.tool_calls))))


def _without_search_content(call: StepToolCall) -> StepToolCall:
    if not isinstance(call, FileSearchCall) or call.file_search.results is None:
        return call
    results = tuple(
        evolve(found, content=(), absent=(found.absent or frozenset()) | {"content"})
        for found in call.file_search.results
    )
    return evolve(call, file_search=evolve(call.file_search, results=results))


def started_events(step: RunStep) -> list[ApiEvent]:
    """The events for a new step."""
    return [ApiEvent("thread.run.step.created", step), ApiEvent("thread.run.step.in_progress", step)]


def hosted_delta(step: RunStep) -> Mapping[str, Any]:
    """The API's delta for a step with a call of one of the endpoint's own tools."""
    details = {"type": "tool_calls", "tool_calls": [{"index": 0, **_wire.dump(step.tool_calls[0])}]}
    return {"id": step.id, "object": "thread.run.step.delta", "delta": {"step_details": details}}


def with_calls(step: RunStep, calls: Iterable[FunctionToolCall], outputs: Mapping[str, str] | None = None) -> RunStep:
    """Put calls into a step, with their outputs if they are known."""
    shown = tuple(
        FunctionStepCall(
            id=call.id,
            function=CalledFunction(
                name=call.function.name,
                arguments=call.function.arguments,
                output=None if outputs is None else outputs[call.id],
                absent=ALL_SHOWN,
            ),
        )
        for call in calls
    )
    return evolve(step, step_details=ToolCalls(tool_calls=shown))


_ENDED_AT_FIELDS: Final[Mapping[RunStepStatus, str]] = {
    RunStepStatus.COMPLETED: "completed_at",
    RunStepStatus.CANCELLED: "cancelled_at",
    RunStepStatus.FAILED: "failed_at",
    RunStepStatus.EXPIRED: "expired_at",
}


def ended_step(
    step: RunStep, status: RunStepStatus, now: datetime, *, usage: Usage, error: LastError | None = None
) -> RunStep:
    """End a step."""
    if error is not None and error.code == "invalid_prompt":  # the API has this code for runs only
        error = evolve(error, code="server_error")
    changes: dict[str, Any] = {_ENDED_AT_FIELDS[status]: now}
    return evolve(step, status=status, usage=usage, last_error=error, **changes)


def ended_message(message: Message, content: tuple[Content, ...], now: datetime, reason: str | None) -> Message:
    """End a message: completed without a reason, incomplete with one."""
    if reason is None:
        return evolve(message, status=MessageStatus.COMPLETED, completed_at=now, content=content)
    return evolve(
        message,
        status=MessageStatus.INCOMPLETE,
        incomplete_at=now,
        incomplete_details=MessageIncompleteDetails(reason=reason),
        content=content,
    )
