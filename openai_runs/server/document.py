"""The schemas of request bodies from the API's OpenAPI document, with all limits, in a form that is fast to check.

One parameter is an addition of this server: ``completion_window`` of a run.

The schemas in ``assistants-v2.json`` are data from the public repository openai/openai-openapi (see the comment in
it and the licence beside it). Added here are the limits that the document has only in its descriptions, and limits of
our own where the API names none, because untrusted input must not be unbounded.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

import jsonschema_rs

from openai_runs.engine.guard import MAX_MESSAGES
from openai_runs.engine.vector_store_changes import MAX_FILES
from openai_runs.models.completion_window import WINDOW_SECONDS

#: Content parts of one message. The hosted API named no limit; its other endpoints took up to 500 images at a time.
MAX_PARTS: Final = 1_000
#: Attachments of one message. The hosted API put them into vector stores, which is not done here.
MAX_ATTACHMENTS: Final = 1_000
#: As many as a run may have; only two kinds exist.
_MAX_ATTACHMENT_TOOLS: Final = 20
#: Characters of the name and of the description of a vector store.
_MAX_NAME: Final = 1_000
#: Queries of one search.
_MAX_QUERIES: Final = 20
#: Conditions that are combined, and values that are compared with.
_MAX_CONDITIONS: Final = 100

_NAME: Final = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$", "maxLength": 64}

#: The schema keywords that apply to one JSON type only.
_KEYWORDS: Final = {
    "array": {"items", "minItems", "maxItems"},
    "boolean": set[str](),
    "integer": {"minimum", "maximum"},
    "null": set[str](),
    "number": {"minimum", "maximum"},
    "object": {"properties", "required", "additionalProperties", "propertyNames", "maxProperties"},
    "string": {"maxLength", "pattern", "format"},
}


@cache
def document() -> dict[str, Any]:
    """The whole document, with the limits added."""
    loaded: dict[str, Any] = json.loads(files("openai_runs.server").joinpath("assistants-v2.json").read_bytes())
    add_limits(loaded["components"]["schemas"])
    add_parameters(loaded["components"]["schemas"])
    _merge_types(loaded)
    return loaded


@cache
def validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """The validator for the schema of this name."""
    # The only format is the URL of an image; unchecked, a bad one would fail much later, at the model's endpoint.
    rooted = {**document(), "$ref": f"#/components/schemas/{schema}"}
    return jsonschema_rs.Draft202012Validator(rooted, validate_formats=True)


def add_limits(schemas: dict[str, Any]) -> None:
    """Add the limits that the document has only in its descriptions, or not at all."""
    schemas["Metadata"]["anyOf"][0] |= {
        "maxProperties": 16,
        "propertyNames": {"maxLength": 64},
        "additionalProperties": {"type": "string", "maxLength": 512},
    }
    schemas["FunctionObject"]["properties"]["name"] = _NAME
    schemas["ResponseFormatJsonSchema"]["properties"]["json_schema"]["properties"]["name"] = _NAME
    schemas["CreateThreadRequest"]["properties"]["messages"]["maxItems"] = MAX_MESSAGES
    schemas["CreateRunRequest"]["properties"]["additional_messages"]["maxItems"] = MAX_MESSAGES
    message = schemas["CreateMessageRequest"]["properties"]
    message["content"]["oneOf"][1]["maxItems"] = MAX_PARTS
    attachments = message["attachments"]["anyOf"][0]
    del attachments["required"]  # without effect on an array
    attachments["maxItems"] = MAX_ATTACHMENTS
    attachments["items"]["properties"]["tools"]["maxItems"] = _MAX_ATTACHMENT_TOOLS
    resources = schemas["CreateThreadRequest"]["properties"]["tool_resources"]["anyOf"][0]["properties"]
    store = resources["file_search"]["properties"]["vector_stores"]["items"]
    store["properties"]["file_ids"]["maxItems"] = MAX_FILES
    schemas["CreateVectorStoreRequest"]["properties"]["name"]["maxLength"] = _MAX_NAME
    schemas["CreateVectorStoreRequest"]["properties"]["description"]["maxLength"] = _MAX_NAME
    schemas["UpdateVectorStoreRequest"]["properties"]["name"]["maxLength"] = _MAX_NAME
    schemas["VectorStoreSearchRequest"]["properties"]["query"]["oneOf"][1]["maxItems"] = _MAX_QUERIES
    schemas["CompoundFilter"]["properties"]["filters"]["maxItems"] = _MAX_CONDITIONS
    schemas["ComparisonFilter"]["properties"]["value"]["oneOf"][3]["maxItems"] = _MAX_CONDITIONS


def add_parameters(schemas: dict[str, Any]) -> None:
    """Add the parameters that this server has beyond the API."""
    window = {"anyOf": [{"type": "string", "enum": list(WINDOW_SECONDS)}, {"type": "null"}]}
    for name in "CreateRunRequest", "CreateThreadAndRunRequest":
        schemas[name]["properties"]["completion_window"] = window


def _merge_types(schema: Any) -> None:
    """Replace each union whose branches differ by JSON type with one equivalent schema.

    For a value that fits no branch of a union, the validator collects the errors of every branch, and an array may
    have any number of wrong items. After this, no union has an array in it.
    """
    if isinstance(schema, list):
        for item in schema:
            _merge_types(item)
    if isinstance(schema, dict):
        for item in schema.values():
            _merge_types(item)
        for union in "anyOf", "oneOf":
            branches = schema.get(union, ())
            types = [branch.get("type") for branch in branches]
            if len(types) == len(set(types)) and all(map(_has_one_type, branches)) and schema.keys() == {union}:
                del schema[union]
                for branch in branches:
                    schema |= branch
                schema["type"] = types


def _has_one_type(schema: dict[str, Any]) -> bool:
    return schema.keys() <= {"type"} | _KEYWORDS.get(schema.get("type", ""), set())
