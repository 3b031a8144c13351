"""Filters by a file's attributes, as the API writes them: comparisons, and ``and`` and ``or`` of filters."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Attributes: TypeAlias = Mapping[str, str | float | bool]
Filter: TypeAlias = Callable[[Attributes], bool]

_DEEPEST: Final = 16  # filters in filters
_MOST: Final = 500  # comparisons in one filter

_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_OPPOSITES: Final = {"ne": "eq", "nin": "in"}


def made(filter: Mapping[str, Any]) -> Filter:
    """Make a function of a filter.

    Values are equal only if they are of one type: ``1`` is not ``"1"`` and not ``true``. A comparison with an attribute
    that a file does not have, or of two types that have no order, is false; ``ne`` and ``nin`` are the opposites of
    ``eq`` and ``in``, and so true for such a file.

    Args:
        filter: A ``ComparisonFilter`` or a ``CompoundFilter``.

    Raises:
        ValueError: It is neither, is nested too deeply or has too many comparisons; the message says where.
    """
    return _Maker().make(filter, "filters", 0)


class _Maker:
    def __init__(self) -> None:
        self._comparisons = 0

    def make(self, filter: Any, path: str, depth: int) -> Filter:
        if not isinstance(filter, Mapping):
            raise ValueError(f"{path} must be an object")  # noqa: TRY004  # what is wrong is a value of the request
        kind = filter.get("type", "eq")
        if kind not in ("and", "or"):
            return self._comparison(kind, filter, path)
        if depth == _DEEPEST:
            raise ValueError(f"{path} is nested more than {_DEEPEST} levels deep")
        parts = filter.get("filters")
        if not isinstance(parts, list | tuple):
            raise ValueError(f"{path}.filters must be an array")  # noqa: TRY004  # see above
        made = [self.make(part, f"{path}.filters[{index}]", depth + 1) for index, part in enumerate(parts)]
        decide = all if kind == "and" else any
        return lambda attributes: decide(part(attributes) for part in made)

    def _comparison(self, kind: Any, filter: Mapping[str, Any], path: str) -> Filter:
        self._comparisons += 1
        if self._comparisons > _MOST:
            raise ValueError(f"filters has more than {_MOST} comparisons")
        key, value = filter.get("key"), filter.get("value")
        if not isinstance(key, str):
            raise ValueError(f"{path}.key must be a string")  # noqa: TRY004  # see above
        values = value if isinstance(value, list | tuple) else None
        if (kind in ("in", "nin")) != (values is not None):
            raise ValueError(f"{path}.value must {'' if kind in ('in', 'nin') else 'not '}be an array")
        match kind:
            case "eq":
                return lambda attributes: key in attributes and _are_equal(attributes[key], value)
            case "in":
                return lambda attributes: (
                    key in attributes and any(_are_equal(attributes[key], one) for one in values or ())
                )
            case "ne" | "nin":
                opposite = self._comparison(_OPPOSITES[kind], filter, path)
                return lambda attributes: not opposite(attributes)
            case str() if kind in _ORDERS:
                compare = _ORDERS[kind]
                return lambda attributes: (
                    key in attributes and _type(attributes[key]) is _type(value) and compare(attributes[key], value)
                )
        raise ValueError(f"{path}.type must be eq, ne, gt, gte, lt, lte, in, nin, and or or: got {kind!r}"[:200])


def _are_equal(one: object, other: object) -> bool:
    return _type(one) is _type(other) and one == other


def _type(value: object) -> type:
    """Its type in JSON, where there is one kind of number; Python's ``True`` is an ``int``, too."""
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)
