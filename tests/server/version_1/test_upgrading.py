"""Request bodies of version 1, by value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.engine import ApiError
from openai_runs.server.validation import check
from openai_runs.server.version_1.upgrading import upgraded

RETRIEVAL, SEARCH, CODE = {"type": "retrieval"}, {"type": "file_search"}, {"type": "code_interpreter"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x": RETRIEVAL}}}
STORE = {"file_search": {"vector_stores": [{"file_ids": ["file-a"]}]}}
CODE_FILES = {"code_interpreter": {"file_ids": ["file-a"]}}
ATTACHED = [{"file_id": "file-a", "tools": [SEARCH, CODE]}]
OLD_MESSAGE = {"role": "user", "content": "Hi", "file_ids": ["file-a"]}
MESSAGE = {"role": "user", "content": "Hi", "attachments": ATTACHED}


@pytest.mark.parametrize(
    ("schema", "old", "new"),
    [
        ("CreateAssistantRequest", {"tools": [RETRIEVAL, FUNCTION]}, {"tools": [SEARCH, FUNCTION]}),
        ("CreateAssistantRequest", {"tools": [RETRIEVAL], "file_ids": ["file-a"]}, {"tools": [SEARCH]} | STORE),
        ("CreateAssistantRequest", {"tools": [CODE], "file_ids": ["file-a"]}, {"tools": [CODE]} | CODE_FILES),
        (
            "CreateAssistantRequest",
            {"tools": [CODE, RETRIEVAL], "file_ids": ["file-a"]},
            {"tools": [CODE, SEARCH]} | STORE | CODE_FILES,
        ),
        ("CreateAssistantRequest", {"file_ids": ["file-a"]}, STORE),
        ("CreateAssistantRequest", {"file_ids": []}, {}),
        ("CreateAssistantRequest", {"file_ids": None}, {}),
    ],
)
def test_an_assistant(schema, old, new):
    """Its files go where its tools look for them; without tools so far, into a vector store."""
    resources = {name: new.pop(name) for name in ("code_interpreter", "file_search") if name in new}
    expected = {"model": "m", **new, **({"tool_resources": resources} if resources else {})}
    assert check(upgraded({"model": "m", **old}, schema), schema) == expected


@pytest.mark.parametrize(
    ("schema", "old", "new"),
    [
        ("ModifyAssistantRequest", {"name": "N", "file_ids": ["file-a"]}, {"name": "N"}),
        ("CreateMessageRequest", OLD_MESSAGE, MESSAGE),
        ("CreateThreadRequest", {"messages": [OLD_MESSAGE, MESSAGE]}, {"messages": [MESSAGE, MESSAGE]}),
        ("CreateThreadRequest", {}, {}),
        (
            "CreateThreadAndRunRequest",
            {"assistant_id": "a", "tools": [RETRIEVAL], "thread": {"messages": [OLD_MESSAGE]}},
            {"assistant_id": "a", "tools": [SEARCH], "thread": {"messages": [MESSAGE]}},
        ),
        (
            "CreateRunRequest",
            {"assistant_id": "a", "tool_choice": RETRIEVAL, "additional_messages": [OLD_MESSAGE]},
            {"assistant_id": "a", "tool_choice": SEARCH, "additional_messages": [MESSAGE]},
        ),
        ("ModifyRunRequest", {"metadata": {"file_ids": "x"}}, {"metadata": {"file_ids": "x"}}),
    ],
)
def test_other_bodies(schema, old, new):
    """Messages have attachments for both tools; bodies that version 1 had alike stay as they are."""
    assert check(upgraded(old, schema), schema) == new


@pytest.mark.parametrize("body", [None, [], "x", {"tools": "x", "tool_choice": 1}, {"messages": 1}, {"messages": [1]}])
@pytest.mark.parametrize("schema", ["CreateAssistantRequest", "CreateThreadRequest", "CreateMessageRequest"])
def test_what_is_no_body(schema, body):
    """It stays as it is, so that the check of it finds what is wrong."""
    assert upgraded(body, schema) == body


NAMES = ["file_ids", "tools", "type", "messages", "thread", "tool_choice", "additional_messages", "attachments"]
ANY = st.recursive(
    st.none() | st.integers() | st.sampled_from(["retrieval", "code_interpreter", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)


@given(ANY, st.sampled_from(["CreateAssistantRequest", "CreateThreadAndRunRequest", "CreateRunRequest"]))
def test_any_body(body, schema):
    """Whatever it is, it is upgraded, or its file IDs are refused."""
    refused = None
    try:
        upgraded(body, schema)
    except ApiError as error:
        refused = error
    assert refused is None or "file_ids" in (refused.param or "")


@pytest.mark.parametrize(
    ("schema", "body", "param", "code"),
    [
        ("CreateAssistantRequest", {"file_ids": "file-a"}, "file_ids", "invalid_type"),
        ("CreateAssistantRequest", {"file_ids": [1]}, "file_ids[0]", "invalid_type"),
        ("ModifyAssistantRequest", {"file_ids": ["x"] * 21}, "file_ids", "array_above_max_length"),
        ("CreateMessageRequest", {"file_ids": ["x"] * 11}, "file_ids", "array_above_max_length"),
        ("CreateThreadRequest", {"messages": [{"file_ids": 1}]}, "messages[0].file_ids", "invalid_type"),
    ],
)
def test_wrong_file_ids(schema, body, param, code):
    """The error names them as version 1 did."""
    with pytest.raises(ApiError) as caught:
        upgraded(body, schema)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("CreateAssistantRequest", {"model": "m", "tool_resources": {}, "file_ids": []}),
        ("ModifyAssistantRequest", {"tool_resources": {}, "file_ids": []}),
        ("CreateMessageRequest", {**OLD_MESSAGE, "attachments": []}),
    ],
)
def test_both_versions_at_once(schema, body):
    """`file_ids` beside what has replaced them are refused by their name."""
    with pytest.raises(ApiError) as caught:
        check(upgraded(body, schema), schema)
    assert (caught.value.param, caught.value.code) == ("file_ids", "unknown_parameter")
