"""Idempotency keys in HTTP: their header, and the one by which a server says that it honours them.

Source: draft-ietf-httpapi-idempotency-key-header. The draft names no header for the latter, so that one is ours.
"""

import os
import re
from typing import Any, Final

HEADER: Final = "Idempotency-Key"
#: A response header, ``true`` in every response of a server that carries a request with a used key out only once.
SUPPORTED: Final = "Idempotency-Key-Supported"
#: A response header, ``true`` if the request was carried out before.
REPLAYED: Final = "Idempotent-Replayed"

MAX_LENGTH: Final = 255  #: characters of a key

_is_key: Final = re.compile(rf"[\x20-\x7e]{{1,{MAX_LENGTH}}}").fullmatch
_is_quoted: Final = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"').fullmatch


def new_key() -> str:
    """Make a key that nobody else has."""
    return os.urandom(16).hex()


def check_key(key: Any) -> None:
    """Check a caller's key.

    Raises:
        TypeError: It is not a string.
        ValueError: It is empty, too long, or has characters that are not printable ASCII.
    """
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key must be a string: got {type(key).__name__}; nothing was sent")
    if not _is_key(key):
        raise ValueError(
            f"idempotency_key must have 1 to {MAX_LENGTH} printable ASCII characters: got {key[:80]!r}; "
            "nothing was sent"
        )


def to_header(key: str) -> str:
    """Write a key as the header's value: a string of RFC 8941, in quotes, as the draft demands."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def from_header(value: str) -> str | None:
    """Read the header's value; ``None`` if it is not a key. Quotes may be missing, as many clients leave them out."""
    key = value
    if value.startswith('"'):
        if not _is_quoted(value):
            return None
        key = re.sub(r"\\(.)", r"\1", value[1:-1])
    return key if _is_key(key) else None
