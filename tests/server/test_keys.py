"""Bearer keys: which owner a header stands for, and how a file of keys is read."""

import hmac

import pytest

from openai_runs.engine import ApiError
from openai_runs.server.keys import (
    Keys,
    hash_keys,
    hashed,
    is_hashed,
    limits_in,
    new_key,
    read_keys,
    read_lines,
    read_retention,
)

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
    with pytest.raises(ApiError, match="There is no such header, and api-key is empty"):
        KEYS.owner(None, "")


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "There is no such header, and no api-key."),
        ("", "There is no such header, and no api-key."),
        ("Bearer", "This header has no key after Bearer."),
        ("Bearer ", "This header has no key after Bearer."),
        ("Basic c2s6YWxpY2U=", "This header has another word than Bearer before its value."),
        ("sk-alice", "This header has no Bearer before its value."),
        ("sk-alice ", "This header has no Bearer before its value."),
    ],
)
def test_no_key(header: str | None, why: str):
    """Without a key, the error says how to send one, and what there is instead; it quotes nothing."""
    with pytest.raises(ApiError, match="didn't provide an API key") as caught:
        KEYS.owner(header)
    assert caught.value.message.endswith(why)
    assert "alice" not in caught.value.message
    assert "c2s6" not in caught.value.message
    assert (caught.value.status, caught.value.code) == (401, None)


@pytest.mark.parametrize(
    "key", ["sk-alic", "sk-alicee", "SK-ALICE", "x" * 100_000, "\udcff\udc80", "sk-alice sk-alice"]
)
def test_a_wrong_key(key):
    """A wrong key is refused, and not quoted."""
    with pytest.raises(ApiError) as caught:
        KEYS.owner(f"Bearer {key}")
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert caught.value.message.startswith("Incorrect API key provided. This server does not have it: perhaps")
    assert "alic" not in caught.value.message.lower()


def test_a_hash_for_a_key():
    """Whoever sends what stands in the file of keys is told so."""
    with pytest.raises(ApiError, match=r"This is the hash of a key, .*: send the key itself") as caught:
        KEYS.owner(f"Bearer {hashed('sk-alice')}")
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")


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


# --- hashes in place of keys ---


def test_a_key_is_known_by_its_hash():
    """A hash stands for its key, with or without plain keys beside it; who has read the hash has no key."""
    keys = Keys({hashed("sk-alice"): "alice", "sk-bob": "bob"})
    assert keys.owner("Bearer sk-alice") == "alice"
    assert keys.owner(None, "sk-bob") == "bob"
    with pytest.raises(ApiError, match="Incorrect"):
        keys.owner(f"Bearer {hashed('sk-alice')}")
    with pytest.raises(ApiError, match="Incorrect"):
        keys.owner(f"Bearer {hashed('sk-alice').removeprefix('sha256:')}")


def test_owners_are_the_same_by_hash():
    """Whoever replaces keys by hashes changes no owner: the objects of a key stay its own, with a label or without."""
    plain = "# ours\n\n  sk-a  alice\r\nsk-ab alice\n\tsk-b\u2028sk-böc"
    text = hash_keys(plain)
    assert "sk-" not in text
    assert [line.split()[1:] for line in text.splitlines()] == [["ours"], [], ["alice"], ["alice"], [], []]
    before, after = Keys(read_keys(plain)), Keys(read_keys(text))
    for key in ("sk-a", "sk-ab", "sk-b", "sk-böc"):
        assert before.owner(f"Bearer {key}") == after.owner(f"Bearer {key}")
    assert hash_keys(text) == text
    assert before.owners == after.owners
    assert len(before.owners) == 3


@pytest.mark.parametrize("line", ["sha256:12", f"sha256:{'0' * 63}g bob", f"sha256:{'A' * 64}", "sha256: bob"])
def test_a_hash_that_is_none(line):
    """It does not become a key, which whoever reads the file would have."""
    with pytest.raises(ValueError, match=r"^line 2 of the keys: a hash is sha256: and 64"):
        read_keys(f"sk-a\n{line}")
    with pytest.raises(ValueError, match=r"^a hash is"):
        Keys({line.split()[0]: "bob"})


