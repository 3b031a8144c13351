"""`Audit`: what the engine tells of deletions, to whoever has to account for them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Protocol

from attrs import field, frozen


class By(StrEnum):
    """On whose behalf something is done."""

    REQUEST = "request"  #: of a client
    EXPIRY = "expiry"  #: that a client has asked for
    RETENTION = "retention"  #: the operator's rule
    OPERATOR = "operator"  #: the operator, by hand


DELETED: Final = "deleted"
KEYS_RELOADED: Final = "keys_reloaded"


@frozen(kw_only=True)
class Audited:
    """Something that was done. It has no content, and no key."""

    action: str
    by: By
    object: str  #: the value of ``object`` of what was deleted, or ``keys``
    id: str = ""
    owner: str = ""  #: the label of the API key; empty if the server has no keys
    counts: Mapping[str, int] = field(factory=dict)  #: what has gone with it


class Audit(Protocol):
    """Keeps what was done."""

    def note(self, entry: Audited) -> None:
        """Take an entry, after it was done. It is quick, and raises nothing."""
        ...
