"""Enumerations that the API is free to extend."""

from enum import Enum
from typing import Self


class OpenEnum(Enum):
    """Mixed into a ``StrEnum``: an unknown value becomes a member of its own instead of an error.

    Such a member compares and hashes as its text, is not listed among the members and is not kept.
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
