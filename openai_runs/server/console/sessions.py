"""Sessions of browsers: a signed token stands in a cookie for the owner of a key, so that no page has the key.

The token says whose it is and when it ends, and its signature that a server has made it. So each server of a store
takes it, whichever has made it, and none remembers who has logged in.
"""

import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Final

from attrs import define, field

#: Seconds from a login until the key is asked for again.
LASTS: Final = 12 * 3600.0
#: Logouts that are remembered one by one; one more ends all sessions.
MOST: Final = 10_000


@define(eq=False, repr=False)
class Sessions:
    """Who has logged in."""

    _secret: Callable[[], bytes]  # of the servers that take each other's tokens; with another one, all sessions end
    _now: Callable[[], float] = time.time
    _ended: dict[str, int] = field(factory=dict, init=False)  # tokens, and when they end by themselves
    _begun_after: float = field(default=0.0, init=False)  # before that, all have ended

    def begin(self, owner: str) -> str:
        """Begin a session of an owner, and return its token."""
        label = urlsafe_b64encode(owner.encode(errors="surrogatepass")).decode()
        said = f"{int(self._now() + LASTS)}.{secrets.token_urlsafe(16)}.{label}"
        return f"{said}.{self._signature('session', said)}"

    def owner(self, token: str) -> str | None:
        """Find the owner of a session that has not ended; ``None`` if there is none."""
        said, _, signature = token.rpartition(".")
        if not self._is_signature("session", said, signature) or token in self._ended:
            return None
        until, _, label = said.split(".")
        if not self._begun_after <= int(until) - LASTS or self._now() >= int(until):
            return None
        return urlsafe_b64decode(label).decode(errors="surrogatepass")

    def end(self, token: str) -> None:
        """End a session at this server, if it has not ended. Its browser is to forget the token besides."""
        if self.owner(token) is None:
            return
        if len(self._ended) >= MOST:
            now = self._now()
            self._ended = {ended: until for ended, until in self._ended.items() if until > now}
        if len(self._ended) >= MOST:
            self._begun_after = self._now()
            self._ended.clear()
        self._ended[token] = int(token.partition(".")[0])

    def form_token(self, token: str) -> str:
        """Make what the forms on a session's pages have in them, which other sites cannot know.

        Args:
            token: The session's, or an empty text if there is none.
        """
        return self._signature("form", token)

    def is_form_token(self, token: str, given: str) -> bool:
        """Whether a form comes from a page of this session."""
        return self._is_signature("form", token, given)

    def _signature(self, use: str, text: str) -> str:
        return hmac.digest(self._secret(), f"{use} {text}".encode(errors="surrogatepass"), "sha256").hex()

    def _is_signature(self, use: str, text: str, given: str) -> bool:
        return hmac.compare_digest(self._signature(use, text).encode(), given.encode(errors="surrogatepass"))
