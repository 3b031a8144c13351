"""Bodies and queries, held against the document; `validation` and the words of `complaints`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from openai_runs.engine import ApiError
from openai_runs.server import validation
from openai_runs.server import validation_errors as complaints
from openai_runs.stores import PageQuery

RUN = {"assistant_id": "asst_1"}
ASSISTANT = {"model": "m"}
MESSAGE = {"role": "user", "content": "Hi"}


def function(**fields):
    return {"type": "function", "function": {"name": "f"} | fields}


def refused(body, schema):
    with pytest.raises(ApiError) as caught:
        validation.check(body, schema)
    error = caught.value
    assert (error.status, error.type) == (400, "invalid_request_error")
    return error


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
    ("SubmitToolOutputsRunRequest", {"tool_outputs": [{"tool_call_id": "call_1", "output": ""}, {}]}),
]


@pytest.mark.parametrize(("schema", "body"), GOOD)
def test_what_the_document_allows_passes(schema, body):
    """A body at the edge of the document is handed on as it came."""
    assert validation.check(body, schema) is body


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
    ("CreateAssistantRequest", ASSISTANT | {"temperature": 10**400}, "temperature", "decimal_above_max_value", None),
    (
        "CreateRunRequest",
        RUN | {"max_completion_tokens": 255},
        "max_completion_tokens",
        "integer_below_min_value",
        "Invalid 'max_completion_tokens': integer below minimum value. Expected a value >= 256, but got 255 instead.",
    ),
    (
        "CreateRunRequest",
        RUN | {"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
        "tools[0].file_search.max_num_results",
        "integer_above_max_value",
        None,
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
    ("ModifyThreadRequest", {"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length", None),
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
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [function(name="")]},
        "tools[0].function.name",
        "invalid_value",
        None,
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"tools": [function(name="f" * 65)]},
        "tools[0].function.name",
        "string_above_max_length",
        None,
    ),
    (
        "CreateAssistantRequest",
        ASSISTANT | {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
        "response_format.json_schema.name",
        "invalid_value",
        None,
    ),
    (
        "CreateRunRequest",
        RUN | {"truncation_strategy": {"type": "auto", "last_messages": 0}},
        "truncation_strategy.last_messages",
        "integer_below_min_value",
        None,
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
    (
        "CreateRunRequest",
        RUN | {"additional_messages": [{}] * 100_001},
        "additional_messages",
        "array_above_max_length",
        None,
    ),
    ("CreateMessageRequest", MESSAGE | {"content": [5] * 1001}, "content", "array_above_max_length", None),
    ("CreateMessageRequest", MESSAGE | {"attachments": [{}] * 1001}, "attachments", "array_above_max_length", None),
    (
        "CreateMessageRequest",
        MESSAGE | {"attachments": [{"tools": [{"type": "code_interpreter"}] * 21}]},
        "attachments[0].tools",
        "array_above_max_length",
        None,
    ),
    (
        "CreateThreadRequest",
        {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": ["file_1"] * 10_001}]}}},
        "tool_resources.file_search.vector_stores[0].file_ids",
        "array_above_max_length",
        None,
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
    """The answer names the parameter, the limit and the value, in OpenAI's words."""
    error = refused(body, schema)
    assert (error.param, error.code) == (param, code)
    assert message is None or error.message == message
    assert len(error.message) < 400


def test_a_long_value_is_not_echoed_whole():
    """Somebody's whole prompt does not come back in an error."""
    error = refused(MESSAGE | {"role": "x" * 1000}, "CreateMessageRequest")
    assert len(error.message) < 150


def test_a_keyword_the_document_does_not_use_yet():
    """A future keyword gets the validator's own words, not a crash."""
    import jsonschema_rs

    schema = {"properties": {"a": {"multipleOf": 2}}}
    errors = list(jsonschema_rs.iter_errors(schema, {"a": 3}))
    error = complaints.about(errors, schema)
    assert (error.param, error.code) == ("a", "invalid_value")
    assert "3 is not a multiple of 2" in error.message


