"""`WritingSession`: the one connection that writes to a `PostgresStore`'s database, and its lock.

The lock belongs to the session that writes, so whoever has lost it writes nothing: the lock of the store, for a process
that has it alone, or that of its epoch, among several that share the store. It also settles what happened to a commit
whose answer was lost: once this process has the lock again, the session before is gone with all it was doing, and what
it has committed is told by the number that each group of commits leaves in the process's row.
"""

import logging
from collections.abc import Callable
from secrets import token_hex
from typing import Any, Final

import anyio
import stamina

from openai_runs._extras import needs
from openai_runs._finishing import finish
from openai_runs._postgres import CONNECT_ARGS, REACHED_WITHIN, first_line, is_refused
from openai_runs.errors import (
    ChangedElsewhereError,
    KeyUsedError,
    StoreDataError,
    StoreError,
    StoreFileError,
    StoreUnavailableError,
)
from openai_runs.stores.postgres import schema
from openai_runs.stores.table_store import OutcomeUnknownError

with needs("postgres"):
    import psycopg
    from psycopg import errors as pg

_logger = logging.getLogger("openai_runs.stores")

_LOCK_TIMEOUT: Final = 2000  # milliseconds: another process that is just ending lets go of the lock
_MIN_VERSION: Final = 140000

#: Classes of SQLSTATE, or codes, of what may pass: connections, resources, operators, the system, other transactions.
_PASSING: Final = ("08", "25006", "40", "53", "55", "57", "58")
#: Those of objects that are damaged or too large.
_DATA: Final = ("22", "54", "XX")
_FATAL: Final = ("FATAL", "PANIC")

#: Why a process cannot have the store beside others.
_ALONE: Final = "one process at a time can have it: stop the other one first, or start both servers with --replica"
_BREAKS: Final = (
    "this version of openai_runs changes its tables so that servers of an earlier version cannot go on: stop all of "
    "those first"
)

#: What is said once another process has opened the store, or a standby that lacks commits is the database now.
TAKEN_OVER: Final = (
    "The server's store is not available: another process has opened the database, or it was set back to an earlier "
    "state, and this one has to be started anew."
)


#: What is said in a server that could not renew its lease in time, until it goes on under a new epoch.
WAS_LATE: Final = (
    "The server's store is not available: for some seconds this server could not reach it, or did not run, and others "
    "have taken its work over. It goes on in a moment. Nothing was changed."
)


