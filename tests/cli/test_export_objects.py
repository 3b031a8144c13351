"""`openai-runs export`."""

import json
from pathlib import Path

from tests.cli.commands import run
from tests.cli.saved import THREAD


def test_export(tmp_path: Path):
    """Imported objects are exported unchanged, to standard output or a file; a missing store is an error."""
    saved, store = tmp_path / "saved.jsonl", tmp_path / "runs.db"
    saved.write_text(json.dumps(THREAD))
    run("import", saved, "--store", store)
    assert json.loads(run("export", "--store", store)) == THREAD
    run("export", "--store", store, "--output", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == THREAD
    assert "there is no store" in run("export", "--store", tmp_path / "none.db", exit_code=2)
