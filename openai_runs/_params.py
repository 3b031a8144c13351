"""Request parameters, checked before anything is sent: names, presence, and the limits that `models.limits` states."""

import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs

from openai_runs.models.limits import Limit
from openai_runs.models.model import Model

_Check = Callable[[Any, str], None]  # takes the value and where it stands, raises if it is wrong


def check(params: Mapping[str, Any], kind: Any) -> None:
    """Check the parameters of a request against their ``TypedDict``.

    Raises:
        TypeError: A parameter is unknown, missing, or of the wrong type.
        ValueError: A limit is broken; the message names the parameter, the limit and the value.
    """
    checker = _checker(kind)
    if checker is not None:
        checker(params, "")


def _nothing_sent(where: str, problem: str, value: object) -> str:
    text = repr(value)
    return f"{where} {problem}: got {text if len(text) <= 80 else text[:80] + '…'}; nothing was sent"


@cache
def _checker(hint: Any) -> _Check | None:
    """The check for a type, or nothing if every value will do. Types are not checked as such: mypy does that."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Required, NotRequired):
        return _checker(args[0])
    if origin is Annotated:
        return _check_limits(_checker(args[0]), _allows_none(args[0]), hint.__metadata__)
    if origin in (Union, types.UnionType):
        return _check_union(args)
    if origin is Literal:
        return _check_literal(args)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _check_items(args[0])
    if is_typeddict(hint):
        return _check_typed_dict(hint)
    if isinstance(hint, type) and issubclass(hint, Model):
        return _check_model(hint)
    return None


def _allows_none(hint: Any) -> bool:
    return hint is type(None) or type(None) in get_args(hint)


def _check_limits(inner: _Check | None, nullable: bool, limits: Sequence[Limit]) -> _Check:
    def check_limits(value: Any, where: str) -> None:
        if value is None and nullable:
            return
        for limit in limits:
            if problem := limit.broken(value):
                raise ValueError(_nothing_sent(where, problem, value))
        if inner is not None:
            inner(value, where)

    return check_limits


def _check_union(members: tuple[Any, ...]) -> _Check | None:
    """Pick the member that a value is meant to be, by what can be seen from outside."""
    words = tuple(word for m in members if get_origin(m) is Literal for word in get_args(m))
    any_text = str in members
    models = {m: _checker(m) for m in members if isinstance(m, type) and issubclass(m, Model)}
    dicts = [m for m in members if is_typeddict(m)]
    free = any(get_origin(m) is Mapping for m in members)  # then a dict may be something else that we do not spell out
    in_dict = _checker(dicts[0]) if len(dicts) == 1 and not free else None
    items = [m for m in members if _is_sequence(m)]
    in_items = _checker(items[0]) if items else None

    def check_union(value: Any, where: str) -> None:
        if isinstance(value, Model):
            inner = models.get(type(value))
        elif isinstance(value, str):
            if words and not any_text:
                _check_literal(words)(value, where)
            return
        else:
            inner = in_dict if isinstance(value, dict) else in_items if isinstance(value, Sequence) else None
        if inner is not None:
            inner(value, where)

    return check_union


def _is_sequence(hint: Any) -> bool:
    origin = get_origin(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _check_literal(words: tuple[Any, ...]) -> _Check:
    def check_literal(value: Any, where: str) -> None:
        if value not in words:
            raise ValueError(_nothing_sent(where, f"must be {' or '.join(map(repr, words))}", value))

    return check_literal


def _check_items(item: Any) -> _Check:
    inner = _checker(item)

    def check_items(value: Any, where: str) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise TypeError(_nothing_sent(where, "must be a list or tuple", value))
        if inner is not None:
            for index, entry in enumerate(value):
                inner(entry, f"{where}[{index}]")

    return check_items


def _check_typed_dict(kind: Any) -> _Check:
    hints = get_type_hints(kind, include_extras=True)
    required: frozenset[str] = kind.__required_keys__
    checkers = {name: checker for name, hint in hints.items() if (checker := _checker(hint)) is not None}

    def check_typed_dict(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise TypeError(_nothing_sent(where, "must be a dict", value))
        if missing := required - value.keys():
            raise TypeError(f"missing parameter {_join(where, min(missing))!r}; nothing was sent")
        for name, entry in value.items():
            if name not in hints:
                close = difflib.get_close_matches(name, hints, 1)
                hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(hints))}"
                raise TypeError(f"unknown parameter {_join(where, name)!r}{hint} (nothing was sent)")
            if name in checkers:
                checkers[name](entry, _join(where, name))

    return check_typed_dict


def _check_model(cls: type[Model]) -> _Check | None:
    hints = get_type_hints(cls, include_extras=True)
    names = [a.name for a in attrs.fields(cls) if a.name not in ("extra", "absent")]
    checkers = {name: checker for name in names if (checker := _checker(hints[name])) is not None}
    if not checkers:
        return None

    def check_model(value: Any, where: str) -> None:
        for name, checker in checkers.items():
            entry = getattr(value, name)
            if entry is not None:  # a model's None is absent, or was sent by a server
                checker(entry, f"{where}.{name}")

    return check_model


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
