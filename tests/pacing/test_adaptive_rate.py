"""`AdaptiveRate`: what refusals make of the rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.pacing.adaptive_rate import AdaptiveRate

NONE = math.inf


def busy(rate: float, seconds: float = 60.0) -> AdaptiveRate:
    """After requests at that rate, from the time 0 on."""
    adaptive = AdaptiveRate()
    for number in range(int(rate * seconds)):
        adaptive.count(number / rate)
    return adaptive


@given(rate=st.floats(1, 100), seconds=st.floats(2, 60))
def test_measured(rate: float, seconds: float) -> None:
    """The rate is measured well even if there is little to measure, and falls when nothing is sent."""
    adaptive = busy(rate, seconds)
    assert adaptive.measured(seconds) == pytest.approx(rate, rel=0.3, abs=0.7)
    assert adaptive.measured(seconds + 60) < rate / 10


def test_half_and_back() -> None:
    """A refusal halves the measured rate; after half a minute it is what it was, and it goes on growing."""
    adaptive = busy(20)
    assert (adaptive.at(60), adaptive.is_limited) == (math.inf, False)
    adaptive.refuse(59.9, 60, NONE)
    assert adaptive.is_limited
    assert adaptive.at(60) == pytest.approx(10, rel=0.1)
    assert adaptive.at(75) == pytest.approx(15, rel=0.1)
    assert adaptive.at(90) == pytest.approx(20, rel=0.1)
    assert adaptive.at(120) == pytest.approx(30, rel=0.1)


def test_below_a_known_limit() -> None:
    """A rate that was low because there was little to send grows back as fast as the limit allows."""
    adaptive = busy(2)
    adaptive.refuse(59.9, 60, 60.0)
    assert adaptive.at(60) == pytest.approx(1, rel=0.1)
    assert adaptive.at(70) == pytest.approx(31, rel=0.1)
    adaptive = busy(100)
    adaptive.refuse(59.9, 60, 30.0)
    assert adaptive.at(60) == 15


def test_nothing_measured() -> None:
    """If nothing is known, it begins with one request a second, and doubles until the next refusal."""
    adaptive = AdaptiveRate()
    adaptive.refuse(-1, 0, NONE)
    assert [adaptive.at(seconds) for seconds in (0, 2, 4, 6)] == [1, 2, 4, 8]
    assert math.isfinite(adaptive.at(1e9))
    for tenth in range(60):
        adaptive.count(tenth / 10)
    adaptive.accept(5.8)
    adaptive.refuse(5.9, 6, NONE)
    assert adaptive.at(6) == pytest.approx(4, rel=0.3)
    assert adaptive.at(7) - adaptive.at(6) < 0.2


def test_one_refusal_counts_once() -> None:
    """What was under way at a refusal says nothing new; what was sent later does, once something has got through."""
    adaptive = busy(20)
    adaptive.refuse(59.9, 60, NONE)
    half = adaptive.at(60)
    assert adaptive.refuse(59.95, 60.1, NONE) == 0
    assert adaptive.at(60) == half
    adaptive.accept(59.95)  # it was under way, too
    adaptive.refuse(60.5, 61, NONE)
    assert adaptive.at(61) == half
    adaptive.accept(61.5)
    adaptive.refuse(61.6, 62, NONE)
    assert adaptive.at(62) < half * 0.7


def test_pauses() -> None:
    """Refusals in a row make pauses of 1, 2, 4 and at most 30 seconds, and leave the rate as it is."""
    adaptive = busy(20)
    pauses = [adaptive.refuse(60 + 100 * n, 61 + 100 * n, NONE) for n in range(12)]
    assert pauses == [1, 2, 4, 8, 16, *[30] * 7]
    assert adaptive.at(1161) == pytest.approx(10, rel=0.1)


@given(refusals=st.lists(st.tuples(st.floats(0.1, 100), st.booleans()), max_size=50))
def test_never_none_at_all(refusals: list[tuple[float, bool]]) -> None:
    """However often it is refused, a request every ten seconds is left."""
    adaptive, now = busy(1), 60.0
    for pause, got_through in refusals:
        now += pause
        adaptive.refuse(now - 0.05, now, NONE)
        if got_through:
            adaptive.accept(now + 0.01)
        assert adaptive.at(now) >= 0.1


def test_held() -> None:
    """During a pause it does not grow."""
    adaptive = busy(20)
    adaptive.refuse(59.9, 60, NONE)
    adaptive.hold(60, 90)
    adaptive.hold(60, 80)
    assert adaptive.at(60) == adaptive.at(90) < adaptive.at(91)


@pytest.mark.parametrize("measured", [True, False])
def test_held_after_growth(measured: bool) -> None:
    """What it has grown to before a pause is what it goes on from; without end it does not grow."""
    adaptive = busy(20) if measured else AdaptiveRate()
    adaptive.refuse(59.9, 60, NONE)
    grown = adaptive.at(90)
    adaptive.hold(90, 100)
    assert adaptive.at(95) == adaptive.at(100) == grown < adaptive.at(101)
    for _ in range(100):
        now = adaptive._since + 1000.0
        adaptive.hold(now, now + 60)
    assert adaptive.is_limited


def test_little_to_send() -> None:
    """A session that did not send what it might has not measured what the endpoint bears: that is found out again."""
    adaptive = AdaptiveRate()
    adaptive.refuse(-1, 0, NONE)
    for tenth in range(100):  # ten seconds of work, then idle
        adaptive.count(1 + tenth / 10)
    adaptive.accept(5)
    adaptive.count(50)
    adaptive.refuse(50, 50.1, NONE)
    assert [adaptive.at(50.1 + seconds) for seconds in (0, 2, 8)] == pytest.approx([1, 2, 16])
    adaptive = busy(20)
    adaptive.refuse(59.9, 60, NONE)
    for number in range(40):  # two a second, where ten and more are allowed
        adaptive.count(61 + number / 2)
    adaptive.accept(70)
    adaptive.refuse(80, 80.9, NONE)
    assert adaptive.at(86.9) == pytest.approx(8 * adaptive.at(80.9))
    assert adaptive.at(80.9) >= 1


def test_back_at_work() -> None:
    """A pause in which nothing was sent does not lower the rate that is measured afterwards."""
    adaptive = busy(20)
    for number in range(20):
        adaptive.count(100 + number / 20)
    assert adaptive.measured(101) == pytest.approx(20, rel=0.1)


def test_lifted() -> None:
    """A limit that is removed leaves no trace: the next refusal counts, and what was measured long ago does not."""
    adaptive = busy(20)
    adaptive.refuse(59.9, 60, NONE)
    adaptive.lift()
    assert (adaptive.at(61), adaptive.is_limited, adaptive.measured(61)) == (math.inf, False, math.inf)
    assert adaptive.refuse(-1, 70, NONE) == 1
    assert adaptive.at(70) == 1
