"""`Overrides`: what one request has in place of what all requests of its session have. No I/O."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from attrs import evolve, field, frozen
from yarl import URL

from openai_runs._arguments import check_seconds
from openai_runs._wire.idempotency import HEADER, from_header, to_header
from openai_runs._wire.parameters import check_params
from openai_runs.models.request_options import RequestOptions

_NAMES: Final = frozenset(RequestOptions.__annotations__)
_is_header_name: Final = re.compile("[A-Za-z0-9!#$%&'*+.^_`|~-]+").fullmatch


@frozen
class Overrides:
    """The `RequestOptions` of one request, checked."""

    timeout: float | None = None
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    query: Mapping[str, str | float | Sequence[str]] = field(factory=dict, repr=False)
    body: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def has_key(self) -> bool:
        """Whether there is an ``Authorization`` among the headers, which makes the session's superfluous."""
        return any(name.lower() == "authorization" for name in self.headers)

    @property
    def idempotency_key(self) -> str | None:
        """The valid key in an ``Idempotency-Key`` among the headers, which replaces the request's own."""
        values = [value for name, value in self.headers.items() if _is_key_header(name)]
        return from_header(values[-1]) if values else None

    def url(self, url: URL) -> URL:
        """The URL with the query."""
        if not self.query:
            return url
        path, _, query = str(url).partition("?")
        kept = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in self.query]
        return URL(f"{path}?{urlencode([*kept, *self.query.items()], doseq=True)}", encoded=True)

    def merged(self, body: Any) -> Any:
        """A body with this one."""
        return {**(body or {}), **self.body} if self.body else body


def take_overrides(params: Any) -> Overrides | None:
    """Take the request options out of a method's own dict of keywords, whose names have been checked.

    Raises:
        TypeError, ValueError: An option cannot be sent.
    """
    if _NAMES.isdisjoint(params):  # nearly always
        return None
    options = {name: params.pop(name) for name in _NAMES & params.keys()}
    for name in ("extra_headers", "extra_query", "extra_body"):
        if not isinstance(options.get(name, {}), Mapping):
            raise TypeError(f"{name} must be a dict: got {type(options[name]).__name__}; nothing was sent")
    if "timeout" in options:
        check_seconds("timeout", options["timeout"])
    headers = options.get("extra_headers", {})
    return Overrides(
        options.get("timeout"),
        {name: checked_header("extra_headers", name, value) for name, value in headers.items()},
        {name: _query_value(name, value) for name, value in options.get("extra_query", {}).items()},
        options.get("extra_body", {}),
    )


def without_body(overrides: Overrides | None) -> Overrides | None:
    """The same for a request whose body has been merged."""
    return evolve(overrides, body={}) if overrides else None


def with_header(overrides: Overrides | None, name: str, value: str) -> Overrides:
    """The same for a request with a header."""
    if overrides is None:  # nearly always
        return Overrides(headers={name: value})
    return evolve(overrides, headers={name: value, **overrides.headers})


def with_key(overrides: Overrides | None, key: str) -> Overrides:
    """The same for a request with an idempotency key, unless the caller has put another one among the headers."""
    if overrides is not None and any(map(_is_key_header, overrides.headers)):
        return overrides
    return with_header(overrides, HEADER, to_header(key))


def further(overrides: Overrides | None) -> Overrides | None:
    """The same for further requests: neither the body nor an idempotency key is theirs."""
    if overrides is None:
        return None
    headers = {name: value for name, value in overrides.headers.items() if not _is_key_header(name)}
    return evolve(overrides, body={}, headers=headers)


def _is_key_header(name: str) -> bool:
    return name.lower() == HEADER.lower()


def overrides_of(options: RequestOptions) -> Overrides | None:
    """The same for a method whose only keywords these are; they are checked here.

    Raises:
        TypeError, ValueError: An option is unknown, or cannot be sent.
    """
    if not options:
        return None
    check_params(options, RequestOptions)
    return take_overrides({**options})


def checked_header(argument: str, name: Any, value: Any) -> str:
    """The value of a header that can be sent."""
    if not isinstance(name, str) or not _is_header_name(name):
        raise ValueError(f"{argument} must have names of HTTP headers: got {name!r}")
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"header {name} must be a string of one line")
    return value


def _query_value(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float) or (
        isinstance(value, Sequence) and all(isinstance(item, str) for item in value)
    ):
        return value
    raise TypeError(f"extra_query[{name!r}] must be a string, a number, or a list of strings: got {value!r}")