@pytest.mark.parametrize(
    ("schema", "body_of"),
    [
        ("CreateThreadRequest", lambda items: {"messages": items}),
        ("CreateRunRequest", lambda items: RUN | {"additional_messages": items}),
        ("CreateThreadAndRunRequest", lambda items: RUN | {"thread": {"messages": items}}),
        ("CreateMessageRequest", lambda items: MESSAGE | {"content": items}),
        ("CreateMessageRequest", lambda items: MESSAGE | {"attachments": items}),
        ("CreateThreadRequest", lambda items: {"metadata": {str(number): 5 for number, _ in enumerate(items)}}),
        (
            "CreateThreadRequest",
            lambda items: {"tool_resources": {"file_search": {"vector_stores": [{"file_ids": items}]}}},
        ),
        ("SubmitToolOutputsRunRequest", lambda items: {"tool_outputs": items}),
    ],
)
@pytest.mark.parametrize("item", [None, {"new": [], "file_id": 5, "tool_call_id": 5}])
def test_one_error_is_made_whatever_is_wrong(schema, body_of, item, monkeypatch):
    """A body of wrong items costs no more memory for errors than one with a few: there is no list of them."""

    def made(count):
        numbers = []
        about = complaints.about

        def counting(errors, document):
            numbers.append(sum(map(_size, errors)))
            return about(errors, document)

        with monkeypatch.context() as patch:
            patch.setattr(complaints, "about", counting)
            refused(body_of([item] * count), schema)
        return sum(numbers)

    assert made(500) <= made(5)


def _size(error):
    """How many errors there are in an error."""
    branches = getattr(error.kind, "context", ())
    return 1 + sum(_size(inner) for branch in branches for inner in branch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
BODIES = st.dictionaries(
    st.sampled_from(
        [
            "assistant_id",
            "tools",
            "metadata",
            "response_format",
            "tool_choice",
            "truncation_strategy",
            "thread",
            "model",
            "messages",
            "role",
            "content",
            "attachments",
            "tool_resources",
            "tool_outputs",
            "additional_messages",
            "x",
        ]
    ),
    JSON | st.lists(st.fixed_dictionaries({"type": st.sampled_from(["function", "text", "auto"])}), max_size=3),
)


@given(
    body=BODIES | JSON,
    schema=st.sampled_from(
        ["CreateRunRequest", "CreateAssistantRequest", "CreateThreadAndRunRequest", "CreateMessageRequest"]
    ),
)
def test_any_body_is_taken_or_refused(body, schema):
    """Whatever JSON comes, it passes or is answered with a 400."""
    try:
        error = None
        validation.check(body, schema)
    except ApiError as refusal:
        error = refusal
    assert error is None or (error.status == 400 and error.code is not None)


@pytest.mark.parametrize("text", [b'{"a": [1, 1.5, null, "\\u0000"]}', b"[]", b"12345678901234567890123456789"])
def test_json_is_parsed(text):
    """What the standard library reads, we read alike."""
    assert validation.parse(text) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{} x",
        b"model=gpt",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'"\\ud800"',
        b'"\\udc00x"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"1" * 5000,
    ],
)
def test_what_is_not_json_is_refused(text):
    """Half-JSON, too: what cannot be stored and sent back as it came."""
    with pytest.raises(ApiError, match="could not parse the JSON body") as caught:
        validation.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("depth", [validation.MAX_DEPTH, validation.MAX_DEPTH + 1, 950, 100_000])
def test_deep_nesting_has_a_bound(depth):
    """A body of brackets is an error of the caller, not of the interpreter."""
    for text in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        if depth <= validation.MAX_DEPTH:
            validation.parse(text)
        else:
            with pytest.raises(ApiError, match="nested more than"):
                validation.parse(text)


def test_many_brackets_are_not_deep():
    """A long flat list passes."""
    assert len(validation.parse(b"[" + b"{}," * 1000 + b"{}]")) == 1001


def number_of_values(value):
    match value:
        case dict():
            return 1 + sum(map(number_of_values, value.values()))
        case list():
            return 1 + sum(map(number_of_values, value))
        case _:
            return 1


TRICKY = st.sampled_from(["a,b", "{}[", "\\", '"', '\\"', '\\\\"{', "", ' x\\"'])


