"""IDs in the form of the hosted API: a prefix, and 24 characters that cannot be guessed."""

import os
import string
from typing import Final

_ALPHABET: Final = (string.digits + string.ascii_letters).encode()
_CHARACTER_OF: Final = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))


def new_id(prefix: str, separator: str = "_") -> str:
    """Make an ID such as ``run_1gB9…``; those of files have a hyphen."""
    return f"{prefix}{separator}{os.urandom(24).translate(_CHARACTER_OF).decode()}"
