"""Checks of plain arguments: what is refused, and how the error names it."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest

from openai_runs._arguments import check_count, check_rate, check_seconds


@pytest.mark.parametrize("value", [1, 2, 10**30, True])
def test_counts(value):
    """A whole number that is large enough passes; ``True`` is one in Python."""
    check_count("workers", value, least=1)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "workers must be at least 1: got 0"),
        (-1, ValueError, "workers must be at least 1: got -1"),
        (1.0, TypeError, "workers must be a whole number: got 1.0"),
        ("2", TypeError, "workers must be a whole number: got '2'"),
        (None, TypeError, "workers must be a whole number: got None"),
    ],
)
def test_what_is_no_count(value, error, message):
    """The error names the argument and the value."""
    with pytest.raises(error) as caught:
        check_count("workers", value, least=1)
    assert str(caught.value) == message


@pytest.mark.parametrize("value", [0.001, 1, Fraction(1, 3), math.inf])
def test_seconds(value):
    """Any real number above 0 passes."""
    check_seconds("deadline", value)


def test_rates():
    """Any finite number above 0 passes, and ``None`` where it is allowed."""
    check_rate("rate", 0.5)
    check_rate("rate", None, none=True)


def test_seconds_that_only_some_take():
    """0 and ``None`` pass where they are allowed."""
    check_seconds("outage", 0, zero=True)
    check_seconds("deadline", None, none=True)


@pytest.mark.parametrize(
    ("value", "options", "error", "message"),
    [
        (0, {}, ValueError, "deadline must be more than 0 seconds: got 0"),
        (-1, {"zero": True}, ValueError, "deadline must be at least 0 seconds: got -1"),
        (math.nan, {}, ValueError, "deadline must be more than 0 seconds: got nan"),
        (math.nan, {"zero": True}, ValueError, "deadline must be at least 0 seconds: got nan"),
        (None, {}, TypeError, "deadline must be a number of seconds: got None"),
        ("1", {"none": True}, TypeError, "deadline must be a number of seconds or None: got '1'"),
        (Decimal(1), {}, TypeError, "deadline must be a number of seconds: got Decimal('1')"),
    ],
)
def test_what_is_no_number_of_seconds(value, options, error, message):
    """The error names the argument, the value and what would be allowed."""
    with pytest.raises(error) as caught:
        check_seconds("deadline", value, **options)
    assert str(caught.value) == message
