"""Error responses for invalid bodies: message, ``param`` and ``code`` are those of the hosted API."""

import pytest

from openai_runs.server import validation_errors
from tests.server.bodies import ASSISTANT, MESSAGE, RUN, function, refused

BAD = [
    # names
    (
        "CreateRunRequest",
        {},
        "assistant_id",
        "missing_required_parameter",
        "Missing required parameter: 'assistant_id'.",
    ),
    ("CreateRunRequest", RUN | {"foo": 1}, "foo", "unknown_parameter", "Unknown parameter: 'foo'."),
    ("CreateRunRequest", {"assistant": "asst_1"}, "assistant", "unknown_parameter", "Unknown parameter: 'assistant'."),
    (
        "CreateRunRequest",
        RUN | {"additional_messages": [MESSAGE | {"x" * 100: 1}]},
        f"additional_messages[0].{'x' * 64}",
        "unknown_parameter",
        f"Unknown parameter: 'additional_messages[0].{'x' * 64}'.",
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [{"type": "function", "function": {}}]},
        "tools[0].function.name",
        "missing_required_parameter",
        "Missing required parameter: 'tools[0].function.name'.",
    ),
    ("CreateAssistantRequest", ASSISTANT | {"tools": [{}]}, "tools[0].type", "missing_required_parameter", None),
    # types
    (
        "CreateRunRequest",
        [RUN],
        None,
        "invalid_type",
        "Invalid request body: expected an object, but got an array instead.",
    ),
    (
        "CreateThreadRequest",
        None,
        None,
        "invalid_type",
        "Invalid request body: expected an object, but got null instead.",
    ),
    (
        "CreateRunRequest",
        {"assistant_id": None},
        "assistant_id",
        "invalid_type",
        "Invalid type for 'assistant_id': expected a string, but got null instead.",
    ),
    (
        "CreateRunRequest",
        RUN | {"temperature": "hot"},
        "temperature",
        "invalid_type",
        "Invalid type for 'temperature': expected a number, but got a string instead.",
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"temperature": True},
        "temperature",
        "invalid_type",
        "Invalid type for 'temperature': expected a number, but got a boolean instead.",
    ),
    (
        "CreateRunRequest",
        RUN | {"max_prompt_tokens": 300.5},
        "max_prompt_tokens",
        "invalid_type",
        "Invalid type for 'max_prompt_tokens': expected an integer, but got a number instead.",
    ),
    (
        "CreateMessageRequest",
        MESSAGE | {"content": 5},
        "content",
        "invalid_type",
        "Invalid type for 'content': expected one of a string or an array, but got an integer instead.",
    ),
    (
        "CreateAssistantRequest",
        {"model": {}},
        "model",
        "invalid_type",
        "Invalid type for 'model': expected a string, but got an object instead.",
    ),
    ("CreateAssistantRequest", ASSISTANT | {"tools": [5]}, "tools[0]", "invalid_type", None),
    ("CreateRunRequest", RUN | {"metadata": {"k": 1}}, "metadata.k", "invalid_type", None),
    ("CreateAssistantRequest", ASSISTANT | {"response_format": 5}, "response_format", "invalid_type", None),
    # words
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "nope"}]},
        "tools[1].type",
        "invalid_value",
        "Invalid value: 'nope'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
    ),
    (
        "CreateMessageRequest",
        MESSAGE | {"role": "system"},
        "role",
        "invalid_value",
        "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
    ),
    ("CreateAssistantRequest", ASSISTANT | {"response_format": "none"}, "response_format", "invalid_value", None),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"response_format": {"type": 1}},
        "response_format.type",
        "invalid_value",
        None,
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
        None,
    ),
    ("CreateRunRequest", RUN | {"tool_choice": "never"}, "tool_choice", "invalid_value", None),
    ("CreateRunRequest", RUN | {"tool_choice": {"type": "never"}}, "tool_choice.type", "invalid_value", None),
    (
        "CreateMessageRequest",
        MESSAGE | {"attachments": [{"tools": [{"type": "function"}]}]},
        "attachments[0].tools[0].type",
        "invalid_value",
        "Invalid value: 'function'. Supported values are: 'code_interpreter' and 'file_search'.",
    ),
    (
        "CreateThreadRequest",
        {"tool_resources": {"file_search": {"vector_stores": [{"chunking_strategy": {"type": "auto", "static": {}}}]}}},
        "tool_resources.file_search.vector_stores[0].chunking_strategy.static",
        "unknown_parameter",
        None,
    ),
    (
        "CreateThreadRequest",
        {"tool_resources": {"file_search": {"vector_stores": [], "vector_store_ids": []}}},
        "tool_resources.file_search",
        "invalid_value",
        "Invalid 'tool_resources.file_search': give only one of the forms that exclude each other.",
    ),
    (
        "CreateMessageRequest",
        MESSAGE | {"content": [{"type": "image_url", "image_url": {"url": "my cat"}}]},
        "content[0].image_url.url",
        "invalid_value",
        "Invalid 'content[0].image_url.url': Expected a valid URL, but got 'my cat' instead.",
    ),
    # limits
    (
        "CreateRunRequest",
        RUN | {"temperature": 3},
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"top_p": -0.5},
        "top_p",
        "decimal_below_min_value",
        "Invalid 'top_p': decimal below minimum value. Expected a value >= 0, but got -0.5 instead.",
    ),
    (
        "CreateRunRequest",
        RUN | {"max_completion_tokens": 255},
        "max_completion_tokens",
        "integer_below_min_value",
        "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 256, but got 255 instead.",
    ),
    (
        "CreateRunRequest",
        RUN | {"tools": [{"type": "code_interpreter"}] * 21},
        "tools",
        "array_above_max_length",
        (
            "Invalid 'tools': array too long. Expected an array with maximum length 20, but got an array "
            "with length 21 instead."
        ),
    ),
    (
        "CreateMessageRequest",
        MESSAGE | {"content": []},
        "content",
        "empty_array",
        "Invalid 'content': empty array. Expected an array with minimum length 1, but got an empty array instead.",
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"name": "n" * 257},
        "name",
        "string_above_max_length",
        (
            "Invalid 'name': string too long. Expected a string with maximum length 256, but got a string "
            "with length 257 instead."
        ),
    ),
    (
        "ModifyRunRequest",
        {"metadata": {str(i): "" for i in range(17)}},
        "metadata",
        "object_above_max_properties",
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got 17.",
    ),
    (
        "ModifyRunRequest",
        {"metadata": {"k" * 65: ""}},
        "metadata",
        "string_above_max_length",
        (
            "Invalid 'metadata': a key is a string too long. Expected a string with maximum length 64, but got a "
            "string with length 65 instead."
        ),
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [function(name="get weather")]},
        "tools[0].function.name",
        "invalid_value",
        (
            "Invalid 'tools[0].function.name': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$', but got "
            "'get weather' instead."
        ),
    ),
    (
        "CreateThreadRequest",
        {"messages": [MESSAGE] * 100_001},
        "messages",
        "array_above_max_length",
        (
            "Invalid 'messages': array too long. Expected an array with maximum length 100000, but got an array "
            "with length 100001 instead."
        ),
    ),
    # more than one thing is wrong
    ("CreateThreadRequest", {"messages": [{"role": 1}, {"new": 1}]}, "messages[1].new", "unknown_parameter", None),
    ("CreateThreadRequest", {"messages": [{}] * 100_001, "new": 1}, "new", "unknown_parameter", None),
    (
        "CreateMessageRequest",
        {"content": [{}] * 1001, "attachments": [{}] * 1001},
        "content",
        "array_above_max_length",
        None,
    ),
]


@pytest.mark.parametrize(("schema", "body", "param", "code", "message"), BAD)
def test_what_breaks_the_document_is_named(schema, body, param, code, message):
    """The error names the parameter, the limit and the value, in the hosted API's words."""
    error = refused(body, schema)
    assert (error.param, error.code) == (param, code)
    assert message is None or error.message == message
    assert len(error.message) < 400


def test_a_long_value_is_not_echoed_whole():
    """A long value is cut in the error: it may be a whole prompt."""
    error = refused(MESSAGE | {"role": "x" * 1000}, "CreateMessageRequest")
    assert len(error.message) < 150


def test_a_keyword_the_document_does_not_use_yet():
    """A keyword without a message of ours gets the validator's, and does not crash."""
    import jsonschema_rs

    schema = {"properties": {"a": {"multipleOf": 2}}}
    errors = list(jsonschema_rs.iter_errors(schema, {"a": 3}))
    error = validation_errors.from_schema_errors(errors, schema)
    assert (error.param, error.code) == ("a", "invalid_value")
    assert "3 is not a multiple of 2" in error.message
