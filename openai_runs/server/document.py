"""The API's document, as far as request bodies are held against it: its schemas, made strict and quick to check.

The schemas in ``assistants-v2.json`` are data from the public repository openai/openai-openapi (see the comment in
it and the licence beside it). Limits that stand only in the document's descriptions are added to them here, and limits
where the API names none: what a stranger may send has some.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

import jsonschema_rs

from openai_runs.engine.resources.messages import MAX_MESSAGES

#: Of one message. The hosted API names no limit; its other endpoints took up to 500 images at a time.
MAX_PARTS: Final = 1_000
#: Of one message. The hosted API put them into vector stores, which is not done here.
MAX_ATTACHMENTS: Final = 1_000
#: As many as a run may have; there are two kinds of them.
_MAX_ATTACHMENT_TOOLS: Final = 20
#: What a vector store of the hosted API could hold; the document's number is larger than any request body.
_MAX_FILES: Final = 10_000

_NAME: Final = {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$", "maxLength": 64}

#: What says something about values of one JSON type only.
_ABOUT: Final = {
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
    """All of it, with the limits."""
    loaded: dict[str, Any] = json.loads(files("openai_runs.server").joinpath("assistants-v2.json").read_bytes())
    tighten(loaded["components"]["schemas"])
    _merge_types(loaded)
    return loaded


@cache
def validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """What checks a body against the schema of a name."""
    # Formats are checked: there is one, the URL of an image, and a model's endpoint would choke on it much later.
    rooted = {**document(), "$ref": f"#/components/schemas/{schema}"}
    return jsonschema_rs.Draft202012Validator(rooted, validate_formats=True)


def tighten(schemas: dict[str, Any]) -> None:
    """Add the limits that the document has in words only, or not at all."""
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
    del attachments["required"]  # which an array cannot break
    attachments["maxItems"] = MAX_ATTACHMENTS
    attachments["items"]["properties"]["tools"]["maxItems"] = _MAX_ATTACHMENT_TOOLS
    resources = schemas["CreateThreadRequest"]["properties"]["tool_resources"]["anyOf"][0]["properties"]
    store = resources["file_search"]["properties"]["vector_stores"]["items"]
    store["properties"]["file_ids"]["maxItems"] = _MAX_FILES


def _merge_types(schema: Any) -> None:
    """Make one schema of each union whose branches differ by JSON type.

    It means the same. But of a value that fits no branch, a validator lists all that is wrong by each of them, and an
    array may have any number of wrong items. So no array stands in a union.
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
            if len(types) == len(set(types)) and all(map(_is_about_one_type, branches)) and schema.keys() == {union}:
                del schema[union]
                for branch in branches:
                    schema |= branch
                schema["type"] = types


def _is_about_one_type(schema: dict[str, Any]) -> bool:
    return schema.keys() <= {"type"} | _ABOUT.get(schema.get("type", ""), set())
