# ruff: noqa: S608  # only constants of the package are put into SQL
"""`Lease`: a server's lease on its part of a shared `PostgresStore`, and the runs that it claims by that.

The lease is a time in the server's row, by the database's clock. It is renewed far more often than it would run out, so
that a database that restarts is back before anybody has to stop. A server that could not renew it stops in time by its
own clock; that it is over is decided by another one, in the database.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Final

import anyio

from openai_runs._extras import needs
from openai_runs._finishing import cancelled_once, finish
from openai_runs._postgres import first_line
from openai_runs.errors import StoreError, StoreUnavailableError
from openai_runs.stores.postgres import schema, use
from openai_runs.stores.postgres.session import translated
from openai_runs.stores.sharing import ClaimedRun

with needs("postgres"):
    import psycopg

_logger = logging.getLogger("openai_runs.stores")

#: Seconds for which a lease is given. After two thirds without a renewal, all stops.
LEASE: Final = 9.0
_SHARE: Final = 1 / 9  # of it, between two renewals
_RETRY: Final = 0.3  # seconds between two attempts while the database does not answer

#: One statement, so that what owners use costs no answer of its own.
_RENEW: Final = f"""
    WITH renewed AS (
        UPDATE openai_runs_servers SET renewed_at = clock_timestamp() WHERE epoch = %(epoch)s AND NOT is_over
        RETURNING true
    ),
    {use.TELL}
    {use.HEAR.format(first="EXISTS (SELECT FROM renewed)")}
"""
# Locked as if its key were to change: a claim of such a server ends before, or finds that it is over. Whoever has it
# locked now may be stopped, and must not stop us, too: it is looked at again a second later.
_BURY: Final = """
    WITH late AS MATERIALIZED (
        SELECT epoch FROM openai_runs_servers
        WHERE NOT is_over AND epoch <> %s AND renewed_at < clock_timestamp() - make_interval(secs => %s)
        FOR UPDATE SKIP LOCKED
    )
    UPDATE openai_runs_servers SET is_over = true WHERE epoch IN (SELECT epoch FROM late) RETURNING epoch
"""
_HAND_OVER: Final = "UPDATE openai_runs_active SET server = NULL WHERE server = %s"
_LEAVE: Final = "UPDATE openai_runs_servers SET is_over = true WHERE epoch = %s"
# A server that is over claims nothing: see `_BURY`.
_CLAIM: Final = """
    WITH me AS MATERIALIZED (
        SELECT epoch FROM openai_runs_servers WHERE epoch = %(epoch)s AND NOT is_over FOR KEY SHARE
    ),
    chosen AS MATERIALIZED ({chosen}),
    taken AS MATERIALIZED (
        SELECT run FROM openai_runs_active WHERE run IN (SELECT run FROM chosen) AND {is_free}
        FOR UPDATE SKIP LOCKED
    ),
    claimed AS (
        UPDATE openai_runs_active a SET server = me.epoch, is_waiting = false FROM me
        WHERE a.run IN (SELECT run FROM taken)
        RETURNING a.run, a.thread, a.owner, a.reader, a.place
    )
    SELECT run, thread, owner, reader FROM claimed ORDER BY place
"""
#: What this server has, for when it cannot know what it has claimed.
_MINE: Final = """
    SELECT a.run, a.thread, a.owner, a.reader FROM openai_runs_active a JOIN openai_runs_servers s ON s.epoch = a.server
    WHERE a.server = %s AND NOT s.is_over ORDER BY a.place
