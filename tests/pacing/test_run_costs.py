"""`RunCosts`: what is charged for runs, in the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.pacing.run_costs import RunCosts


@given(used=st.lists(st.integers(0, 10**6), min_size=1, max_size=50), at_once=st.integers(1, 10))
def test_what_was_used_is_charged(used: list[int], at_once: int) -> None:
    """Estimates and corrections together are what the runs have used, however many are under way."""
    costs, charged = RunCosts(1000.0), 0.0
    for number in range(len(used) + at_once):
        if number < len(used):
            charged += costs.estimate
            costs.start(f"run_{number}", costs.estimate, 0)
        if number >= at_once:
            charged += costs.end(f"run_{number - at_once}", used[number - at_once])
    assert charged == pytest.approx(sum(used), abs=1e-3)


def test_the_mean() -> None:
    """The first run that ends replaces the guess; then it is the mean, which follows where the runs go."""
    costs = RunCosts(1000.0)
    for number, used in enumerate([100, 300, 200]):
        costs.start(f"run_{number}", costs.estimate, 0)
        costs.end(f"run_{number}", used)
        assert costs.estimate == [100, 200, 200][number]
    for number in range(1000):
        costs.start(f"more_{number}", costs.estimate, 0)
        costs.end(f"more_{number}", 5000)
    assert costs.estimate == pytest.approx(5000, rel=0.01)


def test_what_is_not_settled() -> None:
    """A run is settled once; one that is not this session's, or without usage, changes nothing."""
    costs = RunCosts(1000.0)
    costs.start("run_1", 1000, 0)
    costs.start("run_2", 1000, 0)
    assert costs.end("run_1", 400) == -600
    assert costs.end("run_1", 400) == 0
    assert costs.end("run_2", None) == 0
    assert costs.end("run_9", 10**6) == 0
    assert costs.estimate == 400


def test_a_run_that_never_ends() -> None:
    """It is forgotten after an hour, so that memory does not grow."""
    costs = RunCosts(1000.0)
    costs.start("lost", 1000, 0)
    costs.start("slow", 1000, 1800)
    costs.start("new", 1000, 3600)
    assert costs.end("lost", 5) == 0
    assert costs.end("slow", 5) == -995
