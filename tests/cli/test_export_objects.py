"""`openai-runs export`."""

import json
from pathlib import Path

import pytest

from openai_runs import Session
from tests.cli.commands import run, run_in_thread, run_without_reader
from tests.cli.saved import THREAD
from tests.postgres import Postgres
from tests.serving import serving


def test_export(tmp_path: Path):
    """Imported objects are exported unchanged, to standard output or a file; a missing store is an error."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    threads = [THREAD, THREAD | {"id": "thread_2"}]
    saved.write_text(json.dumps(threads))
    run("import", saved, "--store", store)
    assert [json.loads(line) for line in run("export", "--store", store).splitlines()] == threads
    run("export", "--store", store, "--output", tmp_path / "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == threads
    assert "there is no store" in run("export", "--store", tmp_path / "none.db", exit_code=2)


def test_export_that_nobody_reads(tmp_path: Path):
    """A closed pipe, as behind ``| head``, is no error."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    saved.write_text("\n".join(json.dumps(THREAD | {"id": f"thread_{number}"}) for number in range(2000)))
    run("import", saved, "--store", store)
    assert run_without_reader("export", "--store", store) == (0, "")


def test_export_of_an_unknown_owner(tmp_path: Path):
    """An owner without objects is an error that names the owners there are; a file that exists is not emptied."""
    saved, store, output = tmp_path / "saved.jsonl", tmp_path / "runs.db", tmp_path / "out.jsonl"
    saved.write_text(json.dumps(THREAD))
    output.write_text("kept")
    run("import", saved, "--store", store, "--owner", "shop")
    assert "the owners in it are 'shop'" in run("export", "--store", store, "--output", output, exit_code=1)
    assert output.read_text() == "kept"
    assert json.loads(run("export", "--store", store, "--owner", "shop")) == THREAD


def test_a_database(tmp_path: Path, postgres_server: Postgres):
    """The same with a store in PostgreSQL, whose files are in a folder; one without tables is an error."""
    store = ("--store", postgres_server.store_url(), "--files-folder", tmp_path / "files")
    assert "has no tables" in run("export", *store, exit_code=1)
    (saved := tmp_path / "saved.jsonl").write_text(json.dumps(THREAD))
    run("import", saved, *store)
    assert json.loads(run("export", *store)) == THREAD
    assert "there is no run run_1" in run("runs", "end", "run_1", *store, exit_code=1)


@pytest.mark.unmeasured
@pytest.mark.anyio
@pytest.mark.parametrize("where", ["sqlite", "postgres"])
async def test_while_the_server_runs(tmp_path: Path, where: str, request: pytest.FixtureRequest):
    """The server itself tells what is in its file, or shares its database; an unknown owner is an error as ever."""
    if where == "sqlite":
        options = [tmp_path / "runs.db"]
    else:
        url = request.getfixturevalue("postgres_server").store_url()
        options = [url, "--files-folder", tmp_path / "files"]
    (tmp_path / "keys").write_text("sk-a al")
    more = [*map(str, options[1:]), "--keys-file", str(tmp_path / "keys"), *["--replica"] * (where == "postgres")]
    with serving(options[0], *more) as (url, _):
        async with Session(url, "sk-a") as session:
            made = await session.threads.create(messages=[{"role": "user", "content": "Hi"}])
            output = await run_in_thread("export", "--store", *options, "--owner", "al")
            assert [json.loads(line)["object"] for line in output.splitlines()] == ["thread", "thread.message"]
            output = await run_in_thread("export", "--store", *options, exit_code=1)
            assert "the owners in it are 'al'" in output
            assert await session.threads.retrieve(made.id) == made