"""
_IS_FREE: Final = "server IS NULL AND NOT is_waiting"
_CLAIM_FREE: Final = _CLAIM.format(
    chosen=f"""
        SELECT f.run FROM (
            SELECT run, place, owner, row_number() OVER (PARTITION BY owner ORDER BY place) AS turn
            FROM openai_runs_active WHERE {_IS_FREE}
        ) f LEFT JOIN (
            SELECT owner, count(*) AS number FROM openai_runs_active WHERE server IS NOT NULL GROUP BY owner
        ) t ON t.owner = f.owner
        ORDER BY f.turn + coalesce(t.number, 0), f.place LIMIT %(most)s
    """,
    is_free=_IS_FREE,
)
_IS_DUE: Final = "server IS NULL AND deadline <= %(now)s"
_CLAIM_DUE: Final = _CLAIM.format(
    chosen=f"SELECT run FROM openai_runs_active WHERE {_IS_DUE} ORDER BY deadline LIMIT %(most)s", is_free=_IS_DUE
)


class Lease:
    """Renews a server's lease until it is closed.

    Attributes:
        epoch: The server's number.
        is_valid: Whether it may execute runs.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable["psycopg.AsyncConnection[Any]"]],
        rejoin: Callable[[], Awaitable[int]],
        on_lost: Callable[[], None],
        shared_use: use.SharedUse,
        *,
        seconds: float = LEASE,
    ) -> None:
        """Create it; nothing is connected yet.

        Args:
            connect: Connects to the database.
            rejoin: Makes the server go on under a new epoch, and returns that.
            on_lost: Called once the lease has nearly run out, or another server has ended this one.
            shared_use: What is told with each renewal, and hears what others tell.
            seconds: For how long it is given.
        """
        self.epoch: int = 0
        self.is_valid: bool = False
        self._rejoin = rejoin
        self._on_lost = on_lost
        self._use = shared_use
        self._seconds = seconds
        # Two, so that no renewal waits behind a claim, and none closes the connection under one.
        self._renewals = _Line(connect)
        self._claims = _Line(connect)
        self._task: asyncio.Task[None] | None = None
        self._running_out: asyncio.TimerHandle | None = None
        self._steady_since: float | None = None  # since when each renewal has succeeded
        self._in_doubt_until = 0.0  # a claim whose answer was lost may have been made, or still be made
        self._wake = anyio.Event()
        self._is_closing = False

    def open(self, epoch: int) -> None:
        """Begin with an epoch that was just taken."""
        self._begin(epoch, monotonic())
        self._task = asyncio.create_task(self._keep())

    def _begin(self, epoch: int, at: float) -> None:
        self.epoch, self.is_valid, self._steady_since = epoch, True, at
        self._note_renewal(at)

    def _note_renewal(self, at: float) -> None:
        if self._running_out is not None:
            self._running_out.cancel()
        left = at + self._seconds * 2 / 3 - monotonic()
        self._running_out = asyncio.get_running_loop().call_later(left, self._lose)

    def _lose(self) -> None:
        if self.is_valid:
            self.is_valid = False
            _logger.error("the lease of this server on its store has run out: it stops the runs that it executes")
            self._on_lost()
        self.check_now()

    def check_now(self) -> None:
        """Ask the database at once whether this server is over: a commit was refused as if it were."""
        self._wake.set()

    async def _keep(self) -> None:
        has_failed = False
        while not self._is_closing:
            sent = monotonic()
            try:
                with anyio.fail_after(self._seconds / 3):
                    await self._renew(sent)
            except Exception as error:  # whatever it is: without a lease, nothing would be executed here any more
                self._steady_since = None
                if not has_failed:
                    reason = first_line(error) or type(error).__name__
                    _logger.warning("the lease of this server cannot be renewed now: %s", reason)
                has_failed = True
            else:
                if has_failed:
                    _logger.warning("the lease of this server is renewed again")
                has_failed = False
            with anyio.move_on_after(_RETRY if has_failed else self._seconds * _SHARE):
                await self._wake.wait()
            self._wake = anyio.Event()

    async def _renew(self, sent: float) -> None:
        if not await self._tell(sent):
            self._lose()
        if not self.is_valid:
            self._begin(await self._rejoin(), sent)
            return
        self._steady_since = sent if self._steady_since is None else self._steady_since
        self._note_renewal(sent)

    async def _tell(self, sent: float) -> bool:
        """Renew the lease, and exchange what owners use; returns whether the lease was renewed."""
        told, parameters = self._use.telling()
        rows = await self._renewals.execute(_RENEW, {**parameters, "epoch": self.epoch})
        self._use.note_answer(told, [row[1:] for row in rows], sent)
        return bool(rows[0][0])

    async def claim(self, most: int) -> Sequence[ClaimedRun]:
        """See `Sharing.claim`. After a claim whose answer was lost, for a while, all that this server has."""
        return await self._claim(_CLAIM_FREE, {"most": most})

    async def claim_due(self, now: float, most: int) -> Sequence[ClaimedRun]:
        """See `Sharing.claim_due`. Likewise."""
        return await self._claim(_CLAIM_DUE, {"most": most, "now": now})

    async def _claim(self, sql: str, parameters: dict[str, Any]) -> Sequence[ClaimedRun]:
        epoch = self.epoch
        if not self._is(epoch):
            return []
        try:
            rows = await self._execute(sql, {**parameters, "epoch": epoch})
            if monotonic() < self._in_doubt_until:
                rows = await self._execute(_MINE, (epoch,))
        except BaseException:  # of any kind: a task that is cancelled may be called off after its statement was made
            self._in_doubt_until = monotonic() + self._seconds
            raise
        # Otherwise they are free again, or soon will be.
        return [ClaimedRun(*row) for row in rows] if self._is(epoch) else []

    def _is(self, epoch: int) -> bool:
        return self.is_valid and self.epoch == epoch

    async def hand_over(self) -> None:
        """See `Sharing.hand_over`."""
        await self._execute(_HAND_OVER, (self.epoch,))

    async def bury(self) -> bool:
        """See `Sharing.bury`."""
        # After an outage of the database, nobody could renew: give all of them the time to do so.
        if self._steady_since is None or monotonic() - self._steady_since < self._seconds:
            return False
        ended = await self._execute(_BURY, (self.epoch, self._seconds))
        if ended:
            text = "the lease of %s has run out: its runs go on elsewhere"
            _logger.warning(text, ", ".join(f"server {epoch}" for (epoch,) in ended))
        await self._execute(schema.FREE, ())  # a statement of its own: it sees what the last commit has claimed
        return bool(ended)

    async def _execute(self, sql: str, parameters: Any) -> list[Any]:
        try:
            with anyio.fail_after(self._seconds):
                # As of reads: an engine that stops cancels a claim.
                return await cancelled_once(self._claims.execute(sql, parameters))
        except psycopg.Error as error:
            raise translated(error) from error
        except OSError as error:
            reason = "it does not answer" if isinstance(error, TimeoutError) else first_line(error)
            raise StoreUnavailableError(f"The server's store is not available: {reason}") from error

    async def close(self) -> None:
        """End this server: others execute its runs at once."""
        self._is_closing = True
        self._wake.set()
        if self._running_out is not None:
            self._running_out.cancel()
        if self._task is not None:
            await self._task
        self.is_valid = False
        try:
            with anyio.fail_after(2.0):
                await self._execute(_LEAVE, (self.epoch,))
                await self._execute(schema.FREE, ())
                await self._tell(monotonic())  # the rest of what owners have used
        except (StoreError, psycopg.Error, OSError) as error:
            _logger.warning("this server could not hand over all that it has: %s", first_line(error))
        await self._renewals.close()
        await self._claims.close()


class _Line:
    """A connection for one statement at a time, which is made anew once one has failed.

    None is closed while another task waits on it: that would go on to wait on a file descriptor that somebody else has.
    """

    def __init__(self, connect: Callable[[], Awaitable["psycopg.AsyncConnection[Any]"]]) -> None:
        self._connect = connect
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._using = anyio.Lock()

    async def execute(self, sql: str, parameters: Any) -> list[Any]:
        async with self._using:
            try:
                if self._connection is None:
                    self._connection = await self._connect()
                cursor = await self._connection.execute(sql, parameters)
                return await cursor.fetchall() if cursor.description else []
            except BaseException:  # of any kind: what is under way on it is given up
                await self._drop()
                raise

    async def close(self) -> None:
        async with self._using:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await finish(connection.close())
