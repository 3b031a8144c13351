"""`openai-runs copy`."""

from pathlib import Path

import pytest

from openai_runs.backends import Say, ScriptedBackend
from openai_runs.file_search import SQLiteIndex
from openai_runs.file_search.search_index import NewFile
from openai_runs.models.run import RunStatus
from openai_runs.models.thread import Thread
from openai_runs.stores.postgres import PostgresStore
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run, run_in_thread
from tests.cli.saved import left_unfinished
from tests.engine.world import world
from tests.postgres import Postgres
from tests.stores.objects import file, thread

pytestmark = pytest.mark.anyio


async def test_there_and_back(postgres_server: Postgres, tmp_path: Path):
    """A run that was left unfinished in a file goes on in PostgreSQL, and what came of it is in the next file."""
    url, folder = postgres_server.store_url(), tmp_path / "files"
    run_id, _, _ = await left_unfinished(tmp_path / "old.db")
    async with SQLiteIndex(tmp_path / "old.db-index") as index:
        await index.add(NewFile(store_id="vs_1", file_id="file-1", filename="tea.md", chunks=["Tea is hot."]))
    output = await run_in_thread("copy", tmp_path / "old.db", url, "--files-folder", folder)
    assert "contents of 0 files, and what was read of 1 files in vector stores, from " in output.replace("\n", " ")
    async with world(ScriptedBackend([Say("Hello")]), store=PostgresStore(url, folder=folder)) as w:
        record = await w.store.get(type((await w.store.unfinished())[0].value), run_id)
        assert record is not None
        run_ = await w.engine.runs.retrieve(record.owner, record.value.thread_id, run_id)
        await w.until("run.completed", run_)
    output = await run_in_thread("copy", url, tmp_path / "new.db", "--files-folder", folder)
    assert output.endswith(f" to {tmp_path / 'new.db'}\n")
    async with SQLiteIndex(tmp_path / "new.db-index") as index:
        assert await index.chunks("vs_1", "file-1") == ["Tea is hot."]
    async with SQLiteStore(tmp_path / "new.db") as store:
        assert await store.unfinished() == []
        found = await store.get(type(run_), run_id)
        assert found is not None
        assert found.value.status is RunStatus.COMPLETED


async def test_refusals(postgres_server: Postgres, tmp_path: Path):
    """No such source, a target with objects, two databases: each error says what to do, and no password."""
    url, folder = postgres_server.store_url(), ("--files-folder", tmp_path / "files")
    assert "there is no store" in await run_in_thread("copy", tmp_path / "no.db", url, *folder, exit_code=2)
    async with SQLiteStore(tmp_path / "old.db") as store:
        await store.commit([thread("t")])
    assert "has no tables" in await run_in_thread("copy", url, tmp_path / "new.db", *folder, exit_code=1)
    await run_in_thread("copy", tmp_path / "old.db", url, *folder)
    output = await run_in_thread("copy", tmp_path / "old.db", url, *folder, exit_code=1)
    assert "it has objects; name an empty one" in output
    assert "pg_dump copies all" in run("copy", url, "postgresql://me:secret@db.example/runs", exit_code=2)
    async with PostgresStore(url, folder=tmp_path / "files") as store:
        assert [record.value.id async for record in store.everything(Thread)] == ["t"]


async def test_a_content_that_is_not_there(postgres_server: Postgres, tmp_path: Path):
    """It is told, and the rest is copied."""
    async with SQLiteStore(tmp_path / "old.db") as store:
        await store.commit([file("file_1")])
    output = await run_in_thread(
        "copy", tmp_path / "old.db", postgres_server.store_url(), "--files-folder", tmp_path / "files"
    )
    assert "the content of file_1 is not there" in output
    assert "copied 1 objects" in output
