"""Checks request parameters before anything is sent: names, types, presence, and the limits in `models.limits`."""

import difflib
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from numbers import Real
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from typing import is_typeddict as is_typed_dict

import attrs

from openai_runs._habits import PARAMETERS
from openai_runs.models.limits import Limit
from openai_runs.models.model import Model
from openai_runs.models.tool import JsonSchemaFormat, ToolSource

_Check = Callable[[Any, str], None]  # takes a value and its place for the message; raises if the value is wrong

_SCALARS: Final[Mapping[Any, str]] = {str: "a string", bool: "True or False", int: "a whole number"}

_DESCRIPTIONS: Final[Mapping[Any, str]] = {
    **_SCALARS,
    Mapping: "a dict",
    Sequence: "a list or tuple",
    Real: "a number",
    ToolSource: "a Toolbox",
    JsonSchemaFormat: "a JsonSchemaFormat, such as AnswerFormat(…).response_format",
}


def check_params(params: Mapping[str, Any], kind: Any) -> None:
    """Check the parameters of a request against their ``TypedDict``.

    Raises:
        TypeError: A parameter is unknown, missing, or of the wrong type.
        ValueError: A value is outside of its limit; the message names the parameter, the limit and the value.
    """
    _check_typed_dict(kind)(params, "")


def wrong(where: str, problem: str, value: object) -> str:
    """The message for a wrong value of a parameter."""
    text = repr(value)
    is_object = "_id" in where and isinstance(getattr(value, "id", None), str)  # an assistant for assistant_id, say
    hint = "; pass .id of it" if is_object else ""
    return f"{where} {problem}: got {text if len(text) <= 80 else text[:80] + '…'}{hint}; nothing was sent"


@cache
def _checker(hint: Any) -> _Check:
    """The check for a type."""
    origin: Any = get_origin(hint)
    args: tuple[Any, ...] = get_args(hint)
    if origin in (Required, NotRequired):
        return _checker(args[0])
    if origin is Annotated:
        return _check_limits(_checker(args[0]), hint.__metadata__, nullable=type(None) in get_args(args[0]))
    if origin in (Union, types.UnionType):
        rest = [member for member in args if member is not type(None)]
        inner = _check_union(tuple(rest)) if len(rest) > 1 else _checker(rest[0])
        return _allow_none(inner) if len(rest) < len(args) else inner
    if origin is Literal:
        return _check_literal(args)
    if _is_sequence(hint):
        return _check_items(args[0])
    if is_typed_dict(hint):
        return _check_typed_dict(hint)
    if isinstance(hint, type) and issubclass(hint, Model):
        return _check_model(hint)
    return _check_scalar(hint) if hint in _SCALARS else _accept_anything


def _accept_anything(_: Any, __: str) -> None:
    """For free-form JSON, and for types whose `Limit` already checks more than the type would."""


def _check_scalar(kind: type) -> _Check:
    def check_scalar(value: Any, where: str) -> None:
        is_whole = kind is int and isinstance(value, float) and value.is_integer()  # an integer in JSON Schema
        if not isinstance(value, kind) and not is_whole:
            raise TypeError(wrong(where, f"must be {_SCALARS[kind]}", value))

    return check_scalar


def _allow_none(inner: _Check) -> _Check:
    def check_unless_none(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check_unless_none


def _check_limits(inner: _Check, limits: Sequence[Limit], *, nullable: bool) -> _Check:
    def check_limits(value: Any, where: str) -> None:
        if value is None and nullable:
            return
        limited = value.tools if isinstance(value, ToolSource) else value
        for limit in limits:
            if problem := limit.broken(limited):
                raise ValueError(wrong(where, problem, value))
        inner(value, where)

    return check_limits


def _check_union(members: tuple[Any, ...]) -> _Check:
    """Check a value against the union's member that its Python type and its ``type`` key select."""
    checkers = {_runtime_type(member): _checker(member) for member in members}
    by_tag = {tag: _checker(member) for member in members if is_typed_dict(member) for tag in _tags(member)}
    expected = " or ".join(dict.fromkeys(_describe(member) for member in members))

    def check_union(value: Any, where: str) -> None:
        # A string is also a sequence of strings, which is never meant.
        kind = str if isinstance(value, str) else next((k for k in checkers if isinstance(value, k)), None)
        if kind not in checkers:
            raise TypeError(wrong(where, f"must be {expected}", value))
        if kind is not Mapping or not by_tag:
            return checkers[kind](value, where)
        if "type" not in value:
            raise TypeError(f"missing parameter {_join(where, 'type')!r}; nothing was sent")
        return by_tag.get(str(value["type"]), checkers[kind])(value, where)

    return check_union


def _runtime_type(member: Any) -> Any:
    """The class for `isinstance` checks of a type's values."""
    origin = get_origin(member)
    if origin is Annotated:
        return _runtime_type(get_args(member)[0])
    if origin is Literal:
        return str
    if is_typed_dict(member) or origin in (dict, Mapping):
        return Mapping
    return Real if member is float else origin or member


def _describe(member: Any) -> str:
    if get_origin(member) is Literal:
        return " or ".join(map(repr, get_args(member)))
    kind = _runtime_type(member)
    return _DESCRIPTIONS.get(kind) or str(kind.__name__)


def _tags(typed_dict: Any) -> tuple[Any, ...]:
    """The literal values of a ``TypedDict``'s ``type`` key."""
    return get_args(get_type_hints(typed_dict).get("type"))


def _is_sequence(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _check_literal(allowed: tuple[Any, ...]) -> _Check:
    def check_literal(value: Any, where: str) -> None:
        if value not in allowed:
            raise ValueError(wrong(where, f"must be {' or '.join(map(repr, allowed))}", value))

    return check_literal


def _check_items(item: Any) -> _Check:
    inner = _checker(item)

    def check_items(value: Any, where: str) -> None:
        if type(value) is not list and (isinstance(value, str) or not isinstance(value, Sequence)):
            raise TypeError(wrong(where, "must be a list or tuple", value))
        for index, entry in enumerate(value):
            inner(entry, f"{where}[{index}]")

    return check_items


@cache
def _check_typed_dict(kind: Any) -> _Check:
    checkers = {name: _checker(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    required: frozenset[str] = kind.__required_keys__

    def check_typed_dict(value: Any, where: str) -> None:
        if type(value) is not dict and not isinstance(value, Mapping):  # the latter is slow
            raise TypeError(wrong(where, "must be a dict", value))
        if not value.keys() <= checkers.keys():  # checked first: a misspelt name explains a missing parameter
            name = next(name for name in value if name not in checkers)
            close = difflib.get_close_matches(name, checkers, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(checkers))}"
            hint = hint if where else PARAMETERS.get(name, hint)
            raise TypeError(f"unknown parameter {_join(where, name)!r}; {hint} (nothing was sent)")
        if missing := required - value.keys():
            raise TypeError(f"missing parameter {_join(where, min(missing))!r}; nothing was sent")
        for name, entry in value.items():
            checkers[name](entry, _join(where, name))

    return check_typed_dict


def _check_model(cls: type[Model]) -> _Check:
    hints = get_type_hints(cls, include_extras=True)
    names = [a.name for a in attrs.fields(cls) if a.name not in ("extra", "absent")]
    checkers = {name: _checker(hints[name]) for name in names}

    def check_model(value: Any, where: str) -> None:
        for name, checker in checkers.items():
            entry = getattr(value, name)
            if entry is not None:  # in a model, None means absent, or was sent by a server
                checker(entry, f"{where}.{name}")

    return check_model


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
