"""What a request says, checked as strictly as the API's document says it; else an `ApiError` that names the cause.

The schemas in ``assistants-v2.json`` are data from the public repository openai/openai-openapi (see the comment in
it and the licence beside it). Limits that stand only in the document's descriptions are added to them here.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import jsonschema_rs
import msgspec
from multidict import MultiMapping

from openai_runs.engine.errors import ApiError
from openai_runs.engine.records import PageQuery
from openai_runs.server import complaints

#: Deeper than any schema or metadata in use; well before the interpreter's own limit, which would be our bug.
MAX_DEPTH: Final = 128
INCLUDABLE: Final = ("step_details.tool_calls[*].file_search.results[*].content",)
_ORDERS: Final[Mapping[str, Literal["asc", "desc"]]] = {"asc": "asc", "desc": "desc"}

_NAME: Final = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$", "maxLength": 64}
_decode = msgspec.json.Decoder().decode


def _tightened(schemas: dict[str, Any]) -> dict[str, Any]:
    """Add the limits that the document has in words only."""
    schemas["Metadata"]["anyOf"][0] |= {
        "maxProperties": 16,
        "propertyNames": {"maxLength": 64},
        "additionalProperties": {"type": "string", "maxLength": 512},
    }
    schemas["FunctionObject"]["properties"]["name"] = _NAME
    schemas["ResponseFormatJsonSchema"]["properties"]["json_schema"]["properties"]["name"] = _NAME
    return schemas


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files("openai_runs.server").joinpath("assistants-v2.json").read_bytes())
    _tightened(document["components"]["schemas"])
    return document


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    # Formats are checked: there is one, the URL of an image, and a model's endpoint would choke on it much later.
    schema_document = {**_document(), "$ref": f"#/components/schemas/{schema}"}
    return jsonschema_rs.Draft202012Validator(schema_document, validate_formats=True)


def parse(text: bytes) -> Any:
    """Parse JSON, to the letter: no ``NaN``, no half surrogate pairs, no numbers that no machine can hold.

    Raises:
        ApiError: 400; it is not JSON, or nested more deeply than `MAX_DEPTH`.
    """
    try:
        value = _decode(text)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {error}.") from None
    # Counting brackets is quick, and nearly all bodies have too few of them to be looked at closely.
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _depth_exceeds(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _too_deep() -> ApiError:
    return ApiError(
        400, f"We could not parse the JSON body of your request: it is nested more than {MAX_DEPTH} levels deep."
    )


def _depth_exceeds(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most):
        nested = [item for item in level if isinstance(item, dict | list)]
        if not nested:
            return False
        level = [child for item in nested for child in (item.values() if isinstance(item, dict) else item)]
    return any(isinstance(item, dict | list) for item in level)


def check(body: Any, schema: str) -> dict[str, Any]:
    """Hold a request body against the document's schema.

    Args:
        body: Parsed JSON.
        schema: Its name in the document, such as ``CreateRunRequest``.

    Raises:
        ApiError: 400; the message, ``param`` and ``code`` are like OpenAI's.
    """
    validator = _validator(schema)
    if not validator.is_valid(body):
        raise complaints.about(list(validator.iter_errors(body)), _document())
    checked: dict[str, Any] = body
    return checked


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
