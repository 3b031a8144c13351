"""Errors of any command: one sentence, and an exit code."""

from pathlib import Path

import pytest
import typer

from openai_runs.cli import terminal
from openai_runs.server import LocalServer
from tests.cli.commands import run, run_in_thread
from tests.cli.saved import left_unfinished
from tests.stores.faulty import damage

pytestmark = pytest.mark.anyio


def test_an_error_is_a_sentence_and_not_a_traceback():
    """An unreachable endpoint: the output says what was tried, and the exit code is 1."""
    output = run("demo", "--base-url", "http://127.0.0.1:1/v1", exit_code=1)
    assert "POST /v1/assistants at http://127.0.0.1:1/v1" in output
    assert "Is the server running" in output
    assert "ssl" not in output
    assert "Traceback" not in output
    assert "no endpoint" in run("follow", "thread_1", "run_1", exit_code=1)


@pytest.mark.parametrize(("key", "words"), [("sk-2", "is it one of this endpoint's"), ("", "set OPENAI_API_KEY")])
async def test_a_key_that_is_refused(monkeypatch: pytest.MonkeyPatch, key: str, words: str) -> None:
    """The sentence names the variable from which a key comes, and says whether a key was sent."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    async with LocalServer(keys={"sk-1": "a"}) as server:
        output = await run_in_thread("runs", "list", "--base-url", server.url, exit_code=1)
    assert words in output
    assert ".." not in output


async def test_a_damaged_store_is_a_sentence_too(tmp_path: Path):
    """A damaged record: the output says so, and the exit code is 1."""
    _, _, message_id = await left_unfinished(tmp_path / "runs.db")
    damage(tmp_path / "runs.db", message_id)
    output = await run_in_thread("export", "--store", tmp_path / "runs.db", exit_code=1)
    assert "damaged" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(("options", "code"), [({}, 130), ({"interrupted": 3}, 3)])
def test_ctrl_c(options: dict[str, int], code: int) -> None:
    """It ends a command without a traceback; the exit code is the shells' one, unless the command has its own."""

    async def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        terminal.run(work(), **options)
    assert ended.value.exit_code == code
