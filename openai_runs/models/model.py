"""`Model`, the base of all models: it keeps everything that the server sent, and adds nothing."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, final

import attrs
from attrs import field, frozen


@final
class _NoExtra(Mapping[str, Any]):
    """The empty, immutable mapping shared by all models without unknown fields."""

    __slots__ = ()

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NO_EXTRA"  # so that pickle and copy return this instance


NO_EXTRA: Final = _NoExtra()


@frozen(kw_only=True, repr=False)
class Model:
    """An immutable object of the API, as the server sent it or as a caller built it.

    Absent, ``null`` and empty are different on the wire. An absent field reads as its default, ``null`` as ``None``;
    `absent` distinguishes them, and both survive `load` followed by `dump`.

    Two models are equal if all their fields are, whatever was absent. Free-form JSON, such as metadata, is a plain dict
    and not part of the hash; do not modify it.
    """

    #: Fields that this library does not know, by their names on the wire.
    extra: Mapping[str, Any] = field(default=NO_EXTRA, hash=False)
    #: Names of the known fields that the server left out. ``None`` for an object that a caller built: then a field
    #: whose value and default are both ``None`` is not sent.
    absent: frozenset[str] | None = field(default=None, eq=False)

    def __repr__(self) -> str:
        """The class, and the fields that differ from their defaults."""
        fields = [
            f"{attribute.name}={_readable(value)}"
            for attribute in sorted(attrs.fields(type(self)), key=lambda a: a.inherited)  # extra goes last
            if attribute.name != "absent" and (value := getattr(self, attribute.name)) != attribute.default
        ]
        return f"{type(self).__name__}({', '.join(fields)})"


def _readable(value: object) -> str:
    """A value for a ``repr``: a time in ISO format, a status as a string."""
    match value:
        case datetime():
            return value.isoformat()
        case Enum():
            return repr(value.value)
        case _:
            return repr(value)


@frozen
class Unknown:
    """A tool, tool call, content part or the like of a type that this library does not know.

    The API and compatible servers may add types at any time; such an object is kept as it was sent.
    """

    type: str  #: the wire's ``type``; empty if there was none
    raw: Mapping[str, Any] = field(hash=False)  #: the whole JSON object, ``type`` included