def test_a_key_beside_its_hash():
    """It would have two owners."""
    with pytest.raises(ValueError, match="line 2 of the keys repeats"):
        read_keys(f"sk-a alice\n{hashed('sk-a')} bob")


def test_new_keys():
    """A key has 256 random bits, so that nobody finds it out from its hash, and is one word."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == len("sk-") + 43 and key.startswith("sk-") and not is_hashed(key) for key in keys)


def test_replacing_keys():
    """New keys hold at once; a mistake changes nothing."""
    keys = Keys({"sk-a": "alice"})
    keys.replace({hashed("sk-b"): "bob"})
    assert keys.owner("Bearer sk-b") == "bob"
    for wrong in ({}, {" ": "alice"}, {"sha256:1": "alice"}):
        with pytest.raises(ValueError, match=r"empty|hash"):
            keys.replace(wrong)
    assert keys.owner("Bearer sk-b") == "bob"
    with pytest.raises(ApiError, match="Incorrect"):
        keys.owner("Bearer sk-a")


# --- limits ---


def test_limits_of_owners():
    """They follow the label, or the key if there is none, and hold for all keys of the owner."""
    text = "sk-a alice active-runs=5\nsk-a2 alice tokens-per-day=none\nsk-b stored-mb=2\nsk-c carl\nsk-d team=dora"
    owners = read_keys(text)
    assert (owners["sk-a"], owners["sk-c"], owners["sk-d"]) == ("alice", "carl", "team=dora")
    assert limits_in(read_lines(text)) == {
        "alice": {"active_runs": 5, "tokens_per_day": None},
        owners["sk-b"]: {"stored_bytes": 2 * 2**20},
    }
    assert limits_in(read_lines(hash_keys(text))) == limits_in(read_lines(text))
    assert "sk-" not in repr(read_lines(text))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("sk-x anna bert", "line 2 of the keys has more than two words"),
        ("sk-x anna active-runs=5 bert", "line 2 of the keys has more than two words"),
        ("sk-x anna runs=5", "line 2 of the keys: there is no limit 'runs'"),
        ("sk-x anna active-runs=five", "line 2 of the keys: the limit active-runs must be a whole number above 0"),
        ("sk-x active-runs=0", "line 2 of the keys: the limit active-runs must be"),
        ("sk-x anna active-runs=5 active-runs=6", "line 2 of the keys: the limit active-runs is there twice"),
        ("sk-x bob active-runs=5", "line 2 of the keys repeats a limit that line 1 has for the same owner"),
    ],
)
def test_wrong_limits(line, problem):
    """Nothing is ignored: a limit that is misspelt would be missed when it is needed. The error has no key."""
    with pytest.raises(ValueError, match=problem) as caught:
        read_lines(f"sk-b bob active-runs=5\n{line}")
    assert "sk-" not in str(caught.value)


def test_retention_in_a_file_of_keys():
    """Days, or never, after a key or its label; the keys themselves and their hashes are read as without it."""
    text = "sk-a al retention-days=30\nsk-b bob\n# sk-c carl retention-days=1\nsk-d retention-days=never\nsk-e al\n\n"
    assert read_retention(text) == {"al": 30.0, hashed("sk-d").removeprefix("sha256:")[:12]: None}
    plain = "\n".join(line.partition(" retention")[0] for line in text.splitlines())
    assert read_keys(text) == read_keys(plain)
    assert f"{hashed('sk-a')} al retention-days=30\n" in hash_keys(text)
    assert read_retention(hash_keys(text)) == read_retention(text)
    assert read_retention("") == {}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sk-a al retention-days=soon", "line 1 of the keys: retention-days= is followed by days, or by never"),
        ("sk-a al retention-days=0.5", "line 1 of the keys: retention-days must be at least 1 day: got 0.5"),
        ("sk-a al retention-days=nan", "line 1 of the keys: retention-days must be"),
        ("sk-a al retention-days=1\nsk-b al retention-days=never", "line 2 .* says something else about this owner"),
        ("sk-a al retention-days=1 retention-days=2", "line 1 .* says something else about this owner"),
        ("sk-a al more words", "more than two words"),
    ],
)
def test_retention_that_cannot_be_read(text: str, error: str):
    """The error names the line, and shows no key."""
    with pytest.raises(ValueError, match=error) as caught:
        read_retention(text)
    assert "sk-" not in str(caught.value)
