"""Keys: from an ``Authorization`` or ``api-key`` header to an owner. Nothing in here shows or logs a key."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from openai_runs.engine.errors import ApiError


class Keys:
    """Keys and their owners. An owner sees only its own objects; several keys may have the same owner.

    Args:
        owners: Maps each secret key to the label of its owner.

    Raises:
        TypeError: ``owners`` is not a mapping.
        ValueError: There is no key, or a blank one: the server would look protected and not be.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        if not isinstance(owners, Mapping):
            raise TypeError(f"keys must be a dict that maps each key to its owner's label: got {type(owners).__name__}")
        if not owners:
            raise ValueError("keys must not be empty; pass None if no key is required")
        if not all(key.strip() for key in owners):
            raise ValueError("a key must not be empty or blank")
        self._salt = secrets.token_bytes(16)
        self._owners = tuple((self._digest(key), owner) for key, owner in owners.items())

    def __repr__(self) -> str:
        return f"<{len(self._owners)} keys>"

    def _digest(self, key: str) -> bytes:
        # Against timing attacks: digests have one length for all keys, and a new salt in each process.
        return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), key=self._salt, digest_size=32).digest()

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
            raise ApiError(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        digest = self._digest(key.strip())
        found = None
        for known, owner in self._owners:  # no early exit: the time must not depend on which key matches
            if hmac.compare_digest(known, digest):
                found = owner
        if found is None:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        return found


def read_keys(text: str) -> dict[str, str]:
    """Read keys from a file's text: one key per line, optionally followed by a space and the label of its owner.

    The label of a key without one is the start of the key's hash. Several keys may share a label, so that a key can be
    replaced and its owner keeps its objects. Blank lines and lines that begin with ``#`` are skipped.

    Raises:
        ValueError: A line has more than two words, or a key occurs twice; the message has the line number, not the key.
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
                raise ValueError(
                    f"line {number} of the keys has more than two words: expected a key and an owner's label"
                )
        if key in owners:
            raise ValueError(f"line {number} of the keys repeats a key of an earlier line; remove one of the two")
        owners[key] = owner
    return owners
