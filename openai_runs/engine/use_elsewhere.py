"""`UseElsewhere`: what owners use at the other servers that share the store, and what those are told of this one.

Nobody is told of a single request: what has come together goes with the renewal of the lease, each second. So a server
is up to a second behind the others.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from attrs import define, field

from openai_runs.engine.ledger import Ledger

MINUTE: Final = 60.0  #: seconds
DAY: Final = 86_400.0  #: seconds


class Counted(StrEnum):
    """What servers tell each other."""

    REQUESTS = "requests"
    TOKENS = "tokens"  #: of runs that were created in the window
    FILE_BYTES = "file_bytes"  #: more or less than when the window began, uploads in progress included
    THREAD_BYTES = "thread_bytes"  #: that were put
    DELETIONS = "deletions"  #: of threads and messages, whosever they were


_WINDOWS: Final = dict.fromkeys(Counted, DAY) | {Counted.REQUESTS: MINUTE}

#: Is told whose use it is, when the window began, and how much more it is than before.
Hear: TypeAlias = Callable[[str, float, int], None]


@define(eq=False)
class UseElsewhere:
    """Tells other servers, and hears them, if there are any. It is the `UseListener` of the store."""

    _ledger: Ledger
    _hear: dict[str, Hear] = field(factory=dict, init=False)

    def start(self) -> None:
        """Begin to hear."""
        if self._ledger.sharing is not None:
            self._ledger.sharing.hear_use(self)

    def on(self, what: Counted, hear: Hear) -> None:
        """Have somebody hear of something; there is one for each."""
        self._hear[what] = hear

    def tell(self, what: Counted, owner: str, number: int) -> None:
        """Tell the others that an owner has used something here."""
        if (sharing := self._ledger.sharing) is not None:
            now, lasts = self._ledger.clock.now(), _WINDOWS[what]
            sharing.add_use(what, owner, now - now % lasts, lasts, number)

    def before(self, what: Counted, owner: str) -> Mapping[float, int]:
        """What has been told of an owner so far, by the beginnings of the latest windows, in Unix seconds."""
        return {} if self._ledger.sharing is None else self._ledger.sharing.use_elsewhere(what, owner)

    def used_elsewhere(self, what: str, owner: str, since: float, number: int) -> None:
        """Hear of more that an owner has used."""
        if (hear := self._hear.get(what)) is not None:  # else a later version tells of it, or nobody needs it here
            hear(owner, since, number)
