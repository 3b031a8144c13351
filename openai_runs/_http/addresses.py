"""The URLs of requests: the base URL, the paths below it, the proxy, and the checks of all three. No I/O."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import SplitResult, quote, urlencode
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from openai_runs._wire.parameters import wrong

_is_plain: Final = re.compile("[A-Za-z0-9_-]+").fullmatch
#: What each request asks its URL for, although it is the same for all of an endpoint.
_COMMON: Final = frozenset({"scheme", "raw_authority", "raw_fragment"})


class Addresses:
    """The URLs of one endpoint."""

    def __init__(self, base_url: str, query: Mapping[str, str]) -> None:
        """Set what precedes each path, and what every query has.

        Raises:
            ValueError: ``base_url`` is not a URL, or has parts that it must not have.
        """
        self.base: Final = _checked_base(base_url)  #: without a trailing slash
        self._query = urlencode(query)
        self._root = URL(self.base)
        self._common = _common_parts(self._root)
        self._templates: dict[str, str] = {}

    def url(self, path: str, query: Mapping[str, str | int | Sequence[str]] | None = None, /, **ids: str) -> URL:
        """The URL of ``path``, such as ``/threads/{thread_id}``.

        IDs are percent-encoded, so that each stays one path segment.

        Raises:
            TypeError: An ID is not a string; the message names it.
            ValueError: An ID is empty, or would change the path; the message names it.
        """
        for name, value in ids.items():
            if not isinstance(value, str):
                raise TypeError(wrong(name, "must be a string", value))
            if not (value.isascii() and value.isidentifier()) and not _is_plain(value):
                ids[name] = _segment(name, value)
        template = self._templates.get(path) or self._new_template(path)
        text = self._query
        if query and (more := urlencode(query, doseq=True)):
            text = f"{text}&{more}" if text else more
        return self._made(template % ids, text)

    def below(self, url: URL, action: str) -> URL:
        """The URL of an action, such as ``cancel``, on the object at ``url``."""
        return self._made(f"{url.raw_path}/{action}", url.raw_query_string)

    def _made(self, path: str, query: str) -> URL:
        if query:
            url = URL(SplitResult(self._root.scheme, self._root.raw_authority, path, query, ""), encoded=True)
        else:
            url = self._root.with_path(path, encoded=True)
        # What `_common_parts` has found there.
        if self._common is not None and not (parts := cast("dict[str, Any]", url._cache)):  # noqa: SLF001
            parts.update(self._common)
        return url

    def _new_template(self, path: str) -> str:
        """The path with what precedes it, for ``%``."""
        before = self._root.raw_path.rstrip("/").replace("%", "%%")
        template = before + path.replace("%", "%%").replace("{", "%(").replace("}", ")s")
        self._templates[path] = template
        return template

    def proxy(self) -> str | None:
        """The proxy from the environment; none for this machine itself, which a proxy could not reach.

        Raises:
            ValueError: It is not an HTTP proxy.
        """
        base = URL(self.base)
        host = base.host or ""
        if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
            return None
        proxy = getproxies().get(base.scheme)
        if not proxy:
            return None
        if "://" not in proxy:  # curl accepts that, too
            proxy = f"http://{proxy}"
        scheme = proxy.partition("://")[0]
        if scheme not in ("http", "https"):  # the message leaves out the rest, which may have a password
            raise ValueError(f"only http:// proxies are supported: the environment has one with {scheme}://")
        return proxy


def provider_of(host: str | None) -> str:
    """The name of what is at an endpoint, as far as its API tells: all of them speak OpenAI's."""
    return "azure.ai.openai" if (host or "").endswith(".azure.com") else "openai"


def _checked_base(base_url: str) -> str:
    try:
        url = URL(base_url)
    except (TypeError, ValueError) as error:
        raise ValueError(f"base_url must be a URL: got {base_url!r}") from error
    if url.user or url.password or url.query_string or url.fragment:
        raise ValueError("base_url must have no user, password, query or fragment: use api_key and default_query")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must begin with http:// or https:// and a host: got {base_url!r}")
    return str(url).rstrip("/")


def _common_parts(root: URL) -> dict[str, Any] | None:
    """What all URLs below ``root`` have in common, as yarl keeps it once it was asked for; ``None`` if it does not."""
    probe = root.with_path("/probe", encoded=True)
    for name in _COMMON:
        getattr(probe, name)
    kept = getattr(probe, "_cache", None)
    if not isinstance(kept, dict) or not kept.keys() >= _COMMON:
        return None
    return {name: kept[name] for name in _COMMON}


def _segment(name: str, value: str) -> str:
    """An ID percent-encoded as a path segment; slow, so only for IDs that need it."""
    try:
        segment = quote(value, safe="")
    except UnicodeEncodeError:  # half a surrogate pair
        segment = ""
    if segment in ("", ".", ".."):  # dot segments are resolved away, even if percent-encoded
        raise ValueError(f"{name} must be an ID: got {value!r}; nothing was sent")
    return segment
