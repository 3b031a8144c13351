"""`Secrets`: keeps API keys and tokens out of all texts, since servers and proxies may echo what they receive.

Whatever a server says goes through `Secrets.snippet` on its way into a message, an attribute or a log record: that
hides before it cuts. Should somebody cut first, half a key remains, which `Secrets.hide` recognizes by its beginning.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, quote_plus

from openai_runs.errors import snippet

#: A header or query parameter is secret if its name contains one of these.
_SECRET_NAMES: Final = ("auth", "cookie", "key", "secret", "token")
#: Characters; a shorter value may be an ordinary word, which must stay readable.
_MIN_LENGTH: Final = 8
#: What separates the secrets in a value: ``Bearer key``, ``name=value; name=value``.
_separators: Final = re.compile(r"[\s;,]+")


class Secrets:
    """Values that must not appear in any message, log record or ``repr``."""

    def __init__(self, *named: Mapping[str, str]) -> None:
        """Collect the secrets among what every request has: headers, query parameters."""
        self._forms: set[str] = set()
        #: Short-lived ones, with their forms. The latest few: a slow response may still echo an older one.
        self._tokens: deque[tuple[str, set[str]]] = deque(maxlen=8)
        for values in named:
            self.add(values)

    def add(self, named: Mapping[str, str]) -> None:
        """Add the secrets among these values, for good."""
        self._forms |= _forms(_secret_values(named))

    def add_token(self, token: str) -> None:
        """Add a short-lived secret."""
        if all(token != known for known, _ in self._tokens):
            self._tokens.append((token, _forms((token,))))

    def of_request(self, *named: Mapping[str, str]) -> "Secrets":
        """These, and those among what one request has: its token is not among the latest few for ever."""
        both = Secrets(*named)
        both._forms |= self._forms
        both._tokens = self._tokens
        return both

    def is_in(self, error: BaseException) -> bool:
        """Whether an exception, or one in its chain, shows a secret."""
        chain, texts = [error], list[str]()
        for link in chain:
            texts += (str(link), repr(link), repr(vars(link)))
            chain += [near for near in (link.__cause__, link.__context__) if near is not None and near not in chain]
        text = "\n".join(texts)
        return self.hide(text) != text

    def redact(self, error: Exception) -> None:
        """Hide the secrets in an exception, and take its chain away if they may be there."""
        if self.is_in(error):
            error.args = self._hide_in(error.args)
            for name, value in vars(error).items():
                setattr(error, name, self._hide_in(value))
            error.__cause__ = error.__context__ = None

    def _hide_in(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.hide(value)
        return type(value)(map(self._hide_in, value)) if isinstance(value, tuple | list) else value

    def hide(self, text: str) -> str:
        """Replace each secret by ``***``, however it is encoded; also the beginning of one, which cutting has left."""
        forms = self._all()
        for form in forms:
            text = text.replace(form, "***")
        for head in {form[:_MIN_LENGTH] for form in forms}:
            if head in text:
                tails = [form[_MIN_LENGTH:] for form in forms if form.startswith(head)]
                before, *others = text.split(head)
                text = "***".join([before, *(min((_without_start(t, o) for t in tails), key=len) for o in others)])
        return text

    def snippet(self, said: bytes | str, most: int = 300) -> str:
        """The beginning of what a server said, for a message or an attribute, without secrets."""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        longest = max(map(len, self._all()), default=0)
        if len(text) <= most + longest:
            return snippet(self.hide(text), most)
        # Hiding all of a huge text would take long. What is cut here may end in a part of a secret: that is left out.
        hidden = self.hide(text[: most + longest])
        return f"{hidden[: min(most, len(hidden) - longest)]}… ({len(text)} characters)"

    def _all(self) -> tuple[str, ...]:
        return _longest_first({*self._forms, *(form for _, forms in self._tokens for form in forms)})


def _without_start(secret: str, text: str) -> str:
    """The text after as much of a secret as it begins with."""
    pairs = enumerate(zip(secret, text, strict=False))
    return text[next((at for at, (wanted, found) in pairs if wanted != found), min(len(secret), len(text))) :]


def _secret_values(named: Mapping[str, str]) -> Iterable[str]:
    for name, value in named.items():
        if any(word in name.lower() for word in _SECRET_NAMES):
            yield value
            for part in _separators.split(value):
                yield part
                yield part.partition("=")[2]


def _forms(secrets: Iterable[str]) -> set[str]:
    """The secrets as they are, and as they are written in URLs, JSON, HTML, Python and base64."""
    import html  # here, since it loads the names of all characters

    forms: set[str] = set()
    for secret in secrets:
        if len(secret) < _MIN_LENGTH:
            continue
        in_json = json.dumps(secret)[1:-1]
        in_url = {quote(secret, ""), quote(secret), quote_plus(secret)}
        forms |= {secret, in_json, in_json.replace("/", "\\/"), repr(secret)[1:-1], *in_url}
        forms |= {re.sub("%..", lambda escape: escape[0].lower(), url) for url in in_url}
        in_html = html.escape(secret)
        forms |= {in_html, in_html.replace("&#x27;", "&#39;"), html.escape(secret, quote=False)}
        forms |= {*_in_base64(secret.encode(errors="replace"))}
    return {form for form in forms if len(form) >= _MIN_LENGTH}


def _longest_first(forms: Iterable[str]) -> tuple[str, ...]:
    """In the order in which they are hidden: one may be a part of another."""
    return tuple(sorted(forms, key=len, reverse=True))


def _in_base64(secret: bytes) -> Iterable[str]:
    """What of a secret is in the base64 of any bytes that contain it: it begins at one of three places in a group."""
    for shift, unknown in enumerate((0, 2, 3)):  # the first characters also depend on what precedes the secret
        padded = b"\0" * shift + secret
        end = None if len(padded) % 3 == 0 else -1  # and the last one on what follows it
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(padded).decode().rstrip("=")[unknown:end]
