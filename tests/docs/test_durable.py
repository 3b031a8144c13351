"""The pages about durable batches: their commands are real ones, and the Compose file fits together."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
import yaml
from typer.main import get_command

from openai_runs.cli import app

pytestmark = pytest.mark.unmeasured

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = ("durable-batch.md", "durable-on-several-machines.md", "batch-from-the-command-line.md")


def blocks(page: str, language: str) -> list[str]:
    """The blocks of code of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands in what a terminal shows, each in one line."""
    return re.findall(r"^\$ (.*)$", text.replace("\\\n", " "), re.MULTILINE)


def parse(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of a command that begins with `openai-runs`, as the command line reads them."""
    monkeypatch.chdir(folder)
    name, *words = shlex.split(command)
    assert name == "openai-runs"
    words = [word for word in words if word not in (">", "so-far.jsonl")]
    found: Any = get_command(app)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    files = [word.lstrip("/") for word in words if word.endswith((".jsonl", ".csv"))]
    for file in files:
        (folder / file).touch()
    words = [word.lstrip("/") if word.endswith((".jsonl", ".csv")) else word for word in words]
    context: typer.Context = found.make_context("openai-runs", words)
    return dict(context.params)


@pytest.mark.parametrize("page", PAGES)
def test_the_commands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each has only arguments and options that there are, with values that they take."""
    shown = [line for text in blocks(page, "console") for line in commands(text)]
    ours = [line[line.index("openai-runs ") :] for line in shown if "openai-runs " in line and "pip" not in line]
    for command in ours:
        parse(command, tmp_path, monkeypatch)
    if page == "durable-on-several-machines.md":
        assert len(ours) >= 6


def test_the_compose_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Three workers find the database that is there, and their limits agree with their number."""
    (text,) = blocks("durable-on-several-machines.md", "yaml")
    file = yaml.safe_load(text)
    db, worker = file["services"]["db"], file["services"]["worker"]
    options = parse(" ".join(worker["command"].split()), tmp_path, monkeypatch)
    url = sa.make_url(options["store"])
    assert (url.host, url.username, url.password) == (
        "db",
        db["environment"]["POSTGRES_USER"],
        db["environment"]["POSTGRES_PASSWORD"],
    )
    assert url.database == db["environment"]["POSTGRES_USER"]  # the image makes it under this name
    assert options["create"]
    assert worker["deploy"]["replicas"] == 3
    assert options["workers"] < options["at_once"] < 3 * options["workers"]
    assert worker["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert "healthcheck" in db
    assert [volume.partition(":")[0] for volume in db["volumes"]] == list(file["volumes"])
    assert worker["stop_signal"] == "SIGINT"
