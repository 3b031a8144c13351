"""Bars for the runs of a page."""

from hypothesis import given
from hypothesis import strategies as st

from openai_runs import Run, load
from openai_runs.server.console.charts import charts
from tests.following.story import run


def row(number: int, seconds: float, tokens: int | None = None, status: str = "completed") -> tuple[Run, float]:
    usage = None if tokens is None else {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": tokens}
    return load(run(status, id=f"run_{number}", usage=usage), Run), seconds


def test_bars():
    """The oldest run is on the left, and the highest bar is the most."""
    took, tokens = charts([row(3, 0, 0, "failed"), row(2, 65, 4_000), row(1, 26, 1_000)])
    assert (took.title, took.summary) == ("Took", "median 26 s, most 1 min 5 s")
    assert [(bar.label, bar.height, bar.status) for bar in took.bars] == [
        ("run_1: 26 s", 40, "completed"),
        ("run_2: 1 min 5 s", 100, "completed"),
        ("run_3: 1 ms", 2, "failed"),
    ]
    assert (tokens.title, tokens.summary) == ("Tokens", "median 1,000, most 4,000")
    assert [bar.x for bar in tokens.bars] == [0, 33.33, 66.67]


def test_what_is_not_known():
    """A run without tokens leaves its place free; a single value is no chart."""
    took, tokens = charts([row(3, 1, 5), row(2, 1, None), row(1, 1, 5)])
    assert len(took.bars) == 3
    assert [bar.label for bar in tokens.bars] == ["run_1: 5", "run_3: 5"]
    (took,) = charts([row(2, 1, 5), row(1, 1)])
    assert took.title == "Took"
    assert charts([row(1, 1, 5)]) == charts([]) == ()


@given(st.lists(st.floats(0, 1e9), min_size=2, max_size=50))
def test_bars_stay_inside(seconds: list[float]):
    """Whatever the values are."""
    for chart in charts([row(number, each) for number, each in enumerate(seconds)]):
        for bar in chart.bars:
            assert 0 < bar.height <= 100
            assert bar.x + bar.width <= 100.01
