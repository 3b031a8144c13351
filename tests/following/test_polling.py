"""`Polling`: the delay until the next poll, as a value."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.following.polling import Polling


class TestPolling:
    positive = st.floats(1e-3, 1e3)

    @given(
        first=positive,
        factor=st.floats(1, 10) | st.integers(1, 10),
        longest=positive,
        unchanged=st.integers(0, 10**9),
    )
    def test_bounds(self, first: float, factor: float, longest: float, unchanged: int) -> None:
        """Delays are positive, never above `longest`, and never shrink while nothing changes."""
        polling = Polling(first=first, factor=factor, longest=longest)
        delay = polling.delay(unchanged)
        assert 0 < delay <= longest
        assert delay <= polling.delay(unchanged + 1)
        assert polling.delay(0) == min(first, longest)

    @given(hint=st.floats(0.02, 60), unchanged=st.integers(0, 100))
    def test_the_hint_wins(self, hint: float, unchanged: int) -> None:
        """The server's hint wins, whether shorter or longer than ours."""
        assert Polling().delay(unchanged, hint) == hint

    @given(hint=st.floats(-1e308, 1e308), longest=st.floats(0.001, 1e6), unchanged=st.integers(0, 100))
    def test_a_hint_has_bounds(self, hint: float, longest: float, unchanged: int) -> None:
        """No hint makes a client poll without a pause, nor wait for ever: a minute, or `longest` if that is more."""
        delay = Polling(first=0.001, longest=longest).delay(unchanged, hint)
        assert 0.02 <= delay <= max(60.0, longest)
        assert Polling(longest=300).delay(unchanged, 1e9) == 300.0

    @pytest.mark.parametrize(("hint", "delay"), [(1.0, 1.0), (480.0, 480.0), (1e9, 480.0)])
    def test_a_completion_window_allows_longer_hints(self, hint: float, delay: float) -> None:
        """The server's hint may be a sixtieth of the window; without a hint the window changes nothing."""
        assert Polling().delay(0, hint, window=8 * 3600.0) == delay
        assert Polling().delay(100, window=8 * 3600.0) == 5.0

    def test_extremes(self) -> None:
        """No delay exceeds `longest`, whatever the other settings are."""
        assert Polling(first=1e308, factor=10, longest=math.inf).delay(64) == math.inf
        assert Polling(first=1e308, factor=10, longest=5.0).delay(10**9) == 5.0
        assert Polling().delay(0, -1.0) == 0.02

    @pytest.mark.parametrize(
        "options",
        [
            {"first": 0},
            {"first": math.nan},
            {"factor": 0.99},
            {"factor": 11},
            {"longest": 0},
            {"queued_timeout": 0},
            {"outage": -1},
        ],
    )
    def test_useless(self, options: dict[str, float]) -> None:
        """A setting that would poll without a pause, or wait for ever, is refused."""
        (name,) = options
        with pytest.raises(ValueError, match=name):
            Polling(**options)

    def test_no_number(self) -> None:
        """The error names the setting as callers write it."""
        with pytest.raises(TypeError, match=r"Polling\.first must be a number of seconds: got '1'"):
            Polling(first="1")

    def test_for_ever(self) -> None:
        """With queued_timeout=None a run may stay queued without limit."""
        assert Polling(queued_timeout=None).queued_timeout is None
