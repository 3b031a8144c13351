"""Enumerations that the API may extend."""

from enum import Enum
from typing import Self


class OpenEnum(Enum):
    """A mixin for a ``StrEnum``: an unknown value becomes a new member instead of an error.

    Such a member compares and hashes as its string, is not listed among the members, and is not stored.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        member = str.__new__(cls, value)  # type: ignore[type-var]  # always mixed with str
        member._name_ = member._value_ = value
        return member

    @property
    def is_known(self) -> bool:
        """Whether this library knows the value."""
        return self._value_ in type(self)._value2member_map_
