"""The header ``Idempotency-Key``: written in quotes, read with or without them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs._wire.idempotency import MAX_LENGTH, check_key, from_header, new_key, to_header

KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=MAX_LENGTH)


@given(KEYS)
def test_there_and_back(key: str) -> None:
    """Every key that a caller may choose arrives as it is."""
    check_key(key)
    assert from_header(to_header(key)) == key


@pytest.mark.parametrize("key", ["job-7", "8e03978e-40d5-43dd-bc93-6894a57f9324", 'a"b\\', "a b", "x" * 255])
def test_quotes_may_be_missing(key: str) -> None:
    """With or without quotes, it is the same key."""
    assert from_header(key) == from_header(to_header(key)) == key


@pytest.mark.parametrize(
    "value", ["", '""', "x" * 256, '"' + "x" * 256 + '"', '"', '"a', '"a"b"', '"a\\b"', '"a"; q=1', "é", "\x7f", "a\tb"]
)
def test_no_key(value: str) -> None:
    """An empty key, a long one, other characters, quotes that do not close."""
    assert from_header(value) is None


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\nb"])
def test_a_callers_bad_key(key: str) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(
        ValueError, match=r"idempotency_key must have 1 to 255 printable ASCII characters: got .*nothing"
    ):
        check_key(key)
    with pytest.raises(TypeError, match="must be a string: got int; nothing was sent"):
        check_key(7)


def test_new_keys() -> None:
    """Two are never the same, and each is valid."""
    one, other = new_key(), new_key()
    assert one != other
    check_key(one)
