"""What a request says, checked as strictly as the API's document says it; else an `ApiError` that names the cause.

A body costs time and memory in proportion to its size, whatever is wrong with it: how many values it may have is
limited, and the search ends with the first error.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, NoReturn

import msgspec
from jsonschema_rs import ValidationError
from multidict import MultiMapping

from openai_runs._slices import Work, at_once, in_slices
from openai_runs.engine.errors import ApiError
from openai_runs.server import validation_errors as complaints
from openai_runs.server.document import document, validator
from openai_runs.stores.records import PageQuery

#: Deeper than any schema or metadata in use; well before the interpreter's own limit, which would be our bug.
MAX_DEPTH: Final = 128
#: Of a body in all, names not counted: five for each of the most messages that a thread takes. They take some fifty
#: megabytes, and a tenth of a second to parse, which cannot be interrupted.
MAX_VALUES: Final = 500_000
INCLUDABLE: Final = ("step_details.tool_calls[*].file_search.results[*].content",)
_ORDERS: Final[Mapping[str, Literal["asc", "desc"]]] = {"asc": "asc", "desc": "desc"}

_LARGE: Final = 64 * 1024  # bytes: what is smaller is read in a few milliseconds
_PIECE: Final = 64 * 1024  # bytes of text, or items, that are looked at in one go
_SEPARATORS: Final = (b",", b"{", b"[")
_BACKSLASHES: Final = re.compile(rb"\\*")
_decode = msgspec.json.Decoder().decode


async def read(text: bytes, schema: str) -> dict[str, Any]:
    """Parse a request body and hold it against the document's schema; a large one with breaks for others.

    Args:
        text: JSON.
        schema: Its name in the document, such as ``CreateRunRequest``.

    Raises:
        ApiError: 400; see `parse` and `check`.
    """
    if len(text) > _LARGE or _may_be_deep(text):
        return await in_slices(_reading(text, schema))
    return check(_decoded(text), schema)


def _reading(text: bytes, schema: str) -> Work[dict[str, Any]]:
    value = yield from _parsing(text)
    yield
    if not validator(schema).is_valid(value):
        yield from _complaining(value, schema)
    valid: dict[str, Any] = value
    return valid


def parse(text: bytes) -> Any:
    """Parse JSON, to the letter: no ``NaN``, no half surrogate pairs, no numbers that no machine can hold.

    Raises:
        ApiError: 400; it is not JSON, is nested more deeply than `MAX_DEPTH`, or has more than `MAX_VALUES`.
    """
    return at_once(_parsing(text))


def _parsing(text: bytes) -> Work[Any]:
    if len(text) > MAX_VALUES:
        yield from _counting(text)
    value = _decoded(text)
    if _may_be_deep(text):
        yield
        yield from _measuring_depth(value)
    return value


def _decoded(text: bytes) -> Any:
    try:
        return _decode(text)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {error}.") from None


def _counting(text: bytes) -> Work[None]:
    """Count the values of a JSON text before there is anything in memory for them."""
    if sum(map(text.count, _SEPARATORS)) < MAX_VALUES:  # in strings too; nearly always that settles it
        return
    number, last, in_string, start = 1, b"", False, 0
    while start < len(text):
        end = start + _PIECE
        if text[end - 1 : end] == b"\\":  # an escape stays in one piece
            end = _BACKSLASHES.match(text, end).end() + 1  # type: ignore[union-attr]  # it matches nothing, too
        pieces = text[start:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b'"'.join(pieces[in_string::2]).translate(None, b" \t\r\n")
        # A comma stands between two values, a bracket before the first of some; unless the next one closes it.
        number += sum(map(outside.count, _SEPARATORS))
        joined = last + outside
        number -= joined.count(b"{}") + joined.count(b"[]")
        if len(pieces) % 2 == 0:
            in_string = not in_string
        last = b'"' if in_string else joined[-1:]
        start = end
        yield
    if number > MAX_VALUES:
        raise complaints.too_many_values(number, MAX_VALUES)


def _may_be_deep(text: bytes) -> bool:
    """Whether there are enough brackets; counting them is quick, and nearly all bodies have too few."""
    return text.count(b"{") + text.count(b"[") > MAX_DEPTH


def _too_deep() -> ApiError:
    return ApiError(
        400, f"We could not parse the JSON body of your request: it is nested more than {MAX_DEPTH} levels deep."
    )


def _measuring_depth(value: object) -> Work[None]:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        nested: list[Any] = []
        for start in range(0, len(level), _PIECE):
            for item in level[start : start + _PIECE]:
                children = item.values() if isinstance(item, dict) else item
                nested += [child for child in children if child.__class__ is dict or child.__class__ is list]
            yield
        if not nested:
            return
        level = nested
    raise _too_deep()


def check(body: Any, schema: str) -> dict[str, Any]:
    """Hold a request body against the document's schema.

    Args:
        body: Parsed JSON.
        schema: Its name in the document, such as ``CreateRunRequest``.

    Raises:
        ApiError: 400; the message, ``param`` and ``code`` are like OpenAI's.
    """
    if not validator(schema).is_valid(body):
        at_once(_complaining(body, schema))
    checked: dict[str, Any] = body
    return checked


def _complaining(body: Any, schema: str) -> Work[NoReturn]:
    """Say what is wrong with a body."""
    yield
    yield from _checking_names_and_numbers(body, schema)
    yield
    try:
        validator(schema).validate(body)  # unlike `iter_errors`, which collects them all
    except ValidationError as error:
        raise complaints.about([error], document()) from None
    raise AssertionError("the body is valid")


def _checking_names_and_numbers(body: Any, schema: str) -> Work[None]:
    """Find what the validator need not be asked for: its errors come with a copy of what they are about.

    Raises:
        ApiError: 400; there is an unknown name in the body, or an array or an object in it is too large.
    """
    too_many: ApiError | None = None
    for path, rules, value in _places(body, document()["components"]["schemas"][schema], ()):
        yield
        if isinstance(value, list):
            if len(value) > rules.get("maxItems", len(value)):
                too_many = too_many or complaints.too_many_items(path, value, rules["maxItems"])
            continue
        if len(value) > rules.get("maxProperties", len(value)):
            too_many = too_many or complaints.too_many_properties(path, value, rules["maxProperties"])
        known = rules.get("properties", {})
        if rules.get("additionalProperties") is False and not known.keys() >= value.keys():
            # A misspelt name explains why the right one is missing, so it comes first.
            raise complaints.unknown([*path, next(name for name in value if name not in known)])
    if too_many is not None:
        raise too_many


def _places(value: Any, rules: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """The objects and arrays of a body, innermost first, with their schemas; nothing of what is in a union."""
    while "$ref" in rules:
        rules = document()["components"]["schemas"][rules["$ref"].rpartition("/")[2]]
    if isinstance(value, dict):
        for name, item_rules in rules.get("properties", {}).items():
            if name in value:
                yield from _places(value[name], item_rules, (*path, name))
        yield path, rules, value
    elif isinstance(value, list):
        if "items" in rules and len(value) <= rules.get("maxItems", len(value)):
            for index, item in enumerate(value):
                yield from _places(item, rules["items"], (*path, index))
        yield path, rules, value


def page_query(query: Mapping[str, str]) -> PageQuery:
    """Read the query of a list.

    Raises:
        ApiError: 400; ``limit`` or ``order`` is not one of the API's.
    """
    limit = query.get("limit", "20")
    if not re.fullmatch("-?[0-9]{1,9}", limit):
        raise complaints.wrong_type("limit", "an integer", "a string")
    number = int(limit)
    if number < 1:
        raise complaints.below("limit", number, 1)
    if number > 100:
        raise complaints.above("limit", number, 100)
    order = _ORDERS.get(query.get("order", "desc"))
    if order is None:
        raise complaints.not_one_of("order", query["order"], tuple(_ORDERS))
    return PageQuery(limit=number, order=order, after=query.get("after") or None, before=query.get("before") or None)


def check_include(query: MultiMapping[str]) -> None:
    """Check ``include[]``. It asks for what file search found, which steps show here whenever there is any.

    Raises:
        ApiError: 400; it asks for something that does not exist.
    """
    for name in query.getall("include[]", ()):
        if name not in INCLUDABLE:
            raise complaints.not_one_of("include", name, INCLUDABLE)
