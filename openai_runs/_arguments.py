"""Numbers that callers pass, checked at once: a wrong one is named where it is passed, not where it would hurt."""

from numbers import Integral, Real


def check_count(name: str, value: object, *, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is too small.
    """
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number: got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}: got {value}")


def check_seconds(name: str, value: object, *, zero: bool = False, none: bool = False) -> None:
    """Refuse what is not a number of seconds, more than 0; with ``zero``, 0 will do, and with ``none``, ``None``.

    Raises:
        TypeError: It is no number.
        ValueError: It is too small, or a NaN.
    """
    if value is None and none:
        return
    if not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of seconds{' or None' * none}: got {value!r}")
    if not (float(value) >= 0 if zero else float(value) > 0):
        raise ValueError(f"{name} must be {'at least' if zero else 'more than'} 0 seconds: got {value}")
