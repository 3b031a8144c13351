"""`Pace`: what may be sent at a moment, by value."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.pacing.pace import Pace, Turn
from openai_runs.pacing.rate_limits import RateLimits

MINUTE = RateLimits(requests_per_minute=600, tokens_per_minute=90_000)
REQUESTS = (Turn.READ, Turn.CONTINUE, Turn.BEGIN)


def sent(pace: Pace, turn: Turn, began: float, seconds: float) -> list[float]:
    """When turns are taken by somebody who takes each as soon as it comes."""
    times, now = [], began
    while True:
        now += pace.wait(turn, now)
        if now >= began + seconds:
            return times
        if pace.wait(turn, now) == 0:
            pace.take(turn, now)
            times.append(now)


def test_without_limits() -> None:
    """Without limits, only polls are bounded, and of those only the ones whose time the server has not named."""
    pace = Pace(RateLimits())
    assert not pace.limits_requests
    assert not pace.limits_tokens
    for turn in (*REQUESTS, Turn.RUN, Turn.POLL):
        for _ in range(1000):
            pace.take(turn, 0)
        assert pace.wait(turn, 0) == 0
    assert len(sent(pace, Turn.IDLE_POLL, 0, 10)) == pytest.approx(2200, abs=2)


@given(turns=st.lists(st.tuples(st.floats(0, 3), st.sampled_from(REQUESTS)), max_size=100))
def test_all_requests_share_the_limit(turns: list[tuple[float, Turn]]) -> None:
    """In any stretch, requests of all kinds together are a second's worth and what the limit allows in it, at most."""
    pace, now, times = Pace(MINUTE), 0.0, []
    for pause, turn in turns:
        now += pause / 10
        now += pace.wait(turn, now)
        pace.take(turn, now)
        times.append(now)
    for first, began in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= 10 + 10 * (times[last] - began) + 1.1


def test_tokens() -> None:
    """Runs are charged what they are expected to use; what they used in the end is what counts."""
    pace = Pace(MINUTE)
    assert (pace.limits_requests, pace.limits_tokens) == (True, True)
    assert len(sent(pace, Turn.RUN, 0, 60)) == pytest.approx(90, abs=2)  # by the guess of 1000
    pace.costs.start("run_1", 1000, 60)
    pace.settle("run_1", 100, 60)
    assert len(sent(pace, Turn.RUN, 60, 60)) == pytest.approx(900 + 10, abs=5)
    taken = pace.take(Turn.RUN, 120)
    assert taken.tokens == 100
    before = pace.wait(Turn.RUN, 120)
    pace.give_back(taken, 120)
    assert before - pace.wait(Turn.RUN, 120) == pytest.approx(100 / 1500, rel=0.5)


@pytest.mark.parametrize("turn", [Turn.CONTINUE, Turn.IDLE_POLL])
def test_given_back(turn: Turn) -> None:
    """A turn that came to nothing is there for the next one."""
    pace = Pace(MINUTE)
    while pace.wait(turn, 0) == 0:
        taken = pace.take(turn, 0)
    pace.give_back(taken, 0)
    assert pace.wait(turn, 0) == 0


def test_reads_that_do_not_count() -> None:
    """Where reads are not counted, they and polls do not wait for the limit, nor count towards it."""
    pace = Pace(RateLimits(requests_per_minute=60, counts_reads=False, polls_per_second=30))
    assert len(sent(pace, Turn.IDLE_POLL, 0, 10)) == pytest.approx(330, abs=2)
    for _ in range(1000):
        assert pace.wait(Turn.READ, 10) == 0
        pace.give_back(pace.take(Turn.READ, 10), 10)
    assert pace.wait(Turn.BEGIN, 10) == 0
    pace.take(Turn.BEGIN, 10)
    assert pace.wait(Turn.BEGIN, 10) == pytest.approx(1)


@pytest.mark.parametrize("turn", [Turn.IDLE_POLL, Turn.POLL])
@pytest.mark.parametrize(
    ("limits", "a_second"),
    [
        (RateLimits(requests_per_minute=600), 5),
        (RateLimits(requests_per_minute=600, polls_per_second=2), 2),
        (RateLimits(polls_per_second=2), 2),
    ],
)
def test_polls(limits: RateLimits, a_second: float, turn: Turn) -> None:
    """Polls get half of the requests, or what the caller says if that is less."""
    assert len(sent(Pace(limits), turn, 0, 100)) == pytest.approx(a_second * 101, abs=2)


