"""`Metrics`: what a server counts for Prometheus.

No label has a value that a client can make up: no IDs, models or paths, only templates, codes and statuses, and the
labels of owners that have limits, which the operator has chosen. So the number of time series has a limit, and whoever
reads them learns nothing about a user.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter
from typing import Final

from attrs import define

from openai_runs._extras import needs
from openai_runs.backends.model_backend import BackendEvent, ModelRequest
from openai_runs.engine import Engine
from openai_runs.engine.observer import Note, call_failure
from openai_runs.engine.turn_output import TurnProgress
from openai_runs.models.run import Run, RunStatus
from openai_runs.server.gate import Gate
from openai_runs.server.owner_metrics import OwnerCollector
from openai_runs.stores.records import RunState

with needs("server"):
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_REQUEST_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_RUN_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0)
_COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

_ENDS: Final = tuple(status for status in RunStatus if status.is_terminal)
_ERROR_CODES: Final = ("server_error", "rate_limit_exceeded", "invalid_prompt")
_TOKENS: Final = ("prompt", "completion")


@define(eq=False)
class _Known:
    """What is known of a run that has not ended."""

    began: float | None  # ``None`` if that was before this engine has started
    queued: float | None = None
    has_token: bool = False


class Metrics:
    """Counts runs, model calls, commits and requests; an `Observer`.

    Attributes:
        registry: Has all metrics; it is not Prometheus' global one, so that a process may have several servers.
    """

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self._known: dict[str, _Known] = {}
        ProcessCollector(registry=self.registry)
        self._ends = self._counter("run_ends", "Runs that have ended, by status.", "status")
        self._durations = self._histogram(
            "run_duration", "From creation to end, waits for tools included.", _RUN_SECONDS
        )
        self._waits = self._histogram("run_queue", "How long runs were queued, each time.", _RUN_SECONDS)
        self._first = self._histogram("run_first_token", "From creation to the first token.", _RUN_SECONDS)
        self._calls = self._histogram("model_call_duration", "Calls of the model, retries included.", _RUN_SECONDS)
        self._errors = self._counter("model_call_errors", "Calls of the model that have failed, by code.", "code")
        self._tokens = self._counter("tokens", "Tokens as the model's endpoint has reported them.", "kind")
        self._commits = self._histogram("store_commit_duration", "Commits of the store.", _COMMIT_SECONDS)
        self._requests = self._counter("http_requests", "Requests that were answered.", "method", "route", "status")
        self._request_durations = self._histogram(
            "http_request_duration", "Requests, streams to their ends.", _REQUEST_SECONDS, "method", "route"
        )
        for counter, values in (self._ends, _ENDS), (self._errors, _ERROR_CODES), (self._tokens, _TOKENS):
            for value in values:  # a rate needs the zero from which it rises
                counter.labels(value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"openai_runs_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"openai_runs_{name}_seconds", text, labels, registry=self.registry, buckets=buckets)

    def show_load(self, engine: Engine, open_streams: Callable[[], int]) -> None:
        """Show, whenever the metrics are read, what there is at that time."""
        shown: dict[str, tuple[str, Callable[[], int]]] = {
            "runs_executing": ("Runs that execute.", lambda: engine.load[0]),
            "runs_queued": ("Runs that wait for a place.", lambda: engine.load[1]),
            "streams_open": ("Streams of events that are open.", open_streams),
        }
        for name, (text, value) in shown.items():
            Gauge(f"openai_runs_{name}", text, registry=self.registry).set_function(value)

    def show_owners(self, engine: Engine, gate: Gate, owners: Callable[[], Iterable[str]]) -> None:
        """Show likewise what owners use of their limits."""
        self.registry.register(OwnerCollector(engine, gate, owners))

    def count_request(self, method: str, route: str, status: str, seconds: float) -> None:
        """Count a request, by the template of its path."""
        self._requests.labels(method, route, status).inc()
        self._request_durations.labels(method, route).observe(seconds)

    def run_resumed(self, run: Run, _: RunState | None) -> None:
        """Note a run of which the beginning is not known."""
        self._known[run.id] = known = _Known(None)
        self._note(known, run)

    def run_changed(self, run: Run, _: RunState | None) -> None:
        """Count what has become of a run."""
        known = self._known.get(run.id)
        if known is None:
            if run.status.is_terminal:  # it was given up earlier, as it could not be ended
                return
            known = self._known[run.id] = _Known(perf_counter())
        self._note(known, run)

    def run_left(self, run_id: str) -> None:
        """Forget a run that another server has; it counts the end."""
        self._known.pop(run_id, None)

    def _note(self, known: _Known, run: Run) -> None:
        now = perf_counter()
        if run.status is RunStatus.QUEUED:
            known.queued = now if known.queued is None else known.queued
        elif known.queued is not None:
            self._waits.observe(now - known.queued)
            known.queued = None
        if run.status.is_terminal:
            del self._known[run.id]
            self._ends.labels(run.status).inc()
            if known.began is not None:
                self._durations.observe(now - known.began)

    def committed(self, seconds: float) -> None:
        """Count a commit."""
        self._commits.observe(seconds)

    def executing(self, run_id: str) -> AbstractContextManager[None]:  # noqa: ARG002  # an observer of spans needs it
        """Nothing is counted."""
        return nullcontext()

    @contextmanager
    def model_call(self, request: ModelRequest, progress: TurnProgress) -> Generator[Note]:
        """Count a model call, and its tokens."""
        began, known = perf_counter(), self._known.get(request.run_id)

        def note(_: BackendEvent) -> None:
            if known is not None and known.began is not None and not known.has_token:
                known.has_token = True
                self._first.observe(perf_counter() - known.began)

        try:
            yield note
        except BaseException as error:
            if (code := call_failure(error)) is not None:
                self._errors.labels(code).inc()
            raise
        finally:
            self._calls.observe(perf_counter() - began)
            used = progress.usage.prompt_tokens, progress.usage.completion_tokens
            for kind, count in zip(_TOKENS, used, strict=True):
                self._tokens.labels(kind).inc(count)

    def close(self) -> None:
        """Forget the runs that are left."""
        self._known.clear()
