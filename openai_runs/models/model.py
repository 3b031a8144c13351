"""What every model has in common: nothing the server sent is lost, and nothing is made up."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, final

import attrs
from attrs import field, frozen


@final
class _Nothing(Mapping[str, Any]):
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
        return "NO_EXTRA"  # pickle and copy find the one instance again


NO_EXTRA: Final = _Nothing()


@frozen(kw_only=True, repr=False)
class Model:
    """A frozen object of the API, as the server sent it or as a caller built it.

    Absent, ``null`` and empty are three things on the wire. An absent field reads as its default, ``null`` as
    ``None``; `absent` tells them apart, and both survive `load` followed by `dump`.

    Two models are equal when all their fields are, whatever was absent. Free JSON, such as metadata, is a plain dict
    and no part of the hash; treat it as frozen too.
    """

    #: Fields that this library does not know, by their wire names.
    extra: Mapping[str, Any] = field(default=NO_EXTRA, hash=False)
    #: Names of the known fields that the server left out. ``None`` for an object built by hand: there, a field
    #: that is ``None`` by default is left out when it is sent.
    absent: frozenset[str] | None = field(default=None, eq=False)

    def __repr__(self) -> str:
        """The class and the fields that say something: those that differ from their defaults."""
        shown = [
            f"{attribute.name}={_shown(value)}"
            for attribute in sorted(attrs.fields(type(self)), key=lambda a: a.inherited)  # extra goes last
            if attribute.name != "absent" and (value := getattr(self, attribute.name)) != attribute.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _shown(value: object) -> str:
    """A value as people write it: a time in ISO form, a status as its word."""
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

    The API and its compatible servers are free to grow; what they send is kept as it came.
    """

    type: str  #: the wire's ``type``; empty if there was none
    raw: Mapping[str, Any] = field(hash=False)  #: the whole JSON object, ``type`` included
