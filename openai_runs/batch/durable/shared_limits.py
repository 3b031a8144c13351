"""`SharedLimits`: how many requests, runs and tokens a minute all workers of a database use together.

Each limit is a row with a token bucket. Who needs something takes it at once, in one statement: the level may fall
below 0, and whoever has taken it waits until that has been made up for. So nobody asks twice, and all keep their order.
"""

import math
from typing import Any, Final

import anyio
import sqlalchemy as sa
from attrs import define, field, frozen

from openai_runs._habits import SHARED_LIMITS, explained_init
from openai_runs.batch.durable.database import Database, in_thread
from openai_runs.batch.durable.tables import BUCKETS

#: Seconds; how much may begin at once is what accrues in them.
_BURST: Final = 1.0
#: The weight of the latest run in the mean of what runs use.
_WEIGHT: Final = 0.05
#: Seconds; a worker takes the requests of so long a time at once, and at least one.
_TAKEN: Final = 0.1
#: Seconds in which it has to send them.
_GRANTED: Final = 1.0
#: Seconds for which a worker that starts runs may know outdated limits.
_KNOWN: Final = 2.0


def _number(_: object, attribute: Any, value: object) -> None:
    if value is not None and (not isinstance(value, int | float) or not value > 0):
        raise ValueError(f"SharedLimits.{attribute.name} must be more than 0: got {value!r}")


@explained_init(SHARED_LIMITS)
@frozen(kw_only=True)
class SharedLimits:
    """How much all workers of a database use in a minute. They hold at any moment, not only over a minute."""

    #: Requests that are sent for jobs, polls and repetitions included.
    requests_per_minute: float | None = field(default=None, validator=_number)
    runs_per_minute: float | None = field(default=None, validator=_number)  #: runs that are started
    tokens_per_minute: float | None = field(default=None, validator=_number)  #: tokens that runs use
    #: Tokens that a run is expected to use; with every run that ends, the expectation comes nearer to their mean.
    tokens_per_run: float = field(default=1000.0, validator=_number)


@define(eq=False)
class BucketTable:
    """The buckets of one database. Each method is one transaction."""

    _database: Database

    def limit(self, limits: SharedLimits) -> None:
        """Set the limits, of which the latest hold for all workers."""
        rates = {
            "requests": limits.requests_per_minute,
            "runs": limits.runs_per_minute,
            "tokens": limits.tokens_per_minute,
        }
        amounts = {"requests": 1.0, "runs": 1.0, "tokens": limits.tokens_per_run}

        def limit() -> None:
            with self._database.engine.begin() as connection:
                self._database.lock(connection, "limits")
                for name, rate in rates.items():
                    is_this = BUCKETS.c.name == name
                    known = connection.execute(sa.select(BUCKETS.c.rate).where(is_this)).scalar()
                    if rate is None:
                        connection.execute(BUCKETS.delete().where(is_this))
                    elif known is None:
                        row = {"name": name, "rate": rate / 60, "level": 0.0, "amount": amounts[name]}
                        connection.execute(BUCKETS.insert().values(**row, at=self._database.now))
                    elif known != rate / 60:
                        connection.execute(BUCKETS.update().where(is_this).values(rate=rate / 60))

        self._database.persist(limit)

    def rates(self) -> dict[str, float]:
        """What there are limits of, and how much of it a second may be used."""

        def read() -> dict[str, float]:
            with self._database.engine.connect() as connection:
                return {row.name: row.rate for row in connection.execute(sa.select(BUCKETS.c.name, BUCKETS.c.rate))}

        return self._database.persist(read)

    def take_requests(self, count: int) -> float:
        """Take a number of requests: seconds until they may be sent."""
        return self._take(BUCKETS.c.name == "requests", count)

    def take_run(self) -> float:
        """Take what one run is expected to use: seconds until it may be started."""
        return self._take(BUCKETS.c.name != "requests", 1)

    def give_back_run(self) -> None:
        """Give back what was taken for a run that was not started."""
        self._take(BUCKETS.c.name != "requests", -1)

    def _take(self, which: sa.ColumnElement[bool], count: int) -> float:
        columns, now = BUCKETS.c, self._database.now
        accrued = columns.level + (now - columns.at) * columns.rate
        full = self._least(self._most(columns.rate * _BURST, 1.0), accrued)
        change = BUCKETS.update().where(which).values(level=full - columns.amount * count, at=now)

        def take() -> float:
            with self._database.engine.begin() as connection:
                rows = connection.execute(change.returning(columns.level, columns.rate)).all()
            return max((-row.level / row.rate for row in rows), default=0.0)

        return max(self._database.persist(take), 0.0)

    def settle(self, tokens: int) -> None:
        """Charge what a run has used beyond what was expected, or give the rest back."""
        columns = BUCKETS.c
        change = (
            BUCKETS.update()
            .where(columns.name == "tokens")
            .values(
                level=columns.level - (tokens - columns.amount),
                amount=columns.amount + (tokens - columns.amount) * _WEIGHT,
            )
        )

        def settle() -> None:
            with self._database.engine.begin() as connection:
                connection.execute(change)

        self._database.persist(settle)

    def _least(self, *values: Any) -> Any:
        return (sa.func.min if self._database.is_sqlite else sa.func.least)(*values)

    def _most(self, *values: Any) -> Any:
        return (sa.func.max if self._database.is_sqlite else sa.func.greatest)(*values)


@define(eq=False)
class SharedPace:
    """Holds this process to the limits of its database. As a `Sending`, it is told about each request of a job.

    A request is too small for a transaction of its own, so some are taken together; what is not sent soon is lost.
    """

    _table: BucketTable
    _rates: dict[str, float]  # the latest that are known
    _read_at: float = field(default=-math.inf, init=False)
    _granted: int = field(default=0, init=False)  # requests that may be sent
    _granted_until: float = field(default=-math.inf, init=False)
    _turn: anyio.Lock = field(factory=anyio.Lock, init=False)

    async def begin_run(self) -> None:
        """Wait until a run may be started."""
        if (now := anyio.current_time()) >= self._read_at + _KNOWN:  # another worker may have changed them
            self._read_at = now
            self._rates = await in_thread(self._table.rates)
        if self._limits_runs:
            await anyio.sleep(await in_thread(self._table.take_run))

    async def give_back_run(self) -> None:
        """Note that the run was not started."""
        if self._limits_runs:
            await in_thread(self._table.give_back_run)

    async def end_run(self, tokens: int) -> None:
        """Note how many tokens a run has used."""
        if "tokens" in self._rates:
            await in_thread(self._table.settle, tokens)

    @property
    def _limits_runs(self) -> bool:
        return not self._rates.keys().isdisjoint(("runs", "tokens"))

    async def begin(self) -> None:
        """Wait until a request may be sent."""
        if (rate := self._rates.get("requests")) is None:
            return
        async with self._turn:
            if not self._granted or anyio.current_time() >= self._granted_until:
                count = max(1, int(rate * _TAKEN))
                await anyio.sleep(await in_thread(self._table.take_requests, count))
                self._granted, self._granted_until = count, anyio.current_time() + _GRANTED
            self._granted -= 1

    def settle(self) -> None:
        """It was sent all the same."""
