"""`RunSpan`: the span of one call that starts a run or follows it, until the run ends or the caller leaves."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from types import TracebackType
from typing import Self, TypeVar

from opentelemetry.trace import SpanKind
from yarl import URL

from openai_runs._http.addresses import provider_of
from openai_runs.models.run import Run
from openai_runs.telemetry import (
    Telemetry,
    Value,
    current,
    end,
    error_type,
    present,
    run_attributes,
    run_failure,
    run_span_name,
)

T = TypeVar("T")


class RunSpan:
    """Records a run as ``invoke_agent``. It is current only within `within`."""

    def __init__(self, telemetry: Telemetry, base_url: str, latest: Callable[[], Run | None]) -> None:
        """Start the span.

        Args:
            telemetry: Records it.
            base_url: The endpoint.
            latest: Returns the run's latest snapshot, if there is one.
        """
        self._telemetry = telemetry
        self._latest = latest
        self._started = perf_counter()
        url = URL(base_url)
        self._measured: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": provider_of(url.host),
            "server.address": url.host,
            "server.port": url.port,
        }
        run = latest()
        known: dict[str, Value] = {}
        name = None if run is None else telemetry.agent_name(run.assistant_id)
        if run is not None:
            known = {
                "gen_ai.request.model": run.model,
                "gen_ai.agent.id": run.assistant_id,
                "gen_ai.agent.name": name,
            }
        self._span = telemetry.start(run_span_name(name), SpanKind.CLIENT, {**self._measured, **known})

    async def within(self, work: Awaitable[T]) -> T:
        """Await something whose spans are children of this one."""
        with current(self._span):
            return await work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        run = self._latest()
        if run is None:
            self._end(error_type(error), None)
        elif run.status.is_terminal:  # whatever else went wrong, this is how the run has ended
            self._end(run_failure(run), run)
        else:
            self._end(error_type(error), run)

    def _end(self, failure: str | None, run: Run | None) -> None:
        measured = {**self._measured, "error.type": failure}
        if run is None:
            end(self._span, failure, {})
        else:
            name = self._telemetry.agent_name(run.assistant_id)
            self._span.update_name(run_span_name(name))
            measured["gen_ai.request.model"] = run.model
            end(self._span, failure, run_attributes(run, name))
            if run.usage is not None:
                self._telemetry.note_tokens(run.usage.prompt_tokens, run.usage.completion_tokens, measured)
        self._telemetry.durations.record(perf_counter() - self._started, present(measured))
