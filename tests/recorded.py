"""Telemetry that is kept in memory, and read as a tree of spans and as sums."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define, field
from opentelemetry import context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Status

from openai_runs.telemetry import Telemetry


@define
class _Started(SpanProcessor):
    """Notes every span that has begun, so that one that never ends is seen."""

    spans: list[Any] = field(factory=list)

    def on_start(self, span: Any, parent_context: context.Context | None = None) -> None:
        self.spans.append(span)


@define(init=False)
class Recorded:
    """Providers of spans and metrics that keep all of them."""

    def __init__(self) -> None:
        self._started = _Started()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(self._started)
        self.meters = MeterProvider([self._reader])

    _started: _Started
    _reader: InMemoryMetricReader
    tracers: TracerProvider
    meters: MeterProvider

    def telemetry(self, **options: Any) -> Telemetry:
        """A `Telemetry` that is kept here."""
        return Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def spans(self) -> list[ReadableSpan]:
        """All spans, in the order in which they began. All have ended, and none is current."""
        assert all(span.end_time is not None for span in self._started.spans), "a span has not ended"
        assert not trace.get_current_span().get_span_context().is_valid, "a span is still current"
        return self._started.spans

    def tree(self) -> list[str]:
        """The names of all spans, each below its parent, the oldest first."""
        return list(self._below(None, 0))

    def _below(self, parent: int | None, depth: int) -> Iterator[str]:
        for span in self.spans:
            if (span.parent and span.parent.span_id) == parent:
                yield "  " * depth + span.name
                yield from self._below(span.context.span_id, depth + 1)

    def one(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (span,) = (span for span in self.spans if span.name == name)
        return span

    def attributes(self, name: str) -> list[Mapping[str, Any]]:
        """The attributes of the spans of this name."""
        return [dict(span.attributes or {}) for span in self.spans if span.name == name]

    def status(self, name: str) -> Status:
        """How the only span of this name has ended."""
        return self.one(name).status

    def measured(self, name: str) -> list[tuple[Mapping[str, Any], HistogramDataPoint]]:
        """The points of a histogram, with their attributes."""
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        metrics = [metric for by in data.resource_metrics for scope in by.scope_metrics for metric in scope.metrics]
        return [(dict(p.attributes or {}), p) for m in metrics if m.name == name for p in m.data.data_points]
