"""`Telemetry`: spans and metrics through OpenTelemetry, by its conventions for generative AI; needs the extra ``otel``.

Only a program that wants telemetry imports this module: sessions and servers without one do not load OpenTelemetry.

No span has what users, models or tools have written, nor the text of an error, which may quote it, unless
`Telemetry.records_content`. A span is made current only around an ``await``, and never across a ``yield``: whoever
receives what was yielded would otherwise work in a context that is not its own.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, TypeAlias

from openai_runs import __version__
from openai_runs._extras import needs
from openai_runs.models.assistant import Assistant
from openai_runs.models.run import Run, RunStatus

with needs("otel"):
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context, get_current
    from opentelemetry.metrics import Histogram, MeterProvider, NoOpMeterProvider
    from opentelemetry.trace import NoOpTracerProvider, Span, SpanKind, StatusCode, TracerProvider

Value: TypeAlias = str | int | float | bool | Sequence[str] | None

_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_FAILURES: Final = (RunStatus.FAILED, RunStatus.EXPIRED, RunStatus.INCOMPLETE)
_TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)

#: Where the global provider of meters is.
_METRICS: Final = getattr(metrics, "_internal", None)
_UNKNOWN: Final = object()
#: Names of assistants that are remembered.
_MOST_NAMES: Final = 1_000


class Telemetry:
    """Where spans and metrics go; pass one to a `Session`, an `Engine` or a `LocalServer`, or to several of them.

    Attributes:
        records_content: Whether spans have what was said: see ``record_content``.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        record_content: bool = False,
    ) -> None:
        """Make it; before any provider is set, it records nothing.

        Args:
            tracer_provider: Makes the spans. Unset: OpenTelemetry's global one.
            meter_provider: Makes the metrics. Unset: the global one.
            record_content: Whether spans of tool calls have their arguments and results, and those of model calls the
                instructions, messages and answers. All of it may be personal data.

        Raises:
            MissingExtraError: When the module is imported: the extra ``otel`` is not installed.
        """
        self.records_content: Final = record_content
        self._records = _is_real(tracer_provider) or _is_real(meter_provider)
        self._looks_for_tracers: Final = tracer_provider is None
        self._looks_for_meters: Final = meter_provider is None
        self._agent_names: Final[dict[str, str]] = {}
        self._tracer: Final = trace.get_tracer("openai_runs", __version__, tracer_provider)
        meter = metrics.get_meter("openai_runs", __version__, meter_provider)

        def histogram(name: str, unit: str, description: str, bounds: Sequence[float]) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)

        self.durations: Final = histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.", _SECONDS
        )
        self.tokens: Final = histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", _TOKENS
        )
        self.http_durations: Final = histogram(
            "http.client.request.duration", "s", "Duration of HTTP client requests.", _HTTP_SECONDS
        )
        self.server_durations: Final = histogram(
            "http.server.request.duration", "s", "Duration of HTTP server requests.", _HTTP_SECONDS
        )
        self.run_durations: Final = histogram(
            "gen_ai.server.request.duration", "s", "Time from a run's creation to its end.", _SECONDS
        )
        self.first_chunks: Final = histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time from a model call to the first piece of its answer.",
            _FIRST_TOKEN,
        )
        self.first_tokens: Final = histogram(
            "gen_ai.server.time_to_first_token", "s", "Time from a run's creation to its first token.", _FIRST_TOKEN
        )
        self.queue_waits: Final = histogram(
            "openai_runs.run.queue_wait", "s", "Time that a run is queued before it executes.", _SECONDS
        )

    def __repr__(self) -> str:
        return f"Telemetry(record_content={self.records_content})"

    @property
    def records(self) -> bool:
        """Whether there is a provider. If there is none yet, a global one may be set later."""
        if not self._records:
            # OpenTelemetry does not document these attributes. What it does document looks into the environment each
            # time, for what it has found there already when this object was made. Without them there is one.
            self._records = (self._looks_for_tracers and _is_real(getattr(trace, "_TRACER_PROVIDER", _UNKNOWN))) or (
                self._looks_for_meters and _is_real(getattr(_METRICS, "_METER_PROVIDER", _UNKNOWN))
            )
        return self._records

    def is_needed(self) -> bool:
        """Whether a request has something to record, or a trace to pass on, which needs no provider."""
        return self.records or (bool(get_current()) and trace.get_current_span() is not trace.INVALID_SPAN)

    def note_agent(self, assistant: Assistant) -> None:
        """Remember the name of an assistant, for the spans of its runs, which have its ID alone."""
        self._agent_names.pop(assistant.id, None)
        if assistant.name:
            if len(self._agent_names) == _MOST_NAMES:
                del self._agent_names[next(iter(self._agent_names))]
            self._agent_names[assistant.id] = assistant.name

    def agent_name(self, assistant_id: str) -> str | None:
        """The name of an assistant, if a session with this telemetry has seen it and still knows."""
        return self._agent_names.get(assistant_id)

    def start(self, name: str, kind: SpanKind, attributes: Mapping[str, Value], parent: Context | None = None) -> Span:
        """Start a span, which is not current yet.

        Args:
            name: Its name.
            kind: Its kind.
            attributes: Those that sampling may depend on; ``None`` is left out.
            parent: The context with its parent. Unset: the current one.
        """
        return self._tracer.start_span(name, parent, kind, attributes=present(attributes))

    def note_tokens(self, given: int, written: int, attributes: Mapping[str, Value]) -> None:
        """Measure the tokens of an operation: those that the model was given, and those that it has written."""
        for kind, count in (("input", given), ("output", written)):
            self.tokens.record(count, present({**attributes, "error.type": None, "gen_ai.token.type": kind}))


