"""IDs in the form of the hosted API: a prefix, and 24 characters that cannot be guessed."""

import os
import string
from typing import Final

_ALPHABET: Final = (string.digits + string.ascii_letters).encode()
_CHARACTER_OF: Final = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))

#: Bytes of one ID.
_SIZE: Final = 24
_DRAWN_AT_ONCE: Final = 64
# Drawn and not used yet: several IDs are made for each run, and each draw is a system call. Threads may share it, since
# taking one out is atomic. A forked process must not make the IDs of the process that it comes from.
_drawn: list[bytes] = []
getattr(os, "register_at_fork", dict)(after_in_child=_drawn.clear)  # Windows has no forks


def random_bytes() -> bytes:
    """24 bytes that nobody can guess, and nobody else is given."""
    try:
        return _drawn.pop()
    except IndexError:
        fresh = os.urandom(_SIZE * _DRAWN_AT_ONCE)
        _drawn.extend(fresh[start : start + _SIZE] for start in range(_SIZE, len(fresh), _SIZE))
        return fresh[:_SIZE]


def new_id(prefix: str, separator: str = "_") -> str:
    """Make an ID such as ``run_1gB9…``; those of files have a hyphen."""
    return f"{prefix}{separator}{random_bytes().translate(_CHARACTER_OF).decode()}"
