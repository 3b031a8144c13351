"""JSON text: what is read, what is written, what is no JSON."""

import math
from datetime import UTC, datetime

import pytest

from openai_runs._wire.json_text import decode, encode_plain
from openai_runs.errors import ProtocolError


@pytest.mark.parametrize("text", ["", "{", "nul", "NaN", "[-Infinity]", "1e999", '{"a":1}x', "'a'"])
def test_what_is_no_json(text):
    """Python's own additions to JSON are refused too; the error has the beginning of the text."""
    with pytest.raises(ProtocolError, match=r"^not JSON") as caught:
        decode(text)
    assert caught.value.body == text


def test_nested_too_deeply():
    """It is an error that names the reason, and no `RecursionError`."""
    with pytest.raises(ProtocolError, match="nested too deeply"):
        decode("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("value", [{}, [], "ä\u2028", 2**53, 0.1, None, True, "\ud800"])
def test_what_is_written_is_read(value):
    """Half a surrogate pair is escaped, since UTF-8 has no bytes for it."""
    assert decode(encode_plain(value)) == value


def test_both_ways_of_writing_agree():
    """Half a surrogate pair beside them changes nothing for numbers that JSON does not have, keys and other types."""
    value = {
        "a": [math.nan, -math.inf, 0.1, 2**70, "é"],
        1: b"x",
        "b": (1, None),
        "c": datetime(2026, 8, 26, tzinfo=UTC),
    }
    plain, escaped = decode(encode_plain(value)), decode(encode_plain({**value, "d": "\ud800"}))
    assert {**plain, "d": "\ud800"} == escaped
    assert plain["a"][:2] == [None, None]


def test_no_space_is_wasted():
    """Neither way of writing puts blanks between."""
    assert encode_plain({"a": [1, 2]}) == b'{"a":[1,2]}'
    assert encode_plain({"a": [1, "\ud800"]}) == b'{"a":[1,"\\ud800"]}'
