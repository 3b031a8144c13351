"""The judge judges; and what the server checks bodies with is what the judge has read."""

import json
from importlib.resources import files
from typing import Any

import pytest

from tests.conformance.judge import DOCUMENT, OPERATIONS, assert_conforms, operation_of, response_schema

#: Keywords that say nothing about which bodies are right.
SILENT = {"description", "title", "example", "examples", "default", "deprecated"}


def bare(schema: Any, *, names: bool = False) -> Any:
    """A schema without prose. In `properties`, a key is a field's name and not a keyword."""
    if isinstance(schema, dict):
        return {
            key: bare(value, names=key == "properties")
            for key, value in schema.items()
            if names or (key not in SILENT and not key.startswith("x-"))
        }
    return [bare(item) for item in schema] if isinstance(schema, list) else schema


def referred(schema: Any) -> set[str]:
    """The names of all that a schema refers to, directly."""
    if isinstance(schema, dict):
        pointers = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
        return pointers.union(*(referred(value) for value in schema.values()))
    return set().union(*(referred(item) for item in schema)) if isinstance(schema, list) else set()


def test_the_server_checks_by_the_document():
    """The bundled schemas are the document's request bodies, with all they refer to, and nothing else."""
    bundled = json.loads(files("openai_runs.server").joinpath("assistants-v2.json").read_bytes())
    schemas = DOCUMENT["components"]["schemas"]
    needed: set[str] = set()
    found = set().union(*(referred(operation.get("requestBody")) for _, _, operation in OPERATIONS.values()))
    while found - needed:
        needed |= found
        found = set().union(*(referred(schemas[name]) for name in found))
    assert bundled["components"]["schemas"] == {name: bare(schemas[name]) for name in needed}


def test_the_licence_goes_with_the_data():
    """Whoever gets the schemas gets their licence."""
    assert "MIT License" in files("openai_runs.server").joinpath("LICENSE-openai-openapi.txt").read_text()


def test_operations_are_found():
    """Each operation is found by a path as it is sent, escaped slashes included."""
    for name, (method, path, _) in OPERATIONS.items():
        assert operation_of(method, path.replace("{", "").replace("}", "")) == name
    assert operation_of("POST", "/threads/runs") == "createThreadAndRun"
    assert operation_of("GET", "/threads/runs") == "getThread"
    assert operation_of("GET", "/threads/a%2Fb") == "getThread"
    assert operation_of("GET", "/threads/a/b") is None


def test_what_is_wrong_is_said():
    """A wrong answer fails the test that got it, and says where."""
    assert response_schema("listRuns") == "ListRunsResponse"
    thread = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}, "tool_resources": None}
    assert_conforms("GET", "/threads/thread_1", 200, thread)
    with pytest.raises(AssertionError, match="created_at"):
        assert_conforms("GET", "/threads/thread_1", 200, thread | {"created_at": 1.5})
    with pytest.raises(AssertionError, match="ErrorResponse"):
        assert_conforms("GET", "/threads/thread_1", 404, thread)
