"""The page for programs that come back: what it shows of an assistant with an old ID works as it stands."""

import json
import re
from pathlib import Path

import anyio
import pytest

from openai_runs.server import LocalServer
from openai_runs.stores.sqlite import SQLiteStore
from tests.cli.commands import run_in_thread

PAGE = (Path(__file__).parents[2] / "docs/how-to/revive-a-program.md").read_text("utf-8")

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]


async def test_an_assistant_with_an_old_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's file, imported by the page's command, is an assistant under its old ID."""
    monkeypatch.chdir(tmp_path)
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (arguments,) = re.findall(r"^\$ openai-runs (import assistants\.json .*)$", PAGE, re.MULTILINE)
    await anyio.Path("assistants.json").write_text(shown)
    output = await run_in_thread(*arguments.split())
    assert "added: 1 assistant," in output
    async with LocalServer(store=SQLiteStore("runs.db")) as server, server.session() as session:
        assistant = await session.assistants.retrieve("asst_old123")
        assert assistant.instructions == json.loads(shown)["instructions"]
        run = await session.threads.create_and_run(assistant_id="asst_old123")
        assert (await session.runs.complete(run)).assistant_id == "asst_old123"
