"""`Sharing`: what a store offers beyond `Store` if several servers share it, so that one of them executes each run.

Each server has a number, its *epoch*, and a lease that it renews. A server whose lease has run out is over: nothing is
taken of what it commits, the others execute its runs, and it goes on under a new epoch, as one that has just started.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen


@frozen
class ActiveRun:
    """The unfinished run of a thread."""

    run_id: str
    server: int | None  #: the epoch of the server that executes it, if any does
    reader: int | None  #: likewise, of the one that sends its events to a client


@frozen
class ClaimedRun:
    """A run that this server executes from now on."""

    run_id: str
    thread_id: str
    owner: str
    reader: int | None  #: the server that sends its events to a client, if that has asked for them


class Listener(Protocol):
    """Hears of the other servers. What it does must not block or raise."""

    def lost(self) -> None:
        """The lease has run out, or soon will: stop at once whatever is executed here."""

    def heard(self, sender: int, message: Any) -> None:
        """Receive a message of another server: a JSON value, in the order of sending."""

    def missed(self, sender: int | None) -> None:
        """Messages of a server were lost; without one, of any."""


class UseListener(Protocol):
    """Hears what owners use at other servers. What it does must not block or raise."""

    def used_elsewhere(self, what: str, owner: str, since: float, number: int) -> None:
        """Count more of something, in the window that began at ``since``, in Unix seconds. It may be less than 0."""


class Sharing(Protocol):
    """A server's part in a store that others use, too."""

    @property
    def epoch(self) -> int:
        """The number of this server; another one after its lease has run out."""
        ...

    @property
    def secret(self) -> bytes:
        """What all servers of the store know, and nobody else."""
        ...

    @property
    def is_valid(self) -> bool:
        """Whether this server may execute runs."""
        ...

    def listen(self, listener: Listener) -> None:
        """Have a listener told from now on, beside others."""

    async def pin(self, id: str) -> None:
        """Note the version of a thread, an assistant, a vector store or a file, before something is decided on it.

        Each commit that changes it, or something in it, is refused with `ChangedElsewhereError` if another server has
        changed that since.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """

    def pin_new(self, id: str) -> None:
        """Note that something does not exist yet: its ID has just been made."""

    def is_pinned(self, id: str) -> bool:
        """Whether the version is known, and all that `Store.known` returns of it is of that version."""
        ...

    def forget(self, id: str) -> None:
        """The version, and what belongs to it, is not needed any more."""

    def active_run(self, thread_id: str) -> ActiveRun | None:
        """The unfinished run of a thread, as of when that was pinned."""
        ...

    async def active_of(self, owner: str) -> Sequence[str]:
        """The IDs of an owner's unfinished runs, the oldest first.

        Raises:
            StoreUnavailableError: The store cannot be read now.
        """
        ...

    async def claim(self, most: int) -> Sequence[ClaimedRun]:
        """Take runs that nobody executes, in rotation among owners, as far as they have fewer that are executed.

        Where the answer to an earlier claim was lost, more are returned: some that this server has taken before.

        Raises:
            StoreUnavailableError: None was taken.
        """
        ...

    async def claim_due(self, now: float, most: int) -> Sequence[ClaimedRun]:
        """Take runs that nobody executes, and that have to expire at ``now``, in Unix time. Likewise.

        Raises:
            StoreUnavailableError: None was taken.
        """
        ...

    async def hand_over(self) -> None:
        """Let other servers execute the runs that this one has claimed.

        Raises:
            StoreUnavailableError: They can be claimed only once this server has ended.
        """

    async def claim_jobs(self, but: Collection[str]) -> str | None:
        """Take a vector store with index jobs that no other server does, in rotation among owners.

        Args:
            but: Vector stores that are not to be taken.

        Returns:
            Its ID; ``None`` if there is none.

        Raises:
            StoreUnavailableError: It is not known whether one was taken. One that was can be taken again.
        """
        ...

    async def release_jobs(self, vector_store_id: str) -> None:
        """Leave the jobs of a vector store to whoever takes it next.

        Raises:
            StoreUnavailableError: It may still be taken.
        """
        ...

    def add_use(self, what: str, owner: str, since: float, lasts: float, number: int) -> None:
        """Count something that an owner has used here: the other servers hear of it with the next renewals of leases.

        Args:
            what: What it is a number of.
            owner: Whose.
            since: When the window began to which it belongs, in Unix seconds.
            lasts: Seconds from the beginning of a window to the next one's.
            number: How much more it is; it may be less than 0.
        """

    def use_elsewhere(self, what: str, owner: str) -> Mapping[float, int]:
        """What the other servers have told of an owner, by the beginnings of the latest windows."""
        ...

    def hear_use(self, listener: UseListener) -> None:
        """Have a listener told from now on; there is one."""

    async def bury(self) -> bool:
        """End the servers whose lease has run out, so that their runs can be claimed.

        Returns:
            Whether there was one.

        Raises:
            StoreUnavailableError: The store cannot be written now.
        """
        ...

    def send(self, to: int, message: Any) -> None:
        """Send a JSON value to a server. It arrives after those before it, or is missed."""

    def broadcast(self, message: Any) -> None:
        """Likewise, to all others."""
