"""`RunTelemetry`: spans and metrics of an engine's runs, by OpenTelemetry.

A run has one span from its creation to its end, with a child for each time that it was queued and one for each model
call. The spans of a run that an earlier process has created begin anew, in a trace of their own.
"""

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from attrs import define, field
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from openai_runs.backends.model_backend import BackendEvent, ModelRequest
from openai_runs.engine.observer import Note, call_failure
from openai_runs.engine.spoken_content import Answer, given
from openai_runs.engine.turn_output import TurnProgress
from openai_runs.models.run import Run, RunStatus
from openai_runs.stores.records import RunState
from openai_runs.telemetry import Telemetry, Value, current, end, present, run_attributes, run_failure, run_span_name


@define(eq=False)
class _Execution:
    """What is recorded of one run."""

    run: Run
    agent_name: str | None
    span: Span
    #: Has the span, and nothing else of the request that created the run: it must not go on to the model's endpoint.
    inside: Context
    began: float = field(factory=perf_counter)
    queued: Span | None = None
    queued_at: float = 0.0
    has_token: bool = False


@define
class RunTelemetry:
    """Records runs and model calls; an `Observer`."""

    _telemetry: Telemetry
    _provider: str
    _executions: dict[str, _Execution] = field(factory=dict, init=False)

    def run_resumed(self, run: Run, state: RunState | None) -> None:
        """Begin a span that belongs to no request."""
        self._note(self._begin(run, state, Context()))

    def run_changed(self, run: Run, state: RunState | None) -> None:
        """Begin the span of a new run, note when it is queued, and end the span with the run."""
        execution = self._executions.get(run.id)
        if execution is None:
            if run.status.is_terminal:  # it was given up earlier, as it could not be ended
                return
            execution = self._begin(run, state, None)
        execution.run = run
        self._note(execution)

    def run_left(self, run_id: str) -> None:
        """End the span of a run that another server has, with what the run was at."""
        if (execution := self._executions.pop(run_id, None)) is not None:
            _end_open(execution)

    def _note(self, execution: _Execution) -> None:
        run = execution.run
        if run.status is RunStatus.QUEUED and execution.queued is None:
            execution.queued = self._telemetry.start("queued", SpanKind.INTERNAL, {}, execution.inside)
            execution.queued_at = perf_counter()
        elif run.status is not RunStatus.QUEUED and execution.queued is not None:
            end(execution.queued, None, {})
            execution.queued = None
            self._telemetry.queue_waits.record(perf_counter() - execution.queued_at)
        if run.status.is_terminal:
            del self._executions[run.id]
            failure = run_failure(run)
            end(execution.span, failure, run_attributes(run, execution.agent_name))
            measured = self._measured("invoke_agent", run.model, failure)
            self._telemetry.run_durations.record(perf_counter() - execution.began, measured)

    def _begin(self, run: Run, state: RunState | None, parent: Context | None) -> _Execution:
        name = None if state is None else state.assistant_name
        known: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": self._provider}
        known |= run_attributes(run, name)
        span = self._telemetry.start(run_span_name(name), SpanKind.INTERNAL, known, parent)
        execution = _Execution(run, name, span, trace.set_span_in_context(span, Context()))
        self._executions[run.id] = execution
        return execution

    def committed(self, seconds: float) -> None:
        """Not recorded: a database's own instrumentation does."""

    @contextmanager
    def executing(self, run_id: str) -> Generator[None]:
        """Make the run's span current, or none: the task inherits that of whoever has made a place for the run."""
        execution = self._executions.get(run_id)
        token = context.attach(Context() if execution is None else execution.inside)
        try:
            yield
        finally:
            context.detach(token)

    @contextmanager
    def model_call(self, request: ModelRequest, progress: TurnProgress) -> Generator[Note]:
        """Record a model call as ``chat``, which is current inside: requests to the endpoint are its children."""
        telemetry, began = self._telemetry, perf_counter()
        execution = self._executions.get(request.run_id)
        span = telemetry.start(f"chat {request.model}", SpanKind.CLIENT, self._asked(request))
        first: float | None = None
        answer = Answer() if telemetry.records_content else None

        def note(event: BackendEvent) -> None:
            nonlocal first
            if answer is not None:
                answer.add(event)
            if first is not None:
                return
            first = perf_counter() - began
            telemetry.first_chunks.record(first, self._measured("chat", request.model, None))
            if execution is not None and not execution.has_token:
                execution.has_token = True
                waited = perf_counter() - execution.began
                telemetry.first_tokens.record(waited, self._measured("invoke_agent", request.model, None))

        failure, has_ended = None, False
        try:
            with current(span):
                yield note
            has_ended = True
        except BaseException as error:
            failure = call_failure(error)
            raise
        finally:
            usage, measured = progress.usage, self._measured("chat", request.model, failure)
            answered: dict[str, Value] = {
                "gen_ai.usage.input_tokens": usage.prompt_tokens or None,
                "gen_ai.usage.output_tokens": usage.completion_tokens or None,
                "gen_ai.response.finish_reasons": (progress.reason,) if has_ended else None,
                "gen_ai.response.time_to_first_chunk": first,
            }
            if answer is not None:
                answered |= answer.said(progress.reason if has_ended else None)
            end(span, failure, answered)
            telemetry.durations.record(perf_counter() - began, measured)
            if usage.total_tokens:
                telemetry.note_tokens(usage.prompt_tokens, usage.completion_tokens, measured)

    def _asked(self, request: ModelRequest) -> dict[str, Value]:
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._provider,
            "gen_ai.request.model": request.model,
            "gen_ai.conversation.id": request.thread_id,
            "gen_ai.request.temperature": request.temperature,
            "gen_ai.request.top_p": request.top_p,
            "gen_ai.request.max_tokens": request.max_completion_tokens,
            "openai_runs.run.id": request.run_id,
            **(given(request) if self._telemetry.records_content else {}),
        }

    def _measured(self, operation: str, model: str | None, failure: str | None) -> dict[str, str | int | float | bool]:
        return present(
            {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": self._provider,
                "gen_ai.request.model": model,
                "error.type": failure,
            }
        )  # type: ignore[return-value]

    def close(self) -> None:
        """End the spans of the runs that are left, with what they were at."""
        for execution in self._executions.values():
            _end_open(execution)
        self._executions.clear()


def _end_open(execution: _Execution) -> None:
    if execution.queued is not None:
        end(execution.queued, None, {})
    end(execution.span, None, run_attributes(execution.run, execution.agent_name))
