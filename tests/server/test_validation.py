"""Request bodies and queries: what costs no more than its size, what is JSON, and which queries pass."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from openai_runs.engine import ApiError
from openai_runs.server import validation, validation_errors
from openai_runs.stores import PageQuery
from tests.server.bodies import MESSAGE, RUN, refused


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
    """Many wrong items need no more memory for errors than a few: no list of errors is made."""

    def made(count):
        numbers = []
        from_schema_errors = validation_errors.from_schema_errors

        def counting(errors, document):
            numbers.append(sum(map(_size, errors)))
            return from_schema_errors(errors, document)

        with monkeypatch.context() as patch:
            patch.setattr(validation_errors, "from_schema_errors", counting)
            refused(body_of([item] * count), schema)
        return sum(numbers)

    assert made(500) <= made(5)


def _size(error):
    """The number of errors in an error, itself included."""
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
    """Any JSON passes or is a 400."""
    try:
        error = None
        validation.check(body, schema)
    except ApiError as refusal:
        error = refusal
    assert error is None or (error.status == 400 and error.code is not None)


@pytest.mark.parametrize("text", [b'{"a": [1, 1.5, null, "\\u0000"]}', b"[]", b"12345678901234567890123456789"])
def test_json_is_parsed(text):
    """Valid JSON parses as the standard library parses it."""
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
    """Text that only lenient parsers accept is refused too: it could not be stored and sent back unchanged."""
    with pytest.raises(ApiError, match="could not parse the JSON body") as caught:
        validation.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("depth", [validation.MAX_DEPTH, validation.MAX_DEPTH + 1, 950, 100_000])
def test_deep_nesting_has_a_bound(depth):
    """Deep nesting is a 400 and no `RecursionError`."""
    for text in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
        if depth <= validation.MAX_DEPTH:
            validation.parse(text)
        else:
            with pytest.raises(ApiError, match="nested more than"):
                validation.parse(text)


def test_many_brackets_are_not_deep():
    """A long flat list passes, though it has many brackets."""
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
    """The number in the error is right wherever the text is sliced, also within strings and escapes."""
    number = number_of_values(value)
    text = json.dumps(value, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_SLICE", piece)
        patch.setattr(validation, "MAX_VALUES", number)
        assert validation.parse(text) == value
        patch.setattr(validation, "MAX_VALUES", number - 1)
        with pytest.raises(ApiError, match=f"at most {number - 1} JSON values in all, but got {number} ") as caught:
            validation.parse(text)
    assert (caught.value.status, caught.value.code) == (400, "body_above_max_values")


def test_too_many_values_are_never_made(monkeypatch):
    """A body that is small as text and huge in memory is refused before it is parsed."""
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
    """A large body is read with breaks for other tasks: after parsing, while measuring depth, while checking."""
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
    monkeypatch.setattr(validation, "_SLICE", 100)
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
    """A small body, as nearly all are, is read without breaks."""
    monkeypatch.setattr(validation, "in_slices", None)
    assert await validation.read(json.dumps(RUN).encode(), "CreateRunRequest") == RUN


def test_page_query():
    """Parameters are read, and have defaults; an empty cursor counts as none."""
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
    """The API's limits are enforced, which the document has only in descriptions."""
    with pytest.raises(ApiError) as caught:
        validation.page_query(query)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)


def test_include():
    """`include[]` accepts its one value, and no other."""
    assert not validation.shows_search_content(MultiDict())
    assert validation.shows_search_content(MultiDict([("include[]", validation.INCLUDABLE[0])] * 2))
    with pytest.raises(ApiError, match="Supported values are: 'step_details") as caught:
        validation.shows_search_content(MultiDict([("include[]", validation.INCLUDABLE[0]), ("include[]", "all")]))
    assert caught.value.param == "include"
