"""`FormFingerprint`: a hash of a form that passes by. The same form has another boundary each time it is sent."""

import hashlib
import re
from typing import Final

_boundary: Final = re.compile(r"""boundary=(?:"([^"]+)"|([^\s;,"]+))""", re.IGNORECASE).search


class FormFingerprint:
    """Hashes the pieces of a body, whatever the boundary between the fields is, and wherever the pieces end."""

    def __init__(self, content_type: str) -> None:
        """Begin.

        Args:
            content_type: The header of the form, which names the boundary.
        """
        found = _boundary(content_type)
        self._boundary = (found[1] or found[2]).encode("utf-8", "surrogateescape") if found else b""
        self._hash = hashlib.blake2b(digest_size=24)
        self._rest = b""  # may be the beginning of a boundary

    def add(self, piece: bytes) -> None:
        """Add a piece."""
        if not self._boundary:
            self._hash.update(piece)
            return
        *before, last = (self._rest + piece).split(self._boundary)
        for part in before:
            self._hash.update(part)
            self._hash.update(b"\n--")  # that there was one
        start = max(len(last) - len(self._boundary) + 1, 0)
        self._hash.update(last[:start])
        self._rest = last[start:]

    def value(self) -> str:
        """The fingerprint of all pieces."""
        whole = self._hash.copy()
        whole.update(self._rest)
        return whole.hexdigest()
