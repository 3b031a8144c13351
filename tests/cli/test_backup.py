"""`openai-runs backup`: while the server runs, and while it does not; and what is made of a backup."""

import json
from pathlib import Path

import anyio
import pytest

from openai_runs import Session
from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run, run_in_thread
from tests.serving import serving
from tests.stores.objects import thread
from tests.weather import QUICK

pytestmark = pytest.mark.anyio

NOTES = b"The password of the cellar is plover."


async def test_a_backup_of_a_running_server_is_served(tmp_path: Path):
    """Runs, files and searches are in it as they were; the server goes on meanwhile, and a second backup, too."""
    store, copy = tmp_path / "runs.db", tmp_path / "copy" / "runs.db"
    copy.parent.mkdir()
    with serving(store) as (url, _):
        async with Session(url, "unused") as session:
            assistant = await session.assistants.create(model="scripted")
            run_ = await session.threads.create_and_run(assistant_id=assistant.id)
            run_ = await session.runs.complete(run_, polling=QUICK)
            shelf = await session.vector_stores.create()
            file = await session.vector_stores.files.upload_and_poll(
                shelf.id, NOTES, filename="notes.txt", polling=QUICK
            )
            output = await run_in_thread("backup", copy, "--store", store)
            assert output == f"backed up to {copy}, with the contents of 1 files, and their index\n"
            later = await session.threads.create()
            shown = json.loads(await run_in_thread("backup", tmp_path / "two.db", "--store", store, "--json"))
            assert (shown["target"], shown["contents"], shown["has_index"]) == (str(tmp_path / "two.db"), 1, True)
            assert shown["bytes"] > 4096
            output = await run_in_thread("backup", copy, "--store", store, exit_code=1)
            assert "is there already" in output
    with serving(copy) as (url, _):
        async with Session(url, "unused") as session:
            assert await session.runs.retrieve(run_) == run_
            assert [found.id async for found in session.threads.list()] == [run_.thread_id]
            assert await session.files.content(file.id).read() == NOTES
            [found] = (await session.vector_stores.search(shelf.id, query="the cellar")).data
            assert found.file_id == file.id
            again = await session.runs.create(run_.thread_id, assistant_id=assistant.id)
            assert (await session.runs.complete(again, polling=QUICK)).status == "completed"
    with serving(tmp_path / "two.db") as (url, _):
        async with Session(url, "unused") as session:
            assert await session.threads.retrieve(later.id) == later


async def test_a_store_that_nobody_serves(tmp_path: Path):
    """The command copies it itself; one that another program has is refused, with the reason."""
    async with SQLiteStore(tmp_path / "runs.db") as store:
        await store.commit([thread("t")])
        output = await run_in_thread("backup", tmp_path / "copy.db", "--store", tmp_path / "runs.db", exit_code=1)
        assert "it is in use, and one process at a time can have it" in output
    output = await run_in_thread("backup", tmp_path / "copy.db", "--store", tmp_path / "runs.db")
    assert output == f"backed up to {tmp_path / 'copy.db'}, with the contents of 0 files\n"
    output = await run_in_thread("backup", tmp_path / "copy.db", "--store", tmp_path / "runs.db", exit_code=1)
    assert "is there already" in output
    async with SQLiteStore(tmp_path / "copy.db") as copy:
        assert await copy.count_objects() == 1


def test_what_cannot_be_backed_up(tmp_path: Path):
    """A database, and a store that is not there."""
    assert "pg_dump" in run("backup", tmp_path / "copy.db", "--store", "postgresql://me@db.example/runs", exit_code=2)
    assert "there is no store" in run("backup", tmp_path / "copy.db", "--store", tmp_path / "none.db", exit_code=2)


async def test_a_server_that_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a last line there is no backup, and the exit code says so."""
    path = tmp_path / "runs.db"

    async def carry_out(_: object) -> None:
        raise anyio.get_cancelled_exc_class()

    monkeypatch.setattr("openai_runs.stores.backup.StoreBackup.carry_out", carry_out)
    async with LocalServer(store=SQLiteStore(path), operator_file=tmp_path / "runs.db-operator"):
        output = await run_in_thread("backup", tmp_path / "copy.db", "--store", path, exit_code=1)
    assert "has ended before the backup had" in output or "has gone away" in output
