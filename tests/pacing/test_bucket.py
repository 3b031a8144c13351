"""`Bucket`: how much may be taken in any stretch of time."""

import math
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.pacing.bucket import Bucket

RATES = st.floats(0.1, 1000)
PAUSES = st.lists(st.floats(0, 20), max_size=60)


def limited(rate: float, now: float = 0.0) -> Bucket:
    bucket = Bucket()
    bucket.set_rate(rate, now)
    return bucket


@given(rate=RATES, pauses=PAUSES, amounts=st.lists(st.floats(0.1, 5), min_size=60, max_size=60))
def test_any_stretch(rate: float, pauses: list[float], amounts: list[float]) -> None:
    """In any stretch of time, what is taken is a burst, what accrues in it, and one amount beyond a burst at most."""
    bucket = limited(rate)
    taken = [(0.0, 0.0)]
    for now, amount in zip(accumulate(pauses), amounts, strict=False):
        if bucket.wait(amount, now) == 0:
            bucket.take(amount, now)
            taken.append((now, amount))
    for first, (began, _) in enumerate(taken):
        total = 0.0
        for now, amount in taken[first:]:
            total += amount
            assert total <= bucket.capacity + rate * (now - began) + 5 + 1e-3 * len(taken)


@given(rate=RATES, pauses=PAUSES, amount=st.floats(0.1, 5000))
def test_the_wait_is_exact(rate: float, pauses: list[float], amount: float) -> None:
    """After the seconds that it says, and not before, the amount may be taken, be it more than a burst."""
    bucket, now = limited(rate), 0.0
    for pause in pauses[:10]:
        now += pause
        if (wait := bucket.wait(amount, now)) > 1e-3:
            assert bucket.wait(amount, now + wait / 2) > 0
        now += wait
        assert bucket.wait(amount, now + 1e-6) == 0
        bucket.take(amount, now)


def test_without_a_limit() -> None:
    """Anything may be taken, at any time."""
    bucket = Bucket()
    bucket.take(1e9, 0)
    bucket.drain(100)
    bucket.lower(0, 0)
    assert bucket.wait(1e9, 0) == 0


def test_a_new_limit_is_full_and_a_changed_one_is_not() -> None:
    """A limit that appears allows a burst; one that rises does not allow another."""
    bucket = limited(10)
    assert bucket.wait(10, 0) == 0
    bucket.take(10, 0)
    bucket.set_rate(100, 0)
    assert bucket.wait(1, 0) == pytest.approx(0.01)
    bucket.set_rate(100, 5)
    bucket.set_rate(1, 5)
    assert bucket.capacity == 1
    assert bucket.wait(1, 5) == 0
    bucket.take(1, 5)
    assert bucket.wait(1, 5) == 1


def test_debts() -> None:
    """More than a burst is taken from a full bucket, and the next one waits for all of it; what is given back helps."""
    bucket = limited(10)
    bucket.take(50, 0)
    assert bucket.wait(1, 0) == pytest.approx(4.1)
    bucket.take(-45, 0)
    assert bucket.wait(1, 0) == 0
    bucket.take(-1000, 0)
    assert bucket.wait(11, 0) == 0
    bucket.take(11, 0)
    assert bucket.wait(1, 0) == pytest.approx(0.2)


def test_drained() -> None:
    """Until then nothing accrues; a level that the endpoint names lowers ours and never raises it."""
    bucket = limited(10)
    bucket.drain(3)
    assert bucket.wait(1, 0) == pytest.approx(3.1)
    assert bucket.wait(1, 3) == pytest.approx(0.1)
    bucket.drain(2)
    assert bucket.wait(1, 3) == pytest.approx(0.1)
    assert bucket.wait(10, 4) == 0
    bucket.lower(2, 4)
    assert bucket.wait(10, 4) == pytest.approx(0.8)
    bucket.lower(math.inf, 4)
    assert bucket.wait(10, 4) == pytest.approx(0.8)
