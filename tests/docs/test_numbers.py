"""Numbers that pages name: they are what the code has, so a change of one is a change of both."""

import inspect
from pathlib import Path

import pytest
import stamina

from openai_runs import relay
from openai_runs._http import redaction, retries, sse
from openai_runs.backends import endpoint
from openai_runs.engine import engine, guard, ingestion, new_vector_stores
from openai_runs.engine.resources import runs
from openai_runs.errors import TransportError
from openai_runs.following import event_stream, leaving
from openai_runs.following.polling import Polling
from openai_runs.server import PassThrough, app, document, endpoint_connection, endpoint_files, sse_response, validation
from openai_runs.server.local import LocalServer
from openai_runs.stores import records
from openai_runs.toolbox import memory
from tests.cli.commands import run

DOCS = Path(__file__).parents[2] / "docs"
MB = 2**20


@pytest.mark.parametrize(
    ("page", "sentence", "value", "number"),
    [
        ("security.md", "the value has at least eight characters", redaction._MIN_LENGTH, 8),
        ("security.md", "a request body, also when it is compressed | 16 MB", app.MAX_BODY, 16 * MB),
        ("security.md", "an uploaded file | 512 MB", engine.MAX_FILE_BYTES, 512 * MB),
        ("explanation/differences.md", "| the largest file | 512 MB | 512 MB,", engine.MAX_FILE_BYTES, 512 * MB),
        ("how-to/run-as-a-service.md", "may have 512 MB each", engine.MAX_FILE_BYTES, 512 * MB),
        ("how-to/vector-stores.md", "expires after seven days", new_vector_stores.THREAD_STORE_DAYS, 7),
        ("security.md", "nesting of a request body | 128 levels", validation.MAX_DEPTH, 128),
        ("security.md", "together | 512 kB", runs._MAX_OUTPUT_BYTES, 512 * 1024),
        (
            "security.md",
            "the client or a backend reads, also when it is compressed | 16 MB",
            sse._MAX_EVENT_BYTES,
            16 * MB,
        ),
        ("security.md", "dropped after five minutes", sse_response._MAX_STALLED * sse_response.HEARTBEAT, 5 * 60),
        ("how-to/answer-tools.md", "the latest 4096 calls", memory._REMEMBERED, 4096),
        ("how-to/handle-errors.md", "(`Polling.outage`, 60 seconds by default", Polling().outage, 60),
        ("how-to/handle-errors.md", "a delay of more than 120 seconds", retries._MAX_SERVER_DELAY, 120),
        ("how-to/handle-errors.md", "take at most five seconds", leaving._CANCEL_TIMEOUT, 5),
        ("how-to/run-as-a-service.md", "16 MB and 500,000 JSON values per body", validation.MAX_VALUES, 500_000),
        ("how-to/run-as-a-service.md", "100,000 messages per thread", guard.MAX_MESSAGES, 100_000),
        ("how-to/run-as-a-service.md", "1,000 parts", document.MAX_PARTS, 1_000),
        ("how-to/run-as-a-service.md", "at 8 MB", records.PAGE_BYTES, 8 * MB),
        ("how-to/run-as-a-service.md", "more than 64 MB", records.MAX_HISTORY, 64 * MB),
        ("how-to/run-as-a-service.md", "every 15 seconds", sse_response.HEARTBEAT, 15),
        ("how-to/run-as-a-service.md", "After ten minutes of silence", PassThrough("http://x")._timeout, 10 * 60),
        ("security.md", "an error that is passed back | 1 MB", endpoint_connection._MAX_ERROR, MB),
        ("security.md", "such as a page of a list | 16 MB", endpoint_connection._MAX_ANSWER, 16 * MB),
        ("how-to/files-at-the-endpoint.md", "a thousand files", endpoint_files._STEPS["file"], 1_000),
        ("how-to/files-at-the-endpoint.md", "or a hundred vector stores", endpoint_files._STEPS["vector_store"], 100),
        ("how-to/files-at-the-endpoint.md", "for a minute at most", ingestion.PATIENCE, 60),
        ("how-to/stream-to-a-browser.md", "nothing else is sent for 15 seconds", relay.HEARTBEAT, 15),
    ],
)
def test_a_number_of_a_page(page: str, sentence: str, value: float, number: float):
    """Users plan by what the pages say: how large a body may be, how long a lost reader is kept."""
    assert value == number
    assert sentence in " ".join((DOCS / page).read_text("utf-8").split())


@pytest.mark.anyio
@pytest.mark.parametrize("count", [2, 5, 12])
async def test_how_long_retries_last(monkeypatch: pytest.MonkeyPatch, count: int):
    """Whoever makes a session patient chooses by the page's table."""
    asked = {}

    def retry_context(**options):
        asked.update(options)
        raise InterruptedError

    monkeypatch.setattr(stamina, "retry_context", retry_context)
    with pytest.raises(InterruptedError):
        await retries.Retry(None, TransportError("refused"), None, repeatable=True).run(count)
    shortest, longest = (
        sum(min(asked["wait_max"], asked["wait_initial"] * 2**n + jitter) for n in range(asked["attempts"] - 1))
        for jitter in (0, asked["wait_jitter"])
    )
    row = f"| {count} | {shortest:g} to {longest:g} |"
    assert row in (DOCS / "how-to/handle-errors.md").read_text("utf-8")


def test_delays_between_polls():
    """A run that takes a second is seen to end soon after, one that takes minutes is asked for every five seconds."""
    polling = Polling()
    assert (polling.first, polling.factor, polling.longest, polling.queued_timeout) == (0.25, 1.5, 5.0, 600.0)


@pytest.mark.parametrize("module", [event_stream, endpoint])
def test_the_end_of_a_response_is_not_waited_for_long(module):
    """Whoever has all events waits no noticeable time for a server that keeps the response open."""
    assert module._DRAIN_TIMEOUT == 0.1


def test_the_end_of_a_stream_without_done():
    """Nor does a run that has ended wait for a ``done`` that some endpoints leave out."""
    assert event_stream._DONE_TIMEOUT == 1.0


def test_runs_at_once():
    """The engine, `LocalServer` and the command line have one default; so has the size of files."""
    defaults = {inspect.signature(cls).parameters["max_active_runs"].default for cls in (engine.Engine, LocalServer)}
    assert defaults == {engine.MAX_ACTIVE_RUNS} == {100}
    sizes = {inspect.signature(cls).parameters["max_file_bytes"].default for cls in (engine.Engine, LocalServer)}
    assert sizes == {engine.MAX_FILE_BYTES}
    assert "Unset: 100." in " ".join(run("serve", "--help").replace("│", " ").split())
