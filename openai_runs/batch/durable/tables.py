"""The tables of durable batches, beside those of DBOS, and the version of their schema."""

from typing import Final

import sqlalchemy as sa

#: Changes when a table below does, so that no program works with tables that it does not understand.
VERSION: Final = 1

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

#: One row: the version of all these tables.
SCHEMA: Final = sa.Table(
    "openai_runs_schema",
    _metadata,
    sa.Column("is_only_row", sa.Boolean, primary_key=True),  # true
    sa.Column("version", sa.Integer, nullable=False),
)


def find_version(connection: sa.Connection) -> int | None:
    """The version of the tables in a database; ``None`` if there are none.

    Raises:
        ValueError: They are of another version than this program's.
    """
    if not sa.inspect(connection).has_table(SCHEMA.name):
        return None
    version = connection.execute(sa.select(SCHEMA.c.version)).scalar()
    if version is None or version == VERSION:
        return version
    other = "a later" if version > VERSION else "an earlier"
    raise ValueError(
        f"its tables are of version {version}, from {other} openai_runs, and this one works with version {VERSION}; "
        "nothing was changed. Install the openai_runs that made them, or keep new batches in another database"
    )


def create_tables(connection: sa.Connection) -> None:
    """Create the tables that are missing, and note their version."""
    _metadata.create_all(connection)
    if find_version(connection) is None:
        connection.execute(SCHEMA.insert().values(is_only_row=True, version=VERSION))
