"""`Database`: where durable batches are kept, an SQLite file or a PostgreSQL database, and the tables in it.

What is executed, by whom, and how far it has got is in the tables of DBOS, in the same database. Here are the batches
and their jobs. All of it is synchronous, since DBOS is: call it in a thread.
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
from dbos import DBOS
from sqlalchemy.exc import DBAPIError, OperationalError

T = TypeVar("T")
P = ParamSpec("P")

_metadata: Final = sa.MetaData()

BATCHES: Final = sa.Table(
    "openai_runs_batches",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, unique=True),  # the caller's; NULL for a batch that is known by its ID
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("total", sa.Integer),  # how many jobs there are; NULL while jobs are still being added
)

JOBS: Final = sa.Table(
    "openai_runs_jobs",
    _metadata,
    # The order in which jobs are started, over all batches: those of a lost worker come before those that wait.
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("batch_id", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("workflow_id", sa.Text, nullable=False),  # which runs the job; several jobs of one thread have the same
    sa.Column("job", sa.Text, nullable=False),  # JSON
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),  # how often a worker has taken it
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("run", sa.Text),  # JSON, the latest snapshot
    sa.Column("error", sa.Text),  # JSON
    sa.Column("messages", sa.Text),  # JSON, the assistant's
    sa.Column("usage", sa.Text),  # JSON, of all tries
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("tokens", sa.Integer, nullable=False, server_default="0"),
    sa.Column("started_at", sa.Float),  # when a worker took it first; seconds since 1970, by the database's clock
    sa.Column("ended_at", sa.Float),
    sa.UniqueConstraint("batch_id", "position"),
    sa.Index("openai_runs_jobs_ended", "batch_id", "ended_at"),
    sa.Index("openai_runs_jobs_state", "batch_id", "state", "tokens"),
    sa.Index("openai_runs_jobs_workflow", "workflow_id", "seq"),
)

#: Threads that jobs name, and the workflow that runs their jobs one after another.
CHAINS: Final = sa.Table(
    "openai_runs_chains",
    _metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("workflow_id", sa.Text, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),  # whether jobs can still be added to that workflow
)


#: Processes that run jobs, where there may be several.
WORKERS: Final = sa.Table(
    "openai_runs_workers",
    _metadata,
    sa.Column("executor_id", sa.Text, primary_key=True),
    sa.Column("beat_at", sa.Float, nullable=False),  # the latest sign of life, by the database's clock
    sa.Column("is_lost", sa.Boolean, nullable=False),  # for good: the process has to begin anew, under a new ID
)

#: What all workers together may use in a time, as token buckets.
BUCKETS: Final = sa.Table(
    "openai_runs_buckets",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("rate", sa.Float, nullable=False),  # a second
    sa.Column("level", sa.Float, nullable=False),  # below 0: what was taken in advance
    sa.Column("at", sa.Float, nullable=False),  # when that was the level
    sa.Column("amount", sa.Float, nullable=False),  # what a run is expected to use
)

#: For PostgreSQL: how long a connection may be silent. Without them, a dead network is noticed after many minutes.
_CONNECT_ARGS: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
}


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
    def connect_args(self) -> Mapping[str, int]:
        """Arguments of each connection."""
        return {} if self.is_sqlite else _CONNECT_ARGS

    @property
    def now(self) -> sa.ColumnElement[float]:
        """The time by the database's clock, in seconds since 1970: all machines have the same one."""
        text = "(julianday('now') - 2440587.5) * 86400.0" if self.is_sqlite else "EXTRACT(epoch FROM clock_timestamp())"
        return sa.literal_column(text, sa.Float)

    def create_tables(self) -> None:
        """Create the tables that are missing: DBOS's and ours. Several processes may do so at once.

        Raises:
            ValueError: It cannot be used: a file is no database, say, or the user may not create tables.
        """

        def create() -> None:
            with self.engine.begin() as connection:
                self.lock(connection, "tables")  # two processes that create the same table at once would fail
                _metadata.create_all(connection)

        try:
            self.persist(partial(DBOS.migrate, self.url))
            self.persist(create)
        except DBAPIError as error:
            raise ValueError(f"{self.engine.url!r} cannot be used as a store: {error.orig}") from error

    def lock(self, connection: sa.Connection, what: str) -> None:
        """Let no other process do the same until the transaction ends; SQLite has one writer anyway."""
        if not self.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(f"openai_runs_{what}"))))

    def persist(self, work: Callable[[], T]) -> T:
        """Do some work in the database, again and again while it cannot be reached or is busy.

        Args:
            work: One transaction, which may be repeated although it took effect.
        """
        return _again_and_again.on(lambda error: is_passing(error) and not self._is_given_up.is_set())(work)

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
        url, pool_size=4, max_overflow=0, pool_timeout=600, pool_pre_ping=True, connect_args=dict(_CONNECT_ARGS)
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
