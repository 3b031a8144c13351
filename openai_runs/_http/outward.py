"""What those are told of a failed request who use a service and do not run it: what happened, and not where.

The owners of a server's keys read why their runs have failed. Where the model's endpoint is, whoever runs the server
knows, and finds in its log.
"""

import re
from functools import cache
from ipaddress import ip_address
from typing import Final

from yarl import URL

from openai_runs.errors import ProtocolError, ResponseError, TransportError, snippet

#: What stands in the place of an address.
HIDDEN: Final = "(address hidden)"

_URL: Final = re.compile(
    r"""\bhttps?://(?:\[[0-9a-f:.%]*\])? [^\s"'<>\\`|)\]}]* (?<![.,;:!?])""", re.ASCII | re.IGNORECASE | re.VERBOSE
)
_IPV4: Final = re.compile(r"(?<![\w.-])(\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?(?![\w-]|\.\d)", re.ASCII)
#: Names that only an operator's own network knows.
_INNER: Final = (
    ".internal",
    ".local",
    ".localhost",
    ".localdomain",
    ".lan",
    ".intranet",
    ".corp",
    ".home.arpa",
    ".svc",
)


def outward(error: TransportError | ResponseError | ProtocolError, base_url: str) -> str:
    """Say why a request has failed, to somebody who must not learn where it went.

    Args:
        error: What a transport has raised.
        base_url: The transport's.
    """
    if isinstance(error, ResponseError):
        reason = error.message or snippet(error.body) or "no reason given"
        return f"status {error.status}: {without_addresses(reason, base_url)}"
    if isinstance(error, TransportError):
        return error.problem or "no usable response"
    return without_addresses(str(error), base_url)


def without_addresses(text: str, base_url: str) -> str:
    """A text of an endpoint, or about it, without its own address and others that only its network knows.

    Args:
        text: Such as the message of an error. A gateway may name in it what is behind it, or itself.
        base_url: The endpoint's.
    """
    text = _URL.sub(lambda found: HIDDEN if _is_hidden(found[0], base_url) else found[0], text)
    text = _own_name(base_url).sub(HIDDEN, text)
    return _IPV4.sub(lambda found: HIDDEN if _is_inner(found[1]) else found[0], text)


def _is_hidden(url: str, base_url: str) -> bool:
    try:
        host = URL(url).host or ""
    except ValueError:
        return True  # such as a port that is none
    return host == URL(base_url).host or _is_inner(host)


def _is_inner(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().rstrip(".").endswith(_INNER)


@cache
def _own_name(base_url: str) -> re.Pattern[str]:
    """Finds the endpoint's name outside of a URL. One that may be a word, such as that of a container, has a port."""
    host = URL(base_url).host or ""
    port = r"(?::\d{1,5})" + ("?" if "." in host or ":" in host else "")
    return re.compile(rf"(?<![\w.-])\[?{re.escape(host)}\]?{port}(?![\w-])", re.IGNORECASE)
