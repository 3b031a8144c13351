"""`openai-runs vacuum`."""

import json
from pathlib import Path

import pytest

from openai_runs.models.thread import Thread
from openai_runs.server import LocalServer
from openai_runs.stores.records import Delete
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run, run_in_thread
from tests.stores.objects import message, thread

pytestmark = pytest.mark.anyio


async def test_a_stopped_server(tmp_path: Path):
    """The sizes of the file before and after, for people and for programs."""
    path = tmp_path / "runs.db"
    async with SQLiteStore(path) as store:
        await store.commit([thread("t"), *(message(f"m{n}", "t", text="x" * 5000) for n in range(500))])
        await store.commit([Delete(Thread, "t")])
    output = await run_in_thread("vacuum", "--store", path)
    assert output.startswith(f"{path}: ")
    assert "MB given back" in output
    shown = json.loads(await run_in_thread("vacuum", "--store", path, "--json"))
    assert shown == {"file": str(path), "bytes_before": path.stat().st_size, "bytes_after": path.stat().st_size}


async def test_refusals(tmp_path: Path):
    """A running server, a database and a file that is not there; each error says what to do."""
    path = tmp_path / "runs.db"
    async with LocalServer(store=SQLiteStore(path), operator_file=tmp_path / "runs.db-operator"):
        output = await run_in_thread("vacuum", "--store", path, exit_code=1)
        assert "a server has the store" in output
        assert "stop it first" in output
    assert "autovacuum" in run("vacuum", "--store", "postgresql://me@db.example/runs", exit_code=2)
    assert "there is no store" in run("vacuum", "--store", tmp_path / "none.db", exit_code=2)
