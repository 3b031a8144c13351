"""Sessions of browsers: a random token stands in a cookie for the owner of a key, so that no page has the key."""

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

from attrs import define, field

#: Seconds from a login until the key is asked for again.
LASTS: Final = 12 * 3600.0
#: Logins that are remembered; one more ends the oldest.
MOST: Final = 1_000


@define(eq=False, repr=False)
class Sessions:
    """Who has logged in; kept in memory, so a restart of the server ends all sessions."""

    _now: Callable[[], float] = time.monotonic
    _owners: dict[str, tuple[str, float]] = field(factory=dict, init=False)  # the oldest first
    _secret: bytes = field(factory=lambda: secrets.token_bytes(32), init=False)

    def begin(self, owner: str) -> str:
        """Begin a session of an owner, and return its token."""
        token = secrets.token_urlsafe(32)
        self._owners[token] = (owner, self._now() + LASTS)
        while len(self._owners) > MOST:
            del self._owners[next(iter(self._owners))]
        return token

    def owner(self, token: str) -> str | None:
        """Find the owner of a session that has not ended; ``None`` if there is none."""
        owner, until = self._owners.get(token, (None, 0.0))
        if owner is not None and self._now() >= until:
            del self._owners[token]
            return None
        return owner

    def end(self, token: str) -> None:
        """End a session, if it has not ended."""
        self._owners.pop(token, None)

    def clear(self) -> None:
        """End all sessions."""
        self._owners.clear()

    def form_token(self, token: str) -> str:
        """Make what the forms on a session's pages have in them, which other sites cannot know.

        Args:
            token: The session's, or an empty text if the server has no keys.
        """
        return hmac.digest(self._secret, token.encode(errors="surrogatepass"), "sha256").hex()

    def is_form_token(self, token: str, given: str) -> bool:
        """Whether a form comes from a page of this session."""
        return hmac.compare_digest(self.form_token(token).encode(), given.encode(errors="surrogatepass"))
