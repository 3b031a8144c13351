"""`RateLimits`: what is refused, by name."""

import math

import pytest

from openai_runs import RateLimits, Session


@pytest.mark.parametrize("name", ["requests_per_minute", "tokens_per_minute", "tokens_per_run", "polls_per_second"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_no_limit(name: str, value: float) -> None:
    """A limit is a finite number above 0; the error names it."""
    with pytest.raises(ValueError, match=f"RateLimits.{name} must be a finite number above 0"):
        RateLimits(**{name: value})


def test_wrong_types() -> None:
    """What is not a number is refused by name, and so is what is not a bool."""
    with pytest.raises(TypeError, match=r"RateLimits\.requests_per_minute must be a number or None: got '600'"):
        RateLimits(requests_per_minute="600")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"RateLimits\.tokens_per_run must be a number: got None"):
        RateLimits(tokens_per_run=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"RateLimits\.counts_reads must be True or False: got 1"):
        RateLimits(counts_reads=1)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"rate_limits must be a RateLimits, such as RateLimits\(requests_per_minute=600\): got dict"
    ):
        Session("http://127.0.0.1:1/v1", rate_limits={"requests_per_minute": 600})  # type: ignore[arg-type]