def test_the_lower_limit_holds() -> None:
    """Of the caller's limit and the endpoint's, the lower one holds; and so does what the endpoint says is left."""
    headers = {"x-ratelimit-limit-requests": "300", "x-ratelimit-limit-tokens": "180000"}
    pace = Pace(MINUTE)
    pace.note_headers(headers, 0)
    assert len(sent(pace, Turn.BEGIN, 10, 60)) == pytest.approx(305, abs=2)
    assert len(sent(pace, Turn.RUN, 10, 60)) == pytest.approx(90, abs=2)
    pace = Pace(RateLimits())
    pace.note_headers({**headers, "x-ratelimit-remaining-requests": "0"}, 0)
    assert (pace.limits_requests, pace.limits_tokens) == (True, True)
    assert pace.wait(Turn.BEGIN, 0) == pytest.approx(0.2)


def test_a_longer_window_is_remembered() -> None:
    """Once a limit has turned out to be for more than a minute, it stays that; another limit is for a minute."""
    pace = Pace(RateLimits())
    said = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
    pace.note_headers({**said, "x-ratelimit-reset-requests": "5m0s"}, 0)
    pace.note_headers({**said, "x-ratelimit-reset-requests": "1s"}, 0)
    assert pace.wait(Turn.BEGIN, 0) == pytest.approx(5)
    pace.note_headers({**said, "x-ratelimit-limit-requests": "120"}, 61)
    assert pace.wait(Turn.BEGIN, 61) == pytest.approx(0.5)


@pytest.mark.parametrize("turn", [Turn.BEGIN, Turn.RUN])
def test_limits_of_several_models(turn: Turn) -> None:
    """While responses name different limits, the lowest holds; once it is not named any more, another."""
    what = "requests" if turn is Turn.BEGIN else "tokens"
    pace, name = Pace(RateLimits(tokens_per_run=1)), f"x-ratelimit-limit-{what}"
    for second in range(60):
        for limit in ("60", "6000"):
            pace.note_headers({name: limit}, second)
            assert len(sent(pace, turn, second, 1)) <= 2
    pace.note_headers({name: "6000"}, 121)
    assert len(sent(pace, turn, 121, 10)) > 900
    for limit in range(1, 1000):  # an endpoint that makes them up
        pace.note_headers({name: str(limit)}, 122)
    assert len(sent(pace, turn, 200, 10)) > 100


@given(asked=st.none() | st.floats(0.01, 1e6), rate=st.sampled_from([None, 600.0]))
def test_a_refusal_closes_the_session(asked: float | None, rate: float | None) -> None:
    """After a refusal nothing is sent for a while, then less than before, and never two at once at the beginning."""
    pace = Pace(RateLimits(requests_per_minute=rate))
    for number in range(300):
        pace.take(Turn.BEGIN, number / 10)
    pace.note_refusal(29.95, asked, 30)
    pause = 1.0 if asked is None else min(asked, 60.0)
    for turn in Turn:
        assert pace.wait(turn, 30) >= pause - 1e-9
    times = sent(pace, Turn.BEGIN, 30, pause + 6)
    assert times[0] >= 30 + pause - 1e-9
    assert all(later - earlier > 0.09 for earlier, later in pairwise(times))
    assert len([time for time in times if time < 30 + pause + 5]) <= 5 * 10 * 0.6


def test_a_late_refusal_keeps_what_has_grown() -> None:
    """A 429 response to an older request makes a pause if it asks for one; the rate is afterwards what it was."""
    pace = Pace(MINUTE)
    sent(pace, Turn.BEGIN, 0, 60)
    pace.note_refusal(59.9, None, 60)
    assert len(sent(pace, Turn.BEGIN, 66, 2)) > 15
    pace.note_refusal(59.95, 10.0, 68)
    assert len(sent(pace, Turn.BEGIN, 68, 12)) > 15


def test_only_a_whole_rate_is_measured() -> None:
    """Requests that take turns while others need none are not the session's rate."""
    pace = Pace(RateLimits())
    pace.take(Turn.BEGIN, 0)
    pace.note_refusal(9, None, 10)
    assert len(sent(pace, Turn.BEGIN, 11, 10)) > 50


def test_a_refusal_is_forgotten() -> None:
    """A limit that only a refusal has set is removed after a minute in which nobody had to wait, and not before."""
    pace = Pace(RateLimits())
    pace.note_free(0)
    pace.note_refusal(-1, 10, 0)
    assert pace.limits_requests
    pace.note_free(69)
    assert pace.limits_requests
    pace.note_wait(69)
    pace.note_free(120)
    assert pace.limits_requests
    pace.note_free(130)
    assert not pace.limits_requests
    assert pace.wait(Turn.BEGIN, 130) == 0
    assert math.isinf(pace._adaptive.at(130))
