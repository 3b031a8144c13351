"""`RequestOptions`, which every method has that sends one request."""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict


class RequestOptions(TypedDict, total=False):
    """What one request has in place of, or in addition to, what all requests of its session have.

    They hold for the retries of the request, too, and for the requests that look whether it took effect.
    """

    timeout: float  #: seconds without a byte from the server after which the request fails
    extra_headers: Mapping[str, str]  #: override the session's, ``Authorization`` included
    extra_query: Mapping[str, str | float | Sequence[str]]  #: overrides parameters of the same name
    extra_body: Mapping[str, Any]  #: added to the JSON body as it is, unchecked; overrides parameters of the same name
