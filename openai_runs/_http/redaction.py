"""`Secrets`: removes API keys and tokens from texts, since servers and proxies may echo the headers they receive."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

#: A header is secret if its name contains one of these.
_SECRET_HEADERS: Final = ("auth", "cookie", "key", "secret", "token")
#: Characters; a shorter value may be an ordinary word, which must stay readable.
_MIN_LENGTH: Final = 8


class Secrets:
    """Values that must not appear in any message, log record or ``repr``."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Collect the secrets among the headers that every request has."""
        values = [value for name, value in headers.items() if any(word in name.lower() for word in _SECRET_HEADERS)]
        values += [value.removeprefix("Bearer ") for value in values]
        # Longest first: one may be a part of another.
        self._permanent = sorted({value for value in values if len(value) >= _MIN_LENGTH}, key=len, reverse=True)
        self._tokens: deque[str] = deque(maxlen=8)  # the latest few: a slow response may still echo an older one

    def add_token(self, token: str) -> None:
        """Add a short-lived secret."""
        if len(token) >= _MIN_LENGTH and token not in self._tokens:
            self._tokens.append(token)

    def hide(self, text: str) -> str:
        """Replace each secret by ``***``."""
        for secret in self._all():
            text = text.replace(secret, "***")
        return text

    def _all(self) -> Iterable[str]:
        yield from self._permanent
        yield from self._tokens
