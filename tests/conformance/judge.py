"""The published API document as a judge of what our server says; the whole document, as it was extracted."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

_SAMPLES = Path(__file__).parent.parent / "samples/openapi"


def _merged(*names: str) -> dict[str, Any]:
    """The parts of the document as one; what several have is the same in each."""
    first, *others = [json.loads((_SAMPLES / name).read_bytes()) for name in names]
    for other in others:
        first["paths"] |= other["paths"]
        schemas = first["components"]["schemas"]
        first["components"]["schemas"] = other["components"]["schemas"] | schemas
    return first


DOCUMENT = _merged("assistants-v2.json", "files-vector-stores.json")

OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


@cache
def _patterns() -> list[tuple[str, str, re.Pattern[str]]]:
    # Literal paths first: /threads/runs is not the thread "runs".
    entries = sorted(OPERATIONS.items(), key=lambda item: item[1][1].count("{"))
    return [(name, method, re.compile(re.sub(r"\{\w+\}", "[^/]+", path))) for name, (method, path, _) in entries]


def operation_of(method: str, path: str) -> str | None:
    """The document's name of what a request asks for; the path as sent, without a prefix."""
    return next((name for name, m, pattern in _patterns() if m == method and pattern.fullmatch(path)), None)


@cache
def _validator(pointer: str) -> jsonschema_rs.Draft202012Validator:
    schema = {"$ref": pointer, "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def complaints_about(body: Any, schema: str) -> list[str]:
    """Where and how a body breaks a schema of the document."""
    errors = _validator(f"#/components/schemas/{schema}").iter_errors(body)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message[:300]}" for error in errors]


def response_schema(operation: str) -> str:
    """The name of the schema of an operation's answer."""
    _, _, described = OPERATIONS[operation]
    pointer: str = described["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    return pointer.rpartition("/")[2]


#: What our server has beyond the document, with the document's schema of each object in the list.
_OUR_LISTS = {"/runs": "RunObject", "/threads": "ThreadObject"}


def assert_conforms(method: str, path: str, status: int, body: Any) -> None:
    """Fail unless an answer is what the document says."""
    if method == "GET" and status < 400 and (path in _OUR_LISTS or path.startswith("/runs/")):
        objects = body["data"] if path in _OUR_LISTS else [body]
        for item in objects:
            complaints = complaints_about(item, _OUR_LISTS.get(path, "RunObject"))
            assert not complaints, f"{method} {path} answered with what is not what is listed: {complaints}"
        return
    operation = operation_of(method, path)
    schema = "ErrorResponse" if status >= 400 or operation is None else response_schema(operation)
    complaints = complaints_about(body, schema)
    assert not complaints, f"{method} {path} answered {status} with what is not {schema}: {complaints}"
