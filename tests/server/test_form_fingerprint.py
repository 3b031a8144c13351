"""The same form has the same fingerprint, however it is sent."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs.server.form_fingerprint import FormFingerprint


def form(boundary: str, content: str = "tea", name: str = "a.txt") -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--{boundary}\r\n{head}\r\n\r\n{content}\r\n--{boundary}--\r\n".encode()


def fingerprint(body: bytes, boundary: str, cuts: list[int] | None = None) -> str:
    made = FormFingerprint(f'multipart/form-data; boundary="{boundary}"')
    places = [0, *sorted(cuts or ()), len(body)]
    for start, end in pairwise(places):
        made.add(body[start:end])
    return made.value()


@given(st.text(), st.lists(st.integers(0, 200)), st.sampled_from(["x", "aab", "-" * 20 + "123", "aaaa"]))
def test_any_boundary_and_any_cut(content: str, cuts: list[int], boundary: str):
    content = content.replace("x", "").replace("a", "").replace("-", "").replace("[", "")
    assert fingerprint(form(boundary, content, "q"), boundary, cuts) == fingerprint(
        form(boundary, content, "q"), boundary
    )


def test_another_boundary():
    """Clients make a new one each time."""
    assert fingerprint(form("1234567"), "1234567") == fingerprint(form("89"), "89")


@pytest.mark.parametrize("other", [form("1", "milk"), form("1", name="b.txt"), form("1") + b"\r\n", b""])
def test_another_form(other: bytes):
    assert fingerprint(other, "1") != fingerprint(form("1"), "1")


def test_a_boundary_that_is_taken_out():
    """A content that has it cannot be mistaken for one without."""
    assert fingerprint(b"a1b", "1") != fingerprint(b"ab", "1")


@pytest.mark.parametrize("header", ["", "text/plain", "multipart/form-data; boundary="])
def test_no_boundary(header: str):
    """Then the bytes count as they are; the endpoint will refuse them."""
    one, other = FormFingerprint(header), FormFingerprint(header)
    one.add(b"ab")
    for piece in b"a", b"b":
        other.add(piece)
    assert one.value() == other.value()
