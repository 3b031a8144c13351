"""The document's schemas with their limits: which bodies they allow."""

import pytest

from openai_runs.server import validation
from tests.server.bodies import ASSISTANT, MESSAGE, RUN, function, refused

GOOD = [
    ("CreateAssistantRequest", ASSISTANT),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"name": None, "metadata": None, "temperature": None, "tool_resources": None},
    ),
    ("CreateAssistantRequest", ASSISTANT | {"temperature": 2, "top_p": 0, "response_format": "auto"}),
    ("CreateAssistantRequest", ASSISTANT | {"reasoning_effort": None, "instructions": "é" * 256_000}),
    ("CreateAssistantRequest", ASSISTANT | {"tools": [function(strict=None), {"type": "code_interpreter"}] * 64}),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [{"type": "file_search", "file_search": {"max_num_results": 50}}]},
    ),
    ("CreateAssistantRequest", ASSISTANT | {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}}),
    ("CreateAssistantRequest", ASSISTANT | {"metadata": {f"{'k' * 62}{i:02}": "v" * 512 for i in range(16)}}),
    (
        "CreateAssistantRequest",
        ASSISTANT
        | {"response_format": {"type": "json_schema", "json_schema": {"name": "a-b_C9", "schema": {"x": [1]}}}},
    ),
    ("ModifyAssistantRequest", {}),
    ("CreateThreadRequest", {}),
    ("CreateThreadRequest", {"messages": [MESSAGE], "tool_resources": {}}),
    ("CreateMessageRequest", {"role": "assistant", "content": [{"type": "text", "text": ""}], "attachments": [{}]}),
    ("CreateMessageRequest", {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.b"}}]}),
    (
        "CreateMessageRequest",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64,"}}]},
    ),
    ("CreateRunRequest", RUN | {"max_prompt_tokens": 256.0, "stream": None, "tools": None, "tool_choice": None}),
    ("CreateRunRequest", RUN | {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": []}),
    ("CreateRunRequest", RUN | {"tool_choice": {"type": "function"}, "additional_messages": [MESSAGE]}),
    ("CreateRunRequest", RUN | {"truncation_strategy": {"type": "last_messages", "last_messages": 1}}),
    ("CreateThreadAndRunRequest", RUN | {"thread": {"messages": [MESSAGE]}, "tool_resources": None}),
    ("CreateRunRequest", RUN | {"completion_window": "2h"}),
    ("CreateThreadAndRunRequest", RUN | {"completion_window": None}),
    ("SubmitToolOutputsRunRequest", {"tool_outputs": [{"tool_call_id": "call_1", "output": ""}, {}]}),
]


@pytest.mark.parametrize(("schema", "body"), GOOD)
def test_what_the_document_allows_passes(schema, body):
    """A body at the document's limits passes unchanged."""
    assert validation.check(body, schema) is body


LIMITS = [
    ("CreateAssistantRequest", ASSISTANT | {"temperature": 10**400}, "temperature", "decimal_above_max_value"),
    (
        "CreateRunRequest",
        RUN | {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
        "tools[0].file_search.max_num_results",
        "integer_above_max_value",
    ),
    ("ModifyThreadRequest", {"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
    ("CreateRunRequest", RUN | {"completion_window": "24h"}, "completion_window", "invalid_value"),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [function(name="")]},
        "tools[0].function.name",
        "invalid_value",
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [function(name="f" * 65)]},
        "tools[0].function.name",
        "string_above_max_length",
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
        "response_format.json_schema.name",
        "invalid_value",
    ),
    (
        "CreateRunRequest",
        RUN | {"truncation_strategy": {"type": "auto", "last_messages": 0}},
        "truncation_strategy.last_messages",
        "integer_below_min_value",
    ),
    (
        "CreateRunRequest",
        RUN | {"additional_messages": [{}] * 100_001},
        "additional_messages",
        "array_above_max_length",
    ),
    ("CreateMessageRequest", MESSAGE | {"content": [5] * 1001}, "content", "array_above_max_length"),
    ("CreateMessageRequest", MESSAGE | {"attachments": [{}] * 1001}, "attachments", "array_above_max_length"),
    (
        "CreateMessageRequest",
        MESSAGE | {"attachments": [{"tools": [{"type": "code_interpreter"}] * 21}]},
        "attachments[0].tools",
        "array_above_max_length",
    ),
    (
        "CreateThreadRequest",
        {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": ["file_1"] * 10_001}]}}},
        "tool_resources.file_search.vector_stores[0].file_ids",
        "array_above_max_length",
    ),
]


@pytest.mark.parametrize(("schema", "body", "param", "code"), LIMITS)
def test_limits(schema, body, param, code):
    """Each limit is enforced, including those that the document has only in descriptions, and our own."""
    error = refused(body, schema)
    assert (error.param, error.code) == (param, code)
    assert len(error.message) < 400
