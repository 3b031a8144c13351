"""Checks of numbers that callers pass: a wrong one raises in the call that has it, not later where it is used."""

import math
from numbers import Integral, Real


def check_count(name: str, value: object, *, least: int) -> None:
    """Check that an argument is a whole number of at least ``least``.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is too small.
    """
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number: got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}: got {value}")


def check_seconds(name: str, value: object, *, zero: bool = False, none: bool = False) -> None:
    """Check that an argument is a number of seconds above 0.

    Args:
        name: The argument's name, for the message.
        value: The argument.
        zero: Whether 0 is allowed.
        none: Whether ``None`` is allowed.

    Raises:
        TypeError: It is not a number.
        ValueError: It is too small, or NaN.
    """
    if value is None and none:
        return
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of seconds{' or None' * none}: got {value!r}")
    if not (float(value) >= 0 if zero else float(value) > 0):
        raise ValueError(f"{name} must be {'at least' if zero else 'more than'} 0 seconds: got {value}")


def check_rate(name: str, value: object, *, none: bool = False) -> None:
    """Check that an argument is a finite number above 0.

    Args:
        name: The argument's name, for the message.
        value: The argument.
        none: Whether ``None`` is allowed.

    Raises:
        TypeError: It is not a number.
        ValueError: It is not above 0, or not finite.
    """
    if value is None and none:
        return
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number{' or None' * none}: got {value!r}")
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be a finite number above 0: got {value}")
