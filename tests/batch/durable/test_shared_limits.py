"""`SharedLimits`: what all workers of a database begin in a minute is bounded, on a clock of the test's own."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from openai_runs.batch.durable import SharedLimits
from openai_runs.batch.durable.database import Database
from openai_runs.batch.durable.shared_limits import SharedPace
from openai_runs.batch.durable.tables import BUCKETS


@frozen
class TimedDatabase(Database):
    """Tells the time that it is told."""

    time: list[float]

    @property
    def now(self) -> sa.ColumnElement[float]:
        return sa.literal(self.time[0], sa.Float)


@pytest.fixture(params=["database", "postgres_database"], ids=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest) -> TimedDatabase:
    real = request.getfixturevalue({"database": "sqlite_database"}.get(request.param, request.param))
    return TimedDatabase(real.url, real.engine, [1000.0])


def pace(database: Database, **limits: Any) -> SharedPace:
    made = SharedPace.of(database, SharedLimits(**limits))
    assert made is not None
    return made


def test_runs(database: TimedDatabase):
    """Each run waits for its place, whoever asks; what nobody uses accrues for one second."""
    one, other = pace(database, runs_per_minute=120), pace(database, runs_per_minute=120)
    assert [one.begin(), other.begin(), one.begin()] == [0.5, 1.0, 1.5]
    database.time[0] += 1.5
    assert one.begin() == 0.5
    database.time[0] += 3600
    assert [one.begin(), other.begin(), one.begin()] == [0, 0, 0.5]


def test_less_than_one_a_second(database: TimedDatabase):
    """One run may go out at once, however low the limit."""
    one = pace(database, runs_per_minute=6)
    database.time[0] += 3600
    assert [one.begin(), one.begin()] == [0, 10.0]


def test_tokens(database: TimedDatabase):
    """A run takes what it is expected to use, and pays the rest when it ends; the expectation follows what runs use."""
    one = pace(database, tokens_per_minute=6000, tokens_per_run=100)
    assert one.begin() == 1.0
    one.end(300)
    assert one.begin() == pytest.approx(1.0 + 2.0 + 1.1)
    one.end(0)
    assert one.begin() == pytest.approx(1.0 + 2.0 + 1.045)


def test_both(database: TimedDatabase):
    """The stricter one decides."""
    assert pace(database, runs_per_minute=60, tokens_per_minute=60, tokens_per_run=5).begin() == 5.0


def test_the_latest_hold(database: TimedDatabase):
    """Limits can be changed and removed while workers run; unchanged ones keep what was taken."""
    one = pace(database, runs_per_minute=60, tokens_per_minute=600)
    assert one.begin() == 100.0
    pace(database, runs_per_minute=60)
    assert one.begin() == 2.0
    pace(database, runs_per_minute=180)
    assert one.begin() == 1.0
    assert SharedPace.of(database, SharedLimits()) is None
    assert one.begin() == 0.0
    one.end(5)
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(BUCKETS)).all() == []


@pytest.mark.parametrize("value", [0, -1, "10", float("nan")])
@pytest.mark.parametrize("name", ["runs_per_minute", "tokens_per_minute", "tokens_per_run"])
def test_wrong_numbers(name: str, value: Any):
    """A limit is a number above 0."""
    limits: Callable[..., object] = SharedLimits
    with pytest.raises(ValueError, match=f"SharedLimits.{name} must be more than 0"):
        limits(**{name: value})
