# ruff: noqa: S608  # only constants of the package are put into SQL
"""`SharedUse`: what owners use at each of the servers that share a store, told by each renewal of a lease.

Each server has rows of its own, with all that it has counted since a window of time began, and nobody else writes them.
So a row whose answer was lost can be written again, no server waits for another one's row, and what a server has told
goes on counting when it has ended. What others have told is in the answer to the renewal.
"""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

from openai_runs.stores.postgres.store import as_text
from openai_runs.stores.sharing import UseListener

_WINDOWS: Final = 3  # for so many of them, a row is kept after it was written last

_COLUMNS: Final = "u.server, u.what, u.owner, u.since, u.lasts, u.number"
_IS_OLD: Final = f"noted_at < statement_timestamp() - make_interval(secs => {_WINDOWS} * lasts)"
#: Of a statement that begins with ``WITH`` something. Old rows of this server go.
TELL: Final = f"""
    told AS (
        INSERT INTO openai_runs_use AS u (server, what, owner, since, lasts, number)
        SELECT %(server)s, * FROM unnest(
            %(whats)s::text[], %(owners)s::text[], %(sinces)s::float8[], %(lasts)s::float8[], %(numbers)s::bigint[]
        ) t
        ON CONFLICT (server, what, owner, since) DO UPDATE SET number = excluded.number, noted_at = excluded.noted_at
    ),
    gone AS (DELETE FROM openai_runs_use WHERE server = %(server)s AND {_IS_OLD})
"""
#: How it ends: there is one row at least, for ``first``.
HEAR: Final = f"""
    SELECT {{first}}, {_COLUMNS} FROM (VALUES (true)) one LEFT JOIN openai_runs_use u
    ON u.noted_at > statement_timestamp() - make_interval(secs => %(seconds)s) AND u.server <> %(server)s
"""
#: For a server that starts: old rows go, whoever has written them.
READ: Final = f"""
    WITH gone AS (
        DELETE FROM openai_runs_use WHERE (server, what, owner, since) IN (
            SELECT server, what, owner, since FROM openai_runs_use WHERE {_IS_OLD} FOR UPDATE SKIP LOCKED
        )
    )
    SELECT {_COLUMNS} FROM openai_runs_use u WHERE NOT {_IS_OLD}
"""

_Row: TypeAlias = tuple[int, str, str, float, float, int]


class _Key(NamedTuple):
    """A window of an owner's use of something."""

    what: str
    owner: str
    since: float  #: Unix seconds
    lasts: float  #: seconds


class SharedUse:
    """Counts for others what owners use here, and for this server what they use elsewhere.

    Attributes:
        server: The epoch under which this one has opened the store; it keeps its rows when it gets another epoch.
        listener: Hears of what is used elsewhere.
    """

    def __init__(self, late: float, now: Callable[[], float] = monotonic) -> None:
        """Create it.

        Args:
            late: Seconds by which a row may be seen later than the time that it has: no renewal takes as long.
            now: A clock, in seconds.
        """
        self.server: int = 0
        self.listener: UseListener | None = None
        self._late = late
        self._now = now
        self._read_at = 0.0
        self._own: dict[_Key, int] = {}
        self._untold: set[_Key] = set()
        self._others: dict[tuple[str, str], dict[float, dict[int, int]]] = {}  # by window and server

    def open(self, server: int, rows: Sequence[_Row], read_at: float) -> None:
        """Begin with what others have told so far.

        Args:
            server: The epoch of this one.
            rows: The answer to `READ`.
            read_at: When that was asked.
        """
        self.server, self._read_at = server, read_at
        self._take(rows)

    def add(self, what: str, owner: str, since: float, lasts: float, number: int) -> None:
        """See `Sharing.add_use`."""
        if as_text(owner) is None:  # no object of such an owner is in the database either
            return
        key = _Key(what, owner, since, lasts)
        self._own[key] = self._own.get(key, 0) + number
        self._untold.add(key)

    def elsewhere(self, what: str, owner: str) -> Mapping[float, int]:
        """See `Sharing.use_elsewhere`."""
        return {since: sum(numbers.values()) for since, numbers in self._others.get((what, owner), {}).items()}

    def telling(self) -> tuple[Mapping[_Key, int], dict[str, Any]]:
        """What is to be told now, and the parameters of `TELL` and `HEAR`."""
        told = {key: self._own[key] for key in self._untold}
        whats, owners, sinces, lasts = zip(*told, strict=True) if told else ((), (), (), ())
        columns = {"whats": whats, "owners": owners, "sinces": sinces, "lasts": lasts, "numbers": told.values()}
        seconds = self._now() - self._read_at + self._late
        return told, {"server": self.server, "seconds": seconds, **{key: list(each) for key, each in columns.items()}}

    def note_answer(self, told: Mapping[_Key, int], rows: Sequence[_Row | tuple[None, ...]], sent: float) -> None:
        """Take note that something was told, and of what others have.

        Args:
            told: What was told.
            rows: What `HEAR` has found, without its first column.
            sent: When it was sent.
        """
        self._read_at = sent
        for key, number in told.items():
            if self._own[key] == number:
                self._untold.discard(key)
        newest = {key[:2]: key.since for key in sorted(told, key=lambda key: key.since)}
        for key in [key for key in self._own if key not in self._untold and newest.get(key[:2], 0.0) > key.since]:
            del self._own[key]
        self._take([row for row in rows if row[0] is not None])

    def _take(self, rows: Sequence[Any]) -> None:
        for server, what, owner, since, lasts, number in rows:
            windows = self._others.setdefault((what, owner), {})
            if since < max(windows, default=since) - _WINDOWS * lasts:  # it was told late, after an outage
                continue
            numbers = windows.setdefault(since, {})
            more = number - numbers.get(server, 0)
            numbers[server] = number
            for old in [each for each in windows if each < since - _WINDOWS * lasts]:
                del windows[old]
            if more and self.listener is not None:
                self.listener.used_elsewhere(what, owner, since, more)
