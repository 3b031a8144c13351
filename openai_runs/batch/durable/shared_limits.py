"""`SharedLimits`: how many runs and tokens a minute all workers of a database use together.

Each limit is a row with a token bucket. A job takes what it needs at once, in one statement: the level may fall below
0, and the job then waits until that has been made up for. So nobody asks twice, and waiting jobs keep their order.
"""

from typing import Any, Final, Self

import sqlalchemy as sa
from attrs import define, field, frozen

from openai_runs.batch.durable.database import Database
from openai_runs.batch.durable.tables import BUCKETS

#: Seconds; how much may begin at once is what accrues in them.
_BURST: Final = 1.0
#: The weight of the latest run in the mean of what runs use.
_WEIGHT: Final = 0.05


def _number(_: object, attribute: Any, value: object) -> None:
    if value is not None and (not isinstance(value, int | float) or not value > 0):
        raise ValueError(f"SharedLimits.{attribute.name} must be more than 0: got {value!r}")


@frozen(kw_only=True)
class SharedLimits:
    """How much all workers of a database begin in a minute. They hold at any moment, not only over a minute."""

    runs_per_minute: float | None = field(default=None, validator=_number)  #: runs that are started
    tokens_per_minute: float | None = field(default=None, validator=_number)  #: tokens that runs use
    #: Tokens that a run is expected to use; with every run that ends, the expectation comes nearer to their mean.
    tokens_per_run: float = field(default=1000.0, validator=_number)


@define(eq=False)
class SharedPace:
    """The buckets of one database. Each method is one transaction."""

    _database: Database

    @classmethod
    def of(cls, database: Database, limits: SharedLimits) -> Self | None:
        """Set the limits of a database; ``None`` if there are none, so that nobody need ask."""
        pace = cls(database)
        pace.limit(limits)
        return None if limits.runs_per_minute is None and limits.tokens_per_minute is None else pace

    def limit(self, limits: SharedLimits) -> None:
        """Set the limits, of which the latest hold for all workers."""
        rates = {"runs": limits.runs_per_minute, "tokens": limits.tokens_per_minute}
        amounts = {"runs": 1.0, "tokens": limits.tokens_per_run}

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

    def begin(self) -> float:
        """Take what one run is expected to use: seconds until it may be started."""
        columns, now = BUCKETS.c, self._database.now
        accrued = columns.level + (now - columns.at) * columns.rate
        full = self._least(self._most(columns.rate * _BURST, 1.0), accrued)

        def begin() -> float:
            with self._database.engine.begin() as connection:
                change = BUCKETS.update().values(level=full - columns.amount, at=now)
                rows = connection.execute(change.returning(columns.level, columns.rate)).all()
            return max((-row.level / row.rate for row in rows), default=0.0)

        return max(self._database.persist(begin), 0.0)

    def end(self, tokens: int) -> None:
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

        def end() -> None:
            with self._database.engine.begin() as connection:
                connection.execute(change)

        self._database.persist(end)

    def _least(self, *values: Any) -> Any:
        return (sa.func.min if self._database.is_sqlite else sa.func.least)(*values)

    def _most(self, *values: Any) -> Any:
        return (sa.func.max if self._database.is_sqlite else sa.func.greatest)(*values)
