"""Headers of limits, as OpenAI, Azure and proxies write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.pacing.rate_headers import Allowance, is_limited, read_allowance, read_duration

#: OpenAI's guide has these.
DOCUMENTED = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-reset-tokens": "6m0s",
}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1s", 1),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("7.66s", 7.66),
        ("1d", 86400),
        ("10us", 1e-5),
        ("10µs", 1e-5),
        ("46", 46),
        ("0.5", 0.5),
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1s later", None),
        ("nan", None),
        ("1e999", None),
        ("Fri, 27 Nov 2026 21:00:00 GMT", None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    """Durations in OpenAI's form, and Azure's plain seconds; anything else is ignored."""
    assert read_duration(text) == (None if seconds is None else pytest.approx(seconds))


@given(st.text() | st.from_regex(r"[0-9]{1,400}(ms|s|m|h|d)?"))
def test_any_text(text: str) -> None:
    """No text raises, and none is an infinite time."""
    seconds = read_duration(text)
    assert seconds is None or 0 <= seconds < math.inf


def test_the_documented_ones() -> None:
    """The limit is for a minute, unless it takes longer until all is there again."""
    assert is_limited(DOCUMENTED)
    assert read_allowance(DOCUMENTED, "requests") == Allowance(60, 59, 60)
    assert read_allowance(DOCUMENTED, "tokens") == Allowance(150000, 149984, 360)


def test_what_is_missing() -> None:
    """A limit alone will do; without one, or with one of 0, nothing is known. A window of a day is not believed."""
    assert read_allowance({"x-ratelimit-limit-tokens": "100"}, "tokens") == Allowance(100, math.inf, 60)
    assert is_limited({"x-ratelimit-limit-tokens": "100"})
    assert not is_limited({"x-ratelimit-remaining-tokens": "100"})
    for limit in ({}, {"x-ratelimit-limit-requests": "0"}, {"x-ratelimit-limit-requests": "many"}):
        assert read_allowance({"x-ratelimit-remaining-requests": "5", **limit}, "requests") is None
    a_day = {"x-ratelimit-limit-requests": "200", "x-ratelimit-reset-requests": "24h0m0s"}
    assert read_allowance(a_day, "requests") == Allowance(200, math.inf, 600)
