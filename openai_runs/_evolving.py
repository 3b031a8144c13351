"""`evolve`: `attrs.evolve` at a seventh of its cost, for models, which the engine changes several times in each run.

And `sharing`: what two snapshots of one object need not have twice.

The ``__init__`` of a frozen class with many fields is slow. Where it does nothing but set them, and call
``__attrs_post_init__``, generated code copies the fields instead.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar, cast

import attrs

T = TypeVar("T", bound=attrs.AttrsInstance)
_Copy: TypeAlias = Callable[[Any, Mapping[str, Any]], Any]


def fillable(cls: Any) -> type:
    """A mutable class with the slots of a frozen one. Fill an instance, then assign ``cls`` to its ``__class__``.

    Creating a run by the frozen class's own ``__init__`` would take longer than everything else that a loader does.
    Calling the class is what makes an empty instance in the shortest time. It derives from the frozen one, since Python
    compares the slots of two siblings, name by name, each time that one of them becomes the other.
    """
    writable = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__, "__init__": object.__init__}
    return type(cls.__name__, (cls,), {"__slots__": (), **writable})


def evolve(instance: T, /, **changes: Any) -> T:
    """Copy an object of an attrs class, with other values in some fields.

    Args:
        instance: The object.
        **changes: The new values, by the names of the parameters of ``__init__``.

    Raises:
        TypeError: There is no such field.
    """
    evolved: T = _way_of(instance.__class__)(instance, changes)
    return evolved


def sharing(instance: T, earlier: T) -> T:
    """Have an object use the values of an earlier one of its class, where they are equal.

    Args:
        instance: The object, which nobody else has yet.
        earlier: The earlier one, of which nothing is changed.

    Returns:
        The object; or the earlier one, if all values are equal.
    """
    names, values_of = _fields_of(instance.__class__)
    is_equal = True
    for name, value, before in zip(names, values_of(instance), values_of(earlier), strict=True):
        if value is before:
            continue
        if value.__class__ is before.__class__ and value == before:
            object.__setattr__(instance, name, before)
        else:
            is_equal = False
    return earlier if is_equal else instance


@cache
def _fields_of(cls: type[Any]) -> tuple[Sequence[str], Callable[[Any], tuple[Any, ...]]]:
    names = [field.name for field in attrs.fields(cls)]
    return names, attrgetter(*names)


def _by_init(instance: Any, changes: Mapping[str, Any]) -> Any:
    return attrs.evolve(instance, **changes)


@cache
def _way_of(cls: type[Any]) -> _Copy:
    """How objects of a class are copied: by its ``__init__``, if that does more than to set the fields."""
    fields = attrs.fields(cls)
    if cls.__dictoffset__ or not all(map(_is_only_set, fields)):
        return _by_init
    names = [field.name for field in fields]
    scope = {"cls": cls, "fillable": fillable(cls), "names": frozenset(names)}
    lines = [
        "def copy(o, changes):",
        "    if not names.issuperset(changes):",
        "        raise TypeError(f'{cls.__name__} has no field {min(set(changes) - names)!r}')",
        "    m = fillable()",
        *(f"    m.{name} = o.{name}" for name in names),
        "    for name, value in changes.items():",
        "        setattr(m, name, value)",
        "    m.__class__ = cls",
        *["    m.__attrs_post_init__()"] * hasattr(cls, "__attrs_post_init__"),
        "    return m",
    ]
    exec("\n".join(lines), scope)  # noqa: S102  # our own class definitions, not input
    return cast("_Copy", scope["copy"])


def _is_only_set(field: "attrs.Attribute[Any]") -> bool:
    return field.init and field.alias == field.name and field.converter is None and field.validator is None
