"""Telemetry is off unless it is asked for; what it says of runs and errors."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider, SpanKind

from openai_runs._wire import load
from openai_runs.models.assistant import Assistant
from openai_runs.models.run import Run
from openai_runs.session import Session
from openai_runs.telemetry import Telemetry, current, end, error_type, run_attributes, run_failure
from tests.following.story import run
from tests.recorded import Recorded
from tests.test_extras import bare


@pytest.mark.unmeasured
def test_off_loads_nothing() -> None:
    """A session and a server without telemetry execute a streamed run with a tool, and load no OpenTelemetry."""
    code = """
import asyncio, sys
from openai_runs.server import LocalServer
from openai_runs.toolbox import Toolbox

async def main():
    toolbox = Toolbox()
    toolbox.tool(lambda: "noon", name="now")
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="m", tools=toolbox.tools)
        thread = await session.threads.create()
        async with session.runs.stream(thread.id, assistant_id=assistant.id, toolbox=toolbox) as events:
            print((await events.until_done()).status)
    print([name for name in sys.modules if "telemetry" in name or name.endswith("_span")])

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "completed\n[]\n"


def test_without_the_extra() -> None:
    """The error says what to install."""
    done = bare("import openai_runs.telemetry", packages=("opentelemetry",))
    assert done.stderr.splitlines()[-1].startswith(
        "openai_runs.errors.MissingExtraError: opentelemetry is not installed; it comes with pip install "
        "'openai_runs[otel]'"
    )


def test_names_of_assistants(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest name counts; one that was taken away is forgotten, and the oldest make room."""
    monkeypatch.setattr("openai_runs.telemetry._MOST_NAMES", 2)
    telemetry = Recorded().telemetry()
    for id, name in (("a", "A"), ("b", "B"), ("b", None), ("c", "C"), ("a", "A2"), ("d", "D")):
        telemetry.note_agent(Assistant(id=id, created_at=datetime.now(UTC), model="m", name=name))
    assert [telemetry.agent_name(id) for id in "abcd"] == ["A2", None, None, "D"]


COUNT = """
import asyncio, sys
from openai_runs.server import LocalServer

async def main():
    async with LocalServer() as server, server.session() as session:
        assistant = await session.assistants.create(model="m")
        thread = await session.threads.create()
        run = await session.runs.create(thread.id, assistant_id=assistant.id)
        await session.runs.complete(run)
        await session.runs.retrieve(run)
        calls = 0

        def count(frame, event, _):
            nonlocal calls
            calls += event == "call" and "openai_runs" in frame.f_code.co_filename

        sys.setprofile(count)
        await session.runs.retrieve(run)
        sys.setprofile(None)
    print(calls)

asyncio.run(main())
"""


@pytest.mark.unmeasured
def test_off_costs_nothing() -> None:
    """Fetching a run makes the same calls in client and server, whether or not OpenTelemetry is installed."""
    with_it, without_it = bare(COUNT, packages=()), bare(COUNT, packages=("opentelemetry",))
    assert (with_it.stderr, without_it.stderr) == ("", "")
    assert with_it.stdout == without_it.stdout


COUNT_MORE = """
import asyncio, sys
from openai_runs.server import LocalServer
from openai_runs.telemetry import Telemetry

ROOMS = "openai_runs", "opentelemetry", "aiohttp/tracing", "aiosignal", "os.py"

async def calls_of(server, **options):
    async with server.session(**options) as session:
        assistant = await session.assistants.create(model="m")
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        await session.runs.complete(run)
        calls = 0

        def count(frame, event, _):
            nonlocal calls
            calls += event == "call" and any(room in frame.f_code.co_filename for room in ROOMS)

        sys.setprofile(count)
        await session.runs.retrieve(run)
        sys.setprofile(None)
        return calls

async def main():
    async with LocalServer() as server:
        print(await calls_of(server, telemetry=Telemetry()) - await calls_of(server))

asyncio.run(main())
"""


@pytest.mark.unmeasured
def test_without_a_provider_it_costs_next_to_nothing() -> None:
    """A request makes a few calls more, which look whether there is a provider by now."""
    done = bare(COUNT_MORE, packages=())
    assert done.stderr == ""
    assert int(done.stdout) <= 8


LATE = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from openai_runs.server import LocalServer
from openai_runs.telemetry import Telemetry

async def main():
    telemetry, kept, provider = Telemetry(), InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    async with LocalServer(telemetry=telemetry) as server, server.session(telemetry=telemetry) as session:
        assistant = await session.assistants.create(model="m")
        trace.set_tracer_provider(provider)
        run = await session.threads.create_and_run(assistant_id=assistant.id)
        await session.runs.complete(run)
    print(*sorted({span.name for span in kept.get_finished_spans()}))

asyncio.run(main())
"""


def test_a_provider_that_is_set_late() -> None:
    """From then on, all is recorded."""
    done = bare(LATE, packages=())
    assert done.stderr == ""
    assert done.stdout == "GET POST POST /v1/threads/runs chat m invoke_agent queued\n"


@pytest.mark.parametrize(
    ("options", "records"),
    [
        ({}, False),
        ({"tracer_provider": NoOpTracerProvider()}, False),
        ({"tracer_provider": NoOpTracerProvider(), "meter_provider": NoOpMeterProvider()}, False),
        ({"tracer_provider": TracerProvider()}, True),
        ({"meter_provider": MeterProvider()}, True),
    ],
)
def test_whether_it_records(options: dict[str, Any], records: bool) -> None:
    """That is told by the providers: those that it is given, else the global ones."""
    assert Telemetry(**options).records is records


def test_a_trace_without_a_provider() -> None:
    """What is in the context is passed on, so then there is something to do."""
    telemetry = Telemetry()
    assert not telemetry.is_needed()
    parent = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=True))
    with trace.use_span(parent):
        assert telemetry.is_needed()


