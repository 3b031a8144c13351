"""Bearer keys: who is asking. Nothing in here shows or logs a key."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from openai_runs.engine.errors import ApiError


class Keys:
    """Keys and whose they are. An owner sees only its own objects; several keys may have one owner.

    Args:
        owners: From each secret key to the label of its owner.

    Raises:
        TypeError: It is no mapping.
        ValueError: There is no key, or an empty one: either would be a door that looks locked and is not.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        if not isinstance(owners, Mapping):
            raise TypeError(f"keys must be a dict, from each key to its owner's label: got {type(owners).__name__}")
        if not owners:
            raise ValueError("keys must not be empty; leave them out to let everybody in")
        if not all(key.strip() for key in owners):
            raise ValueError("a key must not be empty or blank")
        self._salt = secrets.token_bytes(16)
        self._owners = tuple((self._digest(key), owner) for key, owner in owners.items())

    def __repr__(self) -> str:
        return f"<{len(self._owners)} keys>"

    def _digest(self, key: str) -> bytes:
        # Of equal length whatever the key's, and fresh in each process: timing tells nothing that lasts.
        return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), key=self._salt, digest_size=32).digest()

    def owner(self, authorization: str | None) -> str:
        """Tell whose key an ``Authorization`` header carries.

        Raises:
            ApiError: 401; there is none, or it is not one of ours.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        digest = self._digest(key.strip())
        found = None
        for known, owner in self._owners:  # to the end: how long it takes must not tell which one it is
            if hmac.compare_digest(known, digest):
                found = owner
        if found is None:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        return found


def read_keys(text: str) -> dict[str, str]:
    """Read keys from a file's text: a key a line, and perhaps, after a blank, the label of its owner.

    A key without a label is an owner of its own, known by the beginning of the key's hash. Several keys may share a
    label, so that a key can be replaced and its objects stay. Blank lines and lines that begin with ``#`` are skipped.

    Raises:
        ValueError: A line has more than two words, or a key comes twice; the line is named, the key is not.
    """
    owners: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match line.split():
            case []:
                continue
            case [comment, *_] if comment.startswith("#"):
                continue
            case [key]:
                owner = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
            case [key, owner]:
                pass
            case _:
                raise ValueError(f"line {number} of the keys has more than a key and a label")
        if key in owners:
            raise ValueError(f"the key in line {number} was there before")
        owners[key] = owner
    return owners
