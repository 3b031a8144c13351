"""Checks request bodies of the backends against the APIs' documents."""

import json
from functools import cache
from typing import Any

import jsonschema_rs

from tests.samples import OPENAPI

FILES = {"CreateChatCompletionRequest": "chat-completions.json", "CreateResponse": "responses.json"}


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
    return errors + [f"{name}: no such parameter" for name in body if name not in parameters(schema)]
