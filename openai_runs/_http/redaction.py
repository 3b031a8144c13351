"""`Secrets`: what must not be shown, and the hiding of it. Servers and proxies like to echo what they got."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

#: Headers with these in their names have secrets for values.
_SECRET_HEADERS: Final = ("auth", "cookie", "key", "secret", "token")
#: Characters; a shorter one may be a word.
_SHORTEST: Final = 8


class Secrets:
    """Values that no message, log record or ``repr`` may show."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Take the secrets among the headers that go with each request."""
        values = [value for name, value in headers.items() if any(word in name.lower() for word in _SECRET_HEADERS)]
        values += [value.removeprefix("Bearer ") for value in values]
        # Longest first: one may be a part of another.
        self._lasting = sorted({value for value in values if len(value) >= _SHORTEST}, key=len, reverse=True)
        self._tokens: deque[str] = deque(maxlen=8)  # secrets of a while: an old one may still be on its way

    def add_token(self, token: str) -> None:
        """Take a secret that is good for a while."""
        if len(token) >= _SHORTEST and token not in self._tokens:
            self._tokens.append(token)

    def hide(self, text: str) -> str:
        """Put stars in the place of each secret."""
        for secret in self._all():
            text = text.replace(secret, "***")
        return text

    def _all(self) -> Iterable[str]:
        yield from self._lasting
        yield from self._tokens
