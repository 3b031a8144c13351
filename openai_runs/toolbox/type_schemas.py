"""The JSON Schema of a type, made by `msgspec` from its hints; and the same for the API's strict mode."""

from collections.abc import Mapping
from typing import Any

import msgspec

from openai_runs.toolbox.json_models import SchemaHook


def schema_of(hint: Any) -> dict[str, Any]:
    """The JSON Schema of a type: complete, with its own ``$defs``, and no reference at the top.

    Raises:
        Exception: It has none. `msgspec` and the caller's annotations raise errors of many kinds.
    """
    hook = SchemaHook()
    (schema,), definitions = msgspec.json.schema_components([hint], schema_hook=hook)
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    if name in definitions:
        schema = definitions.pop(name)
        if f'"#/$defs/{name}"'.encode() in msgspec.json.encode([schema, definitions]):  # it has itself in it
            definitions[name] = schema
    elif name:  # pydantic refers to a class that has itself in it
        schema = hook.definitions[name]
    hook.add(definitions)
    return {**schema, "$defs": hook.definitions} if hook.definitions else dict(schema)


def strict_schema(schema: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Convert a schema for strict mode: no additional properties, all required, no keys beside a ``$ref``.

    Args:
        schema: The schema.
        where: What it is of, for the error.

    Raises:
        TypeError: An object may have any keys.
    """
    strict = {key: value for key, value in schema.items() if key != "default"}
    if "$ref" in strict and len(strict) > 1:
        strict["anyOf"] = [{"$ref": strict.pop("$ref")}]
    for key in strict.keys() & {"properties", "$defs"}:
        strict[key] = {name: strict_schema(part, f"{where}.{name}") for name, part in strict[key].items()}
    for key in strict.keys() & {"anyOf", "oneOf", "allOf", "prefixItems"}:
        strict[key] = [strict_schema(part, where) for part in strict[key]]
    if strict.get("items"):
        strict["items"] = strict_schema(strict["items"], f"{where}[]")
    if strict.get("type") == "object":
        if "properties" not in strict:
            raise TypeError(f"{where} may have any keys, which strict=True forbids: name them in a class")
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    return strict
