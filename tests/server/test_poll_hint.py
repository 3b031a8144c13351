"""How soon to ask again."""

from datetime import UTC, datetime

import pytest

from openai_runs.models.run import Run, RunStatus
from openai_runs.server import PollHint

CREATED = 1_800_000_000


def run(status=RunStatus.QUEUED):
    return Run(
        id="run_1",
        thread_id="thread_1",
        assistant_id="asst_1",
        status=status,
        created_at=datetime.fromtimestamp(CREATED, UTC),
    )


@pytest.mark.parametrize(("age", "delay"), [(0, 0.05), (-60, 0.05), (0.1, 0.05), (2, 0.2), (30, 3), (600, 5)])
def test_the_older_the_slower(age, delay):
    """A young run is asked for often, an old one less, never less than every few seconds."""
    assert PollHint(now=lambda: CREATED + age).delay(run()) == pytest.approx(delay)


@pytest.mark.parametrize("status", RunStatus)
def test_an_ended_run_is_not_asked_for(status):
    """There is a hint as long as there is something to wait for."""
    assert (PollHint(now=lambda: CREATED).delay(run(status)) is None) == status.is_terminal


def test_an_old_run_obeys_a_long_shortest():
    """`shortest` is what it says, whatever the other two are."""
    assert PollHint(shortest=10, now=lambda: CREATED + 600).delay(run()) == 10


def test_a_hint_of_nothing_would_be_a_busy_loop():
    """Zero is refused."""
    with pytest.raises(ValueError, match="shortest"):
        PollHint(shortest=0)
