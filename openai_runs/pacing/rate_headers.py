"""Reads the ``x-ratelimit-*`` headers of responses. No I/O.

Sources: OpenAI's guide on rate limits, whose resets are durations such as ``6m0s``; Azure's are seconds.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

#: The header that says that there is a limit, by what is limited.
LIMIT: Final[Mapping[str, str]] = {
    "requests": "x-ratelimit-limit-requests",
    "tokens": "x-ratelimit-limit-tokens",
}
_UNITS: Final[Mapping[str, float]] = {
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
}
_NUMBER: Final = r"\d{1,15}(?:\.\d{1,15})?"
_PART: Final = re.compile(rf"({_NUMBER})(ms|us|µs|[dhms])")
_is_duration: Final = re.compile(rf"(?:{_NUMBER}(?:ms|us|µs|[dhms]))+").fullmatch
_is_number: Final = re.compile(_NUMBER).fullmatch
#: Seconds; the window that a limit is for, and the longest one that is believed: a strange header must not stop a
#: session for a day.
_WINDOW: Final = 60.0
_LONGEST_WINDOW: Final = 600.0


class Allowance(NamedTuple):
    """What the headers of a response say about requests, or about tokens."""

    limit: float
    remaining: float = math.inf
    #: Seconds that the limit is for. That is a minute, or more if it takes longer until all is there again.
    window: float = _WINDOW


def is_limited(headers: Mapping[str, str]) -> bool:
    """Whether a response has headers that `read_allowance` reads."""
    return LIMIT["requests"] in headers or LIMIT["tokens"] in headers


def read_allowance(headers: Mapping[str, str], what: str) -> Allowance | None:
    """What a response says about ``requests`` or ``tokens``; ``None`` if it says nothing that can be used."""
    limit = _number(headers.get(LIMIT[what]))
    if not limit:
        return None
    remaining = _number(headers.get(f"x-ratelimit-remaining-{what}"))
    reset = read_duration(headers.get(f"x-ratelimit-reset-{what}")) or 0.0
    window = min(max(reset, _WINDOW), _LONGEST_WINDOW)
    return Allowance(limit, math.inf if remaining is None else remaining, window)


def read_duration(text: str | None) -> float | None:
    """Seconds, from a duration such as ``1h2m3.5s`` or ``120ms``, or from a plain number; ``None`` if it is neither."""
    if text is None or not _is_duration(text):
        return _number(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _is_number(text) else None
