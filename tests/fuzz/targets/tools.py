"""Functions as tools, and the arguments that a model writes for them; classes that answers are read into."""

import asyncio
import dataclasses
import datetime as dt
import enum
import inspect
import json
import keyword
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypedDict, Union, get_args, get_origin

import attrs
import jsonschema_rs
import msgspec

from openai_runs import AnswerFormat, _wire
from openai_runs.backends.schema_samples import sample
from openai_runs.errors import AnswerError
from openai_runs.models.tool import FunctionCall, FunctionTool, FunctionToolCall
from openai_runs.server import validation
from openai_runs.toolbox import Toolbox
from tests.fuzz.seeds import line
from tests.fuzz.target import Target


@attrs.frozen
class Place:
    city: str
    near: "list[Place]" = attrs.field(factory=list)


@dataclasses.dataclass
class Span:
    days: int
    exact: bool = False


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = 1


class Wind(TypedDict, total=False):
    speed: float


class Tagged(msgspec.Struct, tag="a"):
    x: int | None = None


_TYPES: Final[Mapping[str, Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "none": None,
    "any": Any,
    "bytes": bytes,
    "Decimal": Decimal,
    "UUID": uuid.UUID,
    "datetime": dt.datetime,
    "date": dt.date,
    "timedelta": dt.timedelta,
    "Place": Place,
    "Span": Span,
    "Unit": Unit,
    "Wind": Wind,
    "Tagged": Tagged,
    "percent": Annotated[int, msgspec.Meta(ge=0, le=100)],
    "word": Annotated[str, msgspec.Meta(min_length=1, max_length=8, pattern="^[a-z]*$")],
    "object": object,
    "callable": Callable[[], int],
    "unknown": "Nowhere",
}


def _type_of(written: Any) -> Any:
    """A type as an input has it: a name, ``[item]``, ``{"union": [...]}``, ``{"dict": value}`` and the like."""
    match written:
        case str():
            return _TYPES.get(written, str)
        case [item]:
            return list[_type_of(item)]
        case [*items]:
            # Constraints in a tuple of fixed length, in a union with another one, make msgspec 0.22 crash.
            return tuple[tuple(map(_unconstrained, items))] if items else list
        case {"union": [*members]} if members:
            # A pattern beside an array, in a union, makes msgspec 0.22 crash, too.
            made = _unconstrained if "[" in json.dumps(members)[1:] else _type_of
            return Union[tuple(map(made, members))]  # noqa: UP007  # `|` does not take every hint
        case {"dict": value}:
            return dict[str, _type_of(value)]
        case {"optional": inner}:
            return Union[_type_of(inner), None]  # noqa: UP007  # likewise
        case {"literal": [*values]} if values:
            return Literal[tuple(value if isinstance(value, str | int) else str(value) for value in values)]
    return Any


def _unconstrained(written: Any) -> Any:
    found = _type_of(written)
    return get_args(found)[0] if get_origin(found) is Annotated else found


def _function(written: Any, docstring: str) -> Callable[..., Any]:
    def function(**arguments: Any) -> Any:
        return arguments

    parameters, annotations = [], {}
    for name, described in written.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            continue
        hint, default = described, inspect.Parameter.empty
        if isinstance(described, dict) and "default" in described:
            hint, default = described.get("type"), described["default"]
        annotations[name] = _type_of(hint)
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = annotations
    function.__doc__ = docstring
    return function


def tools(data: bytes) -> None:
    """A function is a tool, or a `TypeError` or `ValueError` says why it is none; any arguments have an output.

    The definition is JSON that the server takes, its parameters a valid schema, closed everywhere in strict mode, and
    the arguments that the scripted model makes of it are accepted. What else is accepted is valid by the schema, and
    the output is JSON; all other arguments are an error that the model can read.
    """
    signature, docstring, arguments = (*data.split(b"\n", 2), b"", b"")[:3]
    try:
        written = json.loads(signature)
        function = _function(written, docstring.decode(errors="replace"))
    except (TypeError, ValueError, RecursionError, AttributeError):  # such as a literal of nothing: no Python function
        return
    for strict in (False, True):
        toolbox = Toolbox()
        try:
            toolbox.tool(function, strict=strict or None)
        except (TypeError, ValueError):
            continue
        (tool,) = toolbox.tools
        schema = _check_definition(tool, strict=strict)
        made = json.dumps(sample(schema))
        for text in (arguments.decode(errors="surrogateescape"), made, "", "null"):
            output = _output(toolbox, text)
            json.loads(output)
            if not strict:  # strict mode binds the endpoint, not us: what is left out there has its default
                _check_acceptance(schema, text, output, is_made=text == made and b"datetime" not in signature)


def _has_decimal(schema: Any) -> bool:
    return '"format": "decimal"' in json.dumps(schema)


def _check_acceptance(schema: Any, text: str, output: str, *, is_made: bool) -> None:
    if not output.startswith('{"error":'):
        if _has_decimal(schema):  # the schema asks for a string, and a number is taken, too
            return
        assert jsonschema_rs.is_valid(schema, _wire.decode(text or "{}")), f"{text} is accepted, but not valid"
    elif is_made:
        # A default may be wrong, a pattern is not looked at, and a naive time has no format in a schema.
        assert not jsonschema_rs.is_valid(schema, json.loads(text)), f"{text} is valid, and refused: {output}"


def _check_definition(tool: FunctionTool, *, strict: bool) -> dict[str, Any]:
    shown = json.loads(_wire.encode(tool))
    validation.check({"model": "m", "tools": [shown]}, "CreateAssistantRequest")
    schema = shown["function"]["parameters"]
    jsonschema_rs.meta.validate(schema)
    for part in _parts(schema) if strict else ():
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
    return schema


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for word, inner in schema.items():
            if word not in ("enum", "const", "default", "required"):
                for part in inner.values() if word in ("properties", "$defs") else [inner]:
                    yield from _parts(part)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _parts(inner)


def _output(toolbox: Toolbox, arguments: str) -> str:
    call = FunctionToolCall(id=f"call_{len(arguments)}", function=FunctionCall(name="function", arguments=arguments))
    toolbox.forget([call])
    (output,) = asyncio.run(toolbox.answer([call]))
    return output.output


def _tool_seeds() -> Iterator[bytes]:
    everything = {name: name for name in _TYPES if name not in ("none", "object", "callable", "unknown")}
    said = {"str": "a", "int": 1, "float": 0.5, "bool": True, "any": [None], "Place": {"city": "Oslo", "near": []}}
    yield _written(everything, "", said)
    yield _written(
        {"a": ["int"], "b": ["int", "str"], "c": {"dict": "float"}}, "A.", {"a": [1], "b": [1, "a"], "c": {}}
    )
    yield _written({"a": {"optional": "Place"}, "b": {"union": ["int", "word"]}}, "B.", {"a": None, "b": "x"})
    defaults = {"a": {"type": "int", "default": 1}, "b": {"type": ["str"], "default": []}}
    yield _written({**defaults, "c": {"type": "str", "default": None}}, "C. Args: a: The a.", {})
    yield _written({"a": {"literal": ["x", 1]}, "b": "int"}, ":param a: b", {"a": "x", "b": 1})
    for name in _TYPES:
        yield _written({"a": name}, "", {"a": None})


def _written(signature: Any, docstring: str, arguments: Any) -> bytes:
    return f"{line(signature)}\n{docstring}\n{line(arguments)}".encode()


def objects(data: bytes) -> None:
    """A class has a format, or a `TypeError` says why it has none; any answer is an object of it, or an `AnswerError`.

    The format is JSON that the server takes, its schema a valid one, and what is read into the class is written back.
    """
    fields, answer = (*data.split(b"\n", 1), b"")[:2]
    try:
        written = json.loads(fields)
        cls = TypedDict("Answer", {name: _type_of(hint) for name, hint in written.items()})  # type: ignore[operator]
    except (TypeError, ValueError, RecursionError, AttributeError):  # such as a literal of nothing: no class of Python
        return
    for strict in (False, True):
        try:
            answer_format: AnswerFormat[Any] = AnswerFormat(cls, strict=strict)
        except TypeError:
            continue
        shown = json.loads(_wire.encode(answer_format.response_format))
        validation.check({"model": "m", "response_format": shown}, "CreateAssistantRequest")
        schema = shown["json_schema"]["schema"]
        jsonschema_rs.meta.validate(schema)
        for text in (answer.decode(errors="surrogateescape"), json.dumps(sample(schema)), "", "null"):
            try:
                value = answer_format.parse(text)
            except AnswerError as error:
                assert error.text == text
            else:
                assert value.keys() == written.keys()


def _object_seeds() -> Iterator[bytes]:
    for seed in _tool_seeds():
        signature, _, arguments = seed.split(b"\n", 2)
        yield signature + b"\n" + arguments


TARGETS = (Target("tools", tools, _tool_seeds), Target("objects", objects, _object_seeds))