class WritingSession:
    """Writes groups of commits, each once, whatever happens to the connection.

    Attributes:
        is_lost: Whether another process has opened the store or ended this one, or the store lacks what this one has
            written. Then this one must not use it any more, or go on under a new epoch; see `rejoin`.
        epoch: The number of this process.
        secret: What all processes that open the store know, and nobody else.
    """

    def __init__(
        self, url: str, name: str, on_outage: Callable[[StoreUnavailableError], None], *, is_shared: bool = False
    ) -> None:
        """Create the session; nothing is connected yet.

        Args:
            url: Of the database.
            name: What the database is called in errors, without a password.
            on_outage: Called again and again while the outcome of a group is not known.
            is_shared: Whether other processes may have the store, too.
        """
        self.is_lost: bool = False
        self.epoch: int = 0
        self.secret: bytes = b""
        self._is_shared = is_shared
        self._writing = anyio.Lock(fast_acquire=True)
        self._url = url
        self._name = name
        self._on_outage = on_outage
        self._token = f"openai-runs {token_hex(8)}"  # by which our own sessions are known
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._closing = anyio.Event()
        self._written = 0

    async def open(self, *, create: bool) -> str:
        """Take the store, and bring its tables up to date. Nobody else does so meanwhile.

        Args:
            create: Whether tables that are missing are created.

        Returns:
            The ID of the store.

        Raises:
            StoreFileError: It cannot be used: another process has it, or the server refuses the user, say.
            StoreUnavailableError: It could not be reached for `REACHED_WITHIN` seconds.
        """
        try:
            self._connection = connection = await self._reached()
            if not self._is_shared:
                await self._lock(connection)
                await self._migrate(connection, create=create)
            else:
                await self._migrate_shared(connection, create=create)
            await self._begin(connection)
            id, secret = await _row(connection, schema.ID)
            self.secret = secret.encode()
        except psycopg.Error as error:
            await self.close()
            raise StoreFileError(f"cannot open the store {self._name!r}: {first_line(error)}") from error
        except BaseException:
            await self.close()
            raise
        return str(id)

    async def _reached(self) -> "psycopg.AsyncConnection[Any]":
        has_warned = False

        def may_pass(error: Exception) -> bool:
            nonlocal has_warned
            if not isinstance(error, psycopg.OperationalError) or is_refused(error):
                return False
            if not has_warned:
                has_warned = True
                _logger.warning("waiting for the store %r: %s", self._name, first_line(error))
            return True

        try:
            soon = stamina.AsyncRetryingCaller(attempts=None, timeout=REACHED_WITHIN, wait_initial=0.05, wait_max=2.0)
            return await soon.on(may_pass)(self._connect)
        except psycopg.OperationalError as error:
            if is_refused(error):
                raise
            raise StoreUnavailableError(
                f"the store {self._name!r} has not answered for {REACHED_WITHIN:.0f} seconds: {first_line(error)}. "
                "Is it running, and is this its URL?"
            ) from error

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        options: dict[str, Any] = {**CONNECT_ARGS, "application_name": self._token, "client_encoding": "utf8"}
        connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **options)
        try:
            self._check_version(connection.info)
            await connection.execute(schema.SET_UP)
            await connection.execute(schema.SET_UP_WRITER)
        except BaseException:
            await finish(connection.close())
            raise
        return connection

    def _check_version(self, info: "psycopg.ConnectionInfo") -> None:
        if info.server_version < _MIN_VERSION:
            version = info.parameter_status("server_version")
            raise StoreFileError(f"cannot open the store {self._name!r}: it is PostgreSQL {version}, and 14 is needed")

    async def _begin(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        """Take a new epoch. The one before is over, and if the store is not shared, so are all."""
        if self._is_shared:
            await self._lock(connection, schema.LOCK_SHARED)
            self._check_known(*await self._versions(connection))  # they may have been updated while it was away
        async with connection.transaction():
            if self._is_shared:
                await connection.execute(schema.END_SELF, (self.epoch,))
            else:
                await connection.execute(schema.END_OTHERS)
            await connection.execute(schema.FORGET_OLD)
            [self.epoch] = await _row(connection, schema.NEW_EPOCH)
            await connection.execute(schema.FREE)
        self._written = 0
        if self._is_shared:
            await self._lock(connection, schema.LOCK_EPOCH, self.epoch)
        await connection.execute(schema.FUNCTION)

    async def rejoin(self, before: Callable[[], None]) -> int:
        """Go on under a new epoch, since the one before is over, or soon will be.

        Args:
            before: Called when nothing is being written; what is committed before that is not written any more.

        Returns:
            The new epoch.

        Raises:
            psycopg.Error: It is not possible now.
            StoreError: Likewise.
        """
        async with self._writing:
            before()
            await self._drop()
            connection = await self._connect()
            try:
                await connection.execute(schema.END_LOST)
                await self._begin(connection)
            except BaseException:
                await finish(connection.close())
                raise
            self._connection, self.is_lost = connection, False
            return self.epoch

    async def _relock(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        if self._is_shared:
            await self._lock(connection, schema.LOCK_SHARED)
            await self._lock(connection, schema.LOCK_EPOCH, self.epoch)
        else:
            await self._lock(connection)

    async def _lock(
        self,
        connection: "psycopg.AsyncConnection[Any]",
        lock: str = schema.LOCK,
        *parameters: int,
        why: str = _ALONE,
    ) -> None:
        try:
            await connection.execute(f"SET lock_timeout = {_LOCK_TIMEOUT}")
            await connection.execute(lock, parameters)
            await connection.execute("SET lock_timeout = DEFAULT")
        except pg.LockNotAvailable as error:
            holder = await (await connection.execute(schema.HOLDER)).fetchone()
            address, since = holder or (None, None)
            who = (
                "another process" + f" at {address}" * (address is not None) + f", since {since}" * (since is not None)
            )
            raise StoreFileError(f"cannot open the store {self._name!r}: it is in use by {who}, and {why}") from error

    async def _versions(self, connection: "psycopg.AsyncConnection[Any]") -> tuple[int, int]:
        """The version of the tables, and the oldest one that has to be known to use them; zeros without tables."""
        [has_tables] = await _row(connection, schema.HAS_TABLES)
        version, oldest = (await _row(connection, schema.VERSION)) if has_tables else (0, 0)
        return version, oldest

    def _check_known(self, version: int, oldest: int) -> None:
        if oldest > len(schema.MIGRATIONS):
            raise StoreFileError(
                f"cannot open the store {self._name!r}: a later version of openai_runs has written it (schema "
                f"{version}, which needs {oldest}; this one knows {len(schema.MIGRATIONS)}): update openai_runs"
            )

    async def _migrate_shared(self, connection: "psycopg.AsyncConnection[Any]", *, create: bool) -> None:
        """Bring the tables up to date beside other servers if those can go on, else once they have ended."""
        version, _ = await self._versions(connection)
        pending = set(range(version + 1, len(schema.MIGRATIONS) + 1))
        if not pending:  # whether they are too new is found out when it begins
            return
        if version and pending <= schema.ADDING:
            await self._lock(connection, schema.LOCK_SHARED)
            await self._migrate(connection, create=create)
            await connection.execute(schema.UNLOCK_SHARED)
        else:
            await self._lock(connection, why=_BREAKS if version else _ALONE)
            await self._migrate(connection, create=create)
            await connection.execute(schema.UNLOCK)

    async def _migrate(self, connection: "psycopg.AsyncConnection[Any]", *, create: bool) -> None:
        [encoding] = await _row(connection, schema.ENCODING)
        if encoding != "UTF8":
            raise StoreFileError(f"cannot open the store {self._name!r}: its encoding is {encoding}, and must be UTF8")
        try:
            async with connection.transaction():
                # What a table waits for, all others that want it wait for, too.
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT}")
                await connection.execute(schema.LOCK_UPDATE)
                await self._migrate_locked(connection, create=create)
        except pg.LockNotAvailable as error:
            raise StoreFileError(
                f"cannot open the store {self._name!r}: its tables cannot be updated now, since something else has "
                "them: start again"
            ) from error

    async def _migrate_locked(self, connection: "psycopg.AsyncConnection[Any]", *, create: bool) -> None:
        version, oldest = await self._versions(connection)
        if not (version or create):
            raise StoreFileError(f"cannot open the store {self._name!r}: it has no tables of a store. Check its name")
        self._check_known(version, oldest)
        for migration in schema.MIGRATIONS[version:]:
            await connection.execute(migration)
        if version < len(schema.MIGRATIONS):
            await connection.execute(schema.SET_VERSION, (len(schema.MIGRATIONS), schema.oldest()))
        if version < schema.oldest():  # a server that comes back later must not go on under its number
            await connection.execute(schema.END_OTHERS)

    async def write(self, index: str, bodies: bytes, scopes: str, epoch: int) -> None:
        """Write a group of changes in one transaction, and return when it is durable.

        Args:
            index: See `index_and_bodies`.
            bodies: Likewise.
            scopes: A JSON array of what changes as a whole: each its kind, its ID and, if it must still have that, its
                version.
            epoch: This process's when the changes were decided.

        Raises:
            KeyUsedError: A key is there already; nothing was stored.
            ChangedElsewhereError: A version is another one; nothing was stored.
            StoreUnavailableError: Nothing was stored; trying again later may help.
            OutcomeUnknownError: The store is being closed, and the database cannot be asked.
            StoreDataError: Nothing was stored, and trying again does not help.
        """
        async with self._writing:
            if epoch != self.epoch:
                raise StoreUnavailableError(WAS_LATE)
            await self._write(index, bodies, scopes)

    async def _write(self, index: str, bodies: bytes, scopes: str) -> None:
        number = self._written + 1
        for _ in range(2):  # a connection that was lost while it was idle is noticed here, and the next one is good
            connection = await self._ready()
            try:
                await connection.execute(schema.WRITE, (self.epoch, number, index, bodies, scopes))
            except psycopg.Error as error:
                if not connection.closed and error.diag.severity_nonlocalized not in _FATAL:
                    if error.sqlstate == schema.IS_OVER:
                        self.is_lost = True
                        raise self.is_over() from error
                    raise translated(error) from error
                await self._drop()
                failure = unavailable(error)
                failure.__cause__ = error
                if not await self._was_written(number, failure):
                    continue
            self._written = number
            return
        raise failure

    async def _ready(self) -> "psycopg.AsyncConnection[Any]":
        if self._connection is None:
            await self._reconnect()
        if self._connection is None:
            raise self.is_over()
        return self._connection

    def is_over(self) -> StoreUnavailableError:
        """The error of whoever uses the store after its end."""
        return StoreUnavailableError(WAS_LATE if self._is_shared else TAKEN_OVER)

    async def _reconnect(self) -> int:
        """Connect again, unless this process is over.

        Returns:
            The number of the latest group that was written.

        Raises:
            StoreUnavailableError: The database cannot be reached, or the lock not be had; nothing is known.
        """
        if self.is_lost:
            raise self.is_over()
        try:
            connection = await self._connect()
            try:
                await connection.execute(schema.END_LOST)
                # Before the lock, too: whoever has taken it, took it from a session that is gone.
                is_over, written = await self._state(connection)
                if not is_over:
                    await self._relock(connection)
                    is_over, written = await self._state(connection)
                    await connection.execute(schema.FUNCTION)
            except BaseException:
                await finish(connection.close())
                raise
        except (psycopg.Error, StoreFileError) as error:
            raise unavailable(error) from error
        self._connection = connection
        self.is_lost = is_over
        if is_over:
            if not self._is_shared:
                text = "another process has opened the store %r, or it was set back: this one no longer uses it"
                _logger.error(text, self._name)
            await self._drop()
        return written

    async def _state(self, connection: "psycopg.AsyncConnection[Any]") -> tuple[bool, int]:
        """Whether this process is over, and the number of the latest group that was written."""
        row = await (await connection.execute(schema.STATE, (self.epoch,))).fetchone()
        is_over, written = row or (True, 0)
        return is_over or written < self._written, written

    async def _was_written(self, number: int, failure: StoreUnavailableError) -> bool:
        """Find out whether a group was committed by a session that is gone; wait until that can be known."""
        wait = 0.05
        while True:
            try:
                return await self._reconnect() == number
            except StoreUnavailableError as error:
                self._on_outage(failure)
                if self._closing.is_set():
                    text = f"{error.message.removesuffix(_UNCHANGED)}. It is not known whether the change was made."
                    raise OutcomeUnknownError(text) from error
            with anyio.move_on_after(wait):
                await self._closing.wait()
            wait = min(2 * wait, 2.0)

    def stop_waiting(self) -> None:
        """Do not wait for the database any longer."""
        self._closing.set()

    async def close(self) -> None:
        """Close the connection, and let go of the lock."""
        await finish(self._drop())

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


_UNCHANGED: Final = ". Nothing was changed."


async def _row(connection: "psycopg.AsyncConnection[Any]", sql: str) -> tuple[Any, ...]:
    cursor = await connection.execute(sql)
    row: tuple[Any, ...] | None = await cursor.fetchone()
    assert row is not None, sql  # noqa: S101  # all of these statements have one
    return row


def unavailable(error: Exception) -> StoreUnavailableError:
    """The error of a database that cannot be reached, or has no room.

    Its message is for clients. What libpq says of a connection has the database's address and the name of its user, so
    that is in the cause, which the store logs.
    """
    said = first_line(error) if getattr(error, "sqlstate", None) else "the database cannot be reached"
    return StoreUnavailableError(f"The server's store is not available: {said}{_UNCHANGED}")


def translated(error: "psycopg.Error") -> StoreError | psycopg.Error:
    """The store's error for one of the database; the same error, if it is a bug of ours."""
    state = error.sqlstate or ""
    if state == schema.KEY_USED:
        return KeyUsedError()
    if state == schema.IS_STALE:
        return ChangedElsewhereError()
    if state.startswith(_PASSING) or (not state and isinstance(error, psycopg.OperationalError)):
        return unavailable(error)
    if state.startswith(_DATA):
        _logger.error("the store cannot read or write an object: %s", error)
        return StoreDataError(
            f"The server's store cannot read or write an object of this request: {first_line(error)}{_UNCHANGED}"
        )
    return error
