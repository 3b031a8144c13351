"""`Model`, the base of all models: it keeps everything that the server sent, and adds nothing."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, final

import attrs
from attrs import field, frozen

from openai_runs import _habits


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


#: Metadata of a field without which a run cannot be followed: a server that leaves it out is not speaking the API.
NEEDED: Final = MappingProxyType({"is_needed": True})
#: Metadata of a text that some servers send alone, in place of the object that it is a field of.
ALONE: Final = MappingProxyType({"may_stand_alone": True})

#: Metadata of a field that is equal in many objects, such as the tools of an assistant's runs: they share its value.
REPEATED: Final = MappingProxyType({"is_repeated": True})
#: Metadata of a field whose model is made when somebody looks at it. What fits JSON there has to fit the model, too:
#: nothing may be refused later.
DEFERRED: Final = MappingProxyType({"is_deferred": True})


@frozen(kw_only=True, repr=False)
class Model:
    """An immutable object of the API, as the server sent it or as a caller built it.

    Absent, ``null`` and empty are different on the wire. An absent field reads as its default, ``null`` as ``None``;
    `absent` distinguishes them, and both survive `load` followed by `dump`.

    Servers have their oddities: ``null`` for a list, a string for a number, a field that is not there. A session makes
    the model nevertheless, logs each kind of oddity once, and types stay true:

    - A value that does not fit is kept in `extra`, under the field's own name. The field reads what there is to read:
      the items of a list that fit, a time in ISO format, a text that is a bare string. Otherwise it reads its default.
    - A missing field reads its default. One that has no default reads as empty: ``""``, ``0``, ``False``, ``()``, an
      unknown status or role ``""``, the time 1970-01-01, a model whose fields are all like this. It stands in `absent`.
    - Both are dumped as they were sent, unless the field was changed since.

    So an empty ``Message.role`` or a ``created_at`` in 1970 says that the server did not tell. Only IDs, a run's
    status, a function call's name and arguments, and a page's ``data`` are always as the server sent them; without them
    there is no model, but a `ProtocolError`. With ``Session(strict=True)`` any oddity is one.

    Two models are equal if all their fields are, whatever was absent. Free-form JSON, such as metadata, is a plain dict
    and not part of the hash; do not modify it: models that came with the same tools or response format share them.
    """

    #: Fields that this library does not know, and values that do not fit their field, by their names on the wire.
    extra: Mapping[str, Any] = field(default=NO_EXTRA, hash=False)
    #: Names of the known fields that the server left out. ``None`` for an object that a caller built: then a field
    #: whose value and default are both ``None`` is not sent.
    absent: frozenset[str] | None = field(default=None, eq=False)

    if not TYPE_CHECKING:  # type checkers are to report them
        __getattr__ = _habits.missing(_habits.MODELS)

    def __repr__(self) -> str:
        """The class, and the fields that differ from their defaults."""
        fields = [
            f"{attribute.name}={_readable(value)}"
            for attribute in sorted(attrs.fields(type(self)), key=lambda a: a.inherited)  # extra goes last
            if attribute.name != "absent" and (value := getattr(self, attribute.name)) != attribute.default
        ]
        return f"{type(self).__name__}({', '.join(fields)})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, _: Any) -> Any:
        """Tell pydantic how to check and write this model; nobody else calls it."""
        from openai_runs._wire.pydantic_schemas import core_schema  # above this room: see the contracts in pyproject

        return core_schema(source)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, _: Any) -> Any:
        """Tell pydantic which fields there are."""
        from openai_runs._wire.pydantic_schemas import json_schema  # the same

        return json_schema(schema)


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
