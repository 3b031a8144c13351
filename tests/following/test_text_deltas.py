"""The fast path for text deltas gives the same result as `_wire.load`, or none."""

import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs import _wire
from openai_runs.following.text_deltas import read_text_delta
from openai_runs.models.delta import MessageDelta
from tests.strategies import bodies, damaged

USUAL = {
    "id": "msg_1",
    "object": "thread.message.delta",
    "delta": {"content": [{"index": 0, "type": "text", "text": {"value": "Hi"}}]},
}


def usual(value, index=0, **fields):
    text = {"value": value, **fields}
    return {**USUAL, "delta": {"content": [{"index": index, "type": "text", "text": text}]}}


def everything(model):
    """A model's fields, recursively, including those that equality leaves out."""
    if attrs.has(type(model)):
        return type(model), [everything(getattr(model, field.name)) for field in attrs.fields(type(model))]
    return [everything(item) for item in model] if isinstance(model, tuple) else model


@given(st.text(), st.integers(0, 2**62), st.booleans(), st.booleans())
def test_usual(value, index, annotated, spaced):
    """Text deltas take the fast path, whatever their text and JSON formatting."""
    body = usual(value, index, **({"annotations": []} if annotated else {}))
    data = json.dumps(body, ensure_ascii=spaced, separators=None if spaced else (",", ":")).encode()
    delta, at, text = read_text_delta(data)
    assert (at, text) == (index, value)
    assert everything(delta) == everything(_wire.load(data, MessageDelta))
    assert _wire.dump(delta) == body


@given(bodies("MessageDeltaObject").map(json.dumps) | damaged(bodies("MessageDeltaObject")).map(json.dumps) | st.text())
def test_any(text):
    """The fast path returns what `_wire.load` returns."""
    data = text.encode(errors="replace")
    if (short := read_text_delta(data)) is not None:
        assert everything(short[0]) == everything(_wire.load(data, MessageDelta))


@pytest.mark.parametrize(
    "body",
    [
        {**USUAL, "extra": 1},
        usual("Hi", extra=1),
        usual("Hi", index="0"),
        usual("Hi", index=1.0),
        usual(None),
        usual("Hi", annotations=[{"index": 0, "type": "file_path"}]),
        {**USUAL, "delta": {"role": "assistant", **USUAL["delta"]}},
        {**USUAL, "delta": {"content": []}},
        {**USUAL, "delta": {"content": USUAL["delta"]["content"] * 2}},
        {**USUAL, "delta": {"content": [{"index": 0, "type": "refusal", "refusal": "no"}]}},
        [],
    ],
)
def test_unusual(body):
    """Any other event is left to `_wire.load`."""
    assert read_text_delta(json.dumps(body).encode()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"id": "\xff"}', b"[" * 100_000, b"[DONE]"])
def test_no_json(data):
    """So is invalid JSON."""
    assert read_text_delta(data) is None
