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
        ValueError: There is no key, or an empty one: either would be a door that looks locked and is not.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
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
