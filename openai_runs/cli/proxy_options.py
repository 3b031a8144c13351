"""The options that say which reverse proxies are believed."""

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer


class ProxyHeader(StrEnum):
    """In which header a proxy says for whom a request is."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


TrustedProxies: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxy",
        help="The address of a reverse proxy, or its network, as 10.0.0.0/8: what it says of a request's client and "
        "scheme is believed; can be repeated.",
        metavar="ADDRESS",
    ),
]
SaidIn: TypeAlias = Annotated[
    ProxyHeader,
    typer.Option(
        "--proxy-header", help="Where trusted proxies say it. The other header is not read: a client may have made it."
    ),
]
