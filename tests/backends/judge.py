"""Checks request bodies of the backends against the APIs' documents."""

import json
from functools import cache
from typing import Any

import jsonschema_rs

from tests.samples import OPENAPI

FILES = {"CreateChatCompletionRequest": "chat-completions.json", "CreateResponse": "responses.json"}

#: Parameters that are later than the document, as OpenAI's guide to background mode of 2026-11-17 has them.
LATER: dict[str, dict[str, Any]] = {
    "CreateResponse": {
        "background_options": {
            "type": "object",
            "properties": {"completion_window": {"enum": ["soonest", "2h", "8h"]}},
            "additionalProperties": False,
        }
    }
}


@cache
def components(schema: str) -> Any:
    return _with_any_of(json.loads((OPENAPI / FILES[schema]).read_bytes())["components"])


def _with_any_of(value: Any) -> Any:
    """Alternatives of the document overlap, as it uses a discriminator: accept a value that fits any of them."""
    if isinstance(value, list):
        return [_with_any_of(each) for each in value]
    if isinstance(value, dict):
        return {"anyOf" if name == "oneOf" else name: _with_any_of(each) for name, each in value.items()}
    return value


@cache
def validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": components(schema)}, validate_formats=True
    )


@cache
def parameters(schema: str) -> frozenset[str]:
    """The names of all parameters, to find unknown ones, which the schemas allow."""
    schemas = components(schema)["schemas"]

    def names(part: Any) -> set[str]:
        found = set(part.get("properties", ()))
        if "$ref" in part:
            found |= names(schemas[part["$ref"].rpartition("/")[2]])
        for each in part.get("allOf", ()):
            found |= names(each)
        return found

    return frozenset(names(schemas[schema]))


def complaints(body: Any, schema: str) -> list[str]:
    """The errors in a request body; empty if it is valid."""
    errors = [
        f"{'.'.join(map(str, error.instance_path))}: {error.message[:300]}"
        for error in validator(schema).iter_errors(body)
    ]
    later = LATER.get(schema, {})
    errors += [
        f"{name}: {error.message}"
        for name in later.keys() & body
        for error in jsonschema_rs.Draft202012Validator(later[name]).iter_errors(body[name])
    ]
    known = parameters(schema) | later.keys()
    return errors + [f"{name}: no such parameter" for name in body if name not in known]
