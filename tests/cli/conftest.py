"""Commands see no endpoint and no keys of whoever runs the tests."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from openai_runs.backends.scripted import ScriptedBackend
from openai_runs.server import LocalServer, PollHint
from tests.batch.durable.conftest import empty_store, postgres_url, server_of_databases  # noqa: F401  # fixtures
from tests.cli.batches import Endpoint, Files


@pytest.fixture(autouse=True)
def _no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OPENAI_RUNS_", "OPENAI_BASE_URL", "OPENAI_API_KEY"))]:
        monkeypatch.delenv(name)


class Patient(ScriptedBackend):
    """A script for runs with completion windows, too."""

    completion_windows = ("2h", "8h")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with anyio.from_thread.start_blocking_portal() as portal:
        endpoint = Endpoint(portal, portal.call(anyio.Event))
        hint = PollHint(window_share=0.0)  # its runs take no hours
        endpoint.server = LocalServer(backend=Patient(endpoint.turn), store=endpoint.store, poll_hint=hint)
        with portal.wrap_async_context_manager(endpoint.server):
            monkeypatch.setenv("OPENAI_BASE_URL", endpoint.server.url)
            monkeypatch.setenv("OPENAI_RUNS_ASSISTANT", portal.call(endpoint.add_assistant))
            yield endpoint
            portal.call(endpoint.gate.set)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "jobs.jsonl", tmp_path / "results.jsonl")


@pytest.fixture
def batches(empty_store: Path, tmp_path: Path) -> Path:  # noqa: F811  # the fixture
    """A store of durable batches, with its tables."""
    return Path(shutil.copy(empty_store, tmp_path / "batches.db"))