def test_without_a_provider() -> None:
    """OpenTelemetry's API alone records nothing, and nothing fails."""
    span = Telemetry().start("name", SpanKind.INTERNAL, {})
    with current(span):
        end(span, None, {})
    assert not span.is_recording()


def test_an_argument_that_is_none() -> None:
    """The error names it."""
    with pytest.raises(TypeError, match="telemetry must be a Telemetry: got True"):
        Session("http://127.0.0.1:1", telemetry=True)  # type: ignore[arg-type]


def test_repr() -> None:
    """It says what is recorded."""
    assert repr(Telemetry(record_content=True)) == "Telemetry(record_content=True)"


def test_a_current_span() -> None:
    """It is current inside, and afterwards what was current before; an error passes it by."""
    recorded = Recorded()
    span = recorded.telemetry().start("name", SpanKind.INTERNAL, {"known": 1, "unknown": None})

    def fail() -> None:
        with current(span):
            assert trace.get_current_span() is span
            raise KeyError("secret")

    with pytest.raises(KeyError):
        fail()
    end(span, "KeyError", {"late": "yes", "later": None})
    assert recorded.attributes("name") == [{"known": 1, "late": "yes", "error.type": "KeyError"}]
    assert recorded.status("name").description is None
    assert recorded.one("name").events == ()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (None, None),
        (KeyError("x"), "KeyError"),
        (subprocess.SubprocessError(), "subprocess.SubprocessError"),
        (GeneratorExit(), None),
    ],
)
def test_kinds_of_errors(error: BaseException | None, kind: str | None) -> None:
    """A class by its full name; that nobody waits any more is no error."""
    assert error_type(error) == kind


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        ({"status": "completed"}, None),
        ({"status": "cancelled"}, None),
        ({"status": "in_progress"}, None),
        ({"status": "expired"}, "expired"),
        (
            {"status": "failed", "last_error": {"code": "rate_limit_exceeded", "message": "secret"}},
            "rate_limit_exceeded",
        ),
    ],
)
def test_why_a_run_failed(fields: Any, failure: str | None) -> None:
    """The code of its error, or its status; a cancelled run has not failed."""
    assert run_failure(load(run(**fields), Run)) == failure


def test_what_is_known_of_a_run() -> None:
    """Names, IDs and numbers, and nothing that was said."""
    told = load(run("completed", instructions="secret", usage=None), Run)
    assert {name: value for name, value in run_attributes(told, "").items() if value is not None} == {
        "gen_ai.request.model": told.model,
        "gen_ai.agent.id": told.assistant_id,
        "gen_ai.conversation.id": "thread_1",
        "openai_runs.run.id": "run_1",
        "openai_runs.run.status": "completed",
    }
