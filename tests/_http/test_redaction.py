"""Secrets are hidden in all texts: whole, cut, and as other texts encode them."""

import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_runs._http.redaction import Secrets
from openai_runs.errors import ProtocolError

KEY = "sk-proj-very/secret+key=='\\\"<&>é0123456789"


def secrets() -> Secrets:
    return Secrets({"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize(
    "encoded",
    [
        KEY,
        quote(KEY),
        quote(KEY, ""),
        re.sub("%..", lambda escape: escape[0].lower(), quote(KEY, "")),
        quote_plus(KEY),
        json.dumps(KEY),
        json.dumps(KEY).replace("/", "\\/"),
        html.escape(KEY),
        html.escape(KEY, quote=False),
        repr(KEY),
    ],
)
def test_encodings(encoded: str) -> None:
    """A key is hidden as URLs, JSON, HTML and Python write it."""
    hidden = secrets().hide(f"before {encoded} after")
    assert hidden in ("before *** after", 'before "***" after', "before '***' after")


@pytest.mark.parametrize("before", ["", "x", "xy", "user:", "Bearer "])
@pytest.mark.parametrize("after", ["", "x", "xy", "\r\n"])
def test_base64(before: str, after: str) -> None:
    """A key is hidden in the base64 of whatever contains it, up to a character at each end."""
    for encode in (b64encode, urlsafe_b64encode):
        text = encode(f"{before}{KEY}{after}".encode()).decode()
        hidden = secrets().hide(text)
        assert "***" in hidden
        assert len(hidden) <= 4 * (len(before) + len(after) + 4)


@given(st.integers(0, 700), st.integers(0, 400), st.text("x*", max_size=5))
def test_any_cut(before: int, most: int, after: str) -> None:
    """Wherever a text is cut, and whoever cuts it, no eight characters of the key remain."""
    text = "x" * before + KEY + after + KEY + "y" * 200
    for shown in (secrets().snippet(text, most), secrets().hide(text[:most])):
        assert KEY[:8] not in shown
        assert KEY[-8:] not in shown


def test_a_huge_text_is_not_searched() -> None:
    """Of a huge text only the beginning is shown, in bounded time, with its whole length."""
    shown = secrets().snippet((KEY * 2_000_000).encode(), 300)
    assert shown.endswith(f"… ({len(KEY) * 2_000_000} characters)")
    assert KEY[:8] not in shown
    assert secrets().snippet("y" * 1000, 10) == "y" * 10 + "… (1000 characters)"


def test_which_values_are_secret() -> None:
    """Keys in headers and queries are known by their names, whatever the scheme; short values stay readable."""
    known = Secrets({"Authorization": "Basic dXNlcjpwYXNz", "Cookie": "a=first-one; b=second-one", "X-Key": "123"})
    assert known.hide("dXNlcjpwYXNz first-one second-one 123") == "*** *** *** 123"
    assert Secrets({"X-Plain": "application"}, {"subscription-key": "azure-key"}).hide("application azure-key") == (
        "application ***"
    )
    assert Secrets().hide(KEY) == KEY


def test_tokens_of_a_request() -> None:
    """Short-lived tokens are forgotten after a while; the token of a request is known as long as the request lasts."""
    known = Secrets()
    for number in range(20):
        known.add_token(f"token-number-{number}-")
        known.add_token(f"token-number-{number}-")
    assert known.hide("token-number-19- token-number-12-") == "*** ***"
    own = known.of_request({"authorization": "Bearer another-token", "accept": "application/json"})
    assert own.hide("another-token token-number-19- application/json") == "*** *** application/json"
    assert "another-token" in known.hide("another-token")


def test_an_error_that_quotes_a_key() -> None:
    """An error from elsewhere is redacted in place: text, attributes, notes; its chain goes if it shows the key."""
    found = ProtocolError(f"bad {KEY[:9]}", paths=(f"got {KEY}", "fine"), body=KEY)
    found.__context__ = KeyError("fine")
    found.__context__.__context__ = KeyError(KEY[:20])
    found.add_note(f"seen {KEY}")
    secrets().redact(found)
    assert (str(found), found.paths, found.body) == ("bad ***", ("got ***", "fine"), "***")
    assert found.__notes__ == ["seen ***"]
    assert found.__cause__ is found.__context__ is None


def test_an_error_without_a_key() -> None:
    """An error that shows no secret keeps its chain."""
    cause, error = KeyError("x"), ProtocolError("bad")
    error.__cause__ = cause
    secrets().redact(error)
    assert error.__cause__ is cause
    cause.__context__ = error  # a circle ends
    assert not secrets().is_in(error)
