"""Bearer keys: which owner a header stands for, and how a file of keys is read."""

import hmac

import pytest

from openai_runs.engine import ApiError
from openai_runs.server.keys import Keys, read_keys

KEYS = Keys({"sk-alice": "alice", "sk-alice-2": "alice", "sk-böb": "bob"})


@pytest.mark.parametrize(
    ("header", "owner"),
    [
        ("Bearer sk-alice", "alice"),
        ("bearer  sk-alice-2 ", "alice"),
        ("BEARER sk-böb", "bob"),
    ],
)
def test_a_key_has_an_owner(header, owner):
    """A key stands for its owner; the case of the scheme does not matter."""
    assert KEYS.owner(header) == owner


def test_a_key_in_a_header_of_its_own():
    """Azure's clients send the key as `api-key`; a bearer key comes first."""
    assert KEYS.owner(None, "sk-alice") == KEYS.owner("Bearer ", " sk-alice ") == "alice"
    assert KEYS.owner("Bearer sk-böb", "sk-alice") == "bob"
    with pytest.raises(ApiError, match="Incorrect API key"):
        KEYS.owner(None, "sk-eve")
    with pytest.raises(ApiError, match="didn't provide an API key"):
        KEYS.owner(None, " ")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic c2s6YWxpY2U=", "sk-alice"])
def test_no_key(header):
    """Without a key, the error says how to send one."""
    with pytest.raises(ApiError, match="didn't provide an API key") as caught:
        KEYS.owner(header)
    assert (caught.value.status, caught.value.code) == (401, None)


@pytest.mark.parametrize(
    "key", ["sk-alic", "sk-alicee", "SK-ALICE", "x" * 100_000, "\udcff\udc80", "sk-alice sk-alice"]
)
def test_a_wrong_key(key):
    """A wrong key is refused, and not quoted."""
    with pytest.raises(ApiError) as caught:
        KEYS.owner(f"Bearer {key}")
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert caught.value.message == "Incorrect API key provided."


@pytest.mark.parametrize("keys", [{}, {"": "alice"}, {" ": "alice"}])
def test_a_door_without_a_lock(keys):
    """An empty set of keys is refused, and does not leave the server open."""
    with pytest.raises(ValueError, match="empty"):
        Keys(keys)


def test_keys_without_owners():
    """A list of keys is refused, and not quoted."""
    with pytest.raises(TypeError, match=r"keys must be a dict that maps each key to its owner's label: got list$"):
        Keys(["sk-alice"])


def test_keys_are_not_shown():
    """The `repr` has no key, so no log can have one."""
    assert repr(KEYS) == "<3 keys>"
    assert "alice" not in str(vars(KEYS)["_salt"])


@pytest.mark.parametrize("key", ["sk-alice", "sk-alice-2", "sk-böb", "sk-nobody"])
def test_every_key_is_compared_in_constant_time(key, monkeypatch):
    """How long a refusal takes tells nothing: not how much of a key was right, nor which key came near."""
    compared = []

    def compare(known, digest):
        compared.append(known)
        return known == digest

    monkeypatch.setattr(hmac, "compare_digest", compare)
    try:
        KEYS.owner(f"Bearer {key}")
    except ApiError:
        assert key == "sk-nobody"
    assert compared == [digest for digest, _ in KEYS._owners]


def test_digests_are_salted():
    """What one process keeps of a key says nothing about another's: no table of digests can be prepared."""
    (first, _), (second, _) = (Keys({"sk-alice": "alice"})._owners[0] for _ in range(2))
    assert first != second
    assert b"sk-alice" not in first + second


def test_a_file_of_keys():
    """One key per line, with or without a label, between comments and blank lines."""
    owners = read_keys("# ours\n\nsk-a alice\n  sk-a2\talice \nsk-b\nsk-c\n#sk-d\n")
    assert list(owners) == ["sk-a", "sk-a2", "sk-b", "sk-c"]
    assert owners["sk-a"] == owners["sk-a2"] == "alice"
    assert owners["sk-b"] != owners["sk-c"]
    assert not any("sk-" in owner for owner in owners.values())
    assert read_keys("sk-b") == {"sk-b": owners["sk-b"]}


@pytest.mark.parametrize("text", ["sk-a\nsk-a alice", "sk-b\nsk-a alice admin"])
def test_a_wrong_line(text):
    """The error has the line number, and not the key."""
    with pytest.raises(ValueError, match=r"line 2") as caught:
        read_keys(text)
    assert "sk-" not in str(caught.value)