def _is_real(provider: object) -> bool:
    return provider is not None and not isinstance(provider, NoOpTracerProvider | NoOpMeterProvider)


def check_telemetry(value: object) -> None:
    """Check an argument.

    Raises:
        TypeError: It is no `Telemetry`.
    """
    if not isinstance(value, Telemetry):
        raise TypeError(f"telemetry must be a Telemetry: got {value!r}")


def present(attributes: Mapping[str, Value]) -> dict[str, str | int | float | bool | Sequence[str]]:
    """Attributes that are known."""
    return {name: value for name, value in attributes.items() if value is not None}


def run_attributes(run: Run, agent_name: str | None) -> dict[str, Value]:
    """What is known of a run, without anything that was said in it.

    Args:
        run: The run.
        agent_name: Its assistant's name, if that is known.
    """
    usage = run.usage
    return {
        "gen_ai.request.model": run.model,
        "gen_ai.agent.id": run.assistant_id,
        "gen_ai.agent.name": agent_name or None,
        "gen_ai.conversation.id": run.thread_id,
        "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
        "openai_runs.run.id": run.id,
        "openai_runs.run.status": str(run.status),
    }


def run_span_name(agent_name: str | None) -> str:
    """The name of a run's span."""
    return f"invoke_agent {agent_name}" if agent_name else "invoke_agent"


def run_failure(run: Run) -> str | None:
    """Why a run has failed; ``None`` if it has not, or was cancelled, as somebody wanted."""
    if run.status not in _FAILURES:
        return None
    return str(run.status) if run.last_error is None else run.last_error.code


def current(span: Span) -> AbstractContextManager[Span]:
    """A context in which a span is the current one; it neither ends the span nor records errors."""
    return trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)


def error_type(error: BaseException | None) -> str | None:
    """The kind of an error, for ``error.type``; ``None`` for a cancellation: then nobody waits for the result."""
    if not isinstance(error, Exception):
        return None
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def end(span: Span, failure: str | None, attributes: Mapping[str, Value]) -> None:
    """End a span.

    Args:
        span: The span.
        failure: The kind of error that it ended in, if it did.
        attributes: What is known at its end; ``None`` is left out.
    """
    span.set_attributes(present({**attributes, "error.type": failure}))
    if failure is not None:
        span.set_status(StatusCode.ERROR)
    span.end()