@given(
    value=st.recursive(
        TRICKY | st.integers(0, 9), lambda inner: st.lists(inner) | st.dictionaries(TRICKY, inner), max_leaves=30
    ),
    indent=st.none() | st.just(1),
    piece=st.integers(1, 20),
)
def test_values_are_counted_before_they_are_parsed(value, indent, piece):
    """The number in the error is right, wherever the text is cut into pieces: in strings and escapes too."""
    number = number_of_values(value)
    text = json.dumps(value, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_PIECE", piece)
        patch.setattr(validation, "MAX_VALUES", number)
        assert validation.parse(text) == value
        patch.setattr(validation, "MAX_VALUES", number - 1)
        with pytest.raises(ApiError, match=f"at most {number - 1} JSON values in all, but got {number} ") as caught:
            validation.parse(text)
    assert (caught.value.status, caught.value.code) == (400, "body_above_max_values")


def test_too_many_values_are_never_made(monkeypatch):
    """A body that is small as a text and huge in memory is refused before it is parsed."""
    monkeypatch.setattr(validation, "_decode", None)
    with pytest.raises(ApiError, match="too many values"):
        validation.parse(b"[" + b"{}," * validation.MAX_VALUES + b"{}]")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("items", "error"),
    [
        (b'{"role":"user","content":"Hi"}', None),
        (b'{"role":"user"}', "Missing required parameter: 'messages\\[0\\].content'"),
        (b'{"role":"user","content":"Hi","metadata":{"a":{"b":' + b"[" * 130 + b"]" * 130 + b"}}}", "nested more than"),
    ],
)
async def test_a_large_body_is_read_in_slices(items, error, monkeypatch):
    """While it is, others have their turns: after parsing, after each few nested values, before and in the search."""
    breaks = 0

    async def counted(work):
        nonlocal breaks
        while True:
            try:
                next(work)
            except StopIteration as end:
                return end.value
            breaks += 1

    monkeypatch.setattr(validation, "in_slices", counted)
    monkeypatch.setattr(validation, "_PIECE", 100)
    text = b'{"messages":[' + b",".join([items] * 2000) + b"]}"
    if error is None:
        assert await validation.read(text, "CreateThreadRequest") == json.loads(text)
        assert breaks >= 2000 / 100
    else:
        with pytest.raises(ApiError, match=error):
            await validation.read(text, "CreateThreadRequest")
        assert breaks >= 3


@pytest.mark.anyio
async def test_a_small_body_is_read_at_once(monkeypatch):
    """Nearly all bodies are small, and do not pay for the large ones."""
    monkeypatch.setattr(validation, "in_slices", None)
    assert await validation.read(json.dumps(RUN).encode(), "CreateRunRequest") == RUN


def test_page_query():
    """Defaults, and what was asked for; an empty cursor is none."""
    assert validation.page_query({}) == PageQuery()
    asked = {"limit": "100", "order": "asc", "after": "a", "before": "", "unknown": "x"}
    assert validation.page_query(asked) == PageQuery(limit=100, order="asc", after="a")


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({"limit": "0"}, "limit", "integer_below_min_value"),
        ({"limit": "-1"}, "limit", "integer_below_min_value"),
        ({"limit": "101"}, "limit", "integer_above_max_value"),
        ({"limit": "ten"}, "limit", "invalid_type"),
        ({"limit": ""}, "limit", "invalid_type"),
        ({"limit": "1_0"}, "limit", "invalid_type"),
        ({"limit": "1\n"}, "limit", "invalid_type"),
        ({"limit": "9" * 5000}, "limit", "invalid_type"),
        ({"order": "up"}, "order", "invalid_value"),
        ({"order": ""}, "order", "invalid_value"),
    ],
)
def test_a_wrong_page_query(query, param, code):
    """The API's bounds, which stand in descriptions only."""
    with pytest.raises(ApiError) as caught:
        validation.page_query(query)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_include():
    """The one thing to include is taken, anything else is not."""
    validation.check_include(MultiDict())
    validation.check_include(MultiDict([("include[]", validation.INCLUDABLE[0])] * 2))
    with pytest.raises(ApiError, match="Supported values are: 'step_details") as caught:
        validation.check_include(MultiDict([("include[]", validation.INCLUDABLE[0]), ("include[]", "all")]))
    assert caught.value.param == "include"
