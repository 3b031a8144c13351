"""Signatures for `help` and editors, of methods that take the keys of a ``TypedDict`` as keywords.

Python's own signature of such a method ends in ``**params``. Type checkers see through that, but people need the names.
"""

import inspect
from functools import cache
from typing import Any, Final, TypeVar, Unpack, get_args, get_origin, get_type_hints

ClassT = TypeVar("ClassT", bound=type)


class _NotSent:
    """The default shown for a parameter that is not sent if it is left out."""

    def __repr__(self) -> str:
        return "…"


_NOT_SENT: Final = _NotSent()
#: ``*_positional`` only says what to write instead.
_COLLECTING: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def spelled_out(cls: ClassT) -> ClassT:
    """Set a signature that names every keyword on each method of a class; calls work as before."""
    for method in vars(cls).values():
        if inspect.isfunction(method) and (kind := _unpacked(method)) is not None:
            method.__signature__ = _signature(method, kind)  # type: ignore[attr-defined]  # read by `inspect`
    return cls


def _unpacked(method: Any) -> Any:
    """The ``TypedDict`` whose keys a method takes."""
    for hint in method.__annotations__.values():
        if get_origin(hint) is Unpack:
            return get_args(hint)[0]
    return None


def _signature(method: Any, kind: Any) -> inspect.Signature:
    signature = inspect.signature(method)
    own = [each for each in signature.parameters.values() if each.kind not in _COLLECTING]
    return signature.replace(parameters=[*own, *_keywords(kind)])


@cache
def _keywords(kind: Any) -> tuple[inspect.Parameter, ...]:
    """The parameters for the keys of a ``TypedDict``, required ones first; shared, since hints take time."""
    named = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name in kind.__required_keys__ else _NOT_SENT,
            annotation=hint,
        )
        for name, hint in get_type_hints(kind).items()
    ]
    return tuple(sorted(named, key=lambda each: each.default is _NOT_SENT))
