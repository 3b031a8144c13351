"""Options of commands that read a file of jobs."""

import pytest
import typer

from openai_runs.batch.message_template import MessageTemplate
from openai_runs.cli.job_options import Window, check_deadline, parse_message, worker_count


def test_a_template() -> None:
    """It is optional; one that cannot be read is refused by its option's name."""
    assert parse_message(None) is None
    assert parse_message("Say {text}") == MessageTemplate.parse("Say {text}")
    with pytest.raises(typer.BadParameter, match="--message: "):
        parse_message("{")


@pytest.mark.parametrize(
    ("workers", "window", "at_once", "count"),
    [
        (None, None, None, 8),
        (None, None, 4, 8),
        (None, Window.TWO_HOURS, None, 1000),
        (None, Window.EIGHT_HOURS, 50, 50),
        (3, Window.EIGHT_HOURS, 50, 3),
    ],
)
def test_workers(workers: int | None, window: Window | None, at_once: int | None, count: int) -> None:
    """Many runs that take hours are in progress at once, as far as all processes together may have them."""
    assert worker_count(workers, window, at_once) == count


def test_deadlines() -> None:
    """One that leaves a run its window is as good as none."""
    for deadline, window in (None, Window.TWO_HOURS), (1.0, None), (7200.0, Window.TWO_HOURS):
        check_deadline(deadline, window)
    with pytest.raises(typer.BadParameter, match="--completion-window: got 28799 s"):
        check_deadline(28_799, Window.EIGHT_HOURS)
