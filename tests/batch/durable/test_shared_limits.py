"""`SharedLimits`: what all workers of a database begin in a minute is bounded, on a clock of the test's own."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from attrs import frozen

from openai_runs.batch.durable import SharedLimits, shared_limits
from openai_runs.batch.durable.database import Database
from openai_runs.batch.durable.shared_limits import BucketTable, SharedPace
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


def buckets(database: Database, **limits: Any) -> BucketTable:
    table = BucketTable(database)
    table.limit(SharedLimits(**limits))
    return table


def test_runs(database: TimedDatabase):
    """Each run waits for its place, whoever asks; what nobody uses accrues for one second."""
    one, other = buckets(database, runs_per_minute=120), buckets(database, runs_per_minute=120)
    assert [one.take_run(), other.take_run(), one.take_run()] == [0.5, 1.0, 1.5]
    database.time[0] += 1.5
    assert one.take_run() == 0.5
    database.time[0] += 3600
    assert [one.take_run(), other.take_run(), one.take_run()] == [0, 0, 0.5]


def test_less_than_one_a_second(database: TimedDatabase):
    """One run may go out at once, however low the limit."""
    one = buckets(database, runs_per_minute=6)
    database.time[0] += 3600
    assert [one.take_run(), one.take_run()] == [0, 10.0]


def test_requests(database: TimedDatabase):
    """They are taken by the number, whoever asks, and are no runs."""
    one, other = buckets(database, requests_per_minute=600), buckets(database, requests_per_minute=600)
    assert [one.take_requests(1), other.take_requests(2), one.take_requests(1)] == pytest.approx([0.1, 0.3, 0.4])
    assert one.take_run() == 0.0
    database.time[0] += 0.4
    assert one.take_requests(1) == pytest.approx(0.1)


def test_tokens(database: TimedDatabase):
    """A run takes what it is expected to use, and pays the rest when it ends; the expectation follows what runs use."""
    one = buckets(database, tokens_per_minute=6000, tokens_per_run=100)
    assert one.take_run() == 1.0
    one.settle(300)
    assert one.take_run() == pytest.approx(1.0 + 2.0 + 1.1)
    one.settle(0)
    assert one.take_run() == pytest.approx(1.0 + 2.0 + 1.045)


def test_both(database: TimedDatabase):
    """The stricter one decides."""
    assert buckets(database, runs_per_minute=60, tokens_per_minute=60, tokens_per_run=5).take_run() == 5.0


def test_the_latest_hold(database: TimedDatabase):
    """Limits can be changed and removed while workers run; unchanged ones keep what was taken."""
    one = buckets(database, runs_per_minute=60, tokens_per_minute=600)
    assert one.take_run() == 100.0
    buckets(database, runs_per_minute=60)
    assert one.take_run() == 2.0
    buckets(database, runs_per_minute=180)
    assert one.take_run() == 1.0
    assert one.rates() == {"runs": 3.0}
    buckets(database)
    assert one.rates() == {}
    assert one.take_run() == 0.0
    one.settle(5)
    with database.engine.connect() as connection:
        assert connection.execute(sa.select(BUCKETS)).all() == []


@pytest.mark.parametrize("value", [0, -1, "10", float("nan")])
@pytest.mark.parametrize("name", ["requests_per_minute", "runs_per_minute", "tokens_per_minute", "tokens_per_run"])
def test_wrong_numbers(name: str, value: Any):
    """A limit is a number above 0."""
    limits: Callable[..., object] = SharedLimits
    with pytest.raises(ValueError, match=f"SharedLimits.{name} must be more than 0"):
        limits(**{name: value})


class TestPace:
    """A process waits as long as its database says."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def slept(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """How long was slept each time; nobody does."""
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        monkeypatch.setattr(anyio, "sleep", sleep)
        return slept

    async def test_two_workers(self, database: TimedDatabase, slept: list[float]):
        """Together they send what the limit says, though a worker takes some requests at a time."""
        table = buckets(database, requests_per_minute=1200)
        one, other = SharedPace(table, table.rates()), SharedPace(table, table.rates())
        for pace in (one, other, one, other, one, other):
            await pace.begin()
            pace.settle()
        assert slept == pytest.approx([0.1, 0.2, 0.3, 0.4])

    async def test_what_is_not_sent_soon(
        self, database: TimedDatabase, slept: list[float], monkeypatch: pytest.MonkeyPatch
    ):
        """It is lost: a worker that was idle does not send a burst beyond the limit."""
        table = buckets(database, requests_per_minute=1200)
        pace = SharedPace(table, table.rates())
        await pace.begin()
        monkeypatch.setattr(shared_limits, "_GRANTED", 0.0)
        await pace.begin()
        await pace.begin()
        assert len(slept) == 2

    async def test_runs_and_tokens(self, database: TimedDatabase, slept: list[float]):
        """A run waits until it may be started, and what it used is charged."""
        table = buckets(database, tokens_per_minute=6000, tokens_per_run=100)
        pace = SharedPace(table, table.rates())
        await pace.begin()
        await pace.begin_run()
        await pace.end_run(300)
        await pace.begin_run()
        assert slept == pytest.approx([1.0, 1.0 + 2.0 + 1.1])
        await pace.give_back_run()
        await pace.begin_run()
        assert slept[2] == pytest.approx(slept[1])

    async def test_limits_that_come_later(self, database: TimedDatabase, slept: list[float]):
        """A worker that was started without any keeps limits that another one brings, and then takes away."""
        table = buckets(database)
        pace = SharedPace(table, table.rates())
        await pace.begin_run()
        await pace.end_run(5)
        await pace.give_back_run()
        await pace.begin()
        assert slept == []
        buckets(database, runs_per_minute=60, requests_per_minute=60)
        pace._read_at = 0.0
        await pace.begin_run()
        await pace.begin()
        assert slept == [1.0, 1.0]
        buckets(database)
        await pace.begin_run()
        pace._read_at = 0.0
        await pace.begin_run()
        await pace.begin()
        assert slept == [1.0, 1.0, 0.0]
