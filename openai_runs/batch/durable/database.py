"""`Database`: where durable batches are kept, an SQLite file or a PostgreSQL database.

What is executed, by whom, and how far it has got is in the tables of DBOS; the batches and their jobs are in our own,
in the same database. All of it is synchronous, since DBOS is: call it in a thread.
"""

import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import sqlalchemy as sa
import stamina
from attrs import field, frozen
from sqlalchemy.exc import DBAPIError, OperationalError

from openai_runs._postgres import CONNECT_ARGS

T = TypeVar("T")
P = ParamSpec("P")


@frozen
class Database:
    """An SQLite file, or a PostgreSQL database."""

    url: str  #: as DBOS takes it
    engine: sa.Engine = field(repr=False)
    _is_given_up: threading.Event = field(factory=threading.Event, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        is_given_up = self._is_given_up  # alone: a listener that holds the database would keep it alive

        def close_late(_: object, record: Any) -> None:
            # Of a thread that nobody waited for. The pool that it belongs to is gone, and would leave it open.
            if is_given_up.is_set():
                record.invalidate()

        sa.event.listen(self.engine, "checkin", close_late)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is an SQLite file, for one working process at a time."""
        return self.engine.dialect.name == "sqlite"

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._is_given_up.is_set()

    @property
    def connect_args(self) -> Mapping[str, int]:
        """Arguments of each connection."""
        return {} if self.is_sqlite else CONNECT_ARGS

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The time by the database's clock, in seconds since 1970: all machines have the same one."""
        text = "(julianday('now') - 2440587.5) * 86400.0" if self.is_sqlite else "EXTRACT(epoch FROM clock_timestamp())"
        return sa.literal_column(text, sa.Float)

    def lock(self, connection: sa.Connection, what: str) -> None:
        """Let no other process do the same until the transaction ends; SQLite has one writer anyway."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"openai_runs_{what}"))))

    def persist(self, work: Callable[[], T]) -> T:
        """Do some work in the database, again and again while it cannot be reached or is busy.

        Args:
            work: One transaction, which may be repeated although it took effect.
        """
        return _again_and_again.on(lambda error: is_passing(error) and not self.is_closed)(work)

    def close(self) -> None:
        """Close the connections. Threads that still try to reach the database give up."""
        self._is_given_up.set()
        self.engine.dispose()


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do some work with the database in a thread.

    A caller that is cancelled does not wait for the database, which may be away. The work goes on, so it has to be such
    that it may be done although nobody knows, and be done again.
    """
    return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), abandon_on_cancel=True)


def is_passing(error: Exception) -> bool:
    """Whether a database's error may pass: it was restarted, say, or another process is writing."""
    return isinstance(error, OperationalError) or (isinstance(error, DBAPIError) and error.connection_invalidated)


_again_and_again: Final = stamina.RetryingCaller(attempts=None, timeout=None, wait_initial=0.05, wait_max=2.0)


def open_database(store: str | os.PathLike[str]) -> Database:
    """The database for the path of an SQLite file or a URL; nothing is connected yet.

    Raises:
        ValueError: It is the URL of neither.
    """
    text = os.fspath(store)
    if "://" not in text:
        text = f"sqlite:///{text}"
    url = sa.make_url(text)
    kind = url.get_backend_name()
    if kind == "sqlite" and url.database not in (None, "", ":memory:"):
        return Database(text, _sqlite_engine(url))
    if kind != "postgresql":
        raise ValueError(f"a store is the path of a file, or a URL with sqlite:// or postgresql://: got {store!r}")
    url = url.set(drivername="postgresql+psycopg")
    # Of a connection that was idle while the database was restarted nobody knows before it is used.
    engine = sa.create_engine(
        url, pool_size=4, max_overflow=0, pool_timeout=600, pool_pre_ping=True, connect_args=dict(CONNECT_ARGS)
    )
    return Database(url.render_as_string(hide_password=False), engine)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    # Few connections: writers of one file wait for each other anyway, and in this queue they wait without polling.
    engine = sa.create_engine(url, pool_size=2, max_overflow=0, pool_timeout=3600)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # as DBOS needs it: a transaction that reads first may write later
        for setting in ("busy_timeout = 30000", "foreign_keys = ON", "journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {setting}").close()

    return engine
