"""A folder of questions, answered by the command of the page."""

from pathlib import Path

import pytest

from tests.examples.programs import run

COMMAND = "python docs/examples/batch_folder.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"What is {name}?")
    return tmp_path


def answers(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.answer")}


def test_each_question_is_answered_beside_it(folder: Path, endpoint: str):
    """The bar goes to standard error, so that the summary may be piped."""
    done = run(COMMAND, str(folder), OPENAI_BASE_URL=endpoint)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 answered, 0 failed\n"
    assert "3/3" in done.stderr
    assert answers(folder) == {f"{name}.answer": f"You said: What is {name}?" for name in "abc"}


def test_what_is_done_is_not_asked_again(folder: Path, endpoint: str):
    """Started again, it goes on."""
    (folder / "a.answer").write_text("my own answer")
    done = run(COMMAND, str(folder), "--workers=1", OPENAI_BASE_URL=endpoint)
    assert done.stdout == "2 answered, 0 failed\n"
    assert answers(folder)["a.answer"] == "my own answer"
    assert run(COMMAND, str(folder), OPENAI_BASE_URL=endpoint).stdout == "0 answered, 0 failed\n"


def test_a_question_that_fails_is_named(folder: Path, endpoint: str):
    """The others are answered, the exit code tells, and the next start asks it again."""
    (folder / "b.txt").write_text("x" * 300_000)
    done = run(COMMAND, str(folder), OPENAI_BASE_URL=endpoint)
    assert done.returncode == 1
    assert done.stdout == "2 answered, 1 failed\n"
    assert "b.txt: " in done.stderr
    assert set(answers(folder)) == {"a.answer", "c.answer"}


def test_a_question_may_be_in_any_encoding(folder: Path, endpoint: str):
    """An odd byte stops nothing."""
    (folder / "b.txt").write_bytes(b"\xe4?")
    run(COMMAND, str(folder), OPENAI_BASE_URL=endpoint)
    assert answers(folder)["b.answer"] == "You said: \N{REPLACEMENT CHARACTER}?"
