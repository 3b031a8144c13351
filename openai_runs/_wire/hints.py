"""Inspects the type hints of models' fields, for the code generators."""

import types
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Union, get_args, get_origin

import attrs

from openai_runs.models.model import Model


def is_model(hint: Any) -> bool:
    cls = get_origin(hint) or hint
    return isinstance(cls, type) and issubclass(cls, Model)


def is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def name_of(hint: Any) -> str:
    """What a type is called in a message: a union is all that may be in it, whichever way it is written."""
    # Some Pythons give every union a name, such as `Optional`.
    return str(hint) if is_union(hint) else getattr(hint, "__name__", str(hint))


def is_choice(hint: Any) -> bool:
    return is_union(hint) and len([h for h in get_args(hint) if h is not types.NoneType]) > 1


def is_mapping(hint: Any) -> bool:
    return bool(get_origin(hint) is Mapping)


def is_tuple(hint: Any) -> bool:
    return get_origin(hint) is tuple


def fields_of(cls: Any) -> dict[str, "attrs.Attribute[Any]"]:
    """The fields of a model that are on the wire, by name."""
    return {name: field for name, field in attrs.fields_dict(cls).items() if name not in ("extra", "absent")}


def without_none(hint: Any) -> tuple[bool, Any]:
    """Whether a type allows ``None``, and the type without ``None`` and without `Annotated`."""
    if get_origin(hint) is Annotated:
        return without_none(get_args(hint)[0])
    if not is_union(hint):
        return False, hint
    rest = [h for h in get_args(hint) if h is not types.NoneType]
    return len(rest) < len(get_args(hint)), reduce(or_, rest)


def with_arguments(hint: Any, target: Any) -> Any:
    """A field's type in a generic model such as ``Page[Run]``."""
    own = getattr(hint, "__parameters__", ())
    if not own:
        return hint
    arguments = dict(zip(get_origin(target).__parameters__, get_args(target), strict=True))
    return hint[tuple(arguments[parameter] for parameter in own)]


def members_by_type(union: Any) -> tuple[dict[str, Any], Any]:
    """The models in a union by their literal ``type``, and the one without, which takes all others, if there is one."""
    tagged, untagged = {}, None
    for model in filter(is_model, get_args(union)):
        if tag := get_args(fields_of(model)["type"].type):
            tagged[tag[0]] = model
        else:
            untagged = model
    return tagged, untagged
