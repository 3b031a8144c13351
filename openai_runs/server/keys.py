"""Keys: from an ``Authorization`` or ``api-key`` header to an owner. Nothing in here shows or logs a key.

A key may be given as its hash, and then whoever reads the file of keys can use none of them. SHA-256 is enough for
that: a key has 256 random bits, which nobody can try out. Slow hashes are for passwords, which people choose; here each
request would pay for one.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from openai_runs.engine.errors import ApiError
from openai_runs.engine.limits import SomeLimits, is_limit, read_limits
from openai_runs.engine.retention import check_days

#: What the hash of a key begins with, where it stands for the key.
PREFIX: Final = "sha256:"

#: What says in a line of a file of keys for how long its owner's threads are kept; see `read_retention`.
RETENTION: Final = "retention-days"
#: What stands there for no end, and what the word begins with.
NEVER: Final = "never"
_RETENTION: Final = f"{RETENTION}="

#: How OpenAI's server begins, since clients know these words.
_NO_KEY: Final = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)
_UNKNOWN: Final = (
    "This server does not have it: perhaps a part is missing, or it is another endpoint's, or the server has not read "
    "its keys again since it was added."
)
_HASH_SENT: Final = "This is the hash of a key, which is for the server's file of keys: send the key itself."

_is_hash: Final = re.compile(r"[0-9a-f]{64}").fullmatch


def new_key() -> str:
    """Make a key of 256 random bits."""
    return f"sk-{secrets.token_urlsafe(32)}"


def hashed(key: str) -> str:
    """What stands for a key in a file of keys, or for `Keys`, from which nobody can tell the key."""
    return PREFIX + hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def is_hashed(key: str) -> bool:
    """Whether this is the hash of a key, and not a key.

    Raises:
        ValueError: It begins like a hash and is none. As a key it would let somebody in who knows the file.
    """
    if not key.startswith(PREFIX):
        return False
    if _is_hash(key.removeprefix(PREFIX)) is None:
        raise ValueError(f"a hash is {PREFIX} and 64 characters of 0-9 and a-f; `openai-runs keys new` makes one")
    return True


class Keys:
    """Keys and their owners. An owner sees only its own objects; several keys may have the same owner.

    Args:
        owners: Maps each secret key, or its hash as `hashed` makes it, to the label of its owner.

    Raises:
        TypeError: ``owners`` is not a mapping.
        ValueError: There is no key, or a blank one: the server would look protected and not be. Or a malformed hash.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        self._salt = secrets.token_bytes(16)
        self.replace(owners)

    def replace(self, owners: Mapping[str, str]) -> None:
        """Take these keys in place of the others; after an error, nothing has changed.

        Raises:
            TypeError: As above.
            ValueError: As above.
        """
        if not isinstance(owners, Mapping):
            raise TypeError(f"keys must be a dict that maps each key to its owner's label: got {type(owners).__name__}")
        if not owners:
            raise ValueError("keys must not be empty; pass None if no key is required")
        if not all(key.strip() for key in owners):
            raise ValueError("a key must not be empty or blank")
        hashes = {key if is_hashed(key) else hashed(key): owner for key, owner in owners.items()}
        self._owners = tuple((self._digest(key), owner) for key, owner in hashes.items())
        #: The same for the same keys and owners, at each server.
        self.digest: bytes = hashlib.sha256(repr(sorted(hashes.items())).encode()).digest()

    def __repr__(self) -> str:
        return f"<{len(self._owners)} keys>"

    @property
    def owners(self) -> frozenset[str]:
        """The labels of all owners."""
        return frozenset(owner for _, owner in self._owners)

    def _digest(self, key: str) -> bytes:
        # Against timing attacks: digests have one length for all keys, and a new salt in each process.
        return hashlib.blake2b(key.encode(), key=self._salt, digest_size=32).digest()

    def owner(self, authorization: str | None, api_key: str | None = None) -> str:
        """Find the owner of the key that a request has.

        Args:
            authorization: The header ``Authorization``, with a bearer key.
            api_key: The header ``api-key`` of Azure's clients; used if the other one has no bearer key.

        Raises:
            ApiError: 401; there is no key, or it is not among these.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            key = api_key or ""
        if not key.strip():
            raise ApiError(401, f"{_NO_KEY} {_found_instead(authorization, api_key)}")
        digest = self._digest(hashed(key.strip()))
        found = None
        for known, owner in self._owners:  # no early exit: the time must not depend on which key matches
            if hmac.compare_digest(known, digest):
                found = owner
        if found is None:
            why = _HASH_SENT if key.strip().startswith(PREFIX) else _UNKNOWN
            raise ApiError(401, f"Incorrect API key provided. {why}", code="invalid_api_key")
        return found


def _found_instead(authorization: str | None, api_key: str | None) -> str:
    """What a request without a key has; nothing of it is quoted, since anything may be a key in the wrong place."""
    if not authorization:
        return "There is no such header" + (", and api-key is empty." if api_key is not None else ", and no api-key.")
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return "This header has no key after Bearer."
    return f"This header has {'another word than Bearer' if key.strip() else 'no Bearer'} before its value."


@frozen
class KeyLine:
    """A line of a file of keys."""

    number: int
    key: str = field(repr=False)  #: or its hash
    owner: str
    limits: SomeLimits  #: of the owner, as far as this line has them


def read_lines(text: str) -> Sequence[KeyLine]:
    """Read a file of keys: one key, or its hash, per line, optionally followed by its owner's label, and by limits.

    The label of a key without one is the start of the key's hash, so a key and its hash have the same owner. Several
    keys may share a label, so that a key can be replaced and its owner keeps its objects. Limits such as
    ``active-runs=20`` hold for the owner, whichever of its lines has them, and so does what `read_retention` reads.
    Blank lines and lines that begin with ``#`` are skipped.

    Raises:
        ValueError: A line has a word too many, a malformed hash or a malformed limit, a key occurs twice, or two lines
            of an owner name the same limit; the message has the line number, not the key.
    """
    lines: list[KeyLine] = []
    seen: set[str] = set()
    limited: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (words := _words(line)) is None:
            continue
        rest = words[1:]
        label = rest.pop(0) if rest and not is_limit(rest[0]) else None
        if not all("=" in word for word in rest):
            raise ValueError(
                f"line {number} of the keys has more than two words: expected a key, an owner's label, and limits as "
                "NAME=NUMBER"
            )
        try:
            hash = words[0] if is_hashed(words[0]) else hashed(words[0])
            limits = read_limits(rest)
        except ValueError as error:
            raise ValueError(f"line {number} of the keys: {error}") from None
        if hash in seen:
            raise ValueError(f"line {number} of the keys repeats a key of an earlier line; remove one of the two")
        seen.add(hash)
        owner = hash.removeprefix(PREFIX)[:12] if label is None else label
        for name in limits:
            if (earlier := limited.setdefault((owner, name), number)) != number:
                raise ValueError(
                    f"line {number} of the keys repeats a limit that line {earlier} has for the same owner; remove one "
                    "of the two"
                )
        lines.append(KeyLine(number, words[0], owner, limits))
    return lines


def read_keys(text: str) -> dict[str, str]:
    """The keys of a file, each with the label of its owner.

    Raises:
        ValueError: As `read_lines` raises it.
    """
    return {line.key: line.owner for line in read_lines(text)}


def limits_in(lines: Iterable[KeyLine]) -> dict[str, SomeLimits]:
    """The limits in the lines of a file, by owner."""
    found: dict[str, SomeLimits] = {}
    for line in lines:
        if line.limits:
            found[line.owner] = {**found.get(line.owner, {}), **line.limits}
    return found


def read_retention(text: str) -> dict[str, float | None]:
    """Read from a file of keys for how many days the threads of owners are kept, where ``retention-days=`` says so.

    Returns:
        The days by the owners' labels; ``None`` where it says ``never``.

    Raises:
        ValueError: As `read_days` raises it; or two keys of an owner say different things; or as `read_keys` raises it.
    """
    labels = read_keys(text)
    found: dict[str, float | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = [word.removeprefix(_RETENTION) for word in line.split() if word.startswith(_RETENTION)]
        if (words := _words(line)) is None or not said:
            continue
        try:
            days = read_days(said[0])
        except ValueError as error:
            raise ValueError(f"line {number} of the keys: {error}") from None
        if found.setdefault(labels[words[0]], days) != days or len(said) > 1:
            raise ValueError(f"line {number} of the keys: {_RETENTION} says something else about this owner elsewhere")
    return found


def read_days(text: str) -> float | None:
    """Read for how many days threads are kept, ``None`` for ``never``: they are never deleted for their age.

    Raises:
        ValueError: It is neither, or less than the shortest period there is.
    """
    if text == NEVER:
        return None
    try:
        days = float(text)
    except ValueError:
        raise ValueError(f"{_RETENTION} is followed by days, or by {NEVER}: got {text[:64]!r}") from None
    check_days(RETENTION, days)
    return days


def written_days(days: float | None) -> str:
    """The same as a word of a line."""
    return f"{_RETENTION}{NEVER if days is None else f'{days:g}'}"


def hash_keys(text: str) -> str:
    """Replace the keys in a file's text by their hashes; comments, labels and owners stay as they are.

    Raises:
        ValueError: As `read_lines` raises it.
    """
    read_lines(text)
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        words = _words(line)
        if words is not None and not is_hashed(words[0]):
            lines[number] = line.replace(words[0], hashed(words[0]), 1)
    return "".join(lines)


def _words(line: str) -> list[str] | None:
    words = [word for word in line.split() if not word.startswith(_RETENTION)]
    return None if not words or words[0].startswith("#") else words
