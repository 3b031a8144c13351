"""Checks request bodies and queries against the API's document; an `ApiError` names what is wrong.

An invalid body must not cost more than its size: its number of values is limited, and checking ends at the first error.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, NoReturn

import msgspec
from jsonschema_rs import ValidationError
from multidict import MultiMapping

from openai_runs._slices import Work, at_once, in_slices
from openai_runs.engine.errors import ApiError
from openai_runs.models.vector_store import VectorStoreFileStatus
from openai_runs.server import validation_errors
from openai_runs.server.document import document, validator
from openai_runs.stores.records import PageQuery

#: Levels of nesting. More than any schema or metadata needs, and less than the interpreter's recursion limit.
MAX_DEPTH: Final = 128
#: JSON values in one body, without the names: five for each message of the largest thread. They need about fifty
#: megabytes, and a tenth of a second to parse, which cannot be interrupted.
MAX_VALUES: Final = 500_000
INCLUDABLE: Final = ("step_details.tool_calls[*].file_search.results[*].content",)
_ORDERS: Final[Mapping[str, Literal["asc", "desc"]]] = {"asc": "asc", "desc": "desc"}

_LARGE: Final = 64 * 1024  # bytes; a smaller body takes a few milliseconds
_SLICE: Final = 64 * 1024  # bytes of text, or items, between two breaks
_SEPARATORS: Final = (b",", b"{", b"[")
_BACKSLASHES: Final = re.compile(rb"\\*")
_decode = msgspec.json.Decoder().decode


async def read(text: bytes, schema: str, upgrade: Callable[[Any, str], Any] | None = None) -> dict[str, Any]:
    """Parse a request body and check it against its schema; a large one with breaks, so that other tasks can run.

    Args:
        text: JSON.
        schema: The schema's name in the document, such as ``CreateRunRequest``.
        upgrade: Makes a body of this version of the API of one of an earlier version, given the schema's name.

    Raises:
        ApiError: 400; see `parse` and `check`. Or what ``upgrade`` raises.
    """
    if len(text) > _LARGE or _may_be_deep(text) or upgrade is not None:
        return await in_slices(_reading(text, schema, upgrade))
    return check(_decoded(text), schema)


def _reading(text: bytes, schema: str, upgrade: Callable[[Any, str], Any] | None) -> Work[dict[str, Any]]:
    value = yield from _parsing(text)
    yield
    if upgrade is not None:
        value = upgrade(value, schema)
        yield
    if not validator(schema).is_valid(value):
        yield from _raising_first_error(value, schema)
    valid: dict[str, Any] = value
    return valid


async def read_object(text: bytes) -> dict[str, Any]:
    """Parse a request body that is an object, and that somebody else checks.

    Raises:
        ApiError: 400; see `parse`. Or it is no object.
    """
    value = await in_slices(_parsing(text))
    if not isinstance(value, dict):
        raise ApiError(400, "Invalid body: expected a JSON object.", code="invalid_type")
    return value


def parse(text: bytes) -> Any:
    """Parse strict JSON: no ``NaN``, no unpaired surrogates, no numbers out of range.

    Raises:
        ApiError: 400; the text is not JSON, is nested more deeply than `MAX_DEPTH`, or has more than `MAX_VALUES`.
    """
    return at_once(_parsing(text))


def _parsing(text: bytes) -> Work[Any]:
    if len(text) > MAX_VALUES:
        yield from _counting_values(text)
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


def _counting_values(text: bytes) -> Work[None]:
    """Count the values of a JSON text before it is parsed, since parsing is what takes the memory."""
    if sum(map(text.count, _SEPARATORS)) < MAX_VALUES:  # counts those inside strings too, and is nearly always enough
        return
    number, last, in_string, start = 1, b"", False, 0
    while start < len(text):
        end = start + _SLICE
        if text[end - 1 : end] == b"\\":  # do not cut an escape in two
            # There is always a match, since the pattern also fits where there is no backslash.
            end = _BACKSLASHES.match(text, end).end() + 1  # type: ignore[union-attr]  # see above
        parts = text[start:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b'"'.join(parts[in_string::2]).translate(None, b" \t\r\n")
        # Each comma adds a value, and so does each opening bracket, unless a closing one follows directly.
        number += sum(map(outside.count, _SEPARATORS))
        joined = last + outside
        number -= joined.count(b"{}") + joined.count(b"[]")
        if len(parts) % 2 == 0:
            in_string = not in_string
        last = b'"' if in_string else joined[-1:]
        start = end
        yield
    if number > MAX_VALUES:
        raise validation_errors.too_many_values(number, MAX_VALUES)


def _may_be_deep(text: bytes) -> bool:
    """Whether there are enough brackets to nest too deeply: quick to count, and nearly always too few."""
    return text.count(b"{") + text.count(b"[") > MAX_DEPTH


def _too_deep() -> ApiError:
    return ApiError(
        400, f"We could not parse the JSON body of your request: it is nested more than {MAX_DEPTH} levels deep."
    )


def _measuring_depth(value: object) -> Work[None]:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        nested: list[Any] = []
        for start in range(0, len(level), _SLICE):
            for item in level[start : start + _SLICE]:
                children = item.values() if isinstance(item, dict) else item
                nested += [child for child in children if child.__class__ is dict or child.__class__ is list]
            yield
        if not nested:
            return
        level = nested
    raise _too_deep()


def check(body: Any, schema: str) -> dict[str, Any]:
    """Check a request body against its schema.

    Args:
        body: Parsed JSON.
        schema: The schema's name in the document, such as ``CreateRunRequest``.

    Raises:
        ApiError: 400; the message, ``param`` and ``code`` are those of the hosted API.
    """
    if not validator(schema).is_valid(body):
        at_once(_raising_first_error(body, schema))
    checked: dict[str, Any] = body
    return checked


def _raising_first_error(body: Any, schema: str) -> Work[NoReturn]:
    """Raise an `ApiError` for the first error of an invalid body."""
    yield
    yield from _checking_names_and_sizes(body, schema)
    yield
    try:
        validator(schema).validate(body)  # unlike `iter_errors`, which collects them all
    except ValidationError as error:
        raise validation_errors.from_schema_errors([error], document()) from None
    raise AssertionError("the body is valid")


def _checking_names_and_sizes(body: Any, schema: str) -> Work[None]:
    """Check names and sizes without the validator, whose errors copy the whole array or object.

    Raises:
        ApiError: 400; the body has an unknown name, or an array or object that is too large.
    """
    too_many: ApiError | None = None
    for path, rules, value in _containers(body, document()["components"]["schemas"][schema], ()):
        yield
        if isinstance(value, list):
            if len(value) > rules.get("maxItems", len(value)):
                too_many = too_many or validation_errors.too_many_items(path, value, rules["maxItems"])
            continue
        if len(value) > rules.get("maxProperties", len(value)):
            too_many = too_many or validation_errors.too_many_properties(path, value, rules["maxProperties"])
        known = rules.get("properties", {})
        if rules.get("additionalProperties") is False and not known.keys() >= value.keys():
            # An unknown name comes before a missing one: it is often the misspelt one.
            raise validation_errors.unknown_parameter([*path, next(name for name in value if name not in known)])
    if too_many is not None:
        raise too_many


def _containers(
    value: Any, rules: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """The objects and arrays of a body, innermost first, each as path, schema and value; none of those in a union."""
    while "$ref" in rules:
        rules = document()["components"]["schemas"][rules["$ref"].rpartition("/")[2]]
    if isinstance(value, dict):
        for name, item_rules in rules.get("properties", {}).items():
            if name in value:
                yield from _containers(value[name], item_rules, (*path, name))
        yield path, rules, value
    elif isinstance(value, list):
        if "items" in rules and len(value) <= rules.get("maxItems", len(value)):
            for index, item in enumerate(value):
                yield from _containers(item, rules["items"], (*path, index))
        yield path, rules, value


def page_query(query: Mapping[str, str], *, most: int = 100, default: int = 20) -> PageQuery:
    """Read the query parameters of a list.

    Args:
        query: The request's query.
        most: The highest ``limit``.
        default: The ``limit`` if the query has none.

    Raises:
        ApiError: 400; ``limit`` or ``order`` is invalid.
    """
    limit = query.get("limit", str(default))
    if not re.fullmatch("-?[0-9]{1,9}", limit):
        raise validation_errors.wrong_type("limit", "an integer", "a string")
    number = int(limit)
    if number < 1:
        raise validation_errors.below_minimum("limit", number, 1)
    if number > most:
        raise validation_errors.above_maximum("limit", number, most)
    order = _ORDERS.get(query.get("order", "desc"))
    if order is None:
        raise validation_errors.not_one_of("order", query["order"], tuple(_ORDERS))
    return PageQuery(limit=number, order=order, after=query.get("after") or None, before=query.get("before") or None)


def file_status(query: Mapping[str, str]) -> VectorStoreFileStatus | None:
    """Which files of a vector store a list is to have, as ``filter`` says; ``None``: all of them.

    Raises:
        ApiError: 400; it is no status.
    """
    status = query.get("filter")
    if status is None:
        return None
    if status not in tuple(VectorStoreFileStatus):
        raise validation_errors.not_one_of("filter", status, tuple(VectorStoreFileStatus))
    return VectorStoreFileStatus(status)


def shows_search_content(query: MultiMapping[str]) -> bool:
    """Whether ``include[]`` asks for what file search found, which is its one value.

    Raises:
        ApiError: 400; another value.
    """
    names = query.getall("include[]", ())
    for name in names:
        if name not in INCLUDABLE:
            raise validation_errors.not_one_of("include", name, INCLUDABLE)
    return bool(names)
