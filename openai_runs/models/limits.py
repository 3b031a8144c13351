"""The API's limits, as annotations on request parameters.

``Annotated[float, Range(0, 2)]`` documents a parameter and is what `openai_runs._wire.parameters` checks before
anything is sent. Sources: the bounds in the OpenAPI document, and its descriptions where only they name a limit.
"""

import re
from collections.abc import Mapping, Sized
from typing import Final, Protocol

from attrs import frozen


class Limit(Protocol):
    """A condition that a value must meet."""

    def broken(self, value: object) -> str | None:
        """What is wrong with ``value``, to follow the parameter's name in a message; ``None`` if it is valid."""


@frozen
class Range:
    """A number from ``least`` to ``most``, both allowed."""

    least: float
    most: float | None = None

    def broken(self, value: object) -> str | None:  # noqa: D102  # see `Limit`
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if value >= self.least and (self.most is None or value <= self.most):  # false for NaN
            return None
        return f"must be at least {self.least}" if self.most is None else f"must be {self.least} to {self.most}"


@frozen
class Length:
    """A string of at most ``most`` characters; with ``least=1``, not empty."""

    most: int | None = None
    least: int = 0

    def broken(self, value: object) -> str | None:  # noqa: D102  # see `Limit`
        if not isinstance(value, str):
            return "must be a string"
        if len(value) < self.least:
            return "must not be empty"
        if self.most is not None and len(value) > self.most:
            return f"must have at most {self.most} characters, has {len(value)}"
        return None


@frozen
class Items:
    """At most ``most`` items, and at least ``least``."""

    most: int | None = None
    least: int = 0

    def broken(self, value: object) -> str | None:  # noqa: D102  # see `Limit`
        if not isinstance(value, Sized):
            return "must be a sequence"
        if self.most is not None and len(value) > self.most:
            return f"must have at most {self.most} items, has {len(value)}"
        if len(value) < self.least:
            return f"must have at least {self.least} item{'s' * (self.least > 1)}, has {len(value)}"
        return None


@frozen
class OneOf:
    """One of the given strings."""

    words: tuple[str, ...]

    def broken(self, value: object) -> str | None:  # noqa: D102  # see `Limit`
        return None if value in self.words else f"must be {' or '.join(map(repr, self.words))}"


@frozen
class _Metadata:
    """At most 16 pairs of strings; keys of at most 64 characters, values of at most 512."""

    def broken(self, value: object) -> str | None:
        if not isinstance(value, dict):
            return "must be a dict of strings"
        if len(value) > 16:
            return f"must have at most 16 pairs, has {len(value)}"
        for key, text in value.items():
            if not isinstance(key, str) or not isinstance(text, str):
                return f"must map strings to strings, has {key!r}: {text!r}"
            if len(key) > 64:
                return f"must have keys of at most 64 characters, {key!r} has {len(key)}"
            if len(text) > 512:
                return f"must have values of at most 512 characters, {key!r} has one of {len(text)}"
        return None


@frozen
class _Attributes:
    """At most 16 strings, numbers and truth values; keys of at most 64 characters, strings of at most 512."""

    def broken(self, value: object) -> str | None:
        if not isinstance(value, Mapping):
            return "must be a dict"
        if len(value) > 16:
            return f"must have at most 16 pairs, has {len(value)}"
        for key, entry in value.items():
            if not isinstance(key, str) or not isinstance(entry, str | int | float):
                return f"must map strings to strings, numbers, True or False, has {key!r}: {entry!r}"
            if len(key) > 64:
                return f"must have keys of at most 64 characters, {key!r} has {len(key)}"
            if isinstance(entry, str) and len(entry) > 512:
                return f"must have strings of at most 512 characters, {key!r} has one of {len(entry)}"
        return None


@frozen
class _Name:
    """The name of a function or of a JSON schema: at most 64 of ``a-z A-Z 0-9 _ -``."""

    def broken(self, value: object) -> str | None:
        if isinstance(value, str) and re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", value):
            return None
        return "must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -"


METADATA: Final = _Metadata()
ATTRIBUTES: Final = _Attributes()
NAME: Final = _Name()
ID: Final = Length(least=1)
