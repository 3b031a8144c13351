"""`BatchProgress` and the recent rate, told by values."""

from hypothesis import given
from hypothesis import strategies as st

from openai_runs.batch.progress import RecentRate, seconds_left


class TestRate:
    def test_at_the_beginning(self) -> None:
        """It counts over the time that has passed."""
        rate = RecentRate(100.0)
        assert rate.per_second(100.0) == 0
        for _ in range(20):
            rate.add(102.0)
        assert rate.per_second(104.0) == 5

    def test_over_the_last_minute(self) -> None:
        """What ended more than a minute ago does not count."""
        rate = RecentRate(0.0)
        for second in range(300):
            rate.add(second + 0.5)
        assert rate.per_second(299.9) == 1
        assert rate.per_second(329.9) == 0.5
        assert rate.per_second(1000.0) == 0
        rate.add(1000.0)
        assert rate.per_second(1000.0) == 1 / 60

    @given(st.lists(st.floats(0, 500)))
    def test_against_a_list(self, times: list[float]) -> None:
        """It is the number of ends in the last 60 whole seconds, over a minute or the time since the beginning."""
        rate = RecentRate(0.0)
        for time in sorted(times):
            rate.add(time)
        now = max(times, default=0.0) + 1
        expected = sum(int(now) - 60 < int(time) for time in times) / min(now, 60)
        assert rate.per_second(now) == expected


def test_seconds_left() -> None:
    """They are told if the total is known and jobs have ended recently."""
    assert seconds_left(100, 40, 2.0) == 30
    assert seconds_left(100, 100, 0.0) == 0
    assert seconds_left(3, 5, 1.0) == 0
    assert seconds_left(100, 40, 0.0) is None
    assert seconds_left(None, 40, 2.0) is None
