"""`TrustedProxies`: whose request it is behind reverse proxies, as far as they are known to tell the truth.

A proxy appends to a header from whom it has a request, and its client may have sent such a header itself. So the header
is read from the right, and only what a trusted proxy has appended counts: the first address that is none of theirs is
the client's.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple, TypeAlias

from aiohttp import web
from multidict import CIMultiDictProxy

_Address: TypeAlias = IPv4Address | IPv6Address

_FOR: Final = "x-forwarded-for"
_PROTO: Final = "x-forwarded-proto"
_FORWARDED: Final = "forwarded"  # RFC 7239
_SCHEMES: Final = ("http", "https")
#: Hops that are looked at: more proxies than anybody has.
_MOST_HOPS: Final = 50
#: A parameter of an element of ``forwarded``.
_find_parameters: Final = re.compile(r'(?:^|;)\s*(for|proto)\s*=\s*(?:"([^"\\]*)"|([^\s;"]*))', re.IGNORECASE).findall


class _Hop(NamedTuple):
    address: str
    scheme: str


class TrustedProxies:
    """The reverse proxies whose word is taken for where a request comes from."""

    def __init__(self, addresses: Collection[str], header: str = _FOR) -> None:
        """Trust proxies.

        Args:
            addresses: Of the proxies, or of their networks, as ``10.0.0.0/8``.
            header: What all of them write: ``x-forwarded-for`` or ``forwarded``. The other one is not read: proxies
                pass it on, whatever a client has put there.

        Raises:
            ValueError: One is no address, or the header is another one.
        """
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(map(_network, addresses))
        self._header = str(header).lower()
        if self._header not in (_FOR, _FORWARDED):
            raise ValueError(f"proxy_header must be {_FOR!r} or {_FORWARDED!r}: got {header!r}")

    def client(self, peer: str | None, headers: CIMultiDictProxy[str]) -> tuple[str | None, str | None]:
        """Find out for whom a request is.

        Args:
            peer: Who has sent it to this server.
            headers: Of the request.

        Returns:
            The address of the client, or of the last proxy that is known; and the scheme by which the client has asked,
            if a trusted proxy says that.
        """
        if not self._trusts(peer):
            return peer, None
        address, scheme = peer, None
        for hop in reversed(self._hops(headers)[-_MOST_HOPS:]):
            scheme = hop.scheme.lower() if hop.scheme.lower() in _SCHEMES else scheme
            if (known := _address(hop.address)) is None:
                break  # such as `unknown`: whoever is there, is behind the last that is known
            address = str(known)
            if not self._trusts(address):
                break
        return address, scheme

    def _hops(self, headers: CIMultiDictProxy[str]) -> Sequence[_Hop]:
        """What proxies have appended, the one next to this server last."""
        elements = _elements(headers.getall(self._header, ()))
        if self._header == _FORWARDED:
            return [_forwarded(element) for element in elements]
        schemes = _elements(headers.getall(_PROTO, ()))
        if len(schemes) != len(elements):  # most proxies replace it, whatever was there
            schemes = [schemes[-1] if schemes else ""] * len(elements)
        return [_Hop(*each) for each in zip(elements, schemes, strict=True)]

    def _trusts(self, address: str | None) -> bool:
        known = _address(address or "")
        return known is not None and any(known in network for network in self._networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no address of a proxy: expected one as 10.0.0.7 or 10.0.0.0/8") from None


def _elements(lines: Iterable[str]) -> list[str]:
    """The elements of a header, which may stand in several lines.

    A comma in quotes separates, too: else a quotation mark of the client's would swallow what proxies have appended.
    """
    return [element.strip() for line in lines for element in line.split(",")]


def _forwarded(element: str) -> _Hop:
    found = {name.lower(): quoted or plain for name, quoted, plain in _find_parameters(element)}
    return _Hop(found.get("for", ""), found.get("proto", ""))


def _address(text: str) -> _Address | None:
    """An address as proxies write it: some add the port, and then an IPv6 address has brackets."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # A socket for both protocols shows clients of the old one like this.
    return getattr(address, "ipv4_mapped", None) or address


def trust(runner: web.AppRunner, proxies: TrustedProxies) -> None:
    """Give the requests of an application their clients' address and scheme, before anybody looks at them.

    Not by a middleware: polls, the access log and metrics are in front of these.

    Args:
        runner: Of the application; it is set up, and has no connection yet.
        proxies: Whom to trust.
    """
    server: Any = runner.server
    make: Callable[..., web.BaseRequest] = server.request_factory  # not documented as an attribute, as an argument only

    def make_for_client(*parts: Any) -> web.BaseRequest:
        request = make(*parts)
        address, scheme = proxies.client(request.remote, request.headers)
        if address is None or (address == request.remote and scheme is None):
            return request
        return request.clone(remote=address, scheme=scheme or request.scheme)

    server.request_factory = make_for_client
