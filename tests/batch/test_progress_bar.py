"""`progress_bar`: a batch's progress, as text that rich draws."""

import io
import sys

import pytest
from attrs import define
from rich.console import Console

from openai_runs.batch.progress import BatchProgress
from openai_runs.batch.progress_bar import progress_bar
from openai_runs.errors import MissingExtraError

START = BatchProgress(
    total=None, taken=0, done=0, failed=0, in_flight=0, waiting=0, tokens=0, rate=0.0, seconds_left=None
)


@define
class Stated:
    """Stands for a batch in a certain state."""

    progress: BatchProgress


def drawn(progress: BatchProgress, terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal, color_system=None)
    batch = Stated(START)
    with progress_bar(batch, "documents", console=console):  # type: ignore[arg-type]  # a double of a batch
        batch.progress = progress
    return console.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO


def test_all_that_is_known() -> None:
    """The bar tells everything that is known of the batch, up to its latest state."""
    text = drawn(
        BatchProgress(
            total=100_000,
            taken=61_240,
            done=61_200,
            failed=12,
            in_flight=32,
            waiting=8,
            tokens=9_876_543,
            rate=41.25,
            seconds_left=3725.4,
        )
    )
    assert "documents" in text
    facts = "61,200/100,000, 12 failed, 32 in flight, 8 waiting, 9,876,543 tokens, 41.2/s, 1:02:05 left"
    assert facts in " ".join(text.split())


def test_little_is_known() -> None:
    """What is not known, or zero, is left out."""
    text = drawn(START)
    assert "0, 0.0/s" in text
    assert "left" not in text
    assert "failed" not in text


def test_no_terminal() -> None:
    """Where there is no terminal, the last state is printed once, and no control characters are."""
    text = drawn(BatchProgress(
        total=4, taken=2, done=1, failed=0, in_flight=1, waiting=0, tokens=0, rate=0.5, seconds_left=65.0
    ), terminal=False)  # fmt: skip
    assert text.count("1/4, 1 in flight, 0.5/s, 1:05 left") == 1
    assert "\x1b" not in text


def test_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rich, the import says which extra to install."""
    monkeypatch.delitem(sys.modules, "openai_runs.batch.progress_bar")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'openai_runs\[server\]'"):
        import openai_runs.batch.progress_bar  # noqa: F401
