"""Reads a function's signature: makes the JSON Schema of its arguments, and the class that they are decoded into.

`msgspec` does both. This module collects type hints and descriptions for it, and its errors name the parameter that
`msgspec` cannot handle.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from attrs import frozen

from openai_runs.toolbox.json_models import SchemaHook
from openai_runs.toolbox.unreadable import check_readable


@frozen
class Signature:
    """What a model needs to know to call a function, and the class for the arguments that it sends."""

    name: str
    description: str | None
    schema: Mapping[str, Any]  #: of one JSON object; complete, with its own ``$defs``
    arguments: type[msgspec.Struct]  #: a field for each parameter


def is_function(value: object) -> bool:
    """Whether a value can be called and returns its result: it is no class, and no generator function."""
    if not callable(value) or inspect.isclass(value):
        return False
    plain = plain_function(value)
    return not (inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain))


def plain_function(function: Any) -> Any:
    """The function with the name, docstring and annotations: inside a `partial`, or an object's ``__call__``."""
    while isinstance(function, partial):
        function = function.func
    return function if hasattr(function, "__name__") else function.__call__


def read_signature(function: Callable[..., Any], *, strict: bool = False) -> Signature:
    """Read the signature, type hints and docstring of a function.

    Args:
        function: The function, or what can be called like one: a `partial`, or an object with ``__call__``.
        strict: Make a schema for the API's strict mode.

    Raises:
        TypeError: It cannot be called with JSON; the message names the parameter and says what to do.
    """
    import docstring_parser  # a tenth of the package's import time, which clients without tools need not spend

    from openai_runs.toolbox.type_schemas import schema_of, strict_schema  # the same, but for the tenth

    plain = plain_function(function)
    is_object = plain.__name__ == "__call__" and inspect.ismethod(plain)
    owner = type(plain.__self__) if is_object else plain
    # `getdoc` would give a ``__call__`` without a docstring that of `type`.
    text = inspect.getdoc(owner if is_object and plain.__doc__ is None else plain)
    docstring = docstring_parser.parse(text or "")
    descriptions = {p.arg_name: p.description for p in docstring.params if p.description}
    arguments = _arguments(function, plain, descriptions)
    schema = schema_of(arguments)
    del schema["title"]  # redundant: a tool has a name
    return Signature(
        name=owner.__name__,
        description=(docstring.description or "").strip() or None,
        schema=strict_schema(schema, plain.__qualname__) if strict else schema,
        arguments=arguments,
    )


def _arguments(function: Callable[..., Any], plain: Any, descriptions: Mapping[str, str]) -> type[msgspec.Struct]:
    try:
        parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(plain, include_extras=True)
    except Exception as error:  # evaluating annotations runs the caller's code, which may raise anything
        raise TypeError(
            f"the annotations of {plain.__qualname__}() cannot be read: {error}; every name in them must exist "
            "in the function's module at run time"
        ) from error
    fields = []
    given = _given_by_name(function)
    for parameter in parameters:
        if parameter.name in given:  # not the model's to choose, though Python would allow it
            continue
        where = f"parameter {parameter.name!r} of {plain.__qualname__}()"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"{where} is {parameter.kind.description}, but a model passes each argument by its name: "
                "make it an ordinary parameter"
            )
        if parameter.name not in hints:
            raise TypeError(f"{where} has no annotation: add its type, as in `{parameter.name}: str`")
        hint = hints[parameter.name]
        if parameter.default is None and not _allows_none(hint):
            hint = Union[hint, None]  # noqa: UP007  # `a: int = None` means that; `|` does not take every hint
        if parameter.name in descriptions:
            hint = Annotated[hint, msgspec.Meta(description=descriptions[parameter.name])]
        fields.append(_field(where, parameter, hint))
    return msgspec.defstruct(plain.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _given_by_name(function: Callable[..., Any]) -> frozenset[str]:
    """The names of the parameters that a `partial` has set by keyword."""
    given: frozenset[str] = frozenset()
    while isinstance(function, partial):
        given |= function.keywords.keys()
        function = function.func
    return given


def _allows_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _allows_none(get_args(hint)[0])
    return hint in (Any, None, types.NoneType) or (
        get_origin(hint) in (Union, types.UnionType) and any(map(_allows_none, get_args(hint)))
    )


def _field(where: str, parameter: inspect.Parameter, hint: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
    """A parameter as `msgspec.defstruct` takes it."""
    check_readable(hint, f"{where} has a type that cannot be read from JSON")
    default = parameter.default
    if default is parameter.empty:
        return parameter.name, hint
    try:
        msgspec.json.schema(msgspec.defstruct("_", [(parameter.name, hint, default)]), schema_hook=SchemaHook())
    except TypeError:  # mutable, or not JSON: the function still gets this default, but the schema cannot have it
        default = msgspec.field(default_factory=lambda: parameter.default)
    return parameter.name, hint, default
